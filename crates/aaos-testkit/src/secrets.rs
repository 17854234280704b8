//! The fake of the operator's secrets: a table of names and values.

use aaos_core::secret::Secret;
use aaos_ports::Secrets;
use std::collections::BTreeMap;

/// Secrets that a test sets.
#[derive(Debug, Clone, Default)]
pub struct FakeSecrets(BTreeMap<String, Secret<String>>);

impl FakeSecrets {
    /// With one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0
            .insert(name.to_owned(), Secret::new(value.to_owned()));
        self
    }
}

impl Secrets for FakeSecrets {
    fn value(&self, name: &str) -> Option<Secret<String>> {
        self.0.get(name).cloned()
    }
}
