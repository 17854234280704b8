//! What a criterion bench measured: `cargo bench` is run and its samples are read back from the build's directory.

use std::fs;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::fault::BenchError;
use super::figure::Series;
use crate::tree::Tree;

/// Where criterion keeps its samples, relative to the checkout.
const RESULTS: &str = "target/criterion";

/// One sample file: how many iterations each measurement had, and its nanoseconds.
#[derive(Debug, Deserialize)]
struct Samples {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Runs those benches of a crate whose names contain `filter`.
///
/// # Errors
/// It does not build, or it fails.
pub fn run(tree: &Tree, package: &str, bench: &str, filter: &str) -> Result<(), BenchError> {
    let arguments = [
        "bench", "--quiet", "--locked", "-p", package, "--bench", bench, "--", filter,
    ];
    let ended = Command::new("cargo")
        .args(arguments)
        .current_dir(tree.root())
        .stdout(Stdio::null())
        .status()
        .map_err(|source| BenchError::Start {
            program: "cargo".to_owned(),
            source,
        })?;
    if ended.success() {
        return Ok(());
    }
    let program = format!("cargo {}", arguments.join(" "));
    Err(BenchError::Program {
        program,
        said: ended.to_string(),
    })
}

/// Nanoseconds of one iteration, once per measurement, of the bench in this folder of criterion's results.
///
/// # Errors
/// There is none.
pub fn nanos(tree: &Tree, folder: &str) -> Result<Series, BenchError> {
    let path = tree.path(RESULTS).join(folder).join("new/sample.json");
    let text = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
    let samples: Samples = serde_json::from_str(&text).map_err(|source| BenchError::Shape {
        what: path.display().to_string(),
        source,
    })?;
    let each = samples.times.iter().zip(&samples.iters);
    Ok(each.map(|(nanos, iterations)| nanos / iterations).collect())
}
