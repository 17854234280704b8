//! Stage four: a call that a rule names waits for a person, who is shown what it would do.
//!
//! The answer is for this call and these arguments, and holds once. What the agent holds is looked at before a person is
//! asked, and again when the call is charged. What would happen is looked at again when a person has allowed it: if that
//! is something else by now, they are asked anew. Refuses: to ask twice what is asked already, also over a restart.

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
use aaos_ports::{Digest, Durability, Question};
use std::{collections::BTreeSet, sync::PoisonError};

/// A call that nobody need be asked about, or that somebody has allowed.
pub(super) struct Approved(pub(super) Counted);

/// What is asked about a call.
struct Asked {
    rule: String,
    expires: Timestamp,
    asked: Timestamp,
    /// Digest of what is shown.
    shown: String,
}

/// What the rules in force say of a call.
enum Ruled {
    /// None names it.
    Free,
    /// What names it is approved ahead.
    Ahead,
    /// This rule has a person asked.
    Ask(String),
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
    let ruled = match &past {
        Some(past) => Ruled::Ask(past.rule.clone()),
        None => ruled(caller, &counted.call),
    };
    guard(caller, &counted.call, !matches!(ruled, Ruled::Free));
    let Ruled::Ask(rule) = ruled else {
        return Ok(Approved(counted));
    };
    let mut asked = match &past {
        Some(past) => Asked::before(past),
        None => ask(caller, who, &counted, rule, None).await?,
    };
    let mut known = past.and_then(Known::of);
    let word = loop {
        let word = match known.take() {
            Some(Known(word)) => word,
            None => answer(caller, who, &counted, &asked).await?,
        };
        let allowed = matches!(word, Some(Answer::Approve { .. }));
        if !allowed || still_so(caller, &counted, &asked.shown).await {
            break word;
        }
        asked = ask(caller, who, &counted, asked.rule, Some(CHANGED)).await?;
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

impl Asked {
    /// What was asked before the daemon ended.
    fn before(past: &ApprovalPast) -> Self {
        Self {
            rule: past.rule.clone(),
            expires: past.expires,
            asked: past.asked,
            shown: past.shown.clone(),
        }
    }
}

/// What came of a request before the daemon ended: an answer, or none in time.
struct Known(Option<Answer>);

impl Known {
    fn of(past: ApprovalPast) -> Option<Self> {
        match past {
            ApprovalPast {
                answer: Some(answer),
                ..
            } => Some(Self(Some(answer))),
            ApprovalPast { expired: true, .. } => Some(Self(None)),
            _ => None,
        }
    }
}

/// Why somebody is asked again who has said yes.
const CHANGED: &str = "what it would do has changed since it was approved";

/// Whether an act would still do what was shown.
async fn still_so(caller: &Caller<'_>, counted: &Counted, shown: &str) -> bool {
    let journal = &caller.run.shared.deps.journal;
    let body = journal.get(&Digest(shown.to_owned())).await;
    let shown = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    match &shown {
        Some(diff @ Preview::Diff { .. }) => diff.still_holds(&preview(caller, counted).await),
        // Anything else is told by the arguments alone, and those are the same.
        Some(_) => true,
        None => false,
    }
}

/// The same for a call that is taken up after it was cut off.
pub(super) fn guard_again(caller: &Caller<'_>, call: &Authorized, asked: bool) {
    guard(
        caller,
        call,
        asked || matches!(ruled(caller, call), Ruled::Ahead),
    );
}

/// Lets further needs of a call, which its arguments do not tell, be refused where a rule names them. Whoever is asked
/// about a program answers for what it does; whoever is asked about a request, for that request alone.
fn guard(caller: &Caller<'_>, call: &Authorized, asked: bool) {
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

/// Whether a rule has a person asked about a call: one that names it and is not approved ahead for its tool.
fn ruled(caller: &Caller<'_>, call: &Authorized) -> Ruled {
    let spec = call.tool.spec();
    let declared = call.in_flight.gate().declared();
    let needs: Vec<_> = declared.into_iter().map(|(need, _)| need).collect();
    let now = caller.run.shared.now();
    let naming = rules(caller)
        .into_iter()
        .filter(|rule| rule.applies(&spec.name, spec.effect, &needs));
    let naming: Vec<String> = naming.map(|rule| rule.to_string()).collect();
    let view = caller
        .run
        .view
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let ahead = |rule: &String| view.is_approved_ahead(spec.name.as_str(), rule, now);
    match naming.iter().find(|rule| !ahead(rule)) {
        Some(rule) => Ruled::Ask(rule.clone()),
        None if naming.is_empty() => Ruled::Free,
        None => Ruled::Ahead,
    }
}

/// Records that a person is asked, with what they are shown.
async fn ask(
    caller: &Caller<'_>,
    who: Who,
    counted: &Counted,
    rule: String,
    again: Option<&str>,
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
        body: body.clone(),
        expires,
        again: again.map(str::to_owned),
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
        shown: body,
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
    asked: &Asked,
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
