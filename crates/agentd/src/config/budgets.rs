//! Limits as configured: of a run, of a role's agents within a run, of an operator's runs and of all runs in a day.
//!
//! Refuses an amount under a key of another kind, and a limit for which nothing could count.

use super::{
    ConfigError, Origin, Setting,
    amount::{self, Amount},
    assemble::FromFile,
    file::{FileBudget, FileDay, FileRoleBudget},
};
use aaos_core::{budget::Budget, id::RoleName, money::MicroDollars, time::Span};
use std::{collections::BTreeMap, fmt};
use toml::Spanned;

/// What becomes of a run at a limit of its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtLimit {
    /// It fails, and says which limit.
    Fail,
    /// It waits until the operator raises the limit.
    Park,
}

impl fmt::Display for AtLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Fail => "fail",
            Self::Park => "park",
        })
    }
}

/// Limits of a day; none where nothing is limited.
#[derive(Debug, Clone, Default)]
pub(crate) struct Day {
    /// Tokens in and out.
    pub(crate) tokens: Option<Setting<u64>>,
    /// Money.
    pub(crate) cost: Option<Setting<MicroDollars>>,
}

impl Day {
    /// Whether anything is limited.
    pub(crate) const fn is_set(&self) -> bool {
        self.tokens.is_some() || self.cost.is_some()
    }
}

/// Every limit.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// Limits of a run that says nothing else.
    pub(crate) run: Budget,
    /// Where each limit of a run came from, by its key.
    pub(crate) origins: BTreeMap<&'static str, Origin>,
    /// What becomes of a run at a limit, unless it says so itself.
    pub(crate) at_limit: Setting<AtLimit>,
    /// Limits of all agents of a role in one run.
    pub(crate) roles: BTreeMap<RoleName, Setting<Budget>>,
    /// Limits of each operator's runs, per day in UTC.
    pub(crate) operator: Day,
    /// Limits of all runs, per day in UTC.
    pub(crate) day: Day,
}

/// A role's limits where none is named: its run's are all that holds.
const UNLIMITED: Budget = Budget {
    tokens: u64::MAX,
    cost: MicroDollars(u64::MAX),
    wall_clock: Span::from_micros(u64::MAX),
    calls: u64::MAX,
    agents: u64::MAX,
    depth: u32::MAX,
    fan_out: u32::MAX,
};

impl Budgets {
    /// What holds where the file says nothing.
    pub(super) fn usual() -> Self {
        Self {
            run: Budget::default(),
            origins: BTreeMap::new(),
            at_limit: Setting::default(AtLimit::Fail),
            roles: BTreeMap::new(),
            operator: Day::default(),
            day: Day::default(),
        }
    }

    /// Whether the file sets any limit on money.
    pub(crate) fn limit_money(&self) -> bool {
        let of_role = |limits: &Setting<Budget>| limits.value.cost != UNLIMITED.cost;
        self.origins.contains_key("cost")
            || self.operator.cost.is_some()
            || self.day.cost.is_some()
            || self.roles.values().any(of_role)
    }

    /// Takes what the file says.
    pub(super) fn set(
        &mut self,
        from: &FromFile<'_>,
        read: &FileBudget,
    ) -> Result<(), ConfigError> {
        self.set_run(from, read)?;
        if let Some(word) = &read.at_limit {
            let value = match word.get_ref().as_str() {
                "fail" => AtLimit::Fail,
                "park" => AtLimit::Park,
                _ => {
                    let problem = "this is neither `fail` nor `park`";
                    let next_step = "Write `at_limit = \"park\"` to have runs wait for more budget";
                    return Err(from.problem(word, problem, next_step));
                }
            };
            self.at_limit = Setting::new(value, from.origin(word));
        }
        for (name, role) in &read.roles {
            let limits = role_limits(from, role)?;
            let role: RoleName = name.get_ref().parse().map_err(|error| {
                from.problem(
                    name,
                    format!("{error}"),
                    "`agentd roles` lists those there are",
                )
            })?;
            self.roles
                .insert(role, Setting::new(limits, from.origin(name)));
        }
        self.operator = day(from, &read.operator)?;
        self.day = day(from, &read.day)?;
        Ok(())
    }

    fn set_run(&mut self, from: &FromFile<'_>, read: &FileBudget) -> Result<(), ConfigError> {
        let mut set = |key: &'static str, amount: Amount, origin: Origin| {
            amount.apply(&mut self.run);
            self.origins.insert(key, origin);
        };
        let mut whole = |key, spanned: &Option<Spanned<u64>>, make: fn(u64) -> Amount| {
            if let Some(spanned) = spanned {
                set(key, make(*spanned.get_ref()), from.origin(spanned));
            }
        };
        whole("tokens", &read.tokens, Amount::Tokens);
        whole("calls", &read.calls, Amount::Calls);
        whole("agents", &read.agents, Amount::Agents);
        let mut small = |key, spanned: &Option<Spanned<u32>>, make: fn(u32) -> Amount| {
            if let Some(spanned) = spanned {
                set(key, make(*spanned.get_ref()), from.origin(spanned));
            }
        };
        small("depth", &read.depth, Amount::Depth);
        small("fan_out", &read.fan_out, Amount::FanOut);
        if let Some(spanned) = &read.cost {
            let cost = money(from, spanned)?;
            set(
                "cost",
                Amount::CostMicroDollars(cost.0),
                from.origin(spanned),
            );
        }
        if let Some(spanned) = &read.wall_clock {
            let time = time(from, "wall_clock", spanned)?;
            set(
                "wall_clock",
                Amount::WallClockMs(time.millis()),
                from.origin(spanned),
            );
        }
        Ok(())
    }
}

fn role_limits(from: &FromFile<'_>, read: &FileRoleBudget) -> Result<Budget, ConfigError> {
    let whole = |spanned: &Option<Spanned<u64>>, none: u64| {
        spanned.as_ref().map_or(none, |spanned| *spanned.get_ref())
    };
    let cost = match &read.cost {
        Some(spanned) => money(from, spanned)?,
        None => UNLIMITED.cost,
    };
    Ok(Budget {
        tokens: whole(&read.tokens, UNLIMITED.tokens),
        cost,
        calls: whole(&read.calls, UNLIMITED.calls),
        agents: whole(&read.agents, UNLIMITED.agents),
        ..UNLIMITED
    })
}

fn day(from: &FromFile<'_>, read: &FileDay) -> Result<Day, ConfigError> {
    let cost = match &read.cost {
        Some(spanned) => Some(Setting::new(money(from, spanned)?, from.origin(spanned))),
        None => None,
    };
    Ok(Day {
        tokens: read.tokens.as_ref().map(|spanned| from.setting(spanned)),
        cost,
    })
}

/// An amount of money.
fn money(from: &FromFile<'_>, spanned: &Spanned<String>) -> Result<MicroDollars, ConfigError> {
    match from.amount(spanned)? {
        Amount::CostMicroDollars(cost) => Ok(MicroDollars(cost)),
        _ => Err(other_kind(from, "cost", spanned)),
    }
}

/// A length of time.
pub(super) fn time(
    from: &FromFile<'_>,
    key: &str,
    spanned: &Spanned<String>,
) -> Result<Span, ConfigError> {
    match from.amount(spanned)? {
        Amount::WallClockMs(millis) => Ok(Span::from_millis(millis)),
        _ => Err(other_kind(from, key, spanned)),
    }
}

fn other_kind(from: &FromFile<'_>, key: &str, spanned: &Spanned<String>) -> ConfigError {
    let problem = format!("this is not an amount of `{key}`");
    from.problem(spanned, problem, amount::FORMS)
}
