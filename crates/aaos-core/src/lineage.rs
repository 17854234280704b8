//! Lineage: identities within a run follow from their place in it.
//!
//! A run that goes on after a crash, and one that is carried out again from its record, meet the same agents, calls and
//! grants under the same identities, so what the journal tells of each is found without guessing. Only a run's own
//! identity is drawn.
//!
//! For one owner, different places always have different identities; two owners' meet no more often than drawn ones.

use crate::id::{AgentId, CallId, GrantId, RunId};

/// Keeps an agent's calls and its grants apart.
const CALLS: u64 = 0x6361_6c6c;
const GRANTS: u64 = 0x6772_616e;
/// Bits of a subtask's position in its plan, and of its attempts; what is left counts plans.
const POSITION_BITS: u32 = 24;
const ATTEMPT_BITS: u32 = 16;

/// Where in a run a subtask's agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Plans that came before this one.
    pub plan: u32,
    /// The subtask's position in its plan.
    pub position: u32,
    /// Agents that carried the subtask out before this one, within this plan.
    pub attempt: u32,
}

impl Place {
    const fn number(self) -> u64 {
        let (position, attempt) = (self.position as u64, self.attempt as u64);
        // One more, so that no place is the root's.
        ((self.plan as u64 + 1) << (POSITION_BITS + ATTEMPT_BITS))
            | ((position & ((1 << POSITION_BITS) - 1)) << ATTEMPT_BITS)
            | (attempt & ((1 << ATTEMPT_BITS) - 1))
    }
}

impl RunId {
    /// Holds the operator's grants; no agent acts under this name.
    #[must_use]
    pub const fn root(self) -> AgentId {
        AgentId::from_drawn(below(self.number(), 0))
    }

    /// The agent that carries out a subtask.
    #[must_use]
    pub const fn agent(self, place: Place) -> AgentId {
        AgentId::from_drawn(below(self.number(), place.number()))
    }
}

impl AgentId {
    /// Its `ordinal`th call, counting from nought.
    #[must_use]
    pub const fn call(self, ordinal: u64) -> CallId {
        CallId::from_drawn(below(self.number() ^ CALLS, ordinal))
    }

    /// Its `ordinal`th grant, counting from nought.
    #[must_use]
    pub const fn grant(self, ordinal: u64) -> GrantId {
        GrantId::from_drawn(below(self.number() ^ GRANTS, ordinal))
    }
}

impl CallId {
    /// The `ordinal`th agent that this call starts, counting from nought.
    #[must_use]
    pub const fn child(self, ordinal: u64) -> AgentId {
        AgentId::from_drawn(below(self.number(), ordinal))
    }
}

/// A number for each place below an owner: two steps that can each be undone, so that no two places share one.
const fn below(owner: u64, place: u64) -> u64 {
    mix(owner ^ mix(place))
}

/// The finishing steps of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_place_in_a_run_has_its_own_identity() {
        let run = RunId::from_drawn(7);
        let mut seen = BTreeSet::from([run.root()]);
        for plan in 0..3 {
            for position in 0..50 {
                for attempt in 0..3 {
                    let place = Place {
                        plan,
                        position,
                        attempt,
                    };
                    assert!(seen.insert(run.agent(place)));
                }
            }
        }
        let agent = run.root();
        let calls: BTreeSet<u64> = (0..500).map(|n| agent.call(n).number()).collect();
        let grants: BTreeSet<u64> = (0..500).map(|n| agent.grant(n).number()).collect();
        assert_eq!((calls.len(), grants.len()), (500, 500));
        assert!(calls.is_disjoint(&grants));
        assert_ne!(agent.call(0).child(0), agent.call(0).child(1));
    }

    #[test]
    fn the_same_place_is_the_same_identity_and_another_runs_is_not() {
        let place = Place {
            plan: 0,
            position: 3,
            attempt: 0,
        };
        let (one, other) = (RunId::from_drawn(1), RunId::from_drawn(2));
        assert_eq!(one.agent(place), RunId::from_drawn(1).agent(place));
        assert_ne!(one.agent(place), other.agent(place));
    }
}
