//! One clause of a goal: a verb, what it asks for, of what, and where to.

use super::{
    lex::Kind,
    noun::Product,
    op::{Entries, Op, Pattern, Unit},
    parser::{Parsed, Parser},
    source::{Named, Quoted, Source},
    tail::Tail,
    words::{self, Verb},
};

impl Parser<'_> {
    /// Parses one clause.
    pub(super) fn clause(&mut self) -> Parsed<()> {
        let start = self.at;
        self.total = false;
        self.clauses += 1;
        let before = self.leading_sources()?;
        if self.peek().is_none() && before.is_some() {
            return Err(self.refuse_from(start, "nothing is asked for here"));
        }
        if self.question()? {
            return Ok(());
        }
        let Some(verb) = self.word().and_then(words::verb) else {
            let refusal = self.refuse_here_default();
            return match self.product() {
                Ok(Some(product @ Product::Ops(_))) => self.finish(start, vec![product]),
                _ => Err(refusal),
            };
        };
        self.at += 1;
        self.gathering &= matches!(verb, Verb::Read | Verb::Fetch | Verb::Show);
        match verb {
            Verb::Read => self.read(start),
            Verb::Fetch => self.fetch(start),
            Verb::Show => self.show(start),
            Verb::Count => self.count(start),
            Verb::Search => self.search(start),
            Verb::Summarise => self.summarise(start),
            Verb::Compare => self.compare(start),
            Verb::Combine => self.combine(start),
            Verb::Sort => self.sort(start),
            Verb::Deduplicate => self.deduplicate(start),
            Verb::Write => self.write(start),
            Verb::Copy => self.copy(start),
            Verb::Add => self.add_up(start),
            Verb::Convert => self.convert(start),
        }
    }

    /// `From a.txt and b.txt, …`: sources before the verb.
    pub(super) fn leading_sources(&mut self) -> Parsed<Option<()>> {
        let start = self.at;
        if self
            .eat_any(&["from", "in", "inside", "under", "for", "of", "using"])
            .is_none()
        {
            return Ok(None);
        }
        let Some(named) = self.sources(Quoted::Path)? else {
            self.at = start;
            return Ok(None);
        };
        if matches!(self.peek(), Some(Kind::Comma)) {
            self.at += 1;
        }
        if named.pronoun.is_none() {
            self.gather(named.sources);
        }
        Ok(Some(()))
    }

    /// `How many words are in a.txt?`, `What are the links in a.md?`, `Which lines of a.txt contain X?`
    pub(super) fn question(&mut self) -> Parsed<bool> {
        let start = self.at;
        if self.eat_phrase("how many times") || self.eat_phrase("how often") {
            self.eat_any(&["does", "do", "is"]);
            let pattern = self.pattern()?;
            self.eat_any(&["appear", "appears", "occur", "occurs", "mentioned"]);
            self.finish(start, vec![Product::Ops(vec![Op::CountMatches(pattern)])])?;
            return Ok(true);
        }
        if self.eat_phrase("how many") {
            self.count_products(start)?;
            return Ok(true);
        }
        if self.eat_whats_in() {
            self.whats_in(start)?;
            return Ok(true);
        }
        if self.eat_phrase("what is") || self.eat_phrase("what are") || self.eat_phrase("what's") {
            self.show(start)?;
            return Ok(true);
        }
        if self.eat_phrase("which lines")
            || self.eat_phrase("what lines")
            || self.eat_phrase("which files")
            || self.eat_phrase("what files")
        {
            let files = self.word_at(start + 1) == Some("files");
            if files && self.eat_any(&["are"]).is_some() {
                self.eat_any(&["there"]);
                self.finish(
                    start,
                    vec![Product::Listing(Entries::Files, "*".to_owned())],
                )?;
                return Ok(true);
            }
            let sources = self.tail_sources()?;
            if !self.eat_containing() {
                return Err(
                    self.refuse_from(start, "only `which lines of X contain Y` is understood")
                );
            }
            let pattern = self.pattern()?;
            let tail = Tail {
                sources,
                ..Tail::default()
            };
            self.finish_with(start, vec![Product::Ops(vec![Op::Find(pattern)])], tail)?;
            return Ok(true);
        }
        Ok(false)
    }

    pub(super) fn read(&mut self, start: usize) -> Parsed<()> {
        let here = self.at;
        if let Some(product @ Product::Ops(_)) = self.product()? {
            return self.finish(start, vec![product]);
        }
        self.at = here;
        self.eat_any(&["in"]);
        match self.sources(Quoted::Path)? {
            Some(named) => self.take(start, named),
            None => Err(self.refuse_here_default()),
        }
    }

    /// Takes sources, and perhaps says in the same breath where their text goes.
    pub(super) fn take(&mut self, start: usize, named: Named) -> Parsed<()> {
        self.not_yet_written(start)?;
        if named.pronoun.is_none() {
            self.gather(named.sources);
        }
        self.destination(start)
    }

    pub(super) fn fetch(&mut self, start: usize) -> Parsed<()> {
        let product = self.product()?;
        match product {
            Some(Product::Texts(named)) => {
                let fetchable =
                    |source: &Source| matches!(source, Source::Url(_) | Source::Stories { .. });
                if !named.sources.iter().all(fetchable) {
                    return Err(self.refuse_from(
                        start,
                        "only addresses beginning with http:// or https:// can be fetched",
                    ));
                }
                self.take(start, named)
            }
            Some(product @ Product::Ops(_)) => self.finish(start, vec![product]),
            _ => {
                self.at = start + 1;
                Err(self.refuse_here_default())
            }
        }
    }

    pub(super) fn show(&mut self, start: usize) -> Parsed<()> {
        let verb = self.word_at(start).unwrap_or("").to_owned();
        self.eat_any(&["me", "out", "us", "up", "back"]);
        if self.eat_phrase("how many") || self.eat_phrase("me how many") {
            return self.count_products(start);
        }
        if self.eat_phrase("how often") {
            let pattern = self.pattern()?;
            self.eat_any(&["appears", "occurs", "appear", "occur"]);
            return self.finish(start, vec![Product::Ops(vec![Op::CountMatches(pattern)])]);
        }
        if self.eat_whats_in() {
            return self.whats_in(start);
        }
        let here = self.at;
        if verb == "find" && (matches!(self.peek(), Some(Kind::Quoted(_))) || self.capitals_here())
        {
            let pattern = self.pattern()?;
            return self.finish(start, vec![Product::Ops(vec![Op::Find(pattern)])]);
        }
        if verb == "find"
            && (self.eat_phrase("the word")
                || self.eat_phrase("the phrase")
                || self.eat_phrase("the text"))
        {
            self.at = here;
            let pattern = self.pattern()?;
            return self.finish(start, vec![Product::Ops(vec![Op::Find(pattern)])]);
        }
        let products = self.products()?;
        if verb == "list" {
            self.list_takes_folders(start, &products)?;
        }
        self.finish(start, products)
    }

    /// `what's in`, where it asks for a text or a folder's content.
    fn eat_whats_in(&mut self) -> bool {
        self.eat_phrase("what's in") || self.eat_phrase("what is in")
    }

    fn whats_in(&mut self, start: usize) -> Parsed<()> {
        match self.sources(Quoted::Path)? {
            Some(named) => self.finish(start, vec![Product::Texts(named)]),
            None => Err(self.refuse_here_default()),
        }
    }

    pub(super) fn capitals_here(&self) -> bool {
        let text = self.original(self.at);
        let known = self.word().is_some_and(|word| words::items(word).is_some());
        text.len() > 1 && text.chars().all(|c| c.is_ascii_uppercase()) && !known
    }

    pub(super) fn list_takes_folders(&self, start: usize, products: &[Product]) -> Parsed<()> {
        let wrong = products.iter().any(|product| match product {
            Product::Texts(named) => named.sources.iter().any(|source| match source {
                Source::File(_) => !source.may_be_folder(),
                Source::Url(_) => true,
                _ => false,
            }),
            _ => false,
        });
        if wrong {
            Err(self.refuse_from(start, "`list` takes a folder; to see a text, say `show`"))
        } else {
            Ok(())
        }
    }

    /// Nouns joined by commas and `and`, as long as no verb comes.
    pub(super) fn products(&mut self) -> Parsed<Vec<Product>> {
        let Some(first) = self.product()? else {
            return Err(self.refuse_here_default());
        };
        let mut products = vec![first];
        loop {
            let before = self.at;
            let separated = self.eat_list_separator();
            if !separated || self.peek_verb().is_some() {
                self.at = before;
                return Ok(products);
            }
            match self.product()? {
                Some(product) => products.push(product),
                None => {
                    self.at = before;
                    return Ok(products);
                }
            }
        }
    }

    pub(super) fn count(&mut self, start: usize) -> Parsed<()> {
        self.eat_phrase("how many");
        if self.eat_any(&["them", "these", "those"]).is_some()
            || self.eat_phrase("the results")
            || self.eat_phrase("the matches")
        {
            return self.count_found(start);
        }
        if self.eat_phrase("how often") {
            let pattern = self.pattern()?;
            self.eat_any(&["appears", "occurs", "appear", "occur"]);
            return self.finish(start, vec![Product::Ops(vec![Op::CountMatches(pattern)])]);
        }
        self.count_products(start)
    }

    /// `count them`: how many the last step found; what it found stays in the result.
    pub(super) fn count_found(&mut self, start: usize) -> Parsed<()> {
        self.not_yet_written(start)?;
        self.one_result(start)?;
        let last = self
            .blocks
            .last()
            .and_then(|block| block.chains.last())
            .cloned();
        let Some(mut chain) = last.filter(|chain| chain.last().is_some_and(Op::gives_lines)) else {
            return Err(self.refuse_from(start, "nothing was found before that could be counted"));
        };
        if let [Op::List(entries)] = chain.as_slice() {
            chain = vec![Op::CountEntries(*entries)];
        } else {
            chain.push(Op::CountItems);
        }
        if let Some(block) = self.blocks.last_mut() {
            block.chains.push(chain);
        }
        Ok(())
    }

    pub(super) fn count_products(&mut self, start: usize) -> Parsed<()> {
        let Some(first) = self.countable()? else {
            return Err(self.refuse_here_default());
        };
        let mut products = vec![first];
        loop {
            let before = self.at;
            let separated = self.eat_list_separator();
            if !separated || self.peek_verb().is_some() {
                self.at = before;
                break;
            }
            match self.countable()? {
                Some(product) => products.push(product),
                None => {
                    self.at = before;
                    break;
                }
            }
        }
        let products: Vec<Product> = products.into_iter().map(counted).collect();
        self.eat_any(&["are", "is"]);
        self.eat_any(&["there"]);
        self.eat_phrase("does");
        if let Some(named) = self.sources(Quoted::IfPath)? {
            self.eat_any(&["have", "has", "contain", "contains"]);
            return self.finish_with(
                start,
                products,
                Tail {
                    sources: Some(named),
                    ..Tail::default()
                },
            );
        }
        self.finish(start, products)
    }

    pub(super) fn search(&mut self, start: usize) -> Parsed<()> {
        let verb = self.word_at(start).unwrap_or("").to_owned();
        let introduced = self.eat_any(&["for"]).is_some();
        if introduced || verb == "grep" {
            let here = self.at;
            self.eat_any(&["all", "the", "any"]);
            if let Some(items) = self.eat_items() {
                let sources = self.sources(Quoted::Path)?;
                return self.finish_with(
                    start,
                    vec![Product::Ops(vec![Op::Extract(items)])],
                    Tail {
                        sources,
                        ..Tail::default()
                    },
                );
            }
            if matches!(self.word(), Some("lines" | "line" | "occurrences")) {
                let products = self.products()?;
                return self.finish(start, products);
            }
            self.at = here;
            let pattern = self.searched_pattern()?;
            let sources = self.sources(Quoted::Path)?;
            return self.finish_with(
                start,
                vec![Product::Ops(vec![Op::Find(pattern)])],
                Tail {
                    sources,
                    ..Tail::default()
                },
            );
        }
        if verb == "look" {
            return Err(self.refuse_from(start, "say `search for` and the text in quotes"));
        }
        self.eat_any(&["in", "through"]);
        let Some(named) = self.sources(Quoted::Path)? else {
            return Err(self.refuse_here_default());
        };
        if self.eat_any(&["for"]).is_none() {
            return Err(self.refuse_from(start, "what to search for is missing"));
        }
        let here = self.at;
        self.eat_any(&["all", "the", "any"]);
        let chain = match self.eat_items() {
            Some(items) => vec![Op::Extract(items)],
            None => {
                self.at = here;
                vec![Op::Find(self.searched_pattern()?)]
            }
        };
        self.finish_with(
            start,
            vec![Product::Ops(chain)],
            Tail {
                sources: Some(named),
                ..Tail::default()
            },
        )
    }

    /// A literal text to search for; a lone word that seldom stands for itself must be quoted.
    pub(super) fn searched_pattern(&mut self) -> Parsed<Pattern> {
        if self.word().is_some_and(words::is_judgement) {
            return Err(self.refuse_here(
                "to find this as a literal text, put it in quotes; anything more takes a model",
            ));
        }
        self.pattern()
    }
}

/// A noun after `count`: how many of it.
fn counted(product: Product) -> Product {
    match product {
        Product::Listing(entries, pattern) => Product::Tally(entries, pattern),
        Product::Ops(chain) => match chain.as_slice() {
            [Op::Extract(items)] => Product::Ops(vec![Op::Count(Unit::Of(*items))]),
            _ => Product::Ops(chain),
        },
        other => other,
    }
}
