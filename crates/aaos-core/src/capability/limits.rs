//! Limits: how often, how fast, until when and how much a capability may be used.
//!
//! Here they are compared and combined; the grant table counts against them.

use super::Excess;
use crate::{
    money::MicroDollars,
    time::{Span, Timestamp},
};
use std::fmt;

/// Largest count of a rate; the grant table remembers the moment of each of them.
pub const RATE_COUNT_MAX: u32 = 1024;

/// At most `count` uses in any stretch of time as long as `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// Uses, at most [`RATE_COUNT_MAX`].
    pub count: u32,
    /// The length of the stretch; more than nothing.
    pub per: Span,
}

impl Rate {
    /// Whether every sequence of uses that keeps to `other` keeps to `self` too: as many of `other`'s stretches as it
    /// takes to span one of `self`'s hold no more uses than `self` allows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let stretches = self.per.micros().max(1).div_ceil(other.per.micros().max(1));
        u64::from(other.count).saturating_mul(stretches) <= u64::from(self.count)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/", self.count)?;
        write_span(out, self.per)
    }
}

/// Units a span is written in, longest first, in microseconds.
pub(super) const SPAN_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units an amount of bytes is read in.
pub(super) const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Writes a span in whole seconds where it is one, so that `10/60s` reads back as it was written.
fn write_span(out: &mut fmt::Formatter<'_>, span: Span) -> fmt::Result {
    let micros = span.micros();
    let fits = |(_, size): &&(&str, u64)| *size <= 1_000_000 && micros.is_multiple_of(*size);
    let (unit, size) = SPAN_UNITS.iter().find(fits).copied().unwrap_or(("us", 1));
    write!(out, "{}{unit}", micros / size)
}

fn write_bytes(out: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    let fits = |(unit, size): &&(&str, u64)| {
        unit.ends_with("iB") && bytes > 0 && bytes.is_multiple_of(*size)
    };
    match BYTE_UNITS.iter().find(fits) {
        Some((unit, size)) => write!(out, "{}{unit}", bytes / size),
        None => write!(out, "{bytes}"),
    }
}

fn write_money(out: &mut fmt::Formatter<'_>, amount: MicroDollars) -> fmt::Result {
    let (whole, millionths) = (amount.0 / 1_000_000, format!("{:06}", amount.0 % 1_000_000));
    let (cents, finer) = millionths.split_at(2);
    write!(out, "{whole}.{cents}{}usd", finer.trim_end_matches('0'))
}

/// Limits of a capability. What is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Limits {
    /// Uses in all.
    pub uses: Option<u64>,
    /// Uses in a stretch of time.
    pub rate: Option<Rate>,
    /// The first moment at which it may no longer be used.
    pub expires: Option<Timestamp>,
    /// Bytes in all.
    pub bytes: Option<u64>,
    /// Money in all.
    pub money: Option<MicroDollars>,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        uses: None,
        rate: None,
        expires: None,
        bytes: None,
        money: None,
    };

    /// Whether every course of use `other` allows, `self` allows too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.first_excess(other).is_none()
    }

    /// These limits, with `held`'s wherever they set none.
    #[must_use]
    pub fn or(&self, held: &Self) -> Self {
        Self {
            uses: self.uses.or(held.uses),
            rate: self.rate.or(held.rate),
            expires: self.expires.or(held.expires),
            bytes: self.bytes.or(held.bytes),
            money: self.money.or(held.money),
        }
    }

    /// Whether the moment of expiry has come.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    fn first_excess(&self, other: &Self) -> Option<Axis> {
        let over = |held: Option<u64>, wanted: Option<u64>| {
            held.is_some_and(|held| wanted.is_none_or(|wanted| wanted > held))
        };
        let micros = |moment: Option<Timestamp>| moment.map(Timestamp::micros);
        let amount = |money: Option<MicroDollars>| money.map(|money| money.0);
        let rate = self
            .rate
            .is_some_and(|held| other.rate.is_none_or(|wanted| !held.covers(&wanted)));
        [
            (Axis::Uses, over(self.uses, other.uses)),
            (Axis::Rate, rate),
            (
                Axis::Expiry,
                over(micros(self.expires), micros(other.expires)),
            ),
            (Axis::Bytes, over(self.bytes, other.bytes)),
            (Axis::Money, over(amount(self.money), amount(other.money))),
        ]
        .into_iter()
        .find_map(|(axis, exceeds)| exceeds.then_some(axis))
    }

    pub(super) fn excess(&self, other: &Self) -> Option<Excess> {
        let axis = self.first_excess(other)?;
        let (held, wanted) = (self.only(axis), other.only(axis));
        Some(match axis {
            Axis::Uses => Excess::Uses { held, wanted },
            Axis::Rate => Excess::Rate { held, wanted },
            Axis::Expiry => Excess::Expiry { held, wanted },
            Axis::Bytes => Excess::Bytes { held, wanted },
            Axis::Money => Excess::Money { held, wanted },
        })
    }

    /// One limit as text.
    fn only(&self, axis: Axis) -> String {
        let none = Self::NONE;
        let only = match axis {
            Axis::Uses => Self {
                uses: self.uses,
                ..none
            },
            Axis::Rate => Self {
                rate: self.rate,
                ..none
            },
            Axis::Expiry => Self {
                expires: self.expires,
                ..none
            },
            Axis::Bytes => Self {
                bytes: self.bytes,
                ..none
            },
            Axis::Money => Self {
                money: self.money,
                ..none
            },
        };
        if only == none {
            "no limit".to_owned()
        } else {
            only.to_string()
        }
    }
}

#[derive(Clone, Copy)]
enum Axis {
    Uses,
    Rate,
    Expiry,
    Bytes,
    Money,
}

impl fmt::Display for Limits {
    /// As in the grammar between the braces: `uses=3, rate=10/60s`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let mut key = |out: &mut fmt::Formatter<'_>, name: &str| {
            let result = write!(out, "{comma}{name}=");
            comma = ", ";
            result
        };
        if let Some(uses) = self.uses {
            key(out, "uses")?;
            write!(out, "{uses}")?;
        }
        if let Some(rate) = self.rate {
            key(out, "rate")?;
            write!(out, "{rate}")?;
        }
        if let Some(expires) = self.expires {
            key(out, "until")?;
            super::moment::write(out, expires)?;
        }
        if let Some(bytes) = self.bytes {
            key(out, "bytes")?;
            write_bytes(out, bytes)?;
        }
        if let Some(money) = self.money {
            key(out, "money")?;
            write_money(out, money)?;
        }
        Ok(())
    }
}
