//! Follows a run: a live tree on a terminal, plain lines when piped, JSON if asked for. Ctrl-C leaves the run alone, and
//! a daemon that dies is waited for, or started again, and what was missed is caught up from the journal.

use super::{
    CliError, Code, Desk,
    link::{Incoming, Link},
    screen::Screen,
    start::{self, Absent},
    tell,
    tree::{self, Watched},
    words::{self, Paint},
};
use crate::{
    config::Config,
    rpc::{
        RunWatch,
        wire::{self, Piece, WatchParams},
    },
    world::SystemClock,
};
use aaos_core::{
    event::{Event, Kind, Seq, Severity},
    id::RunId,
};
use aaos_ports::Clock;
use std::time::{Duration, Instant};

/// How a run is shown while it is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// As a tree that is drawn again and again.
    Tree,
    /// As lines.
    Lines,
    /// As JSON, an event to a line.
    Json,
}

impl Show {
    /// What suits where the output goes.
    pub(crate) const fn suited(desk: &Desk) -> Self {
        match (desk.json(), desk.terminal) {
            (true, _) => Self::Json,
            (false, true) => Self::Tree,
            (false, false) => Self::Lines,
        }
    }
}

/// Time between two drawings: ten a second look alive and cost little.
const DRAW_TIME: Duration = Duration::from_millis(100);
/// Within this time a second Ctrl-C ends the command with its own exit code.
const SECOND_CTRL_C: Duration = Duration::from_secs(2);
/// Width of the name in a plain line.
const NAME_WIDTH: usize = 14;

/// Longest time a lost daemon is looked for without anything more of the run coming in: as long as a service manager
/// takes to start one again, and its recovery.
const AGAIN_TIME: Duration = Duration::from_secs(60);
/// Longest time a daemon that ended in order is looked for: as long as a restart takes. Nobody else starts it.
const RESTART_TIME: Duration = Duration::from_secs(3);
/// Pause between two attempts to reach it.
const AGAIN_PAUSE: Duration = Duration::from_millis(100);

/// What is being done, for people.
const fn doing(params: &WatchParams) -> &'static str {
    if params.follow {
        "follow the run"
    } else {
        "read the run's events"
    }
}

/// How one connection's watch ended.
enum End {
    /// With the daemon's answer: there is no more to come, or the daemon is going away.
    Answered(Box<wire::Watched>),
    /// The connection broke.
    Broke(CliError),
    /// The operator pressed Ctrl-C.
    Left,
}

/// Watches a run until there are no more events to come, over the daemon's death if need be. An error with code `Done`
/// means that the operator detached.
pub(crate) async fn follow(
    desk: &Desk,
    config: &Config,
    mut link: Link,
    mut params: WatchParams,
    show: Show,
) -> Result<wire::Watched, CliError> {
    let mut shown = Shown {
        desk,
        show,
        paint: desk.paint(),
        watched: None,
        screen: Screen::new(),
        stay: Vec::new(),
        last: Seq(params.after),
    };
    let mut progress = (shown.last, Instant::now());
    loop {
        let end = watch(&mut link, &params, &mut shown).await?;
        if shown.last > progress.0 {
            progress = (shown.last, Instant::now());
        }
        let (absent, patience, trouble) = match end {
            End::Left => return Err(detach(desk, &params.run).await),
            End::Answered(watched) if watched.detail.is_some() || !params.follow => {
                return Ok(*watched);
            }
            End::Answered(watched) => {
                params.run = watched.run.to_string();
                (Absent::Report, RESTART_TIME, going_away(watched.run))
            }
            End::Broke(error) if !params.follow => return Err(error),
            End::Broke(error) => {
                let left = AGAIN_TIME.saturating_sub(progress.1.elapsed());
                (Absent::Start, left, lost(&params.run, error))
            }
        };
        if absent == Absent::Start {
            shown.lift()?;
            desk.note("the daemon is gone; the run goes on as soon as it is back");
        }
        shown.draw()?;
        params.after = shown.last.0;
        let back = again(desk, config, absent, patience);
        link = tokio::select! {
            back = back => back.ok_or(trouble)?,
            _ = tokio::signal::ctrl_c() => return Err(detach(desk, &params.run).await),
        };
    }
}

/// Reaches the daemon again; none if it is not back in time.
async fn again(desk: &Desk, config: &Config, absent: Absent, patience: Duration) -> Option<Link> {
    let since = Instant::now();
    loop {
        if let Ok(link) = start::reach(desk, config, absent).await {
            return Some(link);
        }
        if since.elapsed() >= patience {
            return None;
        }
        tokio::time::sleep(AGAIN_PAUSE).await;
    }
}

/// That the daemon ended before the run did.
pub(super) fn going_away(run: RunId) -> CliError {
    let next_step = format!(
        "It goes on where it was when the daemon starts again: `agentd attach {run}` starts it"
    );
    CliError::new(
        Code::Unreachable,
        "see the run to its end",
        "the daemon has ended",
        next_step,
    )
}

fn lost(run: &str, error: CliError) -> CliError {
    let next_step = format!(
        "The run goes on when the daemon does: `agentd attach {run}` starts it and rejoins"
    );
    CliError { next_step, ..error }
}

/// Shows what comes in over one connection.
async fn watch(
    link: &mut Link,
    params: &WatchParams,
    shown: &mut Shown<'_>,
) -> Result<End, CliError> {
    let doing = doing(params);
    if let Err(error) = link.begin::<RunWatch>(doing, params).await {
        return Ok(End::Broke(error));
    }
    let mut draw = tokio::time::interval(DRAW_TIME);
    loop {
        let incoming = tokio::select! {
            incoming = link.next(doing) => incoming,
            _ = draw.tick(), if shown.show == Show::Tree => {
                shown.draw()?;
                continue;
            }
            _ = tokio::signal::ctrl_c() => return Ok(End::Left),
        };
        match incoming {
            Ok(Incoming::Piece(Piece::Event(event))) => shown.event(&event)?,
            Ok(Incoming::Piece(Piece::Gap { from, to })) => shown.gap(from, to)?,
            Ok(Incoming::Answer(answer)) => {
                shown.draw()?;
                let answer = answer.map_err(|fault| CliError::from_fault(doing, fault))?;
                return link
                    .understand(doing, answer)
                    .map(|watched| End::Answered(Box::new(watched)));
            }
            Err(error) => return Ok(End::Broke(error)),
        }
    }
}

/// Says how to come back, and waits a moment for a second Ctrl-C.
async fn detach(desk: &Desk, run: &str) -> CliError {
    desk.note(format!("\ndetached; {run} goes on. Come back with `agentd attach {run}`, end it with `agentd stop {run}`"));
    let second = tokio::time::timeout(SECOND_CTRL_C, tokio::signal::ctrl_c()).await;
    CliError::quiet(if second.is_ok() {
        Code::Interrupted
    } else {
        Code::Done
    })
}

/// Whether the tree shows it for as long as it is so.
const fn stands_in_tree(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ApprovalRequested { .. } | Kind::EffectInDoubt { .. } | Kind::RunParked { .. }
    )
}

/// What has been shown, and how.
struct Shown<'a> {
    desk: &'a Desk,
    show: Show,
    paint: Paint,
    watched: Option<Watched>,
    screen: Screen,
    /// Lines that are to stay above the tree.
    stay: Vec<String>,
    /// The last event that was shown.
    last: Seq,
}

impl Shown<'_> {
    fn event(&mut self, event: &Event) -> Result<(), CliError> {
        self.last = event.seq;
        if self.show == Show::Json {
            return self.desk.say_json(event);
        }
        match &mut self.watched {
            Some(watched) => watched.apply(event),
            None => self.watched = Watched::begin(event),
        }
        let name = self
            .watched
            .as_ref()
            .map_or_else(|| "run".to_owned(), |watched| watched.name(event));
        let kept = match self.show {
            Show::Tree => {
                event.kind.severity() == Severity::Warning && !stands_in_tree(&event.kind)
            }
            Show::Lines | Show::Json => true,
        };
        let Some(body) = tell::body(event, self.paint).filter(|_| kept) else {
            return Ok(());
        };
        let name = words::one_line(&name, NAME_WIDTH);
        self.line(format!(
            "[{}] {name:<NAME_WIDTH$}  {body}",
            words::clock(event.time)
        ))
    }

    fn gap(&mut self, from: u64, to: u64) -> Result<(), CliError> {
        if self.show == Show::Json {
            return self
                .desk
                .say_json(&serde_json::json!({ "gap": { "from": from, "to": to } }));
        }
        let text = format!("events {from} to {to} come late: this reader was slow");
        self.line(format!(
            "[--:--:--] {:<NAME_WIDTH$}  {}",
            "run",
            self.paint.warn(&text)
        ))
    }

    fn line(&mut self, line: String) -> Result<(), CliError> {
        if self.show == Show::Tree {
            self.stay.push(line);
            return Ok(());
        }
        self.desk.say(line)
    }

    /// Takes the tree away, so that what is said beside it stands above it when it is drawn again.
    fn lift(&mut self) -> Result<(), CliError> {
        match self.show {
            Show::Tree => Ok(self.screen.draw(&[], &[])?),
            Show::Lines | Show::Json => Ok(()),
        }
    }

    fn draw(&mut self) -> Result<(), CliError> {
        if self.show != Show::Tree {
            return Ok(());
        }
        let size = self.screen.size();
        let frame = self
            .watched
            .as_ref()
            .map(|watched| tree::frame(watched, SystemClock.now(), size, self.paint));
        // What stays may take several rows: it is not drawn again, and a failure is to be read whole.
        let stay = std::mem::take(&mut self.stay);
        Ok(self.screen.draw(&stay, &frame.unwrap_or_default())?)
    }
}
