//! A connection to a daemon that may die at any moment.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// Longest wait for an answer; the daemon that takes longer is stuck.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The daemon is gone.
    Gone,
    /// It refused, with its reason.
    Refused(Value),
}

/// A connection.
pub(crate) struct Link {
    reading: BufReader<UnixStream>,
    writing: UnixStream,
}

impl Link {
    /// Connects, if somebody listens.
    pub(crate) fn open(socket: &Path) -> Option<Self> {
        let writing = UnixStream::connect(socket).ok()?;
        writing.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
        let reading = BufReader::new(writing.try_clone().ok()?);
        Some(Self { reading, writing })
    }

    fn send(&mut self, method: &str, params: &Value) -> Result<(), NoAnswer> {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let sent = self.writing.write_all(format!("{line}\n").as_bytes());
        sent.map_err(|_| NoAnswer::Gone)
    }

    fn line(&mut self) -> Result<Value, NoAnswer> {
        let mut line = String::new();
        match self.reading.read_line(&mut line) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the daemon did not answer within {ANSWER_WAIT:?}")
            }
            Ok(1..) => serde_json::from_str(&line).map_err(|_| NoAnswer::Gone),
            _ => Err(NoAnswer::Gone),
        }
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Result<Value, NoAnswer> {
        self.collect(method, params).map(|(_, answer)| answer)
    }

    /// Asks, and gives the events that come before the answer with it.
    pub(crate) fn collect(
        &mut self,
        method: &str,
        params: &Value,
    ) -> Result<(Vec<Value>, Value), NoAnswer> {
        self.send(method, params)?;
        let mut events = Vec::new();
        loop {
            let mut line = self.line()?;
            if line["method"] == "run.event" {
                events.push(line["params"]["piece"]["event"].take());
                continue;
            }
            if line.get("error").is_some() {
                return Err(NoAnswer::Refused(line["error"].take()));
            }
            return Ok((events, line["result"].take()));
        }
    }

    /// Follows a run until an event of this kind, for a bounded time; whether it came.
    pub(crate) fn until(mut self, run: &str, after: u64, kind: &str, longest: Duration) -> bool {
        let params = json!({ "run": run, "after": after, "follow": true });
        if self.send("run.watch", &params).is_err() {
            return false;
        }
        let since = Instant::now();
        loop {
            let Some(left) = longest.checked_sub(since.elapsed()) else {
                return false;
            };
            let left = left.max(Duration::from_millis(1));
            self.reading.get_ref().set_read_timeout(Some(left)).unwrap();
            let mut line = String::new();
            match self.reading.read_line(&mut line) {
                Ok(1..) if line.contains(&format!("\"kind\":\"{kind}\"")) => return true,
                Ok(1..) if line.contains("\"method\":\"run.event\"") => {}
                _ => return false,
            }
        }
    }
}
