//! `role.list`: Lists every good role, and the role files that were refused.

use super::{Call, Caller, Fault, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct RoleList;

impl Call for RoleList {
    const NAME: &'static str = "role.list";
    const SUMMARY: &'static str = "Lists every good role, and the role files that were refused.";
    const ANSWER: &'static str = "{roles: [role], problems: [{file, line, column, problem}]}";
    type Params = wire::Nothing;
    type Answer = wire::Roles;

    async fn call(front: Arc<Front>, _: Caller, _: wire::Nothing) -> Result<wire::Roles, Fault> {
        Ok(wire::Roles {
            roles: front.catalog.roles(),
            problems: front.catalog.problems(),
        })
    }
}
