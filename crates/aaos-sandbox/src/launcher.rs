//! The launcher: one small process with one thread that clones workers.
//!
//! It is executed once. A worker is then a clone of it in namespaces of its own, which costs no further execution, and
//! what every worker needs (filters compiled, descriptors opened) is made here once.
//! Refuses: anything but orders on its control line; its end is the launcher's, and every worker's.

use crate::{
    confine::{Kit, Raw, namespaces},
    protocol::{
        FRAME_BYTES_MAX, Order, PACKET_BYTES_MAX, Report, VERSION,
        frame::{self, FrameError},
        line::{self, Frames},
    },
    sys::{self, Children, Side},
};
use aaos_core::proof::Layer;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{RecvFlags, SendFlags},
    process::{Signal, WaitOptions, pidfd_send_signal, wait},
};
use std::{collections::VecDeque, fs, io, os::unix::net::UnixStream, thread};

/// Most looks at whether a thread that has been joined is gone; it is within microseconds.
const LOOKS_MAX: usize = 10_000;

/// Why the launcher is over.
#[derive(Debug, thiserror::Error)]
pub enum LauncherEnd {
    /// The daemon closed the control line.
    #[error("the daemon is gone")]
    Closed,
    /// The control line carried something else than orders, or broke.
    #[error("the control line failed: {0}")]
    Line(#[from] FrameError),
    /// The launcher cannot prepare what every worker needs.
    #[error("the launcher cannot be prepared: {0}")]
    Unprepared(String),
}

/// Makes something that all workers share, on a thread that has ended when this returns.
///
/// What is made, and the holes left by making it, then lie in that thread's part of the heap: a worker's own memory comes
/// from the rest of it, in few pages, instead of from holes in pages that it would have to copy.
///
/// # Errors
/// The thread could not be had, or did not end well.
pub fn apart<T: Send>(make: impl FnOnce() -> T + Send) -> Result<T, LauncherEnd> {
    let unprepared = |found: &str| LauncherEnd::Unprepared(format!("a thread to make it: {found}"));
    thread::scope(|scope| {
        let maker = thread::Builder::new().spawn_scoped(scope, make);
        let maker = maker.map_err(|error| unprepared(&error.to_string()))?;
        maker.join().map_err(|_| unprepared("it did not end well"))
    })
}

/// Has the kernel end this process and its workers before anything else when memory runs out: a run can be told of a
/// lost worker, the daemon cannot be told of its own end. Where the kernel has no such setting, nothing changes.
fn first_to_go() {
    // Source: proc_pid_oom_score_adj(5); 1000 is the most.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// Takes orders from the daemon until its line ends. Answers in each fresh worker, with what that worker is made of.
///
/// # Errors
/// In the launcher itself, when it is over.
pub fn serve(control: OwnedFd) -> Result<Raw, LauncherEnd> {
    first_to_go();
    let kit = apart(Kit::new)?.and_then(alone);
    let kit = kit.map_err(LauncherEnd::Unprepared)?;
    report(&control, &Report::Hello { version: VERSION }, None)?;
    let mut ward = Ward::default();
    let ended = match ward.orders(&control) {
        Ok((worker, omit)) => {
            // A worker holds nothing of the launcher's, and is not its to end.
            drop((control, ward));
            let frames = Frames::new(UnixStream::from(worker), FRAME_BYTES_MAX);
            return Ok(Raw::new(frames, kit, omit));
        }
        Err(ended) => ended,
    };
    ward.end();
    Err(ended)
}

/// Fewest workers at which those that ended are forgotten.
const FORGET_FROM: usize = 64;

/// What the launcher answers for.
#[derive(Default)]
struct Ward {
    /// The daemon's lock. It is let go of when the last worker is gone, and not before.
    held: Option<OwnedFd>,
    /// Every worker that may live.
    workers: Vec<OwnedFd>,
    /// How many there may be before those that ended are looked for.
    looked_at: usize,
}

impl Ward {
    /// Takes orders until the line ends. Answers in each fresh worker, with its line.
    fn orders(&mut self, control: &OwnedFd) -> Result<(OwnedFd, Option<Layer>), LauncherEnd> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        loop {
            let mut came = VecDeque::new();
            let length = line::receive(control, &mut packet, &mut came, RecvFlags::empty())
                .map_err(io::Error::from)
                .map_err(FrameError::from)?;
            if length == 0 {
                return Err(LauncherEnd::Closed);
            }
            let order = frame::decode(packet.get(..length).unwrap_or_default())?;
            let Some(descriptor) = came.pop_front() else {
                let missing = FrameError::Io(io::ErrorKind::InvalidData.into());
                return Err(LauncherEnd::Line(missing));
            };
            let (id, omit) = match order {
                Order::Hold => {
                    self.held = Some(descriptor);
                    continue;
                }
                Order::Start { id, omit } => (id, omit),
            };
            match sys::clone_into(namespaces(omit)) {
                Ok(Side::Child) => return Ok((descriptor, omit)),
                Ok(Side::Parent { pid, process }) => {
                    let started = Report::Started { id, pid };
                    let said = report(control, &started, Some(process.as_fd()));
                    self.keep(process);
                    said?;
                }
                Err(errno) => report(control, &failed(id, errno), None)?,
            }
        }
    }

    /// Keeps a worker, and forgets those that ended, each time there are a quarter more than lived the last time.
    fn keep(&mut self, worker: OwnedFd) {
        if self.workers.len() >= self.looked_at.max(FORGET_FROM) {
            self.workers.retain(lives);
            self.looked_at = self.workers.len() + self.workers.len() / 4;
        }
        self.workers.push(worker);
    }

    /// Ends every worker and returns when the last is gone, and all that it started with it.
    fn end(self) {
        for worker in &self.workers {
            // It may be gone already, which is what was wanted.
            let _ = pidfd_send_signal(worker, Signal::KILL);
        }
        // The kernel reaps them: waiting ends when there are none, and never sooner.
        while !matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
        drop(self.held);
    }
}

/// Whether a worker has not ended.
fn lives(worker: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(worker, PollFlags::IN)];
    !matches!(poll(&mut ended, Some(&Timespec::default())), Ok(1..))
}

/// Sees to it that workers are cloned from one thread, and that nobody waits for them.
fn alone(kit: Kit) -> Result<Kit, String> {
    let threads = || fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    // A thread that was joined is listed until the kernel is through with it.
    let mut looks = 0;
    while threads() != 1 {
        looks += 1;
        if looks == LOOKS_MAX {
            return Err(format!("it has {} threads, and must have one", threads()));
        }
        thread::yield_now();
    }
    sys::children(Children::Forgotten).map_err(|errno| format!("ended workers: {errno}"))?;
    Ok(kit)
}

fn report(
    control: &OwnedFd,
    what: &Report,
    process: Option<BorrowedFd<'_>>,
) -> Result<(), LauncherEnd> {
    let packet = frame::packet(what, PACKET_BYTES_MAX)?;
    line::send(control, &packet, process, SendFlags::empty())
        .map_err(io::Error::from)
        .map_err(FrameError::from)?;
    Ok(())
}

/// What stood in the way of a new worker, as the kernel's answers go: namespaces(7), clone(2).
fn failed(id: u64, errno: Errno) -> Report {
    let (layer, next_step) = match errno {
        Errno::PERM | Errno::ACCESS => (
            Layer::UserNamespace,
            "allow unprivileged user namespaces: set kernel.apparmor_restrict_unprivileged_userns=0 or install the \
             AppArmor profile of aaOS, and set kernel.unprivileged_userns_clone=1 where the kernel has it",
        ),
        Errno::NOSPC | Errno::USERS => (
            Layer::UserNamespace,
            "raise user.max_user_namespaces and its siblings user.max_*_namespaces",
        ),
        Errno::INVAL | Errno::NOSYS => (
            Layer::UserNamespace,
            "run a kernel built with user, mount, process, IPC, host name, control group and network namespaces",
        ),
        _ => (
            Layer::PidNamespace,
            "free memory or processes, or raise the daemon's limit of processes",
        ),
    };
    Report::Failed {
        id,
        layer,
        missing: format!("a process in namespaces of its own could not be made: {errno}"),
        next_step: next_step.to_owned(),
    }
}
