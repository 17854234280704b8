//! `run.fork`: Starts a run that keeps what another did before a step, under other terms.
//!
//! Whoever may see a run may fork it; the fork is theirs. It may do what the other run might, as far as its profile and
//! the grants that are given again cover that now; and it may use what the other might, as far as the configuration
//! allows as much now.
//!
//! Refuses: a fork that would have to do without something the other run held. What came before the step may rest on
//! that.

use super::{Call, Caller, Fault, FaultKind, Front, recounted::ForkParams, wire};
use aaos_core::{
    budget::Budget,
    capability::{Capability, Limits},
    event::RunView,
    id::RoleName,
};
use aaos_ports::{ForkOrder, RunTerms, Submit};
use std::{collections::BTreeMap, sync::Arc};

/// The method.
pub(crate) struct RunFork;

impl Call for RunFork {
    const NAME: &'static str = "run.fork";
    const SUMMARY: &'static str =
        "Starts a run that keeps what another did before a step, under other terms.";
    const ANSWER: &'static str =
        "{run, backend, model, folder, profile, envelope: [grant], budget, approve: [rule]}";
    type Params = ForkParams;
    type Answer = wire::Submitted;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: ForkParams,
    ) -> Result<wire::Submitted, Fault> {
        if let Some(model) = &params.model {
            front.check_model(model)?;
        }
        front.check_room()?;
        let from = front.find_run(&caller, &params.run).await?;
        let at = params.at.parse().map_err(|error| {
            let next_step = format!("`agentd status {}` shows its subtasks", from.run);
            Fault::new(FaultKind::Refused, format!("{error}"), next_step)
        })?;
        let RunTerms {
            submit,
            roles,
            models,
        } = front.history.terms(from.run).await?;
        // The other run's own limit holds here too.
        let limited = from.budget.cost != front.config.budgets.run.cost;
        if limited || front.limits_money(&params.budget) {
            let named = params.model.as_deref().or(submit.model.as_deref());
            front.check_prices(named, &models, &roles)?;
        }
        let mut budget = least(from.budget, front.config.budgets.run);
        params
            .budget
            .iter()
            .for_each(|amount| amount.apply(&mut budget));
        let order = ForkOrder {
            run: from.run,
            at,
            turns_kept: params.turns_kept,
            model: params.model,
            role_budgets: least_of_each(&submit.role_budgets, front.role_budgets()),
            grants: front.granted_again(&caller, &from, submit, &params.grants)?,
            budget,
            // What the configuration asks about now, it asks about here too, however old the other run is.
            approve: front.rules(&[])?,
            operator: caller.uid,
        };
        let run = front.history.fork(order).await?;
        let view = front.view(run).await?;
        let (envelope, approve) = (front.granted(&view).await, front.rules_of(run).await);
        Ok(wire::Submitted::of(view, envelope, approve))
    }
}

impl Front {
    /// What a run was granted, as far as its profile as it is now, and these further grants, still cover it.
    fn granted_again(
        &self,
        caller: &Caller,
        from: &RunView,
        submit: Submit,
        further: &[String],
    ) -> Result<Vec<Capability>, Fault> {
        let profile = &submit.profile;
        if !self.config.profiles.contains_key(profile) {
            let problem = format!(
                "{} was submitted under the profile `{profile}`, which is gone",
                from.run
            );
            let next_step = "Submit its goal again, under a profile that is there";
            return Err(Fault::new(FaultKind::Refused, problem, next_step));
        }
        let now = self.envelope(caller, profile, &submit.base, further, &[])?;
        covered(submit.grants, now).map_err(|gone| {
            let names = |quote: fn(&Capability) -> String, between| {
                let names: Vec<String> = gone.iter().map(quote).collect();
                names.join(between)
            };
            let problem = format!(
                "{} was granted {}, which its profile `{profile}` does not grant now",
                from.run,
                names(|one| format!("`{one}`"), ", ")
            );
            let next_step = format!(
                "Give it again with {}, or submit the goal anew",
                names(|one| format!("--grant '{one}'"), " ")
            );
            Fault::new(FaultKind::Refused, problem, next_step)
        })
    }
}

/// Each capability that was held, attenuated to one that is given now. One whose use is limited covers one that was held
/// and no more, so that all together never allow more than what is given.
///
/// # Errors
/// What was held and is not covered.
fn covered(
    held: Vec<Capability>,
    mut given: Vec<Capability>,
) -> Result<Vec<Capability>, Vec<Capability>> {
    let all = held.clone();
    let (mut kept, mut gone) = (Vec::with_capacity(held.len()), Vec::new());
    for wanted in held {
        let weaker = |one: &Capability| one.attenuate(wanted.clone()).ok();
        let same = given.iter().position(|one| *one == wanted);
        let other = || {
            let free = |one: &Capability| !is_used_up(one) || !all.contains(one);
            let covers = |one: &Capability| free(one) && weaker(one).is_some();
            given.iter().position(covers)
        };
        let place = same.or_else(other);
        let Some((place, capability)) = place.and_then(|at| Some((at, weaker(given.get(at)?)?)))
        else {
            gone.push(wanted);
            continue;
        };
        if given.get(place).is_some_and(is_used_up) {
            given.remove(place);
        }
        kept.push(capability);
    }
    if gone.is_empty() { Ok(kept) } else { Err(gone) }
}

/// Whether using a capability takes something of it.
fn is_used_up(capability: &Capability) -> bool {
    let Limits {
        uses,
        rate,
        bytes,
        money,
        ..
    } = &capability.limits;
    uses.is_some() || rate.is_some() || bytes.is_some() || money.is_some()
}

/// No more of anything than either allows.
fn least(one: Budget, other: Budget) -> Budget {
    Budget {
        tokens: one.tokens.min(other.tokens),
        cost: one.cost.min(other.cost),
        wall_clock: one.wall_clock.min(other.wall_clock),
        calls: one.calls.min(other.calls),
        agents: one.agents.min(other.agents),
        depth: one.depth.min(other.depth),
        fan_out: one.fan_out.min(other.fan_out),
    }
}

/// The same for each role that either names.
fn least_of_each(
    one: &BTreeMap<RoleName, Budget>,
    mut other: BTreeMap<RoleName, Budget>,
) -> BTreeMap<RoleName, Budget> {
    for (role, budget) in one {
        let both = other
            .get(role)
            .map_or(*budget, |other| least(*budget, *other));
        other.insert(role.clone(), both);
    }
    other
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn capabilities(lines: &[&str]) -> Vec<Capability> {
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }

    fn forked(held: &[&str], given: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let written = |all: Vec<Capability>| all.iter().map(ToString::to_string).collect();
        covered(capabilities(held), capabilities(given))
            .map(written)
            .map_err(written)
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        capabilities(lines)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_is_given_as_before_is_kept_and_what_is_new_is_not_added() {
        let held = ["tool: *", "http: GET a.example {uses=3}"];
        let given = [&held[..], &["file_read: /**"]].concat();
        assert_eq!(forked(&held, &given), Ok(lines(&held)));
        assert_eq!(
            forked(&["tool: echo"], &["tool: *"]),
            Ok(lines(&["tool: echo"]))
        );
    }

    #[test]
    fn limits_that_were_added_since_hold() {
        assert_eq!(
            forked(&["http: GET a.example"], &["http: GET * {uses=3}"]),
            Ok(lines(&["http: GET a.example {uses=3}"]))
        );
    }

    #[test]
    fn all_that_is_not_given_now_is_named() {
        let held = [
            "tool: *",
            "file_write: /home/**",
            "http: GET * {uses=9}",
            "exec: git in /home/ada",
        ];
        let given = [
            "tool: *",
            "file_write: /home/ada/**",
            "http: GET * {uses=3}",
        ];
        assert_eq!(forked(&held, &given), Err(lines(&held[1..])));
    }

    #[test]
    fn a_grant_whose_use_is_limited_is_not_had_twice() {
        let (one, two) = (
            "http: GET a.example {uses=2}",
            "http: GET b.example {uses=2}",
        );
        assert_eq!(
            forked(&[one, two], &["http: GET * {uses=2}"]),
            Err(lines(&[two]))
        );
        let given = ["http: GET * {uses=2}", one];
        assert_eq!(forked(&[two, one], &given), Ok(lines(&[two, one])));
    }

    #[test]
    fn of_each_limit_the_lower_one_holds() {
        let small = Budget {
            tokens: 5,
            ..Budget::default()
        };
        let few = Budget {
            calls: 7,
            ..Budget::default()
        };
        let both = least(small, few);
        assert_eq!((both.tokens, both.calls), (5, 7));
        let role = |name: &str| -> RoleName { name.parse().unwrap() };
        let one = BTreeMap::from([(role("a"), small), (role("b"), small)]);
        let other = BTreeMap::from([(role("b"), few), (role("c"), few)]);
        let all = least_of_each(&one, other);
        assert_eq!(all[&role("b")], both);
        assert_eq!((all[&role("a")], all[&role("c")]), (small, few));
    }
}
