//! Prices of models, from a data file: integer micro-dollars per million tokens.
//!
//! A model without an entry costs nothing here, and its label says so; the token budget still bounds it.

use crate::limits::PRICE_FILE_BYTES_MAX;
use aaos_core::{capability::Reach, money::MicroDollars};
use serde::Deserialize;
use url::Url;

/// The file that ships with the program.
const BUNDLED: &str = include_str!("prices.toml");

/// Why a price file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}: {problem}; a price is `[[price]]` with provider, model, input, cached, written, output"
)]
pub struct PriceError {
    /// The file.
    pub file: String,
    /// What is wrong, with its line and column.
    pub problem: String,
}

/// One model's price, in micro-dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    /// A provider's kind, or its configured name.
    provider: String,
    /// The model, without a date.
    model: String,
    /// Tokens read.
    input: u64,
    /// Tokens read from the provider's cache; as `input` if not given.
    cached: Option<u64>,
    /// Tokens read and written to the provider's cache; as `input` if not given.
    written: Option<u64>,
    /// Tokens written.
    output: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    #[serde(default)]
    price: Vec<Price>,
}

/// Tokens as a provider counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Read, cached and written ones included.
    pub(crate) input: u64,
    /// Of those, read from the cache.
    pub(crate) cached: u64,
    /// Of those, written to the cache.
    pub(crate) written: u64,
    /// Written.
    pub(crate) output: u64,
}

/// Who bills: a provider's kind and its configured name, either of which a price may name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Biller<'a> {
    /// The kind, as `anthropic`.
    pub(crate) kind: &'a str,
    /// The configured name.
    pub(crate) name: &'a str,
}

/// Prices of models.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices {
    /// Earlier entries win.
    entries: Vec<Price>,
}

impl Prices {
    /// No prices: everything costs nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The prices that ship with the program.
    ///
    /// # Errors
    /// The bundled file is broken; a test holds that it is not.
    pub fn bundled() -> Result<Self, PriceError> {
        Self::parse("prices.toml", BUNDLED)
    }

    /// Reads a price file's text; `file` names it in errors.
    ///
    /// # Errors
    /// Too large, not TOML, an unknown key, a price that is no whole number.
    pub fn parse(file: &str, text: &str) -> Result<Self, PriceError> {
        let refuse = |problem: String| PriceError {
            file: file.to_owned(),
            problem,
        };
        if text.len() > PRICE_FILE_BYTES_MAX {
            return Err(refuse(format!("larger than {PRICE_FILE_BYTES_MAX} bytes")));
        }
        let read: PriceFile = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        Ok(Self {
            entries: read.price,
        })
    }

    /// These prices where they say something, `others` where they do not.
    #[must_use]
    pub fn or(mut self, others: Self) -> Self {
        self.entries.extend(others.entries);
        self
    }

    fn find(&self, biller: Biller<'_>, model: &str) -> Option<&Price> {
        let bills = |price: &&Price| price.provider == biller.name || price.provider == biller.kind;
        let of = |wanted: &str| {
            self.entries
                .iter()
                .filter(bills)
                .find(|price| price.model == wanted)
        };
        of(model).or_else(|| of(undated(model)))
    }

    /// Whether the price of a model is known that a provider of this kind and configured name serves.
    #[must_use]
    pub fn knows(&self, kind: &str, name: &str, model: &str) -> bool {
        self.find(Biller { kind, name }, model).is_some()
    }

    /// What these tokens cost.
    pub(crate) fn cost(&self, biller: Biller<'_>, model: &str, counts: Counts) -> MicroDollars {
        let Some(price) = self.find(biller, model) else {
            return MicroDollars::ZERO;
        };
        let plain = counts
            .input
            .saturating_sub(counts.cached)
            .saturating_sub(counts.written);
        let parts = [
            (plain, price.input),
            (counts.cached, price.cached.unwrap_or(price.input)),
            (counts.written, price.written.unwrap_or(price.input)),
            (counts.output, price.output),
        ];
        let product = |(tokens, each): &(u64, u64)| u128::from(*tokens) * u128::from(*each);
        let sum = parts.iter().map(product).fold(0, u128::saturating_add);
        MicroDollars(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The most that so many tokens could cost: nothing cached, everything written to the cache if that costs more.
    pub(crate) fn most(
        &self,
        biller: Biller<'_>,
        model: &str,
        input: u64,
        output: u64,
    ) -> MicroDollars {
        let plain = self.cost(
            biller,
            model,
            Counts {
                input,
                output,
                ..Counts::default()
            },
        );
        let written = self.cost(
            biller,
            model,
            Counts {
                input,
                written: input,
                output,
                cached: 0,
            },
        );
        plain.max(written)
    }
}

/// Whether an address is on this machine or its own network, where nobody bills. That is every address which is not out
/// on the internet: also those that no grant reaches, as `0.0.0.0` and link-local ones. A name that has to be looked up
/// bills.
pub(crate) fn is_near(base: &Url) -> bool {
    base.host_str()
        .is_some_and(|host| Reach::of_host(host) != Reach::Public)
}

/// A model's name without the date of its snapshot: `x-20251001` and `x-2025-10-01` are priced as `x`.
fn undated(model: &str) -> &str {
    let digits = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    let cut = |length: usize| {
        let at = model.len().checked_sub(length)?;
        let (name, date) = model.split_at_checked(at)?;
        (date.starts_with('-') && digits(date)).then_some(name)
    };
    cut("-2025-10-01".len())
        .or_else(|| cut("-20251001".len()))
        .unwrap_or(model)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const ANTHROPIC: Biller<'_> = Biller {
        kind: "anthropic",
        name: "main",
    };

    fn sample() -> Prices {
        let text = "[[price]]\nprovider='anthropic'\nmodel='m'\ninput=3_000_000\ncached=300_000\n\
                    written=3_750_000\noutput=15_000_000\n";
        Prices::parse("t", text).unwrap()
    }

    #[test]
    fn the_bundled_file_is_sound() {
        let prices = Prices::bundled().unwrap();
        for price in &prices.entries {
            assert!(price.cached.unwrap_or(0) <= price.input, "{price:?}");
            assert!(price.input <= price.output, "{price:?}");
        }
        assert!(!prices.entries.is_empty());
    }

    #[test]
    fn each_kind_of_token_costs_its_own_price_and_parts_are_rounded_up() {
        let counts = Counts {
            input: 1_000,
            cached: 600,
            written: 100,
            output: 10,
        };
        assert_eq!(
            sample().cost(ANTHROPIC, "m", counts),
            MicroDollars(900 + 180 + 375 + 150)
        );
        let one = Counts {
            cached: 1,
            input: 1,
            ..Counts::default()
        };
        assert_eq!(sample().cost(ANTHROPIC, "m", one), MicroDollars(1));
    }

    #[test]
    fn a_dated_snapshot_costs_what_its_model_costs_and_a_stranger_nothing() {
        let one = Counts {
            output: 1_000_000,
            ..Counts::default()
        };
        for model in ["m", "m-20251001", "m-2025-10-01"] {
            assert_eq!(
                sample().cost(ANTHROPIC, model, one),
                MicroDollars(15_000_000),
                "{model}"
            );
        }
        assert_eq!(sample().cost(ANTHROPIC, "m-large", one), MicroDollars::ZERO);
        let known = |model| sample().knows(ANTHROPIC.kind, ANTHROPIC.name, model);
        assert!(known("m-20251001") && !known("m-large"));
        let other = Biller {
            kind: "openai",
            name: "other",
        };
        assert_eq!(sample().cost(other, "m", one), MicroDollars::ZERO);
    }

    #[test]
    fn the_operators_price_goes_before_the_bundled_one() {
        let own = "[[price]]\nprovider='main'\nmodel='m'\ninput=1\noutput=2_000_000\n";
        let prices = Prices::parse("own", own).unwrap().or(sample());
        let one = Counts {
            output: 1_000_000,
            ..Counts::default()
        };
        assert_eq!(prices.cost(ANTHROPIC, "m", one), MicroDollars(2_000_000));
    }

    #[test]
    fn absurd_counts_and_prices_do_not_overflow() {
        let text = format!(
            "[[price]]\nprovider='anthropic'\nmodel='m'\ninput={0}\noutput={0}\n",
            i64::MAX
        );
        let counts = Counts {
            input: u64::MAX,
            cached: u64::MAX,
            written: u64::MAX,
            output: u64::MAX,
        };
        assert_eq!(
            Prices::parse("t", &text)
                .unwrap()
                .cost(ANTHROPIC, "m", counts),
            MicroDollars(u64::MAX)
        );
    }

    #[test]
    fn the_worst_case_is_never_less_than_what_it_cost() {
        let counts = Counts {
            input: 1_000,
            cached: 0,
            written: 1_000,
            output: 50,
        };
        assert!(sample().most(ANTHROPIC, "m", 1_000, 50) >= sample().cost(ANTHROPIC, "m", counts));
    }

    #[test]
    fn nobody_bills_on_this_machine_and_its_own_network() {
        let near = |host: &str| is_near(&Url::parse(&format!("http://{host}:11434/v1")).unwrap());
        for host in [
            "localhost",
            "LOCALHOST.",
            "models.localhost",
            "127.0.0.1",
            "127.1",
            "0.0.0.0",
            "10.0.0.1",
            "192.168.1.20",
            "100.64.0.7",
            "169.254.3.4",
            "[::1]",
            "[::]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
        ] {
            assert!(near(host), "{host}");
        }
        for host in [
            "api.example.com",
            "localhost.example.com",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "[2606:4700::1]",
            "[::ffff:8.8.8.8]",
        ] {
            assert!(!near(host), "{host}");
        }
        assert!(!is_near(&Url::parse("unix:/run/models.sock").unwrap()));
    }

    #[test]
    fn a_broken_file_is_refused_with_its_name_and_line() {
        let error = Prices::parse(
            "/etc/p.toml",
            "[[price]]\nprovider = 'a'\nmodel = 'm'\ninput = -1\noutput = 1\n",
        );
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("/etc/p.toml") && text.contains("line 4"),
            "{text}"
        );
        assert!(
            Prices::parse(
                "p",
                "[[price]]\nprovider='a'\nmodel='m'\ninput=1\noutput=1\nextra=1\n"
            )
            .is_err()
        );
    }
}
