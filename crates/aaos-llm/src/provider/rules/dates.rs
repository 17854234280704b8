//! Dates in the usual written forms: 2024-03-01, 1.3.2024, 03/01/2024, 1 March 2024, March 1, 2024, March 2024.

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A run of text without white space and the punctuation around it.
struct Piece<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

/// All dates, as written, in the order they stand.
pub(super) fn dates(text: &str) -> Vec<String> {
    let pieces = pieces(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        let taken = worded(&pieces, at).or_else(|| {
            pieces
                .get(at)
                .filter(|piece| is_numeric(piece.text))
                .map(|_| 1)
        });
        if let (Some(first), Some(last), Some(_)) = (
            pieces.get(at),
            taken.and_then(|n| pieces.get(at + n - 1)),
            taken,
        ) {
            found.extend(text.get(first.start..last.end).map(str::to_owned));
        }
        at += taken.unwrap_or(1);
    }
    found
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                let run = text.get(from..at).unwrap_or("");
                let inner = run.trim_matches(|c: char| !c.is_alphanumeric());
                let lead = run.len() - run.trim_start_matches(|c: char| !c.is_alphanumeric()).len();
                if !inner.is_empty() {
                    let clipped = inner
                        .split('T')
                        .next()
                        .filter(|day| is_numeric(day))
                        .unwrap_or(inner);
                    found.push(Piece {
                        text: clipped,
                        start: from + lead,
                        end: from + lead + clipped.len(),
                    });
                }
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// How many pieces from here make a date with a month's name.
fn worded(pieces: &[Piece<'_>], at: usize) -> Option<usize> {
    let piece = |offset: usize| pieces.get(at + offset).map(|piece| piece.text);
    let first = piece(0)?;
    let second = piece(1)?;
    if is_day(first) && is_month(second) {
        return Some(if piece(2).is_some_and(is_year) { 3 } else { 2 });
    }
    if !is_month(first) {
        return None;
    }
    match (is_day(second), piece(2).is_some_and(is_year)) {
        (true, true) => Some(3),
        (true, false) => Some(2),
        (false, _) => is_year(second).then_some(2),
    }
}

fn is_month(word: &str) -> bool {
    let capital = word.chars().next().is_some_and(char::is_uppercase);
    let lower = word.to_lowercase();
    capital
        && lower.len() >= 3
        && MONTHS
            .iter()
            .any(|month| *month == lower || month.get(..3) == Some(lower.as_str()))
}

fn is_day(word: &str) -> bool {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let ending = word.get(digits.len()..).unwrap_or("");
    matches!(ending, "" | "st" | "nd" | "rd" | "th") && digits.len() <= 2 && within(digits, 1, 31)
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && within(word, 1000, 2999)
}

fn within(digits: &str, least: u32, most: u32) -> bool {
    digits
        .parse::<u32>()
        .is_ok_and(|number| (least..=most).contains(&number))
}

/// Three numbers with one kind of mark between them that can be a day, a month and a year.
fn is_numeric(word: &str) -> bool {
    ['-', '/', '.'].into_iter().any(|mark| {
        let parts: Vec<&str> = word.split(mark).collect();
        let [one, two, three] = parts.as_slice() else {
            return false;
        };
        let digits = parts
            .iter()
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
        let year_first = is_year(one) && within(two, 1, 12) && within(three, 1, 31);
        let year_last = is_year(three)
            && within(one, 1, 31)
            && within(two, 1, 31)
            && (within(one, 1, 12) || within(two, 1, 12));
        digits && (year_first || year_last)
    })
}
