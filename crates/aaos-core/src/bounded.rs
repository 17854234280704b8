//! Text and lists that carry their maximum in their type.
//!
//! What crosses a trust boundary has a bound before it has a meaning. A value over its bound is refused, never cut
//! silently; cutting is a separate act with its own name.

use serde::{Deserialize, Serialize, de};
use std::{fmt, marker::PhantomData, ops::Deref};

/// Why a value does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} is over the maximum of {max}")]
pub struct Error {
    /// Most that fits: bytes of a text, entries of a list.
    pub max: usize,
    /// How many there were; for a list being read, one more than the maximum.
    pub found: usize,
}

/// Text of at most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Takes a text that fits.
    ///
    /// # Errors
    /// The text has more than `MAX` bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.len() > MAX {
            return Err(Error {
                max: MAX,
                found: text.len(),
            });
        }
        Ok(Self(text))
    }

    /// The beginning of `text` that fits, ending between two characters.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl<const MAX: usize> TryFrom<&str> for Text<MAX> {
    type Error = Error;
    fn try_from(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::new(text)
            .map_err(|error| de::Error::custom(format_args!("text too long: {error} bytes")))
    }
}

/// A list of at most `MAX` entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an entry at the end.
    ///
    /// # Errors
    /// The list is full; the entry is dropped.
    pub fn push(&mut self, entry: T) -> Result<(), Error> {
        if self.0.len() >= MAX {
            return Err(Error {
                max: MAX,
                found: self.0.len().saturating_add(1),
            });
        }
        self.0.push(entry);
        Ok(())
    }

    /// The entries, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = Error;
    fn try_from(entries: Vec<T>) -> Result<Self, Error> {
        if entries.len() > MAX {
            return Err(Error {
                max: MAX,
                found: entries.len(),
            });
        }
        Ok(Self(entries))
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Reads entries one by one and stops at the first that does not fit, so that a hostile list is never held whole.
struct Reader<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for Reader<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a list of at most {MAX} entries")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut list = List::new();
        while let Some(entry) = from.next_element()? {
            list.push(entry).map_err(|error| {
                de::Error::custom(format_args!("list too long: {error} entries"))
            })?;
        }
        Ok(list)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_text_over_its_bound_is_refused_and_one_at_it_is_not() {
        assert_eq!(Text::<3>::new("abc").unwrap().as_str(), "abc");
        assert_eq!(Text::<3>::new("abcd"), Err(Error { max: 3, found: 4 }));
        assert!(serde_json::from_str::<Text<3>>("\"abcd\"").is_err());
    }

    #[test]
    fn a_cut_ends_between_two_characters() {
        assert_eq!(Text::<3>::cut("aéé").as_str(), "aé");
        assert_eq!(Text::<2>::cut("aéé").as_str(), "a");
        assert_eq!(Text::<0>::cut("é").as_str(), "");
    }

    #[test]
    fn a_list_over_its_bound_is_refused_while_it_is_read() {
        assert_eq!(
            &*serde_json::from_str::<List<u8, 2>>("[1,2]").unwrap(),
            &[1, 2]
        );
        assert!(serde_json::from_str::<List<u8, 2>>("[1,2,3]").is_err());
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let mut list = List::<u8, 1>::new();
        assert_eq!(list.push(1), Ok(()));
        assert_eq!(list.push(2), Err(Error { max: 1, found: 2 }));
        assert_eq!(&*list, &[1]);
    }
}
