//! A place of its own for each test: directories, environment, daemon. The daemon ends with the test.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_agentd");

/// A goal that the rules know, over the files of [`with_files`].
pub(crate) const GOAL: &str = "read a.txt and b.txt and write a summary to report.md";

/// A place with two files to read.
pub(crate) fn with_files() -> Place {
    let place = Place::new();
    place.work(
        "a.txt",
        "Alpha is the first letter. It stands at the beginning.\n",
    );
    place.work("b.txt", "Beta is the second letter. It follows alpha.\n");
    place
}

/// Directories of one test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.command(&["daemon", "stop"]).output();
    }
}

impl Place {
    /// Makes the directories.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("aaos").tempdir().unwrap();
        for name in ["home", "run", "work", "config/aaos", "state"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::fs::set_permissions(
            dir.path().join("run"),
            std::fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        Self { dir }
    }

    /// A path in the place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in the working directory.
    pub(crate) fn work(&self, name: &str, text: &str) {
        std::fs::write(self.path("work").join(name), text).unwrap();
    }

    /// Writes the configuration.
    pub(crate) fn config(&self, text: &str) {
        std::fs::write(self.path("config/aaos/config.toml"), text).unwrap();
    }

    /// Where the daemon's socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/aaos/agentd.sock")
    }

    /// A command in the working directory, with nothing of the tester's environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("TZ", "UTC")
            .current_dir(self.path("work"));
        command
    }

    /// Runs a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        Done::from(self.command(arguments).output().unwrap())
    }

    /// Starts the daemon and connects to it.
    pub(crate) fn connect(&self) -> Peer {
        let started = self.run(&["tools"]);
        assert_eq!(started.code, 0, "{started:?}");
        Peer::open(&self.socket())
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) out: String,
    /// What it printed beside.
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    /// The last line of its output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.out.lines().last().unwrap_or(""))
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A bare connection to the daemon.
pub(crate) struct Peer {
    reading: BufReader<UnixStream>,
    writing: UnixStream,
}

impl Peer {
    /// Connects.
    pub(crate) fn open(socket: &Path) -> Self {
        let writing = UnixStream::connect(socket).unwrap();
        writing
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            reading: BufReader::new(writing.try_clone().unwrap()),
            writing,
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.writing.write_all(bytes).unwrap();
    }

    /// Sends bytes, if the daemon still takes them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.writing.write_all(bytes).is_ok()
    }

    /// Closes the sending half.
    pub(crate) fn finish(&self) {
        self.writing.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The next line; none if the daemon hung up.
    pub(crate) fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.reading.read_line(&mut line).unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    /// Sends a line and reads the next one.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line.as_bytes());
        self.send(b"\n");
        self.line().unwrap()
    }

    /// Whether the daemon still answers.
    pub(crate) fn is_served(&mut self) -> bool {
        let answer = self.ask(r#"{"jsonrpc":"2.0","id":"alive","method":"daemon.status"}"#);
        answer["id"] == "alive" && answer["result"]["pid"].is_u64()
    }
}
