//! A run's plan as a picture for people: every subtask beneath what it needs, what it waits for, what it took. The same
//! for a run that is watched and for one that is looked at later.

use super::words::{self, Paint};
use aaos_core::{
    event::{Outcome, RunView, SubtaskState, SubtaskView, Waiting},
    id::{AgentId, SubtaskId},
    time::Timestamp,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// The subtasks of a run, each beneath what it needs, with its state, time and money and what its agent's hands are
/// on; at most `room` of them, and then a line that counts them all.
pub(crate) fn picture(
    view: &RunView,
    hands: &BTreeMap<AgentId, String>,
    now: Timestamp,
    room: usize,
    paint: Paint,
) -> Vec<String> {
    let depths = depths(&view.subtasks);
    let shown = chosen(&view.subtasks, room);
    let indent = |subtask: &SubtaskView| 2 * (1 + depths.get(&subtask.id).copied().unwrap_or(0));
    let name = |subtask: &&SubtaskView| indent(subtask) + subtask.id.as_str().len();
    let columns = Columns {
        name: shown
            .iter()
            .map(name)
            .max()
            .unwrap_or(0)
            .min(NAME_WIDTH_MAX),
        role: shown
            .iter()
            .map(|one| one.role.as_str().len())
            .max()
            .unwrap_or(0),
        money: view.subtasks.iter().any(|one| one.usage.cost.0 > 0),
    };
    let undone = view
        .subtasks
        .iter()
        .filter(|subtask| subtask.state != SubtaskState::Succeeded)
        .map(|subtask| &subtask.id)
        .collect();
    let seen = Seen {
        view,
        hands,
        undone,
        held_up: held_up(view),
        now,
        paint,
    };
    let mut lines: Vec<String> = shown
        .iter()
        .map(|subtask| {
            let (mark, doing) = seen.doing(subtask);
            let indent = " ".repeat(indent(subtask));
            columns.line(&indent, &mark, subtask, now, &doing)
        })
        .collect();
    if shown.len() < view.subtasks.len() {
        lines.push(format!("  {}", tally(view, paint)));
    }
    lines
}

/// Most columns for a name and its indentation: half of a narrow terminal.
const NAME_WIDTH_MAX: usize = 40;

/// How wide the parts of a subtask's line are, so that they stand beneath each other whatever the indentation.
struct Columns {
    name: usize,
    role: usize,
    money: bool,
}

impl Columns {
    fn line(
        &self,
        indent: &str,
        mark: &str,
        subtask: &SubtaskView,
        now: Timestamp,
        doing: &str,
    ) -> String {
        let elapsed = subtask
            .started
            .map(|started| words::span(subtask.finished.unwrap_or(now).since(started)));
        let cost = match (self.money, subtask.usage.cost.0) {
            (false, _) => String::new(),
            (true, 0) => format!("{:>10}", ""),
            (true, _) => format!(" {:>9}", words::money(subtask.usage.cost)),
        };
        let name = self.name.saturating_sub(indent.len());
        format!(
            "{indent}{mark} {:<name$}  {:<role$} {:>6}{cost}  {doing}",
            subtask.id,
            subtask.role,
            elapsed.unwrap_or_default(),
            role = self.role,
        )
    }
}

/// A run as it is seen now.
struct Seen<'a> {
    view: &'a RunView,
    hands: &'a BTreeMap<AgentId, String>,
    /// Subtasks that have not delivered.
    undone: BTreeSet<&'a SubtaskId>,
    /// Subtasks that wait for the operator, each with the act that has waited longest.
    held_up: BTreeMap<&'a SubtaskId, &'a Waiting>,
    now: Timestamp,
    paint: Paint,
}

impl Seen<'_> {
    /// A subtask's mark, and what there is to say of it: what it waits for, what its agent does, how it ended.
    fn doing(&self, subtask: &SubtaskView) -> (String, String) {
        let paint = self.paint;
        let mark = words::mark(subtask.state, paint);
        let task = || words::one_line(&subtask.task, 160);
        let text = match (subtask.state, &subtask.outcome) {
            (SubtaskState::Running, _) => {
                if let Some(waiting) = self.held_up.get(&subtask.id) {
                    let tool = words::one_line(&waiting.tool, 40);
                    let since = words::span(self.now.since(waiting.since));
                    let said = format!("waits {since}: {tool}");
                    return (paint.warn("?"), paint.warn(&said));
                }
                let hands = subtask.agent.and_then(|agent| self.hands.get(&agent));
                hands.map_or_else(task, |hands| paint.tool(hands))
            }
            (SubtaskState::Waiting, _) if !self.view.state.is_final() => {
                paint.dim(&format!("{}{}", after(subtask, &self.undone), task()))
            }
            (_, Some(Outcome::Failed { failure })) => paint.bad(&words::failure(failure, 160)),
            (
                _,
                Some(Outcome::Succeeded {
                    output: output @ Value::Artifact { .. },
                }),
            ) => paint.dim(&words::one_line(&output.describe(), 200)),
            _ => paint.dim(&task()),
        };
        (mark, text)
    }
}

/// For each subtask of which an act waits for the operator, the one that has waited longest.
fn held_up(view: &RunView) -> BTreeMap<&SubtaskId, &Waiting> {
    let agents = view.agents_running.iter();
    let works_for: BTreeMap<AgentId, &SubtaskId> = agents
        .filter_map(|agent| Some((agent.agent, agent.subtask.as_ref()?)))
        .collect();
    let mut held_up = BTreeMap::new();
    for waiting in &view.waiting {
        if let Some(subtask) = works_for.get(&waiting.agent) {
            held_up.entry(*subtask).or_insert(waiting);
        }
    }
    held_up
}

/// Most needs of a subtask that are named.
const NEEDS_SHOWN_MAX: usize = 3;

/// What a subtask still needs: `after fetch-1, fetch-2: `.
fn after(subtask: &SubtaskView, undone: &BTreeSet<&SubtaskId>) -> String {
    let open: Vec<&str> = subtask
        .needs
        .iter()
        .filter(|need| undone.contains(need))
        .map(SubtaskId::as_str)
        .collect();
    let named = open.iter().take(NEEDS_SHOWN_MAX).copied();
    let named = named.collect::<Vec<_>>().join(", ");
    match open.len() {
        0 => String::new(),
        1..=NEEDS_SHOWN_MAX => format!("after {named}: "),
        more => format!("after {named} and {} more: ", more - NEEDS_SHOWN_MAX),
    }
}

/// Steps of indentation that are shown; deeper subtasks stand beneath each other.
const DEPTH_SHOWN_MAX: usize = 6;

/// How many subtasks lie before each, at most. Takes them in plan order and again until nothing changes, but no more
/// often than indentation shows.
fn depths(subtasks: &[SubtaskView]) -> BTreeMap<SubtaskId, usize> {
    let mut depths: BTreeMap<SubtaskId, usize> = subtasks
        .iter()
        .map(|subtask| (subtask.id.clone(), 0))
        .collect();
    for _ in 0..DEPTH_SHOWN_MAX {
        let mut changed = false;
        for subtask in subtasks {
            let deepest = subtask
                .needs
                .iter()
                .filter_map(|need| depths.get(need))
                .max();
            let depth = deepest.map_or(0, |depth| depth + 1).min(DEPTH_SHOWN_MAX);
            changed |= depths.insert(subtask.id.clone(), depth) != Some(depth);
        }
        if !changed {
            break;
        }
    }
    depths
}

/// At most `room` subtasks in plan order: those that run or failed first, then those that ended last, then the rest.
fn chosen(subtasks: &[SubtaskView], room: usize) -> Vec<&SubtaskView> {
    if subtasks.len() <= room {
        return subtasks.iter().collect();
    }
    let weight = |subtask: &SubtaskView| match subtask.state {
        SubtaskState::Running => 0,
        SubtaskState::Failed => 1,
        SubtaskState::Succeeded => 2,
        SubtaskState::Waiting => 3,
        SubtaskState::Skipped => 4,
    };
    let mut order: Vec<usize> = (0..subtasks.len()).collect();
    let key = |at: &usize| {
        subtasks
            .get(*at)
            .map(|subtask| (weight(subtask), std::cmp::Reverse(subtask.finished)))
    };
    order.sort_by_key(key);
    let kept: BTreeSet<usize> = order.into_iter().take(room).collect();
    kept.into_iter().filter_map(|at| subtasks.get(at)).collect()
}

/// How many subtasks are in each state, as a bar and in words.
fn tally(view: &RunView, paint: Paint) -> String {
    let count = |state| {
        let of_state = view
            .subtasks
            .iter()
            .filter(|subtask| subtask.state == state);
        of_state.count()
    };
    let unbegun = if view.state.is_final() {
        "not begun"
    } else {
        "waiting"
    };
    let states = [
        (SubtaskState::Succeeded, "done"),
        (SubtaskState::Running, "running"),
        (SubtaskState::Waiting, unbegun),
        (SubtaskState::Failed, "failed"),
        (SubtaskState::Skipped, "skipped"),
    ];
    let said: Vec<String> = states
        .iter()
        .map(|(state, word)| (count(*state), word))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    let done = count(SubtaskState::Succeeded) as u64;
    let failed = count(SubtaskState::Failed) as u64;
    let bar = words::progress(done, failed, view.subtasks.len() as u64, paint);
    format!("{bar}  {}", paint.dim(&said.join(" · ")))
}
