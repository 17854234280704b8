//! The parser of goals: a place in the tokens, what was named so far, and what was asked for.
//!
//! Every token must be taken by some rule. What no rule takes is quoted in the refusal; there is no "anything else".

use super::{
    lex::{Kind, Token, lex},
    op::{Chain, Scope},
    refusal::Refusal,
    source::Source,
    words::{self, Verb},
};

/// What parsing gives.
pub(super) type Parsed<T> = Result<T, Refusal>;

/// Longest goal that is parsed, in bytes: an everyday goal is a few sentences.
pub(super) const GOAL_BYTES_MAX: usize = 8_192;
/// Most sources of one goal.
const SOURCES_MAX: usize = 200;

/// What is done to which sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The sources.
    pub(super) sources: Vec<Source>,
    /// What is done to them.
    pub(super) chains: Vec<Chain>,
    /// Each by itself or all as one, if the goal says so.
    pub(super) scope: Option<Scope>,
}

/// The form of a file or an answer, as the goal names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Markdown.
    Markdown,
    /// Plain text.
    Text,
    /// JSON.
    Json,
    /// CSV.
    Csv,
}

/// A goal, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goal {
    /// What is done, in order.
    pub(super) blocks: Vec<Block>,
    /// The file the result goes to.
    pub(super) output: Option<String>,
    /// The form it has there.
    pub(super) format: Option<Format>,
}

/// The state of parsing.
pub(super) struct Parser<'g> {
    pub(super) goal: &'g str,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    /// What `it` and `them` mean.
    pub(super) context: Vec<Source>,
    /// Sources that were named and that nothing has been done to.
    pub(super) idle: Vec<Source>,
    pub(super) blocks: Vec<Block>,
    pub(super) output: Option<String>,
    pub(super) format: Option<Format>,
    /// Whether the last clause only named sources.
    pub(super) gathering: bool,
    /// Clauses so far.
    pub(super) clauses: usize,
    /// The clause that named the file to write to.
    pub(super) output_clause: Option<usize>,
    /// Whether this clause asks for a total.
    pub(super) total: bool,
}

/// Understands a goal, all of it or not at all.
///
/// # Errors
/// The first part that is not understood.
pub(super) fn parse(goal: &str) -> Parsed<Goal> {
    if goal.trim().is_empty() {
        return Err(Refusal::new("", "the goal is empty"));
    }
    if goal.len() > GOAL_BYTES_MAX {
        return Err(Refusal::new(
            goal,
            format!("the goal is longer than {GOAL_BYTES_MAX} bytes"),
        ));
    }
    if let Some(bad) = goal.chars().find(|c| c.is_control() && !c.is_whitespace()) {
        return Err(Refusal::new(
            goal,
            format!("the goal holds the control character {bad:?}"),
        ));
    }
    Parser::new(goal).run()
}

impl<'g> Parser<'g> {
    fn new(goal: &'g str) -> Self {
        Self {
            goal,
            tokens: lex(goal),
            at: 0,
            context: Vec::new(),
            idle: Vec::new(),
            blocks: Vec::new(),
            output: None,
            format: None,
            gathering: false,
            clauses: 0,
            output_clause: None,
            total: false,
        }
    }

    fn run(mut self) -> Parsed<Goal> {
        self.eat_openers();
        while self.peek().is_some() {
            self.clause()?;
            let _ = self.eat_phrase("for me") || self.eat_phrase("please");
            if self.peek().is_some() && !self.eat_clause_separator() {
                return Err(self.refuse_here_default());
            }
            self.eat_openers();
        }
        let idle = std::mem::take(&mut self.idle);
        if !idle.is_empty() {
            self.show_idle(idle)?;
        }
        if self.blocks.is_empty() {
            return Err(Refusal::new(
                self.goal,
                "nothing is asked for that can be done without a model",
            ));
        }
        let named: usize = self.blocks.iter().map(|block| block.sources.len()).sum();
        if named > SOURCES_MAX {
            return Err(Refusal::new(
                self.goal,
                format!("more than {SOURCES_MAX} sources are named"),
            ));
        }
        Ok(Goal {
            blocks: self.blocks,
            output: self.output,
            format: self.format,
        })
    }

    /// The token at this place.
    pub(super) fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    /// The word at a place, lower case.
    pub(super) fn word_at(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// The word at this place, lower case.
    pub(super) fn word(&self) -> Option<&str> {
        self.word_at(self.at)
    }

    /// A token as it stands in the goal.
    pub(super) fn original(&self, at: usize) -> &'g str {
        self.tokens
            .get(at)
            .and_then(|token| self.goal.get(token.span.clone()))
            .unwrap_or("")
    }

    /// Takes one of these words.
    pub(super) fn eat_any(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let here = self.word()?;
        let found = words.iter().find(|word| **word == here).copied();
        self.at += usize::from(found.is_some());
        found
    }

    /// Takes these words in this order, all or none.
    pub(super) fn eat_phrase(&mut self, phrase: &str) -> bool {
        let mut at = self.at;
        for word in phrase.split(' ') {
            if self.word_at(at) != Some(word) {
                return false;
            }
            at += 1;
        }
        self.at = at;
        true
    }

    /// Takes a number, in digits or as a word.
    pub(super) fn eat_number(&mut self) -> Option<u64> {
        let number = match self.peek()? {
            Kind::Number(number) => *number,
            Kind::Word(word) => u64::from(words::number(word)?),
            _ => return None,
        };
        self.at += 1;
        Some(number)
    }

    /// Takes `,`, `and` or `, and`.
    pub(super) fn eat_list_separator(&mut self) -> bool {
        let start = self.at;
        if matches!(self.peek(), Some(Kind::Comma)) {
            self.at += 1;
        }
        let _ = self.eat_any(&["and"]);
        if matches!(self.peek(), Some(Kind::Other(other)) if other == "&") {
            self.at += 1;
        }
        self.at > start
    }

    fn eat_clause_separator(&mut self) -> bool {
        let start = self.at;
        loop {
            match self.peek() {
                Some(Kind::Comma | Kind::Stop) => self.at += 1,
                Some(Kind::Word(word)) if matches!(word.as_str(), "and" | "then") => self.at += 1,
                _ => return self.at > start,
            }
        }
    }

    /// Takes words that carry no meaning of their own at a clause's beginning.
    fn eat_openers(&mut self) {
        const OPENERS: &[&str] = &[
            "please",
            "kindly",
            "can you",
            "could you",
            "would you",
            "will you",
            "i want you to",
            "i would like you to",
            "i'd like you to",
            "i want to",
            "i need to",
            "let's",
            "then",
            "and then",
            "next",
            "finally",
            "afterwards",
            "after that",
            "also",
            "now",
            "lastly",
            "first of all",
            "hi",
            "hello",
            "and also",
            "do the following",
            "i need you to",
            "secondly",
        ];
        loop {
            let start = self.at;
            if let Some(Kind::Comma | Kind::Stop) = self.peek() {
                self.at += 1;
                continue;
            }
            if OPENERS.iter().any(|phrase| self.eat_phrase(phrase)) {
                continue;
            }
            if self.word() == Some("first")
                && self.word_at(self.at + 1).and_then(words::verb).is_some()
            {
                self.at += 1;
                continue;
            }
            if self.at == start {
                return;
            }
        }
    }

    /// The verb at this place, past a separator's words.
    pub(super) fn peek_verb(&self) -> Option<Verb> {
        let mut at = self.at;
        while matches!(
            self.word_at(at),
            Some("then" | "and" | "finally" | "also" | "next" | "please" | "afterwards")
        ) {
            at += 1;
        }
        self.word_at(at).and_then(words::verb)
    }

    /// Whether a clause ends here.
    pub(super) fn at_boundary(&self) -> bool {
        match self.peek() {
            None | Some(Kind::Comma | Kind::Stop) => true,
            Some(Kind::Word(word)) => matches!(word.as_str(), "and" | "then"),
            _ => false,
        }
    }

    /// Refuses what stands here, up to the clause's end, for its likeliest reason.
    pub(super) fn refuse_here_default(&self) -> Refusal {
        Refusal::of_rest(self.goal, self.rest(self.at))
    }

    /// Refuses what stands here, up to the clause's end.
    pub(super) fn refuse_here(&self, why: impl Into<String>) -> Refusal {
        self.refuse_from(self.at, why)
    }

    /// Refuses from an earlier place up to the clause's end.
    pub(super) fn refuse_from(&self, start: usize, why: impl Into<String>) -> Refusal {
        let rest = self.rest(start);
        let quote = match (rest.first(), rest.last()) {
            (Some(first), Some(last)) => self
                .goal
                .get(first.span.start..last.span.end)
                .unwrap_or(self.goal),
            _ => self.goal,
        };
        Refusal::new(quote, why)
    }

    /// The tokens from a place to the end of its clause; all of the goal's last clause if nothing is left.
    fn rest(&self, start: usize) -> &[Token] {
        let ends = |at: usize| match self.tokens.get(at).map(|token| &token.kind) {
            None | Some(Kind::Comma | Kind::Stop) => true,
            Some(Kind::Word(word)) => {
                matches!(word.as_str(), "and" | "then")
                    && self.word_at(at + 1).and_then(words::verb).is_some()
            }
            _ => false,
        };
        let mut end = start;
        while end == start || !ends(end) {
            if end >= self.tokens.len() {
                break;
            }
            end += 1;
        }
        self.tokens.get(start..end).unwrap_or(&[])
    }
}
