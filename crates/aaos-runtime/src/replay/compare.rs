//! Line by line, the record against what was played: the first difference in the record's order, in words.

use super::{
    stage::Stage,
    steps::{Lines, Step, Whose},
    words,
};
use aaos_core::{
    event::{Kind, Seq},
    id::AgentId,
};
use aaos_ports::{Digest, Divergence, Journal, Line};

/// A line's first difference.
struct Apart<'a> {
    whose: &'a Whose,
    /// The order in which differences are told.
    at: (Seq, bool),
    recorded: Option<&'a Step>,
    replayed: Option<&'a Step>,
}

/// How many steps are the same, and the first that is not.
pub(super) async fn compare(
    stage: &Stage,
    played: &Lines,
    bodies: &dyn Journal,
) -> (u64, Option<Divergence>) {
    let recorded = &stage.record.lines;
    let empty = Vec::new();
    let mut same = 0_u64;
    let mut first: Option<Apart<'_>> = None;
    let strangers = played.lines.keys();
    let strangers = strangers.filter(|whose| !recorded.lines.contains_key(*whose));
    for whose in recorded.lines.keys().chain(strangers) {
        let was = recorded.lines.get(whose).unwrap_or(&empty);
        let is = played.lines.get(whose).unwrap_or(&empty);
        let alike = was
            .iter()
            .zip(is)
            .take_while(|(was, is)| was.kind == is.kind);
        let alike = alike.count();
        same = same.saturating_add(alike as u64);
        let Some(apart) = apart(stage, whose, alike, was, is) else {
            continue;
        };
        if first.as_ref().is_none_or(|first| apart.at < first.at) {
            first = Some(apart);
        }
    }
    match first {
        Some(apart) => (same, Some(told(stage, played, bodies, &apart).await)),
        None => (same, None),
    }
}

/// Where a line parts from the record after so many steps that are alike, if it does.
fn apart<'a>(
    stage: &Stage,
    whose: &'a Whose,
    alike: usize,
    was: &'a [Step],
    is: &'a [Step],
) -> Option<Apart<'a>> {
    let (recorded, replayed) = (was.get(alike), is.get(alike));
    let at = match (recorded, replayed) {
        (Some(step), _) => (step.seq, false),
        // A record that ends early says nothing of what follows.
        (None, Some(_)) if stage.record.is_whole() => {
            let last = was.last().map_or(Seq(u64::MAX), |step| step.seq);
            (last, true)
        }
        (None, _) => return None,
    };
    Some(Apart {
        whose,
        at,
        recorded,
        replayed,
    })
}

async fn told(
    stage: &Stage,
    played: &Lines,
    bodies: &dyn Journal,
    apart: &Apart<'_>,
) -> Divergence {
    let (recorded, replayed) = match (apart.recorded, apart.replayed) {
        (Some(was), Some(is)) => {
            let (was, is) = sentences(bodies, &was.kind, &is.kind).await;
            (Some(was), Some(is))
        }
        (was, is) => {
            let say = |step: &Step| words::say(&step.kind);
            (was.map(say), is.map(say))
        }
    };
    Divergence {
        line: line(stage, played, apart.whose),
        seq: apart.recorded.map(|step| step.seq),
        recorded,
        replayed,
    }
}

/// Both sides in words; of two requests and two outputs, what differs inside them.
async fn sentences(bodies: &dyn Journal, was: &Kind, is: &Kind) -> (String, String) {
    let named = match (was, is) {
        (Kind::ModelRequested { request: was, .. }, Kind::ModelRequested { request: is, .. }) => {
            Some((was, is))
        }
        (Kind::ToolResult { output: was, .. }, Kind::ToolResult { output: is, .. }) => {
            Some((was, is))
        }
        _ => None,
    };
    let Some((one, other)) = named else {
        return words::both(was, is);
    };
    let read = async |digest: &str| {
        let body = bodies.get(&Digest(digest.to_owned())).await.ok()?;
        serde_json::from_slice::<serde_json::Value>(&body).ok()
    };
    match (read(one).await, read(other).await) {
        (Some(one), Some(other)) if one != other => {
            words::pointed(words::say(was), words::say(is), &one, &other)
        }
        _ => words::both(was, is),
    }
}

fn line(stage: &Stage, played: &Lines, whose: &Whose) -> Line {
    let agent = match whose {
        Whose::Run | Whose::Subtask(_) => return Line::Run,
        Whose::Agent(agent) | Whose::Call(agent, _) => *agent,
    };
    let known = born(&stage.record.lines, agent).or_else(|| born(played, agent));
    let Some((role, subtask)) = known else {
        return Line::Run;
    };
    Line::Agent {
        agent,
        role,
        subtask,
    }
}

fn born(
    lines: &Lines,
    agent: AgentId,
) -> Option<(aaos_core::id::RoleName, Option<aaos_core::id::SubtaskId>)> {
    let line = lines.lines.get(&Whose::Agent(agent))?;
    line.iter().find_map(|step| match &step.kind {
        Kind::AgentSpawned { role, subtask, .. } => Some((role.clone(), subtask.clone())),
        _ => None,
    })
}
