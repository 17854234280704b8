//! What the runtime asks of the world, and the world of it: one small trait per need.
//!
//! A port has at most five methods. Its documentation is its contract: who calls it, how often, what it must do
//! when cancelled, what it may not do. Every adapter, and the testkit's fake, runs the same contract suite.
#![forbid(unsafe_code)]

pub mod backend;
pub mod catalog;
pub mod clock;
pub mod decisions;
pub mod goals;
pub mod history;
pub mod journal;
pub mod power;
pub mod provider;
pub mod secrets;
pub mod tool;

pub use backend::{Act, Backend, LaunchError, LaunchSpec, Witness, Worker, WorkerCall, WorkerNote};
pub use catalog::{Catalog, RoleProblem};
pub use clock::{Clock, Ids};
pub use decisions::{Bell, Decisions, Pending, Raise};
pub use goals::{Authority, GoalError, Goals, LiveGrant, Revoked, Submit};
pub use history::{Divergence, ForkOrder, History, Line, Replayed, RunTerms, Spending};
pub use journal::{Digest, Durability, Filter, Journal, JournalError, Sink, Watch, WatchItem};
pub use power::{Admitted, Connection, Exec, Files, Gate, Http, PowerError, Powers, Spawn};
pub use provider::{Delta, DeltaSink, Provider, ProviderError, Retry};
pub use secrets::Secrets;
pub use tool::{AnyTool, Happened, Question, Tool, ToolError, ToolOutput};
