//! Stage three: the call has not come too often, and the run's budget allows it.

use super::{Caller, Stopped, authorize::Authorized, gate::InFlight};
use crate::{agent::ask, record::Who};
use aaos_core::{agent::repeat::Verdict, event::Kind, id::CallId};
use aaos_ports::AnyTool;
use std::sync::{Arc, PoisonError};

/// A call that may be performed. Only this stage makes one, and only [`super::place`] takes one.
pub(crate) struct Admitted {
    pub(super) tool: Arc<dyn AnyTool>,
    pub(super) input: serde_json::Value,
    pub(super) input_hash: String,
    pub(super) in_flight: InFlight,
    pub(super) call: CallId,
    /// How often the same call has come, if that is worth a warning.
    pub(super) repeats: Option<u32>,
}

impl Admitted {
    /// What the model is told beside the result.
    pub(super) fn warning(&self) -> Option<String> {
        let count = self.repeats?;
        Some(format!(
            "you have made this same call {count} times; its result will not change. Use what you have, or do something else"
        ))
    }
}

pub(super) async fn admit(
    caller: &Caller<'_>,
    who: Who,
    call: Authorized,
) -> Result<Admitted, Stopped> {
    let Authorized {
        tool,
        input,
        in_flight,
        call,
    } = call;
    let name = tool.spec().name.to_string();
    let canonical = serde_json::to_vec(&input).map_err(|error| {
        Stopped::Broken(aaos_core::failure::Failure::Journal {
            message: error.to_string(),
        })
    })?;
    let input_hash = caller.run.store(canonical).await?;
    let verdict = caller
        .repeat
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .seen(&name, &input_hash);
    let repeats = match verdict {
        Verdict::Fine => None,
        Verdict::Warn(count) => Some(count),
        Verdict::Refuse(count) => return Err(repeated(name, count)),
    };
    let charged = caller.run.ledger().call(caller.task.agent);
    if let Err(refused) = charged {
        ask::record_refused(caller.run, who, &refused).await?;
        return Err(Stopped::Broken(refused.into()));
    }
    Ok(Admitted {
        tool,
        input,
        input_hash,
        in_flight,
        call,
        repeats,
    })
}

fn repeated(tool: String, attempt_count: u32) -> Stopped {
    let told = format!(
        "refused: you have made this same call {attempt_count} times. Use what you have, do something else, or say \
         what blocks you"
    );
    let event = Kind::ToolRepeatGuardFired {
        tool,
        attempt_count,
    };
    Stopped::Refused {
        event: Box::new(event),
        told,
        repeat: true,
    }
}
