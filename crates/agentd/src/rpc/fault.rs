//! What a method answers with when it does not do what it was asked.

use aaos_ports::GoalError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why, as callers tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Not JSON.
    Parse,
    /// JSON, but no request.
    Request,
    /// No such method.
    Method,
    /// Parameters do not fit.
    Params,
    /// The daemon's own fault.
    Internal,
    /// The peer is not one the daemon works for.
    Peer,
    /// Too many connections or requests.
    Busy,
    /// Nothing has this name or id.
    Unknown,
    /// The run has already ended.
    Ended,
    /// The goal, its grants or its limits were refused.
    Refused,
    /// The daemon takes no goals now.
    Unavailable,
    /// It was tried and failed.
    Failed,
}

/// Every code, with its kind and its meaning for the reference.
pub(crate) const CODES: &[(FaultKind, i64, &str)] = &[
    (FaultKind::Parse, -32700, "The line is not JSON."),
    (
        FaultKind::Request,
        -32600,
        "The line is JSON but no request: a batch, a wrong version, no method, or too long.",
    ),
    (FaultKind::Method, -32601, "There is no such method."),
    (
        FaultKind::Params,
        -32602,
        "The parameters do not fit the method.",
    ),
    (
        FaultKind::Internal,
        -32603,
        "The daemon could not do it, through no fault of the request.",
    ),
    (
        FaultKind::Peer,
        -32001,
        "The daemon does not work for this peer.",
    ),
    (
        FaultKind::Busy,
        -32002,
        "Too many connections, or too many requests in flight on this one.",
    ),
    (
        FaultKind::Unknown,
        -32003,
        "Nothing has this id or name, or several have; the data lists candidates.",
    ),
    (FaultKind::Ended, -32004, "The run has already ended."),
    (
        FaultKind::Refused,
        -32005,
        "The goal, its grants or its limits were refused; nothing was started.",
    ),
    (
        FaultKind::Unavailable,
        -32006,
        "The daemon takes no goals: it is going away, or cannot record anything.",
    ),
    (
        FaultKind::Failed,
        -32007,
        "It was tried and failed; the data holds the failure.",
    ),
];

/// Where to look for a run that is not known.
pub(super) const RUNS_THERE_ARE: &str = "`agentd list` shows the runs there are";

/// A refusal: what is wrong and what to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// Its code.
    pub(crate) code: i64,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) next_step: String,
    /// What was meant, perhaps.
    pub(crate) candidates: Vec<String>,
}

/// A refusal on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct WireData {
    problem: String,
    next_step: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<String>,
}

impl Fault {
    /// A refusal.
    pub(crate) fn new(
        kind: FaultKind,
        problem: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        let code = CODES
            .iter()
            .find(|(known, ..)| *known == kind)
            .map_or(-32603, |(_, code, _)| *code);
        Self {
            code,
            problem: problem.into(),
            next_step: next_step.into(),
            candidates: Vec::new(),
        }
    }

    /// What kind of refusal it is, if the code is known.
    pub(crate) fn kind(&self) -> Option<FaultKind> {
        CODES
            .iter()
            .find(|(_, code, _)| *code == self.code)
            .map(|(kind, ..)| *kind)
    }

    /// The daemon's own fault.
    pub(crate) fn internal(problem: &str) -> Self {
        Self::new(
            FaultKind::Internal,
            problem,
            "Look into the daemon's log, and report it if it comes again",
        )
    }

    /// There is nothing of this sort with this name; these are the names there are.
    pub(super) fn no_such(kind: FaultKind, sort: &str, name: &str, names: &[&str]) -> Self {
        let shown = aaos_core::text::preview(name, 64);
        Self::new(
            kind,
            format!("there is no {sort} `{shown}`"),
            format!("There are: {}", names.join(", ")),
        )
    }

    /// What an operator gave as a reason is longer than this, if it is.
    pub(super) fn check_reason(reason: &str, bytes_max: usize) -> Result<(), Self> {
        if reason.len() <= bytes_max {
            return Ok(());
        }
        let problem = format!("the reason is longer than {bytes_max} bytes");
        Err(Self::new(
            FaultKind::Refused,
            problem,
            "Say it in fewer words",
        ))
    }

    pub(super) fn params(method: &str, error: &serde_json::Error) -> Self {
        let problem = format!(
            "the parameters of {method} do not fit: {}",
            aaos_core::text::preview(&error.to_string(), 300)
        );
        Self::new(
            FaultKind::Params,
            problem,
            "`agentd docs rpc` prints what every method takes",
        )
    }

    /// As the `error` member of an answer.
    pub(crate) fn to_wire(&self) -> Value {
        let data = WireData {
            problem: self.problem.clone(),
            next_step: self.next_step.clone(),
            candidates: self.candidates.clone(),
        };
        json!({ "code": self.code, "message": self.problem, "data": data })
    }

    /// Reads the `error` member of an answer.
    pub(crate) fn from_wire(error: &Value) -> Self {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(-32603);
        let data = error
            .get("data")
            .cloned()
            .and_then(|data| serde_json::from_value::<WireData>(data).ok());
        match data {
            Some(data) => Self {
                code,
                problem: data.problem,
                next_step: data.next_step,
                candidates: data.candidates,
            },
            None => {
                let message = error
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("the daemon refused without a word");
                Self {
                    code,
                    problem: message.to_owned(),
                    next_step: String::new(),
                    candidates: Vec::new(),
                }
            }
        }
    }
}

impl From<GoalError> for Fault {
    fn from(error: GoalError) -> Self {
        let text = error.to_string();
        match error {
            GoalError::Invalid { problem, next_step } => {
                Self::new(FaultKind::Refused, problem, next_step)
            }
            GoalError::Unknown(run) => Self::new(
                FaultKind::Unknown,
                format!("there is no {run}, or its content was erased"),
                RUNS_THERE_ARE,
            ),
            GoalError::Ended(run) => Self::new(
                FaultKind::Ended,
                text,
                format!("`agentd status {run}` shows how"),
            ),
            GoalError::Unavailable { .. } => Self::new(
                FaultKind::Unavailable,
                text,
                "`agentd daemon status` and the daemon's log say more",
            ),
            GoalError::Failed(failure) => {
                let (problem, next_step) = crate::report::failure_parts(&failure);
                Self::new(FaultKind::Failed, problem, next_step)
            }
        }
    }
}

impl From<crate::authority::AuthorityError> for Fault {
    fn from(error: crate::authority::AuthorityError) -> Self {
        Self::new(FaultKind::Refused, error.problem, error.next_step)
    }
}
