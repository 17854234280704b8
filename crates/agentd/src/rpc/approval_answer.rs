//! `approval.answer`: Answers a request for approval; the first answer stands, and is durable when this answers.

use super::{
    Call, Caller, Fault, FaultKind, Front,
    decided::{AnswerParams, Decided, Sort, Verdict},
};
use aaos_core::{approval::Answer, event::WaitsFor, time::Span};
use aaos_ports::Pending;
use std::sync::Arc;

/// The method.
pub(crate) struct ApprovalAnswer;

impl Call for ApprovalAnswer {
    const NAME: &'static str = "approval.answer";
    const SUMMARY: &'static str = "Answers a request for approval; the first answer stands, and is durable when this answers.";
    const ANSWER: &'static str = "{run, call, tool}";
    type Params = AnswerParams;
    type Answer = Decided;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: AnswerParams,
    ) -> Result<Decided, Fault> {
        let answer = answer(&params)?;
        let pending = front
            .waiting(&caller, None, &params.call, Sort::Approval)
            .await?;
        let (run, call) = (pending.run, pending.waiting.call);
        check_seen(&pending, params.seen.as_deref())?;
        let word = || {
            front
                .decisions
                .answer(run, call, answer.clone(), caller.uid)
        };
        front.say(&pending, word).await
    }
}

/// Refuses the approval of something else than what was looked at: the request is another by now.
fn check_seen(pending: &Pending, seen: Option<&str>) -> Result<(), Fault> {
    match (&pending.waiting.what, seen) {
        (WaitsFor::Approval { body, .. }, Some(seen)) if !body.starts_with(seen) => {
            let call = pending.waiting.call;
            let problem = format!("{call} would do something else than what was looked at");
            let next_step = format!("`agentd approvals show {call}` shows it as it is now");
            Err(Fault::new(FaultKind::Refused, problem, next_step))
        }
        _ => Ok(()),
    }
}

/// Longest reason, in bytes: some sentences.
const REASON_BYTES_MAX: usize = 4_096;
/// Longest time for which further calls need no answer: a day, after which a person is to think again.
const ALWAYS_S_MAX: u64 = 86_400;

fn answer(params: &AnswerParams) -> Result<Answer, Fault> {
    let refused =
        |problem: String, next_step: &str| Err(Fault::new(FaultKind::Refused, problem, next_step));
    match (params.verdict, params.always_s, &params.reason) {
        (Verdict::Approve, Some(seconds), None) if seconds == 0 || seconds > ALWAYS_S_MAX => {
            let problem = format!("approval ahead is for 1 to {ALWAYS_S_MAX} seconds");
            refused(problem, "Give a shorter time, as --always 1h")
        }
        (Verdict::Approve, always, None) => Ok(Answer::Approve {
            always: always.map(Span::from_secs),
        }),
        (Verdict::Deny, None, reason) if params.seen.is_none() => {
            let reason = reason.clone().unwrap_or_default();
            Fault::check_reason(&reason, REASON_BYTES_MAX)?;
            Ok(Answer::Deny { reason })
        }
        _ => {
            let problem =
                "`always_s` and `seen` go with `approve`, and `reason` with `deny`".to_owned();
            refused(problem, "Leave the other out")
        }
    }
}
