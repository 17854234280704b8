//! From what an agent holds to what its worker is told.
//!
//! A worker gets the weakest profile that serves its grants: programs only if one is granted, a way out only if a
//! request is.

use super::{NamespacedConfig, canary::Bait};
use crate::{
    programs::{self, Toolchain},
    protocol::{Policy, Program, ResourceLimits},
};
use aaos_core::{
    capability::{Capability, ExecScope},
    confine::{Confinement, confinement},
    proof::Profile,
};
use aaos_ports::{LaunchError, LaunchSpec};

/// What a worker is told, and what the kernel will let through for it.
///
/// # Errors
/// A granted program is not on this machine, or there is nothing to try a canary against.
pub(super) async fn policy(
    config: &NamespacedConfig,
    bait: &Bait,
    spec: &LaunchSpec,
    held: Vec<Capability>,
) -> Result<(Policy, Confinement), LaunchError> {
    let confinement = confinement(&held);
    let profile = if confinement.exec.is_empty() {
        Profile::Plain
    } else {
        Profile::Exec
    };
    let programs = match profile {
        Profile::Plain => Vec::new(),
        Profile::Exec => found(config.toolchain.clone(), confinement.exec.clone()).await?,
    };
    let policy = Policy {
        agent: spec.agent,
        profile,
        capabilities: held,
        base: spec.base.clone(),
        folder: spec.folder.clone(),
        anchors: spec.anchors.clone(),
        mask: config.mask.clone(),
        programs,
        limits: ResourceLimits::usual(profile),
        egress: !confinement.http.is_empty(),
        canaries: bait.for_worker(&confinement)?,
        omit: config.omit,
    };
    Ok((policy, confinement))
}

/// The granted programs as they are on this machine. Looking for them is work for a thread that may block.
async fn found(toolchain: Toolchain, scopes: Vec<ExecScope>) -> Result<Vec<Program>, LaunchError> {
    let looked = tokio::task::spawn_blocking(move || programs::resolve(&scopes, &toolchain)).await;
    looked.map_err(|error| LaunchError {
        layer: None,
        missing: format!("a thread to look for the granted programs: {error}"),
        next_step: "see the daemon's standard error, and start the run again".to_owned(),
    })?
}
