//! `run.revoke`: Ends a grant of a run, and every grant made from it.

use super::{Call, Caller, Fault, Front, beginning::Beginning, wire};
use aaos_core::id::{GrantId, RunId};
use aaos_ports::LiveGrant;
use std::sync::Arc;

/// The method.
pub(crate) struct RunRevoke;

impl Call for RunRevoke {
    const NAME: &'static str = "run.revoke";
    const SUMMARY: &'static str = "Ends a grant of a run that is going on, and every grant made from it; calls in flight that rest on one end with it.";
    const ANSWER: &'static str = "{run, grant, descendants, calls}";
    type Params = wire::RevokeParams;
    type Answer = wire::RevokedAnswer;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::RevokeParams,
    ) -> Result<wire::RevokedAnswer, Fault> {
        let run = front.find_run(&caller, &params.run).await?.run;
        let live = front.authority.grants(run).await?;
        let grant = named(run, &live, &params.grant)?;
        let revoked = front.authority.revoke(run, grant, caller.uid).await?;
        Ok(wire::RevokedAnswer {
            run,
            grant,
            descendants: revoked.descendants,
            calls: revoked.calls,
        })
    }
}

/// The live grant of this id, or the only one whose id begins so.
fn named(run: RunId, live: &[LiveGrant], text: &str) -> Result<GrantId, Fault> {
    let beginning = Beginning {
        text,
        prefix: GrantId::PREFIX,
        called: ["live grant of the run", "live grants of the run"],
        next_step: &format!("`agentd status {run}` shows the grants there are"),
    };
    let about = |held: &&LiveGrant| (held.grant.to_string(), held.capability.to_string());
    beginning.only(live, about).map(|held| held.grant)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_grant_is_named_by_the_beginning_that_is_its_alone() {
        let run = RunId::from_drawn(1);
        let held = |number: u64| LiveGrant {
            grant: GrantId::from_drawn(number),
            agent: None,
            parent: None,
            capability: "tool: *".parse().unwrap(),
        };
        let live = [held(7), held(7 << 60)];
        let whole = live[1].grant.to_string();
        assert_eq!(named(run, &live, &whole), Ok(live[1].grant));
        let several = named(run, &live, "grant-").unwrap_err();
        assert_eq!(several.candidates.len(), 2);
        let none = named(run, &live, "run-7").unwrap_err();
        assert!(none.next_step.contains(&run.to_string()), "{none:?}");
    }
}
