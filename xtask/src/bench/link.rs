//! The measuring end of the daemon's socket: one request line out, lines in, nothing in between.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::fault::BenchError;

/// How every notification begins; an answer begins with its id.
const NOTIFICATION: &str = "{\"jsonrpc\":\"2.0\",\"method\":";

/// A connection to a daemon.
pub struct Link {
    writing: UnixStream,
    reading: BufReader<UnixStream>,
    line: String,
    next_id: u64,
}

/// An event of a watched run that matters to a measurement.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its kind.
    pub kind: String,
    /// When it happened, in microseconds since 1970.
    pub time: u64,
    /// Whether it says that a call failed.
    pub failed: bool,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(socket: &Path) -> Result<Self, BenchError> {
        let open = || -> std::io::Result<Self> {
            let writing = UnixStream::connect(socket)?;
            let reading = BufReader::new(writing.try_clone()?);
            Ok(Self {
                writing,
                reading,
                line: String::new(),
                next_id: 1,
            })
        };
        open().map_err(BenchError::file(socket))
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The daemon refused, or the connection broke.
    pub fn ask(&mut self, method: &str, params: &Value) -> Result<Value, BenchError> {
        self.send(method, params)?;
        loop {
            self.receive()?;
            if !self.line.starts_with(NOTIFICATION) {
                return self.answer(method);
            }
        }
    }

    /// Submits a goal and answers with its run.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn submit(&mut self, params: &Value) -> Result<String, BenchError> {
        let submitted = self.ask("run.submit", params)?;
        let run = submitted.get("run").and_then(Value::as_str);
        run.map(str::to_owned).ok_or_else(|| BenchError::Daemon {
            method: "run.submit".to_owned(),
            said: submitted.to_string(),
        })
    }

    /// Follows a run to its end without looking at its events.
    ///
    /// # Errors
    /// It did not succeed.
    pub fn follow(&mut self, run: &str) -> Result<(), BenchError> {
        let watched = self.ask("run.watch", &json!({ "run": run, "follow": true }))?;
        let state = watched.get("state").and_then(Value::as_str);
        if state == Some("succeeded") {
            return Ok(());
        }
        Err(BenchError::Daemon {
            method: "run.watch".to_owned(),
            said: format!("the run ended as {}", watched),
        })
    }

    /// The events of a run that has ended.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn events(&mut self, run: &str) -> Result<Vec<Seen>, BenchError> {
        self.send("run.watch", &json!({ "run": run, "follow": false }))?;
        let mut seen = Vec::new();
        loop {
            self.receive()?;
            let value: Value = self.parsed()?;
            let Some(event) = value.pointer("/params/piece/event") else {
                return Ok(seen);
            };
            let kind = event.get("kind").and_then(Value::as_str);
            let kind = kind.unwrap_or_default().to_owned();
            let time = event
                .get("time")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let failed = event.get("success").and_then(Value::as_bool) == Some(false);
            seen.push(Seen { kind, time, failed });
        }
    }

    /// How long the newest run went on by the daemon's clock, in microseconds, if it has ended.
    ///
    /// # Errors
    /// As [`Self::ask`], or the run did not succeed.
    pub fn newest(&mut self) -> Result<Option<(String, f64)>, BenchError> {
        let runs = self.ask("run.list", &json!({ "limit": 1 }))?;
        let field = |name: &str| runs.pointer(&format!("/0/{name}")).cloned();
        let run = field("run").and_then(|run| run.as_str().map(str::to_owned));
        let state = field("state").and_then(|state| state.as_str().map(str::to_owned));
        let moment = |name: &str| field(name).and_then(|moment| moment.as_u64());
        match (
            run,
            state.as_deref(),
            moment("submitted"),
            moment("finished"),
        ) {
            (Some(run), Some("succeeded"), Some(from), Some(to)) => {
                Ok(Some((run, to.saturating_sub(from) as f64)))
            }
            (_, Some("failed" | "stopped"), ..) => Err(BenchError::Daemon {
                method: "run.list".to_owned(),
                said: format!("a run failed: {runs}"),
            }),
            _ => Ok(None),
        }
    }

    fn send(&mut self, method: &str, params: &Value) -> Result<(), BenchError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let sent = self.writing.write_all(format!("{request}\n").as_bytes());
        sent.map_err(BenchError::file("the daemon's socket"))
    }

    fn receive(&mut self) -> Result<(), BenchError> {
        self.line.clear();
        let read = self.reading.read_line(&mut self.line);
        match read.map_err(BenchError::file("the daemon's socket"))? {
            0 => Err(BenchError::Daemon {
                method: "socket".to_owned(),
                said: "the daemon closed the connection".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn answer(&self, method: &str) -> Result<Value, BenchError> {
        let mut value = self.parsed()?;
        match value.get("error") {
            Some(error) => Err(BenchError::Daemon {
                method: method.to_owned(),
                said: error.to_string(),
            }),
            None => Ok(value.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    fn parsed(&self) -> Result<Value, BenchError> {
        serde_json::from_str(&self.line).map_err(|source| BenchError::Shape {
            what: "the daemon's answer".to_owned(),
            source,
        })
    }
}
