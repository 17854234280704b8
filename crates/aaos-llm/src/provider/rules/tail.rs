//! What follows a clause's nouns: sources, scope, length, and where the result goes.

use super::{
    lex::Kind,
    noun::{NUMBER_MAX, Product},
    op::{Scope, Shape},
    parser::{Format, Parsed, Parser},
    source::{Named, Quoted, Source},
    words::{self, Verb},
};

/// What follows a clause's nouns.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) sources: Option<Named>,
    pub(super) scope: Option<Scope>,
    pub(super) length: Option<(u32, Shape)>,
}

impl Parser<'_> {
    /// Sources, scope, length and destination after the nouns, in any order.
    pub(super) fn tail(&mut self, start: usize, products: &[Product]) -> Parsed<Tail> {
        let mut tail = Tail::default();
        loop {
            let before = self.at;
            self.destination(start)?;
            self.scope_words(&mut tail);
            if let Some(length) = self.length()? {
                tail.length = Some(length);
            }
            if tail.sources.is_none() {
                let listing = products
                    .iter()
                    .any(|product| matches!(product, Product::Listing(..) | Product::Tally(..)));
                tail.sources = if listing {
                    self.tail_folder()?
                } else {
                    self.tail_sources()?
                };
                if listing && tail.sources.is_some() && self.eat_containing() {
                    return Err(self.refuse_from(
                        start,
                        "to find files by their content, say `search for \"…\" in` the folder",
                    ));
                }
            }
            if self.at == before {
                return Ok(tail);
            }
        }
    }

    pub(super) fn scope_words(&mut self, tail: &mut Tail) {
        const EACH: &[&str] = &[
            "separately",
            "per file",
            "per page",
            "by file",
            "for each",
            "in each",
            "of each",
            "each",
            "for each file",
            "individually",
        ];
        self.eat_phrase("in parallel");
        self.eat_phrase("at the same time");
        const TOGETHER: &[&str] = &[
            "in total",
            "altogether",
            "overall",
            "together",
            "combined",
            "taken together",
            "in all of them together",
        ];
        let joins = |parser: &Self| {
            let next = parser.word();
            !matches!(
                next,
                Some("of" | "file" | "page" | "document" | "one" | "story")
            )
        };
        let start = self.at;
        for (phrases, scope) in [(TOGETHER, Scope::Together), (EACH, Scope::Each)] {
            for phrase in phrases {
                if self.eat_phrase(phrase) {
                    if joins(self) {
                        tail.scope = Some(scope);
                        return;
                    }
                    self.at = start;
                }
            }
        }
    }

    /// `in 5 sentences`, `as 3 bullet points`.
    pub(super) fn length(&mut self) -> Parsed<Option<(u32, Shape)>> {
        let start = self.at;
        if self.eat_any(&["in", "as", "with", "of", "using"]).is_none() {
            return Ok(None);
        }
        self.eat_any(&["about", "exactly"]);
        let Some(number) = self.eat_number() else {
            self.at = start;
            return Ok(None);
        };
        let shape = match self.eat_any(&["sentence", "sentences", "bullet", "bullets"]) {
            Some("sentence" | "sentences") => Shape::Sentences,
            Some(_) => Shape::Bullets,
            None => {
                self.at = start;
                return Ok(None);
            }
        };
        self.eat_any(&["point", "points"]);
        let n = self.bounded(number, NUMBER_MAX)?;
        self.eat_phrase("each");
        Ok(Some((n, shape)))
    }

    pub(super) fn tail_sources(&mut self) -> Parsed<Option<Named>> {
        let start = self.at;
        if !self.eat_phrase("out of")
            && self
                .eat_any(&[
                    "of", "in", "from", "inside", "under", "within", "across", "for", "between",
                    "at", "on",
                ])
                .is_none()
        {
            return Ok(None);
        }
        let found = self.sources(Quoted::Path)?;
        if found.is_none() {
            self.at = start;
        }
        Ok(found)
    }

    pub(super) fn tail_folder(&mut self) -> Parsed<Option<Named>> {
        let start = self.at;
        if self.eat_any(&["here"]).is_some() {
            let here = Source::Folder {
                path: ".".to_owned(),
                pattern: "*".to_owned(),
            };
            return Ok(Some(Named {
                sources: vec![here],
                each: false,
                pronoun: None,
            }));
        }
        if self
            .eat_any(&["of", "in", "from", "inside", "under", "within"])
            .is_none()
        {
            return Ok(None);
        }
        let Some(first) = self.folder()? else {
            self.at = start;
            return Ok(None);
        };
        let mut sources = vec![first];
        loop {
            let before = self.at;
            if !self.eat_list_separator() || self.peek_verb().is_some() {
                self.at = before;
                break;
            }
            match self.folder()? {
                Some(folder) => sources.push(folder),
                None => {
                    self.at = before;
                    break;
                }
            }
        }
        Ok(Some(Named {
            sources,
            each: false,
            pronoun: None,
        }))
    }

    /// `to out.md`, `into a file called out.md`, `as JSON`.
    pub(super) fn destination(&mut self, start: usize) -> Parsed<()> {
        self.form_words();
        let here = self.at;
        let Some(preposition) = self.eat_any(&["to", "into", "in", "as"]) else {
            return Ok(());
        };
        let described = self.file_description();
        let path = match self.peek() {
            Some(Kind::Path(path)) if described || preposition != "in" || self.writing(start) => {
                path.clone()
            }
            Some(Kind::Quoted(path)) if described || preposition != "in" || self.writing(start) => {
                path.clone()
            }
            Some(Kind::Site(_)) if preposition != "in" => return Err(self.refuse_here_default()),
            _ => {
                self.at = here;
                return Ok(());
            }
        };
        if path.ends_with('/')
            || path.contains(['*', '?'])
            || path.starts_with('~')
            || path.chars().any(char::is_control)
            || path.trim().is_empty()
            || matches!(path.as_str(), "." | "..")
        {
            return Err(self.refuse_here("this names no file to write to"));
        }
        if self.output.as_ref().is_some_and(|output| *output != path) {
            return Err(self.refuse_from(
                here,
                "two files to write to are named; one is possible without a model",
            ));
        }
        self.at += 1;
        self.output_clause = Some(self.clauses);
        self.output = Some(path);
        self.form_words();
        Ok(())
    }

    /// Whether the clause writes something that cannot itself have a source: then `in out.md` is where it goes.
    pub(super) fn writing(&self, start: usize) -> bool {
        let verb = self.word_at(start).and_then(words::verb);
        let object = self.word_at(start + 1);
        let results = object == Some("the")
            && matches!(
                self.word_at(start + 2),
                Some("result" | "results" | "findings" | "matches" | "hits" | "report")
            );
        let pronoun = matches!(
            object,
            Some("in" | "it" | "them" | "that" | "this" | "these" | "everything")
        );
        verb == Some(Verb::Write) && (results || pronoun)
    }

    pub(super) fn file_description(&mut self) -> bool {
        let start = self.at;
        self.eat_any(&["a", "the", "an"]);
        self.eat_any(&["new"]);
        self.eat_any(&["markdown", "text", "json", "csv", "md"]);
        let noun = self
            .eat_any(&["file", "report", "document", "path"])
            .is_some();
        self.eat_any(&["called", "named", "at"]);
        if !noun {
            self.at = start;
        }
        noun
    }

    /// `as Markdown`, `in JSON format`.
    pub(super) fn form_words(&mut self) {
        let start = self.at;
        if self.eat_any(&["as", "in"]).is_none() {
            return;
        }
        match self.form_noun() {
            Some(format) => self.format = Some(format),
            None => self.at = start,
        }
    }

    /// `Markdown`, `a JSON document`, where no file's name follows; nothing is taken if it is none.
    pub(super) fn form_noun(&mut self) -> Option<Format> {
        let start = self.at;
        self.eat_any(&["a", "an"]);
        let plain = self.eat_any(&["plain"]).is_some();
        let format = match self.eat_any(&["markdown", "json", "csv", "text"]) {
            Some("markdown") if !plain => Format::Markdown,
            Some("json") if !plain => Format::Json,
            Some("csv") if !plain => Format::Csv,
            Some("text") => Format::Text,
            _ => {
                self.at = start;
                return None;
            }
        };
        self.eat_any(&["file", "report", "document", "table", "format"]);
        if matches!(self.peek(), Some(Kind::Path(_) | Kind::Quoted(_)))
            || matches!(self.word(), Some("called" | "named"))
        {
            self.at = start;
            return None;
        }
        Some(format)
    }
}
