//! What a subtask's steps give for its texts. Plain functions of texts; whatever cannot be computed is an error in
//! words, never a guess.

use super::{
    compare, digest, extract,
    noun::SENTENCES_DEFAULT,
    op::{
        Analysis, Case, Chain, Form, Items, Op, Order, Pattern, Reach, Scope, Shape, Unit, describe,
    },
    records::{self, Table},
    summary,
};
use serde::{Deserialize, Serialize};

/// A text and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doc {
    /// Its path or address.
    pub(super) label: String,
    /// The text.
    pub(super) text: String,
}

/// What was found, and in what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// One for each text, or one for all.
    pub(super) sections: Vec<Section>,
    /// What readers must know: what is left out, how things were counted.
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

/// What was found in one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Section {
    /// The text's path or address.
    pub(super) source: String,
    /// One for each thing asked.
    pub(super) results: Vec<Part>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// What it is.
    pub(super) title: String,
    /// What was found.
    pub(super) found: Found,
}

/// The kinds of things that are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Found {
    /// A text as it is.
    Text(String),
    /// Lines or other short pieces.
    Lines(Vec<String>),
    /// A count.
    Number(u64),
    /// A sum, exact, in decimal digits.
    Amount(String),
    /// Rows under a head.
    Table {
        /// The names of the columns.
        head: Vec<String>,
        /// The rows.
        rows: Vec<Vec<String>>,
    },
    /// Sentences of a summary.
    Sentences(Vec<String>),
    /// Points of a summary.
    Points(Vec<String>),
}

/// Whether lines that were found carry their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// For readers: each line says where it stands.
    Shown,
    /// For further steps and for files: the line alone.
    Dropped,
}

impl Numbers {
    fn of(chain: &[Op], form: Form) -> Self {
        let reorders = chain
            .iter()
            .any(|op| matches!(op, Op::Sort(_) | Op::Unique));
        if reorders || form == Form::Data {
            Self::Dropped
        } else {
            Self::Shown
        }
    }
}

/// Carries out a subtask's steps.
///
/// # Errors
/// In words, with the text's name.
pub(super) fn answer(analysis: &Analysis, docs: &[Doc]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    match analysis.scope {
        Scope::Together => answer.sections.push(together(analysis, docs)?),
        Scope::Each => each(analysis, docs, &mut answer)?,
    }
    let all: Vec<&Op> = analysis.chains.iter().flatten().collect();
    if all.iter().any(|op| matches!(op, Op::TopWords(_))) {
        answer
            .notes
            .push("Upper and lower case are counted alike, and every word is counted.".to_owned());
    }
    if all.iter().any(|op| matches!(op, Op::Summarise(..))) {
        let digests = docs.iter().map(|doc| digest::digest(doc, 0).is_some());
        let (digests, texts): (Vec<bool>, Vec<bool>) = digests.partition(|digest| *digest);
        if !texts.is_empty() {
            let note = "Summaries are extracts: sentences of the text, word for word.";
            answer.notes.push(note.to_owned());
        }
        if !digests.is_empty() {
            answer.notes.push(digest::NOTE.to_owned());
        }
    }
    Ok(answer)
}

/// Each text by itself; counts of several texts stand in one table with their total.
fn each(analysis: &Analysis, docs: &[Doc], answer: &mut Answer) -> Result<(), String> {
    let (counts, others): (Vec<&Chain>, Vec<&Chain>) = analysis
        .chains
        .iter()
        .partition(|chain| docs.len() > 1 && counts(chain));
    if !counts.is_empty() {
        let results = counts
            .into_iter()
            .map(|chain| count_table(chain, docs))
            .collect::<Result<_, _>>()?;
        answer.sections.push(Section {
            source: format!("{} texts", docs.len()),
            results,
        });
    }
    if !others.is_empty() {
        for doc in docs {
            let results = others
                .iter()
                .map(|chain| part(chain, doc, analysis.form))
                .collect::<Result<_, _>>()?;
            answer.sections.push(Section {
                source: doc.label.clone(),
                results,
            });
        }
    }
    Ok(())
}

fn counts(chain: &Chain) -> bool {
    matches!(
        chain.last(),
        Some(Op::Count(_) | Op::CountMatches(_) | Op::CountLines(_) | Op::CountItems)
    )
}

fn count_table(chain: &Chain, docs: &[Doc]) -> Result<Part, String> {
    let title = title(chain);
    let mut rows = Vec::new();
    let mut total = 0_u64;
    for doc in docs {
        if let Found::Number(number) = part(chain, doc, Form::Data)?.found {
            total = total.saturating_add(number);
            rows.push(vec![doc.label.clone(), number.to_string()]);
        }
    }
    rows.push(vec!["Total".to_owned(), total.to_string()]);
    let found = Found::Table {
        head: vec!["Source".to_owned(), title.clone()],
        rows,
    };
    Ok(Part { title, found })
}

fn together(analysis: &Analysis, docs: &[Doc]) -> Result<Section, String> {
    let labels: Vec<&str> = docs.iter().map(|doc| doc.label.as_str()).collect();
    let source = match labels.as_slice() {
        [one] => (*one).to_owned(),
        few if few.len() <= 4 => few.join(", "),
        many => format!("{} texts", many.len()),
    };
    let joined = Doc {
        label: source.clone(),
        text: joined(docs),
    };
    let mut results = Vec::new();
    for chain in &analysis.chains {
        match chain.as_slice() {
            [Op::Compare] => results.extend(comparison(docs)),
            [Op::Combine, rest @ ..] => results.push(part_of(chain, rest, &joined, analysis.form)?),
            _ if counts(chain) && docs.len() > 1 => results.push(count_table(chain, docs)?),
            _ => results.push(part(chain, &joined, analysis.form)?),
        }
    }
    Ok(Section { source, results })
}

/// Texts one after the other, each ending in a line break.
fn joined(docs: &[Doc]) -> String {
    let mut all = String::new();
    for doc in docs {
        all.push_str(&doc.text);
        if !doc.text.is_empty() && !doc.text.ends_with('\n') {
            all.push('\n');
        }
    }
    all
}

fn part(chain: &Chain, doc: &Doc, form: Form) -> Result<Part, String> {
    part_of(chain, chain, doc, form)
}

fn part_of(chain: &Chain, steps: &[Op], doc: &Doc, form: Form) -> Result<Part, String> {
    if let [Op::Summarise(n, shape)] = steps
        && let Some(mut points) = digest::digest(doc, size(*n))
    {
        // A length that the goal names is kept; without one, everything that can be said is.
        if *n != SENTENCES_DEFAULT || *shape == Shape::Bullets {
            points.truncate(size(*n));
        }
        let (title, found) = (title(chain), Found::Points(points));
        return Ok(Part { title, found });
    }
    let numbers = Numbers::of(steps, form);
    let mut found = Found::Text(doc.text.clone());
    for op in steps {
        found = step(op, found, numbers).map_err(|reason| format!("{}: {reason}", doc.label))?;
    }
    Ok(Part {
        title: title(chain),
        found,
    })
}

/// One step on what the step before gave.
fn step(op: &Op, before: Found, numbers: Numbers) -> Result<Found, String> {
    Ok(match op {
        Op::Show | Op::Combine => before,
        Op::First(n) => cut(before, |lines| lines.into_iter().take(size(*n)).collect())?,
        Op::Last(n) => cut(before, |lines| {
            let skipped = lines.len().saturating_sub(size(*n));
            lines.into_iter().skip(skipped).collect()
        })?,
        Op::Sort(order) => cut(before, |lines| sorted(lines, *order))?,
        Op::Unique => cut(before, |lines| {
            let mut seen = std::collections::BTreeSet::new();
            lines
                .into_iter()
                .filter(|line| seen.insert(line.clone()))
                .collect()
        })?,
        Op::CountItems => Found::Number(length(&lines(before)?)),
        Op::Total => Found::Amount(records::total(&lines(before)?)?.to_string()),
        op => on_text(op, &text(before)?, numbers)?,
    })
}

fn on_text(op: &Op, text: &str, numbers: Numbers) -> Result<Found, String> {
    Ok(match op {
        Op::Count(unit) => Found::Number(count(text, *unit)),
        Op::CountMatches(pattern) => Found::Number(extract::occurrences(text, pattern) as u64),
        Op::CountLines(pattern) => Found::Number(length(&extract::lines_with(text, pattern))),
        Op::TopWords(n) => top_words(text, size(*n)),
        Op::Extract(Items::Todos) => Found::Lines(hits(text, &extract::todo_pattern(), numbers)),
        Op::Extract(items) => Found::Lines(extract::items(text, *items)),
        Op::Find(pattern) => Found::Lines(hits(text, pattern, numbers)),
        Op::Field(name) => Found::Lines(extract::field(text, name)?),
        Op::Column(name) => Found::Lines(extract::column(text, name)?),
        Op::Records => Table::read(text)?.found(),
        Op::Summarise(n, shape) => summarised(text, size(*n), *shape)?,
        other => return Err(format!("`{other}` cannot be done to one text")),
    })
}

/// Lines that hold a text.
fn hits(text: &str, pattern: &Pattern, numbers: Numbers) -> Vec<String> {
    let shown = |(number, line): (usize, &str)| match numbers {
        Numbers::Shown => format!("{number}: {}", line.trim()),
        Numbers::Dropped => line.trim_end().to_owned(),
    };
    extract::lines_with(text, pattern)
        .into_iter()
        .map(shown)
        .collect()
}

fn summarised(text: &str, count: usize, shape: Shape) -> Result<Found, String> {
    let found = match shape {
        Shape::Sentences => summary::laid_out(text, count),
        Shape::Bullets => summary::summarise(text, count),
    };
    match (found.is_empty(), shape) {
        (true, _) => Err("it holds no sentences to summarise".to_owned()),
        (false, Shape::Sentences) => Ok(Found::Sentences(found)),
        (false, Shape::Bullets) => Ok(Found::Points(found)),
    }
}

fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

fn count(text: &str, unit: Unit) -> u64 {
    let number = match unit {
        Unit::Words => text
            .split_whitespace()
            .filter(|run| run.contains(char::is_alphanumeric))
            .count(),
        Unit::Lines => text.lines().count(),
        Unit::Characters => text.chars().count(),
        Unit::Sentences => summary::sentences(text).len(),
        Unit::Paragraphs => summary::paragraphs(text).len(),
        Unit::Of(items) => extract::items(text, items).len(),
    };
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn top_words(text: &str, count: usize) -> Found {
    let ranked = extract::top_words(text, count);
    let rows = ranked
        .into_iter()
        .map(|(word, times)| vec![word, times.to_string()])
        .collect();
    Found::Table {
        head: vec!["Word".to_owned(), "Times".to_owned()],
        rows,
    }
}

/// Changes the lines of what was found; a text stays a text.
fn cut(found: Found, change: impl Fn(Vec<String>) -> Vec<String>) -> Result<Found, String> {
    match found {
        Found::Text(text) => {
            let mut text = change(text.lines().map(str::to_owned).collect()).join("\n");
            if !text.is_empty() {
                text.push('\n');
            }
            Ok(Found::Text(text))
        }
        other => lines(other).map(|found| Found::Lines(change(found))),
    }
}

fn lines(found: Found) -> Result<Vec<String>, String> {
    match found {
        Found::Text(text) => Ok(text.lines().map(str::to_owned).collect()),
        Found::Lines(lines) | Found::Sentences(lines) | Found::Points(lines) => Ok(lines),
        Found::Number(_) | Found::Amount(_) | Found::Table { .. } => {
            Err("a count has no lines".to_owned())
        }
    }
}

fn text(found: Found) -> Result<String, String> {
    match found {
        Found::Text(text) => Ok(text),
        other => lines(other).map(|lines| lines.join("\n")),
    }
}

fn sorted(mut lines: Vec<String>, order: Order) -> Vec<String> {
    let number = |line: &String| {
        let digits: String = line
            .chars()
            .skip_while(|c| !c.is_ascii_digit() && *c != '-')
            .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
            .collect();
        digits.parse::<f64>().unwrap_or(f64::INFINITY)
    };
    match order {
        Order::Letters | Order::LettersFalling => {
            lines.sort_by_cached_key(|line| (line.to_lowercase(), line.clone()))
        }
        Order::Numbers | Order::NumbersFalling => {
            lines.sort_by(|one, other| number(one).total_cmp(&number(other)))
        }
    }
    if matches!(order, Order::LettersFalling | Order::NumbersFalling) {
        lines.reverse();
    }
    lines
}

fn comparison(docs: &[Doc]) -> Vec<Part> {
    let texts: Vec<&str> = docs.iter().map(|doc| doc.text.as_str()).collect();
    if texts
        .windows(2)
        .all(|pair| matches!(pair, [one, other] if one == other))
    {
        return vec![Part {
            title: "Comparison".to_owned(),
            found: Found::Lines(vec!["The texts are identical.".to_owned()]),
        }];
    }
    let mut rows = Vec::new();
    let mut parts = Vec::new();
    for (at, doc) in docs.iter().enumerate() {
        let others: Vec<&str> = texts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, text)| *text)
            .collect();
        let only = compare::only_in(&doc.text, &others);
        rows.push(vec![
            doc.label.clone(),
            doc.text.lines().count().to_string(),
            count(&doc.text, Unit::Words).to_string(),
            only.len().to_string(),
        ]);
        let mut listed: Vec<String> = only
            .iter()
            .take(compare::ONLY_LINES_MAX)
            .map(|line| (*line).to_owned())
            .collect();
        if only.len() > listed.len() {
            listed.push(format!("… and {} more", only.len() - listed.len()));
        }
        parts.push(Part {
            title: format!("Lines only in {}", doc.label),
            found: Found::Lines(listed),
        });
    }
    rows.push(vec![
        "lines that all of them have".to_owned(),
        compare::in_all(&texts).to_string(),
        String::new(),
        String::new(),
    ]);
    let head = ["Source", "Lines", "Words", "Lines only here"]
        .map(str::to_owned)
        .to_vec();
    parts.insert(
        0,
        Part {
            title: "Comparison".to_owned(),
            found: Found::Table { head, rows },
        },
    );
    if let [one, other] = docs {
        parts.extend(comparison_of_two(one, other));
    }
    parts
}

fn comparison_of_two(one: &Doc, other: &Doc) -> Vec<Part> {
    let found = match compare::diff(&one.text, &other.text) {
        Some(lines) => Found::Text(format!(
            "```diff\n--- {}\n+++ {}\n{}\n```",
            one.label,
            other.label,
            lines.join("\n").replace("```", "'''")
        )),
        None => Found::Lines(vec![
            "The texts differ in too many lines to compare them one by one.".to_owned(),
        ]),
    };
    let rows = compare::words(&one.text, &other.text)
        .into_iter()
        .map(|(word, a, b)| vec![word, a.to_string(), b.to_string()])
        .collect();
    let head = vec!["Word".to_owned(), one.label.clone(), other.label.clone()];
    vec![
        Part {
            title: "Differences line by line".to_owned(),
            found,
        },
        Part {
            title: "Words whose use differs most".to_owned(),
            found: Found::Table { head, rows },
        },
    ]
}

/// What a chain gives, as a heading.
pub(super) fn title(chain: &[Op]) -> String {
    match chain {
        [Op::Show] | [Op::Combine] => "Text".to_owned(),
        [Op::Count(unit)] => capital(unit.noun()),
        [Op::CountMatches(pattern)] => format!("Occurrences of {}", shown(pattern)),
        [Op::CountLines(pattern)] => format!("Number of lines with {}", shown(pattern)),
        [Op::TopWords(1)] => "Most frequent word".to_owned(),
        [Op::TopWords(n)] => format!("The {n} most frequent words"),
        [Op::Extract(items)] => capital(items.noun()),
        [Op::Find(pattern)] => format!("Lines with {}", shown(pattern)),
        [Op::Field(name)] => format!("Field “{name}”"),
        [Op::Column(name)] => format!("Column “{name}”"),
        [Op::Summarise(..)] => "Summary".to_owned(),
        [Op::Records] => "Rows".to_owned(),
        [Op::Column(name) | Op::Field(name), Op::Total] => format!("Total of “{name}”"),
        [Op::Extract(Items::Numbers), Op::Total] => "Total of the numbers".to_owned(),
        [before @ .., Op::Total] => format!("Total of: {}", title(before)),
        [before @ .., Op::CountItems] => format!("Number of: {}", title(before)),
        other => capital(&describe(other)),
    }
}

fn shown(pattern: &Pattern) -> String {
    let word = if pattern.reach == Reach::Word {
        "the word "
    } else {
        ""
    };
    let case = if pattern.case == Case::Exact {
        ", in this case"
    } else {
        ", in any case"
    };
    format!("{word}“{}”{case}", pattern.text)
}

/// A text with a capital first letter.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
