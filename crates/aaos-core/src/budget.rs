//! Budgets: what a run may use, shared by the whole tree of its agents. No child escapes it.
//!
//! Every model request reserves its worst case before it is sent and settles what it truly used afterwards. What does
//! not fit is refused. The ledger counts and never waits; time is compared elsewhere, by those who have a clock.

use crate::{
    failure::{Failure, LimitKind},
    id::AgentId,
    model::Usage,
    money::MicroDollars,
    time::Span,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a run, or an agent and all below it, may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Most tokens, read and written together.
    pub tokens: u64,
    /// Most money.
    pub cost: MicroDollars,
    /// Longest time.
    pub wall_clock: Span,
    /// Most tool calls.
    pub calls: u64,
    /// Most agents, started over the whole time.
    pub agents: u64,
    /// Most agents below one another, beneath the first.
    pub depth: u32,
    /// Most children of one agent, over the whole time.
    pub fan_out: u32,
}

impl Default for Budget {
    /// Enough for an hour of many agents, and a bound on what a mistake costs: five dollars.
    fn default() -> Self {
        Self {
            tokens: 5_000_000,
            cost: MicroDollars(5_000_000),
            wall_clock: Span::from_secs(3_600),
            calls: 100_000,
            agents: 20_000,
            depth: 5,
            fan_out: 10_000,
        }
    }
}

/// A limit stood in the way. Nothing was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} ({used} of {allowed} used or reserved, {wanted} more wanted)", kind.words())]
pub struct Refused {
    /// Which limit.
    pub kind: LimitKind,
    /// Its value, in its own unit.
    pub allowed: u64,
    /// What is used and reserved.
    pub used: u64,
    /// What was asked for.
    pub wanted: u64,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Limit {
            kind: refused.kind,
            limit: refused.allowed,
        }
    }
}

/// What has been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub cost: MicroDollars,
    /// Tool calls.
    pub calls: u64,
    /// Agents started.
    pub agents: u64,
}

/// Tokens and money set aside for one request. It ends in [`Ledger::settle`] or [`Ledger::release`]; there is no
/// other way to give it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation is settled or released, or it is held for ever"]
pub struct Reservation {
    agent: Option<AgentId>,
    tokens: u64,
    cost: MicroDollars,
}

impl Reservation {
    /// Tokens set aside.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// What one agent and all below it use.
#[derive(Debug, Clone, Copy)]
struct Account {
    limit: Option<Budget>,
    spent: Spent,
    tokens_reserved: u64,
    cost_reserved: MicroDollars,
}

impl Account {
    const fn new(limit: Option<Budget>) -> Self {
        let spent = Spent {
            tokens: 0,
            cost: MicroDollars::ZERO,
            calls: 0,
            agents: 0,
        };
        Self {
            limit,
            spent,
            tokens_reserved: 0,
            cost_reserved: MicroDollars::ZERO,
        }
    }

    fn fits(&self, tokens: u64, cost: MicroDollars) -> Result<(), Refused> {
        let Some(limit) = &self.limit else {
            return Ok(());
        };
        let used = self.spent.tokens.saturating_add(self.tokens_reserved);
        within(LimitKind::Tokens, limit.tokens, used, tokens)?;
        let used = self.spent.cost.plus(self.cost_reserved);
        within(LimitKind::Cost, limit.cost.0, used.0, cost.0)
    }

    fn call_fits(&self) -> Result<(), Refused> {
        self.limit.as_ref().map_or(Ok(()), |limit| {
            within(LimitKind::Calls, limit.calls, self.spent.calls, 1)
        })
    }

    /// Whether one more agent fits, `below` levels beneath this account's owner.
    fn agent_fits(&self, below: u32) -> Result<(), Refused> {
        let Some(limit) = &self.limit else {
            return Ok(());
        };
        within(LimitKind::Agents, limit.agents, self.spent.agents, 1)?;
        within(
            LimitKind::Depth,
            u64::from(limit.depth),
            0,
            u64::from(below),
        )
    }

    const fn give_back(&mut self, tokens: u64, cost: MicroDollars) {
        self.tokens_reserved = self.tokens_reserved.saturating_sub(tokens);
        self.cost_reserved = self.cost_reserved.minus(cost);
    }
}

const fn within(kind: LimitKind, allowed: u64, used: u64, wanted: u64) -> Result<(), Refused> {
    match used.checked_add(wanted) {
        Some(sum) if sum <= allowed => Ok(()),
        _ => Err(Refused {
            kind,
            allowed,
            used,
            wanted,
        }),
    }
}

/// An agent's place in the tree.
#[derive(Debug, Clone, Copy)]
struct Node {
    account: Account,
    parent: Option<AgentId>,
    children: u32,
    /// Children and reservations that still lead here.
    held: u32,
    closed: bool,
}

/// The books of one run.
#[derive(Debug, Clone)]
pub struct Ledger {
    run: Account,
    nodes: BTreeMap<AgentId, Node>,
}

impl Ledger {
    /// Books for a run with this budget.
    #[must_use]
    pub const fn new(budget: Budget) -> Self {
        Self {
            run: Account::new(Some(budget)),
            nodes: BTreeMap::new(),
        }
    }

    /// Enters an agent. Entering one that is there already changes nothing.
    ///
    /// # Errors
    /// The run, or a budget above it, allows no more agents, none so deep, or its parent no more children; or its
    /// parent is not open.
    pub fn open(&mut self, agent: AgentId, parent: Option<AgentId>) -> Result<(), Refused> {
        if self.nodes.contains_key(&agent) {
            return Ok(());
        }
        self.may_open(parent)?;
        if let Some(above) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            above.children = above.children.saturating_add(1);
            above.held = above.held.saturating_add(1);
        }
        self.upward(parent, |account| {
            account.spent.agents = account.spent.agents.saturating_add(1)
        });
        let account = Account::new(None);
        self.nodes.insert(
            agent,
            Node {
                account,
                parent,
                children: 0,
                held: 0,
                closed: false,
            },
        );
        Ok(())
    }

    fn may_open(&self, parent: Option<AgentId>) -> Result<(), Refused> {
        let above = self.above(parent)?;
        if let Some(node) = parent.and_then(|parent| self.nodes.get(&parent)) {
            let limits = above
                .iter()
                .filter_map(|account| account.limit.map(|limit| limit.fan_out));
            let fan_out = limits.min().unwrap_or(u32::MAX);
            within(
                LimitKind::FanOut,
                u64::from(fan_out),
                u64::from(node.children),
                1,
            )?;
        }
        // The run itself is the last account, one level above the first agents, which count as no depth at all.
        let levels = above.len() - 1;
        for (level, account) in above.iter().enumerate() {
            let below = if level == levels { level } else { level + 1 };
            account.agent_fits(u32::try_from(below).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    /// Takes an agent out. What it and its children have used stays counted.
    pub fn close(&mut self, agent: AgentId) {
        if let Some(node) = self.nodes.get_mut(&agent) {
            node.closed = true;
        }
        self.tidy(agent);
    }

    /// Gives an agent, and everything below it, a budget of its own beside those above. What they have used already
    /// counts.
    pub fn limit(&mut self, agent: AgentId, budget: Budget) {
        if let Some(node) = self.nodes.get_mut(&agent) {
            node.account.limit = Some(budget);
        }
    }

    /// Counts a tool call.
    ///
    /// # Errors
    /// The run, or a budget above the agent, allows no more; or the agent is not open.
    pub fn call(&mut self, agent: AgentId) -> Result<(), Refused> {
        self.above(Some(agent))?
            .into_iter()
            .try_for_each(Account::call_fits)?;
        self.upward(Some(agent), |account| {
            account.spent.calls = account.spent.calls.saturating_add(1)
        });
        Ok(())
    }

    /// Sets aside the worst case of an agent's request.
    ///
    /// # Errors
    /// It does not fit in what the run, or a budget above the agent, has left; or the agent is not open.
    pub fn reserve(
        &mut self,
        agent: AgentId,
        tokens: u64,
        cost: MicroDollars,
    ) -> Result<Reservation, Refused> {
        self.reserve_at(Some(agent), tokens, cost)
    }

    /// Sets aside the worst case of a request the run makes for itself, as for a plan.
    ///
    /// # Errors
    /// It does not fit in what the run has left.
    pub fn reserve_for_run(
        &mut self,
        tokens: u64,
        cost: MicroDollars,
    ) -> Result<Reservation, Refused> {
        self.reserve_at(None, tokens, cost)
    }

    fn reserve_at(
        &mut self,
        agent: Option<AgentId>,
        tokens: u64,
        cost: MicroDollars,
    ) -> Result<Reservation, Refused> {
        self.above(agent)?
            .into_iter()
            .try_for_each(|account| account.fits(tokens, cost))?;
        self.upward(agent, |account| {
            account.tokens_reserved = account.tokens_reserved.saturating_add(tokens);
            account.cost_reserved = account.cost_reserved.plus(cost);
        });
        if let Some(node) = agent.and_then(|agent| self.nodes.get_mut(&agent)) {
            node.held = node.held.saturating_add(1);
        }
        Ok(Reservation {
            agent,
            tokens,
            cost,
        })
    }

    /// Counts what a request truly used and gives the rest back. Use beyond the reservation is a fact and is counted
    /// too; the next request then finds less.
    pub fn settle(&mut self, reservation: Reservation, usage: Usage) {
        let Reservation {
            agent,
            tokens,
            cost,
        } = reservation;
        self.upward(agent, |account| {
            account.give_back(tokens, cost);
            account.spent.tokens = account.spent.tokens.saturating_add(usage.tokens());
            account.spent.cost = account.spent.cost.plus(usage.cost);
        });
        self.let_go(agent);
    }

    /// Gives a reservation back whose request was never answered.
    pub fn release(&mut self, reservation: Reservation) {
        let Reservation {
            agent,
            tokens,
            cost,
        } = reservation;
        self.upward(agent, |account| account.give_back(tokens, cost));
        self.let_go(agent);
    }

    /// What the whole run has used.
    #[must_use]
    pub const fn spent(&self) -> Spent {
        self.run.spent
    }

    /// What an agent and everything below it have used; none if it is gone.
    #[must_use]
    pub fn spent_by(&self, agent: AgentId) -> Option<Spent> {
        self.nodes.get(&agent).map(|node| node.account.spent)
    }

    /// What the whole run has used and set aside: tokens, money.
    #[must_use]
    pub const fn committed(&self) -> (u64, MicroDollars) {
        let Account {
            spent,
            tokens_reserved,
            cost_reserved,
            ..
        } = self.run;
        (
            spent.tokens.saturating_add(tokens_reserved),
            spent.cost.plus(cost_reserved),
        )
    }

    /// The accounts from an agent's own up to the run's, which comes last.
    fn above(&self, agent: Option<AgentId>) -> Result<Vec<&Account>, Refused> {
        let mut accounts = Vec::new();
        let mut here = agent;
        while let Some(id) = here {
            let not_open = Refused {
                kind: LimitKind::Agents,
                allowed: 0,
                used: 0,
                wanted: 1,
            };
            let node = self.nodes.get(&id).ok_or(not_open)?;
            if node.closed && accounts.is_empty() {
                return Err(not_open);
            }
            accounts.push(&node.account);
            here = node.parent;
        }
        accounts.push(&self.run);
        Ok(accounts)
    }

    fn upward(&mut self, agent: Option<AgentId>, change: impl Fn(&mut Account)) {
        let mut here = agent;
        while let Some(node) = here.and_then(|id| self.nodes.get_mut(&id)) {
            change(&mut node.account);
            here = node.parent;
        }
        change(&mut self.run);
    }

    fn let_go(&mut self, agent: Option<AgentId>) {
        let Some(id) = agent else { return };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.held = node.held.saturating_sub(1);
        }
        self.tidy(id);
    }

    /// Forgets agents that are closed and that nothing leads to any more, upward.
    fn tidy(&mut self, agent: AgentId) {
        let mut here = Some(agent);
        while let Some(id) = here {
            let Some(node) = self.nodes.get(&id).copied() else {
                return;
            };
            if !node.closed || node.held > 0 {
                return;
            }
            self.nodes.remove(&id);
            here = node.parent;
            if let Some(parent) = here.and_then(|parent| self.nodes.get_mut(&parent)) {
                parent.held = parent.held.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const ROOT: AgentId = AgentId::from_drawn(1);
    const CHILD: AgentId = AgentId::from_drawn(2);

    fn ledger(budget: Budget) -> Ledger {
        let mut ledger = Ledger::new(budget);
        ledger.open(ROOT, None).unwrap();
        ledger
    }

    fn tokens(tokens: u64) -> Budget {
        Budget {
            tokens,
            ..Budget::default()
        }
    }

    fn used(tokens: u64) -> Usage {
        Usage {
            input_tokens: tokens,
            ..Usage::default()
        }
    }

    #[test]
    fn what_is_reserved_cannot_be_reserved_again_and_the_rest_comes_back() {
        let mut ledger = ledger(tokens(100));
        let first = ledger.reserve(ROOT, 80, MicroDollars::ZERO).unwrap();
        let refused = ledger.reserve(ROOT, 21, MicroDollars::ZERO).unwrap_err();
        assert_eq!(
            refused,
            Refused {
                kind: LimitKind::Tokens,
                allowed: 100,
                used: 80,
                wanted: 21
            }
        );
        ledger.settle(first, used(30));
        assert_eq!(ledger.spent().tokens, 30);
        let second = ledger.reserve(ROOT, 70, MicroDollars::ZERO).unwrap();
        ledger.release(second);
        assert_eq!(ledger.committed(), (30, MicroDollars::ZERO));
    }

    #[test]
    fn money_is_a_limit_of_its_own() {
        let mut ledger = ledger(Budget {
            cost: MicroDollars(10),
            ..Budget::default()
        });
        assert_eq!(
            ledger.reserve(ROOT, 1, MicroDollars(11)).unwrap_err().kind,
            LimitKind::Cost
        );
        assert_eq!(ledger.committed(), (0, MicroDollars::ZERO));
    }

    #[test]
    fn children_draw_on_the_same_budget() {
        let mut ledger = ledger(tokens(100));
        ledger.open(CHILD, Some(ROOT)).unwrap();
        let reservation = ledger.reserve(CHILD, 60, MicroDollars::ZERO).unwrap();
        ledger.settle(reservation, used(60));
        ledger.close(CHILD);
        assert_eq!(ledger.spent_by(ROOT).unwrap().tokens, 60);
        assert!(ledger.reserve(ROOT, 41, MicroDollars::ZERO).is_err());
    }

    #[test]
    fn an_agents_own_budget_binds_everything_below_it() {
        let mut ledger = ledger(tokens(1_000));
        ledger.limit(
            ROOT,
            Budget {
                calls: 1,
                ..tokens(50)
            },
        );
        ledger.open(CHILD, Some(ROOT)).unwrap();
        assert_eq!(
            ledger
                .reserve(CHILD, 51, MicroDollars::ZERO)
                .unwrap_err()
                .allowed,
            50
        );
        ledger.call(CHILD).unwrap();
        assert_eq!(ledger.call(CHILD).unwrap_err().kind, LimitKind::Calls);
        assert_eq!(ledger.call(ROOT).unwrap_err().kind, LimitKind::Calls);
    }

    #[test]
    fn agents_are_bounded_in_number_depth_and_children() {
        let id = AgentId::from_drawn;
        let mut few = ledger(Budget {
            agents: 2,
            ..Budget::default()
        });
        few.open(CHILD, None).unwrap();
        few.close(CHILD);
        assert_eq!(few.open(id(3), None).unwrap_err().kind, LimitKind::Agents);
        let mut flat = ledger(Budget {
            depth: 1,
            ..Budget::default()
        });
        flat.open(CHILD, Some(ROOT)).unwrap();
        assert_eq!(
            flat.open(id(3), Some(CHILD)).unwrap_err().kind,
            LimitKind::Depth
        );
        let mut narrow = ledger(Budget {
            fan_out: 1,
            ..Budget::default()
        });
        narrow.open(CHILD, Some(ROOT)).unwrap();
        narrow.close(CHILD);
        assert_eq!(
            narrow.open(id(3), Some(ROOT)).unwrap_err().kind,
            LimitKind::FanOut
        );
    }

    #[test]
    fn depth_counts_from_the_agent_whose_budget_it_is() {
        let id = AgentId::from_drawn;
        let mut ledger = ledger(Budget::default());
        ledger.limit(
            ROOT,
            Budget {
                depth: 1,
                ..Budget::default()
            },
        );
        ledger.open(CHILD, Some(ROOT)).unwrap();
        assert_eq!(
            ledger.open(id(3), Some(CHILD)).unwrap_err().kind,
            LimitKind::Depth
        );
    }

    #[test]
    fn a_stranger_and_a_closed_agent_get_nothing() {
        let mut ledger = ledger(Budget::default());
        assert!(ledger.call(CHILD).is_err());
        assert!(ledger.open(CHILD, Some(AgentId::from_drawn(9))).is_err());
        ledger.open(CHILD, Some(ROOT)).unwrap();
        ledger.close(ROOT);
        assert!(ledger.reserve(ROOT, 1, MicroDollars::ZERO).is_err());
        assert!(ledger.call(CHILD).is_ok());
    }

    #[test]
    fn a_late_settlement_still_reaches_the_run_and_nothing_is_left_behind() {
        let mut ledger = ledger(tokens(100));
        ledger.open(CHILD, Some(ROOT)).unwrap();
        let late = ledger.reserve(CHILD, 50, MicroDollars::ZERO).unwrap();
        ledger.close(ROOT);
        ledger.close(CHILD);
        ledger.settle(late, used(20));
        assert_eq!(ledger.committed().0, 20);
        assert!(ledger.nodes.is_empty());
    }

    #[test]
    fn the_run_reserves_for_its_own_requests() {
        let mut ledger = Ledger::new(tokens(10));
        let plan = ledger.reserve_for_run(10, MicroDollars::ZERO).unwrap();
        assert!(ledger.reserve_for_run(1, MicroDollars::ZERO).is_err());
        ledger.settle(plan, used(12));
        assert_eq!(ledger.spent().tokens, 12);
        assert!(ledger.reserve_for_run(1, MicroDollars::ZERO).is_err());
    }
}
