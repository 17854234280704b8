//! One fake of everything outside, and the contract suites that every adapter, the fakes included, runs.
//!
//! Fakes stand only at ports, one for each. Never shipped: rooms may name this one for their tests alone.
#![forbid(unsafe_code)]

pub mod backend;
pub mod catalog;
pub mod clock;
pub mod contract;
pub mod exec;
pub mod files;
pub mod http;
pub mod journal;
pub mod provider;
pub mod secrets;
