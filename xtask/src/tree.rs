//! The checkout: where it is, what files it holds, and how they are read.
//!
//! Everything is addressed by a path relative to the checkout, with forward slashes, so that findings
//! read the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::finding::Error;

/// Folders no rule looks into: made by tools, or not ours.
const SKIPPED: &[&str] = &["target", ".git", "node_modules", ".venv", "venv"];

/// A checkout of the workspace.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The checkout this program was built from.
    pub fn here() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            root: manifest.parent().unwrap_or(manifest).to_path_buf(),
        }
    }

    /// A checkout at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The absolute path of a file of the checkout.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Whether the checkout holds this file or folder.
    pub fn holds(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }

    /// A file's text.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, relative: &str) -> Result<String, Error> {
        let path = self.path(relative);
        fs::read_to_string(&path).map_err(|source| Error::File { path, source })
    }

    /// Writes a file, making its folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, relative: &str, text: &str) -> Result<(), Error> {
        let path = self.path(relative);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, text))
            .map_err(|source| Error::File { path, source })
    }

    /// Every file whose name ends in `.extension`, sorted.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn files(&self, extension: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(folder) = open.pop() {
            let failed = |source| Error::File {
                path: folder.clone(),
                source,
            };
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                self.sort_entry(&entry.path(), extension, &mut open, &mut found);
            }
        }
        found.sort();
        Ok(found)
    }

    fn sort_entry(
        &self,
        path: &Path,
        extension: &str,
        open: &mut Vec<PathBuf>,
        found: &mut Vec<String>,
    ) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_symlink() || SKIPPED.contains(&name) {
            return;
        }
        if path.is_dir() {
            open.push(path.to_path_buf());
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(self.relative(path));
        }
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/")
    }
}
