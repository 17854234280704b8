//! The purse: what all runs together may spend in a day, an operator's and everybody's. Days are those of UTC.
//!
//! It holds the worst case of every request from before it is sent until it is settled, as a run's own books do, and is
//! put together again at the start from what the journal says of today. Money spent under a date counts on that date and
//! on every one before it, so a clock that goes back gives nothing back.

use crate::{recover, shared::Shared};
use aaos_core::{
    budget::{Refused, Tally},
    event::{Event, Kind, Seq},
    failure::LimitKind,
    id::{AgentId, RunId},
    model::Usage,
    money::MicroDollars,
    time::{Span, Timestamp},
};
use aaos_ports::{Filter, JournalError};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, futures::Notified};

/// Length of a day.
const DAY: Span = Span::from_secs(24 * 60 * 60);

/// Events read to see whose a run is: its beginning, or records of so many erasures of what came later.
const BEGINNINGS_READ_MAX: usize = 16;

/// Days that are remembered; more than one only matters to a clock that goes back.
const DAYS_MAX: usize = 32;

/// What may be spent in a day; no limit where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayLimit {
    /// Tokens in and out.
    pub tokens: Option<u64>,
    /// Money.
    pub cost: Option<MicroDollars>,
}

impl DayLimit {
    const fn is_none(&self) -> bool {
        self.tokens.is_none() && self.cost.is_none()
    }

    fn amounts(&self) -> (u64, MicroDollars) {
        let cost = self.cost.unwrap_or(MicroDollars(u64::MAX));
        (self.tokens.unwrap_or(u64::MAX), cost)
    }
}

/// Tokens and money of one request, held until they are settled or released.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is held is settled or released, or it is held for ever"]
pub(crate) struct Hold {
    operator: Option<u32>,
    tokens: u64,
    cost: MicroDollars,
}

/// What is left of today for every run.
pub(crate) struct Purse {
    operator: DayLimit,
    everybody: DayLimit,
    books: Mutex<Books>,
    changed: Notify,
}

#[derive(Default)]
struct Books {
    days: BTreeMap<u64, Counts>,
    held: Counts,
    /// Requests that were in flight when an earlier daemon ended.
    lost: BTreeMap<(RunId, Option<AgentId>), Hold>,
}

#[derive(Default)]
struct Counts {
    everybody: Tally,
    operators: BTreeMap<u32, Tally>,
}

impl Counts {
    /// Changes what is counted for everybody, and for an operator if it is recorded whose it was.
    fn change(&mut self, operator: Option<u32>, change: impl Fn(&mut Tally)) {
        change(&mut self.everybody);
        if let Some(operator) = operator {
            change(self.operators.entry(operator).or_default());
        }
    }
}

impl Books {
    /// What is spent on this day and later, and held.
    fn tally(&self, day: u64, of: impl Fn(&Counts) -> Option<Tally>) -> Tally {
        let mut sum = of(&self.held).unwrap_or_default();
        for spent in self.days.range(day..).filter_map(|(_, counts)| of(counts)) {
            sum.spend(Usage {
                input_tokens: spent.spent.tokens,
                cost: spent.spent.cost,
                ..Usage::default()
            });
        }
        sum
    }

    fn spend(&mut self, day: u64, operator: Option<u32>, usage: Usage) {
        let counts = self.days.entry(day).or_default();
        counts.change(operator, |tally| tally.spend(usage));
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
    }

    fn hold(&mut self, hold: &Hold) {
        let change = |tally: &mut Tally| tally.set_aside(hold.tokens, hold.cost);
        self.held.change(hold.operator, change);
    }

    fn let_go(&mut self, hold: &Hold) {
        let change = |tally: &mut Tally| tally.give_back(hold.tokens, hold.cost);
        self.held.change(hold.operator, change);
    }
}

impl Purse {
    /// A purse nothing has been spent from.
    pub(crate) fn new(operator: DayLimit, everybody: DayLimit) -> Self {
        Self {
            operator,
            everybody,
            books: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Holds the worst case of a request.
    ///
    /// # Errors
    /// It does not fit in what the operator, or everybody together, has left of the day.
    pub(crate) fn hold(
        &self,
        now: Timestamp,
        operator: u32,
        tokens: u64,
        cost: MicroDollars,
    ) -> Result<Hold, Refused> {
        let mut books = self.books();
        let day = day_of(now);
        let own = books.tally(day, |counts| counts.operators.get(&operator).copied());
        own.fits(self.operator.amounts(), tokens, cost)
            .map_err(of_operator)?;
        let all = books.tally(day, |counts| Some(counts.everybody));
        all.fits(self.everybody.amounts(), tokens, cost)
            .map_err(of_everybody)?;
        let hold = Hold {
            operator: Some(operator),
            tokens,
            cost,
        };
        books.hold(&hold);
        Ok(hold)
    }

    /// Counts what a request used and gives the rest back. Use beyond what was held counts too.
    pub(crate) fn settle(&self, now: Timestamp, hold: Hold, usage: Usage) {
        let Hold { operator, .. } = hold;
        {
            let mut books = self.books();
            books.let_go(&hold);
            books.spend(day_of(now), operator, usage);
        }
        self.changed.notify_waiters();
    }

    /// Gives all of it back.
    pub(crate) fn release(&self, hold: Hold) {
        self.books().let_go(&hold);
        self.changed.notify_waiters();
        drop(hold);
    }

    /// Holds on what a request took whose run is gone on with later.
    pub(crate) fn leave(&self, run: RunId, agent: Option<AgentId>, hold: Hold) {
        let mut books = self.books();
        if let Some(before) = books.lost.insert((run, agent), hold) {
            books.let_go(&before);
        }
    }

    /// Takes what is held for a request that was in flight when an earlier daemon ended; holds nothing if it was not
    /// known to be.
    pub(crate) fn lost(&self, run: RunId, agent: Option<AgentId>, operator: u32) -> Hold {
        let known = self.books().lost.remove(&(run, agent));
        known.unwrap_or(Hold {
            operator: Some(operator),
            tokens: 0,
            cost: MicroDollars::ZERO,
        })
    }

    /// Gives back what is held for lost requests of a run that is over.
    pub(crate) fn forget(&self, run: RunId) {
        let gone: Vec<Hold> = {
            let mut books = self.books();
            let (gone, kept) = std::mem::take(&mut books.lost)
                .into_iter()
                .partition(|((of, _), _)| *of == run);
            books.lost = kept;
            let gone: BTreeMap<(RunId, Option<AgentId>), Hold> = gone;
            gone.into_values().collect()
        };
        gone.into_iter().for_each(|hold| self.release(hold));
    }

    /// Completes when something has been given back since it was made and enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Counts what the journal says was spent today, and holds what was in flight.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn restore(&self, shared: &Shared) -> Result<(), JournalError> {
        if self.operator.is_none() && self.everybody.is_none() {
            return Ok(());
        }
        let today = day_of(shared.now());
        let mut seen = Seen::default();
        // A request may have been sent before midnight.
        let since = start_of(today.saturating_sub(1));
        recover::each(shared, &today_s(since), |event| seen.take_up(event)).await?;
        for ((day, run), usage) in seen.spent {
            let operator = operator_of(shared, run).await?;
            self.books().spend(day, operator, usage);
        }
        for ((run, agent), (tokens, cost)) in seen.open {
            let operator = operator_of(shared, run).await?;
            let hold = Hold {
                operator,
                tokens,
                cost,
            };
            let mut books = self.books();
            books.hold(&hold);
            books.lost.insert((run, agent), hold);
        }
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the journal says was spent, by day and run, and the requests that have no end yet.
#[derive(Default)]
struct Seen {
    spent: BTreeMap<(u64, RunId), Usage>,
    open: BTreeMap<(RunId, Option<AgentId>), (u64, MicroDollars)>,
}

impl Seen {
    fn take_up(&mut self, event: &Event) {
        let Some(run) = event.subject.run else { return };
        let asker = (run, event.subject.agent);
        let usage = match &event.kind {
            Kind::ModelRequested {
                tokens_reserved,
                cost_reserved,
                ..
            } => {
                self.open.insert(asker, (*tokens_reserved, *cost_reserved));
                return;
            }
            Kind::RunFinished { .. } => {
                self.open.retain(|(of, _), _| *of != run);
                return;
            }
            Kind::UsageReported { usage, .. } => *usage,
            Kind::ModelAbandoned { tokens, cost, .. } => Usage::worst(*tokens, *cost),
            _ => Usage::default(),
        };
        self.open.remove(&asker);
        let spent = self.spent.entry((day_of(event.time), run)).or_default();
        *spent = spent.plus(usage);
    }
}

fn today_s(since: Timestamp) -> Filter {
    let kinds = [
        "model_requested",
        "model_failed",
        "model_abandoned",
        "usage_reported",
        "run_finished",
    ];
    Filter {
        kinds: kinds.map(str::to_owned).to_vec(),
        since: Some(since),
        ..Filter::default()
    }
}

/// Whose run or rehearsal it is; none if that is not recorded. For an erased one of which only that is recorded, whoever
/// had it erased answers.
pub(crate) async fn operator_of(shared: &Shared, run: RunId) -> Result<Option<u32>, JournalError> {
    let kinds = ["run_submitted", "plan_rehearsed", "content_erased"];
    let filter = Filter {
        run: Some(run),
        kinds: kinds.map(str::to_owned).to_vec(),
        ..Filter::default()
    };
    let told = shared
        .deps
        .journal
        .read(&filter, Seq(0), BEGINNINGS_READ_MAX)
        .await?;
    let mut had_it_erased = None;
    for event in told {
        match event.kind {
            Kind::RunSubmitted { operator, .. } | Kind::PlanRehearsed { operator, .. } => {
                return Ok(Some(operator));
            }
            Kind::ContentErased {
                whose: Some(whose), ..
            } => return Ok(Some(whose)),
            Kind::ContentErased { operator, .. } => had_it_erased = had_it_erased.or(operator),
            _ => {}
        }
    }
    Ok(had_it_erased)
}

const fn day_of(time: Timestamp) -> u64 {
    time.micros() / DAY.micros()
}

const fn start_of(day: u64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(DAY.micros()))
}

/// How long the day lasts.
pub(crate) const fn left_of_day(now: Timestamp) -> Span {
    start_of(day_of(now).saturating_add(1)).since(now)
}

fn of_operator(refused: Refused) -> Refused {
    let kind = match refused.kind {
        LimitKind::Tokens => LimitKind::OperatorDayTokens,
        _ => LimitKind::OperatorDayCost,
    };
    Refused { kind, ..refused }
}

fn of_everybody(refused: Refused) -> Refused {
    let kind = match refused.kind {
        LimitKind::Tokens => LimitKind::DayTokens,
        _ => LimitKind::DayCost,
    };
    Refused { kind, ..refused }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn purse(operator: u64, everybody: u64) -> Purse {
        let limit = |cost| DayLimit {
            tokens: None,
            cost: Some(MicroDollars(cost)),
        };
        Purse::new(limit(operator), limit(everybody))
    }

    fn at(day: u64) -> Timestamp {
        start_of(day).after(Span::from_secs(60))
    }

    fn used(cost: u64) -> Usage {
        Usage {
            cost: MicroDollars(cost),
            ..Usage::default()
        }
    }

    fn room(purse: &Purse, now: Timestamp, operator: u32, cost: u64) -> Result<(), Refused> {
        let hold = purse.hold(now, operator, 1, MicroDollars(cost))?;
        purse.release(hold);
        Ok(())
    }

    #[test]
    fn each_operator_has_a_limit_and_all_together_have_one() {
        let purse = purse(10, 15);
        let first = purse.hold(at(3), 1, 5, MicroDollars(10)).unwrap();
        let refused = room(&purse, at(3), 1, 1).unwrap_err();
        assert_eq!(
            (refused.kind, refused.used),
            (LimitKind::OperatorDayCost, 10)
        );
        assert!(refused.may_pass(), "what is held may come back");
        let refused = room(&purse, at(3), 2, 6).unwrap_err();
        assert_eq!((refused.kind, refused.allowed), (LimitKind::DayCost, 15));
        purse.settle(at(3), first, used(10));
        let refused = room(&purse, at(3), 1, 1).unwrap_err();
        assert!(!refused.may_pass(), "what is spent does not");
        assert_eq!(room(&purse, at(3), 2, 5), Ok(()));
    }

    #[test]
    fn a_new_day_begins_anew_and_what_is_in_flight_counts_where_it_lands() {
        let purse = purse(10, 100);
        let spent = purse.hold(at(3), 1, 5, MicroDollars(4)).unwrap();
        let flying = purse.hold(at(3), 1, 5, MicroDollars(6)).unwrap();
        purse.settle(at(3), spent, used(4));
        assert!(room(&purse, at(4), 1, 5).is_err(), "six are still held");
        purse.settle(at(4), flying, used(6));
        assert!(room(&purse, at(4), 1, 5).is_err());
        assert_eq!(room(&purse, at(4), 1, 4), Ok(()));
        assert_eq!(room(&purse, at(5), 1, 10), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_back() {
        let purse = purse(10, 100);
        for day in [3, 9] {
            let hold = purse.hold(at(day), 1, 5, MicroDollars(5)).unwrap();
            purse.settle(at(day), hold, used(5));
        }
        assert!(room(&purse, at(3), 1, 1).is_err());
        assert_eq!(room(&purse, at(4), 1, 5), Ok(()));
        assert_eq!(room(&purse, at(10), 1, 10), Ok(()));
    }

    #[test]
    fn what_a_run_leaves_open_is_held_until_it_is_counted_once() {
        let purse = purse(10, 100);
        let run = RunId::from_drawn(1);
        let flying = purse.hold(at(3), 1, 5, MicroDollars(6)).unwrap();
        purse.leave(run, None, flying);
        assert!(room(&purse, at(3), 1, 5).is_err());
        let found = purse.lost(run, None, 1);
        purse.settle(at(3), found, used(6));
        assert_eq!(room(&purse, at(3), 1, 4), Ok(()));
        assert!(room(&purse, at(3), 1, 5).is_err());
    }

    #[test]
    fn without_limits_nothing_is_refused_and_nothing_overflows() {
        let purse = Purse::new(DayLimit::default(), DayLimit::default());
        let hold = purse
            .hold(at(1), 1, u64::MAX, MicroDollars(u64::MAX))
            .unwrap();
        purse.settle(at(1), hold, used(u64::MAX));
        assert_eq!(left_of_day(start_of(7)), DAY);
    }
}
