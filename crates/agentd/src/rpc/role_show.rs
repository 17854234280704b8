//! `role.show`: Tells one role.

use super::{Call, Caller, Fault, FaultKind, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct RoleShow;

impl Call for RoleShow {
    const NAME: &'static str = "role.show";
    const SUMMARY: &'static str = "Tells one role.";
    const ANSWER: &'static str = "the role";
    type Params = wire::RoleParams;
    type Answer = aaos_core::role::Role;

    async fn call(
        front: Arc<Front>,
        _: Caller,
        params: wire::RoleParams,
    ) -> Result<aaos_core::role::Role, Fault> {
        let found = params
            .name
            .parse()
            .ok()
            .and_then(|name| front.catalog.role(&name));
        found.ok_or_else(|| {
            let roles = front.catalog.roles();
            let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
            Fault::no_such(FaultKind::Unknown, "role", &params.name, &names)
        })
    }
}
