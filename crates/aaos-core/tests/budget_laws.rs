//! Laws of the ledger: whatever a tree of agents does, nothing escapes a limit above it, nothing is lost, and books that
//! are put together again from the record are the same books.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aaos_core::{
    budget::{Budget, Ledger, Reservation},
    event::{BackendName, Event, Kind, Seq, StopReason, Subject},
    failure::{Failure, ProviderFault},
    id::{AgentId, RoleName, RunId},
    model::{ModelRef, Usage},
    money::MicroDollars,
    time::Timestamp,
    tool::{Effect, Placement},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Act {
    Open {
        agent: u64,
        parent: Option<u64>,
        role: usize,
    },
    Close {
        agent: u64,
    },
    Call {
        agent: u64,
    },
    /// Of the run itself if it is no agent's.
    Ask {
        agent: Option<u64>,
        tokens: u64,
        cost: u64,
    },
    /// In percent of what was reserved: a provider may charge more.
    Settle {
        which: usize,
        share: u64,
    },
    Fail {
        which: usize,
    },
    Abandon {
        which: usize,
    },
    Raise {
        tokens: u64,
        cost: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let agent = 0_u64..8;
    let some = || prop::option::of(0_u64..8);
    prop_oneof![
        3 => (agent.clone(), some(), 0_usize..3).prop_map(|(agent, parent, role)| Act::Open { agent, parent, role }),
        1 => agent.clone().prop_map(|agent| Act::Close { agent }),
        2 => agent.prop_map(|agent| Act::Call { agent }),
        4 => (some(), 0_u64..30, 0_u64..30).prop_map(|(agent, tokens, cost)| Act::Ask { agent, tokens, cost }),
        2 => (any::<usize>(), 0_u64..=130).prop_map(|(which, share)| Act::Settle { which, share }),
        1 => any::<usize>().prop_map(|which| Act::Fail { which }),
        1 => any::<usize>().prop_map(|which| Act::Abandon { which }),
        1 => (0_u64..20, 0_u64..20).prop_map(|(tokens, cost)| Act::Raise { tokens, cost }),
    ]
}

const ROLES: [&str; 3] = ["reader", "writer", "worker"];

fn role(number: usize) -> RoleName {
    ROLES[number].parse().unwrap()
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

/// Two of the three roles have a budget of their own.
fn books() -> Ledger {
    let tight = Budget {
        tokens: 40,
        cost: MicroDollars(60),
        calls: 4,
        agents: 4,
        depth: 1,
        fan_out: 1,
        ..RUN
    };
    let loose = Budget {
        tokens: 70,
        calls: 6,
        ..RUN
    };
    Ledger::new(RUN).with_roles(&BTreeMap::from([(role(0), tight), (role(1), loose)]))
}

/// A ledger, what is done with it, and what the record says of that.
struct Story {
    ledger: Ledger,
    events: Vec<Event>,
    parents: BTreeMap<u64, (Option<u64>, usize)>,
    /// Requests in flight, one at most for each line.
    flying: Vec<(Option<u64>, Reservation)>,
    /// What each agent itself was charged: tokens reserved and spent, calls.
    own: BTreeMap<u64, (u64, u64)>,
    spent: u64,
    /// Spent beyond what was reserved.
    beyond: u64,
    raised: u64,
}

impl Story {
    fn new() -> Self {
        Self {
            ledger: books(),
            events: Vec::new(),
            parents: BTreeMap::new(),
            flying: Vec::new(),
            own: BTreeMap::new(),
            spent: 0,
            beyond: 0,
            raised: 0,
        }
    }

    fn tell(&mut self, agent: Option<u64>, kind: Kind) {
        let subject = Subject {
            run: Some(RunId::from_drawn(1)),
            agent: agent.map(AgentId::from_drawn),
            ..Subject::default()
        };
        let seq = Seq(self.events.len() as u64 + 1);
        let time = Timestamp::from_micros(seq.0);
        self.events.push(Event {
            seq,
            time,
            subject,
            kind,
        });
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Open {
                agent,
                parent,
                role,
            } => self.open(agent, parent, role),
            Act::Close { agent } => {
                self.ledger.close(AgentId::from_drawn(agent));
                let stop = StopReason::Complete;
                self.tell(Some(agent), Kind::AgentStopped { stop });
            }
            Act::Call { agent } => {
                if self.ledger.call(AgentId::from_drawn(agent)).is_ok() {
                    self.own.entry(agent).or_default().1 += 1;
                    self.tell(Some(agent), invoked());
                }
            }
            Act::Ask {
                agent,
                tokens,
                cost,
            } => self.ask(agent, tokens, MicroDollars(cost)),
            Act::Settle { which, share } => {
                let Some((agent, reservation)) = self.landed(which) else {
                    return;
                };
                let (tokens, cost) = (reservation.tokens(), reservation.cost().0);
                let usage = Usage {
                    output_tokens: tokens * share / 100,
                    cost: MicroDollars(cost * share / 100),
                    ..Usage::default()
                };
                self.ledger.settle(reservation, usage);
                self.charge(agent, tokens, usage.tokens());
                self.tell(
                    agent,
                    Kind::UsageReported {
                        model: model(),
                        usage,
                    },
                );
            }
            Act::Fail { which } => {
                let Some((agent, reservation)) = self.landed(which) else {
                    return;
                };
                self.charge(agent, reservation.tokens(), 0);
                self.ledger.release(reservation);
                self.tell(agent, failed());
            }
            Act::Abandon { which } => {
                let Some((agent, reservation)) = self.landed(which) else {
                    return;
                };
                let (tokens, cost) = (reservation.tokens(), reservation.cost());
                let worst = reservation.worst();
                self.ledger.settle(reservation, worst);
                self.charge(agent, tokens, tokens);
                self.tell(
                    agent,
                    Kind::ModelAbandoned {
                        model: model(),
                        tokens,
                        cost,
                    },
                );
            }
            Act::Raise { tokens, cost } => {
                let mut budget = self.ledger.budget();
                budget.tokens += tokens;
                budget.cost = budget.cost.plus(MicroDollars(cost));
                self.raised += tokens;
                self.ledger.raise(budget);
                self.tell(
                    None,
                    Kind::BudgetRaised {
                        budget,
                        operator: 0,
                    },
                );
            }
        }
    }

    fn open(&mut self, agent: u64, parent: Option<u64>, number: usize) {
        let id = AgentId::from_drawn;
        if self.parents.contains_key(&agent) {
            return;
        }
        if self
            .ledger
            .open(id(agent), parent.map(id), &role(number))
            .is_err()
        {
            return;
        }
        self.parents.insert(agent, (parent, number));
        let spawned = Kind::AgentSpawned {
            role: role(number),
            subtask: None,
            parent: parent.map(id),
            backend: BackendName("fake".to_owned()),
            model: None,
            rests_on: None,
        };
        self.tell(Some(agent), spawned);
    }

    fn ask(&mut self, agent: Option<u64>, tokens: u64, cost: MicroDollars) {
        if self.flying.iter().any(|(flying, _)| *flying == agent) {
            return;
        }
        let before = self.ledger.committed();
        match self
            .ledger
            .reserve(agent.map(AgentId::from_drawn), tokens, cost)
        {
            Ok(reservation) => {
                if let Some(agent) = agent {
                    self.own.entry(agent).or_default().0 += tokens;
                }
                self.flying.push((agent, reservation));
                let requested = Kind::ModelRequested {
                    model: model(),
                    tokens_reserved: tokens,
                    cost_reserved: cost,
                    request: String::new(),
                };
                self.tell(agent, requested);
            }
            Err(refused) => {
                assert!(refused.used + refused.wanted > refused.allowed);
                assert_eq!(
                    self.ledger.committed(),
                    before,
                    "a refusal counted something"
                );
            }
        }
    }

    fn landed(&mut self, which: usize) -> Option<(Option<u64>, Reservation)> {
        let count = self.flying.len();
        (count > 0).then(|| self.flying.swap_remove(which % count))
    }

    fn charge(&mut self, agent: Option<u64>, reserved: u64, used: u64) {
        self.spent += used;
        self.beyond += used.saturating_sub(reserved);
        if let Some(agent) = agent {
            let own = &mut self.own.entry(agent).or_default().0;
            *own = *own + used - reserved;
        }
    }

    fn reserved(&self) -> u64 {
        self.flying
            .iter()
            .map(|(_, reservation)| reservation.tokens())
            .sum()
    }

    /// The agents from one upward.
    fn line(&self, agent: u64) -> Vec<u64> {
        let mut line = vec![agent];
        while let Some((Some(parent), _)) = self.parents.get(line.last().unwrap()) {
            line.push(*parent);
        }
        line
    }

    /// What all agents of a role, and everything below them, were charged.
    fn of_role(&self, number: usize) -> (u64, u64) {
        let below = |agent: &u64| {
            let line = self.line(*agent);
            line.iter().any(|above| {
                self.parents
                    .get(above)
                    .is_some_and(|(_, role)| *role == number)
            })
        };
        let own = self.own.iter().filter(|(agent, _)| below(agent));
        own.fold((0, 0), |sum, (_, own)| (sum.0 + own.0, sum.1 + own.1))
    }

    /// The books as they are put together again after a crash: what is in flight then counts at its worst.
    fn restored(&self) -> Ledger {
        let mut ledger = books();
        self.events.iter().for_each(|event| ledger.take_up(event));
        ledger
    }
}

fn model() -> ModelRef {
    ModelRef {
        provider: "p".to_owned(),
        model: "m".to_owned(),
    }
}

fn invoked() -> Kind {
    Kind::ToolInvoked {
        tool: "echo".to_owned(),
        input_hash: String::new(),
        args_preview: String::new(),
        execution_surface: Placement::Worker,
        effect: Effect::Pure,
        evidence: None,
        grants: Vec::new(),
    }
}

fn failed() -> Kind {
    Kind::ModelFailed {
        failure: Failure::Provider {
            provider: "p".to_owned(),
            model: "m".to_owned(),
            fault: ProviderFault::Unreachable,
            status: None,
            message: String::new(),
            next_step: String::new(),
        },
    }
}

proptest! {
    #[test]
    fn nothing_escapes_a_limit_above_it(acts in prop::collection::vec(act(), 0..120)) {
        let mut story = Story::new();
        for act in acts {
            story.act(act);
            let (tokens, _) = story.ledger.committed();
            prop_assert_eq!(tokens, story.spent + story.reserved());
            prop_assert!(tokens <= RUN.tokens + story.raised + story.beyond, "more than the run may and a provider forced");
            prop_assert!(story.ledger.spent().calls <= RUN.calls && story.ledger.spent().agents <= RUN.agents);
            for agent in story.parents.keys() {
                prop_assert!(story.line(*agent).len() <= 3, "deeper than the run allows");
            }
            for (number, tokens_max, calls_max) in [(0, 40, 4), (1, 70, 6)] {
                let (tokens, calls) = story.of_role(number);
                prop_assert!(tokens <= tokens_max + story.raised + story.beyond, "{} escaped its limit", ROLES[number]);
                prop_assert!(calls <= calls_max, "{} escaped its limit", ROLES[number]);
            }
        }
    }

    #[test]
    fn books_put_together_again_are_the_same_books(acts in prop::collection::vec(act(), 0..120), then in prop::collection::vec(act(), 0..30)) {
        let mut story = Story::new();
        acts.into_iter().for_each(|act| story.act(act));
        let mut restored = story.restored();
        prop_assert_eq!(restored.committed(), story.ledger.committed(), "what is in flight stays set aside");
        prop_assert_eq!(restored.spent(), story.ledger.spent());
        prop_assert_eq!(restored.budget(), story.ledger.budget());
        for agent in 0..8 {
            let agent = AgentId::from_drawn(agent);
            prop_assert_eq!(restored.spent_by(agent), story.ledger.spent_by(agent));
        }
        // Requests that were in flight are found to be lost; in the books of old they are settled at their worst.
        for (agent, reservation) in std::mem::take(&mut story.flying) {
            let lost = restored.lost(agent.map(AgentId::from_drawn)).unwrap();
            prop_assert_eq!((lost.tokens(), lost.cost()), (reservation.tokens(), reservation.cost()));
            let (worst, own) = (lost.worst(), reservation.worst());
            restored.settle(lost, worst);
            story.ledger.settle(reservation, own);
        }
        prop_assert_eq!(restored.any_lost(), None);
        // From then on both give the same answers.
        let mut other = Story { ledger: restored, parents: story.parents.clone(), ..Story::new() };
        let mut first = Story { ledger: story.ledger, parents: story.parents.clone(), ..Story::new() };
        for act in then {
            other.act(act.clone());
            first.act(act);
            prop_assert_eq!(&other.events, &first.events);
            prop_assert_eq!(other.ledger.committed(), first.ledger.committed());
        }
    }

    #[test]
    fn what_was_set_aside_and_given_back_leaves_no_trace(amounts in prop::collection::vec(0_u64..40, 0..20)) {
        let agent = AgentId::from_drawn(1);
        let mut ledger = Ledger::new(RUN);
        ledger.open(agent, None, &role(2)).unwrap();
        let held: Vec<Reservation> =
            amounts.into_iter().filter_map(|tokens| ledger.reserve(Some(agent), tokens, MicroDollars(tokens)).ok()).collect();
        held.into_iter().for_each(|reservation| ledger.release(reservation));
        prop_assert_eq!(ledger.committed(), (0, MicroDollars::ZERO));
        prop_assert!(ledger.reserve(Some(agent), RUN.tokens, RUN.cost).is_ok());
    }

    #[test]
    fn no_sum_overflows(tokens in any::<u64>(), more in any::<u64>(), cost in any::<u64>()) {
        let mut ledger = Ledger::new(Budget { tokens: u64::MAX, cost: MicroDollars(u64::MAX), ..RUN });
        if let Ok(reservation) = ledger.reserve(None, tokens, MicroDollars(cost)) {
            let usage = Usage { input_tokens: more, output_tokens: tokens, cached_tokens: more, cost: MicroDollars(cost) };
            ledger.settle(reservation, usage);
        }
        ledger.raise(Budget { tokens: u64::MAX, ..RUN });
        let _ = ledger.reserve(None, more, MicroDollars(more)).map(|reservation| ledger.release(reservation));
    }
}
