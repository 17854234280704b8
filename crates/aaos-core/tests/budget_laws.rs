//! Laws of the ledger: whatever a tree of agents does, nothing escapes a limit above it, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aaos_core::{
    budget::{Budget, Ledger, Reservation},
    id::AgentId,
    model::Usage,
    money::MicroDollars,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Act {
    Open { agent: u64, parent: Option<u64> },
    Close { agent: u64 },
    Limit { agent: u64, tokens: u64, calls: u64 },
    Call { agent: u64 },
    Reserve { agent: u64, tokens: u64, cost: u64 },
    Settle { which: usize, share: u64 },
    Release { which: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let agent = 0_u64..8;
    prop_oneof![
        3 => (agent.clone(), prop::option::of(agent.clone())).prop_map(|(agent, parent)| Act::Open { agent, parent }),
        1 => agent.clone().prop_map(|agent| Act::Close { agent }),
        1 => (agent.clone(), 0_u64..60, 0_u64..6).prop_map(|(agent, tokens, calls)| Act::Limit { agent, tokens, calls }),
        2 => agent.clone().prop_map(|agent| Act::Call { agent }),
        4 => (agent, 0_u64..30, 0_u64..30).prop_map(|(agent, tokens, cost)| Act::Reserve { agent, tokens, cost }),
        2 => (any::<usize>(), 0_u64..=100).prop_map(|(which, share)| Act::Settle { which, share }),
        1 => any::<usize>().prop_map(|which| Act::Release { which }),
    ]
}

/// What one agent, or one below it, has done, counted the long way.
#[derive(Default, Clone, Copy)]
struct Count {
    tokens: u64,
    calls: u64,
}

/// The tree and its counts, kept beside the ledger as simply as possible.
#[derive(Default)]
struct Model {
    parents: BTreeMap<u64, Option<u64>>,
    counts: BTreeMap<u64, Count>,
    limits: BTreeMap<u64, Budget>,
    held: Vec<(u64, Reservation, u64)>,
    spent: u64,
    reserved: u64,
}

impl Model {
    fn line(&self, agent: u64) -> Vec<u64> {
        let mut line = vec![agent];
        while let Some(Some(parent)) = line.last().and_then(|last| self.parents.get(last)).copied()
        {
            line.push(parent);
        }
        line
    }

    fn count(&mut self, agent: u64, change: impl Fn(&mut Count)) {
        for above in self.line(agent) {
            change(self.counts.entry(above).or_default());
        }
    }
}

const RUN: Budget = Budget {
    tokens: 100,
    cost: MicroDollars(100),
    wall_clock: aaos_core::time::Span::ZERO,
    calls: 12,
    agents: 10,
    depth: 2,
    fan_out: 2,
};

proptest! {
    #[test]
    fn nothing_escapes_a_limit_above_it(acts in prop::collection::vec(act(), 0..120)) {
        let mut ledger = Ledger::new(RUN);
        let mut model = Model::default();
        let id = AgentId::from_drawn;
        for act in acts {
            match act {
                Act::Open { agent, parent } => {
                    let new = !model.parents.contains_key(&agent);
                    if new && ledger.open(id(agent), parent.map(id)).is_ok() {
                        model.parents.insert(agent, parent);
                        prop_assert!(model.line(agent).len() <= 3, "deeper than the run allows");
                    }
                }
                Act::Close { agent } => ledger.close(id(agent)),
                Act::Limit { agent, tokens, calls } => {
                    // A limit below what is used already only refuses what comes next.
                    let count = model.counts.get(&agent).copied().unwrap_or_default();
                    let budget = Budget { tokens: tokens.max(count.tokens), calls: calls.max(count.calls), ..RUN };
                    ledger.limit(id(agent), budget);
                    if ledger.spent_by(id(agent)).is_some() {
                        model.limits.insert(agent, budget);
                    }
                }
                Act::Call { agent } => {
                    if ledger.call(id(agent)).is_ok() {
                        model.count(agent, |count| count.calls += 1);
                    }
                }
                Act::Reserve { agent, tokens, cost } => {
                    let before = ledger.committed();
                    match ledger.reserve(id(agent), tokens, MicroDollars(cost)) {
                        Ok(reservation) => {
                            model.count(agent, |count| count.tokens += tokens);
                            model.reserved += tokens;
                            model.held.push((agent, reservation, tokens));
                        }
                        Err(refused) => {
                            prop_assert!(refused.used + refused.wanted > refused.allowed);
                            prop_assert_eq!(ledger.committed(), before, "a refusal counted something");
                        }
                    }
                }
                Act::Settle { which, share } if !model.held.is_empty() => {
                    let (agent, reservation, tokens) = model.held.swap_remove(which % model.held.len());
                    let used = tokens * share / 100;
                    ledger.settle(reservation, Usage { output_tokens: used, ..Usage::default() });
                    model.count(agent, |count| count.tokens -= tokens - used);
                    model.reserved -= tokens;
                    model.spent += used;
                }
                Act::Release { which } if !model.held.is_empty() => {
                    let (agent, reservation, tokens) = model.held.swap_remove(which % model.held.len());
                    ledger.release(reservation);
                    model.count(agent, |count| count.tokens -= tokens);
                    model.reserved -= tokens;
                }
                Act::Settle { .. } | Act::Release { .. } => {}
            }
            let (tokens, cost) = ledger.committed();
            prop_assert!(tokens <= RUN.tokens && cost <= RUN.cost);
            prop_assert_eq!(tokens, model.spent + model.reserved);
            prop_assert!(ledger.spent().calls <= RUN.calls && ledger.spent().agents <= RUN.agents);
            for (agent, limit) in &model.limits {
                let count = model.counts.get(agent).copied().unwrap_or_default();
                prop_assert!(count.tokens <= limit.tokens && count.calls <= limit.calls, "agent {agent} escaped its limit");
            }
        }
    }

    #[test]
    fn what_was_set_aside_and_given_back_leaves_no_trace(amounts in prop::collection::vec(0_u64..40, 0..20)) {
        let mut ledger = Ledger::new(RUN);
        ledger.open(AgentId::from_drawn(1), None).unwrap();
        let held: Vec<Reservation> =
            amounts.into_iter().filter_map(|tokens| ledger.reserve(AgentId::from_drawn(1), tokens, MicroDollars(tokens)).ok()).collect();
        held.into_iter().for_each(|reservation| ledger.release(reservation));
        prop_assert_eq!(ledger.committed(), (0, MicroDollars::ZERO));
        prop_assert!(ledger.reserve(AgentId::from_drawn(1), RUN.tokens, RUN.cost).is_ok());
    }

    #[test]
    fn no_sum_overflows(tokens in any::<u64>(), more in any::<u64>(), cost in any::<u64>()) {
        let mut ledger = Ledger::new(Budget { tokens: u64::MAX, cost: MicroDollars(u64::MAX), ..RUN });
        if let Ok(reservation) = ledger.reserve_for_run(tokens, MicroDollars(cost)) {
            let usage = Usage { input_tokens: more, output_tokens: tokens, cached_tokens: more, cost: MicroDollars(cost) };
            ledger.settle(reservation, usage);
        }
        let _ = ledger.reserve_for_run(more, MicroDollars(more)).map(|reservation| ledger.release(reservation));
    }
}
