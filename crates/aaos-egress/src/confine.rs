//! What the broker gives up before it serves: who it was, files, programs, every system call it does not need.
//!
//! Refuses: going on with less than all of it. Runs while the process has one thread.

use aaos_sandbox::{backend::namespaced::egress::PROFILE, confine::seccomp};
use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::{
    io::Errno,
    process::{
        DumpableBehavior, Gid, Resource, Rlimit, Uid, getrlimit, set_dumpable_behavior, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

/// Who the broker is when the daemon is root: nobody, who owns no file.
/// Source: Linux, `/proc/sys/kernel/overflowuid`; Debian, base-passwd.
const NOBODY: u32 = 65534;
/// Open files: sockets of every worker together.
const FILES_MAX: u64 = 4096;
/// What may be read: how names are looked up, certificates, and the libraries that the C library loads for the
/// former. `/etc/resolv.conf` is often a link to a file that is replaced, hence the directories under `/run`.
const READABLE: [&str; 20] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/ld.so.cache",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/dev/urandom",
];

/// Why the broker does not serve.
#[derive(Debug)]
pub(crate) struct Unfit {
    /// What was missing.
    pub(crate) missing: String,
    /// What would fix it.
    pub(crate) next_step: &'static str,
}

/// Gives everything up.
///
/// # Errors
/// The first thing that could not be given up.
pub(crate) fn confine() -> Result<(), Unfit> {
    limits().map_err(|error| Unfit {
        missing: format!("its limits cannot be set: {error}"),
        next_step: "see whether the daemon's service restricts `prlimit`",
    })?;
    identity().map_err(|error| Unfit {
        missing: format!("it cannot become an unprivileged process: {error}"),
        next_step: "let the daemon keep CAP_SETUID, CAP_SETGID and CAP_SETPCAP, or start it as an unprivileged user",
    })?;
    files()?;
    system_calls().map_err(|error| Unfit {
        missing: error.to_string(),
        next_step: "boot a kernel with CONFIG_SECCOMP_FILTER",
    })
}

fn limits() -> Result<(), Errno> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    // It writes no file; sockets are not counted.
    setrlimit(Resource::Fsize, none)?;
    let held = getrlimit(Resource::Nofile).maximum.unwrap_or(FILES_MAX);
    let files = Some(held.min(FILES_MAX));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files,
            maximum: files,
        },
    )
}

fn identity() -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    if rustix::process::geteuid().is_root() {
        drop_bounding_set()?;
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Takes every kernel capability this kernel knows out of reach.
fn drop_bounding_set() -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn files() -> Result<(), Unfit> {
    let missing = |missing: String| Unfit {
        missing,
        next_step: "boot a kernel with Landlock (5.13 or later, `landlock` in `lsm=`)",
    };
    match landlock() {
        Ok(RulesetStatus::NotEnforced) => Err(missing("Landlock is not enforced".to_owned())),
        Ok(_) => Ok(()),
        Err(error) => Err(missing(format!("Landlock: {error}"))),
    }
}

/// Reading as listed; no writing, no executing, no listening. Connecting out is what it is there for.
fn landlock() -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V6;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, reading))?
        .restrict_self()?;
    Ok(status.ruleset)
}

fn system_calls() -> Result<(), seccomp::FilterError> {
    seccomp::compile(PROFILE)?.install()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "tries what the confined process must not be able to do"
    )]
    use super::*;
    use std::{
        fs::File,
        io::{ErrorKind, Write},
        net::{TcpListener, TcpStream, ToSocketAddrs},
        process::Command,
        thread,
    };

    /// Landlock and the filter of system calls hold for the thread that entered them, and so for this one alone.
    fn confined<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let inside = move || {
            files().unwrap();
            system_calls().unwrap();
            act()
        };
        thread::spawn(inside).join().unwrap()
    }

    #[test]
    fn only_what_looking_up_names_and_certificates_takes_can_be_read() {
        for hidden in ["/etc/passwd", "/proc/self/environ", "/root", "/tmp"] {
            let error = confined(move || File::open(hidden)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{hidden}");
        }
        confined(|| File::open("/etc/hosts")).unwrap();
    }

    #[test]
    fn nothing_can_be_written() {
        let mut open = tempfile::tempfile().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let error = confined(move || File::create(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        // A descriptor that was handed over is another matter; the control: this thread still writes.
        open.write_all(b"x").unwrap();
    }

    #[test]
    fn no_program_can_be_started() {
        let error = confined(|| Command::new("/bin/true").status()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn it_connects_and_looks_names_up_and_does_not_listen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        confined(move || TcpStream::connect(address)).unwrap();
        let found = confined(|| ("localhost", 80).to_socket_addrs().map(Iterator::count));
        assert!(found.unwrap() > 0);
        let error = confined(|| TcpListener::bind("127.0.0.1:0")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn sockets_that_are_no_way_out_to_a_server_cannot_be_had() {
        use rustix::net::{AddressFamily, SocketType, socket};
        for (family, kind) in [
            (AddressFamily::NETLINK, SocketType::RAW),
            (AddressFamily::INET, SocketType::RAW),
            (AddressFamily::PACKET, SocketType::RAW),
            (AddressFamily::VSOCK, SocketType::STREAM),
        ] {
            let made = confined(move || socket(family, kind, None));
            assert_eq!(made.unwrap_err(), Errno::PERM, "{family:?}");
        }
        // The control: outside the filter there is such a socket.
        assert!(socket(AddressFamily::NETLINK, SocketType::RAW, None).is_ok());
    }
}
