//! Follows a run: a live tree on a terminal, plain lines when piped, JSON if asked for. Ctrl-C leaves the run alone.

use super::{
    CliError, Code, Desk,
    link::{Incoming, Link},
    screen::Screen,
    tree::{self, Watched},
    words::{self, Paint},
};
use crate::{
    rpc::wire::{self, Piece, WatchParams},
    world::SystemClock,
};
use aaos_core::{
    event::{Event, Kind, Outcome, Severity, StopReason},
    id::RunId,
    proof::Layer,
    tool::Placement,
};
use aaos_ports::Clock;
use std::time::Duration;

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

/// Watches a run until there are no more events to come. An error with code `Done` means that the operator detached.
pub(crate) async fn follow(
    desk: &Desk,
    link: &mut Link,
    params: &WatchParams,
    show: Show,
) -> Result<wire::Watched, CliError> {
    const DOING: &str = "follow the run";
    link.begin(DOING, "run.watch", params).await?;
    let mut shown = Shown {
        desk,
        show,
        paint: desk.paint(),
        watched: None,
        screen: Screen::new(),
        stay: Vec::new(),
    };
    let mut draw = tokio::time::interval(DRAW_TIME);
    loop {
        let incoming = tokio::select! {
            incoming = link.next(DOING) => incoming,
            _ = draw.tick(), if show == Show::Tree => {
                shown.draw()?;
                continue;
            }
            _ = tokio::signal::ctrl_c() => return Err(detach(desk, &params.run).await),
        };
        match incoming {
            Ok(Incoming::Piece(Piece::Event(event))) => shown.event(&event)?,
            Ok(Incoming::Piece(Piece::Gap { from, to })) => shown.gap(from, to)?,
            Ok(Incoming::Answer(answer)) => {
                shown.draw()?;
                let answer = answer.map_err(|fault| CliError::from_fault(DOING, fault))?;
                return link.understand(DOING, answer);
            }
            Err(error) => {
                shown.draw()?;
                return Err(error);
            }
        }
    }
}

/// Says how to come back, and waits a moment for a second Ctrl-C.
async fn detach(desk: &Desk, run: &str) -> CliError {
    desk.note(format!("\ndetached; {run} goes on. Come back with `agentd logs --follow {run}`, end it with `agentd stop {run}`"));
    let second = tokio::time::timeout(SECOND_CTRL_C, tokio::signal::ctrl_c()).await;
    CliError::quiet(if second.is_ok() {
        Code::Interrupted
    } else {
        Code::Done
    })
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
}

impl Shown<'_> {
    fn event(&mut self, event: &Event) -> Result<(), CliError> {
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
        let kept = self.show == Show::Lines || event.kind.severity() == Severity::Warning;
        let Some(body) = body(event, self.paint).filter(|_| kept) else {
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

    fn draw(&mut self) -> Result<(), CliError> {
        if self.show != Show::Tree {
            return Ok(());
        }
        let size = self.screen.size();
        let frame = self
            .watched
            .as_ref()
            .map(|watched| tree::frame(watched, SystemClock.now(), size, self.paint));
        let stay = std::mem::take(&mut self.stay);
        let cut =
            |line: &String| console::truncate_str(line, size.columns.max(1), "…").into_owned();
        let stay: Vec<String> = stay.iter().map(cut).collect();
        Ok(self.screen.draw(&stay, &frame.unwrap_or_default())?)
    }
}

/// What an event says to people; none if it is a detail.
pub(crate) fn body(event: &Event, paint: Paint) -> Option<String> {
    if event.kind.severity() == Severity::Detail {
        return None;
    }
    of_run(&event.kind, paint)
        .or_else(|| of_subtask(&event.kind, paint))
        .or_else(|| of_authority(&event.kind, paint))
        .or_else(|| of_worker(&event.kind, paint))
        .or_else(|| of_connection(&event.kind, paint))
        .or_else(|| of_model(&event.kind, paint))
        .or_else(|| of_tool(&event.kind, paint))
}

/// Bytes of a text that stay in a line.
const LINE_BYTES: usize = 200;

fn short(text: &str) -> String {
    words::one_line(text, LINE_BYTES)
}

fn of_run(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::OrchestrationSelected { mode, .. } => {
            format!("orchestration: {mode:?}").to_lowercase()
        }
        Kind::PlanProduced { plan, replans_used } => {
            let again = if *replans_used > 0 {
                format!(", plan {}", replans_used + 1)
            } else {
                String::new()
            };
            format!(
                "planned: {}{again}",
                words::plural(plan.subtasks.len() as u64, "subtask")
            )
        }
        Kind::PlanRefused { problems, .. } => {
            paint.warn(&format!("plan refused: {}", short(&problems.join("; "))))
        }
        Kind::PlanReplanned { reason, kept } => {
            let kept = words::plural(kept.len() as u64, "subtask");
            paint.warn(&format!(
                "planning again, keeping {kept}: {}",
                short(reason)
            ))
        }
        Kind::RunStopRequested { .. } => paint.warn("asked to stop"),
        Kind::RunFinished {
            outcome: Outcome::Succeeded { .. },
            ..
        } => paint.good("succeeded"),
        Kind::RunFinished {
            outcome: Outcome::Failed { failure },
            ..
        } => paint.bad(&format!("failed: {}", short(&failure.to_string()))),
        _ => return None,
    })
}

fn of_subtask(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::SubtaskStarted { role, .. } => format!("started as {role}"),
        Kind::SubtaskCompleted {
            outcome: Outcome::Succeeded { output },
            ..
        } => paint.good(&format!("done: {}", short(&output.describe()))),
        Kind::SubtaskCompleted {
            outcome: Outcome::Failed { failure },
            ..
        } => paint.bad(&format!("failed: {}", short(&failure.to_string()))),
        Kind::SubtaskSkipped { needs, .. } => paint.warn(&format!("skipped: it needs {needs}")),
        Kind::SubtaskTtlExpired { limit, .. } => paint.warn(limit.words()),
        Kind::SubtaskModelEscalated {
            from_model,
            to_model,
            ..
        } => {
            let (from, to) = (short(&from_model.to_string()), short(&to_model.to_string()));
            paint.warn(&format!("tried again with {to} after {from}"))
        }
        Kind::SubtaskOutputMissing { declared, .. } => {
            paint.warn(&format!("output missing: {}", short(declared)))
        }
        Kind::AgentSpawned { role, backend, .. } => {
            format!("agent {role} on {}", short(&backend.0))
        }
        Kind::AgentExecutionCompleted {
            stop: StopReason::Complete,
            turns,
        } => paint.dim(&format!(
            "finished after {}",
            words::plural(u64::from(*turns), "turn")
        )),
        Kind::AgentExecutionCompleted {
            stop: StopReason::Failed { failure },
            ..
        } => paint.bad(&format!("gave up: {}", short(&failure.to_string()))),
        _ => return None,
    })
}

fn of_authority(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::CapabilityRefused {
            wanted,
            axis,
            reason,
        } => paint.warn(&format!(
            "not granted ({axis}): {}: {}",
            short(wanted),
            short(reason)
        )),
        Kind::CapabilityDenied {
            tool,
            need,
            axis,
            reason,
        } => paint.warn(&format!(
            "denied ({axis}): {} may not {}: {}",
            short(tool),
            short(need),
            short(reason)
        )),
        Kind::CapabilityRevoked {
            grant, descendants, ..
        } => paint.dim(&format!(
            "revoked {grant} and {descendants} derived from it"
        )),
        Kind::BudgetRefused {
            limit,
            allowed,
            used,
            wanted,
        } => paint.warn(&format!(
            "budget: {} ({used} of {allowed} used, {wanted} more wanted)",
            limit.words()
        )),
        _ => return None,
    })
}

/// A worker that stands as required is no news: its calls are marked.
fn of_worker(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::WorkerStarted { missing, proof, .. } => {
            let usual = Layer::required_by_default();
            let waived: Vec<&str> = missing
                .iter()
                .filter(|layer| usual.contains(layer))
                .map(|layer| layer.name())
                .collect();
            if waived.is_empty() {
                return Some(paint.dim(&format!(
                    "worker confined: {} layers, {} attempts to get out stopped",
                    proof.layers.len(),
                    proof.canaries.len()
                )));
            }
            paint.warn(&format!(
                "worker without {}, which the configuration does not require",
                waived.join(", ")
            ))
        }
        Kind::WorkerRefused { missing, .. } => paint.bad(&format!("no worker: {}", short(missing))),
        Kind::WorkerLost { reason } => paint.bad(&format!("worker lost: {}", short(reason))),
        _ => return None,
    })
}

fn of_connection(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::ConnectionAllowed {
            method,
            url,
            address,
        } => {
            let reached = address
                .as_ref()
                .map_or_else(|| "not reached".to_owned(), |address| short(address));
            paint.dim(&format!("{} {} ({reached})", short(method), short(url)))
        }
        Kind::ConnectionRefused {
            method,
            url,
            axis,
            reason,
        } => paint.warn(&format!(
            "connection refused ({axis}): {} {}: {}",
            short(method),
            short(url),
            short(reason)
        )),
        Kind::ConnectionsOmitted { allowed, refused } => paint.warn(&format!(
            "{allowed} more connections allowed and {refused} refused"
        )),
        _ => return None,
    })
}

fn of_model(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::ModelRetried {
            model,
            attempt,
            wait_ms,
            reason,
        } => {
            let model = short(&model.to_string());
            paint.warn(&format!(
                "{model}: attempt {attempt} failed, again in {wait_ms} ms: {}",
                short(reason)
            ))
        }
        Kind::ModelFailed { failure } => paint.bad(&short(&failure.to_string())),
        Kind::ContextSummarized {
            messages,
            tokens_saved,
        } => paint.dim(&format!(
            "{messages} messages summarised, {tokens_saved} tokens saved"
        )),
        Kind::ContextSummarizationFailed {
            reason,
            messages_dropped,
        } => paint.warn(&format!(
            "no summary; {messages_dropped} messages left out: {}",
            short(reason)
        )),
        _ => return None,
    })
}

fn of_tool(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::ToolInvoked {
            tool,
            args_preview,
            execution_surface,
            ..
        } => {
            let place = match execution_surface {
                Placement::Worker => paint.good("[worker]"),
                Placement::Daemon => paint.dim("[daemon]"),
            };
            format!(
                "{} {} {place}",
                paint.tool(&short(tool)),
                short(args_preview)
            )
        }
        Kind::ToolResult {
            success: false,
            tool,
            result_preview,
            ..
        } => paint.bad(&format!(
            "{} failed: {}",
            short(tool),
            short(result_preview)
        )),
        Kind::ToolRejected { tool, problem } => paint.warn(&format!(
            "call of {} refused: {}",
            short(tool),
            short(problem)
        )),
        Kind::ToolRepeat {
            tool,
            attempt_count,
        } => paint.warn(&format!(
            "the same call of {} again ({attempt_count} times)",
            short(tool)
        )),
        Kind::ToolRepeatGuardFired {
            tool,
            attempt_count,
        } => paint.warn(&format!(
            "the same call of {} refused ({attempt_count} times)",
            short(tool)
        )),
        _ => return None,
    })
}

/// The parameters that follow a run from its beginning.
pub(crate) fn from_the_beginning(run: RunId) -> WatchParams {
    WatchParams {
        run: run.to_string(),
        after: 0,
        follow: true,
    }
}
