//! The system calls that have no safe wrapper elsewhere, each wrapped as narrowly as it can be. The only unsafe code.
//!
//! Refuses: deciding anything. What is wrapped here does one system call and tells what it answered.
#![allow(
    unsafe_code,
    reason = "system calls that the safe wrappers in use do not offer"
)]

use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    io::Errno,
    process::WaitOptions,
};
use std::{ffi::CStr, io, mem, ptr};

/// Read only.
pub(crate) const ATTR_RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Executing a file never changes the account.
pub(crate) const ATTR_NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Device files do not open.
pub(crate) const ATTR_NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// Nothing executes.
pub(crate) const ATTR_NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// Which of the two processes returned from [`clone_into`].
pub(crate) enum Side {
    /// The one that was there.
    Parent {
        /// The new process, as numbered here.
        pid: u32,
        /// A descriptor of it.
        process: OwnedFd,
    },
    /// The new one.
    Child,
}

/// The system's error, if the answer says there was one.
fn checked(answer: libc::c_long) -> Result<libc::c_long, Errno> {
    if answer == -1 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(answer)
}

/// Clones this process into new namespaces, as `fork` would. The process must have one thread: nothing another thread
/// held would ever be let go in the clone.
pub(crate) fn clone_into(namespaces: libc::c_int) -> Result<Side, Errno> {
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut process: RawFd = -1;
    let stack = ptr::null_mut::<libc::c_void>();
    // SAFETY: no memory is shared and the stack is the caller's own, copied; the caller has one thread, so no lock is
    // held by anybody else. The third argument is where the descriptor goes on every architecture in use.
    let answer =
        unsafe { libc::syscall(libc::SYS_clone, flags, stack, &raw mut process, stack, 0) };
    match checked(answer)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: u32::try_from(pid).unwrap_or(0),
            process: owned(process),
        }),
    }
}

fn owned(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just handed this descriptor to this process, and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Closes every descriptor from the third on, but for these, which are held by their owners.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut numbers: Vec<u32> = kept
        .iter()
        .filter_map(|held| u32::try_from(held.as_raw_fd()).ok())
        .collect();
    numbers.sort_unstable();
    let mut first: u32 = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the caller of `close_all_but` owns every descriptor that is still used.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    checked(answer).map(drop)
}

/// Makes one of the three standard streams a copy of another descriptor; programs inherit it.
pub(crate) fn replace(stream: RawFd, by: &OwnedFd) -> Result<(), Errno> {
    if !(0..=2).contains(&stream) {
        return Err(Errno::BADF);
    }
    // SAFETY: the standard streams are owned by nobody, so no owner's descriptor is closed by this.
    let answer = unsafe { libc::dup2(by.as_raw_fd(), stream) };
    checked(answer.into()).map(drop)
}

/// What becomes of this process's ended children.
#[derive(Clone, Copy)]
pub(crate) enum Children {
    /// The kernel reaps them.
    Forgotten,
    /// This process reaps them.
    Reaped,
}

/// Says what becomes of ended children. Both dispositions pass on to clones.
pub(crate) fn children(are: Children) -> Result<(), Errno> {
    let handler = match are {
        Children::Forgotten => libc::SIG_IGN,
        Children::Reaped => libc::SIG_DFL,
    };
    // SAFETY: both are dispositions and no functions, so nothing runs when the signal comes.
    let before = unsafe { libc::signal(libc::SIGCHLD, handler) };
    if before == libc::SIG_ERR {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// Changes the attributes of a mount, and of all beneath it if asked.
pub(crate) struct Attributes {
    /// Those to set.
    pub(crate) set: u64,
    /// Those to clear.
    pub(crate) clear: u64,
    /// Whether it stops exchanging mounts with where it came from.
    pub(crate) private: bool,
    /// Whether all beneath it change too.
    pub(crate) recursive: bool,
}

impl Attributes {
    /// Sets these, on this mount alone.
    pub(crate) const fn set(set: u64) -> Self {
        Self {
            set,
            clear: 0,
            private: false,
            recursive: false,
        }
    }
}

/// Changes the attributes of the mount a descriptor is the root of.
pub(crate) fn mount_setattr(mount: impl AsFd, change: &Attributes) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: if change.private { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the descriptor is open, the path is an empty C string, the structure and its size agree.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(answer).map(drop)
}

/// Brings up the loopback interface of this network namespace, by way of any socket in it.
pub(crate) fn loopback_up(socket: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the structure holds numbers and bytes only, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (room, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *room = libc::c_char::try_from(*byte).unwrap_or(0);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the request is the structure this command reads, and outlives the call.
    let answer = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request) };
    checked(answer.into()).map(drop)
}

/// Tries to leave namespaces for new ones; with no flag it changes nothing and succeeds unless refused.
pub(crate) fn unshare(namespaces: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the call takes a number and touches no memory of this process.
    let answer = unsafe { libc::unshare(namespaces) };
    checked(answer.into()).map(drop)
}

/// Tries to take hold of a process that does not exist, as a tracer.
pub(crate) fn trace_nobody() -> Result<(), Errno> {
    let (nobody, nothing) = (libc::pid_t::MAX, ptr::null_mut::<libc::c_void>());
    // SAFETY: seizing takes numbers and touches no memory of this process.
    let answer = unsafe { libc::ptrace(libc::PTRACE_SEIZE, nobody, nothing, nothing) };
    checked(answer).map(drop)
}

/// Tries to execute a file. Returns unless the file is a program that may be executed.
pub(crate) fn execute(file: &CStr) -> Errno {
    let nothing = [ptr::null::<libc::c_char>()];
    // SAFETY: the path is a C string, and both lists end with a null pointer.
    let answer = unsafe { libc::execve(file.as_ptr(), nothing.as_ptr(), nothing.as_ptr()) };
    checked(answer.into()).err().unwrap_or(Errno::INVAL)
}

/// Ends every other process of this process number namespace and reaps them all. Only its first process can; anywhere
/// else it is refused, because there the same call would reach every process of the machine.
///
/// # Errors
/// `PERM` where this is not the first process.
pub(crate) fn end_everyone() -> Result<(), Errno> {
    if rustix::process::getpid().as_raw_pid() != 1 {
        return Err(Errno::PERM);
    }
    match kill_everyone() {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(errno),
    }
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

fn kill_everyone() -> Result<(), Errno> {
    // SAFETY: the call takes two numbers and touches no memory of this process.
    let answer = unsafe { libc::kill(-1, libc::SIGKILL) };
    checked(answer.into()).map(drop)
}
