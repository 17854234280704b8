//! Refusals: why the grant table says no, in words a model or the operator can act on.
//!
//! A refusal is an answer, not an error of the tool that asked.

use super::{Excess, limits::Rate};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// Why an act or a grant is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// No live grant of the holder allows it.
    #[error("no grant allows to {need}{}; ask for something within your grants, or let the operator add one with --grant", near(nearest.as_ref()))]
    NotHeld {
        /// What was asked for, for people.
        need: String,
        /// On which axis the nearest grant falls short; `None` if nothing of the kind is held.
        nearest: Option<Excess>,
    },
    /// The grant has been revoked.
    #[error("the grant has been revoked; stop using it and finish with what you have")]
    Revoked,
    /// The grant's time is over.
    #[error(
        "the grant has expired; finish with what you have, or let the operator grant it for longer"
    )]
    Expired,
    /// The grant, or one it was made from, has no uses left.
    #[error(
        "all {limit} uses of the grant are spent; finish with what you have, or let the operator grant more uses"
    )]
    UsesExhausted {
        /// Uses granted.
        limit: u64,
    },
    /// The grant, or one it was made from, is being used too fast.
    #[error("the grant allows {count} uses in {} seconds and they are spent; try again in {} seconds", per.millis().div_ceil(1000), retry_after.millis().div_ceil(1000).max(1))]
    RateExceeded {
        /// Uses in a stretch of time.
        count: u32,
        /// The length of the stretch, in microseconds.
        per: Span,
        /// How long until a use is free, in microseconds.
        retry_after: Span,
    },
    /// The grant, or one it was made from, has too few bytes left.
    #[error(
        "of the {limit} bytes granted too few are left; ask for less, or let the operator grant more bytes"
    )]
    BytesExhausted {
        /// Bytes granted.
        limit: u64,
    },
    /// The grant, or one it was made from, has too little money left.
    #[error(
        "of the {limit} micro-dollars granted too few are left; use something cheaper, or let the operator grant more money"
    )]
    MoneyExhausted {
        /// Micro-dollars granted.
        limit: u64,
    },
    /// The table, or the holder's part of it, is full.
    #[error(
        "there are {limit} grants already, which is the most; end agents that are no longer needed"
    )]
    TableFull {
        /// Most grants.
        limit: usize,
    },
    /// Grants are made from grants too many times over.
    #[error(
        "a grant can be passed on at most {limit} times; let an agent nearer to the run's own ask for it"
    )]
    TooDeep {
        /// Longest line of grants made from one another.
        limit: usize,
    },
    /// The identity is in use; the grant that has it stays as it is.
    #[error("a grant with this id exists; draw another id")]
    GrantTaken,
    /// There is no such grant.
    #[error("there is no such grant; use one of those you hold")]
    UnknownGrant,
    /// A grant was asked for that is stronger than the one it would be made from.
    #[error("a grant cannot be made stronger by passing it on: {0}; ask for less")]
    Amplifies(Excess),
}

fn near(nearest: Option<&Excess>) -> String {
    nearest.map_or_else(String::new, |excess| format!(" ({excess})"))
}

impl Refusal {
    pub(super) fn rate(rate: Rate, retry_after: Span) -> Self {
        Self::RateExceeded {
            count: rate.count,
            per: rate.per,
            retry_after,
        }
    }

    /// The axis it was refused on, in one word.
    #[must_use]
    pub const fn axis(&self) -> &'static str {
        match self {
            Self::NotHeld {
                nearest: Some(excess),
                ..
            }
            | Self::Amplifies(excess) => excess.axis(),
            Self::NotHeld { nearest: None, .. } => "kind",
            Self::Revoked => "revoked",
            Self::Expired => "expiry",
            Self::UsesExhausted { .. } => "uses",
            Self::RateExceeded { .. } => "rate",
            Self::BytesExhausted { .. } => "bytes",
            Self::MoneyExhausted { .. } => "money",
            Self::TableFull { .. } => "table",
            Self::TooDeep { .. } => "depth",
            Self::GrantTaken | Self::UnknownGrant => "grant",
        }
    }
}
