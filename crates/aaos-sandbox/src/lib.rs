//! Where agents' tools run: backends, and the file power they hand to tools.
//!
//! Refuses: deciding what is allowed. What an agent may do arrives as capabilities; this room makes them hold.
#![forbid(unsafe_code)]

pub mod backend;
pub mod files;
mod stop;

pub use backend::{BACKENDS, in_process::InProcess};
pub use files::{BeneathFiles, OwnFiles};
pub use stop::Stop;
