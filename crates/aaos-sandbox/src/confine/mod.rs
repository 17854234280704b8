//! Confinement from inside: what a fresh worker does to itself before it takes its first call.
//!
//! A sequence of types: [`Raw`], a clone in its namespaces; [`Staged`], with a root of its own; [`Confined`], cut to
//! one agent's grants and proven. The wrong order does not compile.
//!
//! Refuses: going on without a layer. What cannot be had is an [`Unfit`], is reported, and ends the worker. Only a drill
//! leaves a layer out, and its proof shows it.

mod calls;
mod canary;
mod etc;
mod furnish;
mod identity;
mod landlock;
mod limits;
mod program;
mod proof;
mod root;
pub mod seccomp;
mod system;
mod trees;

pub(crate) use identity::namespaces;
pub use trees::{Tree, Trees};

use crate::{
    protocol::{
        FRAME_BYTES_MAX, FromWorker, PACKET_BYTES_MAX, Policy, Ring, ToWorker, VERSION, frame,
        line::{self, Frames},
    },
    sys,
};
use aaos_core::proof::{Layer, Profile, Proof};
use canary::Tried;
use furnish::Furnished;
use identity::Spaces;
use proof::{Seen, Status};
use root::Root;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType},
    process::{Gid, PidfdFlags, Uid},
};
use seccomp::Filters;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
};

/// The system calls of a worker that starts no program.
const PLAIN: &str = include_str!("../profile/plain.toml");
/// The system calls of a worker that starts programs, and of those.
const EXEC: &str = include_str!("../profile/exec.toml");
/// Most connections that wait for the egress broker to take them.
const PROXY_BACKLOG: i32 = 64;

/// A layer that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{layer}: {missing}; {next_step}")]
pub struct Unfit {
    /// Which.
    pub layer: Layer,
    /// What was missing.
    pub missing: String,
    /// What would fix it.
    pub next_step: String,
}

impl Unfit {
    /// Something the kernel refused.
    fn of(layer: Layer, what: &str, errno: Errno) -> Self {
        Self {
            layer,
            missing: format!("{what} could not be had: {errno}"),
            next_step: "see `agentd doctor`, which tells what this machine can enforce".to_owned(),
        }
    }
}

/// What every worker needs and the launcher makes once.
pub(crate) struct Kit {
    /// Never freed: freeing them in a worker would write to memory that all workers share.
    plain: &'static Filters,
    exec: &'static Filters,
    /// How many filters of system calls it is behind, as in a container.
    filters_before: u32,
    spaces: Spaces,
    account: (Uid, Gid),
    null: OwnedFd,
    launcher: OwnedFd,
}

impl Kit {
    /// Makes it. Called in the launcher, which is in the daemon's namespaces and under its account.
    pub(crate) fn new() -> Result<Self, String> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        Ok(Self {
            plain: kept(PLAIN).map_err(|error| text(&error))?,
            exec: kept(EXEC).map_err(|error| text(&error))?,
            filters_before: Status::open()
                .map_err(|errno| format!("its status: {errno}"))?
                .filters(),
            spaces: Spaces::here().map_err(|error| format!("its namespaces: {error}"))?,
            account: (rustix::process::geteuid(), rustix::process::getegid()),
            null: rustix::fs::open("/dev/null", flags, Mode::empty())
                .map_err(|errno| format!("/dev/null: {errno}"))?,
            launcher: rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
                .map_err(|errno| format!("a descriptor of itself: {errno}"))?,
        })
    }
}

/// Compiles filters for as long as the process lives.
fn kept(profile: &str) -> Result<&'static Filters, seccomp::FilterError> {
    seccomp::compile(profile).map(|filters| &*Box::leak(Box::new(filters)))
}

/// A fresh clone of the launcher.
pub struct Raw {
    line: Frames<UnixStream>,
    kit: Kit,
    omit: Option<Layer>,
}

/// A worker that waits to be told what it is for.
pub struct Staged {
    line: Frames<UnixStream>,
    kit: Kit,
    omit: Option<Layer>,
    made: Made,
}

/// What a worker is before it knows what it is for.
struct Made {
    spaces: Spaces,
    /// Its namespaces that are not the launcher's.
    entered: BTreeSet<Layer>,
    status: Status,
    root: Option<Root>,
}

/// A worker that is cut to one agent's grants and has shown it.
pub struct Confined {
    pub(crate) line: Frames<UnixStream>,
    pub(crate) policy: Policy,
    pub(crate) doorbell: Option<OwnedFd>,
    /// Where its programs find the egress broker, if they may ask it.
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) trees: Trees,
}

/// Says something to the daemon. If the line is broken the daemon is gone or wants no more, and the worker ends anyway.
fn tell(line: &Frames<UnixStream>, what: &FromWorker) -> Result<(), Unfit> {
    let mut socket = line.socket();
    frame::write(&mut socket, what, FRAME_BYTES_MAX).map_err(|error| broken(&error.to_string()))
}

fn broken(found: &str) -> Unfit {
    Unfit {
        layer: Layer::Root,
        missing: format!("a line to the daemon: {found}"),
        next_step: "see what ended the daemon, or started the launcher without one".to_owned(),
    }
}

/// Tells the daemon why the worker is unfit.
fn report(line: &Frames<UnixStream>, unfit: &Unfit) {
    let Unfit {
        layer,
        missing,
        next_step,
    } = unfit.clone();
    let what = FromWorker::Unfit {
        layer,
        missing,
        next_step,
    };
    // There is nobody else to tell.
    let _ = tell(line, &what);
}

impl Raw {
    pub(crate) const fn new(line: Frames<UnixStream>, kit: Kit, omit: Option<Layer>) -> Self {
        Self { line, kit, omit }
    }

    /// Makes it the first process of its namespaces, in a root of its own that holds nothing of the host yet.
    ///
    /// # Errors
    /// The layer that could not be had; the daemon has been told.
    pub fn stage(self) -> Result<Staged, Unfit> {
        let made = self.prepare();
        let staged = FromWorker::Staged { version: VERSION };
        let made = made.and_then(|made| tell(&self.line, &staged).map(|()| made));
        let made = made.inspect_err(|unfit| report(&self.line, unfit))?;
        Ok(Staged {
            line: self.line,
            kit: self.kit,
            omit: self.omit,
            made,
        })
    }

    fn prepare(&self) -> Result<Made, Unfit> {
        identity::bind_to(&self.kit.launcher)?;
        let keep = [
            self.line.socket().as_fd(),
            self.kit.null.as_fd(),
            self.kit.launcher.as_fd(),
        ];
        sys::close_all_but(&keep)
            .and_then(|()| sys::replace(0, &self.kit.null))
            .and_then(|()| sys::replace(1, &self.kit.null))
            .map_err(|errno| Unfit::of(Layer::Root, "closing what it was born with", errno))?;
        let spaces = Spaces::here()
            .map_err(|error| broken(&format!("its namespaces cannot be seen: {error}")))?;
        let entered = spaces.entered(&self.kit.spaces);
        if entered.contains(&Layer::UserNamespace) {
            identity::map_numbers(self.kit.account)?;
        }
        identity::settle(self.omit)?;
        let status = Status::open()
            .map_err(|errno| Unfit::of(Layer::Privileges, "looking at itself", errno))?;
        let root = self.root(&entered)?;
        Ok(Made {
            spaces,
            entered,
            status,
            root,
        })
    }

    fn root(&self, entered: &BTreeSet<Layer>) -> Result<Option<Root>, Unfit> {
        if self.omit == Some(Layer::Root) || !entered.contains(&Layer::MountNamespace) {
            return Ok(None);
        }
        let root = root::build(self.omit)?;
        // In any other user namespace than a new one, the setting would be somebody else's.
        if entered.contains(&Layer::UserNamespace) && entered.contains(&Layer::PidNamespace) {
            root.settings().map_or(Ok(()), limits::last_of_its_kind)?;
        }
        Ok(Some(root))
    }
}

/// What was confined, and what it shows.
struct Done {
    proof: Proof,
    proxy: Option<SocketAddr>,
    trees: Trees,
}

impl Staged {
    /// Waits for the policy, confines the worker to it, tries what must fail, and shows the proof.
    ///
    /// # Errors
    /// The layer that could not be had; the daemon has been told.
    pub fn confine(mut self) -> Result<Confined, Unfit> {
        let (policy, doorbell) = self.policy()?;
        let done = self.apply(&policy, doorbell.as_ref());
        let Done {
            proof,
            proxy,
            trees,
        } = done.inspect_err(|unfit| report(&self.line, unfit))?;
        let Self {
            line, kit, made, ..
        } = self;
        // Nothing of the host, and nothing it was made with, stays open.
        drop((kit, made));
        tell(&line, &FromWorker::Ready { proof })?;
        Ok(Confined {
            line,
            policy,
            doorbell,
            proxy,
            trees,
        })
    }

    /// What it is for.
    fn policy(&mut self) -> Result<(Policy, Option<OwnedFd>), Unfit> {
        let came = self
            .line
            .take_next()
            .map_err(|error| broken(&error.to_string()))?;
        let Some(ToWorker::Confine(policy)) = came else {
            return Err(broken("it ended, or did not begin with a policy"));
        };
        let doorbell = self.line.descriptor();
        if policy.egress != doorbell.is_some() {
            let unfit = broken("the policy and the doorbell do not go together");
            report(&self.line, &unfit);
            return Err(unfit);
        }
        Ok((*policy, doorbell))
    }

    fn omits(&self, policy: &Policy, layer: Layer) -> bool {
        policy.omit == Some(layer) || self.omit == Some(layer)
    }

    fn apply(&self, policy: &Policy, doorbell: Option<&OwnedFd>) -> Result<Done, Unfit> {
        let proxy = match doorbell {
            Some(doorbell) if policy.profile == Profile::Exec => Some(self.proxy(doorbell)?),
            _ => None,
        };
        let rooted = self.made.root.is_some() && !self.omits(policy, Layer::Root);
        let root = self.made.root.as_ref().filter(|_| rooted);
        if let Some(root) = root {
            self.limit(root, policy)?;
        }
        let furnished = furnish::furnish(root, policy)?;
        if let Some(root) = root {
            root.enter(furnished.whole())
                .map_err(|errno| Unfit::of(Layer::Root, "entering it", errno))?;
        }
        if !self.omits(policy, Layer::Rlimits) {
            limits::bound(&policy.limits)?;
        }
        if !self.omits(policy, Layer::Privileges) {
            limits::give_up()?;
        }
        self.let_go_of_streams(rooted)
            .map_err(|errno| Unfit::of(Layer::Root, "letting go of the error stream", errno))?;
        let mut tried = Tried::default();
        tried.root(&policy.canaries, &furnished, root.map(|root| &root.scratch));
        tried.network(&policy.canaries);
        tried.privileges();
        let ruled = self.rule(policy, &furnished, rooted, proxy, &mut tried)?;
        self.filter(policy)?;
        tried.filter(policy.profile == Profile::Exec);
        let seen = Seen {
            entered: &self.made.entered,
            spaces: &self.made.spaces,
            rooted,
            ruled: ruled.as_ref(),
            filters_before: self.kit.filters_before,
            status: &self.made.status,
        };
        Ok(Done {
            proof: proof::proof(policy, &seen, tried.0),
            proxy,
            trees: furnished.trees,
        })
    }

    /// Makes the standard streams the null device of its own root. By the host's, its mode could be changed.
    fn let_go_of_streams(&self, rooted: bool) -> Result<(), Errno> {
        if !rooted {
            return sys::replace(2, &self.kit.null);
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
        (0..=2).try_for_each(|stream| sys::replace(stream, &null))
    }

    /// Makes the programs' way to the broker. Only with one is there anything to reach over the loopback.
    fn proxy(&self, doorbell: &OwnedFd) -> Result<SocketAddr, Unfit> {
        let layer = Layer::NetworkNamespace;
        if self.made.entered.contains(&layer) {
            identity::loopback()
                .map_err(|errno| Unfit::of(layer, "its loopback interface", errno))?;
        }
        hand_over_proxy(doorbell)
    }

    /// Gives the root its sizes. Done before it is furnished, and before `/proc` becomes read-only.
    fn limit(&self, root: &Root, policy: &Policy) -> Result<(), Unfit> {
        let bounded =
            self.made.entered.contains(&Layer::PidNamespace) && !self.omits(policy, Layer::Rlimits);
        if let Some(settings) = root.settings().filter(|_| bounded) {
            limits::bound_numbers(settings, policy.limits.processes)?;
        }
        let executes = policy.profile == Profile::Exec && trees::makes_programs(policy);
        root.size(policy.limits.scratch_bytes, executes)
            .and_then(|()| root.seal_proc())
            .map_err(|errno| Unfit::of(Layer::Root, "the size of its /tmp", errno))
    }

    fn rule(
        &self,
        policy: &Policy,
        furnished: &Furnished,
        rooted: bool,
        proxy: Option<SocketAddr>,
        tried: &mut Tried,
    ) -> Result<Option<landlock::Ruled>, Unfit> {
        let whole = furnished.whole().is_some();
        let sealed = rooted
            .then(|| canary::sealed_at(whole, trees::makes_programs(policy)))
            .flatten();
        let rules = landlock::Rules {
            policy,
            furnished,
            rooted,
            proxy: proxy.map(|address| address.port()),
        };
        let ruled = if self.omits(policy, Layer::Landlock) {
            None
        } else {
            Some(landlock::restrict(&rules)?)
        };
        tried.landlock(
            sealed.as_deref(),
            ruled.as_ref().is_none_or(|ruled| ruled.tcp),
        )?;
        Ok(ruled)
    }

    fn filter(&self, policy: &Policy) -> Result<(), Unfit> {
        if self.omits(policy, Layer::Seccomp) {
            return Ok(());
        }
        let filters = match policy.profile {
            Profile::Plain => self.kit.plain,
            Profile::Exec => self.kit.exec,
        };
        filters.install().map_err(|error| Unfit {
            layer: Layer::Seccomp,
            missing: error.to_string(),
            next_step: "run a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
        })
    }
}

/// Makes the socket on which the worker's programs find the egress broker, and gives it to the broker.
fn hand_over_proxy(doorbell: &OwnedFd) -> Result<SocketAddr, Unfit> {
    let made = || -> Result<(OwnedFd, SocketAddr), Errno> {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        rustix::net::listen(&socket, PROXY_BACKLOG)?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        Ok((socket, address))
    };
    let failed = |errno| {
        Unfit::of(
            Layer::NetworkNamespace,
            "the programs' way to the broker",
            errno,
        )
    };
    let (socket, address) = made().map_err(failed)?;
    let ring = frame::packet(&Ring::Proxy, PACKET_BYTES_MAX)
        .map_err(|error| broken(&error.to_string()))?;
    line::send(doorbell, &ring, Some(socket.as_fd()), SendFlags::empty()).map_err(failed)?;
    Ok(address)
}
