//! How things are written for people: times, ages, money, tokens, states; and text made harmless for a terminal.

use crate::{report::failure_parts, rpc::decided::Decided};
use aaos_core::{
    budget::Budget,
    event::{Parked, RunState, SubtaskState},
    failure::{Failure, LimitKind},
    id::RunId,
    model::Usage,
    money::MicroDollars,
    time::{Span, Timestamp},
};

use aaos_sandbox::backend::{in_process::NAME as IN_PROCESS, namespaced::NAME as NAMESPACED};

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn code(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// Went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    /// Went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.code("31", text)
    }

    /// Needs a look.
    pub(crate) fn warn(self, text: &str) -> String {
        self.code("33", text)
    }

    /// A tool.
    pub(crate) fn tool(self, text: &str) -> String {
        self.code("36", text)
    }

    /// Of little weight.
    pub(crate) fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    /// Of weight.
    pub(crate) fn strong(self, text: &str) -> String {
        self.code("1", text)
    }
}

/// Text for a terminal: line ends and tabs stay, every other deceptive character becomes a space.
pub(crate) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => c,
        _ if aaos_core::text::is_deceptive(c) => ' ',
        _ => c,
    };
    text.chars().map(harmless).collect()
}

/// One line for a terminal, cut to so many bytes.
pub(crate) fn one_line(text: &str, bytes: usize) -> String {
    aaos_core::text::preview(text.trim(), bytes)
}

/// The time of day, local.
pub(crate) fn clock(time: Timestamp) -> String {
    zoned(time).map_or_else(
        || "??:??:??".to_owned(),
        |time| time.strftime("%H:%M:%S").to_string(),
    )
}

/// Date and time, local.
pub(crate) fn date(time: Timestamp) -> String {
    zoned(time).map_or_else(
        || "?".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

fn zoned(time: Timestamp) -> Option<jiff::Zoned> {
    let micros = i64::try_from(time.micros()).ok()?;
    let time = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::system()))
}

/// A length of time: `42ms`, `0.4s`, `12s`, `3m04s`, `2h10m`, `5d`.
pub(crate) fn span(span: Span) -> String {
    let (millis, secs) = (span.millis(), span.millis() / 1_000);
    match secs {
        0 if millis < 100 => format!("{millis}ms"),
        0..10 => format!("{}.{}s", secs, millis % 1_000 / 100),
        10..60 => format!("{secs}s"),
        60..3_600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3_600..86_400 => format!("{}h{:02}m", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{}d", secs / 86_400),
    }
}

/// Money: nothing, or four decimals, or more where it is less.
pub(crate) fn money(cost: MicroDollars) -> String {
    match cost.0 {
        0 => "$0".to_owned(),
        1..10_000 => exact(cost),
        more => format!("${}.{:04}", more / 1_000_000, more % 1_000_000 / 100),
    }
}

/// A count: `812`, `12.3k`, `100k`, `4.5M`.
pub(crate) fn count(number: u64) -> String {
    let of = |unit: u64, letter| match number % unit / (unit / 10) {
        0 => format!("{}{letter}", number / unit),
        tenths => format!("{}.{tenths}{letter}", number / unit),
    };
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => of(1_000, 'k'),
        _ => of(1_000_000, 'M'),
    }
}

/// Money to the micro-dollar, without zeros nobody needs: `$5.00`, `$0.000042`.
pub(crate) fn exact(cost: MicroDollars) -> String {
    let text = cost.to_string();
    let least = text.find('.').map_or(text.len(), |point| point + 3);
    let kept = text.trim_end_matches('0').len().max(least);
    aaos_core::text::head(&text, kept).to_owned()
}

/// A limit's name, as it is written in the configuration.
pub(crate) const fn limit(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Turns => "turns",
        LimitKind::Tokens => "tokens",
        LimitKind::Cost => "cost",
        LimitKind::Calls => "calls",
        LimitKind::Agents => "agents",
        LimitKind::Depth => "depth",
        LimitKind::FanOut => "fan_out",
        LimitKind::WallClock => "wall_clock",
        LimitKind::Repeats => "repeats",
        LimitKind::RoleTokens => "the role's tokens",
        LimitKind::RoleCost => "the role's cost",
        LimitKind::RoleCalls => "the role's calls",
        LimitKind::RoleAgents => "the role's agents",
        LimitKind::OperatorDayTokens => "your tokens of the day",
        LimitKind::OperatorDayCost => "your cost of the day",
        LimitKind::DayTokens => "tokens of the day",
        LimitKind::DayCost => "cost of the day",
    }
}

/// So much of what a limit counts.
pub(crate) fn amount(kind: LimitKind, value: u64) -> String {
    match kind {
        LimitKind::Cost | LimitKind::RoleCost | LimitKind::OperatorDayCost | LimitKind::DayCost => {
            exact(MicroDollars(value))
        }
        LimitKind::WallClock => span(Span::from_millis(value)),
        _ => count(value),
    }
}

/// What a run may use: `$5.00, 5M tokens, 1h00m, 100k calls, 20k agents`.
pub(crate) fn budget(budget: &Budget) -> String {
    format!(
        "{}, {} tokens, {}, {}, {}",
        exact(budget.cost),
        count(budget.tokens),
        span(budget.wall_clock),
        plural(budget.calls, "call"),
        plural(budget.agents, "agent")
    )
}

/// How far a limit is used: `cost ($5.00 of $5.00)`.
pub(crate) fn used_of(kind: LimitKind, used: u64, allowed: u64) -> String {
    format!(
        "{} ({} of {})",
        limit(kind),
        amount(kind, used),
        amount(kind, allowed)
    )
}

/// An amount by which a limit could be raised, as `--budget` takes it.
const fn raise_example(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Tokens | LimitKind::RoleTokens => "1mtokens",
        LimitKind::Calls | LimitKind::RoleCalls => "1000calls",
        LimitKind::Agents | LimitKind::RoleAgents => "100agents",
        LimitKind::WallClock => "1h",
        _ => "1usd",
    }
}

/// What a run goes on by that waits at this limit: a day's is nothing that raising the run's budget changes.
pub(crate) fn way_on(kind: LimitKind, run: Option<RunId>) -> String {
    if kind.is_of_day() {
        return "it goes on after midnight in UTC, or with more in the configuration and `agentd daemon restart`".to_owned();
    }
    format!(
        "`agentd resume {} --budget +{}`",
        run_or_any(run),
        raise_example(kind)
    )
}

/// A run's id, or the word that stands for one.
pub(crate) fn run_or_any(run: Option<RunId>) -> String {
    run.map_or_else(|| "RUN".to_owned(), |run| run.to_string())
}

/// Width of a bar, in characters.
const BAR_WIDTH: usize = 20;

/// How much of a bar a part of a whole fills.
fn share(part: u64, whole: u64) -> usize {
    let share = u128::from(part) * BAR_WIDTH as u128 / u128::from(whole.max(1));
    usize::try_from(share).map_or(BAR_WIDTH, |share| share.min(BAR_WIDTH))
}

/// How much of a whole a part is, as a bar; any part at all shows.
pub(crate) fn bar(part: u64, whole: u64, paint: Paint) -> String {
    let filled = share(part, whole).max(usize::from(part > 0));
    let full = "█".repeat(filled);
    let full = if filled == BAR_WIDTH {
        paint.bad(&full)
    } else {
        paint.good(&full)
    };
    full + &unfilled(filled, paint)
}

/// How much of a whole is done and how much of it failed, as a bar; anything at all that failed shows.
pub(crate) fn progress(done: u64, failed: u64, whole: u64, paint: Paint) -> String {
    let failed = share(failed, whole).max(usize::from(failed > 0));
    let done = share(done, whole).min(BAR_WIDTH - failed);
    let full = paint.good(&"█".repeat(done)) + &paint.bad(&"×".repeat(failed));
    full + &unfilled(done + failed, paint)
}

/// What is left of a bar of which so much is drawn.
fn unfilled(filled: usize, paint: Paint) -> String {
    paint.dim(&"░".repeat(BAR_WIDTH - filled))
}

/// Tokens and money.
pub(crate) fn usage(usage: &Usage) -> String {
    format!(
        "{} tokens in, {} out, {}",
        count(usage.input_tokens),
        count(usage.output_tokens),
        money(usage.cost)
    )
}

/// So many of something whose plural ends in `s`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    counted(number, one, &format!("{one}s"))
}

/// So many of something.
pub(crate) fn counted(number: u64, one: &str, several: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{} {several}", count(number))
    }
}

/// What went wrong, as one line. What to do about it is told where the run ends.
pub(crate) fn failure(failure: &Failure, bytes: usize) -> String {
    one_line(&failure_parts(failure).0, bytes)
}

/// An act that was decided: `call-… (http_send) of run-…`.
pub(crate) fn decided(decided: &Decided) -> String {
    let tool = one_line(&decided.tool, 64);
    format!("{} ({tool}) of {}", decided.call, decided.run)
}

/// A run's state in a word.
pub(crate) const fn run_state(state: RunState) -> &'static str {
    match state {
        RunState::Planning => "planning",
        RunState::Running => "running",
        RunState::Recovering => "recovering",
        RunState::Waiting => "waiting",
        RunState::Parked => "parked",
        RunState::Stopping => "stopping",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
    }
}

/// A run's state with what it waits at, coloured: `parked at cost ($5.00 of $5.00)`, `waiting for you (2)`, `running,
/// recovered once`.
pub(crate) fn run_standing(
    state: RunState,
    parked: Option<&Parked>,
    waiting: usize,
    recoveries: u64,
    paint: Paint,
) -> String {
    let mut text = match (state, parked) {
        (RunState::Parked, Some(parked)) => {
            let at = used_of(parked.limit, parked.used, parked.allowed);
            format!("{} at {at}", run_state(state))
        }
        (RunState::Waiting, _) => format!("{} for you ({waiting})", run_state(state)),
        _ => run_state(state).to_owned(),
    };
    if !state.is_final() && state != RunState::Recovering && recoveries > 0 {
        let times = if recoveries == 1 {
            "once".to_owned()
        } else {
            format!("{recoveries} times")
        };
        text.push_str(&format!(", recovered {times}"));
    }
    painted(state, &text, paint)
}

/// What is said of a run in this state, in the state's colour.
fn painted(state: RunState, said: &str, paint: Paint) -> String {
    match state {
        RunState::Succeeded => paint.good(said),
        RunState::Failed => paint.bad(said),
        RunState::Stopping | RunState::Recovering | RunState::Waiting | RunState::Parked => {
            paint.warn(said)
        }
        RunState::Planning | RunState::Running => paint.strong(said),
    }
}

/// A run's state, coloured.
pub(crate) fn painted_state(state: RunState, paint: Paint) -> String {
    painted(state, run_state(state), paint)
}

/// A subtask's mark.
pub(crate) fn mark(state: SubtaskState, paint: Paint) -> String {
    match state {
        SubtaskState::Waiting => paint.dim("·"),
        SubtaskState::Running => paint.strong("▸"),
        SubtaskState::Succeeded => paint.good("✓"),
        SubtaskState::Failed => paint.bad("✗"),
        SubtaskState::Skipped => paint.warn("–"),
    }
}

/// Whether a backend is the whole of confinement, which is usual and needs no word.
pub(crate) fn confines_wholly(name: &str) -> bool {
    name == NAMESPACED
}

/// How a backend confines, for the first line of a run: a warning unless it is the whole of confinement.
pub(crate) fn painted_backend(name: &str, paint: Paint) -> String {
    match name {
        NAMESPACED => paint.good(NAMESPACED),
        IN_PROCESS => {
            paint.warn("in_process: tools run inside the daemon, not confined by the kernel")
        }
        other => paint.warn(&clean(other)),
    }
}

/// How a model's name is said: a label that says there is none keeps its own words.
pub(crate) fn model(label: &str) -> String {
    format!("model: {}", clean(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_moves_no_cursor() {
        assert_eq!(
            clean("a\u{1b}[2Jb\rc\u{7f}\u{9b}d\u{202e}e\n\tf"),
            "a [2Jb c  d e\n\tf"
        );
    }

    #[test]
    fn amounts_read_well_at_every_size() {
        assert_eq!(span(Span::from_millis(42)), "42ms");
        assert_eq!(span(Span::from_millis(420)), "0.4s");
        assert_eq!(span(Span::from_secs(184)), "3m04s");
        assert_eq!(money(MicroDollars(0)), "$0");
        assert_eq!(money(MicroDollars(42)), "$0.000042");
        assert_eq!(money(MicroDollars(2_500)), "$0.0025");
        assert_eq!(money(MicroDollars(1_234_567)), "$1.2345");
        assert_eq!(count(12_345), "12.3k");
        assert_eq!([count(9_999), count(10_000)], ["9999", "10k"]);
        assert_eq!([count(999_999), count(1_000_000)], ["999.9k", "1M"]);
        assert_eq!(count(5_250_000), "5.2M");
        assert_eq!(exact(MicroDollars(5_000_000)), "$5.00");
        assert_eq!(exact(MicroDollars(1_234_560)), "$1.23456");
        assert_eq!(exact(MicroDollars(42)), "$0.000042");
    }

    #[test]
    fn a_bar_is_empty_only_for_nothing_and_never_longer_than_itself() {
        let filled = |part, whole| bar(part, whole, Paint(false)).matches('█').count();
        assert_eq!(
            [filled(0, 10), filled(1, 1_000_000), filled(5, 10)],
            [0, 1, 10]
        );
        assert_eq!([filled(u64::MAX, 1), filled(3, 0)], [20, 20]);
    }

    #[test]
    fn progress_is_full_only_when_all_is_done_and_hides_no_failure() {
        let drawn = |done, failed| progress(done, failed, 1_000, Paint(false));
        assert_eq!(drawn(1_000, 0).matches('█').count(), 20);
        assert_eq!(drawn(999, 0).matches('█').count(), 19);
        assert_eq!(drawn(999, 1).matches('×').count(), 1);
        assert_eq!(drawn(0, 1_000).matches('×').count(), 20);
        assert!(
            [(0, 0), (999, 1), (1, 999)]
                .iter()
                .all(|(done, failed)| drawn(*done, *failed).chars().count() == 20)
        );
    }

    #[test]
    fn a_run_says_at_which_limit_it_waits() {
        let parked = Parked {
            limit: LimitKind::Cost,
            allowed: 5_000_000,
            used: 4_999_000,
            wanted: 2_000,
        };
        let plain = Paint(false);
        let said = run_standing(RunState::Parked, Some(&parked), 0, 0, plain);
        assert_eq!(said, "parked at cost ($4.999 of $5.00)");
        let said = run_standing(RunState::Waiting, None, 2, 1, plain);
        assert_eq!(said, "waiting for you (2), recovered once");
        let said = run_standing(RunState::Recovering, None, 0, 1, plain);
        assert_eq!(said, "recovering");
    }
}
