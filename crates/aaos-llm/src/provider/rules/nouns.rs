//! The plainer nouns: fields, columns, lines, files, what can be counted, and literal texts.

use super::{
    lex::Kind,
    noun::Product,
    op::{Case, Entries, Items, Op, Pattern, Reach, Unit},
    parser::{Parsed, Parser},
    words,
};

impl Parser<'_> {
    /// Takes a noun for what can be listed, of one or two words.
    pub(super) fn eat_items(&mut self) -> Option<Items> {
        let first = self.word()?.to_owned();
        if let Some(second) = self.word_at(self.at + 1)
            && let Some(items) = words::items(&format!("{first} {second}"))
        {
            self.at += 2;
            return Some(items);
        }
        let items = words::items(&first)?;
        self.at += 1;
        Some(items)
    }

    /// `word count`, `line counts`.
    pub(super) fn counted_compound(&mut self) -> Option<Unit> {
        if !matches!(self.word_at(self.at + 1), Some("count" | "counts")) {
            return None;
        }
        let unit = words::unit(self.word()?)?;
        self.at += 2;
        Some(unit)
    }

    /// `field "name"`, `the price column`, `the value of a.b`.
    pub(super) fn field_or_column(&mut self) -> Parsed<Option<Product>> {
        let make = |noun: &str, name: String| {
            if noun == "column" {
                Op::Column(name)
            } else {
                Op::Field(name)
            }
        };
        if let Some(noun) = self.eat_any(&["field", "column", "key"]) {
            self.eat_any(&["called", "named"]);
            let name = self.name_text()?;
            return Ok(Some(Product::Ops(vec![make(noun, name)])));
        }
        if self.eat_phrase("value of") {
            self.eat_any(&["the"]);
            self.eat_any(&["field", "key"]);
            let name = self.name_text()?;
            return Ok(Some(Product::Ops(vec![Op::Field(name)])));
        }
        let after = self.word_at(self.at + 1);
        if let Some(noun @ ("field" | "column")) = after {
            let noun = noun.to_owned();
            let name = self.name_text()?;
            self.at += 1;
            return Ok(Some(Product::Ops(vec![make(&noun, name)])));
        }
        Ok(None)
    }

    /// A field's or column's name: quoted, or one word or dotted name as it stands.
    pub(super) fn name_text(&mut self) -> Parsed<String> {
        let name = match self.peek() {
            Some(Kind::Quoted(text)) => text.clone(),
            Some(Kind::Word(_) | Kind::Path(_) | Kind::Number(_) | Kind::Site(_)) => {
                self.original(self.at).to_owned()
            }
            _ => return Err(self.refuse_here("a name is missing here; put it in quotes")),
        };
        self.at += 1;
        Ok(name)
    }

    /// `lines containing X`, `unique lines`, `lines`.
    pub(super) fn line_noun(&mut self) -> Parsed<Option<Product>> {
        if self.eat_phrase("unique lines") || self.eat_phrase("distinct lines") {
            return Ok(Some(Product::Ops(vec![Op::Unique])));
        }
        if self.eat_any(&["lines", "line"]).is_none() {
            return Ok(None);
        }
        if self.eat_containing() {
            let pattern = self.pattern()?;
            return Ok(Some(Product::Ops(vec![Op::Find(pattern)])));
        }
        Ok(Some(Product::Lines))
    }

    /// `containing`, `that mention`: what follows is a text to look for.
    pub(super) fn eat_containing(&mut self) -> bool {
        let start = self.at;
        self.eat_any(&["that", "which"]);
        let verbs = [
            "containing",
            "contain",
            "contains",
            "mentioning",
            "mention",
            "mentions",
            "including",
            "include",
            "includes",
            "with",
            "having",
            "have",
        ];
        if self.eat_any(&verbs).is_some() {
            return true;
        }
        self.at = start;
        false
    }

    /// `files`, `markdown files`, `files and folders`, `files named *.md`.
    pub(super) fn listing(&mut self) -> Parsed<Option<Product>> {
        let start = self.at;
        if let Some(pattern) = self.file_pattern() {
            self.at += 1;
            return Ok(Some(Product::Listing(Entries::Files, pattern)));
        }
        let Some(entries) = self.word().and_then(words::entries) else {
            return Ok(None);
        };
        self.at += 1;
        let entries = if self.eat_phrase("and folders")
            || self.eat_phrase("and directories")
            || self.eat_phrase("and subdirectories")
        {
            Entries::All
        } else {
            entries
        };
        if self.eat_any(&["named", "called", "matching"]).is_some() {
            let pattern = match self.peek() {
                Some(Kind::Path(path)) if !path.contains('/') => path.clone(),
                Some(Kind::Quoted(text)) if !text.contains('/') => text.clone(),
                _ => {
                    return Err(self
                        .refuse_from(start, "a file's name or a pattern such as *.md is missing"));
                }
            };
            self.at += 1;
            return Ok(Some(Product::Listing(entries, pattern)));
        }
        if matches!(
            self.peek(),
            Some(Kind::Path(_) | Kind::Url(_) | Kind::Quoted(_))
        ) {
            self.at = start;
            return Ok(None);
        }
        Ok(Some(Product::Listing(entries, "*".to_owned())))
    }

    /// What can be counted, after `count` or `number of`.
    pub(super) fn countable(&mut self) -> Parsed<Option<Product>> {
        let start = self.at;
        while let Some(word) =
            self.eat_any(&["all", "the", "any", "of", "its", "their", "total", "every"])
        {
            self.total |= word == "total";
        }
        if self.eat_phrase("number of") {
            return self.countable();
        }
        if self.eat_phrase("occurrences of")
            || self.eat_phrase("mentions of")
            || self.eat_phrase("times")
            || self.eat_phrase("instances of")
        {
            let pattern = self.pattern()?;
            self.eat_any(&["appears", "occurs", "appear", "occur"]);
            return Ok(Some(Product::Ops(vec![Op::CountMatches(pattern)])));
        }
        if let Some(product) = self.numbered()? {
            self.at = start;
            let _ = product;
            return Ok(None);
        }
        if self.eat_phrase("unique lines") || self.eat_phrase("distinct lines") {
            return Ok(Some(Product::Ops(vec![Op::Unique, Op::CountItems])));
        }
        if matches!(self.word(), Some("line" | "lines")) {
            self.at += 1;
            if self.eat_containing() {
                let pattern = self.pattern()?;
                return Ok(Some(Product::Ops(vec![Op::CountLines(pattern)])));
            }
            return Ok(Some(Product::Ops(vec![Op::Count(Unit::Lines)])));
        }
        if let Some(items) = self.eat_items() {
            return Ok(Some(Product::Ops(vec![Op::Count(Unit::Of(items))])));
        }
        if let Some(unit) = self.word().and_then(words::unit) {
            self.at += 1;
            return Ok(Some(Product::Ops(vec![Op::Count(unit)])));
        }
        match self.listing()? {
            Some(Product::Listing(entries, pattern)) => {
                Ok(Some(Product::Listing(entries, pattern)))
            }
            _ => {
                self.at = start;
                Ok(None)
            }
        }
    }

    /// A literal text to look for: quoted, introduced by `the word`, or one word that stands alone.
    pub(super) fn pattern(&mut self) -> Parsed<Pattern> {
        let start = self.at;
        self.eat_any(&["the"]);
        let noun = self.eat_any(&["word", "phrase", "string", "text", "term", "name"]);
        let reach = if noun == Some("word") {
            Reach::Word
        } else {
            Reach::Anywhere
        };
        let here = self.at;
        let (text, quoted) = match self.peek() {
            Some(Kind::Quoted(text)) => (text.clone(), true),
            Some(
                Kind::Word(_) | Kind::Path(_) | Kind::Site(_) | Kind::Number(_) | Kind::Url(_),
            ) => (self.original(here).to_owned(), false),
            _ => {
                return Err(
                    self.refuse_from(start, "the text to look for is missing; put it in quotes")
                );
            }
        };
        self.at += 1;
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(self.refuse_from(start, "the text to look for is empty or not printable"));
        }
        if !quoted {
            self.unquoted_pattern(start, &text, noun)?;
        }
        let capitals = text.len() > 1 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let (reach, case) = if capitals && !quoted {
            (Reach::Word, Case::Exact)
        } else {
            (reach, Case::Ignored)
        };
        Ok(Pattern { text, reach, case })
    }

    /// Refuses an unquoted text whose end nobody can tell, or that asks for judgement.
    pub(super) fn unquoted_pattern(
        &self,
        start: usize,
        text: &str,
        noun: Option<&'static str>,
    ) -> Parsed<()> {
        let follows = self.at_boundary()
            || matches!(
                self.word(),
                Some(
                    "in" | "from"
                        | "inside"
                        | "under"
                        | "within"
                        | "across"
                        | "appears"
                        | "occurs"
                        | "appear"
                        | "occur"
                )
            )
            || matches!(self.peek(), Some(Kind::Path(_) | Kind::Url(_)))
            || self.word().is_some_and(words::is_folder_name);
        if !follows {
            return Err(self.refuse_from(start, "put the text to look for in quotes"));
        }
        let lower = text.to_lowercase();
        if noun.is_none()
            && matches!(
                lower.as_str(),
                "the" | "a" | "an" | "it" | "them" | "any" | "all" | "what" | "which"
            )
        {
            return Err(self.refuse_from(start, format!("to find `{text}` as a literal text, put it in quotes; anything more takes a model")));
        }
        Ok(())
    }
}
