//! What of the system a worker's programs run with: libraries, the loader, a few files of `/etc`.
//!
//! Read-only, and by name. Programs in it are there to be found; Landlock says which may be executed or read.

use crate::files::is_beneath;
use rustix::{
    fd::OwnedFd,
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Directories of the system. Source: hier(7), and the Filesystem Hierarchy Standard 3.0 for `/lib` and its variants.
const DIRECTORIES: [&str; 6] = ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin"];
/// Files and directories of `/etc`: where libraries are, which of several programs a name means, whom to trust.
const SETTINGS: [&str; 5] = [
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
];
/// Directories that hold programs. They are neither read nor executed, but for what was granted.
const PROGRAMS: [&str; 8] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/games",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/games",
];
/// Directories that hold directories of programs and others.
const MIXED: [&str; 2] = ["/usr", "/usr/local"];
/// Most entries looked at in one of those; a system has about a dozen.
const ENTRIES_MAX: usize = 256;
/// Where the loader may be: glibc on x86-64 and aarch64, musl on both. Source: the System V ABI's supplements.
pub(super) const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

fn kind(path: &str) -> Option<FileType> {
    let stat = rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// What is mounted.
pub(super) fn places() -> impl Iterator<Item = String> {
    let there = DIRECTORIES.iter().chain(&SETTINGS).filter(|path| {
        matches!(
            kind(path),
            Some(FileType::Directory | FileType::RegularFile)
        )
    });
    there.map(|path| (*path).to_owned())
}

/// Whether a path lies in one of the system's directories.
pub(super) fn holds(path: &str) -> bool {
    DIRECTORIES
        .iter()
        .any(|directory| is_beneath(path, directory))
}

/// Makes the links that the host has in place of directories, as `/bin` to `usr/bin`.
pub(super) fn links(top: &OwnedFd) -> Result<(), Errno> {
    for path in DIRECTORIES {
        if kind(path) != Some(FileType::Symlink) {
            continue;
        }
        let target = rustix::fs::readlinkat(CWD, path, Vec::new())?;
        match rustix::fs::symlinkat(target, top, path.trim_start_matches('/')) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// In the worker's root: what may be read of the system, which is all but directories of programs.
pub(super) fn readable() -> Vec<OwnedFd> {
    let libraries = ["/lib", "/lib64", "/lib32", "/etc"];
    let mut found: Vec<OwnedFd> = libraries.iter().filter_map(|path| open(path)).collect();
    for mixed in MIXED {
        for name in names(mixed) {
            let path = format!("{mixed}/{name}");
            let split = PROGRAMS.contains(&path.as_str()) || MIXED.contains(&path.as_str());
            if !split && kind(&path) == Some(FileType::Directory) {
                found.extend(open(&path));
            }
        }
    }
    found
}

fn names(directory: &str) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(handle) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return Vec::new();
    };
    let Ok(entries) = rustix::fs::Dir::new(handle) else {
        return Vec::new();
    };
    entries
        .take(ENTRIES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .collect()
}

/// Opens a path of the worker's root for a rule; links are followed, because the root is made of the system's and the
/// operator's own.
pub(super) fn open(path: &str) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Opens what the daemon found, without links, for a rule; a link in its place may be an agent's work.
pub(super) fn open_found(path: &str) -> Option<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve).ok()
}
