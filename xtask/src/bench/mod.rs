//! `cargo xtask bench [NAME…] [--write] [--program PATH]`: measures the product and says how it stands.
//!
//! One benchmark is one file here and one line of [`BENCHMARKS`]. Whatever is compared takes turns with what it is compared
//! to, within one run; figures are medians. What is printed reaches `docs/promises.md` only when asked for. Refuses to
//! take a figure from a run that failed.

pub mod capability;
pub mod confine;
pub mod criterion;
pub mod daemon;
pub mod disk;
pub mod fault;
pub mod figure;
pub mod goals;
pub mod grep;
pub mod journal;
pub mod link;
pub mod memory;
pub mod overhead;
pub mod peers;
pub mod start;
pub mod submit;
pub mod survive;
pub mod terms;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::docs;
use crate::finding::Error;
use crate::rule::House;
use crate::tree::Tree;
use fault::BenchError;
use figure::{HEADINGS, Row};

/// One benchmark.
pub struct Benchmark {
    /// The name `cargo xtask bench NAME` takes, and its part of `docs/promises.md`.
    pub name: &'static str,
    /// What it measures, in one line.
    pub summary: &'static str,
    /// Measures it.
    pub run: fn(&Bench<'_>) -> Result<Measured, BenchError>,
}

/// Every benchmark.
pub static BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "overhead",
        summary: "plans of 1 to 1000 subtasks with a model that answers at once",
        run: overhead::run,
    },
    Benchmark {
        name: "goals",
        summary: "trivial goals over the socket: latency and pace",
        run: goals::run,
    },
    Benchmark {
        name: "memory",
        summary: "memory of a waiting subtask",
        run: memory::run,
    },
    Benchmark {
        name: "start",
        summary: "daemon start and idle size",
        run: start::run,
    },
    Benchmark {
        name: "submit",
        summary: "a trivial goal as a process",
        run: submit::run,
    },
    Benchmark {
        name: "journal",
        summary: "durable appends in a second",
        run: journal::run,
    },
    Benchmark {
        name: "survive",
        summary: "recovery of a run of 1000 steps, replay, and a daemon that remembers 10,000 runs",
        run: survive::run,
    },
    Benchmark {
        name: "terms",
        summary: "what a budget and approval rules add to one call",
        run: terms::run,
    },
    Benchmark {
        name: "capability",
        summary: "one capability check",
        run: capability::run,
    },
    Benchmark {
        name: "grep",
        summary: "the tool grep against rg",
        run: grep::run,
    },
    Benchmark {
        name: "confine",
        summary: "confined workers beside what the kernel itself takes, and beside no confinement",
        run: confine::run,
    },
];

/// What a benchmark works with.
pub struct Bench<'a> {
    /// The checkout.
    pub tree: &'a Tree,
    /// The program that is measured.
    pub program: PathBuf,
    /// A directory for what is measured on, beneath the build's.
    pub scratch: PathBuf,
    notes: RefCell<Vec<String>>,
}

impl Bench<'_> {
    /// Something the reader of the figures should know.
    pub fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}

/// What a benchmark found.
#[derive(Debug)]
pub struct Measured {
    /// The lines of its table.
    pub rows: Vec<Row>,
    /// What a reader should know; may be empty.
    pub note: String,
}

/// What was asked for on the command line.
#[derive(Debug, Default)]
struct Asked {
    names: Vec<String>,
    write: bool,
    program: Option<PathBuf>,
}

/// The page that holds the figures.
const PAGE: &str = "docs/promises.md";

/// Runs the benchmarks named, or all; tells whether every goal was met.
///
/// # Errors
/// The program does not build, or the page cannot be written.
pub fn run(house: &House, arguments: &[String], out: &mut dyn Write) -> Result<bool, Error> {
    let asked = asked(arguments)?;
    let program = match &asked.program {
        Some(path) => path.clone(),
        None => build(&house.tree)?,
    };
    let scratch = house.tree.path("target/bench-run");
    let reach = |source| Error::File {
        path: scratch.clone(),
        source,
    };
    fs::create_dir_all(&scratch).map_err(reach)?;
    let bench = Bench {
        tree: &house.tree,
        program,
        scratch: scratch.clone(),
        notes: RefCell::default(),
    };
    let machine = machine();
    say(out, &machine)?;
    let mut holds = true;
    for benchmark in chosen(&asked.names) {
        let since = Instant::now();
        say(
            out,
            &format!("\n## {}: {}\n", benchmark.name, benchmark.summary),
        )?;
        match (benchmark.run)(&bench) {
            Ok(measured) => {
                holds &= measured.rows.iter().all(|row| row.met() != Some(false));
                let mut text = table(&measured);
                for note in bench.notes.take() {
                    text.push_str(&format!("\n{note}\n"));
                }
                say(out, &text)?;
                if asked.write {
                    let text = format!("{text}\nTaken on: {machine}\n");
                    docs::replace(house, PAGE, &format!("bench {}", benchmark.name), &text)?;
                }
            }
            Err(error) => {
                holds = false;
                say(out, &format!("{error}"))?;
            }
        }
        say(out, &format!("({:.0} s)", since.elapsed().as_secs_f64()))?;
    }
    Ok(holds)
}

fn chosen(names: &[String]) -> impl Iterator<Item = &'static Benchmark> {
    let wanted = move |benchmark: &&Benchmark| {
        names.is_empty() || names.iter().any(|name| name == benchmark.name)
    };
    BENCHMARKS.iter().filter(wanted)
}

fn asked(arguments: &[String]) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--write" => asked.write = true,
            "--program" => asked.program = rest.next().map(PathBuf::from),
            name if BENCHMARKS.iter().any(|benchmark| benchmark.name == name) => {
                asked.names.push(name.to_owned())
            }
            name => {
                return Err(Error::Unknown {
                    what: "benchmark",
                    name: name.to_owned(),
                    known: names(),
                });
            }
        }
    }
    Ok(asked)
}

fn names() -> String {
    let names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
    names.join(", ")
}

/// The release build of the program and of what it starts, made now.
fn build(tree: &Tree) -> Result<PathBuf, Error> {
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--package",
        "agentd",
        "--package",
        "aaos-agent-worker",
        "--package",
        "aaos-egress",
    ];
    let failed = |source| Error::Start {
        program: "cargo".into(),
        source,
    };
    let status = Command::new("cargo")
        .args(arguments)
        .current_dir(tree.root())
        .status()
        .map_err(failed)?;
    if status.success() {
        return Ok(tree.path("target/release/agentd"));
    }
    Err(Error::Generator {
        command: format!("cargo {}", arguments.join(" ")),
        page: PAGE,
        stderr: status.to_string(),
    })
}

/// The table in Markdown.
fn table(measured: &Measured) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&HEADINGS.map(str::to_owned));
    text.push_str(&line(&HEADINGS.map(|_| "---".to_owned())));
    for row in &measured.rows {
        text.push_str(&line(&row.cells()));
    }
    if !measured.note.is_empty() {
        text.push_str(&format!("\n{}\n", measured.note));
    }
    text
}

/// The machine and how busy it is, in one line.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, key: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let processor = of(&read("/proc/cpuinfo"), "model name");
    let memory: u64 = of(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    format!(
        "{processors} cores ({processor}), {} GiB, Linux {}, load {load} when the run began",
        memory >> 20,
        kernel.trim()
    )
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    writeln!(out, "{text}").map_err(|source| Error::File {
        path: "standard output".into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{BENCHMARKS, Measured, asked, table};

    #[test]
    fn an_unknown_name_is_refused_with_those_there_are() {
        let error = asked(&["speed".to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("speed") && error.contains("overhead"),
            "{error}"
        );
        let known = asked(&["goals".to_owned(), "--write".to_owned()]).unwrap();
        assert!(known.write && known.names == ["goals"]);
    }

    #[test]
    fn names_are_told_apart_and_a_table_without_rows_is_one() {
        let mut names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BENCHMARKS.len());
        let empty = Measured {
            rows: Vec::new(),
            note: String::new(),
        };
        assert_eq!(table(&empty).lines().count(), 2);
    }
}
