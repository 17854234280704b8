//! Where agents' tools run: backends, confinement, the protocol between daemon and worker, and the powers handed to
//! tools.
//!
//! Refuses: deciding what is allowed. What an agent may do arrives as capabilities; this room makes them hold.
#![deny(unsafe_code)]

mod act;
pub mod backend;
pub mod confine;
mod defect;
pub mod files;
pub mod launcher;
pub mod machine;
pub mod programs;
pub mod protocol;
mod stop;
mod sys;
pub mod worker;

pub use backend::{BACKENDS, in_process::InProcess};
pub use files::{BeneathFiles, OwnFiles};
pub use stop::Stop;
