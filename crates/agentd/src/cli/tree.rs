//! A run as a tree for the terminal: the goal's state, its subtasks, what each is doing. A pure function of what is
//! known, so that what is drawn can be tested.

use super::{
    picture::picture,
    words::{self, Paint},
};
use aaos_core::{
    event::{Event, Kind, RunView, SubtaskState, WaitsFor},
    id::AgentId,
    time::Timestamp,
    tool::Placement,
};
use std::collections::BTreeMap;

/// What is known of a run while it is watched.
pub(crate) struct Watched {
    /// The fold of its events.
    pub(crate) view: RunView,
    /// What each agent's hands are on.
    hands: BTreeMap<AgentId, String>,
    /// Whom each agent works for, in a word.
    names: BTreeMap<AgentId, String>,
}

impl Watched {
    /// A run that was just accepted; none if this is not its first event.
    pub(crate) fn begin(event: &Event) -> Option<Self> {
        RunView::begin(event).map(|view| Self {
            view,
            hands: BTreeMap::new(),
            names: BTreeMap::new(),
        })
    }

    /// Takes the next event.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.view.apply(event);
        let Some(agent) = event.subject.agent else {
            return;
        };
        match &event.kind {
            Kind::AgentSpawned { role, subtask, .. } => {
                let name = subtask
                    .as_ref()
                    .map_or_else(|| role.to_string(), ToString::to_string);
                self.names.insert(agent, name);
            }
            Kind::ToolInvoked {
                tool,
                args_preview,
                execution_surface,
                ..
            } => {
                let place = placement(*execution_surface);
                let text = format!(
                    "{} {} [{place}]",
                    words::one_line(tool, 40),
                    words::one_line(args_preview, 120)
                );
                self.hands.insert(agent, text);
            }
            Kind::ModelRequested { model, .. } => {
                let text = format!("asks {}", words::one_line(&model.to_string(), 60));
                self.hands.insert(agent, text);
            }
            Kind::ApprovalRequested { tool, .. } => {
                let text = format!("{} waits for your approval", words::one_line(tool, 40));
                self.hands.insert(agent, text);
            }
            Kind::EffectInDoubt { tool, .. } => {
                let text = format!("{} may have happened", words::one_line(tool, 40));
                self.hands.insert(agent, text);
            }
            Kind::ToolResult { .. }
            | Kind::ModelReplied { .. }
            | Kind::ModelFailed { .. }
            | Kind::ModelAbandoned { .. }
            | Kind::ApprovalAnswered { .. }
            | Kind::ApprovalExpired { .. }
            | Kind::EffectSettled { .. } => drop(self.hands.remove(&agent)),
            Kind::AgentStopped { .. } => {
                self.hands.remove(&agent);
                self.names.remove(&agent);
            }
            _ => {}
        }
    }

    /// Whom an event is about, in a word.
    pub(crate) fn name(&self, event: &Event) -> String {
        let of_agent = event
            .subject
            .agent
            .and_then(|agent| self.names.get(&agent).cloned());
        let of_kind = match &event.kind {
            Kind::SubtaskStarted { subtask, .. }
            | Kind::SubtaskCompleted { subtask, .. }
            | Kind::SubtaskSkipped { subtask, .. }
            | Kind::SubtaskKept { subtask, .. }
            | Kind::SubtaskTtlExpired { subtask, .. }
            | Kind::SubtaskModelEscalated { subtask, .. }
            | Kind::SubtaskOutputMissing { subtask, .. } => Some(subtask.to_string()),
            _ => None,
        };
        of_kind.or(of_agent).unwrap_or_else(|| "run".to_owned())
    }
}

/// The word for where a call runs.
pub(crate) const fn placement(placement: Placement) -> &'static str {
    match placement {
        Placement::Worker => "worker",
        Placement::Daemon => "daemon",
    }
}

/// Rows and columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Rows that may be drawn on.
    pub(crate) rows: usize,
    /// Columns that may be drawn on.
    pub(crate) columns: usize,
}

/// Rows of a tree that are not subtasks: the head, and the line that counts what is not shown.
const ROWS_OTHER: usize = 2;

/// The tree, a line to an entry, each at most as wide as the terminal, all together at most as high.
pub(crate) fn frame(watched: &Watched, now: Timestamp, size: Size, paint: Paint) -> Vec<String> {
    let view = &watched.view;
    let waits = waits(view, now, paint);
    let room = size.rows.saturating_sub(ROWS_OTHER + waits.len()).max(1);
    let mut lines = vec![head(view, now, paint)];
    lines.extend(picture(view, &watched.hands, now, room, paint));
    if view.subtasks.is_empty() {
        let agents = view.agents_running.iter().take(room);
        lines.extend(agents.map(|agent| agent_line(watched, agent, paint)));
    }
    lines.extend(waits);
    lines.truncate(size.rows.max(1));
    lines
        .into_iter()
        .map(|line| super::desk::cut(&line, size.columns))
        .collect()
}

/// Most acts that wait which are shown beneath the tree.
const WAITS_SHOWN_MAX: usize = 3;

/// What waits for the operator, with the command that answers it.
fn waits(view: &RunView, now: Timestamp, paint: Paint) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if let Some(parked) = &view.parked {
        lines.push(paint.warn(&format!(
            "  ? {}  (parked at {})",
            words::way_on(parked.limit, Some(view.run)),
            words::used_of(parked.limit, parked.used, parked.allowed)
        )));
    }
    lines.extend(view.waiting.iter().take(WAITS_SHOWN_MAX).map(|waiting| {
        let (tool, call) = (words::one_line(&waiting.tool, 40), waiting.call);
        let since = words::span(now.since(waiting.since));
        let what = match &waiting.what {
            WaitsFor::Approval { preview, .. } => {
                format!("{tool}: {}", words::one_line(preview, 120))
            }
            WaitsFor::Doubt { .. } => format!("{tool} may have happened"),
        };
        paint.warn(&format!(
            "  ? agentd approvals show {call}  (waits {since}; {what})"
        ))
    }));
    if view.waiting.len() > WAITS_SHOWN_MAX {
        let more = view.waiting.len() - WAITS_SHOWN_MAX;
        lines.push(paint.warn(&format!("  ? agentd approvals list  ({more} more)")));
    }
    lines
}

fn head(view: &RunView, now: Timestamp, paint: Paint) -> String {
    let done = view
        .subtasks
        .iter()
        .filter(|subtask| subtask.state == SubtaskState::Succeeded)
        .count();
    let elapsed = view.finished.unwrap_or(now).since(view.submitted);
    let mut parts = vec![words::painted_state(view.state, paint)];
    if !view.subtasks.is_empty() {
        parts.push(format!("{done}/{} subtasks", view.subtasks.len()));
    }
    parts.push(words::span(elapsed));
    parts.push(words::plural(view.tool_calls, "tool call"));
    parts.push(format!("{} tokens", words::count(view.usage.tokens())));
    parts.push(words::money(view.usage.cost));
    if view.warnings > 0 {
        parts.push(paint.warn(&words::plural(view.warnings, "warning")));
    }
    parts.join("  ")
}

fn agent_line(watched: &Watched, agent: &aaos_core::event::AgentView, paint: Paint) -> String {
    let hands = watched.hands.get(&agent.agent).cloned().unwrap_or_default();
    format!(
        "  {} {:<14} {}",
        paint.strong("▸"),
        agent.role,
        paint.tool(&hands)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;
    use aaos_core::{
        event::{BackendName, Outcome, Seq, Subject},
        failure::Failure,
        id::{CallId, RunId},
        model::Usage,
        plan::{Plan, Subtask},
    };

    fn event(seq: u64, kind: Kind) -> Event {
        let subject = Subject {
            run: Some(RunId::from_drawn(7)),
            ..Subject::default()
        };
        Event {
            seq: Seq(seq),
            time: Timestamp::from_micros(seq * 1_000_000),
            subject,
            kind,
        }
    }

    fn subtask(id: &str, after: &[&str]) -> Subtask {
        Subtask {
            id: id.parse().unwrap(),
            task: format!("task of {id}\u{1b}[2J"),
            role: "fetcher".parse().unwrap(),
            params: BTreeMap::new(),
            depends_on: after.iter().map(|id| id.parse().unwrap()).collect(),
            ttl: None,
        }
    }

    fn watched(subtasks: Vec<Subtask>) -> Watched {
        let submitted = Kind::RunSubmitted {
            goal: "goal".to_owned(),
            base: "/".to_owned(),
            folder: "/r".to_owned(),
            operator: 1,
            profile: "default".to_owned(),
            backend: BackendName("in_process".to_owned()),
            model: "none (rules)".to_owned(),
            terms: String::new(),
            budget: aaos_core::budget::Budget::default(),
            forked: None,
        };
        let mut watched = Watched::begin(&event(1, submitted)).unwrap();
        let result = subtasks.last().unwrap().id.clone();
        watched.apply(&event(
            2,
            Kind::PlanProduced {
                plan: Plan { subtasks, result },
                replans_used: 0,
            },
        ));
        let started = Kind::SubtaskStarted {
            subtask: "a".parse().unwrap(),
            role: "fetcher".parse().unwrap(),
        };
        watched.apply(&event(3, started));
        watched
    }

    #[test]
    fn the_tree_shows_what_runs_what_waits_and_what_follows() {
        let watched = watched(vec![
            subtask("a", &[]),
            subtask("b", &[]),
            subtask("c", &["a", "b"]),
        ]);
        let size = Size {
            rows: 20,
            columns: 100,
        };
        let lines = frame(
            &watched,
            Timestamp::from_micros(5_000_000),
            size,
            Paint(false),
        );
        assert!(
            lines[0].contains("0/3 subtasks") && lines[0].contains("4.0s"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("  ▸ a") && lines[1].contains("2.0s"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("  · b") && lines[3].starts_with("    · c"),
            "{lines:?}"
        );
        assert!(
            lines.iter().all(|line| !line.contains('\u{1b}')),
            "{lines:?}"
        );
    }

    #[test]
    fn a_thousand_subtasks_fit_the_terminal_and_the_running_ones_are_seen() {
        let mut subtasks: Vec<Subtask> = (0..999)
            .map(|number| subtask(&format!("s{number}"), &[]))
            .collect();
        subtasks.push(subtask("a", &[]));
        let size = Size {
            rows: 24,
            columns: 60,
        };
        let lines = frame(
            &watched(subtasks),
            Timestamp::from_micros(5_000_000),
            size,
            Paint(true),
        );
        assert!(lines.len() <= size.rows, "{}", lines.len());
        assert!(
            lines
                .iter()
                .any(|line| line.contains("▸") && line.contains(" a ")),
            "{lines:?}"
        );
        assert!(lines.last().unwrap().contains("999 waiting"), "{lines:?}");
        assert!(
            lines
                .iter()
                .all(|line| console::measure_text_width(line) <= size.columns)
        );
    }

    fn of_agent(seq: u64, kind: Kind) -> Event {
        let mut event = event(seq, kind);
        event.subject.agent = Some(AgentId::from_drawn(1));
        event.subject.call = Some(CallId::from_drawn(2));
        event
    }

    #[test]
    fn an_act_that_waits_shows_how_long_and_a_subtask_that_waits_shows_for_what() {
        let mut watched = watched(vec![subtask("a", &[]), subtask("bb", &["a"])]);
        let spawned = Kind::AgentSpawned {
            role: "fetcher".parse().unwrap(),
            subtask: Some("a".parse().unwrap()),
            parent: None,
            backend: BackendName("in_process".to_owned()),
            model: None,
            rests_on: None,
        };
        let asked = Kind::ApprovalRequested {
            tool: "http_send".to_owned(),
            input_hash: String::new(),
            rule: "tool: http_send".to_owned(),
            preview: "POST https://a.example/".to_owned(),
            body: String::new(),
            expires: Timestamp::from_micros(9_000_000_000),
            again: None,
        };
        watched.apply(&of_agent(4, spawned));
        watched.apply(&of_agent(5, asked));
        let size = Size {
            rows: 20,
            columns: 100,
        };
        let now = Timestamp::from_micros(65_000_000);
        let lines = frame(&watched, now, size, Paint(false));
        assert!(
            lines[1].starts_with("  ? a     fetcher")
                && lines[1].ends_with("waits 1m00s: http_send"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("    · bb  fetcher") && lines[2].contains("after a: task of bb"),
            "{lines:?}"
        );
        let answer = format!("  ? agentd approvals show {}", CallId::from_drawn(2));
        assert!(
            lines[3].starts_with(&answer) && lines[3].contains("waits 1m00s; http_send: POST"),
            "{lines:?}"
        );
        let low = Size {
            rows: 2,
            columns: 100,
        };
        assert_eq!(frame(&watched, now, low, Paint(false)).len(), 2);
    }

    #[test]
    fn a_run_that_ended_early_says_what_was_not_begun() {
        let mut subtasks: Vec<Subtask> = (0..99)
            .map(|number| subtask(&format!("s{number}"), &[]))
            .collect();
        subtasks.push(subtask("a", &["s0", "s1", "s2", "s3"]));
        let mut watched = watched(subtasks);
        let size = Size {
            rows: 200,
            columns: 100,
        };
        let now = Timestamp::from_micros(5_000_000);
        let open = frame(&watched, now, size, Paint(false));
        assert!(
            open.iter().all(|line| !line.contains("waiting")),
            "all are shown: {open:?}"
        );
        let finished = Kind::RunFinished {
            outcome: Outcome::Failed {
                failure: Failure::Stopped,
            },
            usage: Usage::default(),
        };
        watched.apply(&event(6, finished));
        let low = Size { rows: 10, ..size };
        let lines = frame(&watched, now, low, Paint(false));
        let tally = lines.last().unwrap();
        assert!(
            tally.contains("99 not begun") && tally.contains("░"),
            "{lines:?}"
        );
    }
}
