//! `daemon.status`: Tells what the daemon is, what it enforces and what goes on.

use super::{Call, Caller, Fault, Front, wire};
use crate::config::Installation;
use std::sync::Arc;

/// The method.
pub(crate) struct DaemonStatus;

impl Call for DaemonStatus {
    const NAME: &'static str = "daemon.status";
    const SUMMARY: &'static str = "Tells what the daemon is, what it enforces and what goes on.";
    const ANSWER: &'static str = "{version, pid, uid, uptime_s, installation, state_dir, socket, backend, confinement, model, fingerprint, runs_active, connections, stopping, trouble: {problem, next_step}}";
    type Params = wire::Nothing;
    type Answer = wire::DaemonStatusAnswer;

    async fn call(
        front: Arc<Front>,
        _: Caller,
        _: wire::Nothing,
    ) -> Result<wire::DaemonStatusAnswer, Fault> {
        let paths = &front.config.paths;
        let installation = match paths.installation {
            Installation::PerUser => "per_user",
            Installation::System => "system",
        };
        Ok(wire::DaemonStatusAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uid: front.uid,
            uptime_s: front.clock.now().since(front.ready).millis() / 1_000,
            installation: installation.to_owned(),
            state_dir: paths.state.value.display().to_string(),
            socket: paths.socket.value.display().to_string(),
            backend: front.backend.clone(),
            confinement: front.confinement.to_owned(),
            model: front.model_label.clone(),
            fingerprint: front.config.fingerprint(),
            runs_active: (front.runs_open)(),
            connections: front.activity.connections(),
            stopping: front.stop.given(),
            trouble: trouble(&front),
        })
    }
}

/// Why no goals are taken, if the disk or the journal is the reason.
pub(super) fn trouble(front: &Front) -> Option<wire::Trouble> {
    let error = front
        .store
        .health()
        .and_then(|()| front.store.headroom())
        .err()?;
    let (problem, next_step) = crate::report::storage_parts(&error);
    Some(wire::Trouble { problem, next_step })
}
