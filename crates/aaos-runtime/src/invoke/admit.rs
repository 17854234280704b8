//! Stage three: the call has not come too often. Stage five, when nobody need be asked or somebody has said yes: the
//! run's budget allows it, and what it needs is still held, and charged.

use super::{
    Caller, Stopped,
    approve::Approved,
    authorize::{self, Authorized},
    place,
};
use crate::{park, record::Who};
use aaos_core::{
    agent::repeat::Verdict,
    capability::{Need, Refusal},
    event::Kind,
    failure::Failure,
};
use std::sync::PoisonError;

/// A call that has not come too often.
pub(super) struct Counted {
    pub(super) call: Authorized,
    /// Digest of its canonical arguments.
    pub(super) input_hash: String,
    /// How often the same call has come, if that is worth a warning.
    pub(super) repeats: Option<u32>,
}

/// A call that may be performed. Only this stage makes one of a fresh call, and only [`super::act`] takes one.
pub(super) struct Admitted(pub(super) Counted);

/// What the model is told beside the result of a call that has come this often.
pub(super) fn warning(repeats: Option<u32>) -> Option<String> {
    let count = repeats?;
    Some(format!(
        "you have made this same call {count} times; its result will not change. Use what you have, or do something else"
    ))
}

pub(super) async fn count(caller: &Caller<'_>, call: Authorized) -> Result<Counted, Stopped> {
    // Before anything is waited for: calls of one reply are counted in the order in which they stand there.
    let counted = seen(
        caller,
        call.tool.spec().name.as_str(),
        &digest(&call.input)?,
    );
    let input_hash = fingerprint(caller, &call.input).await?;
    let repeats = match counted {
        Verdict::Fine => None,
        Verdict::Warn(count) => Some(count),
        Verdict::Refuse(count) => return Err(repeated(call.tool.spec().name.to_string(), count)),
    };
    Ok(Counted {
        call,
        input_hash,
        repeats,
    })
}

/// Digest of a call's canonical arguments, which are kept under it.
async fn fingerprint(caller: &Caller<'_>, input: &serde_json::Value) -> Result<String, Failure> {
    caller.run.store(canonical(input)?).await
}

/// The same digest, as the journal makes it, without keeping the arguments.
pub(super) fn digest(input: &serde_json::Value) -> Result<String, Failure> {
    Ok(blake3::hash(&canonical(input)?).to_hex().to_string())
}

fn canonical(input: &serde_json::Value) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(input).map_err(|error| Failure::Journal {
        message: error.to_string(),
    })
}

/// Tells the repeat guard of a call.
pub(super) fn seen(caller: &Caller<'_>, tool: &str, input_hash: &str) -> Verdict {
    let mut repeat = caller.repeat.lock().unwrap_or_else(PoisonError::into_inner);
    repeat.seen(tool, input_hash)
}

pub(super) async fn admit(
    caller: &Caller<'_>,
    who: Who,
    Approved(counted): Approved,
) -> Result<Admitted, Stopped> {
    let gate = counted.call.in_flight.gate();
    let (run, agent) = (caller.run, caller.task.agent);
    let charge = || gate.charge(|| run.ledger().call(agent));
    let charged = tokio::select! {
        biased;
        () = gate.revoked() => None,
        charged = async {
            // It begins when there is somebody to perform it.
            place::ready(caller, &counted.call).await;
            park::or_fail(run, who, &caller.task.patience, charge).await
        } => Some(charged?),
    };
    let tool = &counted.call.tool.spec().name;
    match charged {
        Some(Ok(())) => Ok(Admitted(counted)),
        Some(Err((need, refusal))) => Err(authorize::denied(tool.as_str(), &need, &refusal)),
        None => {
            let need = Need::Tool(tool.clone());
            Err(authorize::denied(tool.as_str(), &need, &Refusal::Revoked))
        }
    }
}

/// What is recorded and told of a call that has come too often.
pub(super) fn repeated(tool: String, attempt_count: u32) -> Stopped {
    let told = format!(
        "refused: you have made this same call {attempt_count} times. Use what you have, do something else, or say \
         what blocks you"
    );
    let event = Kind::ToolRepeatGuardFired {
        tool,
        attempt_count,
    };
    Stopped::Refused {
        events: vec![event],
        told,
        repeat: true,
    }
}
