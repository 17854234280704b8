//! The worker's own bench as a process, and the series it printed.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::bench::Bench;
use crate::bench::fault::BenchError;
use crate::bench::figure::Series;

/// One line of what the bench prints.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Series { series: String, numbers: Vec<f64> },
    Absent { absent: String },
}

/// What the bench measured.
#[derive(Debug, Default)]
pub(super) struct Probe {
    series: BTreeMap<String, Series>,
    absent: Vec<String>,
}

impl Probe {
    /// Runs the bench, which takes some minutes.
    ///
    /// # Errors
    /// It does not build, or fails.
    pub(super) fn run(bench: &Bench<'_>) -> Result<Self, BenchError> {
        // The bench's own build makes the worker, and not what handles its connections.
        cargo(
            bench,
            &["build", "--release", "--locked", "--package", "aaos-egress"],
        )?;
        let said = cargo(
            bench,
            &[
                "bench",
                "--quiet",
                "--locked",
                "-p",
                "aaos-agent-worker",
                "--bench",
                "confine",
            ],
        )?;
        Self::read(&said)
    }

    /// Takes in what the bench printed.
    ///
    /// # Errors
    /// A line is not one of its.
    fn read(said: &str) -> Result<Self, BenchError> {
        let mut probe = Self::default();
        for line in said.lines().filter(|line| line.starts_with('{')) {
            let line = serde_json::from_str(line).map_err(|source| BenchError::Shape {
                what: "what the worker's bench printed".to_owned(),
                source,
            })?;
            match line {
                Line::Series { series, numbers } => {
                    probe.series.insert(series, numbers.into_iter().collect());
                }
                Line::Absent { absent } if !probe.absent.contains(&absent) => {
                    probe.absent.push(absent);
                }
                Line::Absent { .. } => {}
            }
        }
        Ok(probe)
    }

    /// A series; none if it was not taken.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&Series> {
        self.series.get(name).filter(|series| !series.is_empty())
    }

    /// One hundredth of it is above this.
    #[must_use]
    pub(super) fn p99(&self, name: &str) -> Option<Series> {
        let worst = self.get(name)?.percentile(99);
        Some(std::iter::once(worst).collect())
    }

    /// What could not be had.
    #[must_use]
    pub(super) fn absent(&self) -> &[String] {
        &self.absent
    }
}

/// Runs cargo and answers with what was printed.
fn cargo(bench: &Bench<'_>, arguments: &[&str]) -> Result<String, BenchError> {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(bench.tree.root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BenchError::Start {
            program: "cargo".to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(BenchError::Program {
        program: format!("cargo {}", arguments.join(" ")),
        said: output.status.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::Probe;

    #[test]
    fn what_the_bench_prints_is_read_back_and_other_lines_are_left_out() {
        let said = "running\n{\"series\":\"a\",\"numbers\":[3.0,1.0]}\n{\"absent\":\"`x` is not installed\"}\n\
            {\"absent\":\"`x` is not installed\"}\n{\"series\":\"b\",\"numbers\":[]}\n";
        let probe = Probe::read(said).expect("it is well formed");
        assert_eq!(probe.get("a").map(super::Series::len), Some(2));
        assert!(probe.get("b").is_none() && probe.p99("a").is_some());
        assert_eq!(probe.absent(), ["`x` is not installed"]);
        assert!(Probe::read("{\"series\":7}").is_err());
    }
}
