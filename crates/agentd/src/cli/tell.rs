//! What an event says to people: one line, plain words. Details say nothing; what waits for the operator says which
//! command answers it.

use super::words::{self, Paint};
use aaos_core::{
    approval::{Answer, Settlement},
    event::{Event, Kind, Outcome, Severity, StopReason},
    failure::Failure,
    id::{CallId, RunId},
    proof::Layer,
    tool::Placement,
};

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
        .or_else(|| of_going_on(event, paint))
        .or_else(|| of_waiting(event, paint))
        .or_else(|| of_record(&event.kind, paint))
}

/// Bytes of a text that stay in a line.
const LINE_BYTES: usize = 200;

fn short(text: &str) -> String {
    words::one_line(text, LINE_BYTES)
}

fn why(failure: &Failure) -> String {
    words::failure(failure, LINE_BYTES)
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
        } => paint.bad(&format!("failed: {}", why(failure))),
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
        } => paint.bad(&format!("failed: {}", why(failure))),
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
        Kind::SubtaskKept { output, .. } => paint.good(&format!(
            "kept from the run this was made from: {}",
            short(&output.describe())
        )),
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
        } => paint.bad(&format!("gave up: {}", why(failure))),
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
            "budget: {} ({} of {} used, {} more wanted)",
            limit.words(),
            limit.amount(*used),
            limit.amount(*allowed),
            limit.amount(*wanted)
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
        Kind::ModelAbandoned {
            model,
            tokens,
            cost,
        } => paint.warn(&format!(
            "a request to {} was cut off; {tokens} tokens and {} count as spent",
            short(&model.to_string()),
            words::money(*cost)
        )),
        Kind::ModelFailed { failure } => paint.bad(&why(failure)),
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

/// Going on after the daemon ended, or after a limit was raised.
fn of_going_on(event: &Event, paint: Paint) -> Option<String> {
    Some(match &event.kind {
        Kind::RunRecovering { attempt } => {
            let again = if *attempt > 1 {
                format!(", attempt {attempt}")
            } else {
                String::new()
            };
            paint.warn(&format!(
                "the daemon ended while this ran; recovering{again}"
            ))
        }
        Kind::RunResumed {
            subtasks_kept,
            agents_resumed,
            calls_cut_off,
        } => paint.good(&format!(
            "goes on: {} kept, {} resumed, {} cut off",
            words::plural(u64::from(*subtasks_kept), "finished subtask"),
            words::plural(u64::from(*agents_resumed), "agent"),
            words::plural(u64::from(*calls_cut_off), "call")
        )),
        Kind::RunParked {
            limit,
            allowed,
            used,
            wanted,
        } => paint.warn(&format!(
            "parked at its limit of {}, {} more wanted: {}",
            words::used_of(*limit, *used, *allowed),
            words::amount(*limit, *wanted),
            words::way_on(*limit, event.subject.run)
        )),
        Kind::BudgetRaised { budget, .. } => {
            paint.good(&format!("budget raised: {}", words::budget(budget)))
        }
        Kind::ToolRepeated { tool, reason } => paint.warn(&format!(
            "{} is performed again: {}",
            short(tool),
            short(reason)
        )),
        _ => return None,
    })
}

/// What waits for the operator, and what became of it.
fn of_waiting(event: &Event, paint: Paint) -> Option<String> {
    Some(match &event.kind {
        Kind::ApprovalRequested {
            tool,
            rule,
            preview,
            again,
            ..
        } => {
            let call = event.subject.call;
            let again = again.as_ref().map_or_else(String::new, |why| {
                format!(", asked again because {}", short(why))
            });
            paint.warn(&format!(
                "{} waits for your approval ({}{again}): {}{}",
                short(tool),
                short(rule),
                short(preview),
                answers(call)
            ))
        }
        Kind::ApprovalAnswered { tool, answer, .. } => match answer {
            Answer::Approve { always: None } => paint.good(&format!("{} approved", short(tool))),
            Answer::Approve {
                always: Some(always),
            } => {
                let ahead = words::span(*always);
                paint.good(&format!(
                    "{} approved, and further calls for {ahead}",
                    short(tool)
                ))
            }
            Answer::Deny { reason } => {
                paint.bad(&format!("{} denied: {}", short(tool), short(reason)))
            }
        },
        Kind::ApprovalExpired { tool, waited } => paint.bad(&format!(
            "nobody approved {} in {}; it is refused",
            short(tool),
            words::span(*waited)
        )),
        Kind::EffectInDoubt {
            tool,
            args_preview,
            why,
            ..
        } => paint.warn(&format!(
            "{} {} may or may not have happened: {}{}",
            short(tool),
            short(args_preview),
            short(why),
            settlements(event.subject.run, event.subject.call)
        )),
        Kind::EffectSettled {
            settlement, reason, ..
        } => {
            let what = match settlement {
                Settlement::Done => "it happened, and is not done again",
                Settlement::Repeat => "it is done again",
                Settlement::GiveUp => "it is left as it is; the agent is told that it failed",
            };
            paint.good(&format!("settled: {what} ({})", short(reason)))
        }
        _ => return None,
    })
}

/// The commands that answer a request for approval.
fn answers(call: Option<CallId>) -> String {
    call.map_or_else(String::new, |call| {
        format!(". `agentd approvals show {call}`, then `agentd approvals approve {call}` or `agentd approvals deny {call}`")
    })
}

/// The command that settles an act in doubt.
fn settlements(run: Option<RunId>, call: Option<CallId>) -> String {
    match (run, call) {
        (Some(run), Some(call)) => {
            format!(". `agentd settle {run} {call}` with --done, --repeat or --give-up")
        }
        _ => String::new(),
    }
}

/// What is done to the record itself.
fn of_record(kind: &Kind, paint: Paint) -> Option<String> {
    Some(match kind {
        Kind::ContentErased {
            erased,
            events,
            bodies,
            reason,
            ..
        } => paint.warn(&format!(
            "the content of {erased} was erased, {} and {}: {}",
            words::plural(*events, "event"),
            words::plural(*bodies, "stored body"),
            short(reason)
        )),
        _ => return None,
    })
}
