//! Putting granted trees, and what programs need, into a worker's root.
//!
//! A place on the host is found once, from the paths the operator named; no other link is followed. What is not there
//! is not mounted, and is reached through the daemon if it comes to be.
//!
//! Refuses: a mount point within a tree of the host that the host does not have; a mount in reach of a masked file.

use super::{
    Unfit,
    root::{self, Root, Use},
    system,
    trees::{self, Kind, Tree, Trees, Wanted},
};
use crate::{
    files::{
        anchor::{self, Anchor},
        is_beneath,
    },
    protocol::Policy,
};
use aaos_core::proof::{Layer, Profile};
use rustix::{
    fd::OwnedFd,
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use std::{collections::BTreeSet, fs};

/// A worker's `/tmp`.
const SCRATCH: &str = "/tmp";
/// Beneath a writable tree, and read-only all the same: what version control runs on its own. Source: githooks(5),
/// git-config(1).
const REPOSITORY: &str = ".git";
/// What of it is run unasked.
const RUN_UNASKED: [&str; 2] = [".git/hooks", ".git/config"];

/// Something that stands in the root.
pub(super) struct Standing {
    /// Where.
    pub(super) path: String,
    /// What for.
    pub(super) kind: Kind,
    /// Its topmost directory, or the file.
    pub(super) top: OwnedFd,
    /// The same on the host, without links.
    real: String,
}

impl Standing {
    /// Whether it was granted to be written.
    const fn may_write(&self) -> bool {
        matches!(self.kind, Kind::Granted { write: true, .. })
    }
}

/// A furnished root.
pub(super) struct Furnished {
    /// Everything that was mounted, outermost first.
    pub(super) standing: Vec<Standing>,
    /// The granted trees among it.
    pub(super) trees: Trees,
}

impl Furnished {
    /// The tree that is the root itself, if everything was granted.
    pub(super) fn whole(&self) -> Option<&OwnedFd> {
        let first = self.standing.first()?;
        (first.path == "/").then_some(&first.top)
    }
}

/// Puts into the root what the policy says. Without a root, as in a drill, only finds it.
pub(super) fn furnish(root: Option<&Root>, policy: &Policy) -> Result<Furnished, Unfit> {
    let wanted = trees::wanted(policy)?;
    let named = policy.anchors.iter().chain([&policy.folder]);
    let named = named.map(String::as_str);
    let anchors = anchor::open_all(&policy.base, named).map_err(|error| Unfit {
        layer: Layer::Root,
        missing: error.missing,
        next_step: error.next_step,
    })?;
    let mut room = Room {
        root,
        policy,
        anchors,
        done: Furnished {
            standing: Vec::new(),
            trees: Trees::default(),
        },
    };
    if let Some(root) = root
        && policy.profile == Profile::Exec
        && wanted.first().is_none_or(|one| one.path != "/")
    {
        system::links(&root.top).map_err(Room::failed("the system's links"))?;
    }
    let (shown, plain): (Vec<Wanted>, Vec<Wanted>) = wanted
        .into_iter()
        .partition(|one| room.is_masked(&one.path));
    for one in &plain {
        room.mount(one)?;
    }
    room.mask(&shown)?;
    Ok(room.done)
}

struct Room<'a> {
    root: Option<&'a Root>,
    policy: &'a Policy,
    anchors: Vec<Anchor>,
    done: Furnished,
}

impl Room<'_> {
    fn failed(path: &str) -> impl FnOnce(Errno) -> Unfit {
        let what = format!("the mount of {path}");
        move |errno| Unfit::of(Layer::Root, &what, errno)
    }

    /// Whether a path lies beneath what the runtime keeps to itself.
    fn is_masked(&self, path: &str) -> bool {
        let mut hidden = self.policy.mask.hidden.iter();
        hidden.any(|hidden| is_beneath(path, hidden))
    }

    /// Whether what really lies at a path is the agents', not the runtime's.
    fn may_show(&self, real: &str) -> bool {
        !self.is_masked(real) || self.is_shown(real)
    }

    fn is_shown(&self, path: &str) -> bool {
        let mut shown = self.policy.mask.shown.iter();
        shown.any(|shown| is_beneath(path, shown))
    }

    /// What a mount at a path may be used for.
    fn purpose(&self, one: &Wanted) -> Use {
        match one.kind {
            Kind::Granted { write, .. } => Use {
                write,
                execute: if write {
                    trees::makes_programs(self.policy)
                } else {
                    // Libraries do not load from where nothing executes.
                    self.policy.profile == Profile::Exec && system::holds(&one.path)
                },
            },
            Kind::File => Use {
                write: false,
                execute: false,
            },
            Kind::System => Use {
                write: false,
                execute: true,
            },
        }
    }

    /// Mounts one place, if it is there.
    fn mount(&mut self, one: &Wanted) -> Result<(), Unfit> {
        let found = self.find(one);
        let Some((source, real)) = found.filter(|(_, real)| self.may_show(real)) else {
            self.done.trees.gap(&one.path);
            return Ok(());
        };
        let is_directory = rustix::fs::fstat(&source)
            .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            .map_err(Self::failed(&one.path))?;
        let fits = match one.kind {
            Kind::Granted { .. } => is_directory,
            Kind::File => !is_directory,
            Kind::System => true,
        };
        if !fits || (one.kind == Kind::System && self.has(&one.path)) {
            return Ok(());
        }
        let top = match self.root {
            Some(root) => {
                let copy =
                    root::copy(&source, &self.purpose(one)).map_err(Self::failed(&one.path))?;
                if !self.place(root, &one.path, &copy, is_directory)? {
                    self.done.trees.gap(&one.path);
                    return Ok(());
                }
                copy
            }
            None => source,
        };
        self.stands(one, top, real)
    }

    /// Notes that a place stands, and guards what lies in it.
    fn stands(&mut self, one: &Wanted, top: OwnedFd, real: String) -> Result<(), Unfit> {
        if let Kind::Granted { read, write } = one.kind {
            if write && self.root.is_some() {
                guard(&top).map_err(Self::failed(&one.path))?;
            }
            self.done.trees.0.push(Tree {
                path: one.path.clone(),
                read,
                write,
            });
            if one.path == "/" {
                for hidden in trees::hidden_of_all() {
                    self.done.trees.gap(hidden);
                }
            }
        }
        self.done.standing.push(Standing {
            path: one.path.clone(),
            kind: one.kind.clone(),
            top,
            real,
        });
        Ok(())
    }

    /// Opens a place on the host. Programs were found by the daemon, without links; the rest from the nearest path the
    /// operator named.
    fn find(&self, one: &Wanted) -> Option<(OwnedFd, String)> {
        self.anchors.iter().find_map(|anchor| {
            let inside = anchor.inside(&one.path)?;
            Some(
                anchor::open_beneath(&anchor.handle, &inside, OFlags::PATH, Mode::empty())
                    .ok()
                    .map(|source| (source, anchor.real_of(&inside))),
            )
        })?
    }

    /// Whether a mount that stands for the system's or a program's sake already holds this path, by the same files.
    fn has(&self, path: &str) -> bool {
        let outer = self
            .done
            .standing
            .iter()
            .filter(|standing| is_beneath(path, &standing.path))
            .max_by_key(|standing| standing.path.len());
        outer.is_some_and(|standing| standing.kind == Kind::System)
    }

    /// Mounts a copy at a path of the root; tells whether the path could be had.
    fn place(
        &self,
        root: &Root,
        path: &str,
        copy: &OwnedFd,
        is_directory: bool,
    ) -> Result<bool, Unfit> {
        if path == "/" {
            root.lend_to(copy).map_err(Self::failed(path))?;
            return Ok(true);
        }
        let top = self.done.whole().unwrap_or(&root.top);
        let inside = path.trim_start_matches('/');
        if self.may_create(path) {
            create(top, inside, is_directory).map_err(Self::failed(path))?;
        }
        match root::look(top, inside) {
            Ok(place) => root::put(copy, place)
                .map(|()| true)
                .map_err(Self::failed(path)),
            // A link or nothing at all lies there, within a tree that is mounted already.
            Err(Errno::LOOP | Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(Self::failed(path)(errno)),
        }
    }

    /// Whether a path lies in the worker's own memory, where a mount point may be made.
    fn may_create(&self, path: &str) -> bool {
        let outer = self
            .done
            .standing
            .iter()
            .filter(|standing| is_beneath(path, &standing.path))
            .map(|standing| standing.path.len())
            .max();
        match outer {
            None => true,
            Some(outer) => is_beneath(path, SCRATCH) && outer < SCRATCH.len(),
        }
    }

    /// Hides what the runtime keeps to itself, wherever a mounted tree shows it, and then mounts what is shown of it.
    fn mask(&mut self, shown: &[Wanted]) -> Result<(), Unfit> {
        let Some(root) = self.root else {
            return Ok(());
        };
        let hidden = real_too(&self.policy.mask.hidden);
        let mut held = BTreeSet::new();
        for (index, hidden) in hidden.iter().enumerate() {
            let standing = self.done.standing.iter();
            let spots: Vec<(String, Option<String>)> = standing
                .flat_map(|standing| {
                    let tree = standing.may_write().then(|| standing.path.clone());
                    let spots = spots(hidden, standing).into_iter();
                    spots.map(move |spot| (spot, tree.clone()))
                })
                .collect();
            for (spot, tree) in spots {
                if let Some(tree) = tree {
                    self.hold_above(root, &tree, &spot, &mut held)?;
                }
                self.cover(root, &format!(".mask{index}"), hidden, &spot, shown)?;
                self.done.trees.gap(&spot);
            }
        }
        for one in shown {
            if self.is_shown(&one.path) {
                self.mount(one)?;
            }
        }
        Ok(())
    }

    /// Makes the directories between a writable tree and a spot in it mount points, each once, so that none can be moved
    /// away to put another in its place.
    fn hold_above(
        &self,
        root: &Root,
        tree: &str,
        spot: &str,
        held: &mut BTreeSet<String>,
    ) -> Result<(), Unfit> {
        let top = self.done.whole().unwrap_or(&root.top);
        let inside = tree.trim_end_matches('/').len() + 1;
        for (end, _) in spot.match_indices('/').filter(|(end, _)| *end > inside) {
            let Some(above) = spot.get(..end) else {
                continue;
            };
            if let Ok(place) = root::look(top, above.trim_start_matches('/'))
                && held.insert(above.to_owned())
            {
                hold(&place, true).map_err(Self::failed(above))?;
            }
        }
        Ok(())
    }

    /// Lays an empty place over one spot; what is to be shown beneath it finds its mount point there.
    fn cover(
        &self,
        root: &Root,
        empty: &str,
        hidden: &str,
        spot: &str,
        shown: &[Wanted],
    ) -> Result<(), Unfit> {
        let top = self.done.whole().unwrap_or(&root.top);
        let Ok(place) = root::look(top, spot.trim_start_matches('/')) else {
            return Ok(());
        };
        let failed = || Self::failed(hidden);
        let stat = rustix::fs::fstat(&place).map_err(failed())?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        create(&root.top, empty, is_directory).map_err(failed())?;
        if is_directory {
            for one in shown.iter().filter(|one| self.is_shown(&one.path)) {
                if let Some(rest) = one.path.strip_prefix(hidden) {
                    create(&root.top, &format!("{empty}{rest}"), true).map_err(failed())?;
                }
            }
        }
        let held = root::look(&root.top, empty).map_err(failed())?;
        let purpose = Use {
            write: false,
            execute: false,
        };
        let copy = root::copy(held, &purpose).map_err(failed())?;
        root::put(copy, place).map_err(failed())
    }
}

/// Where in the root a tree shows what is hidden: by its path, and by where its own directory really is.
fn spots(hidden: &str, standing: &Standing) -> Vec<String> {
    let mut found = Vec::new();
    if is_beneath(hidden, &standing.path) {
        found.push(hidden.to_owned());
    }
    if standing.real != standing.path
        && is_beneath(hidden, &standing.real)
        && let Some(rest) = hidden.strip_prefix(standing.real.trim_end_matches('/'))
    {
        found.push(format!("{}{rest}", standing.path.trim_end_matches('/')));
    }
    found
}

/// Makes a mount point, and the directories above it, in the worker's own memory.
fn create(top: &OwnedFd, inside: &str, is_directory: bool) -> Result<(), Errno> {
    let make = || {
        if is_directory {
            return root::make_directory(top, inside);
        }
        root::make_file(top, inside, 0o644).map(drop)
    };
    // Most often another mount point next to it was made before.
    match make() {
        Err(Errno::NOENT) => {}
        made => return made,
    }
    for (end, _) in inside.match_indices('/') {
        if let Some(above) = inside.get(..end) {
            root::make_directory(top, above)?;
        }
    }
    make()
}

/// Makes read-only, within a writable tree, what version control runs without being asked.
fn guard(tree: &OwnedFd) -> Result<(), Errno> {
    let Ok(repository) = root::look(tree, REPOSITORY) else {
        return Ok(());
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&repository)?.st_mode);
    // A mount point can be neither renamed nor replaced. A file in its place says where the repository is.
    hold(&repository, kind == FileType::Directory)?;
    if kind != FileType::Directory {
        return Ok(());
    }
    // A repository without hooks could be given some; the directory is what can be held.
    let _ = rustix::fs::mkdirat(&repository, "hooks", Mode::from_raw_mode(0o755));
    for inside in RUN_UNASKED {
        if let Ok(place) = root::look(tree, inside) {
            hold(&place, false)?;
        }
    }
    Ok(())
}

/// Mounts a place onto itself.
fn hold(place: &OwnedFd, write: bool) -> Result<(), Errno> {
    let purpose = Use {
        write,
        execute: write,
    };
    root::put(root::copy(place, &purpose)?, place)
}

/// These paths, and where they really are if that is somewhere else.
fn real_too(paths: &[String]) -> Vec<String> {
    let mut all = paths.to_vec();
    let real = paths.iter().filter_map(|path| fs::canonicalize(path).ok());
    all.extend(real.filter_map(|path| path.to_str().map(str::to_owned)));
    all.sort();
    all.dedup();
    all
}
