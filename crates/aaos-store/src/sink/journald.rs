//! The systemd journal, by its native protocol: one datagram for each event, with fields to filter by.
//!
//! `journalctl -t agentd AAOS_RUN=run-…` shows a run. The whole event is in `AAOS_EVENT` as JSON; one that is too long
//! for a datagram is cut there, `AAOS_CUT` has its full length in bytes, and this journal has the rest under `AAOS_SEQ`.
//! It remembers no place: what happened while nobody delivered is in this journal.

use super::{Opened, Start, Target};
use crate::limits::{JOURNALD_EVENT_BYTES_MAX, JOURNALD_SEND_MS};
use aaos_core::event::{Event, Severity};
use aaos_ports::Sink;
use async_trait::async_trait;
use serde::Deserialize;
use std::{
    borrow::Cow,
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Its name in configuration.
pub(crate) const NAME: &str = "journald";
/// Where systemd's journal listens. Source: its page "Native Journal Protocol".
const SOCKET: &str = "/run/systemd/journal/socket";
/// The program's name in the system's journal.
const IDENTIFIER: &str = "agentd";

/// Opens it. `path` is the socket, the usual one if none is given.
pub(super) fn open(target: &Target) -> io::Result<Opened> {
    let path = target.path.clone().unwrap_or_else(|| SOCKET.into());
    let socket = UnixDatagram::unbound()?;
    // A daemon that nobody delivers to is told now, not at the first event.
    socket.connect(&path).map_err(|error| {
        let message = format!(
            "nothing takes events at {}: {error}. Is systemd-journald running?",
            path.display()
        );
        io::Error::new(error.kind(), message)
    })?;
    let sink = Journald {
        path,
        taken: Arc::default(),
    };
    Ok(Opened::forgetful(Arc::new(sink), Start::Now))
}

struct Journald {
    path: PathBuf,
    /// The last event that was taken: a delivery that failed half way goes on after it.
    taken: Arc<Mutex<u64>>,
}

#[async_trait]
impl Sink for Journald {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn deliver(&self, events: &[Event]) -> io::Result<()> {
        let mut entries = Vec::with_capacity(events.len());
        for event in events {
            entries.push((event.seq.0, entry(event)?));
        }
        let (path, taken) = (self.path.clone(), Arc::clone(&self.taken));
        let sent = tokio::task::spawn_blocking(move || send(&path, &entries, &taken));
        sent.await.map_err(io::Error::other)?
    }
}

/// A socket for each delivery: the one that listens may have been started anew.
fn send(path: &Path, entries: &[(u64, Vec<u8>)], taken: &Mutex<u64>) -> io::Result<()> {
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(Duration::from_millis(JOURNALD_SEND_MS)))?;
    for (seq, entry) in entries {
        if *seq > *taken {
            socket.send_to(entry, path)?;
            *taken = *seq;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// An event as the protocol writes it.
fn entry(event: &Event) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(event)?;
    let kind = serde_json::from_str::<Tag<'_>>(&json)?.kind.into_owned();
    let subject = &event.subject;
    let run = subject.run.map(|run| run.to_string());
    let message = run
        .as_ref()
        .map_or_else(|| kind.clone(), |run| format!("{kind} {run}"));
    let mut out = Vec::with_capacity(json.len().saturating_add(512));
    field(&mut out, "MESSAGE", &message);
    field(&mut out, "PRIORITY", priority(event.kind.severity()));
    field(&mut out, "SYSLOG_IDENTIFIER", IDENTIFIER);
    field(&mut out, "AAOS_SEQ", &event.seq.0.to_string());
    let ids = [
        ("AAOS_RUN", run),
        ("AAOS_AGENT", subject.agent.map(|agent| agent.to_string())),
        ("AAOS_CALL", subject.call.map(|call| call.to_string())),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            field(&mut out, name, &id);
        }
    }
    field(&mut out, "AAOS_KIND", &kind);
    let end = json.floor_char_boundary(JOURNALD_EVENT_BYTES_MAX);
    field(&mut out, "AAOS_EVENT", json.get(..end).unwrap_or_default());
    if end < json.len() {
        field(&mut out, "AAOS_CUT", &json.len().to_string());
    }
    Ok(out)
}

/// Syslog's levels. Source: RFC 5424, table 2.
const fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "4",
        Severity::Notice => "5",
        Severity::Detail => "7",
    }
}

/// One field: on a line, or with its length where the value has lines of its own.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_lines_cannot_add_fields() {
        let mut out = Vec::new();
        field(&mut out, "A", "x\nB=y");
        assert_eq!(out, b"A\n\x05\0\0\0\0\0\0\0x\nB=y\n");
        out.clear();
        field(&mut out, "A", "x=y");
        assert_eq!(out, b"A=x=y\n");
    }
}
