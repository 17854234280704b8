//! Clauses that say where results go, and whether what they name is what was found.

use super::{
    lex::{Kind, is_path},
    noun::{Product, SENTENCES_DEFAULT},
    op::{Chain, Op, Shape},
    parser::{Parsed, Parser},
    source::{Quoted, Source},
};

impl Parser<'_> {
    pub(super) fn copy(&mut self, start: usize) -> Parsed<()> {
        let Some(named) = self.sources(Quoted::Path)? else {
            return Err(self.refuse_here_default());
        };
        let one = named.sources.len() == 1
            && matches!(
                named.sources.first(),
                Some(Source::File(_) | Source::Url(_))
            );
        if !one {
            return Err(self.refuse_from(start, "one file at a time can be copied without a model"));
        }
        self.take(start, named)?;
        if self.output.is_none() {
            Err(self.refuse_from(start, "where to copy it is missing"))
        } else {
            Ok(())
        }
    }

    pub(super) fn write(&mut self, start: usize) -> Parsed<()> {
        if let Some(Kind::Quoted(text)) = self.peek()
            && !is_path(text)
        {
            return Err(self.refuse_from(
                start,
                "only what was read or found can be written, not words of the goal's own",
            ));
        }
        let first =
            self.output.is_none() && matches!(self.word(), Some("to" | "into" | "as" | "in"));
        if first {
            self.destination(start)?;
            if self.at_boundary() {
                return self.delivers(start, &[Product::Results]);
            }
        }
        if self.report_about() {
            // Texts that were only named are summarised; what was found already is the report.
            if self.blocks.is_empty() {
                let summary = vec![Op::Summarise(SENTENCES_DEFAULT, Shape::Sentences)];
                return self.finish(start, vec![Product::Ops(summary)]);
            }
            self.delivers(start, &[Product::Results])?;
            return self.destination(start);
        }
        let products = self.products()?;
        if !first {
            let here = self.at;
            if products == [Product::Results] && self.eat_any(&["down", "out"]).is_none() {
                self.at = here;
            }
        }
        let referring = self.delivers(start, &products);
        let tail = self.tail(start, &products)?;
        if tail.sources.is_none() && referring.is_ok() {
            return Ok(());
        }
        if self.blocks.iter().any(|block| !block.chains.is_empty()) && tail.sources.is_none() {
            return referring;
        }
        self.apply(start, products, tail)
    }

    /// `a report about them`: takes it, or nothing.
    fn report_about(&mut self) -> bool {
        const THEM: [&str; 9] = [
            "each of them",
            "all of them",
            "all of these",
            "all three",
            "both of them",
            "both",
            "them",
            "these",
            "it",
        ];
        let start = self.at;
        self.eat_any(&["a", "the", "one"]);
        self.eat_any(&["short", "brief"]);
        let taken = self.eat_any(&["report"]).is_some()
            && self.eat_any(&["about", "on", "of"]).is_some()
            && THEM.iter().any(|phrase| self.eat_phrase(phrase));
        if !taken {
            self.at = start;
        }
        taken
    }

    /// Whether what is to be written is what was found so far: all of it.
    pub(super) fn delivers(&self, start: usize, products: &[Product]) -> Parsed<()> {
        let chains: Vec<&Chain> = self.blocks.iter().flat_map(|block| &block.chains).collect();
        if products.contains(&Product::Originals) && !self.only_texts() {
            return Err(self.refuse_from(
                start,
                "the texts themselves or the results? say `write the results`",
            ));
        }
        if products.iter().any(|product| {
            matches!(
                product,
                Product::Results | Product::Lines | Product::Originals
            )
        }) {
            let anything = !chains.is_empty() || !self.idle.is_empty();
            return if anything {
                Ok(())
            } else {
                Err(self.refuse_from(
                    start,
                    "nothing was read or found before that could be written",
                ))
            };
        }
        let names = |product: &Product, chain: &Chain| match product {
            Product::Ops(ops) => same_kind(ops, chain),
            Product::Listing(..) => matches!(chain.first(), Some(Op::List(_))),
            _ => false,
        };
        let covered = |chain: &&Chain| products.iter().any(|product| names(product, chain));
        if !chains.is_empty()
            && products
                .iter()
                .all(|product| chains.iter().any(|chain| names(product, chain)))
        {
            return if chains.iter().all(covered) {
                Ok(())
            } else {
                Err(self.refuse_from(
                    start,
                    "this is only part of what was found; say `write the results`",
                ))
            };
        }
        let summary = products.iter().any(|product| matches!(product, Product::Ops(ops) if matches!(ops.as_slice(), [Op::Summarise(..)])));
        if summary {
            return Err(self.refuse_from(start, "a summary of the texts or of the results? say `write the results`, or `summarise` first"));
        }
        Err(self.refuse_from(start, "nothing of this kind was found before"))
    }
}

/// Whether a noun names what a chain gives.
fn same_kind(named: &Chain, chain: &Chain) -> bool {
    match (named.first(), chain.first()) {
        (Some(Op::Summarise(..)), Some(Op::Summarise(..))) => true,
        (Some(Op::TopWords(_)), Some(Op::TopWords(_))) => true,
        (Some(Op::Find(_)), Some(Op::Find(_))) => named.first() == chain.first(),
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}
