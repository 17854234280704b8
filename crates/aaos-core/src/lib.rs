//! What is true: capabilities, plans, turns, budgets and events, as values and pure machines.
//!
//! The core decides and never acts. It knows no clock, no disk, no network, no randomness and no `async`;
//! its machines take an input and return effects, and the shell performs them.
#![forbid(unsafe_code)]

pub mod agent;
pub mod approval;
pub mod budget;
pub mod capability;
pub mod confine;
pub mod event;
pub mod failure;
pub mod id;
pub mod lineage;
pub mod manifest;
pub mod model;
pub mod money;
pub mod plan;
pub mod proof;
pub mod role;
pub mod secret;
pub mod skill;
pub mod slots;
pub mod text;
pub mod time;
pub mod tool;
pub mod value;
