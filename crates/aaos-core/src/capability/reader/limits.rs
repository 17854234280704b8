//! Reads limits: what stands between the braces at the end of a line.

use super::Reader;
use crate::{
    capability::{
        GrammarError, Limits, Rate,
        limits::{BYTE_UNITS, RATE_COUNT_MAX, SPAN_UNITS},
        moment,
    },
    money::MicroDollars,
    time::Span,
};

impl Reader<'_> {
    pub(super) fn limits(&mut self) -> Result<Limits, GrammarError> {
        self.bump();
        let mut limits = Limits::NONE;
        loop {
            self.spaces();
            let start = self.at;
            let key = self.take_while(|character| character.is_ascii_lowercase());
            self.spaces();
            if !self.eat('=') {
                return Err(self.error(start, "uses=, rate=, until=, bytes= or money="));
            }
            self.spaces();
            let value = self
                .take_while(|character| !matches!(character, ',' | '}'))
                .trim_end_matches([' ', '\t']);
            let set = set_limit(&mut limits, key, value);
            set.map_err(|expected| self.error(start, expected))?;
            if self.eat('}') {
                return Ok(limits);
            }
            if !self.eat(',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }
}

fn set_limit(limits: &mut Limits, key: &str, value: &str) -> Result<(), &'static str> {
    let fresh =
        match key {
            "uses" => limits
                .uses
                .replace(digits(value).ok_or("uses=N, a whole number")?)
                .is_none(),
            "rate" => limits
                .rate
                .replace(rate(value).ok_or(
                    "rate=N/60s, with N from 1 to 1024 and a time in d, h, m, s, ms or us",
                )?)
                .is_none(),
            "until" => limits
                .expires
                .replace(
                    moment::read(value)
                        .ok_or("until=2030-01-01T00:00:00Z, or microseconds since 1970")?,
                )
                .is_none(),
            "bytes" => limits
                .bytes
                .replace(
                    quantity(value, &BYTE_UNITS, 1)
                        .ok_or("bytes=N, or with a unit such as 1MiB or 10kB")?,
                )
                .is_none(),
            "money" => limits
                .money
                .replace(money(value).ok_or("money=0.50usd, with at most six decimals")?)
                .is_none(),
            _ => return Err("uses=, rate=, until=, bytes= or money="),
        };
    if fresh {
        Ok(())
    } else {
        Err("each limit once")
    }
}

fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn quantity(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.get(number.len()..).unwrap_or_default();
    let size = if unit.is_empty() {
        (bare > 0).then_some(bare)?
    } else {
        units.iter().find(|(name, _)| *name == unit)?.1
    };
    digits(number)?.checked_mul(size)
}

fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let count = digits(count)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=RATE_COUNT_MAX).contains(count))?;
    let per = quantity(per, &SPAN_UNITS, 0).filter(|micros| *micros > 0)?;
    Some(Rate {
        count,
        per: Span::from_micros(per),
    })
}

fn money(text: &str) -> Option<MicroDollars> {
    let amount = text.strip_suffix("usd")?;
    let (whole, fraction) = amount
        .split_once('.')
        .map_or((amount, None), |(whole, fraction)| (whole, Some(fraction)));
    let millionths = fraction.map_or(Some(0), moment::fraction_micros)?;
    digits(whole)?
        .checked_mul(1_000_000)?
        .checked_add(millionths)
        .map(MicroDollars)
}
