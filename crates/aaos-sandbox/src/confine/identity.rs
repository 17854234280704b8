//! Who a fresh worker is: its numbers, its name, its place in the new namespaces.
//!
//! Refuses: staying in a namespace of the launcher's that was to be left.

use super::Unfit;
use crate::sys::{self, Children};
use aaos_core::proof::Layer;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Gid, Signal, Uid},
    thread::CapabilitiesSecureBits,
};
use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt};

/// The number every worker sees itself under, of an operator and of a group.
pub(super) const INSIDE: u32 = 1000;
/// The host name every worker sees.
pub(super) const HOST_NAME: &str = "sandbox";
/// Namespaces a worker has for itself: their layer, their flag, and their name beneath `/proc/self/ns`.
/// Source: namespaces(7).
const SPACES: [(Layer, libc::c_int, &str); 7] = [
    (Layer::UserNamespace, libc::CLONE_NEWUSER, "user"),
    (Layer::MountNamespace, libc::CLONE_NEWNS, "mnt"),
    (Layer::PidNamespace, libc::CLONE_NEWPID, "pid"),
    (Layer::IpcNamespace, libc::CLONE_NEWIPC, "ipc"),
    (Layer::UtsNamespace, libc::CLONE_NEWUTS, "uts"),
    (Layer::CgroupNamespace, libc::CLONE_NEWCGROUP, "cgroup"),
    (Layer::NetworkNamespace, libc::CLONE_NEWNET, "net"),
];

/// The flags of a worker's clone: every namespace, but for the layer left out in a drill.
pub(crate) fn namespaces(omit: Option<Layer>) -> libc::c_int {
    SPACES
        .iter()
        .filter(|(layer, ..)| Some(*layer) != omit)
        .fold(0, |flags, (_, flag, _)| flags | flag)
}

/// The namespaces a process is in, as inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spaces([u64; SPACES.len()]);

impl Spaces {
    /// This process's.
    pub(super) fn here() -> io::Result<Self> {
        let mut found = [0; SPACES.len()];
        for (room, (.., name)) in found.iter_mut().zip(SPACES) {
            *room = fs::metadata(format!("/proc/self/ns/{name}"))?.ino();
        }
        Ok(Self(found))
    }

    /// The layers in which this differs from where it came from.
    pub(super) fn entered(&self, from: &Self) -> BTreeSet<Layer> {
        let pairs = SPACES.iter().zip(self.0.iter().zip(&from.0));
        pairs
            .filter(|(_, (here, there))| here != there)
            .map(|((layer, ..), _)| *layer)
            .collect()
    }

    /// The inode of the network namespace.
    pub(super) fn network(&self) -> u64 {
        self.0[SPACES.len() - 1]
    }
}

/// Sees to it that the worker ends with its launcher, whichever way that ends.
pub(super) fn bind_to(launcher: &OwnedFd) -> Result<(), Unfit> {
    let failed = |errno| Unfit::of(Layer::PidNamespace, "ending with the launcher", errno);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    // The launcher may have ended before the line above; its descriptor then says so. The worker ends without a word,
    // as the signal would have ended it: the daemon sees the end of its line, and orders another elsewhere.
    let mut ended = [PollFd::new(launcher, PollFlags::IN)];
    match poll(&mut ended, Some(&Timespec::default())) {
        Ok(0) => {}
        Ok(_) => std::process::exit(1),
        Err(errno) => return Err(failed(errno)),
    }
    sys::children(Children::Reaped).map_err(failed)
}

/// Takes on the worker's numbers and name. The old `/proc` is still there.
pub(super) fn settle(omit: Option<Layer>) -> Result<(), Unfit> {
    if omit != Some(Layer::PidNamespace) {
        rustix::process::setsid()
            .map_err(|errno| Unfit::of(Layer::PidNamespace, "a session of its own", errno))?;
    }
    if omit != Some(Layer::UtsNamespace) {
        rustix::system::sethostname(HOST_NAME.as_bytes())
            .map_err(|errno| Unfit::of(Layer::UtsNamespace, "a host name of its own", errno))?;
    }
    if omit != Some(Layer::Privileges) {
        no_new_privileges().map_err(|errno| {
            Unfit::of(Layer::Privileges, "giving up what could be gained", errno)
        })?;
    }
    Ok(())
}

/// Maps the numbers of the daemon's account, and nobody else's. The daemon's account before the clone is `outside`.
pub(super) fn map_numbers(outside: (Uid, Gid)) -> Result<(), Unfit> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| Unfit {
            layer: Layer::UserNamespace,
            missing: format!("/proc/self/{file} cannot be written: {error}"),
            next_step: "run the daemon under an account of its own, or as root with CAP_SETFCAP, which the kernel \
                        asks for when root's number is mapped"
                .to_owned(),
        })
    };
    let (uid, gid) = outside;
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{INSIDE} {} 1", uid.as_raw()))?;
    write("gid_map", format!("{INSIDE} {} 1", gid.as_raw()))
}

/// Brings up the loopback of a network namespace of its own, where a listener is to be reached over it.
pub(super) fn loopback() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sys::loopback_up(socket)
}

/// Gives up for good what executing a program could bring: another account's numbers, a file's capabilities, the bounding set.
fn no_new_privileges() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    for number in 0..u64::BITS {
        let one = rustix::thread::CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel knows no capability of this number, nor of any above.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
