//! Words: what comments and documents may not say.

use crate::finding::{Error, Finding};
use crate::rule::House;

/// The glossary, relative to the checkout.
const GLOSSARY: &str = "GLOSSARY.md";

/// A refused word and the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The word, in lower case, in the singular.
    pub word: String,
    /// The glossary's word.
    pub instead: String,
}

/// Reads the glossary's table: first column the word, third column the refused ones, in backticks.
///
/// # Errors
/// There is no such table.
pub fn refused_words(glossary: &str) -> Result<Vec<Refused>, Error> {
    let mut refused = Vec::new();
    for row in glossary.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let [word, _, not] = cells.as_slice() {
            let words = not.split('`').skip(1).step_by(2);
            refused.extend(words.map(|not| Refused {
                word: not.to_lowercase(),
                instead: (*word).to_owned(),
            }));
        }
    }
    if refused.is_empty() {
        return Err(Error::Missing {
            file: GLOSSARY,
            what: "a table with refused words in backticks",
        });
    }
    Ok(refused)
}

/// Comments and documents use the glossary's words.
///
/// # Errors
/// A file cannot be read or does not parse.
pub fn words(house: &House) -> Result<Vec<Finding>, Error> {
    let refused = refused_words(&house.tree.read(GLOSSARY)?)?;
    let phrases = &house.plan.words.phrases;
    let mut found = Vec::new();
    let mut judge = |path: &str, line: usize, text: &str| {
        let said = without(&plain(text), phrases);
        for entry in refused.iter().filter(|entry| says(&said, &entry.word)) {
            let advice = format!(
                "says \"{}\"; the glossary's word is \"{}\"",
                entry.word, entry.instead
            );
            found.push(Finding::at_line(path, line, advice));
        }
    };
    for source in house.sources()? {
        for comment in &source.scan.comments {
            judge(&source.path, comment.line, &comment.text);
        }
    }
    for path in house.tree.files("md")? {
        let text = house.tree.read(&path)?;
        for (line, text) in prose(&text) {
            judge(&path, line, text);
        }
    }
    Ok(found)
}

/// Code comments say what is, not what was.
///
/// # Errors
/// A file does not parse.
pub fn history(house: &House) -> Result<Vec<Finding>, Error> {
    let refused = &house.plan.history.refused;
    let mut found = Vec::new();
    for source in house.sources()? {
        for comment in &source.scan.comments {
            let said = numbers_as_zero(&plain(&comment.text));
            for phrase in refused.iter().filter(|phrase| says(&said, phrase)) {
                let advice = format!(
                    "the comment tells history (\"{phrase}\"); say what is true now, and why"
                );
                found.push(Finding::at_line(&source.path, comment.line, advice));
            }
        }
    }
    Ok(found)
}

/// The lines of a document that are prose, with their numbers: no fenced blocks.
pub fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// Text in lower case, with code in backticks and web addresses left out.
fn plain(text: &str) -> String {
    let outside: Vec<&str> = text.split('`').step_by(2).collect();
    let joined = outside.join("\u{1}").to_lowercase();
    let words = joined.split(' ').filter(|word| !word.contains("://"));
    words.collect::<Vec<_>>().join(" ")
}

/// Text with each exempt phrase left out.
fn without(text: &str, phrases: &[String]) -> String {
    phrases.iter().fold(text.to_owned(), |text, phrase| {
        text.replace(phrase.as_str(), "\u{1}")
    })
}

/// Text with every run of digits as one zero.
fn numbers_as_zero(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('0') => {}
            '0'..='9' => out.push('0'),
            _ => out.push(c),
        }
    }
    out
}

/// Whether text holds a word or phrase as such, in the singular or with an "s".
fn says(text: &str, phrase: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + phrase.len()..];
        let after = after.strip_prefix('s').unwrap_or(after).chars().next();
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Refused, numbers_as_zero, plain, prose, refused_words, says, without};

    #[test]
    fn the_glossary_refuses_what_its_third_column_has_in_backticks() {
        let table = "| word | meaning | not |\n|---|---|---|\n| run | one attempt | `job`, task of a kind |\n";
        let expected = Refused {
            word: "job".into(),
            instead: "run".into(),
        };
        assert_eq!(refused_words(table).unwrap(), [expected]);
        assert!(refused_words("no table").is_err());
    }

    #[test]
    fn a_word_is_refused_as_a_word_and_in_the_plural_only() {
        assert!(says("two jobs wait", "job") && says("job.", "job"));
        assert!(!says("jobserver", "job") && !says("a_job", "job"));
    }

    #[test]
    fn code_addresses_and_exempt_phrases_are_not_prose() {
        assert!(!says(&plain("calls `job` there"), "job"));
        assert!(!says(&plain("see https://x.y/job here"), "job"));
        assert!(!says(
            &without("a user namespace", &["user namespace".into()]),
            "user"
        ));
        let lines: Vec<_> = prose("one\n```sh\ntwo\n```\nthree").collect();
        assert_eq!(lines, [(1, "one"), (5, "three")]);
    }

    #[test]
    fn numbered_history_is_found_whatever_its_number() {
        assert!(says(&numbers_as_zero("as phase 12 asked"), "phase 0"));
        assert!(says(&numbers_as_zero("see #4711"), "#0"));
        assert!(!says(&numbers_as_zero("linux 6.7"), "phase 0"));
    }
}
