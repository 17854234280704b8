//! Ambient authority: the functions that reach the world by name, and who may call them.
//!
//! Clippy's `disallowed_methods` knows no wildcards, so they are listed one by one, grouped by what they
//! reach. The plan says which room owns which group; a room's `clippy.toml` refuses all the others. A
//! crate's own `clippy.toml` replaces the root's, so every file is written whole from this one list.

use std::fmt::Write as _;

use crate::finding::{Error, Finding};
use crate::plan::Plan;
use crate::tree::Tree;

/// Functions that reach the same part of the world.
pub struct Group {
    /// The name `owns` uses in the plan.
    pub name: &'static str,
    /// What to use instead; the reason clippy shows.
    pub instead: &'static str,
    /// Full paths.
    pub methods: &'static [&'static str],
}

/// Every group, in the order they are written.
pub static GROUPS: &[Group] = &[
    Group {
        name: "files",
        instead: "files are reached through the power Files or a port of aaos-store",
        methods: &[
            "std::fs::canonicalize",
            "std::fs::copy",
            "std::fs::create_dir",
            "std::fs::create_dir_all",
            "std::fs::exists",
            "std::fs::hard_link",
            "std::fs::metadata",
            "std::fs::read",
            "std::fs::read_dir",
            "std::fs::read_link",
            "std::fs::read_to_string",
            "std::fs::remove_dir",
            "std::fs::remove_dir_all",
            "std::fs::remove_file",
            "std::fs::rename",
            "std::fs::set_permissions",
            "std::fs::symlink_metadata",
            "std::fs::write",
            "std::fs::File::create",
            "std::fs::File::create_new",
            "std::fs::File::open",
            "std::fs::File::options",
            "std::fs::OpenOptions::new",
            "std::fs::OpenOptions::open",
            "std::fs::DirBuilder::create",
            "std::os::unix::fs::symlink",
            "std::os::unix::fs::chown",
            "std::os::unix::fs::lchown",
            "std::os::unix::fs::chroot",
            "std::path::Path::canonicalize",
            "std::path::Path::exists",
            "std::path::Path::is_dir",
            "std::path::Path::is_file",
            "std::path::Path::is_symlink",
            "std::path::Path::metadata",
            "std::path::Path::read_dir",
            "std::path::Path::read_link",
            "std::path::Path::symlink_metadata",
            "std::path::Path::try_exists",
            "tokio::fs::canonicalize",
            "tokio::fs::copy",
            "tokio::fs::create_dir",
            "tokio::fs::create_dir_all",
            "tokio::fs::hard_link",
            "tokio::fs::metadata",
            "tokio::fs::read",
            "tokio::fs::read_dir",
            "tokio::fs::read_link",
            "tokio::fs::read_to_string",
            "tokio::fs::remove_dir",
            "tokio::fs::remove_dir_all",
            "tokio::fs::remove_file",
            "tokio::fs::rename",
            "tokio::fs::set_permissions",
            "tokio::fs::symlink",
            "tokio::fs::symlink_metadata",
            "tokio::fs::try_exists",
            "tokio::fs::write",
            "tokio::fs::File::create",
            "tokio::fs::File::create_new",
            "tokio::fs::File::open",
            "tokio::fs::OpenOptions::new",
            "tokio::fs::OpenOptions::open",
        ],
    },
    Group {
        name: "processes",
        instead: "programs are started through the power Exec or a backend",
        methods: &[
            "std::process::Command::new",
            "std::process::abort",
            "std::process::exit",
            "tokio::process::Command::new",
        ],
    },
    Group {
        name: "environment",
        instead: "the environment is read once, in agentd's config; take the value as an argument",
        methods: &[
            "std::env::args",
            "std::env::args_os",
            "std::env::current_dir",
            "std::env::current_exe",
            "std::env::home_dir",
            "std::env::set_current_dir",
            "std::env::temp_dir",
            "std::env::var",
            "std::env::var_os",
            "std::env::vars",
            "std::env::vars_os",
            "std::path::absolute",
        ],
    },
    Group {
        name: "clock",
        instead: "the time comes from the port Clock, or as an input",
        methods: &[
            "std::time::Instant::elapsed",
            "std::time::Instant::now",
            "std::time::SystemTime::elapsed",
            "std::time::SystemTime::now",
            "jiff::Timestamp::now",
            "jiff::Zoned::now",
            "tokio::time::Instant::elapsed",
            "tokio::time::Instant::now",
        ],
    },
    Group {
        name: "randomness",
        instead: "drawn values come from the port Ids",
        methods: &["getrandom::fill", "getrandom::u32", "getrandom::u64"],
    },
    Group {
        name: "tasks",
        instead: "a task needs an owner who awaits it; only rooms that keep such owners spawn",
        methods: &[
            "tokio::spawn",
            "tokio::task::spawn",
            "tokio::task::spawn_local",
            "tokio::runtime::Handle::spawn",
            "tokio::runtime::Runtime::spawn",
            "tokio::task::JoinSet::spawn",
        ],
    },
    Group {
        name: "blocking",
        instead: "blocking work belongs to the rooms that reach the disk or start programs",
        methods: &[
            "tokio::task::block_in_place",
            "tokio::task::spawn_blocking",
            "tokio::runtime::Handle::spawn_blocking",
            "tokio::runtime::Runtime::spawn_blocking",
            "tokio::task::JoinSet::spawn_blocking",
        ],
    },
    Group {
        name: "threads",
        instead: "a thread needs an owner who joins it; only rooms that keep such owners start one",
        methods: &[
            "std::thread::Builder::spawn",
            "std::thread::scope",
            "std::thread::sleep",
            "std::thread::spawn",
        ],
    },
    Group {
        name: "sockets",
        instead: "the network is reached through the power Http; agentd alone listens",
        methods: &[
            "std::net::TcpListener::bind",
            "std::net::TcpStream::connect",
            "std::net::TcpStream::connect_timeout",
            "std::net::ToSocketAddrs::to_socket_addrs",
            "std::net::UdpSocket::bind",
            "std::os::unix::net::UnixDatagram::bind",
            "std::os::unix::net::UnixListener::bind",
            "std::os::unix::net::UnixStream::connect",
            "tokio::net::lookup_host",
            "tokio::net::TcpListener::bind",
            "tokio::net::TcpStream::connect",
            "tokio::net::UdpSocket::bind",
            "tokio::net::UnixDatagram::bind",
            "tokio::net::UnixListener::bind",
            "tokio::net::UnixStream::connect",
        ],
    },
];

/// Types the core refuses: interior mutability, clocks, and maps whose order differs from run to run.
static IMPURE_TYPES: &[(&str, &str)] = &[
    ("std::cell::Cell", "the core's state changes through `&mut`"),
    (
        "std::cell::OnceCell",
        "the core's state changes through `&mut`",
    ),
    (
        "std::cell::RefCell",
        "the core's state changes through `&mut`",
    ),
    (
        "std::cell::UnsafeCell",
        "the core's state changes through `&mut`",
    ),
    ("std::sync::Condvar", "the core waits for nothing"),
    (
        "std::sync::Mutex",
        "the core's state changes through `&mut`",
    ),
    (
        "std::sync::OnceLock",
        "the core's state changes through `&mut`",
    ),
    (
        "std::sync::RwLock",
        "the core's state changes through `&mut`",
    ),
    (
        "std::sync::atomic::AtomicBool",
        "the core's state changes through `&mut`",
    ),
    (
        "std::sync::atomic::AtomicU32",
        "the core's state changes through `&mut`",
    ),
    (
        "std::sync::atomic::AtomicU64",
        "the core's state changes through `&mut`",
    ),
    (
        "std::sync::atomic::AtomicUsize",
        "the core's state changes through `&mut`",
    ),
    (
        "std::collections::HashMap",
        "its order differs from run to run; use BTreeMap",
    ),
    (
        "std::collections::HashSet",
        "its order differs from run to run; use BTreeSet",
    ),
    ("std::time::Instant", "time enters the core as a Timestamp"),
    (
        "std::time::SystemTime",
        "time enters the core as a Timestamp",
    ),
];

/// The crate whose types are held to purity as well.
const PURE: &str = "aaos-core";

/// The group a plan's `owns` names.
pub fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// Every `clippy.toml` of the workspace: path and text, the root's first.
pub fn files(plan: &Plan) -> Vec<(String, String)> {
    let mut files = vec![(
        "clippy.toml".to_owned(),
        text("every crate without its own", |_| false, false),
    )];
    for (name, room) in plan.rooms() {
        let text = text(name, |group| room.owns.contains(group), name == PURE);
        files.push((format!("crates/{name}/clippy.toml"), text));
    }
    for name in plan.workshop.keys() {
        let folder = if name == "xtask" {
            name.clone()
        } else {
            format!("crates/{name}")
        };
        files.push((format!("{folder}/clippy.toml"), text(name, |_| true, false)));
    }
    files
}

fn text(of: &str, owned: impl Fn(&str) -> bool, pure: bool) -> String {
    let mut out = format!(
        "# For {of}. Written by `cargo xtask clippy-config` from house.toml and xtask/src/ambient.rs.\n\
         allow-unwrap-in-tests = true\n\
         allow-expect-in-tests = true\n\
         allow-panic-in-tests = true\n\
         allow-dbg-in-tests = true\n\
         allow-print-in-tests = true\n"
    );
    out.push_str("disallowed-methods = [\n");
    for group in GROUPS.iter().filter(|group| !owned(group.name)) {
        for method in group.methods {
            let _ = writeln!(out, "    {},", entry(method, group.instead));
        }
    }
    out.push_str("]\n");
    if pure {
        out.push_str("disallowed-types = [\n");
        for (path, instead) in IMPURE_TYPES {
            let _ = writeln!(out, "    {},", entry(path, instead));
        }
        out.push_str("]\n");
    }
    out
}

/// One entry. Paths outside the standard library are unknown to crates that do not link theirs.
fn entry(path: &str, reason: &str) -> String {
    let linked = if path.starts_with("std::") {
        ""
    } else {
        ", allow-invalid = true"
    };
    format!("{{ path = \"{path}\", reason = \"{reason}\"{linked} }}")
}

/// Writes every `clippy.toml` and names them.
///
/// # Errors
/// A file cannot be written.
pub fn write(tree: &Tree, plan: &Plan) -> Result<Vec<String>, Error> {
    let mut written = Vec::new();
    for (path, text) in files(plan) {
        tree.write(&path, &text)?;
        written.push(path);
    }
    Ok(written)
}

/// The files that are not what this list makes of the plan, and owned groups that do not exist.
pub fn stale(tree: &Tree, plan: &Plan) -> Vec<Finding> {
    let differs = |(path, text): &(String, String)| tree.read(path).ok().as_ref() != Some(text);
    let mut found: Vec<_> = files(plan)
        .iter()
        .filter(|file| differs(file))
        .map(|(path, _)| Finding::new(path, "is not current; run `cargo xtask clippy-config`"))
        .collect();
    for (name, room) in plan.rooms() {
        for owned in room.owns.iter().filter(|owned| group(owned).is_none()) {
            let known: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
            let advice = format!("owns `{owned}`, which is none of {}", known.join(", "));
            found.push(Finding::new(format!("house.toml, {name}"), advice));
        }
    }
    found
}
