//! Moments as RFC 3339 text in UTC, both ways; years 1970 to 9999.

use crate::time::Timestamp;
use std::fmt;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// The first second of the year 10000, which the text form cannot write.
const YEAR_10000: u64 = 253_402_300_800;

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Writes a moment: RFC 3339 up to the year 9999, microseconds since 1970 beyond.
pub(super) fn write(out: &mut impl fmt::Write, moment: Timestamp) -> fmt::Result {
    let (seconds, micros) = (
        moment.micros() / MICROS_PER_SECOND,
        moment.micros() % MICROS_PER_SECOND,
    );
    if seconds >= YEAR_10000 {
        return write!(out, "{}", moment.micros());
    }
    let (mut days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    write!(
        out,
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}",
        days + 1,
        second / 3600,
        second / 60 % 60,
        second % 60
    )?;
    if micros > 0 {
        write!(out, ".{micros:06}")?;
    }
    out.write_char('Z')
}

/// Reads a moment: microseconds since 1970, or `2026-01-02T03:04:05Z` with up to six digits of a second's fraction.
pub(super) fn read(text: &str) -> Option<Timestamp> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Timestamp::from_micros);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = time
        .split_once('.')
        .map_or((time, None), |(clock, fraction)| (clock, Some(fraction)));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let real = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years: u64 = (1970..year).map(days_of_year).sum();
    let months: u64 = (1..month).map(|month| days_of_month(year, month)).sum();
    let seconds = (years + months + day - 1) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let micros = fraction.map_or(Some(0), fraction_micros)?;
    Some(Timestamp::from_micros(seconds * MICROS_PER_SECOND + micros))
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (number, width) in found.iter_mut().zip(digits) {
        let part = parts
            .next()
            .filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Millionths from up to six digits after a decimal point.
pub(super) fn fraction_micros(digits: &str) -> Option<u64> {
    let fits = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !fits {
        return None;
    }
    format!("{digits:0<6}").parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_moment_survives_its_text_form() {
        for micros in [
            0,
            951_782_399_000_000,
            951_782_400_000_001,
            1_709_164_800_000_000,
            253_402_300_799_999_999,
            u64::MAX,
        ] {
            let mut text = String::new();
            write(&mut text, Timestamp::from_micros(micros)).unwrap();
            assert_eq!(read(&text), Some(Timestamp::from_micros(micros)), "{text}");
        }
        assert_eq!(
            read("2000-02-29T00:00:00Z"),
            Some(Timestamp::from_micros(951_782_400_000_000))
        );
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for bad in [
            "",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01",
            "2024-01-01T00:00:00+01:00",
            "1969-12-31T00:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
