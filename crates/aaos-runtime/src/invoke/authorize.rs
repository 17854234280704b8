//! Stage two: the agent holds what the call needs. Checked here, charged when nothing else stands in the way.

use super::{Caller, Stopped, gate::InFlight, validate::Valid};
use aaos_core::{
    capability::{Need, Refusal, Table},
    event::Kind,
    id::{AgentId, CallId, GrantId},
    time::Timestamp,
};
use aaos_ports::{AnyTool, PowerError, power::at_base};
use std::sync::Arc;

/// A call whose every declared need is granted. Nothing is charged yet.
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
    let (run, agent) = (caller.run, caller.task.agent);
    let needs = needs(caller, &valid)?;
    let Valid { tool, input, .. } = valid;
    let name = tool.spec().name.clone();
    let now = run.shared.now();
    let table = run.table();
    // All are looked at before any is charged: a call that is refused costs no uses.
    let mut declared = Vec::with_capacity(needs.len());
    for need in needs {
        let held = hold(&table, agent, &need, now)
            .map_err(|refusal| denied(name.as_str(), &need, &refusal))?;
        declared.push(held);
    }
    let in_flight = InFlight::enter(run, agent, call, declared);
    drop(table);
    Ok(Authorized {
        tool,
        input,
        in_flight,
        call,
    })
}

/// Takes up a call that was authorised and charged before it was cut off: what its intent names is what it rests on. If
/// one of those has ended since, the call is told so at once.
pub(super) fn take_up(
    caller: &Caller<'_>,
    call: CallId,
    valid: Valid,
    charged: &[GrantId],
) -> Result<Authorized, Stopped> {
    let (run, agent) = (caller.run, caller.task.agent);
    let needs = needs(caller, &valid)?;
    let Valid { tool, input, .. } = valid;
    let now = run.shared.now();
    let table = run.table();
    let mut declared = Vec::with_capacity(needs.len());
    let mut stands = needs.len() == charged.len();
    for (need, grant) in needs.into_iter().zip(charged) {
        stands &= table.live(*grant, now);
        let allows = |need: &Need| {
            let capability = table.capability(*grant);
            capability.is_some_and(|capability| capability.allows(need))
        };
        let need = as_file(&need)
            .filter(|file| !allows(&need) && allows(file))
            .unwrap_or(need);
        declared.push((need, *grant));
    }
    let in_flight = InFlight::enter(run, agent, call, declared);
    drop(table);
    in_flight.gate().take_up();
    if !stands {
        in_flight.gate().end();
    }
    Ok(Authorized {
        tool,
        input,
        in_flight,
        call,
    })
}

/// What a call needs, the right to its tool first, every path at its place.
fn needs(caller: &Caller<'_>, valid: &Valid) -> Result<Vec<Need>, Stopped> {
    let name = &valid.tool.spec().name;
    let mut all = vec![Need::Tool(name.clone())];
    for need in &valid.needs {
        let placed = at_base(need.clone(), &caller.run.submit.base);
        all.push(placed.map_err(|error| misplaced(name.as_str(), error))?);
    }
    Ok(all)
}

/// The grant that a need rests on.
fn hold(
    table: &Table,
    agent: AgentId,
    need: &Need,
    now: Timestamp,
) -> Result<(Need, GrantId), Refusal> {
    let refusal = match table.check(agent, need, now) {
        Ok(grant) => return Ok((need.clone(), grant)),
        Err(refusal) => refusal,
    };
    let file = as_file(need).and_then(|file| {
        let grant = table.check(agent, &file, now).ok()?;
        Some((file, grant))
    });
    file.ok_or(refusal)
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
        return Stopped::rejected(tool, error.to_string());
    };
    let told = format!("refused ({axis}): {reason}");
    let event = Kind::CapabilityDenied {
        tool: tool.to_owned(),
        need,
        axis,
        reason,
    };
    Stopped::refused(event, told)
}

/// A call that is refused because a need of it is.
pub(super) fn denied(tool: &str, need: &Need, refusal: &Refusal) -> Stopped {
    let reason = refusal.to_string();
    let told = format!("refused ({}): {reason}", refusal.axis());
    let event = Kind::CapabilityDenied {
        tool: tool.to_owned(),
        need: need.to_string(),
        axis: refusal.axis().to_owned(),
        reason,
    };
    Stopped::refused(event, told)
}
