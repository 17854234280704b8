//! The file power: files beneath directory handles, cut to an agent's grants and to one call's declared needs.
//!
//! Every path is made absolute lexically, compared with the grants and needs, and then resolved by the kernel with
//! `openat2` beneath a directory handle without following any link. Nothing is opened, created or changed before the
//! comparison; nothing is checked by path and opened by path afterwards: what was opened is what is looked at.
//!
//! Refuses: links of any kind below an anchor, FIFOs, sockets, devices, and kernels without `openat2`.

pub(crate) mod anchor;
mod fault;
pub(crate) mod ignored;
mod own;
pub(crate) mod repository;
mod walk;
mod write;

pub use own::OwnFiles;

use crate::stop::Stop;
use aaos_core::capability::{Capability, FileRight, Need, PathScope, Resource};
use aaos_ports::{
    Files, LaunchError, PowerError,
    power::{Entry, EntryKind, Flow, OpenFile, Tidy, WriteMode, absolute},
};
use anchor::Anchor;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::BinaryHeap,
    fs::File,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

/// A regular file to read: `O_NONBLOCK` so that a FIFO put there in the last moment cannot hold the thread.
const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// A directory to read names from.
const LIST_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// A directory to work beneath.
const DIRECTORY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// What an agent holds of files, with the handles to reach it.
struct Held {
    grants: Vec<(FileRight, PathScope)>,
    /// Longest first; the last one is the root, which contains every path.
    anchors: Arc<[Anchor]>,
    base: String,
}

/// The file power of one agent, or of one call of it.
#[derive(Clone)]
pub struct BeneathFiles {
    held: Arc<Held>,
    /// What the call said it needs, absolute; `None` if the power is not cut to a call.
    needs: Option<Arc<[Need]>>,
    own: Arc<OwnFiles>,
    stop: Stop,
    near: Arc<Mutex<Option<Near>>>,
}

/// The directory a walk is in. Its files are opened from here while the walk holds it, which spares the way down.
struct Near {
    path: String,
    handle: Arc<OwnedFd>,
}

/// A path that was found to be allowed, and where to resolve it from.
struct Place<'a> {
    /// Absolute and normal.
    path: String,
    anchor: &'a Anchor,
    /// Relative to the anchor's handle; `.` for the handle itself.
    inside: String,
}

impl BeneathFiles {
    /// Makes the power an agent's file capabilities amount to. Relative paths start from `base`. Links on the way to
    /// `base` and the `anchors` are followed now, once; all others are refused on use.
    ///
    /// # Errors
    /// The kernel has no `openat2`, or the root directory cannot be opened.
    pub fn new<'a>(
        capabilities: &[Capability],
        base: &'a str,
        anchors: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, LaunchError> {
        let held = Held {
            grants: file_grants(capabilities),
            anchors: anchor::open_all(base, anchors.into_iter())?.into(),
            base: base.to_owned(),
        };
        Ok(Self {
            held: Arc::new(held),
            needs: None,
            own: Arc::default(),
            stop: Stop::default(),
            near: Arc::default(),
        })
    }

    /// The same power cut to what one call declared it needs, and ended when the call is.
    ///
    /// # Errors
    /// `Denied` if a need names a path that cannot be one.
    pub fn for_call(&self, needs: Vec<Need>, stop: Stop) -> Result<Self, PowerError> {
        let absolute = needs
            .into_iter()
            .map(|need| aaos_ports::power::at_base(need, &self.held.base));
        let needs: Vec<Need> = absolute.collect::<Result<_, _>>()?;
        let (held, own) = (Arc::clone(&self.held), Arc::clone(&self.own));
        Ok(Self {
            held,
            needs: Some(needs.into()),
            own,
            stop,
            near: Arc::default(),
        })
    }

    /// The same power over what is left of an agent's capabilities. Calls that were handed the power before keep what
    /// they were handed; who takes a capability away ends the calls that rest on it.
    #[must_use]
    pub fn holding(&self, left: &[Capability]) -> Self {
        let held = Held {
            grants: file_grants(left),
            anchors: Arc::clone(&self.held.anchors),
            base: self.held.base.clone(),
        };
        Self {
            held: Arc::new(held),
            needs: self.needs.clone(),
            own: Arc::clone(&self.own),
            stop: self.stop.clone(),
            near: Arc::default(),
        }
    }

    /// The same power without the runtime's own files.
    #[must_use]
    pub fn without(mut self, own: Arc<OwnFiles>) -> Self {
        self.own = own;
        self
    }

    /// Refuses to go on once the call is over.
    fn check_stop(&self, what: &str) -> Result<(), PowerError> {
        if self.stop.is_stopped() {
            return Err(PowerError::Io {
                what: what.to_owned(),
                message: "the call was stopped".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether a grant and, if the power is cut to a call, one of its needs reach this normal path.
    fn allows(&self, right: FileRight, path: &str) -> Result<(), PowerError> {
        let denied = |reason: &str| PowerError::Denied {
            need: Need::File {
                right,
                path: path.to_owned(),
            }
            .to_string(),
            axis: "path".to_owned(),
            reason: reason.to_owned(),
        };
        let granted = self
            .held
            .grants
            .iter()
            .any(|(held, scope)| *held == right && scope.matches(path));
        if !granted {
            return Err(denied(
                "no grant of this agent reaches it; work within the granted paths",
            ));
        }
        match &self.needs {
            Some(needs) if !needs.iter().any(|need| covers(need, right, path)) => Err(denied(
                "the call did not declare that it needs it; call the tool with this path",
            )),
            _ => Ok(()),
        }
    }

    /// Finds a path allowed for one of these rights, and the anchor to resolve it from.
    fn place(&self, rights: &[FileRight], path: &str) -> Result<Place<'_>, PowerError> {
        let path = absolute(path, &self.held.base)?;
        self.check_stop(&path)?;
        let mut refusal = None;
        for right in rights {
            match self.allows(*right, &path) {
                Ok(()) => return self.anchored(path),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or(PowerError::NotFound(path)))
    }

    /// The absolute and normal form of a path, if a grant and one of the call's needs reach it with one of these
    /// rights; for a path that somebody else is asked to open.
    pub(crate) fn admit(&self, rights: &[FileRight], path: &str) -> Result<String, PowerError> {
        self.place(rights, path).map(|place| place.path)
    }

    /// Opens a directory that some file grant reaches, to start a program in. No link is followed.
    pub(crate) fn directory(&self, path: &str) -> Result<OwnedFd, PowerError> {
        let path = absolute(path, &self.held.base)?;
        let mut scopes = self.held.grants.iter().map(|(_, scope)| scope);
        if !scopes.any(|scope| scope.matches(&path)) {
            return Err(PowerError::Denied {
                need: format!("starting a program in {}", fault::shown(&path)),
                axis: "path".to_owned(),
                reason: "no file grant of this agent reaches that directory; name one within the granted paths"
                    .to_owned(),
            });
        }
        self.anchored(path)?.open(DIRECTORY_FLAGS)
    }

    /// Opens a regular file to read and hands out its descriptor, for one that cannot open it itself; with the path
    /// after resolution and the size in bytes.
    pub(crate) fn open_descriptor(&self, path: &str) -> Result<(OwnedFd, String, u64), PowerError> {
        let place = self.place(&[FileRight::Read], path)?;
        let (file, found) = open_regular(&place.anchor.handle, &place.inside, &place.path)?;
        Ok((file, place.path, u64::try_from(found.st_size).unwrap_or(0)))
    }

    fn anchored(&self, path: String) -> Result<Place<'_>, PowerError> {
        let found = self
            .held
            .anchors
            .iter()
            .find_map(|anchor| Some((anchor, anchor.inside(&path)?)));
        let Some((anchor, inside)) = found else {
            return Err(PowerError::NotFound(path));
        };
        let place = Place {
            anchor,
            inside,
            path,
        };
        if self.own.keeps(&place.real()) {
            return Err(PowerError::Denied {
                need: fault::shown(&place.path),
                axis: "path".to_owned(),
                reason: "it belongs to the runtime itself, which no grant reaches".to_owned(),
            });
        }
        Ok(place)
    }
}

/// What an agent's capabilities grant of files.
fn file_grants(capabilities: &[Capability]) -> Vec<(FileRight, PathScope)> {
    let of = |capability: &Capability| match &capability.resource {
        Resource::Files { right, scope } => Some((*right, scope.clone())),
        _ => None,
    };
    capabilities.iter().filter_map(of).collect()
}

/// Whether a declared need, already absolute, includes this act.
fn covers(need: &Need, right: FileRight, path: &str) -> bool {
    match need {
        Need::File {
            right: declared,
            path: exact,
        } => *declared == right && exact == path,
        Need::FileTree {
            right: declared,
            path: root,
        } => *declared == right && is_beneath(path, root),
        _ => false,
    }
}

/// Whether a normal path is `root` or beneath it.
pub(crate) fn is_beneath(path: &str, root: &str) -> bool {
    let root = root.trim_end_matches('/');
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Place<'_> {
    /// The path without the links that the operator's own anchors go through.
    fn real(&self) -> String {
        self.anchor.real_of(&self.inside)
    }

    fn open(&self, flags: OFlags) -> Result<OwnedFd, PowerError> {
        anchor::open_beneath(&self.anchor.handle, &self.inside, flags, Mode::empty())
            .map_err(|errno| fault::of(errno, "opening", &self.path))
    }

    /// What is at the place, a link itself included.
    fn look(&self) -> Result<Stat, PowerError> {
        let seen = self.open(OFlags::PATH | OFlags::NOFOLLOW)?;
        rustix::fs::fstat(&seen).map_err(|errno| fault::of(errno, "looking at", &self.path))
    }
}

/// Opens what is at a name as a regular file. Looked at before, so that a device is not even opened, and after, on the
/// descriptor, so that a swap in between changes nothing.
fn open_regular(
    directory: impl AsFd,
    name: &str,
    path: &str,
) -> Result<(OwnedFd, Stat), PowerError> {
    // Follows no last link. A link further up only misleads this look; the open below refuses it.
    if let Ok(seen) = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        check_regular(&seen, path)?;
    }
    open_seen(directory, name, path)
}

/// Opens what was a regular file a moment ago, and sees that it still is one.
fn open_seen(directory: impl AsFd, name: &str, path: &str) -> Result<(OwnedFd, Stat), PowerError> {
    let fault = |errno| fault::of(errno, "opening", path);
    let file = anchor::open_beneath(&directory, name, READ_FLAGS, Mode::empty()).map_err(fault)?;
    let found = rustix::fs::fstat(&file).map_err(fault)?;
    check_regular(&found, path)?;
    Ok((file, found))
}

fn check_regular(found: &Stat, path: &str) -> Result<(), PowerError> {
    let problem = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "it is a directory, not a file",
        FileType::Symlink => fault::LINK,
        FileType::Fifo => "it is a FIFO, which is never opened",
        FileType::Socket => "it is a socket, which is never opened",
        _ => "it is a device, which is never opened",
    };
    Err(PowerError::WrongKind {
        path: fault::shown(path),
        problem: problem.to_owned(),
    })
}

fn kind_of(found: &Stat) -> EntryKind {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    }
}

fn entry(path: String, found: &Stat) -> Entry {
    let kind = kind_of(found);
    let size = if kind == EntryKind::File {
        u64::try_from(found.st_size).unwrap_or(0)
    } else {
        0
    };
    Entry { path, kind, size }
}

/// `directory/name`.
fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

/// A regular file's bytes, until the call is over.
pub(crate) struct Stoppable {
    pub(crate) file: File,
    pub(crate) stop: Stop,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_stopped() {
            return Err(io::Error::other("the call was stopped"));
        }
        self.file.read(buffer)
    }
}

impl Files for BeneathFiles {
    fn open(&self, path: &str) -> Result<OpenFile, PowerError> {
        let place = self.place(&[FileRight::Read], path)?;
        let (file, found) = match self.near(&place.path) {
            Some((handle, name)) => open_seen(&*handle, name, &place.path)?,
            None => open_regular(&place.anchor.handle, &place.inside, &place.path)?,
        };
        let bytes = Stoppable {
            file: File::from(file),
            stop: self.stop.clone(),
        };
        Ok(OpenFile {
            bytes: Box::new(bytes),
            size: u64::try_from(found.st_size).unwrap_or(0),
            path: place.path,
        })
    }

    fn write(&self, path: &str, content: &[u8], mode: WriteMode) -> Result<u64, PowerError> {
        let place = self.place(&[FileRight::Write], path)?;
        repository::check(&place.path)?;
        repository::check(&place.real())?;
        write::write(&place, content, mode, &self.stop)
    }

    fn stat(&self, path: &str) -> Result<Entry, PowerError> {
        let place = self.place(&[FileRight::Read, FileRight::Write], path)?;
        let found = place.look()?;
        Ok(entry(place.path, &found))
    }

    fn list(&self, path: &str, limit: usize) -> Result<(Vec<Entry>, bool), PowerError> {
        let place = self.place(&[FileRight::Read], path)?;
        let directory = place.open(LIST_FLAGS)?;
        let (names, more) = self.first_names(&directory, &place.path, limit)?;
        let stats = names.into_iter().filter_map(|name| {
            // A name that went away meanwhile is not listed.
            let found =
                rustix::fs::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(entry(
                join(&place.path, &String::from_utf8_lossy(&name)),
                &found,
            ))
        });
        Ok((stats.collect(), more))
    }

    fn walk(
        &self,
        root: &str,
        tidy: Tidy,
        visit: &mut dyn FnMut(&Entry) -> Flow,
    ) -> Result<(), PowerError> {
        let place = self.place(&[FileRight::Read], root)?;
        walk::walk(self, &place, tidy, visit)
    }
}

impl BeneathFiles {
    /// The handle of the directory a path's file is in, if a walk is in it, and the file's name.
    fn near<'a>(&self, path: &'a str) -> Option<(Arc<OwnedFd>, &'a str)> {
        let (directory, name) = path.rsplit_once('/')?;
        let near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        near.as_ref()
            .filter(|near| near.path == directory)
            .map(|near| (Arc::clone(&near.handle), name))
    }

    /// Says which directory a walk is in; none when it has ended.
    fn set_near(&self, near: Option<Near>) {
        *self.near.lock().unwrap_or_else(PoisonError::into_inner) = near;
    }

    /// The `limit` names of a directory that sort first. Holds no more than those in memory.
    fn first_names(
        &self,
        directory: &OwnedFd,
        path: &str,
        limit: usize,
    ) -> Result<(Vec<Vec<u8>>, bool), PowerError> {
        let fault = |errno: Errno| fault::of(errno, "listing", path);
        let mut kept: BinaryHeap<Vec<u8>> = BinaryHeap::new();
        let mut more = false;
        for item in Dir::read_from(directory).map_err(fault)? {
            self.check_stop(path)?;
            let item = item.map_err(fault)?;
            let name = item.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            kept.push(name.to_vec());
            if kept.len() > limit {
                kept.pop();
                more = true;
            }
        }
        Ok((kept.into_sorted_vec(), more))
    }
}
