//! Repetition: the share of production lines that lie in an eight-line passage found more than once.

use std::collections::HashMap;

use crate::finding::{Error, Finding};
use crate::plan::Limit;
use crate::rule::House;
use crate::rule::sizes::{Measure, judge};
use crate::source::{Purpose, Source};

/// Lines in a passage. Shorter ones meet by chance.
const WINDOW: usize = 8;

/// Most repeated passages named in one report.
const NAMED_MAX: usize = 20;

/// What was counted.
#[derive(Debug, Default)]
pub struct Repetition {
    /// Production lines.
    pub lines: usize,
    /// Those that lie in a repeated passage.
    pub repeated: usize,
    /// Where repeated passages begin: here, and where it was first seen.
    pub places: Vec<(String, String)>,
}

impl Repetition {
    /// The share in whole percent, rounded up.
    pub fn percent(&self) -> usize {
        (self.repeated * 100).div_ceil(self.lines.max(1))
    }
}

/// Little is written twice.
///
/// # Errors
/// A file does not parse.
pub fn repetition(house: &House) -> Result<Vec<Finding>, Error> {
    let sources = house.sources()?;
    let counted = count(&sources);
    let measures = [Measure {
        at: "tree".into(),
        is: counted.percent(),
    }];
    let ratchet = &house.plan.ratchet;
    let unit = "% of production lines repeated";
    let mut found = judge(
        ratchet,
        Limit::RepetitionPercent,
        ratchet.repetition_percent,
        unit,
        &measures,
    );
    if !found.is_empty() {
        let named = counted.places.iter().take(NAMED_MAX);
        found.extend(named.map(|(here, first)| Finding::new(here, format!("repeats {first}"))));
    }
    Ok(found)
}

/// Counts repeated lines over files that ship.
pub fn count(sources: &[Source]) -> Repetition {
    let files: Vec<(&str, Vec<(usize, &str)>)> = sources
        .iter()
        .filter(|source| source.purpose == Purpose::Production)
        .map(|source| (source.path.as_str(), code_of(source)))
        .collect();
    let mut first_seen: HashMap<Vec<&str>, (usize, usize)> = HashMap::new();
    let mut marks: Vec<Vec<bool>> = files
        .iter()
        .map(|(_, lines)| vec![false; lines.len()])
        .collect();
    let mut places = Vec::new();
    for (file, (path, lines)) in files.iter().enumerate() {
        for (start, window) in lines.windows(WINDOW).enumerate() {
            let passage: Vec<&str> = window.iter().map(|(_, text)| *text).collect();
            let (before, from) = *first_seen.entry(passage).or_insert((file, start));
            if (before, from) == (file, start) {
                continue;
            }
            let begins = start == 0 || !marks[file][start];
            mark(&mut marks[before], from);
            mark(&mut marks[file], start);
            if begins {
                let first = format!("{}:{}", files[before].0, files[before].1[from].0);
                places.push((format!("{path}:{}", window[0].0), first));
            }
        }
    }
    let repeated = marks.iter().flatten().filter(|marked| **marked).count();
    Repetition {
        lines: files.iter().map(|(_, lines)| lines.len()).sum(),
        repeated,
        places,
    }
}

fn mark(lines: &mut [bool], start: usize) {
    for line in lines.iter_mut().skip(start).take(WINDOW) {
        *line = true;
    }
}

/// A file's code lines without imports, which repeat by nature.
fn code_of(source: &Source) -> Vec<(usize, &str)> {
    let import = |line: &str| line.starts_with("use ") || line.starts_with("pub use ");
    source
        .code_lines()
        .filter(|(_, line)| !import(line))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::count;
    use crate::source::{Purpose, Source};

    fn file(path: &str, names: &[u32]) -> Source {
        let text: String = names
            .iter()
            .map(|name| format!("fn f{name}() {{}}\n"))
            .collect();
        Source::parse(path, Purpose::Production, &text).unwrap()
    }

    #[test]
    fn a_passage_found_twice_is_counted_on_both_sides_and_named_once() {
        let same: Vec<u32> = (0..10).collect();
        let counted = count(&[
            file("a.rs", &same),
            file("b.rs", &same),
            file("c.rs", &[20, 21]),
        ]);
        assert_eq!((counted.lines, counted.repeated), (22, 20));
        assert_eq!(counted.places, [("b.rs:1".to_owned(), "a.rs:1".to_owned())]);
        assert_eq!(counted.percent(), 91);
    }

    #[test]
    fn shorter_likeness_is_chance() {
        let counted = count(&[
            file("a.rs", &[1, 2, 3, 4, 5, 6, 7]),
            file("b.rs", &[1, 2, 3, 4, 5, 6, 7]),
        ]);
        assert_eq!(counted.repeated, 0);
    }
}
