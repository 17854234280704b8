//! The shell around the core: performs its machines' effects through ports.
//!
//! It knows no provider, no tool, no database and no backend; it is handed them, complete, at the start.
#![forbid(unsafe_code)]

mod agent;
mod authority;
mod classify;
mod deps;
mod ending;
mod goals;
mod invoke;
mod limits;
mod models;
mod outputs;
mod planner;
mod powers;
mod record;
mod recover;
mod run;
mod scaffold;
mod shared;
mod slots;
mod subtask;

pub use deps::{Config, Deps, StartError};
pub use goals::Runtime;
pub use limits::GOAL_BYTES_MAX;
pub use models::Models;
