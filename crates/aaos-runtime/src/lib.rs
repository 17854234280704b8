//! The shell around the core: performs its machines' effects through ports.
//!
//! It knows no provider, no tool, no database and no backend; it is handed them, complete, at the start.
#![forbid(unsafe_code)]

mod agent;
mod authority;
mod carry;
mod classify;
mod decisions;
mod deps;
mod desk;
mod ending;
mod fork;
mod goals;
mod history;
mod invoke;
mod limits;
mod models;
mod outputs;
mod park;
mod past;
mod patience;
mod planner;
mod powers;
mod progress;
mod purse;
mod record;
mod recover;
mod registry;
mod rehearsal;
mod replay;
mod restore;
mod resume;
mod run;
mod scaffold;
mod shared;
mod slots;
mod spending;
mod subtask;
mod terms;

pub use deps::{Config, Deps, StartError};
pub use goals::Runtime;
pub use limits::{GOAL_BYTES_MAX, RUNS_OF_ONE_MAX, RUNS_OPEN_MAX};
pub use models::Models;
pub use purse::DayLimit;
