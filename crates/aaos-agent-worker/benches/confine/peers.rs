//! Peers: sandboxes that others use, started as a person starts them, if they are installed.

use crate::product::{World, text};
use std::{
    process::{Command, Stdio},
    time::Instant,
};

/// A peer's command line up to the program that it confines.
pub(crate) struct Peer {
    words: Vec<String>,
}

impl Peer {
    /// bubblewrap with the same namespaces and binds as the yardstick: no /proc, no /dev, no Landlock, no filter.
    pub(crate) fn bubblewrap_same(world: &World) -> Option<Self> {
        let workspace = text(&world.workspace);
        let words = format!(
            "bwrap --unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-net --ro-bind /usr /usr \
             --ro-bind /etc /etc --ro-bind /var /var --ro-bind /opt /opt --bind {workspace} /ws --symlink usr/bin /bin \
             --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/sbin /sbin"
        );
        Self::installed(&words)
    }

    /// bubblewrap as agents' shells are usually started with it.
    pub(crate) fn bubblewrap_typical(world: &World) -> Option<Self> {
        let workspace = text(&world.workspace);
        let words = format!(
            "bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin \
             --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp \
             --bind {workspace} /ws --chdir /ws"
        );
        Self::installed(&words)
    }

    /// firejail without a profile: no network, its list of system calls, no capabilities.
    pub(crate) fn firejail() -> Option<Self> {
        Self::installed("firejail --quiet --noprofile --net=none --seccomp --caps.drop=all")
    }

    fn installed(words: &str) -> Option<Self> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let peer = Self { words };
        let works = peer.command(&["/bin/true"]).status();
        match works {
            Ok(status) if status.success() => Some(peer),
            Ok(status) => {
                crate::absent(&format!(
                    "`{}` is installed and ends with {status}",
                    peer.words[0]
                ));
                None
            }
            Err(_) => {
                crate::absent(&format!("`{}` is not installed", peer.words[0]));
                None
            }
        }
    }

    fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .args(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Microseconds from start to end of a program in it.
    pub(crate) fn run(&self, program: &[&str]) -> f64 {
        let since = Instant::now();
        let ended = self.command(program).status().unwrap();
        let took = crate::micros(since.elapsed());
        assert!(ended.success(), "{}: {ended}", self.words[0]);
        took
    }
}
