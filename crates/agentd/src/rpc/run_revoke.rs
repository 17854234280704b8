//! `run.revoke`: Ends a grant of a run, and every grant made from it.

use super::{Call, Caller, Fault, FaultKind, Front, wire};
use aaos_core::id::{GrantId, RunId};
use aaos_ports::LiveGrant;
use std::sync::Arc;

/// The method.
pub(super) struct RunRevoke;

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

/// Most candidates that a name which fits several grants is answered with.
const CANDIDATES_MAX: usize = 8;

/// The live grant of this id, or the only one whose id begins so.
fn named(run: RunId, live: &[LiveGrant], text: &str) -> Result<GrantId, Fault> {
    let beginning = format!(
        "{}-{}",
        GrantId::PREFIX,
        text.trim_start_matches("grant-").to_ascii_lowercase()
    );
    let mut fitting = live
        .iter()
        .filter(|held| !text.is_empty() && held.grant.to_string().starts_with(&beginning));
    let shown = aaos_core::text::preview(text, 64);
    let next_step = format!("`agentd status {run}` shows the grants there are");
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.grant),
        (None, _) => {
            let problem = format!("{run} has no live grant whose id begins with `{shown}`");
            Err(Fault::new(FaultKind::Unknown, problem, next_step))
        }
        (Some(first), Some(second)) => {
            let several = [first, second].into_iter().chain(fitting);
            let line = |held: &LiveGrant| format!("{}  {}", held.grant, held.capability);
            let problem = format!("several grants have an id that begins with `{shown}`");
            Err(Fault {
                candidates: several.take(CANDIDATES_MAX).map(line).collect(),
                ..Fault::new(FaultKind::Unknown, problem, "Give more of it")
            })
        }
    }
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
        assert_eq!(named(run, &live, &whole[6..9]), Ok(live[1].grant));
        let several = named(run, &live, "grant-").unwrap_err();
        assert_eq!(several.candidates.len(), 2);
        for unknown in ["", "grant-zzzz", "run-7"] {
            let fault = named(run, &live, unknown).unwrap_err();
            assert_eq!(fault.kind(), Some(FaultKind::Unknown), "{unknown}");
        }
    }
}
