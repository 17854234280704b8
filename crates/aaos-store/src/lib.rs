//! What is kept on disk: the journal and its blobs, the sinks that copy it, the catalogue of roles.
//!
//! Refuses to decide anything: it records what it is given, in order, and gives it back unchanged or says that
//! it cannot. Other rooms reach it through the ports `Journal`, `Sink` and `Catalog`.
#![forbid(unsafe_code)]

pub mod audit;
mod blobs;
pub mod catalog;
pub mod journal;
pub mod limits;
mod lock;
pub mod notary;
mod room;
pub mod sink;

pub use catalog::roles::RoleCatalog;
pub use journal::{EraseError, Erased, Options, Store};
