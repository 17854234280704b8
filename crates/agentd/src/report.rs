//! What people read when something went wrong, made once, here: what was being done, what stood in the way, what to do.

use aaos_core::{
    failure::{Failure, LimitKind},
    id::RunId,
};
use aaos_ports::JournalError;

/// There is nothing of this sort with this name; these are the names there are.
pub(crate) fn no_such(sort: &str, name: &str, names: &[&str]) -> String {
    let shown = aaos_core::text::preview(name, 64);
    format!(
        "there is no {sort} `{shown}`; there are: {}",
        names.join(", ")
    )
}

/// A failure as a problem and a next step.
pub(crate) fn failure_parts(failure: &Failure) -> (String, String) {
    match failure {
        Failure::Provider { next_step, .. } => {
            let text = failure.to_string();
            let tail = format!(". {next_step}");
            (
                text.strip_suffix(&tail).unwrap_or(&text).to_owned(),
                next_step.clone(),
            )
        }
        Failure::GoalRefused { reason, ways_on } => (
            format!("this goal cannot be planned without a model: {reason}"),
            ways_on.join("\n"),
        ),
        Failure::Launch { missing, next_step } => {
            (format!("no worker: {missing}"), next_step.clone())
        }
        Failure::Unrecoverable { problem, next_step } => (
            format!("the run cannot go on from its record: {problem}"),
            next_step.clone(),
        ),
        other => (other.to_string(), next_step(other)),
    }
}

/// A run's failure as a problem and a next step, whose commands name the run.
pub(crate) fn failure_of(run: RunId, failure: &Failure) -> (String, String) {
    let (problem, next_step) = failure_parts(failure);
    (problem, next_step.replace(" RUN", &format!(" {run}")))
}

/// A failure of the journal as a problem and a next step.
pub(crate) fn storage_parts(error: &JournalError) -> (String, String) {
    match error {
        JournalError::Storage {
            place,
            message,
            next_step,
        } => (format!("{place}: {message}"), next_step.clone()),
        other => (
            other.to_string(),
            "`agentd daemon restart`; `agentd audit verify` checks the journal".to_owned(),
        ),
    }
}

/// What to do about a failure that does not say so itself.
fn next_step(failure: &Failure) -> String {
    let text = match failure {
        Failure::PlanInvalid { .. } => {
            "Say the goal in smaller steps, or name a stronger model with --model provider/model"
        }
        Failure::Limit { kind, .. } => match kind {
            LimitKind::Tokens => {
                "`agentd budget RUN` shows where it went; raise it with --budget, for instance --budget 2mtokens"
            }
            LimitKind::Cost => {
                "`agentd budget RUN` shows where it went; raise it with --budget, for instance --budget 5usd, or have it wait with --park"
            }
            LimitKind::WallClock => "Raise it with --budget, for instance --budget 1h",
            LimitKind::Calls => "Raise it with --budget, for instance --budget 1000calls",
            LimitKind::Agents => "Raise it with --budget, for instance --budget 100agents",
            LimitKind::Depth => "Raise it with --budget, for instance --budget 3deep",
            LimitKind::FanOut => "Raise it with --budget, for instance --budget 100wide",
            LimitKind::RoleTokens
            | LimitKind::RoleCost
            | LimitKind::RoleCalls
            | LimitKind::RoleAgents => {
                "Raise it in the configuration, beneath [budget.roles], and submit it again; `agentd budget RUN` shows where it went"
            }
            LimitKind::OperatorDayTokens | LimitKind::OperatorDayCost => {
                "Submit it tomorrow (days are UTC), or raise [budget.operator] in the configuration; `agentd budget` shows where it went"
            }
            LimitKind::DayTokens | LimitKind::DayCost => {
                "Submit it tomorrow (days are UTC), or raise [budget.day] in the configuration; `agentd budget` shows where it went"
            }
            LimitKind::Turns | LimitKind::Repeats => {
                "Say the goal in smaller steps, or name a stronger model with --model provider/model"
            }
        },
        Failure::Truncated | Failure::OutputMissing { .. } | Failure::GaveUp { .. } => {
            "`agentd logs RUN` shows what the agent did; say the goal more exactly, or name a stronger model with --model"
        }
        Failure::Withheld => {
            "Say the goal differently, or name another model with --model provider/model"
        }
        Failure::Refused { .. } => {
            "If the run should be allowed this, submit it again with --grant"
        }
        Failure::Tool { .. } | Failure::Unready { .. } | Failure::Dependency { .. } => {
            "`agentd logs RUN` shows what came before"
        }
        Failure::Stopped => {
            "Submit it again to start over, or keep what had finished: `agentd fork RUN --at SUBTASK`"
        }
        Failure::Interrupted => "Submit it again; what was written is still there",
        Failure::Journal { .. } => {
            "Make room on the disk, or choose another state directory with --state-dir"
        }
        Failure::Provider { .. }
        | Failure::GoalRefused { .. }
        | Failure::Launch { .. }
        | Failure::Unrecoverable { .. } => "",
    };
    text.to_owned()
}
