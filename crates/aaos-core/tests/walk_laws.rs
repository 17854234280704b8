//! Laws of the walk, the slots and the folds, for any plan and any order of events.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aaos_core::{
    event::{Event, RunView},
    id::{RoleName, SubtaskId},
    plan::{
        Plan, Subtask,
        walk::{Effect, Input, Walk},
    },
    slots::Slots,
    time::Timestamp,
};
use proptest::prelude::*;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
};

const SUBTASKS_MAX: usize = 24;

fn id(number: usize) -> SubtaskId {
    format!("s{number}").parse().unwrap()
}

fn plan_of(needs: &[BTreeSet<usize>]) -> Plan {
    let role: RoleName = "worker".parse().unwrap();
    let subtask = |(number, needs): (usize, &BTreeSet<usize>)| Subtask {
        id: id(number),
        task: "do it".to_owned(),
        role: role.clone(),
        params: BTreeMap::new(),
        depends_on: needs.iter().map(|need| id(*need)).collect(),
        ttl: None,
    };
    Plan {
        subtasks: needs.iter().enumerate().map(subtask).collect(),
        result: id(0),
    }
}

prop_compose! {
    /// A plan without circles, its subtasks in any order.
    fn acyclic()(count in 1..SUBTASKS_MAX)(
        needs in prop::collection::vec(prop::collection::btree_set(0..count, 0..4), count),
        order in Just((0..count).collect::<Vec<_>>()).prop_shuffle(),
    ) -> Plan {
        let earlier = |number: usize, needs: &BTreeSet<usize>| needs.iter().copied().filter(|need| *need < number).collect();
        let needs: Vec<BTreeSet<usize>> = needs.iter().enumerate().map(|(number, needs)| earlier(number, needs)).collect();
        let plan = plan_of(&needs);
        Plan { subtasks: order.into_iter().map(|at| plan.subtasks[at].clone()).collect(), ..plan }
    }
}

prop_compose! {
    /// Any graph: circles, strangers and all.
    fn anything()(count in 1..SUBTASKS_MAX)(
        needs in prop::collection::vec(prop::collection::btree_set(0..count + 2, 0..4), count),
    ) -> Plan {
        plan_of(&needs)
    }
}

/// Walks to the end, ending running subtasks in the order `picks` says and failing those `fails` says.
struct Trip {
    launched: Vec<SubtaskId>,
    skipped: BTreeSet<SubtaskId>,
    done: BTreeSet<SubtaskId>,
    running_most: usize,
    ok: Option<bool>,
}

fn travel(
    plan: &Plan,
    walk: &mut Walk,
    running_max: usize,
    picks: &[usize],
    fails: &[bool],
    stop_at: Option<usize>,
) -> Trip {
    let needs: BTreeMap<SubtaskId, BTreeSet<SubtaskId>> = plan
        .subtasks
        .iter()
        .map(|subtask| (subtask.id.clone(), subtask.needs()))
        .collect();
    let mut trip = Trip {
        launched: Vec::new(),
        skipped: BTreeSet::new(),
        done: BTreeSet::new(),
        running_most: 0,
        ok: None,
    };
    let mut running: Vec<SubtaskId> = Vec::new();
    let mut input = Input::Begin;
    let mut stopped = false;
    for step in 0..4 * SUBTASKS_MAX {
        for effect in walk.step(&input) {
            assert!(trip.ok.is_none(), "something follows the finish");
            match effect {
                Effect::Launch(id) => {
                    assert!(!stopped, "a launch after a stop");
                    assert!(
                        needs[&id].is_subset(&trip.done),
                        "{id} was launched before what it needs"
                    );
                    assert!(!trip.launched.contains(&id), "{id} was launched twice");
                    trip.launched.push(id.clone());
                    running.push(id);
                }
                Effect::Skip {
                    subtask,
                    needs: need,
                } => {
                    assert!(needs[&subtask].contains(&need) && !trip.done.contains(&need));
                    assert!(trip.skipped.insert(subtask), "skipped twice");
                }
                Effect::Finish { ok } => trip.ok = Some(ok),
            }
        }
        trip.running_most = trip.running_most.max(running.len());
        assert_eq!(walk.running(), running.len());
        assert!(running.len() <= running_max.max(1));
        if trip.ok.is_some() {
            assert!(running.is_empty(), "finished while {running:?} run");
            break;
        }
        assert!(!running.is_empty(), "stuck");
        input = if stop_at == Some(step) && !stopped {
            stopped = true;
            Input::Stop
        } else {
            let pick = picks.get(step % picks.len().max(1)).copied().unwrap_or(0) % running.len();
            let id = running.swap_remove(pick);
            if fails.get(step).copied().unwrap_or(false) {
                Input::Failed(id)
            } else {
                trip.done.insert(id.clone());
                Input::Done(id)
            }
        };
    }
    trip
}

proptest! {
    #[test]
    fn a_walk_launches_each_subtask_exactly_once_after_its_needs_and_succeeds(
        plan in acyclic(), running_max in 0_usize..6, picks in prop::collection::vec(0_usize..64, 1..32),
    ) {
        let trip = travel(&plan, &mut Walk::new(&plan, running_max), running_max, &picks, &[], None);
        prop_assert_eq!(trip.ok, Some(true));
        prop_assert_eq!(trip.launched.len(), plan.subtasks.len());
        prop_assert!(trip.skipped.is_empty());
    }

    #[test]
    fn with_failures_every_subtask_is_launched_or_skipped_and_never_both(
        plan in acyclic(), running_max in 1_usize..6,
        picks in prop::collection::vec(0_usize..64, 1..32), fails in prop::collection::vec(any::<bool>(), 0..64),
    ) {
        let trip = travel(&plan, &mut Walk::new(&plan, running_max), running_max, &picks, &fails, None);
        let launched: BTreeSet<_> = trip.launched.iter().cloned().collect();
        prop_assert!(launched.is_disjoint(&trip.skipped));
        prop_assert_eq!(launched.len() + trip.skipped.len(), plan.subtasks.len());
        prop_assert_eq!(trip.ok, Some(trip.done.len() == plan.subtasks.len()));
    }

    #[test]
    fn a_walk_through_anything_ends(
        plan in anything(), running_max in 0_usize..4,
        picks in prop::collection::vec(0_usize..64, 1..32), fails in prop::collection::vec(any::<bool>(), 0..64),
        stop_at in prop::option::of(0_usize..16),
    ) {
        let trip = travel(&plan, &mut Walk::new(&plan, running_max), running_max, &picks, &fails, stop_at);
        prop_assert!(trip.ok.is_some());
        prop_assert!(trip.ok == Some(false) || trip.done.len() == plan.subtasks.len());
    }

    #[test]
    fn a_resumed_walk_runs_exactly_what_is_left(
        plan in acyclic(), stop_at in 0_usize..16, picks in prop::collection::vec(0_usize..64, 1..32),
    ) {
        let first = travel(&plan, &mut Walk::new(&plan, 3), 3, &picks, &[], Some(stop_at));
        let mut again = Walk::resumed(&plan, 3, &first.done, &BTreeSet::new());
        let mut launched = BTreeSet::new();
        let mut inputs = vec![Input::Begin];
        let mut finished = None;
        while let Some(input) = inputs.pop() {
            for effect in again.step(&input) {
                match effect {
                    Effect::Launch(id) => {
                        launched.insert(id.clone());
                        inputs.push(Input::Done(id));
                    }
                    Effect::Skip { .. } => prop_assert!(false, "a skip without a failure"),
                    Effect::Finish { ok } => finished = Some(ok),
                }
            }
        }
        prop_assert_eq!(finished, Some(true));
        prop_assert!(launched.is_disjoint(&first.done));
        prop_assert_eq!(launched.len() + first.done.len(), plan.subtasks.len());
    }

    #[test]
    fn slots_are_never_more_than_there_are_and_go_to_the_most_urgent(
        count in 1_usize..4, acts in prop::collection::vec((0_u8..3, 0_u32..12, 0_u64..5), 0..80),
    ) {
        let mut slots = Slots::new(NonZero::new(count).unwrap());
        let mut holding: BTreeSet<u32> = BTreeSet::new();
        let mut waiting: Vec<(u64, usize, u32)> = Vec::new();
        for (arrival, (act, ticket, deadline)) in acts.into_iter().enumerate() {
            let granted = match act {
                0 => {
                    if !holding.contains(&ticket) && !waiting.iter().any(|entry| entry.2 == ticket) {
                        waiting.push((deadline, arrival, ticket));
                    }
                    slots.ask(ticket, Timestamp::from_micros(deadline))
                }
                1 => {
                    holding.remove(&ticket);
                    slots.done(ticket)
                }
                _ => {
                    holding.remove(&ticket);
                    waiting.retain(|entry| entry.2 != ticket);
                    slots.cancel(ticket)
                }
            };
            waiting.sort_unstable();
            for ticket in granted {
                prop_assert_eq!(waiting.remove(0).2, ticket);
                prop_assert!(holding.insert(ticket));
            }
            prop_assert!(holding.len() <= count);
            prop_assert!(holding.len() == count || waiting.is_empty(), "a slot is free while one waits");
            prop_assert_eq!((slots.held(), slots.waiting()), (holding.len(), waiting.len()));
        }
    }
}

/// Any event, of this run or another, whatever it says.
fn event(seq: u64, (kind, subtask, agent, run): (u8, u8, u8, u8)) -> Event {
    let plan = |task: &str| {
        json!({"result": "s0", "subtasks": [
        {"id": "s0", "task": "t", "role": "w"}, {"id": "s1", "task": task, "role": "w", "depends_on": ["s0"]}]})
    };
    let id = format!("s{}", subtask % 3);
    let agent = aaos_core::id::AgentId::from_drawn(u64::from(agent % 4));
    let failed = json!({"result": "failed", "failure": {"why": "truncated"}});
    let usage = json!({"input_tokens": 2, "cached_tokens": 1, "output_tokens": 3, "cost": 5});
    let mut body = match kind % 12 {
        0 => json!({"kind": "plan_produced", "plan": plan("x"), "replans_used": 0}),
        1 => json!({"kind": "plan_produced", "plan": plan("y"), "replans_used": 1}),
        2 => json!({"kind": "plan_replanned", "reason": "r", "kept": [id]}),
        3 => json!({"kind": "subtask_started", "subtask": id, "role": "w"}),
        4 => json!({"kind": "subtask_completed", "subtask": id,
            "outcome": {"result": "succeeded", "output": {"type": "text", "text": "x"}}}),
        5 => json!({"kind": "subtask_completed", "subtask": id, "outcome": failed}),
        6 => json!({"kind": "subtask_skipped", "subtask": id, "needs": "s0"}),
        7 => {
            json!({"kind": "agent_spawned", "role": "w", "subtask": id, "parent": agent, "backend": "b", "model": null})
        }
        8 => json!({"kind": "agent_stopped", "reason": "complete"}),
        9 => {
            json!({"kind": "usage_reported", "model": {"provider": "p", "model": "m"}, "usage": usage})
        }
        10 => json!({"kind": "run_stop_requested", "operator": 0}),
        _ => json!({"kind": "run_finished", "outcome": failed, "usage": usage}),
    };
    let run = aaos_core::id::RunId::from_drawn(u64::from(run % 5 == 0));
    body.as_object_mut().unwrap().extend(
        json!({"seq": seq, "time": seq, "run": run, "agent": agent})
            .as_object()
            .unwrap()
            .clone(),
    );
    serde_json::from_value(body).unwrap()
}

fn submitted() -> Event {
    serde_json::from_value(json!({
        "seq": 1, "time": 1, "run": aaos_core::id::RunId::from_drawn(0), "kind": "run_submitted", "goal": "g", "base": "/b",
        "folder": "/f", "operator": 0, "profile": "default", "backend": "b", "model": "none (rules)",
    }))
    .unwrap()
}

proptest! {
    #[test]
    fn a_fold_equals_replaying_event_by_event_with_the_view_stored_anywhere_between(
        story in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 0..60), stored_at in 0_usize..60,
    ) {
        let mut events = vec![submitted()];
        events.extend(story.into_iter().zip(2..).map(|(draw, seq)| event(seq, draw)));
        let whole = RunView::fold(&events).unwrap();
        let mut stepwise = RunView::begin(&events[0]).unwrap();
        for (position, event) in events.iter().enumerate().skip(1) {
            if position == stored_at {
                stepwise = serde_json::from_str(&serde_json::to_string(&stepwise).unwrap()).unwrap();
            }
            stepwise.apply(event);
            stepwise.apply(event);
        }
        prop_assert_eq!(&whole, &stepwise);
        let of_subtasks: u64 = whole.subtasks.iter().map(|view| view.usage.tokens()).sum();
        prop_assert!(of_subtasks <= whole.usage.tokens());
    }
}
