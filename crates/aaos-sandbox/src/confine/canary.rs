//! What a worker tries that has to fail, each at the moment when one layer alone stands in its way.
//!
//! Refuses: taking any failure for a refusal. Each attempt knows with which error its layer answers.

use super::{
    Unfit,
    furnish::Furnished,
    root::{SEALED, SEALED_PROGRAM},
    system,
};
use crate::{files::is_beneath, protocol::Canaries, sys};
use aaos_core::proof::{Canary, Layer};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
    mount::MountFlags,
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::{
    ffi::CString,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

/// An address beyond this machine that nothing has to answer: TEST-NET-1 of RFC 5737. A way out would begin to connect.
const ABROAD: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 443));
/// Places outside to reach for if the one named by the daemon is in the root. Every host has them.
const OUTSIDE: [&str; 3] = ["/var", "/home", "/sys"];
/// Longest wait for the loopback to answer; it answers at once.
const ANSWER_AT_MOST: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// The link that is tried.
const LINK: &str = ".canary";

/// What was tried.
#[derive(Default)]
pub(super) struct Tried(pub(super) Vec<Canary>);

impl Tried {
    /// Notes an attempt; it was stopped if it met one of these errors.
    fn note(&mut self, tried: &str, layer: Layer, met: Result<(), Errno>, stops: &[Errno]) {
        let (stopped, found) = match met {
            Ok(()) => (false, "it succeeded".to_owned()),
            Err(errno) => (stops.contains(&errno), errno.to_string()),
        };
        self.0.push(Canary {
            tried: tried.to_owned(),
            layer,
            stopped,
            found,
        });
    }

    /// Those that only the root stands in the way of: before Landlock.
    pub(super) fn root(
        &mut self,
        canaries: &Canaries,
        furnished: &Furnished,
        scratch: Option<&OwnedFd>,
    ) {
        let Some(outside) = outside(canaries, furnished) else {
            return;
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let open = |path: &str| rustix::fs::open(path, flags, Mode::empty()).map(drop);
        let (layer, gone) = (Layer::Root, [Errno::NOENT]);
        self.note("open a file outside", layer, open(outside), &gone);
        let Some(scratch) = scratch else {
            return;
        };
        let made = rustix::fs::symlinkat(outside, scratch, LINK);
        let met =
            made.and_then(|()| rustix::fs::openat(scratch, LINK, flags, Mode::empty()).map(drop));
        self.note("reach it by a symbolic link", layer, met, &gone);
        // Nothing to be done if it stays: it leads nowhere.
        let _ = rustix::fs::unlinkat(scratch, LINK, AtFlags::empty());
        let met = rustix::fs::linkat(CWD, outside, scratch, LINK, AtFlags::empty());
        self.note("reach it by a hard link", layer, met, &gone);
    }

    /// Those that only the network namespace stands in the way of: before Landlock.
    pub(super) fn network(&mut self, canaries: &Canaries) {
        let layer = Layer::NetworkNamespace;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, canaries.port));
        let no_way = [Errno::CONNREFUSED, Errno::NETUNREACH];
        let met = begin(here).and_then(finish);
        self.note("connect to the daemon", layer, met, &no_way);
        let met = begin(ABROAD).map(drop);
        self.note("connect out", layer, met, &no_way);
    }

    /// Those that only the lack of capabilities stands in the way of: before Landlock and the filter.
    pub(super) fn privileges(&mut self) {
        let met = rustix::system::sethostname(b"canary");
        let layer = Layer::Privileges;
        self.note("change the host's name", layer, met, &[Errno::PERM]);
        let met = rustix::mount::mount(c"none", c"/tmp", c"tmpfs", MountFlags::empty(), None);
        self.note("mount a file system", layer, met, &[Errno::PERM]);
    }

    /// Those that only Landlock stands in the way of: before the filter.
    pub(super) fn landlock(&mut self, directory: Option<&str>, tcp: bool) -> Result<(), Unfit> {
        let layer = Layer::Landlock;
        if let Some(directory) = directory {
            let program = CString::new(format!("{directory}/{SEALED_PROGRAM}"))
                .map_err(|_| Unfit::of(layer, "its sealed directory", Errno::INVAL))?;
            let met = Err(sys::execute(&program));
            let stops = [Errno::ACCESS];
            self.note("execute what was not granted", layer, met, &stops);
        }
        if tcp {
            let met = socket().and_then(|socket| {
                rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            });
            self.note("listen for connections", layer, met, &[Errno::ACCESS]);
        }
        Ok(())
    }

    /// Those that the filter of system calls stands in the way of.
    pub(super) fn filter(&mut self, may_execute: bool) {
        let (layer, refused) = (Layer::Seccomp, [Errno::PERM]);
        // With no namespace named this call does nothing, and nothing but a filter refuses it.
        self.note("leave no namespace", layer, sys::unshare(0), &refused);
        let met = sys::unshare(libc::CLONE_NEWUSER);
        self.note("make a user namespace", layer, met, &refused);
        let met = sys::trace_nobody();
        self.note("trace a process", layer, met, &refused);
        if !may_execute {
            let met = Err(sys::execute(c"/dev/null"));
            self.note("execute a program", layer, met, &refused);
        }
    }
}

/// A place outside that no mount shows or stands above.
fn outside<'a>(canaries: &'a Canaries, furnished: &Furnished) -> Option<&'a str> {
    let apart = |path: &&str| {
        !furnished
            .standing
            .iter()
            .any(|one| is_beneath(path, &one.path) || is_beneath(&one.path, path))
    };
    std::iter::once(canaries.outside.as_str())
        .chain(OUTSIDE)
        .find(apart)
}

/// The directory no rule allows, as the worker's root has it; none if a policy lets everything be executed.
pub(super) fn sealed_at(whole: bool, everything_executes: bool) -> Option<String> {
    match (whole, everything_executes) {
        (false, _) => Some(format!("/{SEALED}")),
        (true, true) => None,
        (true, false) => ["/sys", "/run"]
            .into_iter()
            .find(|path| system::open(&format!("{path}/{SEALED_PROGRAM}")).is_some())
            .map(str::to_owned),
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// Begins to connect; beyond the loopback that alone takes a way out.
fn begin(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// Waits for a connection to come about or be refused; one that is still pending then counts as made.
fn finish(socket: OwnedFd) -> Result<(), Errno> {
    let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
    poll(&mut ready, Some(&ANSWER_AT_MOST))?;
    rustix::net::sockopt::socket_error(&socket)?
}
