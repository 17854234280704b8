//! The grant table: who holds which grant, which grant came from which, and what is left of each.
//!
//! Checking and charging are one step. A use is charged to the grant and to every grant it was made from, so that
//! passing on never multiplies uses; revoking one revokes all that came from it. The table knows no clock: it is told
//! the time with each question.

use super::{Capability, Excess, Limits, Need, Refusal};
use crate::{
    id::{AgentId, GrantId},
    money::MicroDollars,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Most grants in the table: a plan of 1000 subtasks with sixty-four grants each.
pub const GRANTS_MAX: usize = 65_536;
/// Most grants one agent holds; bounds the work of a check.
pub const HOLDER_GRANTS_MAX: usize = 4_096;
/// Longest line of grants made from one another; bounds the work of a charge.
pub const DEPTH_MAX: usize = 32;

/// What an act takes from a grant, besides one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// Bytes known before the act; what becomes known after it is settled with [`Table::settle_bytes`].
    pub bytes: u64,
    /// Money known before the act.
    pub money: MicroDollars,
}

impl Charge {
    /// One use and nothing else.
    pub const USE: Self = Self {
        bytes: 0,
        money: MicroDollars::ZERO,
    };
}

/// What has been taken from a grant, by its holder and by all that came from it.
#[derive(Debug, Clone, Default)]
struct Spent {
    uses: u64,
    bytes: u64,
    money: u64,
    /// Moments of the latest uses; at most as many as the rate allows.
    recent: Vec<Timestamp>,
}

impl Spent {
    /// Why an act cannot be charged, if it cannot.
    fn refusal(&self, limits: &Limits, charge: &Charge, now: Timestamp) -> Option<Refusal> {
        if let Some(limit) = limits.uses.filter(|limit| self.uses >= *limit) {
            return Some(Refusal::UsesExhausted { limit });
        }
        if let Some(limit) = limits
            .bytes
            .filter(|limit| over(self.bytes, charge.bytes, *limit))
        {
            return Some(Refusal::BytesExhausted { limit });
        }
        let limit = limits
            .money
            .map(|money| money.0)
            .filter(|limit| over(self.money, charge.money.0, *limit));
        if let Some(limit) = limit {
            return Some(Refusal::MoneyExhausted { limit });
        }
        let rate = limits.rate?;
        let within = || {
            self.recent
                .iter()
                .filter(|moment| now.since(**moment) < rate.per)
        };
        let free = within()
            .min()
            .map_or(now, |oldest| oldest.after(rate.per))
            .since(now);
        let full = within().count() >= rate.count as usize;
        full.then(|| Refusal::rate(rate, free))
    }

    fn restore(&mut self, limits: &Limits, uses: u64, bytes: u64, at: Timestamp) {
        self.uses = self.uses.saturating_add(uses);
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(rate) = limits.rate {
            self.recent.retain(|moment| at.since(*moment) < rate.per);
            let room = (rate.count as usize).saturating_sub(self.recent.len());
            let more = usize::try_from(uses).unwrap_or(usize::MAX).min(room);
            self.recent.extend(std::iter::repeat_n(at, more));
        }
    }

    fn charge(&mut self, limits: &Limits, charge: &Charge, now: Timestamp) {
        self.uses = self.uses.saturating_add(1);
        self.bytes = self.bytes.saturating_add(charge.bytes);
        self.money = self.money.saturating_add(charge.money.0);
        if let Some(rate) = limits.rate {
            // A clock that went back only makes this stricter: a use in the future still counts.
            self.recent.retain(|moment| now.since(*moment) < rate.per);
            self.recent.push(now);
        }
    }
}

/// Whether an amount more goes over a limit, or nothing is left of it.
const fn over(spent: u64, more: u64, limit: u64) -> bool {
    spent >= limit || more > limit - spent
}

/// Whether a grant may be used as far as revocation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    Revoked,
}

#[derive(Debug, Clone)]
struct Grant {
    holder: AgentId,
    capability: Capability,
    parent: Option<GrantId>,
    children: Vec<GrantId>,
    depth: usize,
    state: State,
    spent: Spent,
}

impl Grant {
    fn live(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Revoked => Err(Refusal::Revoked),
            State::Held if self.capability.limits.expired(now) => Err(Refusal::Expired),
            State::Held => Ok(()),
        }
    }
}

/// Every grant there is, with the tree of which came from which.
#[derive(Debug, Clone, Default)]
pub struct Table {
    grants: BTreeMap<GrantId, Grant>,
    holders: BTreeMap<AgentId, Vec<GrantId>>,
}

impl Table {
    /// A table without grants: nobody may do anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many grants there are, revoked ones included until they are forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Gives a capability that comes from no other grant: the operator's to a run.
    ///
    /// # Errors
    /// The table or the holder's part of it is full, or the id is taken; the table is unchanged.
    pub fn issue(
        &mut self,
        grant: GrantId,
        holder: AgentId,
        capability: Capability,
    ) -> Result<(), Refusal> {
        self.room_for(grant, holder)?;
        self.insert(grant, holder, capability, None);
        Ok(())
    }

    /// Gives a weaker capability made from a grant. Limits `wanted` does not set are taken over.
    ///
    /// Law: neither the parent nor any grant it came from can be used more often because of the new one.
    ///
    /// # Errors
    /// The parent is unknown, revoked, expired or spent, or `wanted` exceeds it, or there is no room; the table is
    /// unchanged.
    pub fn derive(
        &mut self,
        parent: GrantId,
        grant: GrantId,
        holder: AgentId,
        wanted: Capability,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.room_for(grant, holder)?;
        let from = self.grants.get(&parent).ok_or(Refusal::UnknownGrant)?;
        from.live(now)?;
        if from.depth + 1 >= DEPTH_MAX {
            return Err(Refusal::TooDeep { limit: DEPTH_MAX });
        }
        let capability = from
            .capability
            .attenuate(wanted)
            .map_err(Refusal::Amplifies)?;
        self.spent_along(parent)?;
        self.insert(grant, holder, capability, Some(parent));
        Ok(())
    }

    /// The holder's grant from which `wanted` can be made: the first that is live, not spent and covers it.
    ///
    /// # Errors
    /// There is none. A grant that would do but is spent, expired or revoked is the reason given; otherwise the axis on
    /// which the nearest falls short.
    pub fn find_parent(
        &self,
        holder: AgentId,
        wanted: &Capability,
        now: Timestamp,
    ) -> Result<GrantId, Refusal> {
        let mut best = Best::default();
        for (id, grant) in self.of_holder(holder) {
            match grant.capability.attenuate(wanted.clone()) {
                Err(excess) => best.nearest(excess),
                Ok(_) => match grant.live(now).and_then(|()| self.spent_along(id)) {
                    Ok(()) => return Ok(id),
                    Err(refusal) => best.refused(refusal),
                },
            }
        }
        Err(best.refusal(|| super::quote::cut(&wanted.to_string())))
    }

    /// Checks an act and charges it, to the grant and all it came from, in one step and before the act.
    ///
    /// # Errors
    /// No grant of the holder allows the act now; nothing is charged.
    pub fn authorize(
        &mut self,
        holder: AgentId,
        need: &Need,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<GrantId, Refusal> {
        let grant = self.choose(holder, need, charge, now)?;
        let mut next = Some(grant);
        while let Some(current) = next.and_then(|id| self.grants.get_mut(&id)) {
            current
                .spent
                .charge(&current.capability.limits, charge, now);
            next = current.parent;
        }
        Ok(grant)
    }

    /// Whether an act would be allowed now, for display. Nothing is charged; only [`Table::authorize`] lets an act happen.
    ///
    /// # Errors
    /// As [`Table::authorize`].
    pub fn check(&self, holder: AgentId, need: &Need, now: Timestamp) -> Result<GrantId, Refusal> {
        self.choose(holder, need, &Charge::USE, now)
    }

    /// Charges bytes that became known only after the act, to the grant and all it came from.
    ///
    /// # Errors
    /// There is no such grant, or the bytes go over a limit. They are charged all the same, so that the next act is
    /// refused.
    pub fn settle_bytes(&mut self, grant: GrantId, bytes: u64) -> Result<(), Refusal> {
        self.settle(
            grant,
            Charge {
                bytes,
                ..Charge::USE
            },
        )
    }

    /// Charges money that became known only after the act, to the grant and all it came from.
    ///
    /// # Errors
    /// As [`Table::settle_bytes`].
    pub fn settle_money(&mut self, grant: GrantId, money: MicroDollars) -> Result<(), Refusal> {
        self.settle(
            grant,
            Charge {
                money,
                ..Charge::USE
            },
        )
    }

    fn settle(&mut self, grant: GrantId, charge: Charge) -> Result<(), Refusal> {
        if !self.grants.contains_key(&grant) {
            return Err(Refusal::UnknownGrant);
        }
        let mut result = Ok(());
        let mut next = Some(grant);
        while let Some(current) = next.and_then(|id| self.grants.get_mut(&id)) {
            let Grant {
                spent,
                capability: Capability { limits, .. },
                parent,
                ..
            } = current;
            spent.bytes = spent.bytes.saturating_add(charge.bytes);
            spent.money = spent.money.saturating_add(charge.money.0);
            if let Some(limit) = limits.bytes.filter(|limit| spent.bytes > *limit) {
                result = Err(Refusal::BytesExhausted { limit });
            }
            if let Some(limit) = limits
                .money
                .map(|money| money.0)
                .filter(|limit| spent.money > *limit)
            {
                result = Err(Refusal::MoneyExhausted { limit });
            }
            next = *parent;
        }
        result
    }

    /// Puts a grant back as it is recorded: what could be spent by then is not asked again. One whose parent is revoked
    /// is revoked.
    ///
    /// # Errors
    /// The parent is unknown, `wanted` exceeds it, or there is no room; the table is unchanged.
    pub fn restore(
        &mut self,
        grant: GrantId,
        parent: Option<GrantId>,
        holder: AgentId,
        wanted: Capability,
    ) -> Result<(), Refusal> {
        self.room_for(grant, holder)?;
        let Some(above) = parent else {
            self.insert(grant, holder, wanted, None);
            return Ok(());
        };
        let from = self.grants.get(&above).ok_or(Refusal::UnknownGrant)?;
        let state = from.state;
        let capability = from
            .capability
            .attenuate(wanted)
            .map_err(Refusal::Amplifies)?;
        self.insert(grant, holder, capability, parent);
        if let Some(put_back) = self.grants.get_mut(&grant) {
            put_back.state = state;
        }
        Ok(())
    }

    /// Charges what a call took, as it is recorded, to a grant and all it came from, whatever their limits. A grant
    /// that is gone is charged nothing.
    pub fn restore_use(&mut self, grant: GrantId, uses: u64, bytes: u64, at: Timestamp) {
        let mut next = Some(grant);
        while let Some(current) = next.and_then(|id| self.grants.get_mut(&id)) {
            let limits = &current.capability.limits;
            current.spent.restore(limits, uses, bytes, at);
            next = current.parent;
        }
    }

    /// Ends a grant and everything that came from it, and says which grants of whom ended now, so that their calls in
    /// flight can be ended too. Law: afterwards none of them is live, and no other grant is touched.
    pub fn revoke(&mut self, grant: GrantId) -> Vec<(GrantId, AgentId)> {
        let mut ended = Vec::new();
        let mut waiting = vec![grant];
        while let Some(id) = waiting.pop() {
            let Some(current) = self.grants.get_mut(&id) else {
                continue;
            };
            if current.state == State::Held {
                current.state = State::Revoked;
                // What it came to is forgotten with it; its descendants are revoked now and never looked up through it.
                waiting.append(&mut current.children);
                ended.push((id, current.holder));
            }
        }
        ended
    }

    /// Ends every grant of an agent and everything that came from them; says which ended now, other holders' included.
    pub fn revoke_holder(&mut self, holder: AgentId) -> Vec<GrantId> {
        let held = self.holders.get(&holder).cloned().unwrap_or_default();
        held.into_iter()
            .flat_map(|grant| self.revoke(grant))
            .map(|(grant, _)| grant)
            .collect()
    }

    /// Revokes and removes every grant of an agent that is gone; says which ended now, other holders' included.
    pub fn forget(&mut self, holder: AgentId) -> Vec<GrantId> {
        let ended = self.revoke_holder(holder);
        for id in self.holders.remove(&holder).unwrap_or_default() {
            let parent = self.grants.remove(&id).and_then(|grant| grant.parent);
            if let Some(parent) = parent.and_then(|parent| self.grants.get_mut(&parent)) {
                parent.children.retain(|child| *child != id);
            }
        }
        ended
    }

    /// What a grant allows.
    #[must_use]
    pub fn capability(&self, grant: GrantId) -> Option<&Capability> {
        self.grants.get(&grant).map(|grant| &grant.capability)
    }

    /// The grant it was made from.
    #[must_use]
    pub fn parent(&self, grant: GrantId) -> Option<GrantId> {
        self.grants.get(&grant).and_then(|grant| grant.parent)
    }

    /// What an agent holds that is neither revoked nor expired, in the order it was given.
    #[must_use]
    pub fn held(&self, holder: AgentId, now: Timestamp) -> Vec<(GrantId, Capability)> {
        let live = self
            .of_holder(holder)
            .filter(|(_, grant)| grant.live(now).is_ok());
        live.map(|(id, grant)| (id, grant.capability.clone()))
            .collect()
    }

    /// Everything an agent was given, also what is revoked, expired or spent by now, in the order it was given.
    #[must_use]
    pub fn given(&self, holder: AgentId) -> Vec<Capability> {
        let grants = self.holders.get(&holder).into_iter().flatten();
        let known = grants.filter_map(|grant| self.grants.get(grant));
        known.map(|grant| grant.capability.clone()).collect()
    }

    /// Whether a grant is known, not revoked and not expired.
    #[must_use]
    pub fn live(&self, grant: GrantId, now: Timestamp) -> bool {
        self.grants
            .get(&grant)
            .is_some_and(|grant| grant.live(now).is_ok())
    }

    fn of_holder(&self, holder: AgentId) -> impl Iterator<Item = (GrantId, &Grant)> {
        let ids = self.holders.get(&holder).map_or(&[][..], Vec::as_slice);
        ids.iter()
            .filter_map(|id| self.grants.get(id).map(|grant| (*id, grant)))
    }

    /// A grant and all it came from, nearest first.
    fn line_of(&self, grant: GrantId) -> impl Iterator<Item = &Grant> {
        let above = |grant: &&Grant| grant.parent.and_then(|id| self.grants.get(&id));
        std::iter::successors(self.grants.get(&grant), above).take(DEPTH_MAX)
    }

    fn choose(
        &self,
        holder: AgentId,
        need: &Need,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<GrantId, Refusal> {
        let mut best = Best::default();
        // Of grants that would do, one that names secrets comes first: a request that carries one needs it.
        let of_kind = |naming: bool| {
            self.of_holder(holder).filter(move |(_, grant)| {
                (grant.capability.secrets().next().is_some() == naming)
                    && grant.capability.allows(need)
            })
        };
        for (id, grant) in of_kind(true).chain(of_kind(false)) {
            match self.chargeable(id, grant, charge, now) {
                Ok(()) => return Ok(id),
                Err(refusal) => best.refused(refusal),
            }
        }
        if let (None, Ok(resource)) = (&best.refusal, need.as_resource()) {
            for (_, grant) in self.of_holder(holder) {
                // Nothing can be nearer, and a comparison in words costs more than all the others.
                if best.closeness() >= resource.closeness_max() {
                    break;
                }
                if grant.live(now).is_err() {
                    continue;
                }
                if let Some(excess) = grant.capability.resource.excess(&resource) {
                    best.nearest(excess);
                }
            }
        }
        Err(best.refusal(|| need.to_string()))
    }

    fn chargeable(
        &self,
        id: GrantId,
        grant: &Grant,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        grant.live(now)?;
        let refused = self.line_of(id).find_map(|above| {
            above
                .live(now)
                .err()
                .or_else(|| above.spent.refusal(&above.capability.limits, charge, now))
        });
        refused.map_or(Ok(()), Err)
    }

    /// Refuses if a grant, or one it came from, has nothing left. A rate recovers and is no reason.
    fn spent_along(&self, grant: GrantId) -> Result<(), Refusal> {
        let spent_out = |grant: &Grant| {
            let limits = Limits {
                rate: None,
                ..grant.capability.limits
            };
            grant
                .spent
                .refusal(&limits, &Charge::USE, Timestamp::default())
        };
        self.line_of(grant).find_map(spent_out).map_or(Ok(()), Err)
    }

    fn room_for(&self, grant: GrantId, holder: AgentId) -> Result<(), Refusal> {
        if self.grants.contains_key(&grant) {
            return Err(Refusal::GrantTaken);
        }
        if self.grants.len() >= GRANTS_MAX {
            return Err(Refusal::TableFull { limit: GRANTS_MAX });
        }
        if self
            .holders
            .get(&holder)
            .is_some_and(|held| held.len() >= HOLDER_GRANTS_MAX)
        {
            return Err(Refusal::TableFull {
                limit: HOLDER_GRANTS_MAX,
            });
        }
        Ok(())
    }

    fn insert(
        &mut self,
        id: GrantId,
        holder: AgentId,
        capability: Capability,
        parent: Option<GrantId>,
    ) {
        let mut depth = 0;
        if let Some(above) = parent.and_then(|parent| self.grants.get_mut(&parent)) {
            above.children.push(id);
            depth = above.depth + 1;
        }
        let grant = Grant {
            holder,
            capability,
            parent,
            children: Vec::new(),
            depth,
            state: State::Held,
            spent: Spent::default(),
        };
        self.grants.insert(id, grant);
        self.holders.entry(holder).or_default().push(id);
    }
}

/// The most useful reason found so far.
#[derive(Default)]
struct Best {
    refusal: Option<Refusal>,
    nearest: Option<Excess>,
}

impl Best {
    /// Of grants that would do, one that is spent says more than one that is gone.
    fn refused(&mut self, refusal: Refusal) {
        if !matches!(
            (&self.refusal, &refusal),
            (Some(_), Refusal::Revoked | Refusal::Expired)
        ) {
            self.refusal = Some(refusal);
        }
    }

    /// How near the nearest came; being of another kind is no nearness at all.
    fn closeness(&self) -> u8 {
        self.nearest.as_ref().map_or(0, Excess::closeness)
    }

    fn nearest(&mut self, excess: Excess) {
        if excess.closeness() > self.closeness() {
            self.nearest = Some(excess);
        }
    }

    fn refusal(self, need: impl FnOnce() -> String) -> Refusal {
        self.refusal.unwrap_or_else(|| Refusal::NotHeld {
            need: need(),
            nearest: self.nearest,
        })
    }
}
