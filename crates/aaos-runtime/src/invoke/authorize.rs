//! Stage two: the agent holds what the call needs. Checked and charged in one step, before the act.

use super::{Caller, Stopped, gate::InFlight, validate::Valid};
use aaos_core::{
    capability::{Charge, Need, Refusal},
    event::Kind,
    id::CallId,
};
use aaos_ports::{AnyTool, PowerError, power::at_base};
use std::sync::Arc;

/// A call whose every declared need is granted and charged.
pub(super) struct Authorized {
    pub(super) tool: Arc<dyn AnyTool>,
    pub(super) input: serde_json::Value,
    pub(super) in_flight: InFlight,
    pub(super) call: CallId,
}

pub(super) fn authorize(
    caller: &Caller<'_>,
    call: CallId,
    valid: Valid,
) -> Result<Authorized, Stopped> {
    let Valid { tool, input, needs } = valid;
    let (run, agent) = (caller.run, caller.task.agent);
    let name = &tool.spec().name;
    let mut all = vec![Need::Tool(name.clone())];
    for need in needs {
        all.push(at_base(need, &run.submit.base).map_err(|error| misplaced(name.as_str(), error))?);
    }
    let now = run.shared.now();
    let mut table = run.table();
    // All are looked at before any is charged: a call that is refused costs no uses.
    for need in &mut all {
        if let Err(refusal) = table.check(agent, need, now) {
            let file = as_file(need).filter(|file| table.check(agent, file, now).is_ok());
            *need = file.ok_or_else(|| denied(name.as_str(), need, &refusal))?;
        }
    }
    let mut charged = Vec::with_capacity(all.len());
    for need in all {
        let grant = table
            .authorize(agent, &need, &Charge::USE, now)
            .map_err(|refusal| denied(name.as_str(), &need, &refusal))?;
        charged.push((need, grant));
    }
    let in_flight = InFlight::enter(run, agent, call, charged);
    drop(table);
    Ok(Authorized {
        tool,
        input,
        in_flight,
        call,
    })
}

/// A tool that takes a file or a directory asks for a tree, for it cannot know which it is. Whoever holds just that path
/// may have it: the file power compares every further path with the grants, and finds none.
fn as_file(need: &Need) -> Option<Need> {
    let Need::FileTree { right, path } = need else {
        return None;
    };
    Some(Need::File {
        right: *right,
        path: path.clone(),
    })
}

/// A path that cannot be one is refused like one that is not granted.
fn misplaced(tool: &str, error: PowerError) -> Stopped {
    let PowerError::Denied { need, axis, reason } = error else {
        let problem = error.to_string();
        let event = Kind::ToolRejected {
            tool: tool.to_owned(),
            problem: problem.clone(),
        };
        return Stopped::Refused {
            event: Box::new(event),
            told: problem,
            repeat: false,
        };
    };
    let told = format!("refused ({axis}): {reason}");
    let event = Kind::CapabilityDenied {
        tool: tool.to_owned(),
        need,
        axis,
        reason,
    };
    Stopped::Refused {
        event: Box::new(event),
        told,
        repeat: false,
    }
}

/// The event of a refusal, and what the model is told.
pub(super) fn denial(tool: &str, need: &Need, refusal: &Refusal) -> (Kind, String) {
    let reason = refusal.to_string();
    let told = format!("refused ({}): {reason}", refusal.axis());
    let event = Kind::CapabilityDenied {
        tool: tool.to_owned(),
        need: need.to_string(),
        axis: refusal.axis().to_owned(),
        reason,
    };
    (event, told)
}

fn denied(tool: &str, need: &Need, refusal: &Refusal) -> Stopped {
    let (event, told) = denial(tool, need, refusal);
    Stopped::Refused {
        event: Box::new(event),
        told,
        repeat: false,
    }
}
