//! What a clause asks for, as its nouns name it: a count, a list of links, a summary, the results so far.

use super::{
    lex::Kind,
    op::{Chain, Entries, Op, Shape},
    parser::{Format, Parsed, Parser},
    source::{Named, Quoted, Source},
};

/// Most of anything that a goal can ask for by number.
pub(super) const NUMBER_MAX: u64 = 1_000;
/// Most stories: one subtask each.
pub(super) const STORIES_MAX: u64 = 50;
/// Sentences of a summary when the goal names no number.
pub(super) const SENTENCES_DEFAULT: u32 = 5;
/// Sentences of a short one.
const SENTENCES_SHORT: u32 = 3;
/// Words of a frequency list when the goal names no number.
const TOP_WORDS_DEFAULT: u32 = 10;
/// The public list of stories; used when a goal asks for top stories and names no other.
pub(super) const HACKER_NEWS: &str = "https://hacker-news.firebaseio.com/v0";

/// What a noun phrase asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Product {
    /// Steps on texts.
    Ops(Chain),
    /// Some of the results so far.
    Cut(Op),
    /// What was found so far, whatever it is.
    Results,
    /// The lines of a text, or of the results so far.
    Lines,
    /// The texts that were read, as they are.
    Originals,
    /// What a directory holds.
    Listing(Entries, String),
    /// How much of it a directory holds.
    Tally(Entries, String),
    /// Texts themselves.
    Texts(Named),
}

impl Parser<'_> {
    /// What is asked for here; `None`, and nothing taken, if no rule fits.
    pub(super) fn product(&mut self) -> Parsed<Option<Product>> {
        let start = self.at;
        if self.word() == Some("everything")
            && matches!(self.word_at(start + 1), Some("in" | "inside" | "under"))
        {
            self.at += 1;
            return Ok(Some(Product::Listing(Entries::All, "*".to_owned())));
        }
        if let Some(product) = self.results() {
            return Ok(Some(product));
        }
        self.eat_phrase("a list of");
        self.eat_phrase("the list of");
        self.eat_phrase("list of");
        self.eat_phrase("all of");
        while self
            .eat_any(&[
                "all", "the", "a", "an", "any", "every", "each", "its", "their", "just",
            ])
            .is_some()
        {}
        let found = match self.numbered()? {
            Some(found) => Some(found),
            None => self.plain_noun()?,
        };
        if found.is_some() {
            return Ok(found);
        }
        self.at = start;
        if let Some(named) = self.sources(Quoted::IfPath)? {
            return Ok(Some(Product::Texts(named)));
        }
        self.at = start;
        Ok(None)
    }

    /// `it`, `the results`, `a report`: what was found so far.
    pub(super) fn results(&mut self) -> Option<Product> {
        const PHRASES: &[&str] = &[
            "the results",
            "the result",
            "results",
            "the findings",
            "the matches",
            "the hits",
            "the output",
            "the answer",
            "the answers",
            "a report",
            "the report",
            "report",
            "one report",
            "everything",
            "the counts",
            "the count",
            "the whole",
            "the list",
            "a list",
            "the comparison",
            "the total",
            "the totals",
            "that",
            "this",
            "these",
            "those",
            "them",
            "it",
            "both",
            "all of it",
            "all of them",
            "a table",
            "the table",
        ];
        const ORIGINALS: &[&str] = &[
            "the text",
            "the texts",
            "the page",
            "the pages",
            "the content",
            "the contents",
            "the file",
            "the files",
            "its contents",
        ];
        let start = self.at;
        let form = self.form_before_noun();
        for (phrases, product) in [(PHRASES, Product::Results), (ORIGINALS, Product::Originals)] {
            let Some(phrase) = phrases.iter().find(|phrase| self.eat_phrase(phrase)) else {
                continue;
            };
            let ends = self.at_boundary()
                || matches!(self.word(), Some("to" | "into" | "as"))
                || (self.word() == Some("in") && is_pronoun(phrase));
            if !ends || !self.noun_fits(phrase) {
                break;
            }
            self.format = form.or(self.format);
            return Some(product);
        }
        self.at = start;
        None
    }

    /// Whether what was found is what the noun says: a count, a comparison.
    pub(super) fn noun_fits(&self, phrase: &str) -> bool {
        let mut chains = self
            .blocks
            .iter()
            .flat_map(|block| &block.chains)
            .peekable();
        let counts = |op: &Op| {
            matches!(
                op,
                Op::Count(_)
                    | Op::CountMatches(_)
                    | Op::CountLines(_)
                    | Op::CountItems
                    | Op::CountEntries(_)
            )
        };
        if phrase.contains("count") || phrase.contains("total") {
            return chains.peek().is_some() && chains.all(|chain| chain.last().is_some_and(counts));
        }
        if phrase.contains("matches") || phrase.contains("hits") {
            let found = |op: &Op| matches!(op, Op::Find(_) | Op::Extract(_));
            return chains.peek().is_some() && chains.all(|chain| chain.first().is_some_and(found));
        }
        if phrase.contains("comparison") {
            return chains.peek().is_some()
                && chains.all(|chain| matches!(chain.first(), Some(Op::Compare)));
        }
        true
    }

    /// `a markdown` before `report`: the form, and the place stays before the noun.
    pub(super) fn form_before_noun(&mut self) -> Option<Format> {
        let start = self.at;
        self.eat_any(&["a", "the", "one"]);
        let format = match self.word() {
            Some("markdown") => Format::Markdown,
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some("text") if self.word_at(self.at + 1) == Some("report") => Format::Text,
            _ => {
                self.at = start;
                return None;
            }
        };
        self.at += 1;
        if matches!(self.word(), Some("report" | "results")) {
            return Some(format);
        }
        self.at = start;
        None
    }

    /// A bounded number.
    pub(super) fn bounded(&self, number: u64, most: u64) -> Parsed<u32> {
        match u32::try_from(number) {
            Ok(small) if number >= 1 && number <= most => Ok(small),
            _ => Err(self.refuse_from(
                self.at.saturating_sub(1),
                format!("the number must lie between 1 and {most}"),
            )),
        }
    }

    /// Phrases that begin with a number or a rank: `5 most frequent words`, `top 10 stories`, `first 3 lines`.
    pub(super) fn numbered(&mut self) -> Parsed<Option<Product>> {
        let start = self.at;
        let rank = self.eat_any(&["top", "first", "last", "newest", "latest", "best"]);
        let number_at = self.at;
        let number = self.eat_number();
        let rank = rank.or_else(|| {
            if number.is_some() {
                self.eat_any(&["top", "newest", "latest", "best"])
            } else {
                None
            }
        });
        let frequent = self.eat_frequent();
        let _ = number_at;
        if self.eat_any(&["words", "word"]).is_some() {
            if frequent || rank == Some("top") {
                let singular = self.word_at(self.at - 1) == Some("word");
                let default = if singular {
                    1
                } else {
                    u64::from(TOP_WORDS_DEFAULT)
                };
                let n = self.bounded(number.unwrap_or(default), NUMBER_MAX)?;
                return Ok(Some(Product::Ops(vec![Op::TopWords(n)])));
            }
            self.at = start;
            return Ok(None);
        }
        if frequent {
            self.at = start;
            return Ok(None);
        }
        if let Some(rank) = rank {
            return self.ranked(start, rank, number);
        }
        if let Some(number) = number {
            return self.sized_summary(start, number);
        }
        self.at = start;
        Ok(None)
    }

    pub(super) fn eat_frequent(&mut self) -> bool {
        [
            "most frequent",
            "most common",
            "most used",
            "most frequently used",
            "most commonly used",
            "most often used",
        ]
        .iter()
        .any(|phrase| self.eat_phrase(phrase))
    }

    pub(super) fn ranked(
        &mut self,
        start: usize,
        rank: &str,
        number: Option<u64>,
    ) -> Parsed<Option<Product>> {
        self.eat_any(&["news"]);
        self.eat_phrase("hacker news");
        if self
            .eat_any(&["stories", "story", "posts", "headlines"])
            .is_some()
        {
            return self.stories(start, rank, number);
        }
        let singular = self.word() == Some("line");
        let n = match number {
            Some(number) => self.bounded(number, NUMBER_MAX)?,
            None if singular => 1,
            None => {
                self.at = start;
                return Ok(None);
            }
        };
        let cut = match rank {
            "first" => Op::First(n),
            "last" => Op::Last(n),
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        if self.eat_any(&["lines", "line"]).is_some() {
            if matches!(self.word(), Some("with" | "containing" | "that")) {
                self.at = start;
                return Ok(None);
            }
            return Ok(Some(Product::Ops(vec![cut])));
        }
        if let Some(items) = self.eat_items() {
            return Ok(Some(Product::Ops(vec![Op::Extract(items), cut])));
        }
        if self.at_boundary() || self.eat_phrase("of them") {
            return Ok(Some(Product::Cut(cut)));
        }
        self.at = start;
        Ok(None)
    }

    /// `top 5 stories [on Hacker News | from URL]`.
    pub(super) fn stories(
        &mut self,
        start: usize,
        rank: &str,
        number: Option<u64>,
    ) -> Parsed<Option<Product>> {
        let list = match rank {
            "top" | "first" => "topstories",
            "newest" | "latest" => "newstories",
            "best" => "beststories",
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        let singular = self.word_at(self.at - 1) == Some("story");
        let count = match (number, singular) {
            (Some(number), _) => self.bounded(number, STORIES_MAX)?,
            (None, true) => 1,
            (None, false) => {
                return Err(self.refuse_from(start, "say how many, as in `the top 5 stories`"));
            }
        };
        let joined = self.eat_any(&["from", "on", "of", "at"]).is_some();
        let named = self.eat_phrase("hacker news")
            || self.eat_phrase("hn")
            || self.eat_phrase("the front page of hacker news");
        let base = match self.peek() {
            Some(Kind::Url(url)) if joined => {
                let url = url.clone();
                self.at += 1;
                self.story_base(&url)?
            }
            _ if joined && !named => return Err(self.refuse_from(
                start,
                "stories can be fetched from Hacker News, or from a URL with the same interface",
            )),
            _ if !named && list != "topstories" => {
                return Err(self.refuse_from(
                    start,
                    "say from where, as in `the newest 5 stories on Hacker News`",
                ));
            }
            _ => HACKER_NEWS.to_owned(),
        };
        let source = Source::Stories { base, list, count };
        Ok(Some(Product::Texts(Named {
            sources: vec![source],
            each: false,
            pronoun: None,
        })))
    }

    /// Where an interface of stories begins, from the address a goal names.
    pub(super) fn story_base(&self, url: &str) -> Parsed<String> {
        let base = url.trim_end_matches('/');
        let base = ["topstories.json", "newstories.json", "beststories.json"]
            .iter()
            .find_map(|list| base.strip_suffix(list))
            .unwrap_or(base);
        let plain = url::Url::parse(base)
            .is_ok_and(|parsed| parsed.query().is_none() && parsed.fragment().is_none());
        if plain {
            Ok(base.trim_end_matches('/').to_owned())
        } else {
            Err(self.refuse_from(self.at - 1, "the address of a list of stories has no query"))
        }
    }

    /// `5 sentence summary`, `3 bullet summary`.
    pub(super) fn sized_summary(&mut self, start: usize, number: u64) -> Parsed<Option<Product>> {
        let shape = match self.eat_any(&["sentence", "sentences", "bullet", "bullets", "line"]) {
            Some("bullet" | "bullets") => Shape::Bullets,
            Some("sentence" | "sentences") => Shape::Sentences,
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        self.eat_any(&["point", "points"]);
        if self.eat_any(&["summary", "digest"]).is_none() {
            self.at = start;
            return Ok(None);
        }
        let n = self.bounded(number, NUMBER_MAX)?;
        Ok(Some(Product::Ops(vec![Op::Summarise(n, shape)])))
    }

    pub(super) fn plain_noun(&mut self) -> Parsed<Option<Product>> {
        let start = self.at;
        if let Some(product) = self.summary_noun() {
            return Ok(Some(product));
        }
        if self.word() == Some("total")
            && matches!(self.word_at(self.at + 1), Some("number" | "count"))
        {
            self.total = true;
            self.at += 1;
        }
        if self.eat_phrase("sum of") || self.eat_phrase("total of") {
            let product = self.product()?;
            return self.summed(start, product).map(Some);
        }
        if self.eat_phrase("number of") || self.eat_phrase("count of") {
            return match self.countable()? {
                Some(product) => Ok(Some(product)),
                None => Err(self.refuse_from(start, "this cannot be counted without a model")),
            };
        }
        if let Some(unit) = self.counted_compound() {
            return Ok(Some(Product::Ops(vec![Op::Count(unit)])));
        }
        if let Some(product) = self.field_or_column()? {
            return Ok(Some(product));
        }
        if let Some(product) = self.line_noun()? {
            return Ok(Some(product));
        }
        if self.eat_phrase("occurrences of") || self.eat_phrase("mentions of") {
            let pattern = self.pattern()?;
            return Ok(Some(Product::Ops(vec![Op::Find(pattern)])));
        }
        if self.eat_any(&["differences", "difference"]).is_some() {
            return Ok(Some(Product::Ops(vec![Op::Compare])));
        }
        if self.eat_phrase("comparison of") || self.eat_phrase("comparison between") {
            self.at -= 1;
            return Ok(Some(Product::Ops(vec![Op::Compare])));
        }
        if self.eat_phrase("contents of")
            || self.eat_phrase("content of")
            || self.eat_phrase("text of")
        {
            self.at -= 1;
            return Ok(Some(Product::Ops(vec![Op::Show])));
        }
        if let Some(items) = self.eat_items() {
            return Ok(Some(Product::Ops(vec![Op::Extract(items)])));
        }
        self.listing()
    }

    pub(super) fn summary_noun(&mut self) -> Option<Product> {
        let start = self.at;
        let short = self
            .eat_any(&["short", "brief", "concise", "quick"])
            .is_some();
        let bullets = self.eat_any(&["bullet", "bulleted"]).is_some();
        if bullets {
            self.eat_any(&["point"]);
        }
        if self.eat_any(&["summary", "summaries", "digest"]).is_none() {
            self.at = start;
            return None;
        }
        let n = if short {
            SENTENCES_SHORT
        } else {
            SENTENCES_DEFAULT
        };
        let shape = if bullets {
            Shape::Bullets
        } else {
            Shape::Sentences
        };
        Some(Product::Ops(vec![Op::Summarise(n, shape)]))
    }
}

/// Words that stand for results whatever follows.
fn is_pronoun(phrase: &str) -> bool {
    matches!(
        phrase,
        "it" | "them"
            | "that"
            | "this"
            | "these"
            | "those"
            | "everything"
            | "the results"
            | "the result"
            | "results"
    )
}
