//! What whole runs are tested with: a web server on loopback, a scripted model, a run's events, a daemon in the
//! foreground. Each ends with its test.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use crate::common::{Done, Place};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest wait for anything; far over what a slow machine takes, so that only what is stuck fails by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A web server on loopback: path to content type and body.
pub(crate) struct Web {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
}

/// The pages of a [`Web`].
pub(crate) type Pages = BTreeMap<String, (&'static str, String)>;

impl Web {
    /// Serves these pages, and nothing else.
    pub(crate) fn serve(pages: Pages) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, closing) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicBool::new(false)),
        );
        let (pages, end) = (Arc::new(pages), Arc::clone(&closing));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || {
                    stream.ok().and_then(|stream| answer(stream, &pages).ok())
                });
            }
        });
        Self { address, closing }
    }

    /// Where it is, without a final slash.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What lets a run ask it.
    pub(crate) fn grant(&self) -> String {
        format!("http: GET {}/", self.url())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, pages: &Pages) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut line = String::from("-");
    while !line.trim().is_empty() {
        line.clear();
        lines.read_line(&mut line)?;
    }
    let path = first.split(' ').nth(1).unwrap_or("");
    let (status, kind, body) = match pages.get(path) {
        Some((kind, body)) => ("200 OK", *kind, body.as_str()),
        None => ("404 Not Found", "text/plain", "there is no such page"),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

impl Place {
    /// Configures a scripted model with these entries for everything.
    pub(crate) fn script(&self, entries: &[Value]) {
        let lines: Vec<String> = entries.iter().map(Value::to_string).collect();
        std::fs::write(self.path("config/aaos/script.jsonl"), lines.join("\n")).unwrap();
        let models = "planner = \"script/a\"\nworker = \"script/a\"\nreasoner = \"script/a\"\n";
        self.config(&format!(
            "[providers.script]\nkind = \"scripted\"\nfile = \"script.jsonl\"\n[models]\n{models}"
        ));
    }

    /// A run's events, from the journal.
    pub(crate) fn events(&self, run: &str) -> Vec<Value> {
        let done = self.run(&["logs", "--json", run]);
        assert_eq!(done.code, 0, "{done:?}");
        objects(&done.out)
    }

    /// What `audit verify` says of a state directory.
    pub(crate) fn audit(&self, state: &Path) -> (i32, Value) {
        let done = self.run(&["audit", "verify", "--json", state.to_str().unwrap()]);
        (done.code, done.json())
    }
}

impl Place {
    /// The daemon's process; it is started if there is none.
    pub(crate) fn daemon(&self) -> Pid {
        assert_eq!(self.run(&["list"]).code, 0);
        let status = self.run(&["daemon", "status", "--json"]).json();
        let number = i32::try_from(status["pid"].as_u64().unwrap()).unwrap();
        Pid::from_raw(number).unwrap()
    }

    /// Kills the daemon as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill_daemon(&self) {
        kill(self.daemon());
    }

    /// Submits a goal with these flags and leaves it alone. Answers with the run.
    pub(crate) fn submit(&self, flags: &[&str], goal: &str) -> String {
        let done = self.run(&[&["submit", "--detach"], flags, &[goal]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        done.out.trim().to_owned()
    }

    /// A run's view.
    pub(crate) fn view(&self, run: &str) -> Value {
        let done = self.run(&["status", "--json", run]);
        assert_eq!(done.code, 0, "{done:?}");
        done.json()["view"].clone()
    }

    /// Waits until a run's view is as wanted, and answers with it.
    pub(crate) fn until(&self, run: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let view = self.view(run);
            if wanted(&view) {
                return view;
            }
            assert!(since.elapsed() < PATIENCE, "{view:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until one act of a run waits for the operator, and answers with its id.
    pub(crate) fn waits(&self, run: &str) -> String {
        let view = self.until(run, |view| view["waiting"][0]["call"].is_string());
        view["waiting"][0]["call"].as_str().unwrap().to_owned()
    }
}

/// Kills a process and waits until it is gone.
pub(crate) fn kill(process: Pid) {
    rustix::process::kill_process(process, Signal::KILL).unwrap();
    let stat = format!("/proc/{}/stat", process.as_raw_nonzero());
    let runs = || {
        let about = std::fs::read_to_string(&stat).unwrap_or_default();
        // The state follows the program's name, which may itself hold parentheses.
        let state = about.rsplit_once(") ");
        state.is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    wait_for("the process to end", || !runs());
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A script of one agent's turns: each makes one call, and the last says that it is done.
pub(crate) fn turns(calls: &[(&str, Value)]) -> Vec<Value> {
    let turn = |(at, (name, input)): (usize, &(&str, Value))| {
        let reply = json!({ "tool_calls": [{ "name": name, "input": input }] });
        json!({ "match": { "purpose": "turn", "turn": at + 1 }, "times": "many", "reply": reply })
    };
    let mut script: Vec<Value> = calls.iter().enumerate().map(turn).collect();
    script.push(
        json!({ "match": { "purpose": "turn" }, "times": "many", "reply": { "text": "all done" } }),
    );
    script
}

/// Every line as JSON.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The events of a kind.
pub(crate) fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["kind"] == kind)
        .collect()
}

/// How a run that was submitted with `--json` ended.
pub(crate) fn outcome(done: &Done) -> Value {
    done.json()["result"]["view"]["outcome"].clone()
}

/// A daemon in the foreground, whose end can be seen.
pub(crate) struct Foreground(Child);

impl Foreground {
    /// Starts it as `command` says and waits until it answers.
    pub(crate) fn start(mut command: Command, socket: &Path) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut daemon = Self(child);
        let since = Instant::now();
        while UnixStream::connect(socket).is_err() {
            let ended = daemon.0.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", daemon.said());
            assert!(since.elapsed() < PATIENCE, "the daemon does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// What it wrote to standard error, until it ended.
    pub(crate) fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(error) = &mut self.0.stderr {
            let _ = error.read_to_string(&mut text);
        }
        text
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies a directory and all beneath it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &there);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), there).unwrap();
        }
    }
}

/// Changes the byte in the middle of the first place in a file where `text` stands.
pub(crate) fn flip(file: &Path, text: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    let found = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    bytes[found.expect("the text is in the file") + text.len() / 2] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Changes the byte in the middle of every place in a file where `text` stands: the database keeps copies of what it
/// has moved, which nothing refers to.
pub(crate) fn flip_all(file: &Path, text: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    let found: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, window)| *window == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "the text is not in the file");
    for at in found {
        bytes[at + text.len() / 2] ^= 1;
    }
    std::fs::write(file, bytes).unwrap();
}

/// Every file beneath a directory, with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let about = std::fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                open.push(path);
            } else if about.is_file() {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
