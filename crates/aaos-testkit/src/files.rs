//! The fake of the file power: a tree in memory, with links and FIFOs, and grants that are held to.

use aaos_core::capability::{Capability, FileRight, Need, Resource};
use aaos_ports::{
    Files, PowerError,
    power::{Entry, EntryKind, Flow, OpenFile, Tidy, WriteMode, absolute},
};
use std::{
    collections::BTreeMap,
    io::Cursor,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link, wherever it leads.
    Link,
    /// A FIFO.
    Fifo,
}

/// A tree in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    nodes: Arc<Mutex<BTreeMap<String, Node>>>,
}

impl MemoryTree {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a node at an absolute path, and directories above it.
    pub fn put(&self, path: &str, node: Node) {
        let mut nodes = self.nodes();
        make_parents(&mut nodes, path);
        nodes.insert(path.to_owned(), node);
    }

    /// A regular file's content.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        match self.nodes().get(path) {
            Some(Node::File(content)) => Some(content.clone()),
            _ => None,
        }
    }

    /// Every path there is.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.nodes().keys().cloned().collect()
    }

    /// The power these capabilities amount to; relative paths start from `base`.
    #[must_use]
    pub fn power(&self, capabilities: &[Capability], base: &str) -> MemoryFiles {
        MemoryFiles {
            tree: self.clone(),
            capabilities: capabilities.to_vec(),
            base: base.to_owned(),
        }
    }
}

fn make_parents(nodes: &mut BTreeMap<String, Node>, path: &str) {
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        let parent = if parent.is_empty() { "/" } else { parent };
        nodes.entry(parent.to_owned()).or_insert(Node::Directory);
        if parent == "/" {
            break;
        }
        above = parent;
    }
}

/// The fake file power.
#[derive(Debug, Clone)]
pub struct MemoryFiles {
    tree: MemoryTree,
    capabilities: Vec<Capability>,
    base: String,
}

impl MemoryFiles {
    fn allowed(&self, right: FileRight, path: &str) -> bool {
        self.capabilities
            .iter()
            .any(|capability| match &capability.resource {
                Resource::Files { right: held, scope } => *held == right && scope.matches(path),
                _ => false,
            })
    }

    fn admit(&self, rights: &[FileRight], path: &str) -> Result<String, PowerError> {
        let path = absolute(path, &self.base)?;
        if rights.iter().any(|right| self.allowed(*right, &path)) {
            return Ok(path);
        }
        let right = rights.first().copied().unwrap_or(FileRight::Read);
        Err(PowerError::Denied {
            need: Need::File { right, path }.to_string(),
            axis: "path".to_owned(),
            reason: "no grant reaches it".to_owned(),
        })
    }
}

fn wrong(path: &str, problem: &str) -> PowerError {
    PowerError::WrongKind {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

/// What is at a path, unless a link or a file stands on the way to it.
fn find<'a>(nodes: &'a BTreeMap<String, Node>, path: &str) -> Result<&'a Node, PowerError> {
    for (at, _) in path.match_indices('/').skip(1) {
        match path.get(..at).and_then(|above| nodes.get(above)) {
            Some(Node::Directory) => {}
            Some(_) => {
                return Err(wrong(
                    path,
                    "a name on the way is not a directory, or is a symbolic link",
                ));
            }
            None => return Err(PowerError::NotFound(path.to_owned())),
        }
    }
    nodes
        .get(path)
        .ok_or_else(|| PowerError::NotFound(path.to_owned()))
}

fn entry(path: &str, node: &Node) -> Entry {
    let (kind, size) = match node {
        Node::File(content) => (EntryKind::File, u64::try_from(content.len()).unwrap_or(0)),
        Node::Directory => (EntryKind::Directory, 0),
        Node::Link => (EntryKind::Symlink, 0),
        Node::Fifo => (EntryKind::Other, 0),
    };
    Entry {
        path: path.to_owned(),
        kind,
        size,
    }
}

/// The part of `path` beneath `root`.
fn beneath<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root.trim_end_matches('/'))?
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty())
}

impl Files for MemoryFiles {
    fn open(&self, path: &str) -> Result<OpenFile, PowerError> {
        let path = self.admit(&[FileRight::Read], path)?;
        let nodes = self.tree.nodes();
        let Node::File(content) = find(&nodes, &path)? else {
            return Err(wrong(&path, "not a regular file"));
        };
        let size = u64::try_from(content.len()).unwrap_or(0);
        Ok(OpenFile {
            bytes: Box::new(Cursor::new(content.clone())),
            size,
            path,
        })
    }

    fn write(&self, path: &str, content: &[u8], mode: WriteMode) -> Result<u64, PowerError> {
        let path = self.admit(&[FileRight::Write], path)?;
        let mut nodes = self.tree.nodes();
        let whole = match (find(&nodes, &path), mode) {
            (Ok(Node::File(_)), WriteMode::CreateNew) => {
                return Err(wrong(&path, "it already exists"));
            }
            (Ok(Node::File(before)), WriteMode::Append) => [before.as_slice(), content].concat(),
            (Ok(Node::File(_)), WriteMode::Replace) | (Err(PowerError::NotFound(_)), _) => {
                content.to_vec()
            }
            (Ok(_), _) => return Err(wrong(&path, "not a regular file")),
            (Err(error), _) => return Err(error),
        };
        let size = u64::try_from(whole.len()).unwrap_or(0);
        make_parents(&mut nodes, &path);
        nodes.insert(path, Node::File(whole));
        Ok(size)
    }

    fn stat(&self, path: &str) -> Result<Entry, PowerError> {
        let path = self.admit(&[FileRight::Read, FileRight::Write], path)?;
        let nodes = self.tree.nodes();
        Ok(entry(&path, find(&nodes, &path)?))
    }

    fn list(&self, path: &str, limit: usize) -> Result<(Vec<Entry>, bool), PowerError> {
        let path = self.admit(&[FileRight::Read], path)?;
        let nodes = self.tree.nodes();
        if *find(&nodes, &path)? != Node::Directory {
            return Err(wrong(&path, "not a directory"));
        }
        let direct = nodes
            .iter()
            .filter(|(at, _)| beneath(at, &path).is_some_and(|rest| !rest.contains('/')));
        let mut entries: Vec<Entry> = direct.map(|(at, node)| entry(at, node)).collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok((entries, more))
    }

    fn walk(
        &self,
        root: &str,
        tidy: Tidy,
        visit: &mut dyn FnMut(&Entry) -> Flow,
    ) -> Result<(), PowerError> {
        let root = self.admit(&[FileRight::Read], root)?;
        let nodes = self.tree.nodes().clone();
        match find(&nodes, &root)? {
            Node::Directory => {}
            node @ Node::File(_) => {
                visit(&entry(&root, node));
                return Ok(());
            }
            _ => return Err(wrong(&root, "not a regular file")),
        }
        for (path, node) in &nodes {
            let Some(rest) = beneath(path, &root) else {
                continue;
            };
            let hidden = rest.split('/').any(|name| name.starts_with('.'));
            let skipped = tidy == Tidy::Skip && (hidden || is_ignored(&nodes, path, &root));
            if !matches!(node, Node::File(_)) || skipped || !self.allowed(FileRight::Read, path) {
                continue;
            }
            if visit(&entry(path, node)) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// Whether an ignore file between the root and a path names the path or a directory on the way to it. The fake knows
/// only whole names, with or without a slash at the end.
fn is_ignored(nodes: &BTreeMap<String, Node>, path: &str, root: &str) -> bool {
    nodes.iter().any(|(at, node)| {
        let (Node::File(rules), Some((directory, ".gitignore"))) = (node, at.rsplit_once('/'))
        else {
            return false;
        };
        let applies = directory == root.trim_end_matches('/') || beneath(directory, root).is_some();
        let Some(rest) = beneath(path, directory).filter(|_| applies) else {
            return false;
        };
        String::from_utf8_lossy(rules).lines().any(|rule| {
            rest.split('/')
                .any(|name| name == rule.trim_end_matches('/'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::files::{FilesWorld, check};

    struct Memory(MemoryTree);

    impl FilesWorld for Memory {
        fn root(&self) -> String {
            "/world".to_owned()
        }
        fn put_file(&self, path: &str, content: &[u8]) {
            self.0.put(path, Node::File(content.to_vec()));
        }
        fn put_link(&self, path: &str, _target: &str) {
            self.0.put(path, Node::Link);
        }
        fn put_fifo(&self, path: &str) {
            self.0.put(path, Node::Fifo);
        }
        fn everything(&self) -> BTreeMap<String, Vec<u8>> {
            self.0
                .paths()
                .into_iter()
                .map(|path| (path.clone(), self.0.content(&path).unwrap_or_default()))
                .collect()
        }
        fn power(&self, grants: &[String]) -> Box<dyn Files> {
            let grants: Vec<Capability> = grants
                .iter()
                .filter_map(|grant| grant.parse().ok())
                .collect();
            Box::new(self.0.power(&grants, "/world"))
        }
    }

    #[test]
    fn the_contract_holds() {
        check(|| {
            let tree = MemoryTree::default();
            tree.put("/world", Node::Directory);
            Memory(tree)
        });
    }
}
