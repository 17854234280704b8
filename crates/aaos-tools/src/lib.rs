//! The built-in tools, one file each.
//!
//! Refuses: holding anything, checking authority, reaching anything that was not handed over. A tool declares what a
//! call needs, is handed powers cut to it, and answers in words a model can act on.
#![forbid(unsafe_code)]

pub mod builtin;
mod catalogue;

pub use builtin::builtin;
pub use catalogue::catalogue;
