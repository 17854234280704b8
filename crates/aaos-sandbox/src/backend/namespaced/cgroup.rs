//! Control groups: limits on a whole worker, where whoever started the daemon delegated them.
//!
//! Refuses: taking a control group that is not the daemon's alone. Where there is none to take, the layer
//! `cgroup_limits` does not stand, and a launch that requires it says so.

use crate::protocol::ResourceLimits;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Where control groups are.
pub(super) const MOUNT: &str = "/sys/fs/cgroup";
/// Says which one this process is in.
pub(super) const OWN: &str = "/proc/self/cgroup";
/// Controllers without which there is no limit worth the name.
const NEEDED: [&str; 2] = ["memory", "pids"];
/// The daemon's own leaf: a group with limits for its members may hold no process itself.
const DAEMON: &str = "daemon";
/// What a worker's group begins with.
const WORKER: &str = "worker-";
/// Processor time of one worker, in microseconds per 100 ms: two processors' worth, so that one agent cannot starve
/// the rest of a machine of any size.
const PROCESSOR: &str = "200000 100000";

/// A control group that is the daemon's to divide.
#[derive(Debug)]
pub(super) struct Delegated {
    directory: PathBuf,
    next: AtomicU64,
}

impl Delegated {
    /// Takes the control group that the daemon was started in, if it was delegated and nobody else is in it.
    pub(super) fn take(mount: &Path, own: &str, pid: u32) -> Option<Self> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let directory = mount.join(path);
        let controllers = fs::read_to_string(directory.join("cgroup.controllers")).ok()?;
        let has = |name: &str| controllers.split_whitespace().any(|held| held == name);
        if !NEEDED.iter().all(|name| has(name)) {
            return None;
        }
        divide(&directory, pid, has("cpu")).ok()?;
        Some(Self {
            directory,
            next: AtomicU64::new(0),
        })
    }

    /// A group for one worker, with the worker in it.
    ///
    /// # Errors
    /// The system's; nothing is left behind.
    pub(super) fn confine(&self, pid: u32, limits: &ResourceLimits) -> io::Result<Cgroup> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let group = Cgroup {
            directory: self.directory.join(format!("{WORKER}{number}")),
        };
        fs::create_dir(&group.directory)?;
        group.set("memory.max", &limits.memory_bytes.to_string())?;
        group.set("pids.max", &limits.processes.to_string())?;
        // A group whose memory is used up ends whole: half a worker is of no use.
        let _ = group.set("memory.oom.group", "1");
        // Not every delegation includes the processor.
        let _ = group.set("cpu.max", PROCESSOR);
        group.set("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }
}

/// Moves the daemon into a leaf of its own and turns the controllers on for the others.
fn divide(directory: &Path, pid: u32, processor: bool) -> io::Result<()> {
    let members = fs::read_to_string(directory.join("cgroup.procs"))?;
    let own = pid.to_string();
    if members.lines().any(|member| member != own) {
        return Err(io::Error::other("somebody else is in it"));
    }
    sweep(directory);
    let leaf = directory.join(DAEMON);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    write(&leaf.join("cgroup.procs"), &own)?;
    let wanted = match processor {
        true => "+memory +pids +cpu",
        false => "+memory +pids",
    };
    write(&directory.join("cgroup.subtree_control"), wanted).inspect_err(|_| {
        // As it was; the daemon runs on without.
        let _ = write(&directory.join("cgroup.procs"), &own);
        let _ = fs::remove_dir(&leaf);
    })
}

/// Removes what a daemon that was killed left behind. A group that still has members stays.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(WORKER) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
}

/// One worker's control group. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        write(&self.directory.join(file), value)
    }

    /// Ends what is left in it and removes it. A second time does nothing.
    pub(super) fn remove(&self) {
        // Kernels before 5.14 have no such file; the worker's own end took everything with it.
        let _ = self.set("cgroup.kill", "1");
        let _ = fs::remove_dir(&self.directory);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A directory that looks like a delegated control group.
    fn tree(controllers: &str, members: &str) -> TempDir {
        let mount = tempfile::tempdir().unwrap();
        let group = mount.path().join("aaos.service");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cgroup.controllers"), controllers).unwrap();
        fs::write(group.join("cgroup.procs"), members).unwrap();
        mount
    }

    fn take(mount: &TempDir) -> Option<Delegated> {
        Delegated::take(mount.path(), "1:name=systemd:/x\n0::/aaos.service\n", 7)
    }

    #[test]
    fn a_worker_is_put_into_a_group_with_its_limits() {
        let mount = tree("cpu memory pids\n", "7\n");
        let group = mount.path().join("aaos.service");
        let delegated = take(&mount).unwrap();
        let read = |path: &str| fs::read_to_string(group.join(path)).unwrap();
        assert_eq!(read("daemon/cgroup.procs"), "7");
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids +cpu");
        let held = delegated.confine(99, &ResourceLimits::PLAIN).unwrap();
        assert_eq!(read("worker-0/memory.max"), (2_u64 << 30).to_string());
        assert_eq!(read("worker-0/pids.max"), "64");
        assert_eq!(read("worker-0/cpu.max"), PROCESSOR);
        assert_eq!(read("worker-0/cgroup.procs"), "99");
        drop(held);
        assert_eq!(read("worker-0/cgroup.kill"), "1");
        assert!(delegated.confine(98, &ResourceLimits::EXEC).is_ok());
        assert_eq!(read("worker-1/cgroup.procs"), "98");
    }

    #[test]
    fn a_group_that_is_shared_or_lacks_controllers_is_left_alone() {
        for (controllers, members) in [("memory pids", "7\n8\n"), ("cpu io", "7\n"), ("", "")] {
            let mount = tree(controllers, members);
            assert!(take(&mount).is_none());
            assert!(!mount.path().join("aaos.service/daemon").exists());
        }
        let mount = tree("memory pids", "7\n");
        assert!(Delegated::take(mount.path(), "4:memory:/x\n", 7).is_none());
    }

    #[test]
    fn groups_of_a_daemon_that_was_killed_are_removed() {
        let mount = tree("memory pids", "7\n");
        let old = mount.path().join("aaos.service/worker-12");
        fs::create_dir(&old).unwrap();
        assert!(take(&mount).is_some());
        assert!(!old.exists());
    }
}
