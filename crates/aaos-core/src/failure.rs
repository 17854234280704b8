//! Why a subtask or a run failed, as typed data that reaches the journal, the command line and the exit code.

use crate::{id::SubtaskId, money::MicroDollars};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a provider could not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderFault {
    /// No connection.
    Unreachable,
    /// The key is missing or refused.
    Unauthorised,
    /// The provider does not know the model.
    UnknownModel,
    /// Too many requests, and waiting did not help.
    RateLimited,
    /// No answer in time.
    TimedOut,
    /// The provider reported a fault of its own.
    Server,
    /// The request was refused as malformed.
    BadRequest,
    /// The answer could not be understood.
    BadReply,
    /// Nothing more to say: a scripted model's file has ended, or its next reply does not fit.
    ScriptEnded,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Model requests in one agent.
    Turns,
    /// Tokens of the run.
    Tokens,
    /// Money of the run, in micro-dollars.
    Cost,
    /// Tool calls of the run.
    Calls,
    /// Agents of the run.
    Agents,
    /// Agents below agents.
    Depth,
    /// Children of one agent.
    FanOut,
    /// Time, in milliseconds.
    WallClock,
    /// The same tool call again and again.
    Repeats,
    /// Tokens of all agents of a role, with those below them.
    RoleTokens,
    /// Money of all agents of a role, with those below them, in micro-dollars.
    RoleCost,
    /// Tool calls of all agents of a role, with those below them.
    RoleCalls,
    /// Agents of a role and those below them.
    RoleAgents,
    /// Tokens of all runs of one operator on one day.
    OperatorDayTokens,
    /// Money of all runs of one operator on one day, in micro-dollars.
    OperatorDayCost,
    /// Tokens of all runs on one day.
    DayTokens,
    /// Money of all runs on one day, in micro-dollars.
    DayCost,
}

/// Why a subtask or a run failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Failure {
    /// A model could not be asked.
    Provider {
        /// The provider's configured name.
        provider: String,
        /// The model's name.
        model: String,
        /// What it could not do.
        fault: ProviderFault,
        /// HTTP status, if there was one.
        status: Option<u16>,
        /// The provider's words, cut short.
        message: String,
        /// What the operator can do.
        next_step: String,
    },
    /// The planner refused the goal as outside what it does.
    GoalRefused {
        /// Why.
        reason: String,
        /// What the operator can do instead.
        ways_on: Vec<String>,
    },
    /// No valid plan came, however often it was asked for.
    PlanInvalid {
        /// What was wrong with the last one.
        problems: Vec<String>,
        /// The planner's last words, cut short.
        reply: String,
    },
    /// A limit was reached.
    Limit {
        /// Which.
        kind: LimitKind,
        /// Its value, in the kind's unit.
        limit: u64,
    },
    /// The model ran into its output limit before it had finished.
    Truncated,
    /// The provider withheld the answer.
    Withheld,
    /// A declared output does not exist or does not parse.
    OutputMissing {
        /// What was declared: a path, or `json`.
        declared: String,
        /// What was found instead.
        found: String,
    },
    /// Authority was refused.
    Refused {
        /// What was wanted.
        wanted: String,
        /// The axis on which it exceeds what is held.
        axis: String,
        /// Why, in words.
        reason: String,
    },
    /// A tool failed where failing is the end: in a scaffold.
    Tool {
        /// The tool.
        tool: String,
        /// What went wrong.
        message: String,
    },
    /// A subtask could not be made into an agent.
    Unready {
        /// What was wrong with its role or parameters.
        problems: Vec<String>,
    },
    /// The agent's worker could not be started.
    Launch {
        /// What was missing.
        missing: String,
        /// What would fix it.
        next_step: String,
    },
    /// Something it needed failed.
    Dependency {
        /// What it needed.
        subtask: SubtaskId,
    },
    /// The operator stopped it.
    Stopped,
    /// The daemon ended while it was running.
    Interrupted,
    /// The journal could not record it.
    Journal {
        /// What went wrong.
        message: String,
    },
    /// The run cannot be put together again from what is stored of it.
    Unrecoverable {
        /// What is missing, or does not fit.
        problem: String,
        /// What the operator can do.
        next_step: String,
    },
    /// The agent said that it cannot do what it was asked.
    GaveUp {
        /// In its own words, cut short.
        reason: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider {
                provider,
                model,
                fault,
                status,
                message,
                next_step,
            } => {
                write!(out, "model {provider}/{model} {}", fault.words())?;
                if let Some(status) = status {
                    write!(out, " (HTTP {status})")?;
                }
                if !message.is_empty() {
                    write!(out, ": {message}")?;
                }
                write!(out, ". {next_step}")
            }
            Self::GoalRefused { reason, ways_on } => {
                write!(out, "this goal cannot be planned without a model: {reason}")?;
                ways_on
                    .iter()
                    .try_for_each(|way| write!(out, "\n  - {way}"))
            }
            Self::PlanInvalid { problems, reply } => {
                write!(
                    out,
                    "the planner gave no valid plan: {}. Its last words: {reply}",
                    problems.join("; ")
                )
            }
            Self::Limit { kind, limit } => {
                write!(out, "{} ({})", kind.words(), kind.amount(*limit))
            }
            Self::Truncated => {
                out.write_str("the model ran into its output limit before it had finished")
            }
            Self::Withheld => out.write_str("the provider withheld the answer"),
            Self::OutputMissing { declared, found } => {
                write!(
                    out,
                    "the declared output {declared} was not delivered: {found}"
                )
            }
            Self::Refused {
                wanted,
                axis,
                reason,
            } => write!(out, "{wanted} was refused ({axis}): {reason}"),
            Self::Tool { tool, message } => write!(out, "{tool} failed: {message}"),
            Self::Unready { problems } => {
                write!(out, "the subtask cannot start: {}", problems.join("; "))
            }
            Self::Launch { missing, next_step } => write!(out, "no worker: {missing}. {next_step}"),
            Self::Dependency { subtask } => {
                write!(out, "it needed {subtask}, which did not succeed")
            }
            Self::Stopped => out.write_str("stopped by the operator"),
            Self::Interrupted => out.write_str("the daemon ended while this was running"),
            Self::Journal { message } => write!(out, "the journal could not record it: {message}"),
            Self::Unrecoverable { problem, next_step } => {
                write!(
                    out,
                    "the run cannot go on from its record: {problem}. {next_step}"
                )
            }
            Self::GaveUp { reason } => write!(out, "the agent gave up: {reason}"),
        }
    }
}

impl ProviderFault {
    /// In words that follow a model's name.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "cannot be reached",
            Self::Unauthorised => "refused the key",
            Self::UnknownModel => "is not known to the provider",
            Self::RateLimited => "is rate limited",
            Self::TimedOut => "did not answer in time",
            Self::Server => "reported a fault of its own",
            Self::BadRequest => "refused the request",
            Self::BadReply => "gave an answer that cannot be understood",
            Self::ScriptEnded => "has no reply for this request in its script",
        }
    }
}

impl LimitKind {
    /// In words that precede the limit's value.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Turns => "the agent used all its model turns",
            Self::Tokens => "the run's token budget is used up",
            Self::Cost => "the run's money budget is used up",
            Self::Calls => "the run's tool calls are used up",
            Self::Agents => "the run has started all the agents it may",
            Self::Depth => "agents are nested as deep as they may be",
            Self::FanOut => "the agent has started all the children it may",
            Self::WallClock => "time is up",
            Self::Repeats => "the same tool call came again and again",
            Self::RoleTokens => "the role's token budget is used up",
            Self::RoleCost => "the role's money budget is used up",
            Self::RoleCalls => "the role's tool calls are used up",
            Self::RoleAgents => "the role has started all the agents it may",
            Self::OperatorDayTokens => "the operator's tokens for today are used up",
            Self::OperatorDayCost => "the operator's money for today is used up",
            Self::DayTokens => "the daemon's tokens for today are used up",
            Self::DayCost => "the daemon's money for today is used up",
        }
    }

    /// A value of it with its unit: money as `$0.500000`, time in seconds, all else as a number.
    #[must_use]
    pub fn amount(self, value: u64) -> String {
        match self {
            Self::Cost | Self::RoleCost | Self::OperatorDayCost | Self::DayCost => {
                MicroDollars(value).to_string()
            }
            Self::WallClock if value.is_multiple_of(1_000) => format!("{} s", value / 1_000),
            Self::WallClock => format!("{value} ms"),
            _ => value.to_string(),
        }
    }

    /// The same limit as one of a role; itself where roles have none of their own.
    #[must_use]
    pub const fn of_role(self) -> Self {
        match self {
            Self::Tokens => Self::RoleTokens,
            Self::Cost => Self::RoleCost,
            Self::Calls => Self::RoleCalls,
            Self::Agents => Self::RoleAgents,
            other => other,
        }
    }

    /// Whether it is a day's: there is room again when the day is over.
    #[must_use]
    pub const fn is_of_day(self) -> bool {
        matches!(
            self,
            Self::OperatorDayTokens | Self::OperatorDayCost | Self::DayTokens | Self::DayCost
        )
    }

    /// Whether more can be had by waiting: the operator may raise it, or the day may end.
    #[must_use]
    pub const fn can_wait(self) -> bool {
        !matches!(
            self,
            Self::Turns | Self::Depth | Self::FanOut | Self::Repeats
        )
    }
}
