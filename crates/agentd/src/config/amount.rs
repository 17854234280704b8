//! Amounts of a budget as operators write them: `2usd`, `100ktokens`, `10m`. One amount says which limit it sets; what
//! does not parse is refused, never rounded or guessed.

use aaos_core::{budget::Budget, money::MicroDollars, time::Span};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One limit of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "limit", content = "value", rename_all = "snake_case")]
pub(crate) enum Amount {
    /// Tokens in and out.
    Tokens(u64),
    /// Money, in millionths of a US dollar.
    CostMicroDollars(u64),
    /// Time from submit to the end, in milliseconds.
    WallClockMs(u64),
    /// Tool calls.
    Calls(u64),
    /// Agents.
    Agents(u64),
    /// Agents below agents.
    Depth(u32),
    /// Children of one agent.
    FanOut(u32),
}

/// The forms an amount has: what to do where something is none.
pub(crate) const FORMS: &str = "Write `2usd`, `0.50usd`, `100ktokens`, `2mtokens`, `30s`, `10m`, `1h`, `500calls`, \
     `20agents`, `3deep` or `50wide`";

impl Amount {
    /// Sets this limit.
    pub(crate) fn apply(self, budget: &mut Budget) {
        match self {
            Self::Tokens(tokens) => budget.tokens = tokens,
            Self::CostMicroDollars(cost) => budget.cost = MicroDollars(cost),
            Self::WallClockMs(millis) => budget.wall_clock = Span::from_millis(millis),
            Self::Calls(calls) => budget.calls = calls,
            Self::Agents(agents) => budget.agents = agents,
            Self::Depth(depth) => budget.depth = depth,
            Self::FanOut(fan_out) => budget.fan_out = fan_out,
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad = || {
            let shown = aaos_core::text::preview(text, 64);
            format!("`{shown}` is not an amount")
        };
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .ok_or_else(bad)?;
        let (number, unit) = text.split_at(unit_at);
        let millionths = millionths(&number.replace('_', "")).ok_or_else(bad)?;
        let scaled = |scale: u64| whole(millionths, scale).ok_or_else(bad);
        let small = |scale: u64| u32::try_from(scaled(scale)?).map_err(|_| bad());
        Ok(match unit.trim().to_ascii_lowercase().as_str() {
            "usd" => Self::CostMicroDollars(u64::try_from(millionths).map_err(|_| bad())?),
            "token" | "tokens" => Self::Tokens(scaled(1)?),
            "ktokens" => Self::Tokens(scaled(1_000)?),
            "mtokens" => Self::Tokens(scaled(1_000_000)?),
            "ms" => Self::WallClockMs(scaled(1)?),
            "s" => Self::WallClockMs(scaled(1_000)?),
            "m" | "min" => Self::WallClockMs(scaled(60_000)?),
            "h" => Self::WallClockMs(scaled(3_600_000)?),
            "d" => Self::WallClockMs(scaled(86_400_000)?),
            "call" | "calls" => Self::Calls(scaled(1)?),
            "agent" | "agents" => Self::Agents(scaled(1)?),
            "deep" => Self::Depth(small(1)?),
            "wide" => Self::FanOut(small(1)?),
            _ => return Err(bad()),
        })
    }
}

/// A decimal number in millionths; at most six places.
fn millionths(number: &str) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 6 || part.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = if part.is_empty() {
        0
    } else {
        format!("{part:0<6}").parse().ok()?
    };
    Some(u128::from(whole) * 1_000_000 + u128::from(part))
}

/// So many millionths of `scale`, if that is a whole number that fits.
fn whole(millionths: u128, scale: u64) -> Option<u64> {
    let scaled = millionths.checked_mul(u128::from(scale))?;
    if scaled % 1_000_000 == 0 {
        u64::try_from(scaled / 1_000_000).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_names_its_limit_by_its_unit() {
        assert_eq!("2usd".parse(), Ok(Amount::CostMicroDollars(2_000_000)));
        assert_eq!("0.25usd".parse(), Ok(Amount::CostMicroDollars(250_000)));
        assert_eq!("100ktokens".parse(), Ok(Amount::Tokens(100_000)));
        assert_eq!("1.5mtokens".parse(), Ok(Amount::Tokens(1_500_000)));
        assert_eq!("10m".parse(), Ok(Amount::WallClockMs(600_000)));
        assert_eq!("3deep".parse(), Ok(Amount::Depth(3)));
    }

    #[test]
    fn what_is_no_amount_is_refused_and_never_rounded() {
        for bad in [
            "",
            "2",
            "usd",
            "-1usd",
            "1.2calls",
            "1..2usd",
            "9999999999999999999999usd",
            "2 bananas",
            "1e3s",
            "0.0000001usd",
        ] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }
}
