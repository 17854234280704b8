//! Answers for readers: Markdown sections and reports, plain text, JSON, CSV. Every form says that no model made it.

use super::{
    compute::{Answer, Found, Part, Section},
    records::Table,
    summary::ITEM,
};

/// The last line of every report.
pub(super) const MADE_BY: &str = "Made by rules, without a model.";

/// The longest beginning of a text that fits in so many bytes.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    aaos_core::text::head(text, bytes)
}

/// Sections in Markdown, to be put into a report.
pub(super) fn sections(answer: &Answer) -> String {
    let mut parts: Vec<String> = answer.sections.iter().map(section).collect();
    if !answer.notes.is_empty() {
        parts.push(
            answer
                .notes
                .iter()
                .map(|note| format!("*{note}*"))
                .collect::<Vec<_>>()
                .join("\n\n"),
        );
    }
    parts.join("\n\n")
}

/// Sections under a heading, and the last line.
pub(super) fn report(title: &str, sections: &[String]) -> String {
    let body = once_each(sections).join("\n\n");
    format!("# {}\n\n{}\n\n{MADE_BY}\n", one_line(title), body.trim())
}

/// Sections with each of their closing notes only once, at the end.
fn once_each(sections: &[String]) -> Vec<String> {
    let (mut bodies, mut notes) = (Vec::new(), Vec::new());
    for section in sections {
        let mut body = section.trim_end();
        let mut own = Vec::new();
        while let Some((rest, last)) = body.rsplit_once("\n\n") {
            let note = last.len() > 2
                && !last.contains('\n')
                && last.starts_with('*')
                && last.ends_with('*')
                && !last.starts_with("**");
            if !note {
                break;
            }
            own.push(last.to_owned());
            body = rest.trim_end();
        }
        bodies.push(body.to_owned());
        own.reverse();
        for note in own {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    bodies
        .into_iter()
        .chain(notes)
        .filter(|part| !part.is_empty())
        .collect()
}

fn section(section: &Section) -> String {
    let mut parts = vec![format!("## {}", one_line(&section.source))];
    match section.results.as_slice() {
        // A heading of its own would only say again what the report's own says.
        [
            Part {
                found: Found::Sentences(sentences),
                ..
            },
        ] => parts.push(prose(sentences)),
        [
            Part {
                found: Found::Points(points),
                ..
            },
        ] => parts.push(bullets(points)),
        results => parts.extend(results.iter().map(part)),
    }
    parts.join("\n\n")
}

fn part(part: &Part) -> String {
    let heading = |count: String| format!("### {}{count}", one_line(&part.title));
    match &part.found {
        Found::Number(number) => format!("{}: **{number}**", one_line(&part.title)),
        Found::Amount(amount) => format!("{}: **{amount}**", one_line(&part.title)),
        Found::Text(text) if text.trim().is_empty() => "(empty)".to_owned(),
        Found::Text(text) => text.trim_end().to_owned(),
        Found::Lines(lines) if lines.is_empty() => format!("{}\n\nNone.", heading(String::new())),
        Found::Lines(lines) => format!(
            "{}\n\n{}",
            heading(format!(" ({})", lines.len())),
            bullets(lines)
        ),
        Found::Points(points) => format!("{}\n\n{}", heading(String::new()), bullets(points)),
        Found::Sentences(sentences) => {
            format!("{}\n\n{}", heading(String::new()), prose(sentences))
        }
        Found::Table { rows, .. } if rows.is_empty() => {
            format!("{}\n\nNone.", heading(String::new()))
        }
        Found::Table { head, rows } => {
            format!("{}\n\n{}", heading(String::new()), table(head, rows))
        }
    }
}

/// Sentences as running text, and the text's own list items as a list.
fn prose(sentences: &[String]) -> String {
    let mut out = String::new();
    let mut in_list = false;
    for sentence in sentences {
        let item = sentence.starts_with(ITEM);
        if !out.is_empty() {
            out.push_str(match (in_list, item) {
                (true, true) => "\n",
                (false, false) => " ",
                _ => "\n\n",
            });
        }
        out.push_str(sentence);
        in_list = item;
    }
    out
}

/// Sentences without the marks of list items.
fn unmarked(sentences: &[String]) -> Vec<String> {
    let bare = |sentence: &String| sentence.strip_prefix(ITEM).unwrap_or(sentence).to_owned();
    sentences.iter().map(bare).collect()
}

fn bullets(lines: &[String]) -> String {
    let block = |line: &String| {
        if line.contains('\n') {
            format!("{line}\n")
        } else {
            format!("- {line}")
        }
    };
    lines.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| one_line(cell).replace('|', "\\|"))
            .collect();
        format!("| {} |", cells.join(" | "))
    };
    let rule = format!("|{}", " --- |".repeat(head.len()));
    let mut lines = vec![row(head), rule];
    lines.extend(rows.iter().map(|cells| row(cells)));
    lines.join("\n")
}

/// A text on one line.
pub(super) fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Plain text: the thing itself if it is one, else everything under its name.
pub(super) fn plain(title: &str, answer: &Answer) -> String {
    if let [Section { results, .. }] = answer.sections.as_slice()
        && let [Part { found, .. }] = results.as_slice()
    {
        match found {
            Found::Text(text) => return text.clone(),
            Found::Lines(lines) => return lines.iter().map(|line| format!("{line}\n")).collect(),
            _ => {}
        }
    }
    let mut out = format!(
        "{}\n{}\n",
        one_line(title),
        "=".repeat(one_line(title).chars().count())
    );
    for section in &answer.sections {
        out.push_str(&format!("\n{}\n", one_line(&section.source)));
        for part in &section.results {
            out.push_str(&plain_part(part));
        }
    }
    for note in &answer.notes {
        out.push_str(&format!("\n{note}\n"));
    }
    out.push_str(&format!("\n{MADE_BY}\n"));
    out
}

fn plain_part(part: &Part) -> String {
    let under = |lines: Vec<String>| {
        format!(
            "  {}:\n{}",
            part.title,
            lines
                .iter()
                .map(|line| format!("    {line}\n"))
                .collect::<String>()
        )
    };
    match &part.found {
        Found::Number(number) => format!("  {}: {number}\n", part.title),
        Found::Amount(amount) => format!("  {}: {amount}\n", part.title),
        Found::Text(text) => format!("{}\n", text.trim_end()),
        Found::Lines(lines) | Found::Sentences(lines) | Found::Points(lines) => {
            under(lines.clone())
        }
        Found::Table { head, rows } => under(
            std::iter::once(head)
                .chain(rows)
                .map(|row| row.join("\t"))
                .collect(),
        ),
    }
}

/// A JSON document; a table by itself is the list of its rows.
pub(super) fn json(title: &str, answer: &Answer) -> String {
    if let Some((head, rows)) = sole_table(answer) {
        let (head, rows) = (head.to_vec(), rows.to_vec());
        return Table { head, rows }.to_json();
    }
    let sections: Vec<serde_json::Value> = answer.sections.iter().map(json_section).collect();
    let document = serde_json::json!({ "title": title, "sources": sections, "notes": answer.notes, "made_by": "rules, without a model" });
    format!("{document:#}\n")
}

fn json_section(section: &Section) -> serde_json::Value {
    let value = |found: &Found| match found {
        Found::Text(text) => serde_json::json!(text),
        Found::Number(number) => serde_json::json!(number),
        Found::Amount(amount) => serde_json::from_str(amount).unwrap_or(serde_json::json!(amount)),
        Found::Lines(lines) | Found::Points(lines) => serde_json::json!(lines),
        Found::Sentences(sentences) => serde_json::json!(unmarked(sentences)),
        Found::Table { head, rows } => {
            let row = |cells: &Vec<String>| {
                head.iter()
                    .cloned()
                    .zip(cells.iter().map(|cell| cell_value(cell)))
                    .collect::<serde_json::Map<_, _>>()
            };
            serde_json::json!(rows.iter().map(row).collect::<Vec<_>>())
        }
    };
    let results: Vec<serde_json::Value> = section
        .results
        .iter()
        .map(|part| serde_json::json!({ "title": part.title, "value": value(&part.found) }))
        .collect();
    serde_json::json!({ "source": section.source, "results": results })
}

fn cell_value(cell: &str) -> serde_json::Value {
    cell.parse::<u64>().map_or_else(
        |_| serde_json::json!(cell),
        |number| serde_json::json!(number),
    )
}

/// The head and the rows of an answer that is one table and nothing else.
fn sole_table(answer: &Answer) -> Option<(&[String], &[Vec<String>])> {
    let [Section { results, .. }] = answer.sections.as_slice() else {
        return None;
    };
    match results.as_slice() {
        [
            Part {
                found: Found::Table { head, rows },
                ..
            },
        ] => Some((head, rows)),
        _ => None,
    }
}

/// A CSV table: one table as it is; anything else as source, title and value.
pub(super) fn csv(answer: &Answer) -> String {
    if let Some((head, rows)) = sole_table(answer) {
        let head = csv_row(head);
        return std::iter::once(head)
            .chain(rows.iter().map(|row| csv_row(row)))
            .collect();
    }
    let mut out = csv_row(&["source", "result", "value"].map(str::to_owned));
    for section in &answer.sections {
        for part in &section.results {
            let values: Vec<String> = match &part.found {
                Found::Number(number) => vec![number.to_string()],
                Found::Amount(text) | Found::Text(text) => vec![text.clone()],
                Found::Lines(lines) | Found::Points(lines) => lines.clone(),
                Found::Sentences(sentences) => unmarked(sentences),
                Found::Table { rows, .. } => rows.iter().map(|row| row.join(": ")).collect(),
            };
            for value in values {
                out.push_str(&csv_row(&[
                    section.source.clone(),
                    part.title.clone(),
                    value,
                ]));
            }
        }
    }
    out
}

fn csv_row(cells: &[String]) -> String {
    let cell = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    format!("{}\n", cells.iter().map(cell).collect::<Vec<_>>().join(","))
}
