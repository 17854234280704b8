//! Outbound HTTP: bounded, every redirect checked, private addresses refused.
//!
//! Refuses: deciding who may go where (the gate does), and reaching anything but an address that was looked at. The
//! process must have installed a TLS provider for `rustls` before a [`Client`] is made.
#![forbid(unsafe_code)]

mod client;
pub mod policy;

pub use client::{Client, ClientError, Config};
