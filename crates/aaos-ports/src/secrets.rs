//! Secrets: values that grants name and no worker ever holds.

use aaos_core::secret::Secret;

/// Where the operator keeps the values that `using NAME` in a grant stands for.
///
/// Asked by the runtime at each admitted request whose grant names a secret, and by nobody else; the value goes to the
/// egress broker for that one destination. Neither blocks nor fails: values are read once, at the start.
pub trait Secrets: Send + Sync {
    /// The value of one name, or none if the operator has set none.
    fn value(&self, name: &str) -> Option<Secret<String>>;
}
