//! Stage four: a call that a rule names waits for a person, who is shown what it would do.
//!
//! The answer is for this call and these arguments, and holds once. What the agent holds is looked at before a person is
//! asked, and again when the call is charged. Refuses: to ask twice what is asked already, also over a restart.

use super::{
    Caller, Stopped,
    admit::Counted,
    authorize::Authorized,
    place::{self, Deed},
    settle,
};
use crate::{
    desk::{self, Matter, Word},
    limits,
    past::ApprovalPast,
    record::Who,
};
use aaos_core::{
    approval::{Answer, Preview, Rule},
    event::Kind,
    failure::Failure,
    text,
    time::Timestamp,
    tool::Power,
};
use aaos_ports::{Durability, Question};
use std::{collections::BTreeSet, sync::PoisonError};

/// A call that nobody need be asked about, or that somebody has allowed.
pub(super) struct Approved(pub(super) Counted);

/// What is asked about a call.
struct Asked {
    rule: String,
    expires: Timestamp,
    asked: Timestamp,
}

pub(super) async fn approve(
    caller: &Caller<'_>,
    who: Who,
    counted: Counted,
    past: Option<ApprovalPast>,
) -> Result<Approved, Stopped> {
    if past
        .as_ref()
        .is_some_and(|past| past.input_hash != counted.input_hash)
    {
        // Whoever was asked, or has answered, was shown something else.
        return Err(Stopped::Broken(Failure::Unrecoverable {
            problem: format!(
                "a call of {} waits for approval, and its arguments are others now",
                counted.call.tool.spec().name
            ),
            next_step: "Run it again, or `agentd fork` it from an earlier step".to_owned(),
        }));
    }
    let rule = past
        .as_ref()
        .map(|past| past.rule.clone())
        .or_else(|| wanted_by(caller, &counted));
    guard(caller, &counted.call, rule.is_some());
    let Some(rule) = rule else {
        return Ok(Approved(counted));
    };
    let word = match past {
        Some(ApprovalPast {
            answer: Some(answer),
            ..
        }) => Some(answer),
        Some(ApprovalPast { expired: true, .. }) => None,
        Some(past) => {
            let asked = Asked {
                rule,
                expires: past.expires,
                asked: past.asked,
            };
            answer(caller, who, &counted, asked).await?
        }
        None => {
            let asked = ask(caller, who, &counted, rule).await?;
            answer(caller, who, &counted, asked).await?
        }
    };
    let tool = counted.call.tool.spec().name.as_str();
    match word {
        Some(Answer::Approve { .. }) => Ok(Approved(counted)),
        Some(Answer::Deny { reason }) => Err(Stopped::rejected(tool, refusal(&reason))),
        None => Err(Stopped::rejected(
            tool,
            "nobody approved this in time; go on without it, or say what blocks you".to_owned(),
        )),
    }
}

/// Lets further needs of a call, which its arguments do not tell, be refused where a rule names them. Whoever is asked
/// about a program answers for what it does; whoever is asked about a request, for that request alone.
pub(super) fn guard(caller: &Caller<'_>, call: &Authorized, asked: bool) {
    if !(asked && call.tool.spec().powers.contains(&Power::Exec)) {
        call.in_flight.gate().guard_by(rules(caller));
    }
}

fn refusal(reason: &str) -> String {
    let words = match reason.trim() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!("the operator does not approve this{words}. Do it another way, or say what blocks you")
}

/// Every rule in force for the caller, each once.
fn rules(caller: &Caller<'_>) -> Vec<Rule> {
    let of_role = caller.task.manifest.approve.iter();
    let mut seen = BTreeSet::new();
    of_role
        .chain(&caller.run.submit.approve)
        .filter(|rule| seen.insert(rule.to_string()))
        .cloned()
        .collect()
}

/// The rule by which a call waits for a person, unless calls of its tool have been approved for a time.
fn wanted_by(caller: &Caller<'_>, counted: &Counted) -> Option<String> {
    let spec = counted.call.tool.spec();
    let declared = counted.call.in_flight.gate().declared();
    let needs: Vec<_> = declared.into_iter().map(|(need, _)| need).collect();
    let rule = rules(caller)
        .into_iter()
        .find(|rule| rule.applies(&spec.name, spec.effect, &needs))?;
    let now = caller.run.shared.now();
    let view = caller
        .run
        .view
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let until = view.approved_until.get(spec.name.as_str());
    let approved = until.is_some_and(|until| now < *until);
    (!approved).then(|| rule.to_string())
}

/// Records that a person is asked, with what they are shown.
async fn ask(
    caller: &Caller<'_>,
    who: Who,
    counted: &Counted,
    rule: String,
) -> Result<Asked, Stopped> {
    let preview = preview(caller, counted).await;
    let body = serde_json::to_vec(&preview).map_err(|error| Failure::Journal {
        message: error.to_string(),
    })?;
    let body = caller.run.store(body).await?;
    let asked = caller.run.shared.now();
    let expires = asked.after(caller.run.shared.deps.config.approval_expires);
    let kind = Kind::ApprovalRequested {
        tool: counted.call.tool.spec().name.to_string(),
        input_hash: counted.input_hash.clone(),
        rule: rule.clone(),
        preview: text::preview(&preview.line(), limits::PREVIEW_BYTES_MAX),
        body,
        expires,
    };
    caller
        .run
        .record_all(who, vec![kind], Durability::Durable)
        .await?;
    caller.run.ring(counted.call.call);
    Ok(Asked {
        rule,
        expires,
        asked,
    })
}

/// What the call would do, as its tool tells it; its arguments if it cannot.
async fn preview(caller: &Caller<'_>, counted: &Counted) -> Preview {
    let deed = Deed::of(&counted.call);
    let told = place::consider(caller, &deed, Question::Preview, limits::PREVIEW_MAX).await;
    let preview = told
        .ok()
        .and_then(|output| serde_json::from_value(output.json).ok());
    preview.unwrap_or_else(|| Preview::Arguments {
        json: counted.call.input.to_string(),
    })
}

/// Waits for the answer; none when the time to answer is over.
async fn answer(
    caller: &Caller<'_>,
    who: Who,
    counted: &Counted,
    asked: Asked,
) -> Result<Option<Answer>, Stopped> {
    let gate = counted.call.in_flight.gate();
    let mut seat = caller.run.desk.sit(counted.call.call, Matter::Approval);
    let _patience = settle::patience(caller);
    let word = tokio::select! {
        biased;
        why = caller.task.ending.ended() => return Err(Stopped::Broken(why)),
        word = seat.word(async {
            tokio::select! {
                biased;
                () = gate.revoked() => {}
                () = desk::until(&caller.run.shared, asked.expires) => {}
            }
        }) => word,
    };
    let tool = counted.call.tool.spec().name.to_string();
    match word {
        Some(Word::Answer(answer)) => Ok(Some(answer)),
        Some(Word::Settlement(_)) | None if gate.is_revoked() => {
            let reason = "the capability this rests on was revoked while it waited for approval";
            let event = Kind::CapabilityDenied {
                tool: tool.clone(),
                need: format!("tool {tool}"),
                axis: "revoked".to_owned(),
                reason: reason.to_owned(),
            };
            Err(Stopped::refused(
                event,
                format!("refused (revoked): {reason}"),
            ))
        }
        Some(Word::Settlement(_)) | None => {
            tracing::info!(rule = %asked.rule, %tool, "a request for approval has expired");
            let waited = caller.run.shared.now().since(asked.asked);
            let expired = Kind::ApprovalExpired { tool, waited };
            caller
                .run
                .record_all(who, vec![expired], Durability::Ordered)
                .await?;
            Ok(None)
        }
    }
}
