//! What differs between texts: lines that only one has, a unified diff of two, words used more in one.

use super::extract::word_counts;
use std::collections::{BTreeMap, BTreeSet};

/// Most lines of each text, after the common beginning and end are taken off, for a line by line difference.
const DIFF_LINES_MAX: usize = 2_000;
/// Lines of agreement shown around a difference.
const CONTEXT_LINES: usize = 2;
/// Most lines that are listed as only in one text.
pub(super) const ONLY_LINES_MAX: usize = 200;
/// Words of the difference in use.
const WORDS_MAX: usize = 10;

/// One line of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit<'a> {
    Same(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

/// Lines of one text that none of the others has.
pub(super) fn only_in<'a>(one: &'a str, others: &[&str]) -> Vec<&'a str> {
    let elsewhere: BTreeSet<&str> = others
        .iter()
        .flat_map(|other| other.lines())
        .map(str::trim_end)
        .collect();
    let mut seen = BTreeSet::new();
    let lines = one.lines().map(str::trim_end);
    lines
        .filter(|line| !line.trim().is_empty() && !elsewhere.contains(line) && seen.insert(*line))
        .collect()
}

/// How many different lines all texts have.
pub(super) fn in_all(texts: &[&str]) -> usize {
    let sets = texts.iter().map(|text| {
        text.lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect::<BTreeSet<_>>()
    });
    sets.reduce(|common, set| common.intersection(&set).copied().collect())
        .map_or(0, |common| common.len())
}

/// A unified difference; none if the texts differ in more lines than are compared one by one.
pub(super) fn diff(one: &str, other: &str) -> Option<Vec<String>> {
    let (left, right): (Vec<&str>, Vec<&str>) = (one.lines().collect(), other.lines().collect());
    let head = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let rest = left.len().min(right.len()) - head;
    let tail = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let (from, to) = (
        left.get(head..left.len() - tail)?,
        right.get(head..right.len() - tail)?,
    );
    if from.len() > DIFF_LINES_MAX || to.len() > DIFF_LINES_MAX {
        return None;
    }
    let mut edits: Vec<Edit<'_>> = left
        .iter()
        .take(head)
        .map(|line| Edit::Same(line))
        .collect();
    edits.extend(script(from, to));
    edits.extend(
        left.iter()
            .skip(left.len() - tail)
            .map(|line| Edit::Same(line)),
    );
    Some(hunks(&edits))
}

/// The shortest way from one to the other, by the longest common subsequence.
fn script<'a>(from: &[&'a str], to: &[&'a str]) -> Vec<Edit<'a>> {
    let width = to.len() + 1;
    let mut common = vec![0_u16; (from.len() + 1) * width];
    let at = |common: &[u16], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, line) in from.iter().enumerate().rev() {
        for (j, other) in to.iter().enumerate().rev() {
            let best = if line == other {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut edits) = (0, 0, Vec::new());
    loop {
        match (from.get(i), to.get(j)) {
            (Some(line), Some(other)) if line == other => {
                edits.push(Edit::Same(line));
                (i, j) = (i + 1, j + 1);
            }
            (Some(line), other)
                if other.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) =>
            {
                edits.push(Edit::Removed(line));
                i += 1;
            }
            (_, Some(other)) => {
                edits.push(Edit::Added(other));
                j += 1;
            }
            _ => return edits,
        }
    }
}

/// Differences with a little agreement around them, in the usual notation.
fn hunks(edits: &[Edit<'_>]) -> Vec<String> {
    let changed: Vec<usize> = edits
        .iter()
        .enumerate()
        .filter(|(_, edit)| !matches!(edit, Edit::Same(_)))
        .map(|(at, _)| at)
        .collect();
    let near = |at: usize| {
        let next = changed.partition_point(|change| *change < at);
        let before = next.checked_sub(1).and_then(|next| changed.get(next));
        changed
            .get(next)
            .is_some_and(|change| change - at <= CONTEXT_LINES)
            || before.is_some_and(|change| at - change <= CONTEXT_LINES)
    };
    let (mut lines, mut old, mut new, mut gap) = (Vec::new(), 1, 1, true);
    for (at, edit) in edits.iter().enumerate() {
        if near(at) {
            if gap {
                lines.push(format!("@@ -{old} +{new} @@"));
            }
            lines.push(match edit {
                Edit::Same(line) => format!(" {line}"),
                Edit::Removed(line) => format!("-{line}"),
                Edit::Added(line) => format!("+{line}"),
            });
        }
        gap = !near(at);
        old += usize::from(!matches!(edit, Edit::Added(_)));
        new += usize::from(!matches!(edit, Edit::Removed(_)));
    }
    lines
}

/// The words whose use differs most between two texts: word, times in one, times in the other.
pub(super) fn words(one: &str, other: &str) -> Vec<(String, usize, usize)> {
    let (left, right): (BTreeMap<String, usize>, BTreeMap<String, usize>) =
        (word_counts(one), word_counts(other));
    let all: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let count =
        |counts: &BTreeMap<String, usize>, word: &str| counts.get(word).copied().unwrap_or(0);
    let mut used: Vec<(String, usize, usize)> = all
        .into_iter()
        .map(|word| (word.clone(), count(&left, word), count(&right, word)))
        .collect();
    used.retain(|(_, a, b)| a != b);
    used.sort_by(|(word, a, b), (also, c, d)| {
        c.abs_diff(*d)
            .cmp(&a.abs_diff(*b))
            .then_with(|| word.cmp(also))
    });
    used.truncate(WORDS_MAX);
    used
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_difference_names_the_changed_lines_and_where_they_are() {
        let lines = diff("a\nb\nc\nd\ne\nf\ng", "a\nb\nc\nX\ne\nf\ng").unwrap();
        assert_eq!(lines, ["@@ -2 +2 @@", " b", " c", "-d", "+X", " e", " f"]);
        assert!(diff("same\n", "same\n").unwrap().is_empty());
        assert_eq!(diff("", "new").unwrap(), ["@@ -1 +1 @@", "+new"]);
    }

    #[test]
    fn lines_of_one_text_only_are_listed_once() {
        assert_eq!(only_in("a\nb\nb\nc", &["c\nd"]), ["a", "b"]);
        assert_eq!(in_all(&["a\nb\n", "b\na\nc"]), 2);
        assert_eq!(
            words("x x y", "y z"),
            [("x".to_owned(), 2, 0), ("z".to_owned(), 0, 1)]
        );
    }
}
