//! Backends: the ways of running agents' tools, in one table.

pub mod in_process;
pub mod namespaced;

use crate::files::OwnFiles;
use aaos_core::event::BackendName;
use aaos_ports::{AnyTool, Backend, Http};
use std::sync::Arc;

/// What a backend is made from.
#[derive(Clone)]
pub struct Parts {
    /// The tools it can run.
    pub tools: Vec<Arc<dyn AnyTool>>,
    /// Outbound HTTP for tools that ask for it.
    pub http: Arc<dyn Http>,
    /// The runtime's own files, which no grant reaches.
    pub own: OwnFiles,
    /// What confined workers are made from.
    pub namespaced: namespaced::NamespacedConfig,
}

/// One backend, before it is made.
pub struct BackendEntry {
    /// Its name, in configuration and on every run.
    pub name: &'static str,
    /// One sentence for operators: what it protects from.
    pub summary: &'static str,
    /// Makes it.
    pub make: fn(Parts) -> Arc<dyn Backend>,
}

impl BackendEntry {
    /// Its name as events carry it.
    #[must_use]
    pub fn backend_name(&self) -> BackendName {
        BackendName(self.name.to_owned())
    }
}

/// Every backend, the weakest last.
pub static BACKENDS: &[BackendEntry] = &[
    BackendEntry {
        name: namespaced::NAME,
        summary: "runs every agent's tools in a confined process of its own: namespaces, Landlock, seccomp, no network",
        make: |parts| Arc::new(namespaced::Namespaced::new(parts.namespaced, parts.tools)),
    },
    BackendEntry {
        name: in_process::NAME,
        summary: "runs tools inside the daemon: grants are enforced by the powers alone, with no kernel wall behind them",
        make: |parts| {
            Arc::new(in_process::InProcess::new(parts.tools, parts.http).without(parts.own))
        },
    },
];
