//! Authority taken back: what a revocation reaches beside the grant table. Every way of ending a grant leads here.
//!
//! The order is the promise: the table says no first; calls in flight that rest on what ended are told next and waited
//! for; each worker is told what its agent has left last. Refuses: a revocation that returns while something still acts
//! on what it ended.

use crate::{agent::Tether, invoke::CallGate, limits, record::Who, run::Run};
use aaos_core::{
    event::Kind,
    failure::Failure,
    id::{AgentId, CallId, GrantId},
};
use aaos_ports::{Durability, LiveGrant, Revoked};
use futures::StreamExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Grants that ended together.
pub(crate) type Ended = BTreeSet<GrantId>;

/// Who acts in a run right now: calls in flight, and agents with a worker.
#[derive(Default)]
pub(crate) struct Roll(Mutex<Names>);

#[derive(Default)]
struct Names {
    calls: BTreeMap<CallId, Arc<CallGate>>,
    workers: BTreeMap<AgentId, Arc<Tether>>,
}

impl Roll {
    pub(crate) fn enter_call(&self, call: CallId, gate: Arc<CallGate>) {
        self.names().calls.insert(call, gate);
    }

    pub(crate) fn leave_call(&self, call: CallId) {
        // Dropped after the lock is: a gate may be the last to hold its run.
        let _gate = self.names().calls.remove(&call);
    }

    pub(crate) fn enter_worker(&self, agent: AgentId, tether: Arc<Tether>) {
        self.names().workers.insert(agent, tether);
    }

    pub(crate) fn leave_worker(&self, agent: AgentId) -> Option<Arc<Tether>> {
        self.names().workers.remove(&agent)
    }

    /// Lets one worker leave, unless another has taken its place.
    pub(crate) fn leave_this_worker(&self, agent: AgentId, tether: &Arc<Tether>) {
        let mut names = self.names();
        let same = names
            .workers
            .get(&agent)
            .is_some_and(|here| Arc::ptr_eq(here, tether));
        if same {
            names.workers.remove(&agent);
        }
    }

    /// Tells every call that rests on one of these to end, and answers with them.
    fn end_calls(&self, ended: &Ended) -> Vec<Arc<CallGate>> {
        // Cloned first: a gate's own lock is never taken under this one.
        let gates: Vec<_> = self.names().calls.values().cloned().collect();
        gates
            .into_iter()
            .filter(|gate| gate.end_if_resting_on(ended))
            .collect()
    }

    fn workers_of(&self, agents: &BTreeSet<AgentId>) -> Vec<(AgentId, Arc<Tether>)> {
        let names = self.names();
        let with_worker = |agent: &AgentId| Some((*agent, Arc::clone(names.workers.get(agent)?)));
        agents.iter().filter_map(with_worker).collect()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ended together, and whom it reaches.
#[derive(Default)]
pub(crate) struct TakenBack {
    /// One for each grant that was named, for whoever took it to record.
    pub(crate) events: Vec<Kind>,
    ended: Ended,
    holders: BTreeSet<AgentId>,
    calls: Vec<Arc<CallGate>>,
}

impl TakenBack {
    /// Waits until no call acts on what ended, then tells each worker concerned what is left.
    async fn reach(&self, run: &Run) {
        for call in &self.calls {
            call.over().await;
        }
        let workers = futures::stream::iter(run.roll.workers_of(&self.holders));
        workers
            .for_each_concurrent(
                limits::NARROWINGS_PARALLEL_MAX,
                |(agent, tether)| async move { tether.narrow(run, agent).await },
            )
            .await;
    }
}

impl Run {
    /// Ends grants and all that was made from them, and tells the calls that rest on them. Waits for nothing.
    pub(crate) fn take_back(&self, grants: &[GrantId], operator: Option<u32>) -> TakenBack {
        let mut taken = TakenBack::default();
        let mut table = self.table();
        for grant in grants {
            let ended = table.revoke(*grant);
            let Some(descendants) = ended.len().checked_sub(1) else {
                continue;
            };
            taken.events.push(Kind::CapabilityRevoked {
                grant: *grant,
                descendants: u32::try_from(descendants).unwrap_or(u32::MAX),
                operator,
            });
            for (grant, holder) in ended {
                taken.ended.insert(grant);
                taken.holders.insert(holder);
            }
        }
        drop(table);
        // Every call charged before the lock was let go is in the roll.
        taken.calls = self.roll.end_calls(&taken.ended);
        taken
    }

    /// Removes an agent's grants and ends all that was made from them; calls that rest on those are told.
    pub(crate) fn forget_grants(&self, agent: AgentId) {
        let ended: Ended = self.table().forget(agent).into_iter().collect();
        if !ended.is_empty() {
            self.roll.end_calls(&ended);
        }
    }

    /// Ends one grant as the operator asked, all the way; none if there is no such live grant.
    ///
    /// # Errors
    /// It could not be recorded; it has ended all the same.
    pub(crate) async fn revoke(
        &self,
        grant: GrantId,
        operator: u32,
    ) -> Result<Option<Revoked>, Failure> {
        let mut taken = self.take_back(&[grant], Some(operator));
        let Some(descendants) = taken.ended.len().checked_sub(1) else {
            return Ok(None);
        };
        let revoked = Revoked {
            descendants: u32::try_from(descendants).unwrap_or(u32::MAX),
            calls: u32::try_from(taken.calls.len()).unwrap_or(u32::MAX),
        };
        let events = std::mem::take(&mut taken.events);
        // Side by side: what is taken back does not wait for a disk.
        let recorded = self.record_aside(Who::RUN, events.clone(), Durability::Durable);
        let (recorded, ()) = futures::join!(recorded, taken.reach(self));
        if recorded.is_err() {
            // So that it has ended for whoever goes on with the run, too.
            let owed = events.into_iter();
            owed.for_each(|event| self.owed.add(Who::RUN, event));
        }
        recorded.map(|()| Some(revoked))
    }

    /// Every grant that may still be used, the run's own first.
    pub(crate) fn live_grants(&self) -> Vec<LiveGrant> {
        let now = self.shared.now();
        let agents: Vec<AgentId> = {
            let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
            view.agents_running.iter().map(|view| view.agent).collect()
        };
        let table = self.table();
        let of = |holder: AgentId, agent: Option<AgentId>| {
            let held = table.held(holder, now).into_iter();
            held.map(|(grant, capability)| LiveGrant {
                grant,
                agent,
                parent: table.parent(grant),
                capability,
            })
            .collect::<Vec<_>>()
        };
        let mut live = of(self.root, None);
        live.extend(agents.into_iter().flat_map(|agent| of(agent, Some(agent))));
        live
    }
}
