//! Secrets of a request: placeholders filled in for one hop, values put back to placeholders in what comes back.
//!
//! Refuses: a placeholder nobody admitted, a value too short to be recognised. A server that was sent a secret can still
//! give it away in a form that is not among those below; the grant that names both is the operator's trust in it.

use crate::policy::{Refused, SECRET_BYTES_MIN};
use aaos_ports::Admitted;
use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::BTreeMap;

const OPEN: &str = "{{secret:";
const CLOSE: &str = "}}";
/// Longest name of a secret, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Whether a text holds a placeholder.
pub(crate) fn is_in(text: &str) -> bool {
    next(text).is_some()
}

/// A text up to its first placeholder, that placeholder's name, and the rest.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find(OPEN)?;
        let name = text.get(start + OPEN.len()..)?;
        if let Some((name, rest)) = name.split_once(CLOSE)
            && is_name(name)
        {
            return Some((text.get(..start)?, name, rest));
        }
        from = start + OPEN.len();
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

/// A text with every placeholder replaced by the value that came with the admission.
///
/// # Errors
/// A name did not come with it, or its value is too short.
pub(crate) fn fill(text: &str, admitted: &Admitted) -> Result<String, Refused> {
    let (mut filled, mut left) = (String::new(), text);
    while let Some((before, name, rest)) = next(left) {
        let value = admitted
            .secrets
            .get(name)
            .ok_or_else(|| Refused::Secret(name.to_owned()))?
            .expose();
        if value.len() < SECRET_BYTES_MIN {
            return Err(Refused::ShortSecret(name.to_owned()));
        }
        filled.push_str(before);
        filled.push_str(value);
        left = rest;
    }
    filled.push_str(left);
    Ok(filled)
}

/// Every secret of a request so far, to be found again in what comes back.
#[derive(Default)]
pub(crate) struct Scrub {
    values: BTreeMap<String, String>,
    finder: Option<Finder>,
}

struct Finder {
    patterns: Vec<Vec<u8>>,
    placeholders: Vec<Vec<u8>>,
    automaton: AhoCorasick,
}

impl Scrub {
    /// Keeps in mind what came with an admission.
    ///
    /// # Errors
    /// The secrets are too many to look for.
    pub(crate) fn add(&mut self, admitted: &Admitted) -> Result<(), aho_corasick::BuildError> {
        let before = self.values.len();
        for (name, value) in &admitted.secrets {
            if value.expose().len() >= SECRET_BYTES_MIN {
                self.values.insert(name.clone(), value.expose().clone());
            }
        }
        if self.values.len() != before {
            self.finder = Some(Finder::new(&self.values)?);
        }
        Ok(())
    }

    /// Whether a text holds a secret.
    pub(crate) fn is_held_by(&self, text: &str) -> bool {
        let found = |finder: &Finder| finder.automaton.is_match(text);
        self.finder.as_ref().is_some_and(found)
    }

    /// Bytes with every secret put back to its placeholder. Where the bytes were cut off, the beginning of a secret at
    /// their end goes too.
    pub(crate) fn bytes(&self, mut bytes: Vec<u8>, cut: Cut) -> Vec<u8> {
        let Some(finder) = &self.finder else {
            return bytes;
        };
        if finder.automaton.is_match(&bytes) {
            bytes = finder
                .automaton
                .replace_all_bytes(&bytes, &finder.placeholders);
        }
        if cut == Cut::Off {
            bytes.truncate(finder.whole(&bytes));
        }
        bytes
    }

    /// As [`Scrub::bytes`], for text.
    pub(crate) fn text(&self, text: &str) -> String {
        match &self.finder {
            Some(finder) if finder.automaton.is_match(text) => {
                let bytes = text.as_bytes();
                let clean = finder
                    .automaton
                    .replace_all_bytes(bytes, &finder.placeholders);
                String::from_utf8_lossy(&clean).into_owned()
            }
            _ => text.to_owned(),
        }
    }
}

/// Whether bytes end where their source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// They are all.
    Nowhere,
    /// There was more.
    Off,
}

impl Finder {
    fn new(values: &BTreeMap<String, String>) -> Result<Self, aho_corasick::BuildError> {
        let (mut patterns, mut placeholders) = (Vec::new(), Vec::new());
        for (name, value) in values {
            for form in forms(value) {
                patterns.push(form);
                placeholders.push(format!("{OPEN}{name}{CLOSE}").into_bytes());
            }
        }
        // Letter case is no disguise, and so one form stands for `%2F` and `%2f`.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&patterns)?;
        Ok(Self {
            patterns,
            placeholders,
            automaton,
        })
    }

    /// How many bytes are left when the longest beginning of a pattern is taken off the end.
    fn whole(&self, bytes: &[u8]) -> usize {
        let longest = self.patterns.iter().map(Vec::len).max().unwrap_or(0);
        let from = bytes.len().saturating_sub(longest.saturating_sub(1));
        let begins = |start: &usize| {
            let tail = bytes.get(*start..).unwrap_or_default();
            self.patterns.iter().any(|pattern| {
                tail.len() < pattern.len()
                    && pattern
                        .get(..tail.len())
                        .is_some_and(|head| head.eq_ignore_ascii_case(tail))
            })
        };
        (from..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

/// The forms in which a value may come back: as it is, escaped for a URL, for JSON and for HTML, in hexadecimal, and
/// within Base64 wherever it begins.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let escaped = |escape: fn(char) -> Option<String>| -> Vec<u8> {
        let mut text = String::new();
        for c in value.chars() {
            match escape(c) {
                Some(escaped) => text.push_str(&escaped),
                None => text.push(c),
            }
        }
        text.into_bytes()
    };
    let mut forms = vec![
        value.as_bytes().to_vec(),
        escaped(url),
        escaped(json),
        escaped(json_slash),
        escaped(html),
        value
            .bytes()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
    ];
    for alphabet in [BASE64, BASE64_URL] {
        for offset in 0..3 {
            forms.push(within_base64(value.as_bytes(), offset, alphabet));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

fn url(c: char) -> Option<String> {
    let plain = c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let mut room = [0; 4];
    let bytes = c.encode_utf8(&mut room).bytes();
    (!plain).then(|| bytes.map(|byte| format!("%{byte:02x}")).collect())
}

fn json(c: char) -> Option<String> {
    match c {
        '"' | '\\' => Some(format!("\\{c}")),
        _ => None,
    }
}

fn json_slash(c: char) -> Option<String> {
    match c {
        '/' => Some("\\/".to_owned()),
        _ => json(c),
    }
}

fn html(c: char) -> Option<String> {
    let escaped = match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&#39;",
        _ => return None,
    };
    Some(escaped.to_owned())
}

/// Source: RFC 4648, 4 and 5.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The letters of Base64 that stand for this value alone when it begins `offset` bytes (0 to 2) into a group of three.
fn within_base64(value: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value);
    let letters = bytes.len() * 8 / 6;
    let first = (offset * 8).div_ceil(6);
    (first..letters)
        .filter_map(|letter| {
            let bit = letter * 6;
            let high = u16::from(*bytes.get(bit / 8)?);
            let low = u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
            let six = (high << 8 | low) >> (10 - bit % 8) & 0x3f;
            alphabet.get(usize::from(six)).copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aaos_core::secret::Secret;

    fn admitted(value: &str) -> Admitted {
        Admitted {
            secrets: BTreeMap::from([("token".to_owned(), Secret::new(value.to_owned()))]),
        }
    }

    fn scrub(value: &str) -> Scrub {
        let mut scrub = Scrub::default();
        scrub.add(&admitted(value)).unwrap();
        scrub
    }

    #[test]
    fn a_placeholder_is_filled_with_its_value_and_nothing_else_is() {
        let admitted = admitted("s3cr3t-value");
        let fill = |text: &str| fill(text, &admitted);
        assert_eq!(
            fill("a {{secret:token}}{{secret:token}} b").unwrap(),
            "a s3cr3t-values3cr3t-value b"
        );
        assert_eq!(
            fill("{{secret:{{secret:token}}").unwrap(),
            "{{secret:s3cr3t-value"
        );
        for plain in [
            "{{secret:}}",
            "{{secret:A}}",
            "{{secret:token}",
            "{secret:token}",
        ] {
            assert_eq!(fill(plain).unwrap(), plain);
            assert!(!is_in(plain));
        }
        assert_eq!(
            fill("{{secret:other}}"),
            Err(Refused::Secret("other".to_owned()))
        );
    }

    #[test]
    fn a_value_too_short_to_be_recognised_is_not_sent() {
        assert_eq!(
            fill("{{secret:token}}", &admitted("short")),
            Err(Refused::ShortSecret("token".to_owned()))
        );
    }

    #[test]
    fn a_secret_is_found_in_every_form_a_server_commonly_gives_back() {
        let scrub = scrub("p\"w/+&=s3cr3t");
        for form in [
            "p\"w/+&=s3cr3t",
            "P\"W/+&=S3CR3T",
            "p%22w%2F%2B%26%3Ds3cr3t",
            "p%22w%2f%2b%26%3ds3cr3t",
            "p\\\"w/+&=s3cr3t",
            "p\\\"w\\/+&=s3cr3t",
            "p&quot;w/+&amp;=s3cr3t",
            "7022772f2b263d733363723374",
        ] {
            let text = format!("before {form} after");
            assert_eq!(scrub.text(&text), "before {{secret:token}} after", "{form}");
        }
    }

    #[test]
    fn a_secret_is_found_within_base64_wherever_it_begins() {
        let scrub = scrub("abcdefgh");
        // `abcdefgh` behind nothing, `x`, `xy`; then with a byte behind it too.
        for (text, left) in [
            ("YWJjZGVmZ2g=", 2),
            ("eGFiY2RlZmdo", 2),
            ("eHlhYmNkZWZnaA==", 6),
            ("eGFiY2RlZmdoeg==", 6),
        ] {
            let clean = scrub.text(text);
            let rest = clean.replace("{{secret:token}}", "");
            assert_ne!(clean, rest, "{text}: {clean}");
            assert!(rest.len() <= left, "{text}: {clean}");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_goes_too() {
        let scrub = scrub("s3cr3t-value");
        let cut = |text: &str| scrub.bytes(text.as_bytes().to_vec(), Cut::Off);
        assert_eq!(cut("here: s3cr3t-val"), b"here: ");
        assert_eq!(cut("here: s3cr3t-value"), b"here: {{secret:token}}");
        assert_eq!(cut("nothing of it."), b"nothing of it.");
        let whole = scrub.bytes(b"here: s3cr3t-val".to_vec(), Cut::Nowhere);
        assert_eq!(whole, b"here: s3cr3t-val");
    }
}
