//! Why a goal was not planned: the part that was not understood, in the goal's own words, and what is covered.

use super::{
    lex::{Kind, Token},
    words,
};
use aaos_core::{failure::Failure, text};

/// Longest quotation of a goal in a refusal, in bytes.
const QUOTE_BYTES_MAX: usize = 160;

/// What the planner covers, for people.
const FORMS: &str = "name the files, folders or URLs in the goal, and ask only for what needs no judgement: read, list, \
search for a text, fetch, count, extract (links, email addresses, headings, dates, numbers, lines, JSON fields, CSV \
columns), most frequent words, extractive summaries, compare, combine, sort, write to a file. For example: \
`read notes.txt and list.txt, count the words in each and write a report to report.md`";

/// A part of a goal that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The goal's own words.
    pub(super) quote: String,
    /// Why they cannot be planned.
    pub(super) why: String,
}

impl Refusal {
    /// A refusal of a part of a goal.
    pub(super) fn new(quote: &str, why: impl Into<String>) -> Self {
        Self {
            quote: text::preview(quote.trim(), QUOTE_BYTES_MAX),
            why: why.into(),
        }
    }

    /// Of words that no rule took, with the likeliest reason.
    pub(super) fn of_rest(goal: &str, rest: &[Token]) -> Self {
        let (start, end) = match (rest.first(), rest.last()) {
            (Some(first), Some(last)) => (first.span.start, last.span.end),
            _ => (0, goal.len()),
        };
        Self::new(goal.get(start..end).unwrap_or(goal), reason(goal, rest))
    }

    /// The failure that the operator sees.
    pub(super) fn into_failure(self) -> Failure {
        let reason = if self.quote.is_empty() {
            self.why
        } else {
            format!("`{}`: {}", self.quote, self.why)
        };
        Failure::GoalRefused {
            reason,
            ways_on: ways_on(),
        }
    }
}

/// What the operator can do instead.
pub(super) fn ways_on() -> Vec<String> {
    vec![
        "configure a model: `agentd configure`".to_owned(),
        "use a local model server: any OpenAI-compatible base URL, set with `agentd configure`"
            .to_owned(),
        format!("or say it in a form that is covered: {FORMS}"),
    ]
}

fn reason(goal: &str, rest: &[Token]) -> String {
    let words = |tokens: &[Token], test: fn(&str) -> bool| {
        tokens.iter().find_map(|token| found(token, test))
    };
    if let Some(Token {
        kind: Kind::Site(site),
        ..
    }) = rest.first()
    {
        return format!("this could be a file or a site; write `./{site}` or `https://{site}`");
    }
    if goal_is_foreign(goal) {
        return "only English is understood without a model".to_owned();
    }
    if let Some(word) = words(rest, words::is_condition) {
        return format!(
            "conditions, exceptions and alternatives (`{word}`) are not understood without a model"
        );
    }
    if let Some(word) = words(rest, words::needs_model) {
        return format!("`{word}` asks for judgement or invention, which takes a model");
    }
    if rest
        .iter()
        .any(|token| matches!(&token.kind, Kind::Other(other) if other.contains("://")))
    {
        return "only http and https addresses can be fetched".to_owned();
    }
    "this part is not understood without a model".to_owned()
}

fn found(token: &Token, test: fn(&str) -> bool) -> Option<String> {
    match &token.kind {
        Kind::Word(word) if test(word) => Some(word.clone()),
        _ => None,
    }
}

fn goal_is_foreign(goal: &str) -> bool {
    let tokens = super::lex::lex(goal);
    let foreign = tokens.iter().filter(|token| match &token.kind {
        Kind::Word(word) => {
            words::is_foreign(word) || word.chars().any(|c| c.is_alphabetic() && !c.is_ascii())
        }
        _ => false,
    });
    let all = tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word(_)))
        .count();
    let foreign = foreign.count();
    foreign >= 2 || (foreign == 1 && all <= 3)
}
