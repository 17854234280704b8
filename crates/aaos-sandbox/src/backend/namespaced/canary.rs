//! What a worker's canaries try to reach: real things outside that no worker may get at.
//!
//! Refuses: a file that the worker's own grants or its system directories show.

use crate::protocol::Canaries;
use aaos_core::{capability::PathScope, confine::Confinement};
use aaos_ports::LaunchError;
use std::{fs, io, net::Ipv4Addr, os::unix::fs::MetadataExt, path::Path};
use tokio::{net::TcpListener, task::JoinHandle};

/// Files of the kernel that are there on nearly every machine, and hidden from a worker that is granted everything.
const KERNEL_FILES: [&str; 3] = [
    "/sys/kernel/uevent_seqnum",
    "/sys/kernel/notes",
    "/sys/devices/system/cpu/online",
];
/// Directories that a worker with programs sees in part.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];

/// The bait, held for as long as the backend is.
#[derive(Debug)]
pub(super) struct Bait {
    outside: Vec<String>,
    port: u16,
    network: u64,
    listening: JoinHandle<()>,
}

impl Drop for Bait {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Bait {
    /// Looks for files, and listens where nobody should be able to connect from.
    ///
    /// # Errors
    /// There is nothing a worker could be tried against.
    pub(super) async fn lay(programs: &[&Path]) -> Result<Self, LaunchError> {
        let lacks = |what: &str, error: &io::Error| LaunchError {
            layer: None,
            missing: format!("{what}, to see that workers cannot reach it: {error}"),
            next_step: "see whether /proc and the loopback interface are as usual".to_owned(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| lacks("a listening socket", &error))?;
        let port = listener
            .local_addr()
            .map_err(|error| lacks("a port", &error))?
            .port();
        let network = fs::metadata("/proc/self/ns/net");
        let network = network
            .map_err(|error| lacks("the network namespace", &error))?
            .ino();
        let programs = programs
            .iter()
            .map(|path| path.to_string_lossy().into_owned());
        let kernel = KERNEL_FILES.map(str::to_owned);
        let all = programs.chain(kernel);
        Ok(Self {
            outside: all.filter(|path| fs::metadata(path).is_ok()).collect(),
            port,
            network,
            listening: tokio::spawn(async move {
                // Whoever gets this far is let in and finds nothing.
                while let Ok((stream, _)) = listener.accept().await {
                    drop(stream);
                }
            }),
        })
    }

    /// What one worker's canaries try.
    ///
    /// # Errors
    /// Everything that could be tried is granted.
    pub(super) fn for_worker(&self, confinement: &Confinement) -> Result<Canaries, LaunchError> {
        let shown = |path: &str| {
            let mut scopes = confinement.read.iter().chain(&confinement.write);
            // Who is granted everything is still not shown the kernel's own files.
            let everything = |scope: &PathScope| KERNEL_FILES.contains(&path) && scope.matches("/");
            scopes.any(|scope| scope.matches(path) && !everything(scope))
                || (!confinement.exec.is_empty() && is_system(path))
        };
        let outside = self.outside.iter().find(|path| !shown(path));
        let outside = outside.cloned().ok_or_else(|| LaunchError {
            layer: None,
            missing: "a file that is granted to nobody, to see that the worker cannot open it"
                .to_owned(),
            next_step: "grant less than every file there is".to_owned(),
        })?;
        Ok(Canaries {
            outside,
            port: self.port,
            network: self.network,
        })
    }
}

fn is_system(path: &str) -> bool {
    SYSTEM
        .iter()
        .any(|above| Path::new(path).starts_with(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aaos_core::{capability::Capability, confine::confinement};

    fn held(grants: &[&str]) -> Confinement {
        let grants: Vec<Capability> = grants.iter().map(|text| text.parse().unwrap()).collect();
        confinement(&grants)
    }

    #[tokio::test]
    async fn the_file_tried_is_one_that_no_grant_shows() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "").unwrap();
        let bait = Bait::lay(&[&program]).await.unwrap();
        let tried = |grants: &[&str]| bait.for_worker(&held(grants)).unwrap().outside;
        assert_eq!(tried(&["file_read: /nowhere/*"]), program.to_str().unwrap());
        let above = format!("file_read: {}/*", directory.path().display());
        for grant in [above.as_str(), "file_read: /*"] {
            assert!(tried(&[grant]).starts_with("/sys/"), "{grant}");
        }
        let both = bait.for_worker(&held(&[&above, "file_read: /sys/*"]));
        assert!(both.is_err(), "nothing is left to try");
    }

    #[tokio::test]
    async fn the_port_accepts_whoever_reaches_it() {
        let bait = Bait::lay(&[]).await.unwrap();
        let canaries = bait.for_worker(&held(&[])).unwrap();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, canaries.port))
            .await
            .unwrap();
    }
}
