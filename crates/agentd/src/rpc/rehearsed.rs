//! Rehearsed plans, as far as the record tells: whose, and of what. They are no runs, so no list shows them; where the
//! money went does, and what was said in one is erased like a run's.

use super::{Caller, Fault, FaultKind, Front};
use aaos_core::{
    event::{Kind, Seq},
    id::RunId,
};
use aaos_ports::{Filter, GoalError, Journal};

/// A plan that was rehearsed.
pub(super) struct Rehearsed {
    /// The operator's user number.
    operator: u32,
    /// Its goal.
    pub(super) goal: String,
}

impl Front {
    /// The rehearsal of this id; none if there is none, or its content was erased.
    pub(super) async fn rehearsed(&self, run: RunId) -> Result<Option<Rehearsed>, Fault> {
        let filter = Filter {
            run: Some(run),
            kinds: vec!["plan_rehearsed".to_owned()],
            ..Filter::default()
        };
        let first = self.store.read(&filter, Seq(0), 1).await;
        let first = first.map_err(GoalError::from)?.pop();
        Ok(first.and_then(|event| match event.kind {
            Kind::PlanRehearsed { goal, operator } => Some(Rehearsed { operator, goal }),
            _ => None,
        }))
    }

    /// The caller's run of this id, or the only one whose id begins so, or the caller's rehearsal of this id. For whoever
    /// sees all, also one of which nothing is left but its id.
    pub(super) async fn find_recorded(&self, caller: &Caller, text: &str) -> Result<RunId, Fault> {
        let unknown = match self.find_run(caller, text).await {
            Ok(view) => return Ok(view.run),
            Err(fault) if fault.kind() == Some(FaultKind::Unknown) => fault,
            Err(fault) => return Err(fault),
        };
        let Ok(run) = text.parse() else {
            return Err(unknown);
        };
        let theirs = match self.rehearsed(run).await? {
            Some(rehearsed) => self.is_theirs(caller, rehearsed.operator),
            None => self.sees_all(caller),
        };
        if theirs { Ok(run) } else { Err(unknown) }
    }
}
