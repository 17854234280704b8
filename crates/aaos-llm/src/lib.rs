//! Model providers: services that answer a request, behind the port `Provider`.
//!
//! Two wire dialects are spoken here (Anthropic's messages, OpenAI's chat completions) and two providers need no
//! network at all: `scripted`, which reads its replies from a file, and `rules`, which plans without a model.
//! Whatever a service sends is hostile input: bounded before it is kept, typed before it is believed. This room
//! reads no file, no clock and no environment; it is handed texts, keys and limits.
#![forbid(unsafe_code)]

mod assemble;
mod door;
mod fault;
pub mod limits;
mod names;
pub mod price;
pub mod provider;
mod retry;
mod service;
mod stream;

pub use price::{PriceError, Prices};
pub use provider::{
    PROVIDERS, Patience, Preset, ProviderConfig, Router, SetupError, build, preset,
};
