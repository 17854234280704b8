//! Clauses on whole texts and on lines: summarise, compare, combine, sort, keep each line once.

use super::{
    noun::{Product, SENTENCES_DEFAULT},
    op::{Items, Op, Order, Shape},
    parser::{Parsed, Parser},
    source::{Named, Quoted},
    tail::Tail,
};

impl Parser<'_> {
    pub(super) fn summarise(&mut self, start: usize) -> Parsed<()> {
        let named = self.sources(Quoted::Path)?;
        if let Some(named) = &named {
            self.clear_referent(start, named)?;
        }
        if matches!(self.word(), Some("the")) {
            let _ = self.eat_phrase("the contents of") || self.eat_phrase("the stories");
        }
        let stories = match named {
            None => self.product()?.map(|product| match product {
                Product::Texts(named) => Ok(named),
                _ => Err(self.refuse_from(
                    start,
                    "what to summarise is not named; say a file, a folder or a URL",
                )),
            }),
            Some(named) => Some(Ok(named)),
        };
        let sources = stories.transpose()?;
        let op = Op::Summarise(SENTENCES_DEFAULT, Shape::Sentences);
        self.finish_with(
            start,
            vec![Product::Ops(vec![op])],
            Tail {
                sources,
                ..Tail::default()
            },
        )
    }

    /// Refuses a pronoun that could mean the sources or what was just made of them.
    pub(super) fn clear_referent(&self, start: usize, named: &Named) -> Parsed<()> {
        let unclear = matches!(
            named.pronoun.as_deref(),
            Some("it" | "them" | "these" | "those" | "them all")
        );
        let last = self
            .blocks
            .last()
            .and_then(|block| block.chains.last())
            .and_then(|chain| chain.last());
        let made = !self.gathering
            && last.is_some_and(|op| {
                op.gives_lines() && !matches!(op, Op::Show) || matches!(op, Op::Summarise(..))
            });
        if unclear && made {
            return Err(self.refuse_from(
                start,
                "this could mean the texts or what was made of them; name the files",
            ));
        }
        Ok(())
    }

    pub(super) fn compare(&mut self, start: usize) -> Parsed<()> {
        self.eat_phrase("the contents of");
        let Some(mut named) = self.sources(Quoted::Path)? else {
            return Err(self.refuse_here_default());
        };
        if self
            .eat_any(&["with", "to", "against", "versus", "vs"])
            .is_some()
        {
            match self.sources(Quoted::Path)? {
                Some(more) => named.sources.extend(more.sources),
                None => return Err(self.refuse_here_default()),
            }
        }
        self.eat_phrase("with each other");
        self.eat_phrase("to each other");
        self.finish_with(
            start,
            vec![Product::Ops(vec![Op::Compare])],
            Tail {
                sources: Some(named),
                ..Tail::default()
            },
        )
    }

    pub(super) fn combine(&mut self, start: usize) -> Parsed<()> {
        let Some(named) = self.sources(Quoted::Path)? else {
            return Err(self.refuse_here_default());
        };
        if self.eat_any(&["with"]).is_some() {
            let Some(more) = self.sources(Quoted::Path)? else {
                return Err(self.refuse_here_default());
            };
            let sources = named.sources.into_iter().chain(more.sources).collect();
            let named = Named {
                sources,
                each: false,
                pronoun: None,
            };
            return self.finish_with(
                start,
                vec![Product::Ops(vec![Op::Combine])],
                Tail {
                    sources: Some(named),
                    ..Tail::default()
                },
            );
        }
        self.clear_referent(start, &named)?;
        self.eat_any(&["together"]);
        self.finish_with(
            start,
            vec![Product::Ops(vec![Op::Combine])],
            Tail {
                sources: Some(named),
                ..Tail::default()
            },
        )
    }

    /// `add up the amount column in a.csv`, `sum the numbers in a.txt`.
    pub(super) fn add_up(&mut self, start: usize) -> Parsed<()> {
        let verb = self.word_at(start).unwrap_or("").to_owned();
        let joined = self.eat_any(&["up", "together", "of"]).is_some();
        if verb == "add" && !joined {
            let why = "only numbers can be added up, as in `add up the price column in a.csv`";
            return Err(self.refuse_from(start, why));
        }
        let product = self.product()?;
        let summed = self.summed(start, product)?;
        self.finish(start, vec![summed])
    }

    /// The sum of what a noun names.
    pub(super) fn summed(&self, start: usize, product: Option<Product>) -> Parsed<Product> {
        let numbers = |op: &Op| {
            matches!(
                op,
                Op::Column(_) | Op::Field(_) | Op::Extract(Items::Numbers)
            )
        };
        match product {
            Some(Product::Ops(mut chain)) if chain.len() == 1 && chain.iter().all(numbers) => {
                chain.push(Op::Total);
                Ok(Product::Ops(chain))
            }
            _ => Err(self.refuse_from(
                start,
                "say which numbers, as in `add up the price column in a.csv`",
            )),
        }
    }

    /// `convert a.csv to JSON`, `convert a.json to a.csv`.
    pub(super) fn convert(&mut self, start: usize) -> Parsed<()> {
        let Some(named) = self.sources(Quoted::Path)? else {
            return Err(self.refuse_here_default());
        };
        let here = self.at;
        let form = match self.eat_any(&["to", "into"]) {
            Some(_) => self.form_noun(),
            None => None,
        };
        match form {
            Some(form) => self.format = Some(form),
            None => self.at = here,
        }
        let tail = Tail {
            sources: Some(named),
            ..Tail::default()
        };
        self.finish_with(start, vec![Product::Ops(vec![Op::Records])], tail)?;
        if self.format.is_none() && self.output.is_none() {
            let why = "what to convert it to is not said: CSV, JSON or Markdown";
            return Err(self.refuse_from(start, why));
        }
        Ok(())
    }

    pub(super) fn sort(&mut self, start: usize) -> Parsed<()> {
        let (sources, found) = self.lines_of(start)?;
        let order = self.order();
        self.transform(start, Op::Sort(order), sources, found)
    }

    pub(super) fn deduplicate(&mut self, start: usize) -> Parsed<()> {
        let verb = self.word_at(start).unwrap_or("").to_owned();
        self.eat_any(&["all", "the", "any"]);
        let noun = self.eat_phrase("duplicates")
            || self.eat_phrase("duplicate lines")
            || self.eat_phrase("repeated lines");
        if matches!(verb.as_str(), "remove" | "drop") && !noun {
            return Err(self.refuse_from(start, "only duplicate lines can be removed"));
        }
        let (sources, found) = if noun {
            (self.tail_sources()?, true)
        } else {
            self.lines_of(start)?
        };
        self.transform(start, Op::Unique, sources, found)
    }

    /// The lines a step works on: of sources, or those found last.
    pub(super) fn lines_of(&mut self, start: usize) -> Parsed<(Option<Named>, bool)> {
        self.eat_any(&["the"]);
        if self.eat_any(&["lines", "results", "list"]).is_some() {
            return Ok((self.tail_sources()?, true));
        }
        if let Some(items) = self.eat_items() {
            let last = self
                .blocks
                .last()
                .and_then(|block| block.chains.last())
                .and_then(|chain| chain.first());
            if last != Some(&Op::Extract(items)) {
                return Err(
                    self.refuse_from(start, "these were not found before; say `extract` first")
                );
            }
            return Ok((None, true));
        }
        let here = self.at;
        if self.eat_any(&["it", "them", "these", "those"]).is_some() {
            let lines = self
                .blocks
                .last()
                .and_then(|block| block.chains.last())
                .is_some_and(|chain| chain.last().is_some_and(Op::gives_lines));
            if lines && !self.gathering {
                return Ok((None, true));
            }
            self.at = here;
        }
        match self.sources(Quoted::Path)? {
            Some(named) => Ok((Some(named), false)),
            None => Err(self.refuse_from(start, "what to sort is not named")),
        }
    }

    pub(super) fn order(&mut self) -> Order {
        let (mut numbers, mut falling) = (false, false);
        loop {
            if [
                "numerically",
                "by number",
                "in numerical order",
                "in numeric order",
            ]
            .iter()
            .any(|phrase| self.eat_phrase(phrase))
            {
                numbers = true;
            } else if [
                "in reverse alphabetical order",
                "in reverse order",
                "in descending order",
                "in reverse",
                "descending",
                "reversed",
            ]
            .iter()
            .any(|phrase| self.eat_phrase(phrase))
            {
                falling = true;
            } else if ![
                "alphabetically",
                "by name",
                "in alphabetical order",
                "in ascending order",
                "ascending",
                "by letter",
            ]
            .iter()
            .any(|phrase| self.eat_phrase(phrase))
            {
                return match (numbers, falling) {
                    (false, false) => Order::Letters,
                    (false, true) => Order::LettersFalling,
                    (true, false) => Order::Numbers,
                    (true, true) => Order::NumbersFalling,
                };
            }
        }
    }

    /// Adds a step on lines: to the last chain, or as a chain of its own.
    pub(super) fn transform(
        &mut self,
        start: usize,
        op: Op,
        sources: Option<Named>,
        found: bool,
    ) -> Parsed<()> {
        self.not_yet_written(start)?;
        if sources.is_none() && found && !self.gathering {
            self.one_result(start)?;
        }
        let last = self
            .blocks
            .last_mut()
            .and_then(|block| block.chains.last_mut());
        match (sources, last) {
            (None, Some(chain))
                if found && !self.gathering && chain.last().is_some_and(Op::gives_lines) =>
            {
                chain.push(op);
                self.destination(start)
            }
            (sources, _) => self.finish_with(
                start,
                vec![Product::Ops(vec![op])],
                Tail {
                    sources,
                    ..Tail::default()
                },
            ),
        }
    }
}
