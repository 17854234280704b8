//! Budgets: what a run may use, shared by the whole tree of its agents. No child escapes it.
//!
//! Every model request reserves its worst case before it is sent and settles what it truly used afterwards. What does
//! not fit is refused. Beside the run's account there may be one for a role: all its agents together, with everything
//! below them. The ledger counts and never waits; time is compared elsewhere, by those who have a clock.

mod restored;

use crate::{
    failure::{Failure, LimitKind},
    id::{AgentId, RoleName},
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
#[error("{} ({} of {} used or reserved, {} more wanted)", kind.words(), kind.amount(*used), kind.amount(*allowed), kind.amount(*wanted))]
pub struct Refused {
    /// Which limit.
    pub kind: LimitKind,
    /// Its value, in its own unit.
    pub allowed: u64,
    /// What is used and reserved.
    pub used: u64,
    /// Of that, what is reserved: some of it may come back.
    pub reserved: u64,
    /// What was asked for.
    pub wanted: u64,
}

impl Refused {
    /// Whether it may fit once others have settled what they reserved.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        let spent = self.used.saturating_sub(self.reserved);
        match spent.checked_add(self.wanted) {
            Some(sum) => sum <= self.allowed,
            None => false,
        }
    }
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

    /// Money set aside.
    #[must_use]
    pub const fn cost(&self) -> MicroDollars {
        self.cost
    }

    /// All of it, as what a request cost at worst of which nobody knows.
    #[must_use]
    pub const fn worst(&self) -> Usage {
        Usage::worst(self.tokens, self.cost)
    }
}

/// What is spent and what is set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Spent for good.
    pub spent: Spent,
    /// Tokens set aside.
    pub tokens_reserved: u64,
    /// Money set aside.
    pub cost_reserved: MicroDollars,
}

impl Tally {
    /// Whether so much more stays within these limits. The tokens come first.
    ///
    /// # Errors
    /// It does not.
    pub fn fits(
        &self,
        limits: (u64, MicroDollars),
        tokens: u64,
        cost: MicroDollars,
    ) -> Result<(), Refused> {
        let used = (self.spent.tokens, self.tokens_reserved);
        within(LimitKind::Tokens, limits.0, used, tokens)?;
        let used = (self.spent.cost.0, self.cost_reserved.0);
        within(LimitKind::Cost, limits.1.0, used, cost.0)
    }

    /// Sets so much aside.
    pub const fn set_aside(&mut self, tokens: u64, cost: MicroDollars) {
        self.tokens_reserved = self.tokens_reserved.saturating_add(tokens);
        self.cost_reserved = self.cost_reserved.plus(cost);
    }

    /// Gives back what was set aside.
    pub const fn give_back(&mut self, tokens: u64, cost: MicroDollars) {
        self.tokens_reserved = self.tokens_reserved.saturating_sub(tokens);
        self.cost_reserved = self.cost_reserved.minus(cost);
    }

    /// Counts what was used.
    pub const fn spend(&mut self, usage: Usage) {
        self.spent.tokens = self.spent.tokens.saturating_add(usage.tokens());
        self.spent.cost = self.spent.cost.plus(usage.cost);
    }

    const fn count_call(&mut self) {
        self.spent.calls = self.spent.calls.saturating_add(1);
    }

    const fn count_agent(&mut self) {
        self.spent.agents = self.spent.agents.saturating_add(1);
    }
}

/// A tally and what it must stay within.
#[derive(Debug, Clone, Copy)]
struct Account {
    limit: Budget,
    tally: Tally,
}

impl Account {
    const fn new(limit: Budget) -> Self {
        let spent = Spent {
            tokens: 0,
            cost: MicroDollars::ZERO,
            calls: 0,
            agents: 0,
        };
        let tally = Tally {
            spent,
            tokens_reserved: 0,
            cost_reserved: MicroDollars::ZERO,
        };
        Self { limit, tally }
    }

    fn fits(&self, tokens: u64, cost: MicroDollars) -> Result<(), Refused> {
        self.tally
            .fits((self.limit.tokens, self.limit.cost), tokens, cost)
    }

    fn call_fits(&self) -> Result<(), Refused> {
        let used = (self.tally.spent.calls, 0);
        within(LimitKind::Calls, self.limit.calls, used, 1)
    }

    /// Whether one more agent fits, `below` levels beneath the first one of this account.
    fn agent_fits(&self, below: usize) -> Result<(), Refused> {
        let used = (self.tally.spent.agents, 0);
        within(LimitKind::Agents, self.limit.agents, used, 1)?;
        let below = u64::try_from(below).unwrap_or(u64::MAX);
        within(LimitKind::Depth, u64::from(self.limit.depth), (0, 0), below)
    }

    /// More by as much as `after` is more than `before`.
    fn raise(&mut self, before: Budget, after: Budget) {
        let raised = |limit: u64, before: u64, after: u64| {
            limit.saturating_add(after.saturating_sub(before))
        };
        let limit = &mut self.limit;
        limit.tokens = raised(limit.tokens, before.tokens, after.tokens);
        limit.cost = MicroDollars(raised(limit.cost.0, before.cost.0, after.cost.0));
        limit.calls = raised(limit.calls, before.calls, after.calls);
        limit.agents = raised(limit.agents, before.agents, after.agents);
    }
}

/// `used` is what is spent and what is reserved.
fn within(kind: LimitKind, allowed: u64, used: (u64, u64), wanted: u64) -> Result<(), Refused> {
    let (spent, reserved) = used;
    let used = spent.saturating_add(reserved);
    match used.checked_add(wanted) {
        Some(sum) if sum <= allowed => Ok(()),
        _ => Err(Refused {
            kind,
            allowed,
            used,
            reserved,
            wanted,
        }),
    }
}

/// An agent's place in the tree.
#[derive(Debug, Clone)]
struct Node {
    /// What it and everything below it use.
    tally: Tally,
    parent: Option<AgentId>,
    /// Its role, if that has an account.
    role: Option<RoleName>,
    children: u32,
    /// Children and reservations that still lead here.
    held: u32,
    closed: bool,
}

/// Whom an agent's acts are charged to.
struct Payers {
    /// The agents from it upward.
    agents: Vec<AgentId>,
    /// Each role with an account once, with the place in `agents` of its outermost agent.
    roles: BTreeMap<RoleName, usize>,
}

/// The books of one run.
#[derive(Debug, Clone)]
pub struct Ledger {
    run: Account,
    roles: BTreeMap<RoleName, Account>,
    nodes: BTreeMap<AgentId, Node>,
    /// Requests that were in flight when the daemon ended, by whose they are.
    lost: BTreeMap<Option<AgentId>, restored::Lost>,
}

impl Ledger {
    /// Books for a run with this budget.
    #[must_use]
    pub const fn new(budget: Budget) -> Self {
        Self {
            run: Account::new(budget),
            roles: BTreeMap::new(),
            nodes: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// With an account for each of these roles: all its agents together, and everything below them. Its wall clock is
    /// left to those who have a clock.
    #[must_use]
    pub fn with_roles(mut self, budgets: &BTreeMap<RoleName, Budget>) -> Self {
        let account = |(role, budget): (&RoleName, &Budget)| (role.clone(), Account::new(*budget));
        self.roles = budgets.iter().map(account).collect();
        self
    }

    /// The run's budget, as last raised.
    #[must_use]
    pub const fn budget(&self) -> Budget {
        self.run.limit
    }

    /// Gives the run another budget. Every role may use as much more as the run does, so that one that waits at its
    /// role's limit goes on too.
    pub fn raise(&mut self, budget: Budget) {
        let before = self.run.limit;
        self.run.limit = budget;
        self.roles
            .values_mut()
            .for_each(|role| role.raise(before, budget));
    }

    /// Enters an agent. Entering one that is there already changes nothing.
    ///
    /// # Errors
    /// The run, or a role at or above the agent, allows no more agents, none so deep, or its parent no more children;
    /// or its parent is not open.
    pub fn open(
        &mut self,
        agent: AgentId,
        parent: Option<AgentId>,
        role: &RoleName,
    ) -> Result<(), Refused> {
        if self.nodes.contains_key(&agent) {
            return Ok(());
        }
        self.may_open(parent, role)?;
        self.enter(agent, parent, role);
        Ok(())
    }

    fn may_open(&self, parent: Option<AgentId>, role: &RoleName) -> Result<(), Refused> {
        let payers = self.open_payers(parent)?;
        let of_roles = || payers.roles.keys().filter_map(|role| self.roles.get(role));
        if let Some(node) = parent.and_then(|parent| self.nodes.get(&parent)) {
            let limits = of_roles().map(|account| account.limit.fan_out);
            let fan_out = limits.fold(self.run.limit.fan_out, u32::min);
            let used = (u64::from(node.children), 0);
            within(LimitKind::FanOut, u64::from(fan_out), used, 1)?;
        }
        // The first agents of the run count as no depth at all, as does the first of a role.
        self.run.agent_fits(payers.agents.len())?;
        for (above, outermost) in &payers.roles {
            let account = self.roles.get(above);
            account
                .map_or(Ok(()), |account| account.agent_fits(outermost + 1))
                .map_err(of_role)?;
        }
        match self.roles.get(role) {
            Some(account) if !payers.roles.contains_key(role) => {
                account.agent_fits(0).map_err(of_role)
            }
            _ => Ok(()),
        }
    }

    /// Counts an agent and gives it its place.
    fn enter(&mut self, agent: AgentId, parent: Option<AgentId>, role: &RoleName) {
        if let Some(above) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            above.children = above.children.saturating_add(1);
            above.held = above.held.saturating_add(1);
        }
        self.nodes.insert(
            agent,
            Node {
                tally: Tally::default(),
                parent,
                role: self.roles.contains_key(role).then(|| role.clone()),
                children: 0,
                held: 0,
                closed: false,
            },
        );
        self.upward(Some(agent), Tally::count_agent);
        // An agent is not below itself.
        if let Some(node) = self.nodes.get_mut(&agent) {
            node.tally = Tally::default();
        }
    }

    /// Takes an agent out. What it and its children have used stays counted.
    pub fn close(&mut self, agent: AgentId) {
        if let Some(node) = self.nodes.get_mut(&agent) {
            node.closed = true;
        }
        self.tidy(agent);
    }

    /// Counts a tool call.
    ///
    /// # Errors
    /// The run, or a role at or above the agent, allows no more; or the agent is not open.
    pub fn call(&mut self, agent: AgentId) -> Result<(), Refused> {
        let payers = self.open_payers(Some(agent))?;
        self.each_fits(&payers, Account::call_fits)?;
        self.upward(Some(agent), Tally::count_call);
        Ok(())
    }

    /// Sets aside the worst case of a request: an agent's, or, without one, the run's own, as for a plan.
    ///
    /// # Errors
    /// It does not fit in what the run, or a role at or above the agent, has left; or the agent is not open.
    pub fn reserve(
        &mut self,
        agent: Option<AgentId>,
        tokens: u64,
        cost: MicroDollars,
    ) -> Result<Reservation, Refused> {
        let payers = self.open_payers(agent)?;
        self.each_fits(&payers, |account| account.fits(tokens, cost))?;
        Ok(self.set_aside(agent, tokens, cost))
    }

    fn set_aside(
        &mut self,
        agent: Option<AgentId>,
        tokens: u64,
        cost: MicroDollars,
    ) -> Reservation {
        self.upward(agent, |tally| tally.set_aside(tokens, cost));
        if let Some(node) = agent.and_then(|agent| self.nodes.get_mut(&agent)) {
            node.held = node.held.saturating_add(1);
        }
        Reservation {
            agent,
            tokens,
            cost,
        }
    }

    /// Counts what a request truly used and gives the rest back. Use beyond the reservation is a fact and is counted
    /// too; the next request then finds less.
    pub fn settle(&mut self, reservation: Reservation, usage: Usage) {
        let Reservation {
            agent,
            tokens,
            cost,
        } = reservation;
        self.upward(agent, |tally| {
            tally.give_back(tokens, cost);
            tally.spend(usage);
        });
        self.let_go(agent);
    }

    /// Gives a reservation back whose request was never sent, or refused before any answer.
    pub fn release(&mut self, reservation: Reservation) {
        self.settle(reservation, Usage::default());
    }

    /// What the whole run has used.
    #[must_use]
    pub const fn spent(&self) -> Spent {
        self.run.tally.spent
    }

    /// What an agent and everything below it have used; none if it is gone.
    #[must_use]
    pub fn spent_by(&self, agent: AgentId) -> Option<Spent> {
        self.nodes.get(&agent).map(|node| node.tally.spent)
    }

    /// What the whole run has used and set aside: tokens, money.
    #[must_use]
    pub const fn committed(&self) -> (u64, MicroDollars) {
        let tally = &self.run.tally;
        (
            tally.spent.tokens.saturating_add(tally.tokens_reserved),
            tally.spent.cost.plus(tally.cost_reserved),
        )
    }

    /// Whether the run and each role at or above the agent allow it, the agent's own role first.
    fn each_fits(
        &self,
        payers: &Payers,
        fits: impl Fn(&Account) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        fits(&self.run)?;
        let mut roles = payers.roles.keys().filter_map(|role| self.roles.get(role));
        roles.try_for_each(|account| fits(account).map_err(of_role))
    }

    /// Who pays for an agent that is open.
    fn open_payers(&self, agent: Option<AgentId>) -> Result<Payers, Refused> {
        let open = |agent| self.nodes.get(&agent).is_some_and(|node| !node.closed);
        if agent.is_none_or(open) {
            return Ok(self.payers(agent));
        }
        Err(Refused {
            kind: LimitKind::Agents,
            allowed: 0,
            used: 0,
            reserved: 0,
            wanted: 1,
        })
    }

    fn payers(&self, agent: Option<AgentId>) -> Payers {
        let (mut agents, mut roles) = (Vec::new(), BTreeMap::new());
        let mut here = agent;
        while let Some((id, node)) = here.and_then(|id| Some((id, self.nodes.get(&id)?))) {
            if let Some(role) = &node.role {
                roles.insert(role.clone(), agents.len());
            }
            agents.push(id);
            here = node.parent;
        }
        Payers { agents, roles }
    }

    fn upward(&mut self, agent: Option<AgentId>, change: impl Fn(&mut Tally)) {
        let payers = self.payers(agent);
        for agent in &payers.agents {
            if let Some(node) = self.nodes.get_mut(agent) {
                change(&mut node.tally);
            }
        }
        for role in payers.roles.keys() {
            if let Some(account) = self.roles.get_mut(role) {
                change(&mut account.tally);
            }
        }
        change(&mut self.run.tally);
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
            let Some(node) = self.nodes.get(&id) else {
                return;
            };
            if !node.closed || node.held > 0 {
                return;
            }
            here = node.parent;
            self.nodes.remove(&id);
            if let Some(parent) = here.and_then(|parent| self.nodes.get_mut(&parent)) {
                parent.held = parent.held.saturating_sub(1);
            }
        }
    }
}

/// The refusal as a role's, not the run's.
fn of_role(refused: Refused) -> Refused {
    Refused {
        kind: refused.kind.of_role(),
        ..refused
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const ROOT: AgentId = AgentId::from_drawn(1);
    const CHILD: AgentId = AgentId::from_drawn(2);

    fn role(name: &str) -> RoleName {
        name.parse().unwrap()
    }

    /// Books in which `reader` may use this much.
    fn with_reader(own: Budget) -> Ledger {
        Ledger::new(tokens(1_000)).with_roles(&BTreeMap::from([(role("reader"), own)]))
    }

    fn ledger(budget: Budget) -> Ledger {
        let mut ledger = Ledger::new(budget);
        ledger.open(ROOT, None, &role("worker")).unwrap();
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
        let first = ledger.reserve(Some(ROOT), 80, MicroDollars::ZERO).unwrap();
        let refused = ledger
            .reserve(Some(ROOT), 21, MicroDollars::ZERO)
            .unwrap_err();
        assert_eq!(
            refused,
            Refused {
                kind: LimitKind::Tokens,
                allowed: 100,
                used: 80,
                reserved: 80,
                wanted: 21
            }
        );
        ledger.settle(first, used(30));
        assert_eq!(ledger.spent().tokens, 30);
        let second = ledger.reserve(Some(ROOT), 70, MicroDollars::ZERO).unwrap();
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
            ledger
                .reserve(Some(ROOT), 1, MicroDollars(11))
                .unwrap_err()
                .kind,
            LimitKind::Cost
        );
        assert_eq!(ledger.committed(), (0, MicroDollars::ZERO));
    }

    #[test]
    fn children_draw_on_the_same_budget() {
        let mut ledger = ledger(tokens(100));
        ledger.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        let reservation = ledger.reserve(Some(CHILD), 60, MicroDollars::ZERO).unwrap();
        ledger.settle(reservation, used(60));
        ledger.close(CHILD);
        assert_eq!(ledger.spent_by(ROOT).unwrap().tokens, 60);
        assert!(ledger.reserve(Some(ROOT), 41, MicroDollars::ZERO).is_err());
    }

    #[test]
    fn a_roles_budget_binds_all_its_agents_together_and_everything_below_them() {
        let id = AgentId::from_drawn;
        let mut ledger = with_reader(Budget {
            calls: 1,
            ..tokens(50)
        });
        ledger.open(ROOT, None, &role("reader")).unwrap();
        ledger.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        ledger.open(id(3), None, &role("reader")).unwrap();
        ledger.open(id(4), None, &role("worker")).unwrap();
        let held = ledger.reserve(Some(CHILD), 30, MicroDollars::ZERO).unwrap();
        let refused = ledger.reserve(Some(id(3)), 21, MicroDollars::ZERO);
        assert_eq!(
            refused.unwrap_err(),
            Refused {
                kind: LimitKind::RoleTokens,
                allowed: 50,
                used: 30,
                reserved: 30,
                wanted: 21
            }
        );
        ledger.settle(held, used(30));
        ledger.call(CHILD).unwrap();
        assert_eq!(ledger.call(id(3)).unwrap_err().kind, LimitKind::RoleCalls);
        assert_eq!(ledger.call(id(4)), Ok(()), "another role goes on");
        assert!(ledger.reserve(Some(id(4)), 900, MicroDollars::ZERO).is_ok());
    }

    #[test]
    fn an_agent_below_one_of_its_own_role_is_charged_once() {
        let mut ledger = with_reader(tokens(50));
        ledger.open(ROOT, None, &role("reader")).unwrap();
        ledger.open(CHILD, Some(ROOT), &role("reader")).unwrap();
        assert!(ledger.reserve(Some(CHILD), 50, MicroDollars::ZERO).is_ok());
    }

    #[test]
    fn a_role_counts_its_own_agents_and_those_they_start() {
        let id = AgentId::from_drawn;
        let mut ledger = with_reader(Budget {
            agents: 2,
            depth: 1,
            fan_out: 1,
            ..Budget::default()
        });
        ledger.open(ROOT, None, &role("reader")).unwrap();
        ledger.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        let (reader, worker) = (role("reader"), role("worker"));
        let kind = |refused: Result<(), Refused>| refused.unwrap_err().kind;
        assert_eq!(
            kind(ledger.open(id(3), Some(ROOT), &worker)),
            LimitKind::FanOut
        );
        assert_eq!(
            kind(ledger.open(id(3), None, &reader)),
            LimitKind::RoleAgents
        );
        assert_eq!(ledger.open(id(3), None, &worker), Ok(()));
        let mut deep = with_reader(Budget {
            depth: 1,
            ..Budget::default()
        });
        deep.open(ROOT, None, &reader).unwrap();
        deep.open(CHILD, Some(ROOT), &worker).unwrap();
        assert_eq!(
            kind(deep.open(id(3), Some(CHILD), &worker)),
            LimitKind::Depth
        );
    }

    #[test]
    fn a_raise_lets_the_run_and_its_roles_go_on() {
        let mut ledger = with_reader(tokens(50));
        ledger.open(ROOT, None, &role("reader")).unwrap();
        let held = ledger.reserve(Some(ROOT), 50, MicroDollars::ZERO).unwrap();
        ledger.settle(held, used(50));
        ledger.raise(tokens(1_010));
        assert_eq!(ledger.budget().tokens, 1_010);
        assert!(ledger.reserve(Some(ROOT), 11, MicroDollars::ZERO).is_err());
        assert!(ledger.reserve(Some(ROOT), 10, MicroDollars::ZERO).is_ok());
    }

    #[test]
    fn what_is_only_reserved_may_come_back_and_what_is_spent_may_not() {
        let mut ledger = ledger(tokens(100));
        let held = ledger.reserve(Some(ROOT), 80, MicroDollars::ZERO).unwrap();
        let refused = ledger.reserve(Some(ROOT), 30, MicroDollars::ZERO);
        assert!(refused.unwrap_err().may_pass());
        ledger.settle(held, used(80));
        let refused = ledger.reserve(Some(ROOT), 30, MicroDollars::ZERO);
        assert!(!refused.unwrap_err().may_pass());
    }

    #[test]
    fn agents_are_bounded_in_number_depth_and_children() {
        let id = AgentId::from_drawn;
        let mut few = ledger(Budget {
            agents: 2,
            ..Budget::default()
        });
        few.open(CHILD, None, &role("worker")).unwrap();
        few.close(CHILD);
        assert_eq!(
            few.open(id(3), None, &role("worker")).unwrap_err().kind,
            LimitKind::Agents
        );
        let mut flat = ledger(Budget {
            depth: 1,
            ..Budget::default()
        });
        flat.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        assert_eq!(
            flat.open(id(3), Some(CHILD), &role("worker"))
                .unwrap_err()
                .kind,
            LimitKind::Depth
        );
        let mut narrow = ledger(Budget {
            fan_out: 1,
            ..Budget::default()
        });
        narrow.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        narrow.close(CHILD);
        assert_eq!(
            narrow
                .open(id(3), Some(ROOT), &role("worker"))
                .unwrap_err()
                .kind,
            LimitKind::FanOut
        );
    }

    #[test]
    fn a_stranger_and_a_closed_agent_get_nothing() {
        let mut ledger = ledger(Budget::default());
        assert!(ledger.call(CHILD).is_err());
        assert!(
            ledger
                .open(CHILD, Some(AgentId::from_drawn(9)), &role("worker"))
                .is_err()
        );
        ledger.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        ledger.close(ROOT);
        assert!(ledger.reserve(Some(ROOT), 1, MicroDollars::ZERO).is_err());
        assert!(ledger.call(CHILD).is_ok());
    }

    #[test]
    fn a_late_settlement_still_reaches_the_run_and_nothing_is_left_behind() {
        let mut ledger = ledger(tokens(100));
        ledger.open(CHILD, Some(ROOT), &role("worker")).unwrap();
        let late = ledger.reserve(Some(CHILD), 50, MicroDollars::ZERO).unwrap();
        ledger.close(ROOT);
        ledger.close(CHILD);
        ledger.settle(late, used(20));
        assert_eq!(ledger.committed().0, 20);
        assert!(ledger.nodes.is_empty());
    }

    #[test]
    fn the_run_reserves_for_its_own_requests() {
        let mut ledger = Ledger::new(tokens(10));
        let plan = ledger.reserve(None, 10, MicroDollars::ZERO).unwrap();
        assert!(ledger.reserve(None, 1, MicroDollars::ZERO).is_err());
        ledger.settle(plan, used(12));
        assert_eq!(ledger.spent().tokens, 12);
        assert!(ledger.reserve(None, 1, MicroDollars::ZERO).is_err());
    }
}
