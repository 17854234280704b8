//! Confinement: what the kernel and the broker must still let through for one agent, worked out from what it holds.
//!
//! A pure function. Law: whatever a confinement permits, some capability covers. What has no counterpart outside the
//! daemon (tools, roles, peers, memory) leaves no trace here.

use crate::capability::{Capability, ExecScope, FileRight, HttpScope, Need, PathScope, Resource};
use serde::{Deserialize, Serialize};

/// What one worker may still do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// Paths it may read.
    pub read: Vec<PathScope>,
    /// Paths it may write; reading them is not included.
    pub write: Vec<PathScope>,
    /// Programs it may start.
    pub exec: Vec<ExecScope>,
    /// Requests it may make through the broker.
    pub http: Vec<HttpScope>,
}

impl Confinement {
    /// Whether an act is permitted. Acts the kernel never sees are not.
    #[must_use]
    pub fn permits(&self, need: &Need) -> bool {
        let file = |right: &FileRight| match right {
            FileRight::Read => &self.read,
            FileRight::Write => &self.write,
        };
        match need {
            Need::File { right, path } => file(right).iter().any(|scope| scope.matches(path)),
            Need::FileTree { .. } => match need.as_resource() {
                Ok(Resource::Files { right, scope: tree }) => {
                    file(&right).iter().any(|scope| scope.covers(&tree))
                }
                _ => false,
            },
            Need::Http { method, url } => self.http.iter().any(|scope| scope.matches(method, url)),
            Need::Exec {
                program,
                args,
                workspace,
            } => self
                .exec
                .iter()
                .any(|scope| scope.matches(program, args, workspace)),
            Need::Tool(_) | Need::Spawn(_) | Need::Message(_) | Need::Memory { .. } => false,
        }
    }
}

/// The confinement of an agent that holds these capabilities; nothing for none.
///
/// Limits are counted by the grant table before each act; the confinement is the outer wall and does not know them.
#[must_use]
pub fn confinement(capabilities: &[Capability]) -> Confinement {
    let mut confinement = Confinement::default();
    for capability in capabilities {
        match &capability.resource {
            Resource::Files {
                right: FileRight::Read,
                scope,
            } => add(&mut confinement.read, scope, PathScope::covers),
            Resource::Files {
                right: FileRight::Write,
                scope,
            } => add(&mut confinement.write, scope, PathScope::covers),
            Resource::Exec(scope) => add(&mut confinement.exec, scope, ExecScope::covers),
            Resource::Http(scope) => add(&mut confinement.http, scope, HttpScope::covers),
            Resource::Tool(_)
            | Resource::Spawn(_)
            | Resource::Message(_)
            | Resource::Memory { .. }
            | Resource::Custom { .. } => {}
        }
    }
    confinement
}

/// Keeps only scopes no other kept one covers.
fn add<T: Clone>(kept: &mut Vec<T>, scope: &T, covers: impl Fn(&T, &T) -> bool) {
    if !kept.iter().any(|held| covers(held, scope)) {
        kept.retain(|held| !covers(scope, held));
        kept.push(scope.clone());
    }
}
