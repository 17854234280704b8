//! Roles that need no model: fixed procedures, one file each, one line in the table. Their tool calls take the same
//! way as a model's.

mod fetch;

use crate::{
    agent::{self, Hands, Task, Work},
    run::Run,
};
use aaos_core::{failure::Failure, value::Value};
use std::sync::Arc;

/// A fixed procedure.
type Procedure = for<'a> fn(&'a Arc<Run>, &'a Task, &'a Hands) -> Work<'a>;

/// Every scaffold, by the name that role files use.
const SCAFFOLDS: &[(&str, Procedure)] = &[("fetch", fetch::perform)];

/// Runs an agent whose role is a scaffold.
///
/// # Errors
/// As an agent's; `Unready` if there is no such scaffold.
pub(crate) async fn perform(run: &Arc<Run>, task: Task, name: &str) -> Result<Value, Failure> {
    let Some((_, procedure)) = SCAFFOLDS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = SCAFFOLDS.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "there is no scaffold `{name}`; there are: {}",
            known.join(", ")
        );
        return Err(Failure::Unready {
            problems: vec![problem],
        });
    };
    agent::live(run, task, None, procedure).await
}
