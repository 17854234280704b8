//! What travels when the operator decides: which act is meant, and what becomes of it.

use super::{Caller, Fault, Front, beginning::Beginning};
use crate::config::amount::Amount;
use aaos_core::{
    approval::{Preview, Settlement},
    budget::Budget,
    event::WaitsFor,
    id::{CallId, RunId},
    money::MicroDollars,
    time::Span,
};
use aaos_ports::{GoalError, Pending, Raise};
use serde::{Deserialize, Serialize};
use std::{future::Future, time::Duration};

/// Of which run.
#[derive(Debug, Default, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PendingParams {
    /// A run's id, or the beginning of one that no other run shares; all runs if none.
    #[serde(default)]
    pub(crate) run: Option<String>,
}

/// Names an act that waits.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallParams {
    /// The act's id, or the beginning of one that no other act which waits shares.
    pub(crate) call: String,
}

/// An act that waits, whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// The act.
    #[serde(flatten)]
    pub(crate) pending: Pending,
    /// The run's goal.
    pub(crate) goal: String,
    /// Directory that relative paths start from.
    #[serde(default)]
    pub(crate) base: String,
    /// What it would do; none for an act in doubt, and if the preview is gone.
    pub(crate) whole: Option<Preview>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It may happen, once.
    Approve,
    /// It may not.
    Deny,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerParams {
    /// The act's id, or the beginning of one that no other act which waits shares.
    pub(crate) call: String,
    /// `approve` or `deny`.
    pub(crate) verdict: Verdict,
    /// With `approve`: seconds for which further calls of the same tool by the same run need no answer, as far as the same
    /// rule asks about them.
    #[serde(default)]
    pub(crate) always_s: Option<u64>,
    /// With `approve`: the beginning of `body` as `approval.show` told it; refused if something else is asked about by now.
    #[serde(default)]
    pub(crate) seen: Option<String>,
    /// With `deny`: what the agent is told.
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// What becomes of an act in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Settle {
    /// It happened and is not done again.
    Done,
    /// It is done now, under the same identity.
    Repeat,
    /// It is left as it is, and the agent is told that it failed.
    GiveUp,
}

impl From<Settle> for Settlement {
    fn from(settle: Settle) -> Self {
        match settle {
            Settle::Done => Self::Done,
            Settle::Repeat => Self::Repeat,
            Settle::GiveUp => Self::GiveUp,
        }
    }
}

/// An act in doubt and what becomes of it.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettleParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
    /// The act's id, or the beginning of one that no other act of the run shares.
    pub(crate) call: String,
    /// `done`, `repeat` or `give_up`.
    pub(crate) settlement: Settle,
}

/// An act that was decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Decided {
    /// The run.
    pub(crate) run: RunId,
    /// The act.
    pub(crate) call: CallId,
    /// Its tool.
    pub(crate) tool: String,
}

/// What is added to a run's budget.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
    /// What is added, an entry to a limit.
    pub(crate) budget: Vec<Amount>,
}

/// A run's budget from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Resumed {
    /// The run.
    pub(crate) run: RunId,
    /// The budget.
    pub(crate) budget: Budget,
}

/// What amounts add; those that say how agents may be arranged cannot be added to.
pub(crate) fn raise(amounts: &[Amount]) -> Result<Raise, &'static str> {
    let mut raise = Raise::default();
    for amount in amounts {
        match *amount {
            Amount::Tokens(tokens) => raise.tokens = raise.tokens.saturating_add(tokens),
            Amount::CostMicroDollars(cost) => raise.cost = raise.cost.plus(MicroDollars(cost)),
            Amount::WallClockMs(millis) => {
                let sum = raise.wall_clock.millis().saturating_add(millis);
                raise.wall_clock = Span::from_millis(sum);
            }
            Amount::Calls(calls) => raise.calls = raise.calls.saturating_add(calls),
            Amount::Agents(agents) => raise.agents = raise.agents.saturating_add(agents),
            Amount::Depth(_) | Amount::FanOut(_) => {
                return Err("only tokens, money, time, calls and agents can be added to a budget");
            }
        }
    }
    Ok(raise)
}

/// Longest time until an act that waits is listened for: a run that was put together again gets there at once.
const LISTEN_TIME: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const LISTEN_PAUSE: Duration = Duration::from_millis(20);

/// What an act is to be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Anything.
    Any,
    /// Approval.
    Approval,
    /// The operator's word on whether it happened.
    Doubt,
}

impl Sort {
    const fn fits(self, pending: &Pending) -> bool {
        match self {
            Self::Any => true,
            Self::Approval => matches!(pending.waiting.what, WaitsFor::Approval { .. }),
            Self::Doubt => matches!(pending.waiting.what, WaitsFor::Doubt { .. }),
        }
    }

    /// What one such act is called, and several.
    const fn called(self) -> [&'static str; 2] {
        match self {
            Self::Any => ["act that waits for you", "acts that wait for you"],
            Self::Approval => ["act that waits for approval", "acts that wait for approval"],
            Self::Doubt => ["act in doubt", "acts in doubt"],
        }
    }

    /// What to do where there is none.
    const fn next_step(self) -> &'static str {
        match self {
            Self::Any => {
                "`agentd approvals` shows what waits: it may have been decided already, or its time has run out"
            }
            Self::Approval => {
                "`agentd approvals` shows what waits: it may have been decided already, its time may have run out, or it is in doubt and settled with `agentd settle`"
            }
            Self::Doubt => {
                "`agentd approvals` shows what waits: it may have been settled already, or wait for approval"
            }
        }
    }
}

impl Front {
    /// Every act that waits and is the caller's to decide on.
    pub(super) async fn pending(
        &self,
        caller: &Caller,
        run: Option<RunId>,
    ) -> Result<Vec<Pending>, Fault> {
        let runs = match run {
            Some(run) => vec![run],
            None => self.open_runs(caller).await?,
        };
        let (mut pending, mut unknown) = (Vec::new(), None);
        // One by one, so that those which are being put together again are waited for; all of them together.
        let asked = runs
            .into_iter()
            .map(|run| self.decisions.pending(Some(run)));
        for of_run in futures::future::join_all(asked).await {
            match of_run {
                Ok(some) => pending.extend(some),
                // A run that has ended waits for nobody.
                Err(GoalError::Ended(_) | GoalError::Unknown(_)) => {}
                Err(error) => unknown = Some(error),
            }
        }
        // What is known is told, also while another run is not there yet.
        if let Some(error) = unknown.filter(|_| pending.is_empty()) {
            return Err(error.into());
        }
        pending.retain(|one| self.is_theirs(caller, one.operator));
        pending.sort_by_key(|one| one.waiting.since);
        Ok(pending)
    }

    async fn open_runs(&self, caller: &Caller) -> Result<Vec<RunId>, Fault> {
        // Those that are open come first.
        let views = self.goals.view(None, (self.runs_open)()).await?;
        let open = views
            .iter()
            .filter(|view| !view.state.is_final() && self.may_see(caller, view));
        Ok(open.map(|view| view.run).collect())
    }

    /// Says the operator's word on an act. One that waits by its record and is not yet listened for, as just after a
    /// restart, is told once it is.
    pub(super) async fn say<F>(
        &self,
        pending: &Pending,
        word: impl Fn() -> F + Send,
    ) -> Result<Decided, Fault>
    where
        F: Future<Output = Result<(), GoalError>> + Send,
    {
        let (run, call) = (pending.run, pending.waiting.call);
        let since = tokio::time::Instant::now();
        loop {
            let refused = match word().await {
                Ok(()) => {
                    return Ok(Decided {
                        run,
                        call,
                        tool: pending.waiting.tool.clone(),
                    });
                }
                Err(refused @ GoalError::Invalid { .. }) => refused,
                Err(error) => return Err(error.into()),
            };
            let waits = self.decisions.pending(Some(run)).await?;
            let waits = waits.iter().any(|one| one.waiting.call == call);
            if !waits || since.elapsed() > LISTEN_TIME {
                return Err(refused.into());
            }
            tokio::time::sleep(LISTEN_PAUSE).await;
        }
    }

    /// The act of this id that waits, or the only one whose id begins so.
    pub(super) async fn waiting(
        &self,
        caller: &Caller,
        run: Option<RunId>,
        text: &str,
        sort: Sort,
    ) -> Result<Pending, Fault> {
        let pending = self.pending(caller, run).await?;
        one_of(pending, text, sort)
    }
}

fn one_of(pending: Vec<Pending>, text: &str, sort: Sort) -> Result<Pending, Fault> {
    let beginning = Beginning {
        text,
        prefix: CallId::PREFIX,
        called: sort.called(),
        next_step: sort.next_step(),
    };
    let fitting = pending.into_iter().filter(|one| sort.fits(one));
    beginning.only(fitting, |one| {
        let waiting = &one.waiting;
        let rest = format!("{}  {}", one.run, waiting.tool);
        (waiting.call.to_string(), rest)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;
    use crate::rpc::FaultKind;
    use aaos_core::{event::Waiting, id::AgentId, time::Timestamp, tool::Effect};

    fn pending(call: u64) -> Pending {
        Pending {
            run: RunId::from_drawn(1),
            operator: 1000,
            waiting: Waiting {
                call: CallId::from_drawn(call),
                agent: AgentId::from_drawn(1),
                tool: "http_send".to_owned(),
                since: Timestamp::default(),
                what: WaitsFor::Doubt {
                    effect: Effect::Irreversible,
                    args_preview: "{}".to_owned(),
                    why: "cut off".to_owned(),
                },
            },
        }
    }

    #[test]
    fn an_act_is_named_by_the_beginning_that_is_its_alone_and_by_what_it_waits_for() {
        let all = || vec![pending(7), pending(7 << 60)];
        let whole = pending(7).waiting.call.to_string();
        let found = one_of(all(), &whole, Sort::Doubt).unwrap();
        assert_eq!(found.waiting.call, CallId::from_drawn(7));
        assert!(one_of(all(), &whole, Sort::Any).is_ok());
        let several = one_of(all(), "call-", Sort::Any).unwrap_err();
        assert_eq!(several.candidates.len(), 2);
        let fault = one_of(all(), &whole, Sort::Approval).unwrap_err();
        assert_eq!(fault.kind(), Some(FaultKind::Unknown));
    }

    #[test]
    fn amounts_add_up_and_what_cannot_be_added_is_refused() {
        let raised = raise(&[
            Amount::CostMicroDollars(5),
            Amount::CostMicroDollars(6),
            Amount::Calls(1),
        ]);
        let wanted = Raise {
            cost: MicroDollars(11),
            calls: 1,
            ..Raise::default()
        };
        assert_eq!(raised, Ok(wanted));
        assert!(raise(&[Amount::Depth(1)]).is_err() && raise(&[Amount::FanOut(1)]).is_err());
    }
}
