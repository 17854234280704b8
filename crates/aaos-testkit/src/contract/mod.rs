//! Contract suites: one for each port, run by every adapter of it, the fake included, so that fakes cannot drift.

pub mod backend;
pub mod exec;
pub mod files;
pub mod journal;
mod probe;
