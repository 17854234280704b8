//! Limits of a worker's processes, and the giving up of what its user namespace gave it.
//!
//! Refuses: nothing silently. A limit that cannot be set is a missing layer.

use super::Unfit;
use crate::protocol::ResourceLimits;
use aaos_core::proof::Layer;
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

/// Process numbers the kernel hands out only once, at the start; after them it starts over from here.
/// Source: RESERVED_PIDS in the kernel's kernel/pid.c.
const NUMBERS_RESERVED: u64 = 300;
/// The first kernel in which a process number namespace has a highest number of its own. On others the same file is
/// the whole machine's. Source: the kernel's changelog, "pid: allow pid_max to be set per pid namespace".
const OWN_NUMBERS_SINCE: (u32, u32) = (6, 14);

/// Bounds what each process may take.
pub(super) fn bound(limits: &ResourceLimits) -> Result<(), Unfit> {
    let bounds = [
        (Resource::As, limits.memory_bytes),
        (Resource::Nofile, limits.files),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Rtprio, 0),
    ];
    for (resource, most) in bounds {
        // What the daemon itself is bound to is never raised.
        let held = rustix::process::getrlimit(resource).maximum;
        let most = Some(held.map_or(most, |held| held.min(most)));
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        rustix::process::setrlimit(resource, limit)
            .map_err(|errno| Unfit::of(Layer::Rlimits, "a limit of its processes", errno))?;
    }
    Ok(())
}

/// Whether the limits are in force.
pub(super) fn are_bound(limits: &ResourceLimits) -> bool {
    let most = |resource| rustix::process::getrlimit(resource).maximum;
    most(Resource::Core) == Some(0)
        && most(Resource::As).is_some_and(|held| held <= limits.memory_bytes)
        && most(Resource::Nofile).is_some_and(|held| held <= limits.files)
}

/// Bounds the processes of the whole worker by their numbers, where the kernel can; this also holds for a daemon that
/// runs as root, to whose processes the limit per process does not apply.
pub(super) fn bound_numbers(settings: &OwnedFd, processes: u64) -> Result<(), Unfit> {
    if !has_own_numbers() {
        return Ok(());
    }
    let most = NUMBERS_RESERVED.saturating_add(processes);
    set(settings, "sys/kernel/pid_max", most)
        .map_err(|errno| Unfit::of(Layer::Rlimits, "a highest process number of its own", errno))
}

/// Most queues of file changes of one worker. The kernel counts them against the daemon's account too, which has 128 of
/// them for everything it runs. Source: fs.inotify.max_user_instances; one program uses one or two.
const WATCHERS_MAX: u64 = 16;
/// Most files watched by one worker, counted against the daemon's account likewise. Source:
/// fs.inotify.max_user_watches is 8192 at least.
const WATCHES_MAX: u64 = 4096;

/// Lets nobody in this user namespace make another one, whatever the filter of system calls says, nor use up what the
/// kernel counts for the daemon's account as a whole.
pub(super) fn last_of_its_kind(settings: &OwnedFd) -> Result<(), Unfit> {
    set(settings, "sys/user/max_user_namespaces", 0)
        .map_err(|errno| Unfit::of(Layer::UserNamespace, "being without successors", errno))?;
    for (path, most) in [
        ("sys/user/max_inotify_instances", WATCHERS_MAX),
        ("sys/user/max_inotify_watches", WATCHES_MAX),
    ] {
        match set(settings, path, most) {
            // A kernel that has no such queues.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                return Err(Unfit::of(Layer::Rlimits, "a limit of watched files", errno));
            }
        }
    }
    Ok(())
}

fn set(settings: &OwnedFd, path: &str, value: u64) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(settings, path, flags, Mode::empty())?;
    rustix::io::write(&file, value.to_string().as_bytes()).map(drop)
}

fn has_own_numbers() -> bool {
    let system = rustix::system::uname();
    let mut parts = system.release().to_str().unwrap_or_default().split('.');
    let mut number = || parts.next()?.parse::<u32>().ok();
    number()
        .zip(number())
        .is_some_and(|version| version >= OWN_NUMBERS_SINCE)
}

/// Gives up every kernel capability, and being looked into by others.
pub(super) fn give_up() -> Result<(), Unfit> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(|errno| Unfit::of(Layer::Privileges, "giving up its capabilities", errno))
}
