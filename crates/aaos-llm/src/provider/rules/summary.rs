//! Extractive summaries: sentences of the text itself, word for word, in their order. Nothing is rephrased.
//!
//! A sentence counts for the frequent content words it holds and for its place; a paragraph already spoken for and a
//! sentence that repeats a chosen one count less. White space is the only thing that is changed.

use std::collections::{BTreeMap, BTreeSet};
use unicode_segmentation::UnicodeSegmentation;

/// Most sentences that are weighed; a longer text is weighed by its first ones, and says so.
pub(super) const SENTENCES_WEIGHED_MAX: usize = 20_000;
/// Fewest words of a sentence that can stand for something.
const WORDS_MIN: usize = 4;
/// Words of a sentence beyond which it is more a list than a sentence.
const WORDS_MAX: usize = 60;
/// What a sentence's first words are worth: openings of paragraphs carry their topic.
const OPENING_BONUS: f64 = 1.25;
/// What the first paragraph's sentences are worth.
const LEAD_BONUS: f64 = 1.15;
/// What a sentence with a figure is worth: figures are what readers look for.
const FIGURE_BONUS: f64 = 1.1;
/// What a sentence that leans on the one before is worth.
const LEANING_FACTOR: f64 = 0.6;
/// What each sentence already taken from a paragraph makes of its others.
const PARAGRAPH_FACTOR: f64 = 0.55;

/// Fewest lines that are taken for a list by their look alone.
const LIST_LINES_MIN: usize = 3;
/// Longest key of a line such as `key: value`.
const KEY_BYTES_MAX: usize = 40;
/// What marks an item of a list.
pub(super) const ITEM: &str = "- ";

/// Words that say nothing of what a text is about.
const EMPTY_WORDS: &str = " a about after all also an and any are as at be been before being between both but by can could did do \
does for from had has have he her his how i if in into is it its itself just may might more most much must no nor not of on one only or \
other our out over own same she should so some such than that the their them then there these they this those through to too under up \
very was we were what when where which while who whom why will with would you your ";

/// Beginnings that lean on the sentence before.
const LEANING: &str = " it this that these those they he she his her their such however therefore thus moreover but and so also then ";

/// Endings after which a sentence seldom ends.
const ABBREVIATIONS: [&str; 22] = [
    "mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "e.g.", "i.e.", "etc.", "vs.", "no.", "fig.",
    "approx.", "ca.", "cf.", "inc.", "ltd.", "co.", "jan.", "feb.", "dec.", "dept.",
];

/// A sentence and the paragraph it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    /// Its words as they stand; runs of white space are one space.
    pub(super) text: String,
    /// Its paragraph, from 0.
    pub(super) paragraph: usize,
    /// Whether it opens its paragraph.
    opens: bool,
    /// Whether its paragraph is an item of a list.
    item: bool,
}

/// Lines that stand together, without their marks.
struct Stretch<'a> {
    /// Whether a list's mark opens it.
    item: bool,
    lines: Vec<&'a str>,
}

impl Stretch<'_> {
    fn joined(&self) -> String {
        let words = self.lines.iter().flat_map(|line| line.split_whitespace());
        words.collect::<Vec<_>>().join(" ")
    }

    /// Whether its lines are things of their own rather than one running text: names, entries, `key: value`.
    fn is_list(&self) -> bool {
        let apart = |line: &&str| {
            !line.starts_with(char::is_lowercase) && !line.ends_with(['.', '!', '?', ',', ';'])
        };
        let keyed = |line: &&str| {
            let key = line.split_once(": ").map_or("", |(key, _)| key);
            !key.is_empty() && key.len() <= KEY_BYTES_MAX
        };
        let all_keyed = self.lines.len() >= 2 && self.lines.iter().all(keyed);
        !self.item
            && self.lines.iter().all(apart)
            && (self.lines.len() >= LIST_LINES_MIN || all_keyed)
    }
}

/// The stretches of a text: blocks of prose, without headings, tables, code and rules; list items by themselves.
fn stretches(text: &str) -> Vec<Stretch<'_>> {
    let mut found: Vec<Stretch<'_>> = Vec::new();
    let (mut open, mut fenced) = (false, false);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            (fenced, open) = (!fenced, false);
            continue;
        }
        let rule =
            trimmed.len() >= 2 && trimmed.chars().all(|c| matches!(c, '-' | '=' | '*' | '_'));
        let none = fenced
            || trimmed.is_empty()
            || rule
            || trimmed.starts_with('|')
            || super::extract::atx(trimmed).is_some();
        if none {
            open = false;
            continue;
        }
        let (item, body) = list_item(trimmed);
        match found.last_mut() {
            Some(stretch) if open && !item => stretch.lines.push(body),
            _ => found.push(Stretch {
                item,
                lines: vec![body],
            }),
        }
        open = true;
    }
    found
}

/// The paragraphs of a text, each on one line.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    stretches(text)
        .iter()
        .map(Stretch::joined)
        .filter(|block| !block.is_empty())
        .collect()
}

/// The paragraphs of a text, and whether each is an item of a list. Lines that are things of their own are items.
fn blocks(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for stretch in stretches(text) {
        if stretch.is_list() {
            found.extend(
                stretch
                    .lines
                    .iter()
                    .map(|line| (true, line.trim().to_owned())),
            );
        } else {
            found.push((stretch.item, stretch.joined()));
        }
    }
    found.retain(|(_, block)| !block.is_empty());
    found
}

/// Whether a line begins a list item or a quotation, and its text without the mark.
fn list_item(line: &str) -> (bool, &str) {
    for mark in ["- ", "* ", "+ "] {
        if let Some(body) = line.strip_prefix(mark) {
            return (true, body.trim_start());
        }
    }
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let numbered = line
        .get(digits..)
        .and_then(|rest| rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")));
    match numbered {
        Some(body) if (1..=3).contains(&digits) => (true, body.trim_start()),
        _ => (false, line.trim_start_matches("> ")),
    }
}

/// The sentences of a text, in order.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let blocks = paragraphs(text).into_iter().map(|block| (false, block));
    sentences_of(&blocks.collect::<Vec<_>>())
}

fn sentences_of(blocks: &[(bool, String)]) -> Vec<Sentence> {
    let mut found: Vec<Sentence> = Vec::new();
    for (paragraph, (item, block)) in blocks.iter().enumerate() {
        let mut opens = true;
        let mut open_end = false;
        for piece in block.split_sentence_bounds() {
            match found.last_mut() {
                Some(last) if open_end => last.text.push_str(piece),
                _ => {
                    found.push(Sentence {
                        text: piece.to_owned(),
                        paragraph,
                        opens,
                        item: *item,
                    });
                    opens = false;
                }
            }
            open_end = found.last().is_some_and(|last| ends_early(&last.text));
        }
        if let Some(last) = found.last_mut() {
            last.text.truncate(last.text.trim_end().len());
        }
    }
    for sentence in &mut found {
        sentence.text.truncate(sentence.text.trim_end().len());
    }
    found.retain(|sentence| !sentence.text.is_empty());
    found
}

/// Whether a piece ends in an abbreviation or an initial.
fn ends_early(piece: &str) -> bool {
    let last = piece
        .trim_end()
        .rsplit(' ')
        .next()
        .unwrap_or("")
        .trim_start_matches(['(', '"', '“']);
    let initial = last.len() == 2
        && last.ends_with('.')
        && last.starts_with(|c: char| c.is_ascii_uppercase());
    initial || ABBREVIATIONS.contains(&last.to_lowercase().as_str())
}

/// The sentences that stand for a text, in their order.
pub(super) fn summarise(text: &str, count: usize) -> Vec<String> {
    let chosen = chosen(text, count).into_iter();
    chosen.map(|sentence| sentence.text).collect()
}

/// The same, with items of the text's own lists marked as such; sentences of one item stay together.
pub(super) fn laid_out(text: &str, count: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut before: Option<usize> = None;
    for sentence in chosen(text, count) {
        match out.last_mut() {
            Some(last) if sentence.item && before == Some(sentence.paragraph) => {
                last.push(' ');
                last.push_str(&sentence.text);
            }
            _ if sentence.item => out.push(format!("{ITEM}{}", sentence.text)),
            _ => out.push(sentence.text),
        }
        before = Some(sentence.paragraph);
    }
    out
}

fn chosen(text: &str, count: usize) -> Vec<Sentence> {
    let mut all = sentences_of(&blocks(text));
    all.truncate(SENTENCES_WEIGHED_MAX);
    if all.len() <= count {
        return all;
    }
    let words: Vec<BTreeSet<String>> = all
        .iter()
        .map(|sentence| content_words(&sentence.text))
        .collect();
    let weights = weights(&all, &words);
    let mut chosen = choose(&all, &words, weights, count);
    chosen.sort_unstable();
    chosen
        .into_iter()
        .filter_map(|position| all.get(position).cloned())
        .collect()
}

fn content_words(sentence: &str) -> BTreeSet<String> {
    let words = sentence.unicode_words().map(str::to_lowercase);
    words
        .filter(|word| word.len() > 2 && !listed(EMPTY_WORDS, word))
        .map(|word| stem(&word).to_owned())
        .collect()
}

fn listed(list: &str, word: &str) -> bool {
    list.contains(&format!(" {word} "))
}

/// A word without the endings that most often differ between uses of it.
fn stem(word: &str) -> &str {
    let cut = ["ing", "ed", "es", "s"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending).filter(|stem| stem.len() >= 4));
    cut.unwrap_or(word)
}

fn weights(all: &[Sentence], words: &[BTreeSet<String>]) -> Vec<f64> {
    let mut frequency: BTreeMap<&str, f64> = BTreeMap::new();
    for word in words.iter().flatten() {
        *frequency.entry(word).or_insert(0.0) += 1.0;
    }
    let weigh = |(sentence, words): (&Sentence, &BTreeSet<String>)| {
        let length = sentence.text.unicode_words().count();
        if length < WORDS_MIN || words.is_empty() {
            return 0.0;
        }
        let sum: f64 = words
            .iter()
            .filter_map(|word| frequency.get(word.as_str()))
            .map(|n| n.ln_1p())
            .sum();
        let size = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let mut weight = sum / f64::from(size).powf(0.6);
        if length > WORDS_MAX {
            weight *= LEANING_FACTOR;
        }
        weight * place(sentence)
    };
    all.iter().zip(words).map(weigh).collect()
}

fn place(sentence: &Sentence) -> f64 {
    let mut factor = 1.0;
    if sentence.opens {
        factor *= OPENING_BONUS;
    }
    if sentence.paragraph == 0 {
        factor *= LEAD_BONUS;
    }
    if sentence.text.contains(|c: char| c.is_ascii_digit()) {
        factor *= FIGURE_BONUS;
    }
    let first = sentence
        .text
        .unicode_words()
        .next()
        .unwrap_or("")
        .to_lowercase();
    if !sentence.opens && listed(LEANING, &first) {
        factor *= LEANING_FACTOR;
    }
    factor
}

/// Takes the best one, makes less of what is like it, and again.
fn choose(
    all: &[Sentence],
    words: &[BTreeSet<String>],
    mut weights: Vec<f64>,
    count: usize,
) -> Vec<usize> {
    let mut chosen = Vec::new();
    while chosen.len() < count.min(all.len()) {
        let best = weights
            .iter()
            .enumerate()
            .max_by(|(at, one), (also, other)| one.total_cmp(other).then(also.cmp(at)));
        let Some((best, weight)) = best.map(|(at, weight)| (at, *weight)) else {
            break;
        };
        if weight < 0.0 {
            break;
        }
        chosen.push(best);
        let (Some(taken), Some(taken_words)) = (all.get(best), words.get(best)) else {
            break;
        };
        for (at, weight) in weights.iter_mut().enumerate() {
            if all
                .get(at)
                .is_some_and(|sentence| sentence.paragraph == taken.paragraph)
            {
                *weight *= PARAGRAPH_FACTOR;
            }
            *weight *= 1.0
                - words
                    .get(at)
                    .map_or(0.0, |words| likeness(words, taken_words));
        }
        if let Some(weight) = weights.get_mut(best) {
            *weight = -1.0;
        }
    }
    chosen
}

/// The share of words two sentences have in common.
fn likeness(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let common = one.intersection(other).count();
    let all = one.len() + other.len() - common;
    if all == 0 {
        0.0
    } else {
        count(common) / count(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const TEXT: &str = "# The bridge\n\nThe old bridge at Ashby was closed in March after engineers found a crack.\nDr. Lee \
said the crack had grown by 4.2 mm in a year. It was not repaired.\n\n- The council voted for a new bridge.\n- It will cost 6.8 \
million.\n\n```\ncode. is not prose. at all.\n```\n\nTraffic now goes through the village. Residents complain about noise.";

    #[test]
    fn an_abbreviation_and_a_decimal_point_end_no_sentence() {
        let texts: Vec<String> = sentences(TEXT)
            .into_iter()
            .map(|sentence| sentence.text)
            .collect();
        assert!(
            texts.contains(&"Dr. Lee said the crack had grown by 4.2 mm in a year.".to_owned()),
            "{texts:?}"
        );
        assert!(texts.iter().all(|text| !text.contains("code.")));
        assert_eq!(texts.len(), 7, "{texts:#?}");
    }

    #[test]
    fn a_summary_is_of_the_texts_own_sentences_in_order() {
        let all: Vec<String> = sentences(TEXT)
            .into_iter()
            .map(|sentence| sentence.text)
            .collect();
        for count in 1..10 {
            let chosen = summarise(TEXT, count);
            assert_eq!(chosen.len(), count.min(all.len()));
            let places: Vec<usize> = chosen
                .iter()
                .map(|text| all.iter().position(|one| one == text).unwrap())
                .collect();
            assert!(places.is_sorted());
        }
        assert!(summarise(TEXT, 1)[0].contains("bridge"));
    }

    #[test]
    fn nothing_has_an_empty_summary() {
        assert!(summarise("", 3).is_empty());
        assert!(summarise("# Only a heading", 3).is_empty());
    }

    #[test]
    fn items_of_lists_stay_items_and_lines_of_their_own_do_not_run_together() {
        let notes = "# Monday\n\nA call with the printer.\n\n- Posters cost 85 euros. They are red.\n- TODO send the logo\n";
        let items = [
            "A call with the printer.",
            "- Posters cost 85 euros. They are red.",
            "- TODO send the logo",
        ];
        assert_eq!(laid_out(notes, 9), items);
        assert_eq!(
            laid_out("Hall: Harbour\nSeats: 220\n", 9),
            ["- Hall: Harbour", "- Seats: 220"]
        );
        assert_eq!(laid_out("Weber\nAnna\nZoe\n", 2).len(), 2);
        let wrapped = "The bridge was built by\nAnna Berg and closed\nin the spring.\n";
        assert_eq!(laid_out(wrapped, 3).len(), 1);
    }
}
