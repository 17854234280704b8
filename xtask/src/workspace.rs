//! The workspace as cargo sees it: packages, doors between them, and what they bring along.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::finding::Error;
use crate::tree::Tree;

/// The platform whose dependency graph is judged; the product is for Linux, and one fixed choice gives
/// one answer on every machine.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Which dependencies are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doors {
    /// Those that ship: normal and build dependencies.
    Shipped,
    /// Those only tests see.
    Tests,
}

/// The workspace.
pub struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// `cargo metadata` failed, for instance because Cargo.lock is out of date.
    pub fn read(tree: &Tree) -> Result<Self, Error> {
        let options = ["--locked", "--filter-platform", PLATFORM].map(str::to_owned);
        let metadata = MetadataCommand::new()
            .manifest_path(tree.path("Cargo.toml"))
            .other_options(options)
            .exec()?;
        Ok(Self { metadata })
    }

    /// The workspace's own crates.
    pub fn members(&self) -> Vec<&Package> {
        self.metadata.workspace_packages()
    }

    /// Every package of the dependency graph.
    pub fn packages(&self) -> Vec<&Package> {
        let reached: BTreeSet<_> = self.nodes().keys().copied().collect();
        self.metadata
            .packages
            .iter()
            .filter(|package| reached.contains(&package.id))
            .collect()
    }

    /// The names of a package's direct dependencies.
    pub fn dependencies(package: &Package, doors: Doors) -> BTreeSet<&str> {
        let wanted = |kind| match doors {
            Doors::Shipped => kind != DependencyKind::Development,
            Doors::Tests => kind == DependencyKind::Development,
        };
        package
            .dependencies
            .iter()
            .filter(|dependency| wanted(dependency.kind))
            .map(|dependency| dependency.name.as_str())
            .collect()
    }

    /// Everything a member brings into what ships, itself left out, each with the crate that asks for it.
    pub fn closure(&self, member: &str) -> BTreeMap<&str, &str> {
        let nodes = self.nodes();
        let names: BTreeMap<_, _> = self
            .metadata
            .packages
            .iter()
            .map(|package| (&package.id, package.name.as_str()))
            .collect();
        let mut found = BTreeMap::new();
        let mut open: Vec<&PackageId> = self
            .members()
            .iter()
            .filter(|package| package.name.as_str() == member)
            .map(|package| &package.id)
            .collect();
        while let Some(id) = open.pop() {
            let asks = names.get(id).copied().unwrap_or_default();
            for next in nodes.get(id).into_iter().flat_map(|node| shipped(node)) {
                let name = names.get(next).copied().unwrap_or_default();
                if found.insert(name, asks).is_none() {
                    open.push(next);
                }
            }
        }
        found
    }

    fn nodes(&self) -> BTreeMap<&PackageId, &cargo_metadata::Node> {
        let nodes = self
            .metadata
            .resolve
            .iter()
            .flat_map(|resolve| &resolve.nodes);
        nodes.map(|node| (&node.id, node)).collect()
    }
}

/// The dependencies of a node that ship.
fn shipped(node: &cargo_metadata::Node) -> impl Iterator<Item = &PackageId> {
    node.deps
        .iter()
        .filter(|dependency| {
            dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development)
        })
        .map(|dependency| &dependency.pkg)
}
