//! Finding things in a text by their look: links, addresses, headings, dates, numbers, lines, fields, columns.
//!
//! Everything found is a copy of a piece of the text. Links, addresses and dates are given once each, in the order
//! of their first appearance; headings, numbers, marked lines and tables as often as they occur.

use super::op::{Case, Items, Pattern, Reach};
use std::collections::BTreeSet;
use unicode_segmentation::UnicodeSegmentation;

/// Most values taken from one JSON document.
const VALUES_MAX: usize = 100_000;

/// All things of a kind.
pub(super) fn items(text: &str, wanted: Items) -> Vec<String> {
    match wanted {
        Items::Links => once(links(text)),
        Items::Urls => once(
            links(text)
                .into_iter()
                .filter(|link| is_web(link))
                .collect(),
        ),
        Items::Emails => once(emails(text)),
        Items::Headings => headings(text),
        Items::Dates => once(super::dates::dates(text)),
        Items::Numbers => numbers(text),
        Items::Todos => todos(text),
        Items::Tables => tables(text),
    }
}

fn once(found: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    found
        .into_iter()
        .filter(|item| seen.insert(item.clone()))
        .collect()
}

fn is_web(link: &str) -> bool {
    let lower = super::report::head(link, 8).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Targets of Markdown links and bare addresses, in the order they stand.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let inline = rest.find("](");
        let bare = ["http://", "https://"]
            .iter()
            .filter_map(|scheme| rest.find(scheme))
            .min();
        let inline_first = inline.is_some_and(|at| bare.is_none_or(|bare| at < bare));
        let start = match (inline, bare) {
            (Some(at), _) if inline_first => at + 2,
            (_, Some(at)) => at,
            _ => return found,
        };
        let tail = rest.get(start..).unwrap_or("");
        let link = if inline_first {
            markdown_target(tail)
        } else {
            bare_address(tail)
        };
        if !link.is_empty() && !link.starts_with('#') {
            found.push(link.to_owned());
        }
        rest = tail.get(link.len()..).unwrap_or("");
        if rest.len() == tail.len() && !inline_first {
            rest = rest.get(1..).unwrap_or("");
        }
    }
}

fn markdown_target(tail: &str) -> &str {
    let tail = tail.strip_prefix('<').unwrap_or(tail);
    balanced(tail, |c| c.is_whitespace() || c == '>')
}

fn bare_address(tail: &str) -> &str {
    let ends = |c: char| {
        c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\'' | '`' | ']' | '}' | '|' | '\\')
    };
    balanced(tail, ends).trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_'])
}

/// The text up to an end, or to a closing parenthesis that was not opened in it.
fn balanced(tail: &str, ends: impl Fn(char) -> bool) -> &str {
    let mut depth = 0_i32;
    for (at, c) in tail.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return tail.get(..at).unwrap_or(""),
            ')' => depth -= 1,
            _ if ends(c) => return tail.get(..at).unwrap_or(""),
            _ => {}
        }
    }
    tail
}

fn emails(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let local = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '%');
        let head = text.get(..at).unwrap_or("");
        let start = head
            .char_indices()
            .rev()
            .take_while(|(_, c)| local(*c))
            .last()
            .map(|(start, _)| start);
        let tail = text.get(at + 1..).unwrap_or("");
        let end = tail
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
            .unwrap_or(tail.len());
        let host = tail.get(..end).unwrap_or("").trim_end_matches(['.', '-']);
        let name = start
            .and_then(|start| head.get(start..))
            .unwrap_or("")
            .trim_start_matches('.');
        let ending = host.rsplit_once('.').map_or("", |(_, ending)| ending);
        if !name.is_empty() && ending.len() >= 2 && ending.chars().all(|c| c.is_ascii_alphabetic())
        {
            found.push(format!("{name}@{host}"));
        }
    }
    found
}

/// Lines outside fenced code, with their numbers from 0.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// Markdown headings, of both kinds, without their marks.
pub(super) fn headings(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut before: Option<(usize, &str)> = None;
    for (number, line) in prose_lines(text) {
        let trimmed = line.trim();
        if let Some(title) = atx(trimmed) {
            found.push(title.to_owned());
            before = None;
            continue;
        }
        let underline = trimmed.len() >= 2
            && (trimmed.chars().all(|c| c == '=') || trimmed.chars().all(|c| c == '-'));
        if let Some((above, title)) = before
            && underline
            && above + 1 == number
        {
            found.push(title.to_owned());
        }
        let titled =
            !trimmed.is_empty() && !underline && !trimmed.starts_with(['|', '-', '*', '>']);
        before = titled.then_some((number, trimmed));
    }
    found
}

/// The title in a line of `#` marks.
pub(super) fn atx(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let marks = line.len() - title.len();
    let heading = (1..=6).contains(&marks) && title.starts_with([' ', '\t']);
    heading
        .then(|| title.trim().trim_end_matches('#').trim())
        .filter(|title| !title.is_empty())
}

fn numbers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = text
        .get(at..)
        .and_then(|rest| rest.find(|c: char| c.is_ascii_digit()))
        .map(|offset| at + offset)
    {
        let inside = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
        let tail = text.get(start..).unwrap_or("");
        let length = tail.find(|c| !inside(c)).unwrap_or(tail.len());
        let digits = tail
            .get(..length)
            .unwrap_or("")
            .trim_end_matches(['.', ',']);
        let before = text.get(..start).and_then(|head| head.chars().next_back());
        let after = tail
            .get(digits.len()..)
            .and_then(|rest| rest.chars().next());
        let alone = !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if alone {
            let signed = start > 0
                && bytes.get(start - 1) == Some(&b'-')
                && (start < 2 || bytes.get(start - 2).is_some_and(u8::is_ascii_whitespace));
            found.push(if signed {
                format!("-{digits}")
            } else {
                digits.to_owned()
            });
        }
        at = start + length;
    }
    found
}

fn todos(text: &str) -> Vec<String> {
    lines_with(text, &todo_pattern())
        .into_iter()
        .map(|(_, line)| line.trim().to_owned())
        .collect()
}

/// The word that marks what is still to be done, as written in programs and notes.
pub(super) fn todo_pattern() -> Pattern {
    Pattern {
        text: "TODO".to_owned(),
        reach: Reach::Word,
        case: Case::Exact,
    }
}

fn tables(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut before = usize::MAX;
    for (number, line) in prose_lines(text).filter(|(_, line)| line.trim_start().starts_with('|')) {
        match found.last_mut() {
            Some(table) if before.wrapping_add(1) == number => {
                table.push('\n');
                table.push_str(line.trim_end());
            }
            _ => found.push(line.trim_end().to_owned()),
        }
        before = number;
    }
    found
}

/// Lines that hold a text, with their numbers from 1.
pub(super) fn lines_with<'a>(text: &'a str, pattern: &Pattern) -> Vec<(usize, &'a str)> {
    let numbered = text
        .lines()
        .enumerate()
        .filter(|(_, line)| occurrences(line, pattern) > 0);
    numbered.map(|(number, line)| (number + 1, line)).collect()
}

/// How often a text occurs, without overlaps.
pub(super) fn occurrences(text: &str, pattern: &Pattern) -> usize {
    let (text, wanted) = match pattern.case {
        Case::Exact => (text.to_owned(), pattern.text.clone()),
        Case::Ignored => (text.to_lowercase(), pattern.text.to_lowercase()),
    };
    if wanted.is_empty() {
        return 0;
    }
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let counts = |at: usize| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text
            .get(at + wanted.len()..)
            .and_then(|tail| tail.chars().next());
        pattern.reach == Reach::Anywhere || (!before.is_some_and(part) && !after.is_some_and(part))
    };
    text.match_indices(wanted.as_str())
        .filter(|(at, _)| counts(*at))
        .count()
}

/// The most frequent words, upper and lower case alike; ties by letter.
pub(super) fn top_words(text: &str, count: usize) -> Vec<(String, usize)> {
    let mut ranked: Vec<(String, usize)> = word_counts(text).into_iter().collect();
    ranked.sort_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
    ranked.truncate(count);
    ranked
}

/// How often each word occurs, lower case.
pub(super) fn word_counts(text: &str) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for word in text.unicode_words() {
        *counts.entry(word.to_lowercase()).or_insert(0) += 1;
    }
    counts
}

/// The values of a field, by dotted name; through lists, of each element.
///
/// # Errors
/// In words: the text is no JSON, or has no such field.
pub(super) fn field(text: &str, name: &str) -> Result<Vec<String>, String> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut found = vec![&document];
    for part in name.split('.').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for value in found {
            step_into(value, part, &mut next);
            if next.len() > VALUES_MAX {
                return Err(format!(
                    "it holds more than {VALUES_MAX} values of this field"
                ));
            }
        }
        found = next;
    }
    if found.is_empty() {
        return Err(format!("it has no field `{name}`"));
    }
    let words = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(found.into_iter().map(words).collect())
}

fn step_into<'a>(value: &'a serde_json::Value, part: &str, found: &mut Vec<&'a serde_json::Value>) {
    match value {
        serde_json::Value::Object(object) => found.extend(object.get(part)),
        serde_json::Value::Array(list) => match part.parse::<usize>() {
            Ok(position) => found.extend(list.get(position)),
            Err(_) => found.extend(list.iter().filter_map(|element| element.get(part))),
        },
        _ => {}
    }
}

/// The values of a column, by its name in the first row.
///
/// # Errors
/// In words: there is no such column; the ones there are.
pub(super) fn column(text: &str, name: &str) -> Result<Vec<String>, String> {
    let mut rows = csv_rows(text, separator(text)).into_iter();
    let head = rows.next().unwrap_or_default();
    let Some(position) = head
        .iter()
        .position(|cell| cell.trim().eq_ignore_ascii_case(name.trim()))
    else {
        let known = head
            .iter()
            .map(|cell| cell.trim())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(format!(
            "it has no column `{name}`; its columns are: {}",
            super::report::head(&known, 300)
        ));
    };
    Ok(rows
        .map(|mut row| {
            if position < row.len() {
                row.swap_remove(position)
            } else {
                String::new()
            }
        })
        .collect())
}

/// What stands between the cells of a CSV text's first row.
pub(super) fn separator(text: &str) -> char {
    let first = text.lines().next().unwrap_or("");
    let often = |mark: &char| first.matches(*mark).count();
    // Of equals the last wins: the comma.
    [';', '\t', ',']
        .into_iter()
        .max_by_key(often)
        .unwrap_or(',')
}

/// The rows of a CSV text, quoted cells unpacked.
pub(super) fn csv_rows(text: &str, separator: char) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c if c == separator && !quoted => row.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    rows
}
