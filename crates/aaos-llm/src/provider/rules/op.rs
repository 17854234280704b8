//! What a subtask is asked to do to texts, and the sentence that says so.
//!
//! The planner writes the sentence and the turns read it back: one canonical form, readable for people. What does
//! not have that form is refused, never interpreted.

use std::fmt;

/// What can be found in a text and listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// Targets of Markdown links, and bare addresses.
    Links,
    /// `http` and `https` addresses.
    Urls,
    /// Email addresses.
    Emails,
    /// Markdown headings.
    Headings,
    /// Dates in the usual written forms.
    Dates,
    /// Numbers.
    Numbers,
    /// Lines marked as still to be done.
    Todos,
    /// Markdown tables.
    Tables,
}

impl Items {
    const ALL: [Self; 8] = [
        Self::Links,
        Self::Urls,
        Self::Emails,
        Self::Headings,
        Self::Dates,
        Self::Numbers,
        Self::Todos,
        Self::Tables,
    ];

    /// The noun.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Urls => "URLs",
            Self::Emails => "email addresses",
            Self::Headings => "headings",
            Self::Dates => "dates",
            Self::Numbers => "numbers",
            Self::Todos => "TODO lines",
            Self::Tables => "tables",
        }
    }
}

/// What can be counted in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Words.
    Words,
    /// Lines.
    Lines,
    /// Characters.
    Characters,
    /// Sentences.
    Sentences,
    /// Paragraphs.
    Paragraphs,
    /// Things that can be listed.
    Of(Items),
}

impl Unit {
    /// The noun.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Lines => "lines",
            Self::Characters => "characters",
            Self::Sentences => "sentences",
            Self::Paragraphs => "paragraphs",
            Self::Of(items) => items.noun(),
        }
    }

    fn parse(noun: &str) -> Option<Self> {
        let plain = [
            Self::Words,
            Self::Lines,
            Self::Characters,
            Self::Sentences,
            Self::Paragraphs,
        ];
        let listed = Items::ALL.into_iter().map(Self::Of);
        plain
            .into_iter()
            .chain(listed)
            .find(|unit| unit.noun() == noun)
    }
}

/// What a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entries {
    /// Files.
    Files,
    /// Directories.
    Folders,
    /// Everything.
    All,
}

impl Entries {
    /// The noun.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Folders => "folders",
            Self::All => "entries",
        }
    }

    fn parse(noun: &str) -> Option<Self> {
        [Self::Files, Self::Folders, Self::All]
            .into_iter()
            .find(|entries| entries.noun() == noun)
    }
}

/// A literal text to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The text.
    pub(super) text: String,
    /// Whether it must stand as a word of its own.
    pub(super) reach: Reach,
    /// Whether upper and lower case differ.
    pub(super) case: Case,
}

/// Where a literal text counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everywhere, within words too.
    Anywhere,
    /// As a word of its own.
    Word,
}

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// They do not.
    Ignored,
    /// They do.
    Exact,
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reach == Reach::Word {
            out.write_str("the word ")?;
        }
        out.write_str(&quote(&self.text))?;
        if self.case == Case::Exact {
            out.write_str(" in exact case")
        } else {
            Ok(())
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (reach, text) = match text.strip_prefix("the word ") {
            Some(rest) => (Reach::Word, rest),
            None => (Reach::Anywhere, text),
        };
        let (case, text) = match text.strip_suffix(" in exact case") {
            Some(rest) => (Case::Exact, rest),
            None => (Case::Ignored, text),
        };
        Some(Self {
            text: unquote(text)?,
            reach,
            case,
        })
    }
}

/// How a summary is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Running text.
    Sentences,
    /// A list.
    Bullets,
}

impl Shape {
    const fn noun(self) -> &'static str {
        match self {
            Self::Sentences => "sentences",
            Self::Bullets => "bullet points",
        }
    }
}

/// The order lines are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By letters, rising.
    Letters,
    /// By letters, falling.
    LettersFalling,
    /// By their first number, rising.
    Numbers,
    /// By their first number, falling.
    NumbersFalling,
}

impl Order {
    const ALL: [Self; 4] = [
        Self::Letters,
        Self::LettersFalling,
        Self::Numbers,
        Self::NumbersFalling,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Letters => "sort the lines",
            Self::LettersFalling => "sort the lines in reverse",
            Self::Numbers => "sort the lines by number",
            Self::NumbersFalling => "sort the lines by number in reverse",
        }
    }
}

/// One step on a text or on what the step before gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// The text itself.
    Show,
    /// Its first lines, or the first of what was found.
    First(u32),
    /// Its last lines, or the last of what was found.
    Last(u32),
    /// How many there are.
    Count(Unit),
    /// How often a text occurs.
    CountMatches(Pattern),
    /// How many lines hold a text.
    CountLines(Pattern),
    /// The most frequent words.
    TopWords(u32),
    /// A list of things in it.
    Extract(Items),
    /// Lines that hold a text.
    Find(Pattern),
    /// A field of a JSON document.
    Field(String),
    /// A column of a CSV table.
    Column(String),
    /// Sentences that stand for the whole.
    Summarise(u32, Shape),
    /// Lines in order.
    Sort(Order),
    /// Each line once.
    Unique,
    /// How many were found.
    CountItems,
    /// What was found, added up.
    Total,
    /// The rows of a table.
    Records,
    /// What differs between texts.
    Compare,
    /// Texts one after the other.
    Combine,
    /// What a directory holds.
    List(Entries),
    /// How much a directory holds.
    CountEntries(Entries),
}

impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Show => out.write_str("show the text"),
            Self::First(n) => write!(out, "take the first {n}"),
            Self::Last(n) => write!(out, "take the last {n}"),
            Self::Count(unit) => write!(out, "count {}", unit.noun()),
            Self::CountMatches(pattern) => write!(out, "count occurrences of {pattern}"),
            Self::CountLines(pattern) => write!(out, "count lines with {pattern}"),
            Self::TopWords(n) => write!(out, "list the {n} most frequent words"),
            Self::Extract(items) => write!(out, "extract {}", items.noun()),
            Self::Find(pattern) => write!(out, "find lines with {pattern}"),
            Self::Field(name) => write!(out, "read the field {}", quote(name)),
            Self::Column(name) => write!(out, "read the column {}", quote(name)),
            Self::Summarise(n, shape) => write!(out, "summarise in {n} {}", shape.noun()),
            Self::Sort(order) => out.write_str(order.words()),
            Self::Unique => out.write_str("keep unique lines"),
            Self::CountItems => out.write_str("count them"),
            Self::Total => out.write_str("add them up"),
            Self::Records => out.write_str("read the rows"),
            Self::Compare => out.write_str("compare"),
            Self::Combine => out.write_str("combine"),
            Self::List(entries) => write!(out, "list {}", entries.noun()),
            Self::CountEntries(entries) => write!(out, "count the {}", entries.noun()),
        }
    }
}

impl Op {
    fn parse(text: &str) -> Option<Self> {
        let fixed = [
            Self::Show,
            Self::Unique,
            Self::CountItems,
            Self::Total,
            Self::Records,
            Self::Compare,
            Self::Combine,
        ];
        let orders = Order::ALL.into_iter().map(Self::Sort);
        if let Some(op) = fixed
            .into_iter()
            .chain(orders)
            .find(|op| op.to_string() == text)
        {
            return Some(op);
        }
        let (verb, rest) = text.split_once(' ')?;
        match verb {
            "take" => {
                let (end, n) = rest.strip_prefix("the ")?.split_once(' ')?;
                let n = n.parse().ok()?;
                if end == "first" {
                    Some(Self::First(n))
                } else {
                    (end == "last").then_some(Self::Last(n))
                }
            }
            "count" => Self::parse_count(rest),
            "list" => match rest
                .strip_prefix("the ")
                .and_then(|rest| rest.strip_suffix(" most frequent words"))
            {
                Some(n) => n.parse().ok().map(Self::TopWords),
                None => Entries::parse(rest).map(Self::List),
            },
            "extract" => match Unit::parse(rest)? {
                Unit::Of(items) => Some(Self::Extract(items)),
                _ => None,
            },
            "find" => Pattern::parse(rest.strip_prefix("lines with ")?).map(Self::Find),
            "read" => match rest.strip_prefix("the field ") {
                Some(name) => unquote(name).map(Self::Field),
                None => unquote(rest.strip_prefix("the column ")?).map(Self::Column),
            },
            "summarise" => {
                let (n, noun) = rest.strip_prefix("in ")?.split_once(' ')?;
                let shape = [Shape::Sentences, Shape::Bullets]
                    .into_iter()
                    .find(|shape| shape.noun() == noun)?;
                Some(Self::Summarise(n.parse().ok()?, shape))
            }
            _ => None,
        }
    }

    fn parse_count(rest: &str) -> Option<Self> {
        if let Some(pattern) = rest.strip_prefix("occurrences of ") {
            return Pattern::parse(pattern).map(Self::CountMatches);
        }
        if let Some(pattern) = rest.strip_prefix("lines with ") {
            return Pattern::parse(pattern).map(Self::CountLines);
        }
        match rest.strip_prefix("the ") {
            Some(noun) => Entries::parse(noun).map(Self::CountEntries),
            None => Unit::parse(rest).map(Self::Count),
        }
    }

    /// Whether it gives lines that a next step can sort, cut and count.
    pub(super) const fn gives_lines(&self) -> bool {
        !matches!(
            self,
            Self::Count(_)
                | Self::CountMatches(_)
                | Self::CountLines(_)
                | Self::CountItems
                | Self::CountEntries(_)
                | Self::Total
                | Self::Records
                | Self::Compare
                | Self::TopWords(_)
                | Self::Summarise(..)
        )
    }

    /// Whether it needs all texts at once.
    pub(super) const fn needs_all(&self) -> bool {
        matches!(self, Self::Compare | Self::Combine)
    }
}

/// Steps one after the other.
pub(super) type Chain = Vec<Op>;

/// Whether each text is taken by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Each by itself.
    Each,
    /// All of them as one.
    Together,
}

/// What form the answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Markdown to be put into a report.
    Section,
    /// Markdown with a heading and a last line: the whole answer.
    Report,
    /// JSON: the whole answer.
    Json,
    /// CSV: the whole answer.
    Csv,
    /// JSON for a writer that makes another form of it.
    Data,
}

impl Form {
    const NAMED: [Self; 4] = [Self::Report, Self::Json, Self::Csv, Self::Data];

    const fn words(self) -> &'static str {
        match self {
            Self::Section => "",
            Self::Report => " as a report",
            Self::Json => " as JSON",
            Self::Csv => " as CSV",
            Self::Data => " as data",
        }
    }
}

/// What a subtask does to which texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Analysis {
    /// What is done, each to the same texts.
    pub(super) chains: Vec<Chain>,
    /// What the texts are called, in the order of the inputs.
    pub(super) labels: Vec<String>,
    /// Each by itself or all as one.
    pub(super) scope: Scope,
    /// What form the answer has.
    pub(super) form: Form,
}

impl fmt::Display for Analysis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chains: Vec<String> = self.chains.iter().map(|chain| describe(chain)).collect();
        let labels: Vec<String> = self.labels.iter().map(|label| quote(label)).collect();
        write!(out, "{}: {}", chains.join("; "), labels.join(", "))?;
        if self.scope == Scope::Together {
            out.write_str(" together")?;
        }
        out.write_str(self.form.words())
    }
}

impl Analysis {
    /// Reads its own sentence back; nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let named = Form::NAMED
            .into_iter()
            .find_map(|form| text.strip_suffix(form.words()).map(|rest| (form, rest)));
        let (form, text) = named.unwrap_or((Form::Section, text));
        let (scope, text) = match text.strip_suffix(" together") {
            Some(rest) => (Scope::Together, rest),
            None => (Scope::Each, text),
        };
        let parts = split(text, ": ");
        let [chains, labels] = parts.as_slice() else {
            return None;
        };
        let chain = |text: &str| {
            split(text, ", then ")
                .into_iter()
                .map(Op::parse)
                .collect::<Option<Chain>>()
        };
        Some(Self {
            chains: split(chains, "; ")
                .into_iter()
                .map(chain)
                .collect::<Option<_>>()?,
            labels: split(labels, ", ")
                .into_iter()
                .map(unquote)
                .collect::<Option<_>>()?,
            scope,
            form,
        })
    }
}

/// A chain in words.
pub(super) fn describe(chain: &[Op]) -> String {
    chain
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", then ")
}

/// A text in quotation marks, as JSON writes it.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text out of its quotation marks.
pub(super) fn unquote(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// Splits at a separator that stands outside quotation marks.
pub(super) fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut inside, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        let outside = !inside && at >= start;
        if outside
            && text
                .get(at..)
                .is_some_and(|rest| rest.starts_with(separator))
        {
            parts.push(text.get(start..at).unwrap_or(""));
            start = at + separator.len();
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or(""));
    parts
}
