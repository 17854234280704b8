//! The proof: which layers stand, as seen by looking, not by having asked for them.
//!
//! Refuses: counting a layer because the call that makes it returned without an error.

use super::{identity::Spaces, landlock::Ruled, limits};
use crate::protocol::{Policy, ResourceLimits};
use aaos_core::proof::{Canary, Layer, Proof};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};
use std::collections::BTreeSet;

/// Longest text of a process's status that is read, in bytes; the kernel writes about one and a half thousand.
const STATUS_BYTES: usize = 4096;

/// This process's status, opened while it can be.
pub(super) struct Status(OwnedFd);

/// What it says of confinement. Source: proc_pid_status(5).
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    powerless: bool,
    no_new_privileges: bool,
    filters: u32,
}

impl Status {
    /// Opens it.
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open("/proc/self/status", flags, Mode::empty()).map(Self)
    }

    /// How many filters of system calls this process is behind.
    pub(super) fn filters(&self) -> u32 {
        self.read().filters
    }

    fn read(&self) -> Said {
        let mut text = [0; STATUS_BYTES];
        let length = rustix::io::read(&self.0, &mut text).unwrap_or(0);
        let text = text.get(..length).unwrap_or_default();
        said(std::str::from_utf8(text).unwrap_or_default())
    }
}

fn said(status: &str) -> Said {
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim())
    };
    let is_none = |key: &str| of(key).is_some_and(|set| set.chars().all(|digit| digit == '0'));
    Said {
        powerless: ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
            .into_iter()
            .all(is_none),
        no_new_privileges: of("NoNewPrivs:") == Some("1"),
        filters: match of("Seccomp:") {
            Some("2") => of("Seccomp_filters:")
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
            _ => 0,
        },
    }
}

/// What is looked at.
pub(super) struct Seen<'a> {
    /// The namespaces it is in, as against its launcher's.
    pub(super) entered: &'a BTreeSet<Layer>,
    /// Those namespaces.
    pub(super) spaces: &'a Spaces,
    /// Whether it stands in its own root.
    pub(super) rooted: bool,
    /// What Landlock said.
    pub(super) ruled: Option<&'a Ruled>,
    /// How many filters of system calls the launcher is behind already.
    pub(super) filters_before: u32,
    /// Its status.
    pub(super) status: &'a Status,
}

/// Looks, and puts the proof together.
pub(super) fn proof(policy: &Policy, seen: &Seen<'_>, canaries: Vec<Canary>) -> Proof {
    let mut layers = seen.entered.clone();
    if seen.spaces.network() == policy.canaries.network {
        layers.remove(&Layer::NetworkNamespace);
    }
    if rustix::process::getpid().as_raw_pid() != 1 {
        layers.remove(&Layer::PidNamespace);
    }
    let said = seen.status.read();
    let found = [
        (Layer::Root, seen.rooted),
        (
            Layer::Landlock,
            seen.ruled.is_some_and(|ruled| ruled.enforced),
        ),
        (Layer::Seccomp, said.filters > seen.filters_before),
        (Layer::Privileges, said.powerless && said.no_new_privileges),
        (Layer::Rlimits, bound(policy, &policy.limits)),
    ];
    layers.extend(
        found
            .into_iter()
            .filter_map(|(layer, is)| is.then_some(layer)),
    );
    Proof {
        profile: policy.profile,
        landlock_abi: seen.ruled.map_or(0, |ruled| ruled.abi),
        layers,
        canaries,
    }
}

fn bound(policy: &Policy, limits: &ResourceLimits) -> bool {
    policy.omit != Some(Layer::Rlimits) && limits::are_bound(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tworker\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n\
        Seccomp:\t2\nSeccomp_filters:\t2\n";

    #[test]
    fn a_status_says_what_a_process_may() {
        let whole = Said {
            powerless: true,
            no_new_privileges: true,
            filters: 2,
        };
        assert_eq!(said(STATUS), whole);
    }

    #[test]
    fn one_capability_is_one_too_many_and_a_missing_line_is_no_proof() {
        let one = STATUS.replace("CapBnd:\t0000000000000000", "CapBnd:\t0000000000200000");
        assert!(!said(&one).powerless);
        assert_eq!(said(""), Said::default());
    }
}
