//! `agentd roles`: the kinds of agents there are; and what is wrong with a role file, with line and column.

use super::{
    Act, CliError, Code, Desk,
    start::{self, Absent},
    words,
};
use crate::{
    config::file::excerpt,
    rpc::{
        RoleList, RoleShow,
        wire::{Nothing, RoleParams},
    },
};
use aaos_core::role::Role;
use aaos_ports::RoleProblem;
use clap::{Args, Subcommand};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Roles {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// List every role.
    List,
    /// Show one role.
    Show {
        /// Its name.
        name: String,
    },
    /// Check role files; a directory stands for the role files in it.
    Validate {
        /// The files.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

impl Act for Roles {
    const NAME: &'static str = "roles";
    const ABOUT: &'static str = "List, show or check roles";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        match self.which {
            Which::List => list(desk),
            Which::Show { name } => show(desk, name),
            Which::Validate { paths } => validate(desk, &paths),
        }
    }
}

fn list(desk: &Desk) -> Result<(), CliError> {
    let answer = start::ask::<RoleList>(desk, Absent::Start, "list the roles", &Nothing {})?;
    if desk.json() {
        return desk.say_json(&answer);
    }
    let row = |role: &Role| {
        [
            role.name.to_string(),
            role.class.as_str().to_owned(),
            parameters(role),
            words::one_line(&role.summary, 80),
        ]
    };
    desk.say_table(
        ["NAME", "CLASS", "PARAMETERS", "SUMMARY"],
        answer.roles.iter().map(row),
    )?;
    answer
        .problems
        .iter()
        .for_each(|problem| desk.note(format!("refused: {}", place(problem))));
    Ok(())
}

/// Parameters, those that may be left out with a question mark.
fn parameters(role: &Role) -> String {
    let name = |(name, parameter): (&String, &aaos_core::role::Parameter)| {
        if parameter.required {
            name.clone()
        } else {
            format!("{name}?")
        }
    };
    role.parameters
        .iter()
        .map(name)
        .collect::<Vec<_>>()
        .join(" ")
}

fn place(problem: &RoleProblem) -> String {
    let at = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!(":{line}:{column}"),
        (Some(line), None) => format!(":{line}"),
        _ => String::new(),
    };
    format!(
        "{}{at}: {}",
        words::clean(&problem.file),
        words::clean(&problem.problem)
    )
}

fn show(desk: &Desk, name: String) -> Result<(), CliError> {
    const DOING: &str = "show the role";
    let role = start::ask::<RoleShow>(desk, Absent::Start, DOING, &RoleParams { name })?;
    desk.tell(&role, |role| {
        let text = serde_saphyr::to_string(role)
            .map_err(|error| CliError::failed(DOING, error.to_string(), "Use --json"))?;
        desk.say(words::clean(text.trim_end()))
    })
}

fn validate(desk: &Desk, paths: &[PathBuf]) -> Result<(), CliError> {
    let mut bad = 0_usize;
    for path in paths.iter().flat_map(|path| files(path)) {
        match aaos_store::catalog::roles::validate(&path) {
            Ok(role) if desk.json() => desk.say_json(
                &serde_json::json!({ "file": path, "role": role.name, "problems": [] }),
            )?,
            Ok(role) => {
                let count = words::plural(role.parameters.len() as u64, "parameter");
                desk.say(format!(
                    "{} {}: role `{}`, {count}",
                    desk.paint().good("ok"),
                    words::clean(&path.to_string_lossy()),
                    role.name
                ))?;
            }
            Err(problems) => {
                bad += 1;
                report(desk, &path, &problems)?;
            }
        }
    }
    if bad == 0 {
        Ok(())
    } else {
        Err(CliError::quiet(Code::Failed))
    }
}

fn report(desk: &Desk, path: &Path, problems: &[RoleProblem]) -> Result<(), CliError> {
    if desk.json() {
        return desk
            .say_json(&serde_json::json!({ "file": path, "role": null, "problems": problems }));
    }
    for problem in problems {
        desk.say(format!("{} {}", desk.paint().bad("bad"), place(problem)))?;
        if let Some(shown) = problem
            .line
            .and_then(|line| line_of(path, line, problem.column.unwrap_or(1)))
        {
            desk.say(shown)?;
        }
    }
    Ok(())
}

/// Most bytes of a role file in which a line is looked for.
const FILE_BYTES_SHOWN: u64 = 1024 * 1024;

/// A line of a file with a mark beneath the column.
fn line_of(path: &Path, line: u64, column: u64) -> Option<String> {
    let regular = std::fs::metadata(path).is_ok_and(|about| about.is_file());
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()
        .filter(|_| regular)?
        .take(FILE_BYTES_SHOWN)
        .read_to_end(&mut bytes)
        .ok()?;
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    let text = String::from_utf8_lossy(&bytes);
    let found = text.lines().nth(line.checked_sub(1)?)?;
    Some(excerpt(line, column, found))
}

/// The path itself, or the role files in it.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    let is_role = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(is_role)
        .collect();
    files.sort();
    files
}
