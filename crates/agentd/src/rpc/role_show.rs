//! `role.show`: Tells one role.

use super::{Call, Caller, Fault, FaultKind, Front, wire};
use std::sync::Arc;

/// The method.
pub(super) struct RoleShow;

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
            let names: Vec<String> = front
                .catalog
                .roles()
                .iter()
                .map(|role| role.name.to_string())
                .collect();
            let problem = format!(
                "there is no role `{}`",
                aaos_core::text::preview(&params.name, 64)
            );
            Fault::new(
                FaultKind::Unknown,
                problem,
                format!("There are: {}", names.join(", ")),
            )
        })
    }
}
