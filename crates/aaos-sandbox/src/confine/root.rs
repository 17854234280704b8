//! A worker's root: a small file system of its own in memory, with `/proc`, a few devices, `/tmp` and a made-up `/etc`.
//!
//! It is built over the host's `/proc` while the host's files are still there, so that granted trees can be put into
//! it; then it becomes the root and everything of the host is let go.
//!
//! Refuses: mount points in anything but itself. Nothing is ever created in the host's files.

use super::{Unfit, etc};
use crate::sys::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attributes};
use aaos_core::proof::Layer;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_reconfigure, fsconfig_set_string, fsmount, fsopen, move_mount,
        open_tree,
    },
};

/// Where the root stands until it becomes the root. A directory every host has, and no grant reaches.
const STAGE: &str = "/proc";
/// Devices a worker has: those that are bound, as the host has them. Source: what C libraries and shells open.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Links in `/dev` that shells and compilers use.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// A directory no rule allows, to see that rules are in force. It holds one empty file that looks like a program.
pub(super) const SEALED: &str = ".sealed";
/// The file in it.
pub(super) const SEALED_PROGRAM: &str = "program";
/// Room for the root itself, in bytes: it holds empty directories and a few short files.
const ROOT_BYTES: &str = "1048576";
/// Most files in the root: mount points and the directories above them.
const ROOT_FILES: &str = "8192";
/// Most files in `/tmp`; each costs the kernel about a kilobyte that no limit of bytes counts.
const SCRATCH_FILES: &str = "65536";
/// Room in `/tmp` until the policy says how much, in bytes.
const SCRATCH_BYTES: &str = "65536";

/// A root that is being furnished.
pub(super) struct Root {
    /// Its top directory.
    pub(super) top: OwnedFd,
    /// `/tmp`.
    pub(super) scratch: OwnedFd,
    scratch_settings: OwnedFd,
    /// `/proc`, if there is one.
    proc: Option<Proc>,
}

/// The two views of a worker's processes and its kernel.
struct Proc {
    /// In the root: processes, and nothing of the kernel's or the machine's.
    shown: OwnedFd,
    /// Left behind with the host's files, let go before the first call: the settings of the worker's own namespaces.
    settings: OwnedFd,
}

/// What a `/proc` shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Processes,
    Everything,
}

/// Where a tree comes from, and what it may be used for.
pub(super) struct Use {
    /// Whether it may be written.
    pub(super) write: bool,
    /// Whether programs in it may be executed.
    pub(super) execute: bool,
}

/// Builds a root. The process is in mount and process number namespaces of its own.
pub(super) fn build(omit: Option<Layer>) -> Result<Root, Unfit> {
    let fail = |what: &'static str| move |errno| Unfit::of(Layer::Root, what, errno);
    detach_from_host()
        .map_err(|errno| Unfit::of(Layer::MountNamespace, "keeping its mounts to itself", errno))?;
    let proc = if omit == Some(Layer::PidNamespace) {
        None
    } else {
        Some(Proc {
            shown: fresh_proc(Shows::Processes)?,
            settings: fresh_proc(Shows::Everything)?,
        })
    };
    let sizes = [
        ("size", ROOT_BYTES),
        ("nr_inodes", ROOT_FILES),
        ("mode", "0755"),
    ];
    let (top, _) = memory(&sizes, ATTR_NOSUID | ATTR_NODEV).map_err(fail("a root in memory"))?;
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    if let Some(proc) = &proc {
        // Under the new root, it goes when the host's files go; by itself it would be waited for once more.
        move_mount(&proc.settings, "", CWD, STAGE, whole).map_err(fail("the place of its root"))?;
    }
    move_mount(&top, "", CWD, STAGE, whole).map_err(fail("the place of its root"))?;
    for directory in ["proc", "dev", "tmp", "etc", SEALED] {
        make_directory(&top, directory).map_err(fail("a directory of its root"))?;
    }
    if let Some(proc) = &proc {
        move_mount(&proc.shown, "", &top, "proc", whole).map_err(fail("its /proc"))?;
    }
    let sizes = [
        ("size", SCRATCH_BYTES),
        ("nr_inodes", SCRATCH_FILES),
        ("mode", "0700"),
    ];
    let attributes = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    let (scratch, scratch_settings) = memory(&sizes, attributes).map_err(fail("its /tmp"))?;
    move_mount(&scratch, "", &top, "tmp", whole).map_err(fail("the place of its /tmp"))?;
    devices(&top).map_err(fail("its devices"))?;
    sealed(&top).map_err(fail("its sealed directory"))?;
    etc::write(&top).map_err(fail("its /etc"))?;
    Ok(Root {
        top,
        scratch,
        scratch_settings,
        proc,
    })
}

/// Stops mounts from travelling between the host and here, in both directions.
fn detach_from_host() -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open("/", flags, Mode::empty())?;
    let private = Attributes {
        set: 0,
        clear: 0,
        private: true,
        recursive: true,
    };
    sys::mount_setattr(host, &private)
}

/// A file system in memory that is mounted nowhere yet, and its settings.
fn memory(settings: &[(&str, &str)], attributes: u64) -> Result<(OwnedFd, OwnedFd), Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in settings {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok((mount, context))
}

fn fresh_proc(shows: Shows) -> Result<OwnedFd, Unfit> {
    let mount = || {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        if shows == Shows::Processes {
            fsconfig_set_string(context.as_fd(), "subset", "pid")?;
        }
        fsconfig_create(context.as_fd())?;
        let attributes = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
        let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mount().map_err(|errno: Errno| Unfit {
        layer: Layer::Root,
        missing: format!("a /proc of its own could not be mounted: {errno}"),
        next_step: "in a container, run it with an unmasked /proc: docker's --security-opt systempaths=unconfined, \
                    or podman's --security-opt unmask=ALL"
            .to_owned(),
    })
}

/// Makes a directory of the root; it may be there.
pub(super) fn make_directory(top: impl AsFd, path: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(top, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Makes an empty file of the root; it may be there.
pub(super) fn make_file(top: impl AsFd, path: &str, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(top, path, flags, Mode::from_raw_mode(mode))
}

fn devices(top: &OwnedFd) -> Result<(), Errno> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for name in DEVICES {
        let inside = format!("dev/{name}");
        drop(make_file(top, &inside, 0o666)?);
        let device = open_tree(CWD, format!("/dev/{name}"), clone)?;
        // What is written to a device is not written to its file system. Its mode would be: the host's, for a daemon
        // that runs as root.
        let attributes = ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC;
        sys::mount_setattr(&device, &Attributes::set(attributes))?;
        move_mount(
            &device,
            "",
            top,
            inside,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
    }
    for (name, target) in DEVICE_LINKS {
        rustix::fs::symlinkat(target, top, format!("dev/{name}"))?;
    }
    Ok(())
}

fn sealed(top: &OwnedFd) -> Result<(), Errno> {
    make_file(top, &format!("{SEALED}/{SEALED_PROGRAM}"), 0o755).map(drop)
}

/// A private copy of the mounts at an open directory or file, with the attributes its use calls for.
pub(super) fn copy(source: impl AsFd, purpose: &Use) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(source, "", flags)?;
    let mut set = ATTR_NOSUID | ATTR_NODEV;
    if !purpose.write {
        set |= ATTR_RDONLY;
    }
    if !purpose.execute {
        set |= ATTR_NOEXEC;
    }
    let change = Attributes {
        set,
        clear: 0,
        private: true,
        recursive: true,
    };
    sys::mount_setattr(&tree, &change)?;
    Ok(tree)
}

/// Mounts a copy at a place in the root that is open.
pub(super) fn put(copy: impl AsFd, place: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(copy, "", place, "", flags)
}

/// Opens what is at a place beneath a directory, following no link.
pub(super) fn look(top: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(
        top,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

impl Root {
    /// Gives `/tmp` its room, and lets its programs be executed if the policy says so.
    pub(super) fn size(&self, bytes: u64, execute: bool) -> Result<(), Errno> {
        fsconfig_set_string(self.scratch_settings.as_fd(), "size", bytes.to_string())?;
        fsconfig_reconfigure(self.scratch_settings.as_fd())?;
        if execute {
            let change = Attributes {
                set: 0,
                clear: ATTR_NOEXEC,
                private: false,
                recursive: false,
            };
            sys::mount_setattr(&self.scratch, &change)?;
        }
        Ok(())
    }

    /// Puts what every root has into another tree that is to be the root, and makes that one the root.
    pub(super) fn lend_to(&self, whole: &OwnedFd) -> Result<(), Errno> {
        make_directory(&self.top, ".whole")?;
        put(whole, look(&self.top, ".whole")?)?;
        for name in ["proc", "dev", "tmp"] {
            let held = look(&self.top, name)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH
                | OpenTreeFlags::AT_RECURSIVE;
            put_if_there(open_tree(&held, "", flags)?, whole, name)?;
        }
        let sealed = look(&self.top, SEALED)?;
        for name in ["sys", "run"] {
            let hidden = copy(
                &sealed,
                &Use {
                    write: false,
                    execute: true,
                },
            )?;
            put_if_there(hidden, whole, name)?;
        }
        Ok(())
    }

    /// The settings of the worker's own namespaces, if it has them to itself.
    pub(super) fn settings(&self) -> Option<&OwnedFd> {
        self.proc.as_ref().map(|proc| &proc.settings)
    }

    /// Makes `/proc` read-only. For a daemon that runs as root, some of it would belong to the number the
    /// worker runs under.
    pub(super) fn seal_proc(&self) -> Result<(), Errno> {
        match &self.proc {
            Some(proc) => sys::mount_setattr(&proc.shown, &Attributes::set(ATTR_RDONLY)),
            None => Ok(()),
        }
    }

    /// Makes this, or the other tree, the root directory, and lets the host's files go.
    pub(super) fn enter(&self, whole: Option<&OwnedFd>) -> Result<(), Errno> {
        sys::mount_setattr(&self.top, &Attributes::set(ATTR_RDONLY))?;
        rustix::process::fchdir(whole.unwrap_or(&self.top))?;
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    }
}

fn put_if_there(mount: OwnedFd, whole: &OwnedFd, name: &str) -> Result<(), Errno> {
    match look(whole, name) {
        Ok(place) => put(mount, place),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
