//! A daemon of one's own to measure: its directory, its configuration, its life.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fault::BenchError;
use super::link::Link;

/// Longest wait for a daemon's socket.
const START_TIME: Duration = Duration::from_secs(20);
/// Pause between two attempts to connect: what the start's figure may be too large by.
const LOOK_PAUSE: Duration = Duration::from_micros(200);
/// Longest wait for a daemon's end before it is killed.
const STOP_TIME: Duration = Duration::from_secs(15);

/// The role of a step that needs no tool.
const STEP_ROLE: &str = "name: step\nsummary: One step of a measurement, without tools.\n\
    capabilities: []\nprompt: Answer.\noutput: text\n";

/// A directory of one's own for a measurement, gone when dropped.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub dir: PathBuf,
}

impl Place {
    /// Makes an empty directory beneath `under`, which should be on the disk that matters.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(under: &Path, name: &str) -> Result<Self, BenchError> {
        let dir = under.join(format!("{name}-{}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(BenchError::file(&dir))?;
        }
        fs::create_dir_all(dir.join("roles")).map_err(BenchError::file(&dir))?;
        fs::create_dir_all(dir.join("config")).map_err(BenchError::file(&dir))?;
        fs::create_dir_all(dir.join("home")).map_err(BenchError::file(&dir))?;
        Ok(Self { dir })
    }

    /// Writes a file of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, BenchError> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(BenchError::file(&path))?;
        Ok(path)
    }

    /// Configures a scripted provider with these replies, and the role `step`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn script(&self, replies: &[Value]) -> Result<(), BenchError> {
        let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
        self.write("config/replies.jsonl", &lines.join("\n"))?;
        self.write("roles/step.yaml", STEP_ROLE)?;
        let config = "[providers.measured]\nkind = \"scripted\"\nfile = \"replies.jsonl\"\n\
            [models]\nplanner = \"measured/x\"\nworker = \"measured/x\"\nreasoner = \"measured/x\"\n";
        let file = self.dir.join("config/replies.jsonl");
        let config = config.replace("replies.jsonl", &file.display().to_string());
        self.write("config/config.toml", &config).map(drop)
    }

    /// Chooses the backend in the configuration that is there.
    ///
    /// # Errors
    /// The configuration cannot be read or written.
    pub fn backend(&self, name: &str) -> Result<(), BenchError> {
        let path = self.dir.join("config/config.toml");
        let config = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
        self.write(
            "config/config.toml",
            &format!("backend = \"{name}\"\n{config}"),
        )
        .map(drop)
    }

    /// The daemon's state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("agentd.sock")
    }

    /// A call of the program that sees this directory and nothing of the caller's own settings.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.dir.join("home"))
            .env("AAOS_ROLES_DIR", self.dir.join("roles"))
            .env("AAOS_CONFIG", self.dir.join("config/config.toml"))
            .env("AAOS_STATE_DIR", self.state())
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left lies in the build's own directory.
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    /// From the start of its process to its socket.
    pub ready_after: Duration,
}

impl Daemon {
    /// Starts one and waits for its socket.
    ///
    /// # Errors
    /// It did not start; its last words are shown.
    pub fn start(place: &Place, program: &Path) -> Result<Self, BenchError> {
        let log = place.dir.join("daemon.log");
        let words = fs::File::create(&log).map_err(BenchError::file(&log))?;
        let mut command = place.command(program);
        command.arg("run").stdout(Stdio::null()).stderr(words);
        let since = Instant::now();
        let child = command.spawn().map_err(|source| BenchError::Start {
            program: program.display().to_string(),
            source,
        })?;
        let socket = place.socket();
        let mut daemon = Self {
            child,
            socket,
            ready_after: Duration::ZERO,
        };
        while Link::open(&daemon.socket).is_err() {
            if since.elapsed() > START_TIME || daemon.has_ended() {
                return Err(BenchError::Program {
                    program: program.display().to_string(),
                    said: fs::read_to_string(&log).unwrap_or_default(),
                });
            }
            sleep(LOOK_PAUSE);
        }
        daemon.ready_after = since.elapsed();
        Ok(daemon)
    }

    /// A connection to it.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn link(&self) -> Result<Link, BenchError> {
        Link::open(&self.socket)
    }

    /// What is resident of it, in KiB, the program file's pages included.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_kib(&self) -> Result<f64, BenchError> {
        self.status_kib("VmRSS:")
    }

    /// What it holds by itself, in KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn own_kib(&self) -> Result<f64, BenchError> {
        self.status_kib("RssAnon:")
    }

    fn status_kib(&self, key: &str) -> Result<f64, BenchError> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| BenchError::Program {
            program: path,
            said: format!("it has no {key}"),
        })
    }

    /// Processor time it has used, in microseconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn processor_micros(&self) -> Result<f64, BenchError> {
        /// Microseconds of a clock tick; Linux reports a hundred ticks a second on every machine.
        const TICK_MICROS: f64 = 10_000.0;
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        // Fields 14 and 15 of proc(5), counted from the one after the name, which is the third.
        let ticks = after_name.split_whitespace().skip(11).take(2);
        Ok(ticks
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum::<f64>()
            * TICK_MICROS)
    }

    /// Ends it as a crash does, at once.
    ///
    /// # Errors
    /// It cannot be told to.
    pub fn kill(mut self) -> Result<(), BenchError> {
        let failed = BenchError::file("the daemon's process");
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(failed)
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(mut link) = self.link() {
            link.ask("daemon.stop", &json!({ "when": "now" })).ok();
        }
        let since = Instant::now();
        while !self.has_ended() && since.elapsed() < STOP_TIME {
            sleep(Duration::from_millis(2));
        }
        // Only one that did not end by itself is still there to be killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The parameters of a goal.
pub fn goal(text: &str, how: &str, base: &Path) -> Value {
    json!({ "goal": text, "base": base, "orchestration": how })
}

/// A reply to every turn of an agent.
pub fn turn_reply(delay_ms: u64) -> Value {
    json!({ "match": { "purpose": "turn" }, "times": "many",
            "reply": { "text": "done", "delay_ms": delay_ms } })
}

/// The goal that is answered with a plan of so many independent subtasks.
pub fn goal_of(subtasks: usize) -> String {
    format!("measure {subtasks} independent steps")
}

/// The reply to [`goal_of`] in which every subtask has the same role and parameters.
pub fn plan_reply(subtasks: usize, role: &str, params: &Value) -> Value {
    let subtask = |number| json!({ "id": format!("s{number}"), "task": "answer", "role": role, "params": params });
    let all: Vec<Value> = (0..subtasks).map(subtask).collect();
    json!({ "match": { "purpose": "plan", "contains": goal_of(subtasks) }, "times": "many",
            "reply": { "json": { "subtasks": all, "result": "s0" } } })
}
