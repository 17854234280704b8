//! The operator's word, at the front door: what waits for it, and what it comes to.
//!
//! A word is in the journal before anything follows from it. Refuses: a word on what does not wait, a second one, and
//! one on a request whose time is over.

use crate::{
    desk::{Matter, Word},
    goals::Runtime,
    limits, park,
    record::Who,
    run::Run,
};
use aaos_core::{
    approval::{Answer, Settlement},
    budget::Budget,
    event::{Kind, Waiting, WaitsFor},
    id::{AgentId, CallId, RunId},
};
use aaos_ports::{Decisions, Durability, GoalError, Pending, Raise};
use async_trait::async_trait;
use std::sync::{Arc, PoisonError};

#[async_trait]
impl Decisions for Runtime {
    async fn pending(&self, run: Option<RunId>) -> Result<Vec<Pending>, GoalError> {
        let runs = match run {
            Some(run) => vec![self.open(run).await?],
            None => self.registry.open(),
        };
        let mut pending: Vec<Pending> = runs.iter().flat_map(|run| run.pending()).collect();
        pending.sort_by_key(|pending| pending.waiting.since);
        Ok(pending)
    }

    async fn answer(
        &self,
        run: RunId,
        call: CallId,
        answer: Answer,
        operator: u32,
    ) -> Result<(), GoalError> {
        let open = self.open(run).await?;
        self.say(open, call, Word::Answer(answer), operator).await
    }

    async fn settle(
        &self,
        run: RunId,
        call: CallId,
        settlement: Settlement,
        operator: u32,
    ) -> Result<(), GoalError> {
        let open = self.open(run).await?;
        self.say(open, call, Word::Settlement(settlement), operator)
            .await
    }

    async fn resume(&self, run: RunId, raise: Raise, operator: u32) -> Result<Budget, GoalError> {
        let open = self.open(run).await?;
        park::raise(&open, raise, operator).await
    }
}

impl Runtime {
    /// Records a word and tells it, whether or not whoever said it waits for that.
    async fn say(
        &self,
        run: Arc<Run>,
        call: CallId,
        word: Word,
        operator: u32,
    ) -> Result<(), GoalError> {
        let own = Arc::clone(&run);
        run.see_through(async move { own.take_word(call, word, operator).await })
            .await?
    }
}

impl Run {
    /// Everything of this run that waits for the operator.
    fn pending(&self) -> Vec<Pending> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = view.waiting.iter();
        waiting
            .map(|waiting| Pending {
                run: view.run,
                operator: view.operator,
                waiting: waiting.clone(),
            })
            .collect()
    }

    /// Acts that were in doubt when their agents ended, one's and those below it or all, for whoever decides what is to be
    /// done next.
    pub(crate) fn left_in_doubt(&self, agent: Option<AgentId>) -> Vec<String> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let left = view.unsettled.iter();
        let left =
            left.filter(|one| agent.is_none_or(|above| self.is_or_is_below(one.agent, above)));
        left.filter_map(|one| match &one.what {
            WaitsFor::Doubt { args_preview, .. } => Some(format!(
                "{} with {args_preview} may have happened, and nobody knows: do not do it again",
                one.tool
            )),
            WaitsFor::Approval { .. } => None,
        })
        .collect()
    }

    fn waiting(&self, call: CallId) -> Option<Waiting> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = view.waiting.iter();
        waiting.find(|waiting| waiting.call == call).cloned()
    }

    async fn take_word(&self, call: CallId, word: Word, operator: u32) -> Result<(), GoalError> {
        let waiting = self
            .waiting(call)
            .ok_or_else(|| self.no_such(call, "nothing of it waits"))?;
        let matter = match (&word, &waiting.what) {
            (Word::Answer(_), WaitsFor::Approval { expires, .. }) => {
                if *expires <= self.shared.now() {
                    return Err(self.no_such(call, "the request has expired"));
                }
                Matter::Approval
            }
            (Word::Settlement(_), WaitsFor::Doubt { .. }) => Matter::Doubt,
            (Word::Answer(_), WaitsFor::Doubt { .. }) => {
                return Err(self.no_such(call, "it is in doubt, and waits to be settled"));
            }
            (Word::Settlement(_), WaitsFor::Approval { .. }) => {
                return Err(self.no_such(call, "it waits for approval, and has not been tried"));
            }
        };
        let speaker = self
            .desk
            .speak(call, matter)
            .ok_or_else(|| self.no_such(call, "somebody has answered already, or it has ended"))?;
        let kind = event(&waiting, &word, operator);
        let who = Who::call(waiting.agent, call);
        let recorded = self.record_aside(who, vec![kind], Durability::Durable);
        recorded.await.map_err(|failure| GoalError::Unavailable {
            reason: failure.to_string(),
        })?;
        speaker.said(word);
        Ok(())
    }

    fn no_such(&self, call: CallId, problem: &str) -> GoalError {
        GoalError::Invalid {
            problem: format!("{call}: {problem}"),
            next_step: format!(
                "`agentd approvals list` shows what waits for an answer, `agentd status {}` what is in doubt",
                self.id
            ),
        }
    }

    /// Rings the bell for a call that has begun to wait. Nobody waits for that.
    pub(crate) fn ring(self: &Arc<Self>, call: CallId) {
        let Some(bell) = self.shared.deps.bell.clone() else {
            return;
        };
        let Some(waiting) = self.waiting(call) else {
            return;
        };
        let pending = Pending {
            run: self.id,
            operator: self.submit.operator,
            waiting,
        };
        let draining = self.shared.draining.clone();
        self.shared.tasks.spawn(async move {
            let rung = tokio::select! {
                biased;
                () = draining.cancelled() => return,
                rung = tokio::time::timeout(limits::BELL_MAX.as_duration(), bell.ring(&pending)) => rung,
            };
            match rung {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => tracing::warn!(%problem, "the notice of what waits was not given"),
                Err(_) => tracing::warn!("the notice of what waits took too long"),
            }
        });
    }
}

/// The event of a word.
fn event(waiting: &Waiting, word: &Word, operator: u32) -> Kind {
    match word {
        Word::Answer(answer) => Kind::ApprovalAnswered {
            tool: waiting.tool.clone(),
            answer: answer.clone(),
            operator,
        },
        Word::Settlement(settlement) => Kind::EffectSettled {
            settlement: *settlement,
            reason: "the operator's word".to_owned(),
            operator: Some(operator),
        },
    }
}
