//! Puts what a clause asks for with what it asks it of, after checking that it makes sense.

use super::{
    noun::Product,
    op::{Chain, Entries, Op, Scope},
    parser::{Block, Parsed, Parser},
    source::{Named, Source, with_pattern},
    tail::Tail,
};

impl Parser<'_> {
    /// Refuses a step on "them" where several things were found.
    pub(super) fn one_result(&self, start: usize) -> Parsed<()> {
        let chains = self
            .blocks
            .iter()
            .map(|block| block.chains.len())
            .sum::<usize>();
        if chains > 1 {
            Err(self.refuse_from(
                start,
                "several things were found before; say which is meant",
            ))
        } else {
            Ok(())
        }
    }

    /// Whether nothing but texts themselves was asked for so far.
    pub(super) fn only_texts(&self) -> bool {
        self.blocks
            .iter()
            .flat_map(|block| &block.chains)
            .all(|chain| chain.as_slice() == [Op::Show])
    }

    pub(super) fn finish(&mut self, start: usize, products: Vec<Product>) -> Parsed<()> {
        self.finish_with(start, products, Tail::default())
    }

    pub(super) fn finish_with(
        &mut self,
        start: usize,
        products: Vec<Product>,
        known: Tail,
    ) -> Parsed<()> {
        let mut tail = self.tail(start, &products)?;
        if let Some(sources) = known.sources {
            if let Some(more) = &tail.sources
                && more.pronoun.is_none()
            {
                return Err(self.refuse_from(start, "two sets of sources are named"));
            }
            tail.sources = Some(sources);
        }
        self.apply(start, products, tail)
    }

    /// Refuses a further wish after the results were said to be written: what the file then holds would be unclear.
    pub(super) fn not_yet_written(&self, start: usize) -> Parsed<()> {
        if self
            .output_clause
            .is_some_and(|clause| clause < self.clauses)
        {
            return Err(self.refuse_from(
                start,
                "this comes after the results are to be written; say it before",
            ));
        }
        Ok(())
    }

    /// Names sources that later words refer to.
    pub(super) fn gather(&mut self, sources: Vec<Source>) {
        if self.gathering {
            self.context.extend(sources.iter().cloned());
        } else {
            self.context.clone_from(&sources);
        }
        self.idle.extend(sources);
        self.gathering = true;
    }

    /// Puts what is asked for with what it is asked of.
    pub(super) fn apply(&mut self, start: usize, products: Vec<Product>, tail: Tail) -> Parsed<()> {
        let scope = tail.scope.or_else(|| {
            tail.sources
                .as_ref()
                .is_some_and(|named| named.each)
                .then_some(Scope::Each)
        });
        let scope = scope.or_else(|| self.total.then_some(Scope::Together));
        let named = tail.sources.clone();
        let ignored = |product: &Product| {
            matches!(
                product,
                Product::Results | Product::Originals | Product::Cut(_)
            )
        };
        if named.as_ref().is_some_and(|named| named.pronoun.is_none())
            && products.iter().any(ignored)
        {
            return Err(self.refuse_from(start, "what is wanted of these is not said"));
        }
        for product in products {
            match product {
                Product::Ops(chain) => {
                    self.apply_chain(start, chain, named.as_ref(), &tail, scope)?
                }
                Product::Cut(op) => self.transform_last(start, op)?,
                Product::Lines => self.apply_lines(start, named.as_ref(), scope)?,
                Product::Originals if !self.only_texts() => {
                    return Err(self.refuse_from(start, "the texts themselves or the results?"));
                }
                Product::Results | Product::Originals => self.anything_found(start)?,
                Product::Texts(texts) => self.apply_texts(start, texts, scope)?,
                Product::Tally(entries, pattern) => {
                    self.apply_listing(start, Op::CountEntries(entries), &pattern, named.as_ref())?
                }
                Product::Listing(entries, pattern) => {
                    self.apply_listing(start, Op::List(entries), &pattern, named.as_ref())?
                }
            }
        }
        Ok(())
    }

    pub(super) fn apply_chain(
        &mut self,
        start: usize,
        mut chain: Chain,
        named: Option<&Named>,
        tail: &Tail,
        scope: Option<Scope>,
    ) -> Parsed<()> {
        match (tail.length, chain.as_mut_slice()) {
            (Some((n, shape)), [Op::Summarise(sentences, form)]) => {
                (*sentences, *form) = (n, shape)
            }
            (Some(_), _) => {
                return Err(self.refuse_from(start, "only a summary has a number of sentences"));
            }
            (None, _) => {}
        }
        if let Some(named) = named {
            self.clear_referent(start, named)?;
        }
        let sources = match named {
            Some(named) => named.sources.clone(),
            None if self.context.is_empty() => {
                return Err(self.refuse_from(start, "no file, folder or URL is named for this"));
            }
            None => self.context.clone(),
        };
        self.add(start, chain, sources, scope)
    }

    pub(super) fn apply_lines(
        &mut self,
        start: usize,
        named: Option<&Named>,
        scope: Option<Scope>,
    ) -> Parsed<()> {
        match named {
            Some(named) => self.add(start, vec![Op::Show], named.sources.clone(), scope),
            None => self.anything_found(start),
        }
    }

    pub(super) fn anything_found(&self, start: usize) -> Parsed<()> {
        if self.blocks.is_empty() && self.idle.is_empty() {
            return Err(self.refuse_from(start, "nothing was read or found before"));
        }
        Ok(())
    }

    pub(super) fn transform_last(&mut self, start: usize, op: Op) -> Parsed<()> {
        self.not_yet_written(start)?;
        self.one_result(start)?;
        let last = self
            .blocks
            .last_mut()
            .and_then(|block| block.chains.last_mut());
        match last.filter(|chain| chain.last().is_some_and(Op::gives_lines)) {
            Some(chain) => {
                chain.push(op);
                Ok(())
            }
            None => Err(self.refuse_from(
                start,
                "nothing was found before that this could be taken from",
            )),
        }
    }

    pub(super) fn apply_texts(
        &mut self,
        start: usize,
        texts: Named,
        scope: Option<Scope>,
    ) -> Parsed<()> {
        let listing = self.word_at(start) == Some("list");
        if texts.pronoun.is_some() {
            return self.anything_found(start);
        }
        let stories = texts
            .sources
            .iter()
            .all(|source| matches!(source, Source::Stories { .. } | Source::Url(_)));
        if stories {
            self.gather(texts.sources);
            return Ok(());
        }
        for source in texts.sources {
            let (op, source) = match source {
                Source::Folder { .. } => (Op::List(Entries::All), source),
                other if listing => (Op::List(Entries::All), super::source::as_folder(other)),
                other => {
                    self.gather(vec![other]);
                    continue;
                }
            };
            self.add(start, vec![op], vec![source], scope)?;
        }
        Ok(())
    }

    pub(super) fn apply_listing(
        &mut self,
        start: usize,
        op: Op,
        pattern: &str,
        named: Option<&Named>,
    ) -> Parsed<()> {
        let sources = match named {
            Some(named) => named.sources.clone(),
            None => self.context.clone(),
        };
        if sources.is_empty() {
            return Err(self.refuse_from(
                start,
                "which folder is not said, as in `the files in docs/`",
            ));
        }
        for source in sources {
            if !matches!(source, Source::Folder { .. } | Source::File(_)) {
                return Err(self.refuse_from(start, "only a folder holds files"));
            }
            let source = with_pattern(super::source::as_folder(source), pattern);
            self.add(start, vec![op.clone()], vec![source], None)?;
        }
        Ok(())
    }

    /// Adds what is done to some sources, after checking that it makes sense for them.
    pub(super) fn add(
        &mut self,
        start: usize,
        chain: Chain,
        sources: Vec<Source>,
        scope: Option<Scope>,
    ) -> Parsed<()> {
        self.not_yet_written(start)?;
        self.suits(start, &chain, &sources)?;
        let used = |source: &Source| sources.iter().any(|other| same_place(source, other));
        self.idle.retain(|source| !used(source));
        self.gathering = false;
        self.context.clone_from(&sources);
        let scope = if chain.iter().any(Op::needs_all) {
            Some(Scope::Together)
        } else {
            scope
        };
        match self
            .blocks
            .iter_mut()
            .find(|block| block.sources == sources && block.scope == scope)
        {
            Some(block) => block.chains.push(chain),
            None => self.blocks.push(Block {
                sources,
                chains: vec![chain],
                scope,
            }),
        }
        Ok(())
    }

    pub(super) fn suits(&self, start: usize, chain: &Chain, sources: &[Source]) -> Parsed<()> {
        let folders = sources
            .iter()
            .filter(|source| matches!(source, Source::Folder { .. }))
            .count();
        let stories = sources
            .iter()
            .any(|source| matches!(source, Source::Stories { .. }));
        let summary = matches!(chain.as_slice(), [Op::Summarise(..) | Op::Show]);
        if stories && !summary {
            return Err(self.refuse_from(
                start,
                "stories can be fetched, shown and summarised; nothing else is known of them",
            ));
        }
        if matches!(chain.as_slice(), [Op::Compare, ..]) && (sources.len() < 2 || folders > 0) {
            return Err(self.refuse_from(start, "a comparison takes two or more files or pages"));
        }
        if matches!(chain.as_slice(), [Op::Combine, ..])
            && (folders > 0 && sources.len() > 1 || folders == 0 && sources.len() < 2)
        {
            return Err(self.refuse_from(
                start,
                "combining takes two or more files or pages, or one folder",
            ));
        }
        let one_table = || matches!(sources, [source] if may_be_table(source));
        if matches!(chain.as_slice(), [Op::Records]) && !one_table() {
            return Err(self.refuse_from(
                start,
                "one table, as CSV or JSON, can be converted without a model",
            ));
        }
        let searched = matches!(chain.first(), Some(Op::Find(_)));
        if searched && let Some(unclear) = sources.iter().find(|source| source.may_be_folder()) {
            let path = unclear.label();
            return Err(self.refuse_from(
                start,
                format!("is {path} a file or a folder? write {path}/ for a folder"),
            ));
        }
        Ok(())
    }

    /// Sources that were only named: their text is what is asked for.
    pub(super) fn show_idle(&mut self, idle: Vec<Source>) -> Parsed<()> {
        let folder = idle
            .iter()
            .find(|source| matches!(source, Source::Folder { .. }));
        if let Some(folder) = folder {
            let what = if let Source::Folder { path, .. } = folder {
                path.clone()
            } else {
                folder.label()
            };
            return Err(super::refusal::Refusal::new(
                &what,
                "what to do with this folder is not said, as in `list`, `summarise`, `count the words`",
            ));
        }
        if let (Some(first), false) = (idle.first(), self.blocks.is_empty()) {
            return Err(super::refusal::Refusal::new(
                &first.label(),
                "this is named, but nothing is asked of it",
            ));
        }
        let scope = None;
        match self.blocks.iter_mut().find(|block| block.sources == idle) {
            Some(block) => block.chains.insert(0, vec![Op::Show]),
            None => self.blocks.insert(
                0,
                Block {
                    sources: idle,
                    chains: vec![vec![Op::Show]],
                    scope,
                },
            ),
        }
        Ok(())
    }
}

/// Whether a source's name says that it is a table, or does not say that it is none.
fn may_be_table(source: &Source) -> bool {
    let ending = super::digest::ending(&source.label());
    matches!(
        (source, ending.as_deref()),
        (
            Source::File(_) | Source::Url(_),
            Some("csv" | "tsv" | "json")
        ) | (Source::Url(_), None)
    )
}

/// Whether two sources are at one place, whatever is taken of it.
fn same_place(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (
            Source::Folder { path, .. } | Source::File(path),
            Source::Folder { path: also, .. } | Source::File(also),
        ) => path == also,
        _ => one == other,
    }
}
