//! What holds of every run's journal, whatever the run did.

use super::{Durability, Event, Kind, WorldJournal};
use aaos_core::{model::Usage, tool::Effect};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn check(events: &[Event], journal: &WorldJournal) {
    assert!(
        matches!(
            events.first().map(|event| &event.kind),
            Some(Kind::RunSubmitted { .. })
        ),
        "a run begins with its submission"
    );
    let ends = events
        .iter()
        .filter(|event| matches!(event.kind, Kind::RunFinished { .. }))
        .count();
    assert_eq!(ends, 1, "a run ends once");
    assert!(
        matches!(
            events.last().map(|event| &event.kind),
            Some(Kind::RunFinished { .. })
        ),
        "nothing follows its end"
    );
    causes(events);
    agents(events);
    calls(events, journal);
    usage(events);
}

/// Every event but the first was caused by an earlier one of the same run.
fn causes(events: &[Event]) {
    let mut seen = BTreeSet::new();
    let forked = matches!(
        events.first().map(|event| &event.kind),
        Some(Kind::RunSubmitted {
            forked: Some(_),
            ..
        })
    );
    for (position, event) in events.iter().enumerate() {
        match event.subject.cause {
            Some(cause) => assert!(
                seen.contains(&cause),
                "{event:?} has a cause that is no earlier event of its run"
            ),
            // The beginning of a fork is recorded in one piece.
            None if forked && event.subject.agent.is_none() => {}
            None => assert_eq!(position, 0, "{event:?} has no cause"),
        }
        seen.insert(event.seq);
    }
}

/// What an agent does carries its name, between its beginning and its end.
fn agents(events: &[Event]) {
    let mut living = BTreeSet::new();
    for event in events {
        let of_agent = matches!(
            event.kind,
            Kind::AgentSpawned { .. }
                | Kind::AgentStopped { .. }
                | Kind::AgentExecutionStarted { .. }
                | Kind::AgentExecutionCompleted { .. }
                | Kind::CapabilityDenied { .. }
                | Kind::CapabilityRevoked { .. }
                | Kind::ToolInvoked { .. }
                | Kind::ToolResult { .. }
                | Kind::ToolRejected { .. }
                | Kind::ToolRepeat { .. }
                | Kind::ToolRepeatGuardFired { .. }
                | Kind::ContextSummarized { .. }
                | Kind::ContextSummarizationFailed { .. }
        );
        let by_operator = matches!(
            event.kind,
            Kind::CapabilityRevoked {
                operator: Some(_),
                ..
            }
        );
        if !of_agent || by_operator {
            continue;
        }
        let agent = event
            .subject
            .agent
            .unwrap_or_else(|| panic!("{event:?} names no agent"));
        match event.kind {
            Kind::AgentSpawned { .. } => assert!(living.insert(agent), "{agent} began twice"),
            Kind::AgentStopped { .. } => {
                assert!(living.remove(&agent), "{agent} ended without having begun")
            }
            _ => assert!(
                living.contains(&agent),
                "{event:?} by an agent that is not there"
            ),
        }
    }
    assert!(living.is_empty(), "agents that never ended: {living:?}");
}

/// Intent, then receipt, in one line of causes; sure where the world is changed.
fn calls(events: &[Event], journal: &WorldJournal) {
    let mut open = BTreeMap::new();
    for event in events {
        match &event.kind {
            Kind::ToolInvoked { effect, .. } => {
                let changes = !matches!(effect, Effect::Pure | Effect::Read);
                assert!(
                    !changes || journal.sure(event.seq) == Durability::Durable,
                    "{event:?} was not durable"
                );
                assert!(
                    open.insert(event.subject.call.unwrap(), event.seq)
                        .is_none()
                );
            }
            Kind::ToolResult { .. } => {
                let intent = open
                    .remove(&event.subject.call.unwrap())
                    .unwrap_or_else(|| panic!("{event:?} had no intent"));
                assert!(
                    event.subject.cause >= Some(intent),
                    "a receipt is caused by its intent, or by what was done about it since"
                );
            }
            // Told of in the line of the call, between its intent and its receipt.
            Kind::ToolRepeated { .. }
            | Kind::EffectInDoubt { .. }
            | Kind::EffectSettled { operator: None, .. } => {
                assert!(
                    open.contains_key(&event.subject.call.unwrap()),
                    "{event:?} had no intent"
                );
            }
            _ => {}
        }
    }
}

/// What a run says that it cost is what its requests cost.
fn usage(events: &[Event]) {
    let spent = events.iter().filter_map(|event| match &event.kind {
        Kind::UsageReported { usage, .. } => Some(*usage),
        // Nobody knows what it cost, so its worst case counts.
        Kind::ModelAbandoned { tokens, cost, .. } => Some(Usage::worst(*tokens, *cost)),
        _ => None,
    });
    let sum: Usage = spent.sum();
    let Some(Kind::RunFinished { usage, .. }) = events.last().map(|event| &event.kind) else {
        return;
    };
    assert_eq!(*usage, sum);
}
