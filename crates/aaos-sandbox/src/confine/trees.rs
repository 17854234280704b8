//! Which trees and files a policy puts into a worker's root, and with which right.
//!
//! A pure function of the policy. The order is that of mounting: what lies deeper comes later and lies over.
//!
//! Refuses: more mounts than the bound; trees of `/proc` and `/dev`, which a worker has of its own.

use super::{Unfit, system};
use crate::{files::is_beneath, protocol::Policy};
use aaos_core::{
    capability::PathScope,
    confine::{Confinement, confinement},
    proof::{Layer, Profile},
};

/// Most mounts of one policy. Each costs a few microseconds and kernel memory; grants seldom name ten places.
const MOUNTS_MAX: usize = 128;
/// What a worker has of its own, whatever is granted.
const OWN: [&str; 2] = ["/proc", "/dev"];
/// What a grant of everything does not show: the worker's own, and what belongs to the machine and its services.
const HIDDEN_OF_ALL: [&str; 5] = ["/proc", "/dev", "/tmp", "/sys", "/run"];

/// A directory tree in the worker's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it is, absolute and normal, as the agent names it.
    pub path: String,
    /// Whether it may be read.
    pub read: bool,
    /// Whether it may be written.
    pub write: bool,
}

/// The trees in a worker's root. Whatever else was granted is reached through the daemon. One with neither right is a
/// gap in the tree around it: what the host has there is not in the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trees(pub Vec<Tree>);

impl Trees {
    /// The innermost tree that holds this normal path; none if it is not in the root.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&Tree> {
        self.0
            .iter()
            .filter(|tree| is_beneath(path, &tree.path))
            .max_by_key(|tree| tree.path.len())
            .filter(|tree| tree.read || tree.write)
    }

    /// Notes a gap.
    pub(super) fn gap(&mut self, path: &str) {
        self.0.push(Tree {
            path: path.to_owned(),
            read: false,
            write: false,
        });
    }
}

/// What a mount is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A granted tree.
    Granted {
        /// Whether it may be read.
        read: bool,
        /// Whether it may be written.
        write: bool,
    },
    /// A file granted by itself to be read, for programs.
    File,
    /// The system's, for programs: what they run with.
    System,
}

/// Something to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where, absolute and normal.
    pub(super) path: String,
    /// What for.
    pub(super) kind: Kind,
}

/// The granted trees and files, outermost first.
pub(super) fn wanted(policy: &Policy) -> Result<Vec<Wanted>, Unfit> {
    let held = confinement(&policy.capabilities);
    let mut wanted = granted(&held);
    if policy.profile == Profile::Exec {
        wanted.extend(files(&held));
        wanted.extend(system::places().chain(programs(policy)).map(system_at));
    }
    wanted.retain(|one| !OWN.iter().any(|own| is_beneath(&one.path, own)));
    wanted.sort_by(|one, other| {
        let place = one.path.len().cmp(&other.path.len());
        place.then_with(|| one.path.cmp(&other.path))
    });
    // A granted tree comes before what programs need at the same place, because it was collected before.
    wanted.dedup_by(|later, earlier| later.path == earlier.path);
    if wanted.len() > MOUNTS_MAX {
        return Err(Unfit {
            layer: Layer::Root,
            missing: format!(
                "{} places are granted, and a root holds {MOUNTS_MAX}",
                wanted.len()
            ),
            next_step: "grant a directory that holds several of them".to_owned(),
        });
    }
    Ok(wanted)
}

fn granted(held: &Confinement) -> Vec<Wanted> {
    let mut found: Vec<Wanted> = Vec::new();
    for scope in held.read.iter().chain(&held.write) {
        let path = scope.root();
        if !scope.is_tree() || found.iter().any(|one| one.path == path) {
            continue;
        }
        let covered = |scopes: &[PathScope]| scopes.iter().any(|held| held.covers(scope));
        let (read, write) = (covered(&held.read), covered(&held.write));
        found.push(Wanted {
            path,
            kind: Kind::Granted { read, write },
        });
    }
    found
}

fn files(held: &Confinement) -> impl Iterator<Item = Wanted> {
    let literal = held.read.iter().filter(|scope| scope.is_literal());
    literal.map(|scope| Wanted {
        path: scope.root(),
        kind: Kind::File,
    })
}

fn programs(policy: &Policy) -> impl Iterator<Item = String> {
    let needed = policy.programs.iter().flat_map(|program| {
        let paths = program.execute.iter().chain(&program.read);
        std::iter::once(&program.file).chain(paths)
    });
    needed.filter_map(|path| aaos_core::capability::normalise(path).ok())
}

const fn system_at(path: String) -> Wanted {
    Wanted {
        path,
        kind: Kind::System,
    }
}

/// What a grant of everything leaves out.
pub(super) const fn hidden_of_all() -> [&'static str; 5] {
    HIDDEN_OF_ALL
}

/// Whether a granted program executes what it makes.
pub(super) fn makes_programs(policy: &Policy) -> bool {
    policy.programs.iter().any(|program| program.workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees() -> Trees {
        let tree = |path: &str, write| Tree {
            path: path.to_owned(),
            read: true,
            write,
        };
        let mut trees = Trees(vec![tree("/", false), tree("/work/out", true)]);
        trees.gap("/proc");
        trees.gap("/work/out/key");
        trees
    }

    #[test]
    fn the_innermost_tree_holds_a_path() {
        assert!(trees().of("/work/out/a").is_some_and(|tree| tree.write));
        assert!(trees().of("/work/outer").is_some_and(|tree| !tree.write));
    }

    #[test]
    fn what_is_hidden_within_a_tree_is_in_no_tree() {
        assert_eq!(trees().of("/proc/self/status"), None);
        assert_eq!(trees().of("/work/out/key"), None);
        assert_eq!(Trees::default().of("/work"), None);
    }
}
