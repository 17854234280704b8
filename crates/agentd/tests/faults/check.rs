//! What a run left behind, with its own name taken out, so that any two runs of one plan are comparable; and what its
//! record says of itself.

use crate::{
    effects::Effects,
    lane::{Given, Lane},
    stage::files,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a run left behind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Left {
    outcome: Value,
    files: BTreeMap<String, String>,
    done: BTreeMap<String, u32>,
    set: BTreeMap<String, String>,
}

impl Left {
    /// What one run left.
    pub(crate) fn by(lane: &Lane, run: &Given, effects: &Effects) -> Self {
        let plain = |text: &str| text.replace(&run.tag, "TAG");
        let shown = lane.must("run.status", &json!({ "run": run.id }));
        let base = lane.place.path("work").join(&run.tag);
        let record = effects.settled();
        let own = |name: &&String| {
            name.rsplit('/')
                .next()
                .is_some_and(|name| name == run.tag || name.starts_with(&format!("{}-", run.tag)))
        };
        Self {
            outcome: serde_json::from_str(&plain(&shown["view"]["outcome"].to_string())).unwrap(),
            files: files(&base)
                .into_iter()
                .map(|(name, bytes)| (name, plain(&String::from_utf8_lossy(&bytes))))
                .collect(),
            done: record
                .done
                .iter()
                .filter(|(name, _)| own(name))
                .map(|(name, times)| (plain(name), *times))
                .collect(),
            set: record
                .set
                .iter()
                .filter(|(name, _)| own(name))
                .map(|(name, (value, _))| (plain(name), plain(value)))
                .collect(),
        }
    }

    /// That every effect that may not be repeated happened once.
    pub(crate) fn each_once(&self) -> bool {
        self.done.values().all(|times| *times == 1)
    }

    /// Effects that happened.
    pub(crate) fn effects(&self) -> usize {
        self.done.len() + self.set.len()
    }
}

/// What the records of many runs say, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// Kinds that are counted.
const COUNTED: [&str; 9] = [
    "run_recovering",
    "tool_repeated",
    "effect_in_doubt",
    "effect_settled",
    "model_abandoned",
    "approval_requested",
    "worker_lost",
    "worker_started",
    "tool_result",
];

impl Tally {
    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// One count.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Reads a run's record; what is wrong with it.
    pub(crate) fn read(&mut self, events: &[Value]) -> Vec<String> {
        let mut wrong = Vec::new();
        let (mut completed, mut finished) = (BTreeSet::new(), 0);
        let (mut intents, mut receipts) = (BTreeSet::new(), BTreeSet::new());
        let (mut asked, mut rearmed) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            let kind = event["kind"].as_str().unwrap_or("");
            if let Some(name) = COUNTED.iter().find(|name| **name == kind) {
                *self.0.entry(name).or_default() += 1;
            }
            let call = event["call"].as_str().unwrap_or("").to_owned();
            let once = match kind {
                "plan_produced" => {
                    completed.clear();
                    true
                }
                "subtask_completed" => completed.insert(event["subtask"].to_string()),
                "tool_invoked" => intents.insert(call),
                "tool_result" => receipts.insert(call),
                "run_finished" => {
                    finished += 1;
                    finished == 1
                }
                "approval_requested" => asked.insert(call),
                "run_recovering" => {
                    rearmed.extend(asked.iter().cloned());
                    true
                }
                "approval_answered" => {
                    *self.0.entry("approvals over a restart").or_default() +=
                        u64::from(rearmed.contains(&call));
                    asked.remove(&call)
                }
                _ => true,
            };
            if !once {
                wrong.push(format!("a second time: {event}"));
            }
        }
        if finished != 1 {
            wrong.push(format!("run_finished {finished} times"));
        }
        if let Some(call) = intents.difference(&receipts).next() {
            wrong.push(format!("{call} has no receipt"));
        }
        wrong
    }
}
