//! The gate a call's powers ask at each further point of use. It admits, charges, hands out the secrets that go with
//! an admission, and is told when the authority it rests on is taken back. A use that is counted is in the journal
//! before what it pays for happens.

use super::connections::Connections;
use crate::{authority::Ended, record::Who, run::Run};
use aaos_core::{
    approval::Rule,
    capability::{Capability, Charge, Need, Refusal},
    event::{GrantUse, Kind},
    failure::Failure,
    id::{AgentId, CallId, GrantId},
    secret::Secret,
};
use aaos_ports::{Admitted, Connection, Durability, Gate, PowerError};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Most refusals of one call that are recorded one by one; a tool that goes on is told no all the same.
const REFUSALS_RECORDED_MAX: usize = 64;

/// The one authority, for one call of one agent.
pub(crate) struct CallGate {
    run: Arc<Run>,
    agent: AgentId,
    call: CallId,
    state: Mutex<State>,
    /// Wakes whoever records connections.
    told: Notify,
    /// Cancelled when a grant that the call rests on is revoked.
    revoked: CancellationToken,
    /// Cancelled when the call is no longer in flight.
    over: CancellationToken,
}

#[derive(Default)]
struct State {
    /// What the call declared that it needs, and the grant each need rests on.
    declared: Vec<(Need, GrantId)>,
    /// Declared needs that are charged and not used yet; each admits one use without a second charge.
    charged: Vec<(Need, GrantId)>,
    /// Every grant the call rests on.
    grants: BTreeSet<GrantId>,
    /// Uses it was charged for, of each grant.
    uses: BTreeMap<GrantId, u64>,
    /// Rules by which a further need waits for a person's approval; the call cannot wait, so it is refused.
    rules: Vec<Rule>,
    refused: Vec<Refused>,
    connections: Connections,
}

/// A need that was admitted.
struct Pass {
    grant: GrantId,
    admitted: Admitted,
    /// Whether a further use was charged, and uses of the grant are counted.
    counted: bool,
}

/// Whether uses are counted. A limit of what a capability was made from is its own too.
const fn counts_uses(capability: &Capability) -> bool {
    capability.limits.uses.is_some() || capability.limits.rate.is_some()
}

/// Something the call was refused while it ran.
struct Refused {
    need: String,
    axis: String,
    reason: String,
}

impl CallGate {
    fn new(run: Arc<Run>, agent: AgentId, call: CallId, declared: Vec<(Need, GrantId)>) -> Self {
        let grants = declared.iter().map(|(_, grant)| *grant).collect();
        Self {
            run,
            agent,
            call,
            state: Mutex::new(State {
                declared,
                grants,
                ..State::default()
            }),
            told: Notify::new(),
            revoked: CancellationToken::new(),
            over: CancellationToken::new(),
        }
    }

    /// Checks and charges one need, and names the grant it rests on.
    ///
    /// # Errors
    /// `Denied`, with the axis; `Io` if the use could not be recorded.
    pub(crate) async fn admit_on(&self, need: &Need) -> Result<GrantId, PowerError> {
        let pass = self.pass(need).await?;
        Ok(pass.grant)
    }

    async fn pass(&self, need: &Need) -> Result<Pass, PowerError> {
        let pass = self.admitted(need)?;
        if pass.counted {
            let recorded = self.record_use(pass.grant).await;
            recorded.map_err(|failure| PowerError::Io {
                what: need.to_string(),
                message: failure.to_string(),
            })?;
        }
        Ok(pass)
    }

    /// Nothing is recorded for one who asks when the run has ended.
    async fn record_use(&self, grant: GrantId) -> Result<(), Failure> {
        let Some(_held) = self.run.hold() else {
            return Err(Failure::Interrupted);
        };
        let who = Who::call(self.agent, self.call);
        let charged = vec![Kind::CapabilityCharged { grant }];
        let recorded = self.run.record_aside(who, charged, Durability::Durable);
        recorded.await
    }

    /// What the call declared that it needs, and the grant each need rests on.
    pub(super) fn declared(&self) -> Vec<(Need, GrantId)> {
        self.state().declared.clone()
    }

    /// Checks every declared need, lets `count` count the call, and charges them all; or none. In one step with what a
    /// revocation looks at, so that none falls in between.
    ///
    /// # Errors
    /// `count`'s, or the need that is refused now.
    pub(super) fn charge<E>(
        &self,
        count: impl FnOnce() -> Result<(), E>,
    ) -> Result<Result<(), (Need, Refusal)>, E> {
        let now = self.run.shared.now();
        let mut state = self.state();
        let mut table = self.run.table();
        let declared = state.declared.clone();
        for (need, _) in &declared {
            if let Err(refusal) = table.check(self.agent, need, now) {
                return Ok(Err((need.clone(), refusal)));
            }
        }
        count()?;
        let mut charged = Vec::with_capacity(declared.len());
        for (need, _) in declared {
            match table.authorize(self.agent, &need, &Charge::USE, now) {
                Ok(grant) => charged.push((need, grant)),
                Err(refusal) => return Ok(Err((need, refusal))),
            }
        }
        state.pay(charged);
        Ok(Ok(()))
    }

    /// Takes up what was charged before the call was cut off.
    pub(super) fn take_up(&self) {
        let mut state = self.state();
        let charged = state.declared.clone();
        state.pay(charged);
    }

    /// Lets the call be performed once more for what was paid.
    pub(super) fn renew(&self) {
        let mut state = self.state();
        state.charged = state.declared.clone();
    }

    /// Refuses further needs that one of these rules names.
    pub(super) fn guard_by(&self, rules: Vec<Rule>) {
        self.state().rules = rules;
    }

    /// Whether a need may be looked at: as for an act, but nothing is charged and no secret handed out.
    fn considered(&self, need: &Need) -> Result<(), PowerError> {
        let now = self.run.shared.now();
        let mut state = self.state();
        let table = self.run.table();
        let mut declared = state.declared.iter();
        let paid = declared.any(|(known, grant)| known == need && table.live(*grant, now));
        let checked = if paid {
            Ok(())
        } else {
            table.check(self.agent, need, now).map(drop)
        };
        checked.map_err(|refusal| state.refuse_by(need, &refusal))
    }

    /// A need that is refused is not charged, also if it is for want of a secret's value.
    fn admitted(&self, need: &Need) -> Result<Pass, PowerError> {
        let now = self.run.shared.now();
        let mut state = self.state();
        state.unasked(need)?;
        let mut table = self.run.table();
        let prepaid = state.prepaid(need).filter(|grant| table.live(*grant, now));
        let grant = match prepaid {
            Some(grant) => Ok(grant),
            None => table.check(self.agent, need, now),
        };
        let grant = grant.map_err(|refusal| state.refuse_by(need, &refusal))?;
        let named = table.capability(grant).into_iter();
        let values = self.values(named.flat_map(|capability| capability.secrets()));
        let secrets = values.map_err(|reason| state.refuse(need, "secret", reason))?;
        if prepaid.is_none() {
            table
                .authorize(self.agent, need, &Charge::USE, now)
                .map_err(|refusal| state.refuse_by(need, &refusal))?;
            state.count_use(grant);
        }
        state.grants.insert(grant);
        Ok(Pass {
            grant,
            admitted: Admitted { secrets },
            counted: prepaid.is_none() && table.capability(grant).is_some_and(counts_uses),
        })
    }

    /// The values of these secrets, or what is missing.
    fn values<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Secret<String>>, String> {
        let secrets = &self.run.shared.deps.secrets;
        names
            .map(|name| match secrets.value(name) {
                Some(value) => Ok((name.to_owned(), value)),
                None => Err(format!(
                    "the grant names the secret `{name}`, which has no value; let the operator set it under `[secrets]` \
                     in the credentials file"
                )),
            })
            .collect()
    }

    /// Charges the bytes that went in and came out to every grant the call rested on, and answers with all that it
    /// took. What goes over a limit is charged too: the next act is refused.
    pub(super) fn settle_bytes(&self, bytes: u64) -> Vec<GrantUse> {
        let state = self.state();
        let mut table = self.run.table();
        let taken = state.grants.iter().map(|grant| {
            let _ = table.settle_bytes(*grant, bytes);
            GrantUse {
                grant: *grant,
                uses: state.uses.get(grant).copied().unwrap_or(0),
                bytes,
            }
        });
        taken.collect()
    }

    /// The events that are left when the call is over: its last connections, those that were only counted, and what it
    /// was refused.
    pub(super) fn leftovers(&self, tool: &str) -> Vec<Kind> {
        let mut state = self.state();
        let refused = std::mem::take(&mut state.refused);
        let denied = refused.into_iter().map(|refused| Kind::CapabilityDenied {
            tool: tool.to_owned(),
            need: refused.need,
            axis: refused.axis,
            reason: refused.reason,
        });
        let connections = state.connections.pending().into_iter();
        connections
            .chain(state.connections.omitted())
            .chain(denied)
            .collect()
    }

    /// The events of connections, as they happen; none when the call is over and all are told.
    pub(super) async fn connections(&self) -> Option<Vec<Kind>> {
        loop {
            let over = self.over.is_cancelled();
            let pending = self.state().connections.pending();
            if !pending.is_empty() {
                return Some(pending);
            }
            if over {
                return None;
            }
            tokio::select! {
                () = self.told.notified() => {}
                () = self.over.cancelled() => {}
            }
        }
    }

    /// Tells the call to end if it rests on one of these; whether it does.
    pub(crate) fn end_if_resting_on(&self, ended: &Ended) -> bool {
        let rests = self
            .state()
            .grants
            .iter()
            .any(|grant| ended.contains(grant));
        if rests {
            self.revoked.cancel();
        }
        rests
    }

    /// Tells the call to end because a grant it rests on has ended before it was taken up.
    pub(super) fn end(&self) {
        self.revoked.cancel();
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }

    /// Waits until a grant that the call rests on is revoked.
    pub(super) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    /// Waits until the call is no longer in flight: whatever it held is dropped.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes one use that was paid for at the start.
    fn prepaid(&mut self, need: &Need) -> Option<GrantId> {
        let position = self.charged.iter().position(|(known, _)| known == need)?;
        Some(self.charged.swap_remove(position).1)
    }

    fn pay(&mut self, charged: Vec<(Need, GrantId)>) {
        for (_, grant) in &charged {
            self.grants.insert(*grant);
            self.count_use(*grant);
        }
        self.declared.clone_from(&charged);
        self.charged = charged;
    }

    fn count_use(&mut self, grant: GrantId) {
        let uses = self.uses.entry(grant).or_insert(0);
        *uses = uses.saturating_add(1);
    }

    /// Refuses what a person would have to be asked about first. What the call declared was looked at before it began.
    fn unasked(&mut self, need: &Need) -> Result<(), PowerError> {
        if self.declared.iter().any(|(known, _)| known == need) {
            return Ok(());
        }
        let Some(rule) = self.rules.iter().find(|rule| rule.applies_to(need)) else {
            return Ok(());
        };
        let reason = format!(
            "the rule `{rule}` lets this happen only with a person's approval; make a call of its own for it, which can \
             wait for that"
        );
        Err(self.refuse(need, "approval", reason))
    }

    fn refuse_by(&mut self, need: &Need, refusal: &Refusal) -> PowerError {
        self.refuse(need, refusal.axis(), refusal.to_string())
    }

    fn refuse(&mut self, need: &Need, axis: &str, reason: String) -> PowerError {
        let (need, axis) = (need.to_string(), axis.to_owned());
        if self.refused.len() < REFUSALS_RECORDED_MAX {
            self.refused.push(Refused {
                need: need.clone(),
                axis: axis.clone(),
                reason: reason.clone(),
            });
        }
        PowerError::Denied { need, axis, reason }
    }
}

#[async_trait]
impl Gate for CallGate {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        let pass = self.pass(need).await?;
        Ok(pass.admitted)
    }

    fn note(&self, connection: Connection) {
        self.state().connections.take_up(connection);
        self.told.notify_one();
    }
}

/// The gate of a tool that looks at what a call would do, or did: it admits what the call's own does, and charges
/// nothing.
pub(super) struct Looking(pub(super) Arc<CallGate>);

#[async_trait]
impl Gate for Looking {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        self.0.considered(need).map(|()| Admitted::default())
    }

    fn note(&self, connection: Connection) {
        self.0.note(connection);
    }
}

/// A call in flight: while this lives, authority that is taken back finds it.
pub(crate) struct InFlight {
    call: CallId,
    gate: Arc<CallGate>,
}

impl InFlight {
    /// Enters a call whose needs rest on these grants, among those in flight. Called while the grant table is locked,
    /// so that no revocation falls between the check and the entry.
    pub(super) fn enter(
        run: &Arc<Run>,
        agent: AgentId,
        call: CallId,
        declared: Vec<(Need, GrantId)>,
    ) -> Self {
        let gate = Arc::new(CallGate::new(Arc::clone(run), agent, call, declared));
        run.roll.enter_call(call, Arc::clone(&gate));
        Self { call, gate }
    }

    pub(crate) const fn gate(&self) -> &Arc<CallGate> {
        &self.gate
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gate.run.roll.leave_call(self.call);
        self.gate.over.cancel();
    }
}
