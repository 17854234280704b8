//! The kernel's own price, asked of a C program that does nothing else.

use crate::product::World;
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The C program at work.
pub(crate) struct Floor {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Floor {
    /// Compiles and starts it.
    pub(crate) fn start(world: &World) -> Self {
        let root = world.dir.path().join("floor-root");
        std::fs::create_dir_all(&root).unwrap();
        let mut child = Command::new(compiled(world, "floor", &[]))
            .args([&world.workspace, &root, &worker(world)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    /// The numbers it answers with, as they are.
    pub(crate) fn raw(&mut self, request: &str) -> Vec<f64> {
        writeln!(self.to, "{request}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let numbers: Vec<f64> = line
            .split_whitespace()
            .map(|number| number.parse().expect("the floor answers with numbers"))
            .collect();
        assert!(!numbers.is_empty(), "the floor does not know `{request}`");
        numbers
    }

    /// The same, from nanoseconds to microseconds.
    pub(crate) fn ask(&mut self, request: &str) -> Vec<f64> {
        self.raw(request)
            .into_iter()
            .map(|nanos| nanos / 1e3)
            .collect()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The least worker, compiled without shared libraries.
pub(crate) fn worker(world: &World) -> PathBuf {
    compiled(world, "worker", &["-static"])
}

/// The compiled program of one of the C files.
fn compiled(world: &World, name: &str, flags: &[&str]) -> PathBuf {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../bench/sandbox/{name}.c"));
    let program = world.dir.path().join(name);
    if !program.exists() {
        let ended = Command::new("cc")
            .args(["-O2", "-o"])
            .arg(&program)
            .args(flags)
            .arg(source)
            .status()
            .expect("the yardstick needs a C compiler named `cc`");
        assert!(ended.success(), "the yardstick does not compile");
    }
    program
}
