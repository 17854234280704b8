//! A catalogue of the roles a test writes.

use aaos_core::{id::RoleName, role::Role};
use aaos_ports::{Catalog, RoleProblem};

/// Roles from JSON documents of the same shape as role files.
#[derive(Debug, Default)]
pub struct FakeCatalog {
    roles: Vec<Role>,
    problems: Vec<RoleProblem>,
}

impl FakeCatalog {
    /// These roles.
    ///
    /// # Errors
    /// A document is no role.
    pub fn new(roles: Vec<serde_json::Value>) -> Result<Self, serde_json::Error> {
        let roles = roles
            .into_iter()
            .map(serde_json::from_value)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            roles,
            problems: Vec::new(),
        })
    }

    /// With a file that was refused.
    #[must_use]
    pub fn with_problem(mut self, problem: RoleProblem) -> Self {
        self.problems.push(problem);
        self
    }
}

impl Catalog for FakeCatalog {
    fn roles(&self) -> Vec<Role> {
        self.roles.clone()
    }

    fn role(&self, name: &RoleName) -> Option<Role> {
        self.roles.iter().find(|role| role.name == *name).cloned()
    }

    fn problems(&self) -> Vec<RoleProblem> {
        self.problems.clone()
    }
}
