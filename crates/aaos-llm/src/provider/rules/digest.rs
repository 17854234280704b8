//! What can be said of a text whose lines are no sentences: a table, a log, a JSON document. Counted and added up,
//! never weighed; the text's name says which it is.

use super::{compute::Doc, records::Table};
use serde_json::Value;

/// What readers are told of digests.
pub(super) const NOTE: &str =
    "Tables, logs and JSON documents are summed up by counting and adding.";

/// Most fields of a document that are named.
const FIELDS_SHOWN_MAX: usize = 20;
/// Words that tell how grave a line of a log is, gravest first.
const LEVELS: [&str; 8] = [
    "FATAL", "CRITICAL", "ERROR", "WARNING", "WARN", "INFO", "DEBUG", "TRACE",
];
/// How many of the levels are grave.
const GRAVE: usize = 3;

/// The text in a few points; nothing if it is to be summarised by its sentences. At most `lines_max` of a log's own
/// lines are shown.
pub(super) fn digest(doc: &Doc, lines_max: usize) -> Option<Vec<String>> {
    let points = match ending(&doc.label)?.as_str() {
        "csv" | "tsv" => Table::read(&doc.text).ok()?.digest(),
        "json" => json(&doc.text)?,
        "log" => log(&doc.text, lines_max),
        _ => return None,
    };
    (!points.is_empty()).then_some(points)
}

/// The ending of a file's name or of an address's path, lower case.
pub(super) fn ending(label: &str) -> Option<String> {
    let path = match url::Url::parse(label) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.path().to_owned(),
        _ => label.to_owned(),
    };
    let name = path.rsplit('/').next()?;
    let (stem, ending) = name.rsplit_once('.')?;
    (!stem.is_empty() && !ending.is_empty()).then(|| ending.to_lowercase())
}

fn json(text: &str) -> Option<Vec<String>> {
    let document: Value = serde_json::from_str(text).ok()?;
    Some(match &document {
        Value::Array(list) => match Table::read(text) {
            Ok(table) => table.digest(),
            Err(_) => vec![format!("A list of {}.", counted(list.len(), "value"))],
        },
        Value::Object(object) => fields(object),
        _ => return None,
    })
}

fn fields(object: &serde_json::Map<String, Value>) -> Vec<String> {
    let mut points = vec![format!("A document of {}.", counted(object.len(), "field"))];
    points.extend(
        object
            .iter()
            .take(FIELDS_SHOWN_MAX)
            .map(|(name, value)| match value {
                Value::Array(list) => format!("{name}: a list of {}", counted(list.len(), "value")),
                Value::Object(inner) => format!("{name}: {}", counted(inner.len(), "field")),
                Value::String(text) => format!("{name}: {}", aaos_core::text::preview(text, 120)),
                other => format!("{name}: {other}"),
            }),
    );
    if object.len() > FIELDS_SHOWN_MAX {
        points.push(format!("… and {} more", object.len() - FIELDS_SHOWN_MAX));
    }
    points
}

/// `1 row`, `2 rows`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// How many lines, how many of each level, the first and the last, and the grave ones.
fn log(text: &str, lines_max: usize) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return Vec::new();
    };
    let levels: Vec<Option<usize>> = lines.iter().map(|line| level(line)).collect();
    let of = |at: usize| levels.iter().filter(|level| **level == Some(at)).count();
    let counts: Vec<String> = LEVELS
        .iter()
        .enumerate()
        .filter(|(at, _)| of(*at) > 0)
        .map(|(at, level)| format!("{level} {}", of(at)))
        .collect();
    let mut points = vec![if counts.is_empty() {
        format!("A log of {}.", counted(lines.len(), "line"))
    } else {
        format!(
            "A log of {}: {}.",
            counted(lines.len(), "line"),
            counts.join(", ")
        )
    }];
    points.push(format!("First: {first}"));
    if lines.len() > 1 {
        points.push(format!("Last: {last}"));
    }
    let grave: Vec<&str> = lines
        .iter()
        .zip(&levels)
        .filter(|(_, level)| level.is_some_and(|level| level < GRAVE))
        .map(|(line, _)| *line)
        .collect();
    points.extend(grave.iter().take(lines_max).map(|line| (*line).to_owned()));
    if grave.len() > lines_max {
        points.push(format!("… and {} more such lines", grave.len() - lines_max));
    }
    points
}

fn level(line: &str) -> Option<usize> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
        .find_map(|word| LEVELS.iter().position(|level| *level == word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn of(label: &str, text: &str) -> Option<Vec<String>> {
        let doc = Doc {
            label: label.to_owned(),
            text: text.to_owned(),
        };
        digest(&doc, 1)
    }

    #[test]
    fn a_log_is_counted_by_levels_and_shows_the_grave_lines() {
        let points = of(
            "a/app.log",
            "1 INFO up\n2 ERROR disk\n3 WARN slow\n4 ERROR net\n",
        )
        .unwrap();
        assert_eq!(points[0], "A log of 4 lines: ERROR 2, WARN 1, INFO 1.");
        assert_eq!(points[1..3], ["First: 1 INFO up", "Last: 4 ERROR net"]);
        assert_eq!(points[3..], ["2 ERROR disk", "… and 1 more such lines"]);
    }

    #[test]
    fn the_name_says_what_it_is_and_what_it_is_not_is_no_digest() {
        assert!(of("http://a.example/x/costs.csv?y=1", "a,b\n1,2\n").is_some());
        assert!(of("letter.txt", "a,b\n1,2\n").is_none());
        assert!(of("broken.csv", "a,b\n1,2,3\n").is_none());
        assert!(of("broken.json", "{").is_none());
        assert_eq!(
            of("d.json", r#"{"a": [1, 2], "b": "x"}"#).unwrap()[1..],
            ["a: a list of 2 values", "b: x"]
        );
    }
}
