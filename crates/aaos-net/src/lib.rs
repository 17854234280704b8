//! Outbound HTTP: bounded, every redirect checked, private addresses refused.
//!
//! Refuses: deciding who may go where (the gate does), and reaching anything but an address that was looked at. The
//! process must have installed a TLS provider for `rustls` before a [`Client`] is made.
#![forbid(unsafe_code)]

mod answer;
mod attempt;
mod client;
mod fault;
mod hop;
pub mod policy;
mod secret;
mod tunnel;

pub use answer::Passed;
pub use client::{Client, ClientError, Config};
