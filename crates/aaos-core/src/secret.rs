//! A value that must not be printed: it shows as `…` wherever text is made of it.
//!
//! It refuses to be serialised, so that no journal entry, reply or log line can hold one by accident.

use serde::Deserialize;
use std::fmt;

/// Holds a key or another value for the one place that needs it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that has to send it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_in_no_text_made_of_it() {
        let key = Secret::new("sk-very-secret");
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "… … Some(…)");
        assert_eq!(*key.expose(), "sk-very-secret");
    }
}
