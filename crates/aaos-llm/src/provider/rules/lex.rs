//! A goal's text as tokens: words, quoted texts, addresses, paths, numbers and separators.
//!
//! Nothing is thrown away but white space: every other character ends up in some token, so that the parser can
//! tell whether it has understood all of the goal.

use std::ops::Range;

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word, lower case.
    Word(String),
    /// A text in quotation marks, without them.
    Quoted(String),
    /// An `http` or `https` address.
    Url(String),
    /// A file or directory, perhaps with `*` in it.
    Path(String),
    /// A host without a scheme: a page or a file, nobody can tell.
    Site(String),
    /// A number in digits.
    Number(u64),
    /// `,`, or `:` as in "do the following:".
    Comma,
    /// `.`, `;`, `!` or `?` at the end of a clause.
    Stop,
    /// Anything else.
    Other(String),
}

/// A piece of a goal and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Where it stands in the goal, in bytes.
    pub(super) span: Range<usize>,
}

/// Endings that are far more often a host's than a file's.
const HOST_ENDINGS: [&str; 14] = [
    "com", "org", "net", "edu", "gov", "io", "dev", "app", "co", "uk", "de", "eu", "fr", "info",
];

/// Files that are known by a name without an ending.
const BARE_FILES: [&str; 12] = [
    "README",
    "LICENSE",
    "LICENCE",
    "NOTICE",
    "CHANGELOG",
    "AUTHORS",
    "CONTRIBUTING",
    "Makefile",
    "Dockerfile",
    "Justfile",
    "Gemfile",
    "COPYING",
];

/// Longest ending of a file's name that tells a path from a word.
const ENDING_BYTES_MAX: usize = 10;

/// Takes a goal apart.
pub(super) fn lex(goal: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = goal.get(at..).and_then(|rest| rest.chars().next()) {
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if let Some(end) = quoted_end(goal, at, first) {
            let inner = goal.get(at + first.len_utf8()..end.start).unwrap_or("");
            tokens.push(Token {
                kind: Kind::Quoted(inner.to_owned()),
                span: at..end.end,
            });
            at = end.end;
        } else {
            let end = chunk_end(goal, at);
            chunk(goal, at..end, &mut tokens);
            at = end;
        }
    }
    tokens
}

/// The closing mark of a quotation that opens at `at`.
fn quoted_end(goal: &str, at: usize, first: char) -> Option<Range<usize>> {
    let close = match first {
        '"' | '\'' | '`' => first,
        '“' | '„' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let start = at + first.len_utf8();
    let rest = goal.get(start..)?;
    let found = rest.char_indices().find(|(offset, c)| {
        let after = rest
            .get(offset + c.len_utf8()..)
            .and_then(|tail| tail.chars().next());
        *c == close && (close != '\'' && close != '’' || !after.is_some_and(char::is_alphanumeric))
    })?;
    Some(start + found.0..start + found.0 + close.len_utf8())
}

fn chunk_end(goal: &str, at: usize) -> usize {
    let rest = goal.get(at..).unwrap_or("");
    let end = rest
        .char_indices()
        .skip(1)
        .find(|(_, c)| c.is_whitespace() || matches!(c, '"' | '“' | '`'));
    end.map_or(goal.len(), |(offset, _)| at + offset)
}

/// Splits a run without white space into its token and the punctuation around it.
fn chunk(goal: &str, span: Range<usize>, tokens: &mut Vec<Token>) {
    let text = goal.get(span.clone()).unwrap_or("");
    if let Some(cut) = comma_within(text) {
        chunk(goal, span.start..span.start + cut, tokens);
        tokens.push(Token {
            kind: Kind::Comma,
            span: span.start + cut..span.start + cut + 1,
        });
        if span.start + cut + 1 < span.end {
            chunk(goal, span.start + cut + 1..span.end, tokens);
        }
        return;
    }
    let dots = text.chars().all(|c| c == '.') && text.len() <= 2;
    let body = if dots {
        text
    } else {
        text.trim_end_matches(['.', ';', ':', '!', '?', ')', ']'])
    };
    let lead = body.len() - body.trim_start_matches(['(', '[']).len();
    for (offset, c) in body.char_indices().take(lead) {
        push_mark(c, span.start + offset, tokens);
    }
    let start = span.start + lead;
    if let Some(core) = body.get(lead..).filter(|core| !core.is_empty()) {
        push_core(core, start, tokens);
    }
    let tail = text.get(body.len()..).unwrap_or("");
    for (offset, c) in tail.char_indices() {
        push_mark(c, span.start + body.len() + offset, tokens);
    }
}

/// Where a comma separates two things within a run: everywhere but inside an address that goes on.
fn comma_within(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let address = lower.starts_with("http://") || lower.starts_with("https://");
    let thousands = text.chars().all(|c| c.is_ascii_digit() || c == ',') && !text.ends_with(',');
    if thousands {
        return None;
    }
    text.char_indices()
        .find(|(at, c)| {
            let rest = lower.get(at + 1..).unwrap_or("");
            *c == ',' && (!address || rest.is_empty() || rest.starts_with("http"))
        })
        .map(|(at, _)| at)
}

fn push_mark(mark: char, at: usize, tokens: &mut Vec<Token>) {
    let kind = match mark {
        '.' | ';' | '!' | '?' => Kind::Stop,
        ',' | ':' => Kind::Comma,
        other => Kind::Other(other.to_string()),
    };
    tokens.push(Token {
        kind,
        span: at..at + mark.len_utf8(),
    });
}

/// A run without punctuation around it; `5-sentence` and `three-line` become two tokens.
fn push_core(core: &str, start: usize, tokens: &mut Vec<Token>) {
    if let Some((head, tail)) = core.split_once('-')
        && !tail.is_empty()
        && tail.chars().all(|c| c.is_ascii_alphabetic())
        && (head.parse::<u64>().is_ok() || super::words::number(&head.to_lowercase()).is_some())
    {
        push_core(head, start, tokens);
        push_core(tail, start + head.len() + 1, tokens);
        return;
    }
    tokens.push(Token {
        kind: classify(core),
        span: start..start + core.len(),
    });
}

fn classify(core: &str) -> Kind {
    let lower = core.to_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return url_kind(core);
    }
    if core.contains("://") {
        return Kind::Other(core.to_owned());
    }
    let digits: String = core.chars().filter(|c| *c != ',').collect();
    if let Ok(number) = digits.parse::<u64>() {
        return Kind::Number(number);
    }
    if matches!(lower.as_str(), "and/or" | "e.g" | "i.e" | "w/o") {
        return Kind::Other(core.to_owned());
    }
    if is_host(core) {
        return Kind::Site(core.to_owned());
    }
    if is_path(core) {
        return Kind::Path(core.to_owned());
    }
    if core
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '\'' | '’'))
    {
        return Kind::Word(lower.replace('’', "'"));
    }
    Kind::Other(core.to_owned())
}

fn url_kind(core: &str) -> Kind {
    match url::Url::parse(core) {
        Ok(parsed) if parsed.has_host() => Kind::Url(core.to_owned()),
        _ => Kind::Other(core.to_owned()),
    }
}

fn is_host(core: &str) -> bool {
    let labels: Vec<&str> = core.split('/').next().unwrap_or("").split('.').collect();
    let ending = labels
        .last()
        .map(|last| last.to_lowercase())
        .unwrap_or_default();
    let named = labels
        .iter()
        .all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-'));
    labels.len() > 1 && named && HOST_ENDINGS.contains(&ending.as_str())
}

/// Whether a run is a path by its look: a separator, a wildcard, an ending, or a name that everybody knows.
pub(super) fn is_path(core: &str) -> bool {
    if core.contains('/')
        || core.contains('*')
        || matches!(core, "." | "..")
        || BARE_FILES.contains(&core)
    {
        return true;
    }
    let Some((stem, ending)) = core.rsplit_once('.') else {
        return false;
    };
    let worded = ending.chars().all(|c| c.is_ascii_alphanumeric())
        && ending.chars().any(|c| c.is_ascii_alphabetic());
    let clean = stem
        .chars()
        .all(|c| !c.is_control() && !matches!(c, '<' | '>' | '|' | '='));
    worded && clean && ending.len() <= ENDING_BYTES_MAX
}
