//! The catalogue of roles: the bundled ones and those in the operator's directories.
//!
//! A role file is untrusted input: its size, its aliases and its depth are bounded, unknown keys are refused, and a
//! bad file is a problem with a place, which never keeps the other roles from being used.

use crate::limits::{ROLE_FILE_BYTES_MAX, ROLE_FILES_MAX};
use aaos_core::{id::RoleName, role::Role};
use aaos_ports::{Catalog, RoleProblem};
use serde_saphyr::options::DuplicateKeyPolicy;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The roles that come with the program: each file's name and its text.
pub const BUNDLED: &[(&str, &str)] = &[
    ("analyzer.yaml", include_str!("../../roles/analyzer.yaml")),
    ("browser.yaml", include_str!("../../roles/browser.yaml")),
    ("builder.yaml", include_str!("../../roles/builder.yaml")),
    ("explorer.yaml", include_str!("../../roles/explorer.yaml")),
    ("fetcher.yaml", include_str!("../../roles/fetcher.yaml")),
    (
        "generalist.yaml",
        include_str!("../../roles/generalist.yaml"),
    ),
    ("writer.yaml", include_str!("../../roles/writer.yaml")),
];

/// What a role file's name ends in.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// Good roles by name, and what was wrong with the others.
#[derive(Debug, Clone, Default)]
pub struct RoleCatalog {
    roles: BTreeMap<RoleName, Role>,
    problems: Vec<RoleProblem>,
}

impl RoleCatalog {
    /// Reads the bundled roles, then the directories in order; a later role replaces an earlier one of its name. A
    /// directory that does not exist holds no roles.
    #[must_use]
    pub fn load(dirs: &[PathBuf], bundled: &[(&str, &str)]) -> Self {
        let mut catalog = Self::default();
        for (file, text) in bundled {
            let role = read(text, Path::new(file), &format!("bundled {file}"));
            catalog.take(role);
        }
        dirs.iter().for_each(|dir| catalog.load_dir(dir));
        catalog
    }

    fn take(&mut self, read: Result<Role, Vec<RoleProblem>>) {
        match read {
            Ok(role) => drop(self.roles.insert(role.name.clone(), role)),
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn load_dir(&mut self, dir: &Path) {
        let files = match role_files(dir) {
            Ok(files) => files,
            Err(error) => {
                let problem = format!("the directory cannot be read: {error}");
                self.problems.push(whole_file(dir, problem));
                return;
            }
        };
        if files.len() > ROLE_FILES_MAX {
            let problem = format!(
                "more than {ROLE_FILES_MAX} role files; those after it in order of name are left out"
            );
            self.problems.push(whole_file(dir, problem));
        }
        let mut seen = BTreeSet::new();
        for file in files.iter().take(ROLE_FILES_MAX) {
            let role = validate(file);
            if let Ok(role) = &role
                && !seen.insert(role.name.clone())
            {
                let problem = format!(
                    "the role `{}` is declared twice in this directory: keep one file",
                    role.name
                );
                self.problems.push(whole_file(file, problem));
                continue;
            }
            self.take(role);
        }
    }
}

impl Catalog for RoleCatalog {
    fn roles(&self) -> Vec<Role> {
        self.roles.values().cloned().collect()
    }

    fn role(&self, name: &RoleName) -> Option<Role> {
        self.roles.get(name).cloned()
    }

    fn problems(&self) -> Vec<RoleProblem> {
        self.problems.clone()
    }
}

/// Reads one role file.
///
/// # Errors
/// Everything that is wrong with it: one problem with its place if it does not parse, else all there are.
pub fn validate(path: &Path) -> Result<Role, Vec<RoleProblem>> {
    let text = read_file(path).map_err(|error| vec![whole_file(path, error.to_string())])?;
    read(&text, path, &path.display().to_string())
}

fn whole_file(path: &Path, problem: String) -> RoleProblem {
    RoleProblem {
        file: path.display().to_string(),
        line: None,
        column: None,
        problem,
    }
}

/// Role files of a directory in order of name. Names that begin with a dot are an editor's.
fn role_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.insert(path);
            // One more than fits tells that there are too many.
            if files.len() > ROLE_FILES_MAX.saturating_add(1) {
                files.pop_last();
            }
        }
    }
    Ok(files.into_iter().collect())
}

fn read_file(path: &Path) -> io::Result<String> {
    let refused = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    // Looked at before it is opened: opening a FIFO would wait for ever.
    if !fs::metadata(path)?.is_file() {
        return refused("it is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(ROLE_FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ROLE_FILE_BYTES_MAX {
        return refused(format!("it is larger than {ROLE_FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).or_else(|error| {
        refused(format!(
            "it is not UTF-8 text (byte {})",
            error.utf8_error().valid_up_to()
        ))
    })
}

fn read(text: &str, path: &Path, shown: &str) -> Result<Role, Vec<RoleProblem>> {
    let at = |line, column, problem| RoleProblem {
        file: shown.to_owned(),
        line,
        column,
        problem,
    };
    let role: Role =
        serde_saphyr::from_str_with_options(text, yaml_options()).map_err(|error| {
            let place = error.location();
            let (line, column) = (place.map(|at| at.line()), place.map(|at| at.column()));
            vec![at(line, column, without_place(&error))]
        })?;
    let mut problems = role.problems();
    if path.file_stem().and_then(|stem| stem.to_str()) != Some(role.name.as_str()) {
        problems.push(format!(
            "`name` is `{}`: name the file `{}.yaml`, or change one of them",
            role.name, role.name
        ));
    }
    if problems.is_empty() {
        return Ok(role);
    }
    Err(problems
        .into_iter()
        .map(|problem| placed(text, &problem, &at))
        .collect())
}

/// The problem in words, without the place, which has fields of its own.
fn without_place(error: &serde_saphyr::Error) -> String {
    let whole = error.without_snippet().to_string();
    let place = error
        .location()
        .map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    let text = match place {
        Some(place) => whole.replace(&place, ""),
        None => whole,
    };
    aaos_core::text::preview(&text, 1_000)
}

/// A problem found after parsing, with the place of the first thing it quotes: a key, else the text itself.
fn placed(
    text: &str,
    problem: &str,
    at: &impl Fn(Option<u64>, Option<u64>, String) -> RoleProblem,
) -> RoleProblem {
    let quoted = problem.split('`').nth(1).unwrap_or("");
    let place = place_of_key(text, quoted).or_else(|| {
        text.lines().zip(1_u64..).find_map(|(line, number)| {
            let before = line.get(..line.find(quoted).filter(|_| !quoted.is_empty())?)?;
            Some((number, (before.chars().count() as u64).saturating_add(1)))
        })
    });
    at(
        place.map(|(line, _)| line),
        place.map(|(_, column)| column),
        problem.to_owned(),
    )
}

/// Line and column of a key, `limits.turns_max` for one within another; of the outer one if the inner is not there.
fn place_of_key(text: &str, quoted: &str) -> Option<(u64, u64)> {
    let mut names = quoted.split('.').filter(|name| !name.is_empty());
    let is_key = |line: &str, name: &str| {
        line.trim_start()
            .strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().zip(1_u64..);
    let outer = names.next()?;
    let (_, found) = lines.find(|(line, _)| indent(line) == 0 && is_key(line, outer))?;
    let within = |line: &&(&str, u64)| indent(line.0) > 0 || line.0.trim().is_empty();
    let below: Vec<(&str, u64)> = lines.collect();
    let inner = names.next().and_then(|inner| {
        let mut block = below.iter().take_while(within);
        block.find(|(line, _)| is_key(line, inner))
    });
    Some(inner.map_or((found, 1), |(line, number)| {
        (*number, (indent(line) as u64).saturating_add(1))
    }))
}

/// Bounds far above what a role needs and far below what hurts.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000,
            max_nodes: 20_000,
            max_aliases: 100,
            max_anchors: 100,
            max_recorded_anchor_events: 20_000,
            max_recorded_anchor_bytes: 1 << 20,
            max_depth: 32,
            max_documents: 1,
            max_total_scalar_bytes: 1 << 20,
            max_merge_keys: 100,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests;
