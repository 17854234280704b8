//! The catalogue of roles.

use aaos_core::{id::RoleName, role::Role};
use serde::{Deserialize, Serialize};

/// A role file that was refused. The other roles are unaffected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleProblem {
    /// The file.
    pub file: String,
    /// Line, counting from one, where known.
    pub line: Option<u64>,
    /// Column, counting from one, where known.
    pub column: Option<u64>,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Roles by name. Read at the start of every run; must be cheap.
pub trait Catalog: Send + Sync {
    /// Every good role, sorted by name.
    fn roles(&self) -> Vec<Role>;

    /// One role.
    fn role(&self, name: &RoleName) -> Option<Role>;

    /// Files that were refused.
    fn problems(&self) -> Vec<RoleProblem>;
}
