//! Limits, met: an asker waits while what others hold may come back, parks where its run may wait for the operator or
//! for another day, and fails where it may not.
//!
//! Refuses to wait for what no waiting brings: more depth, more children, more turns.

use crate::{
    patience::Patience,
    purse,
    record::Who,
    run::{Run, unavailable},
};
use aaos_core::{
    budget::{Budget, Refused},
    event::Kind,
    failure::{Failure, LimitKind},
    id::RoleName,
    time::Span,
};
use aaos_ports::{Durability, GoalError, decisions::Raise};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::sleep,
};

/// Longest sleep of one who waits for another day: the machine's clock may be set meanwhile.
const DAY_LOOK_MAX: Duration = Duration::from_secs(60);

/// What the askers of one run wait for.
pub(crate) struct Park {
    /// Something was given back, or the budget was raised.
    changed: Notify,
    /// Limits that the run is recorded to wait at.
    noted: Mutex<Vec<LimitKind>>,
    /// Whether the run has used up its time; nothing begins then.
    time_up: AtomicBool,
    /// Raises come one after another, so that each adds to the one before, and no wait is recorded after the raise that
    /// ends it.
    turn: Semaphore,
    /// Raises so far.
    raises: AtomicU64,
}

impl Default for Park {
    fn default() -> Self {
        Self {
            changed: Notify::new(),
            noted: Mutex::default(),
            time_up: AtomicBool::new(false),
            turn: Semaphore::new(1),
            raises: AtomicU64::new(0),
        }
    }
}

impl Park {
    /// Lets every asker that waits try again.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Whether this limit is now noted for the first time since the budget was raised.
    fn note(&self, limit: LimitKind) -> bool {
        let mut noted = self.noted();
        let new = !noted.contains(&limit);
        if new {
            noted.push(limit);
        }
        new
    }

    fn raises(&self) -> u64 {
        self.raises.load(Ordering::Acquire)
    }

    fn forget(&self, gone: impl Fn(LimitKind) -> bool) {
        self.noted().retain(|limit| !gone(*limit));
    }

    fn noted(&self) -> MutexGuard<'_, Vec<LimitKind>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of one who is refused.
enum Next {
    /// It fails.
    Fail(Refused),
    /// It waits for what others hold.
    Settlement { of_day: bool },
    /// It waits for the operator, or for another day.
    Parked { of_day: bool },
}

/// Makes an attempt until it is allowed or cannot be. Whoever drops this, as at a stop, ends the wait.
///
/// # Errors
/// `Limit`, recorded, where waiting is of no use or not allowed; `Journal`.
pub(crate) async fn or_fail<T>(
    run: &Run,
    who: Who,
    patience: &Patience,
    mut attempt: impl FnMut() -> Result<T, Refused>,
) -> Result<T, Failure> {
    loop {
        let (here, everywhere) = (run.park.changed.notified(), run.shared.purse.changed());
        tokio::pin!(here, everywhere);
        // From now on nothing that is given back is missed.
        here.as_mut().enable();
        everywhere.as_mut().enable();
        let raises = run.park.raises();
        let next = if run.park.time_up.load(Ordering::Acquire) {
            Next::Parked { of_day: false }
        } else {
            match attempt() {
                Ok(done) => {
                    run.park.forget(LimitKind::is_of_day);
                    return Ok(done);
                }
                Err(refused) => next(run, who, refused, raises).await?,
            }
        };
        let (of_day, _wait) = match next {
            Next::Fail(refused) => {
                record_refused(run, who, &refused).await?;
                return Err(refused.into());
            }
            Next::Settlement { of_day } => (of_day, None),
            Next::Parked { of_day } => (of_day, Some(patience.wait())),
        };
        tokio::select! {
            () = here => {}
            () = everywhere, if of_day => {}
            () = another_day(run), if of_day => {}
        }
    }
}

async fn next(run: &Run, who: Who, refused: Refused, raises: u64) -> Result<Next, Failure> {
    let of_day = refused.kind.is_of_day();
    if refused.may_pass() {
        return Ok(Next::Settlement { of_day });
    }
    if !run.submit.park || !refused.kind.can_wait() {
        return Ok(Next::Fail(refused));
    }
    announce(run, who, &refused, raises).await?;
    Ok(Next::Parked { of_day })
}

/// Records that the run waits at a limit, once, unless its budget was raised since it was refused.
async fn announce(run: &Run, who: Who, refused: &Refused, raises: u64) -> Result<(), Failure> {
    // The semaphore is never closed.
    let _turn = run.park.turn.acquire().await;
    if run.park.raises() != raises {
        return Ok(());
    }
    if !run.park.note(refused.kind) {
        return Ok(());
    }
    let known = {
        let view = run.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.parked
            .is_some_and(|parked| parked.limit == refused.kind && parked.allowed == refused.allowed)
    };
    if known {
        return Ok(());
    }
    let parked = Kind::RunParked {
        limit: refused.kind,
        allowed: refused.allowed,
        used: refused.used,
        wanted: refused.wanted,
    };
    run.record_aside(who, vec![parked], Durability::Durable)
        .await
}

/// Records that the budget stood in the way.
async fn record_refused(run: &Run, who: Who, refused: &Refused) -> Result<(), Failure> {
    let kind = Kind::BudgetRefused {
        limit: refused.kind,
        allowed: refused.allowed,
        used: refused.used,
        wanted: refused.wanted,
    };
    run.record(who, kind).await.map(drop)
}

/// Returns when it is time to look whether the day is another one.
async fn another_day(run: &Run) {
    let left = purse::left_of_day(run.shared.now()).as_duration();
    sleep(left.min(DAY_LOOK_MAX)).await;
}

/// Longest time that an agent may be at work, where `own` is its own limit: its role's budget may allow less to each.
pub(crate) fn time_of_role(run: &Run, role: &RoleName, own: Span) -> Span {
    let budget = run.submit.role_budgets.get(role);
    budget.map_or(own, |budget| own.min(budget.wall_clock))
}

/// The run's time, `allowed`, is up. Returns when it has more, which it may have already; what is in hand goes on
/// meanwhile, and nothing new begins.
///
/// # Errors
/// `Limit` if the run may not wait; `Journal`.
pub(crate) async fn out_of_time(run: &Run, allowed: Span) -> Result<(), Failure> {
    let limit = LimitKind::WallClock;
    let raised = || run.ledger().budget().wall_clock > allowed;
    if raised() {
        return Ok(());
    }
    let refused = Refused {
        kind: limit,
        allowed: allowed.millis(),
        used: allowed.millis(),
        reserved: 0,
        wanted: 1,
    };
    if !run.submit.park {
        return Err(refused.into());
    }
    run.park.time_up.store(true, Ordering::Release);
    let _wait = run.patience.wait();
    loop {
        let changed = run.park.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let raises = run.park.raises();
        if raised() {
            break;
        }
        // Again after a raise of something else: the run waits still.
        announce(run, Who::RUN, &refused, raises).await?;
        changed.await;
    }
    run.park.time_up.store(false, Ordering::Release);
    run.park.wake();
    Ok(())
}

/// Raises a run's budget, durably, and lets those that wait try again. Answers with the budget from now on.
///
/// # Errors
/// `Invalid` if nothing is added, `Ended`, `Unavailable`.
pub(crate) async fn raise(
    run: &Arc<Run>,
    raise: Raise,
    operator: u32,
) -> Result<Budget, GoalError> {
    if raise == Raise::default() {
        return Err(GoalError::Invalid {
            problem: "nothing is added to the budget".to_owned(),
            next_step: format!(
                "Say by how much, as `agentd resume {} --budget +1usd`",
                run.id
            ),
        });
    }
    let own = Arc::clone(run);
    let raising = run.see_through(async move { add(&own, raise, operator).await });
    raising.await?.map_err(unavailable)
}

async fn add(run: &Run, raise: Raise, operator: u32) -> Result<Budget, Failure> {
    // The semaphore is never closed.
    let _turn = run.park.turn.acquire().await;
    let budget = raise.of(run.ledger().budget());
    let raised = Kind::BudgetRaised { budget, operator };
    run.record_aside(Who::RUN, vec![raised], Durability::Durable)
        .await?;
    run.ledger().raise(budget);
    run.park.raises.fetch_add(1, Ordering::AcqRel);
    run.park.forget(|_| true);
    run.park.wake();
    Ok(budget)
}
