//! Sinks: somewhere events are copied to after they are in the journal.
//!
//! Adding one: a file beside this one and a line in [`SINKS`]. A sink never holds up the journal: the pump gives it
//! events at its own pace.

mod file;
mod journald;
mod pump;
mod stdout;

pub use pump::SinkPump;

use aaos_core::event::{Event, Seq};
use aaos_ports::Sink;
use std::{io, path::PathBuf, sync::Arc};

/// Where a sink copies to.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// A file, for sinks that write one; a socket, for sinks that send to one.
    pub path: Option<PathBuf>,
}

/// Where a sink starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on.
    Now,
    /// After the event it took last.
    After(Seq),
}

/// Remembers the last event a sink took.
pub(crate) trait Position: Send + Sync {
    /// Called after each delivery.
    fn store(&self, last: Seq) -> io::Result<()>;
}

/// A sink that is ready to be given events.
pub struct Opened {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) start: Start,
    pub(crate) position: Option<Box<dyn Position>>,
}

impl Opened {
    /// Where it starts.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// A sink that remembers nothing and starts where it is told.
    #[must_use]
    pub fn forgetful(sink: Arc<dyn Sink>, start: Start) -> Self {
        Self {
            sink,
            start,
            position: None,
        }
    }
}

/// A sort of sink.
pub struct SinkKind {
    /// Its name in configuration.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Opens one.
    pub open: fn(&Target) -> io::Result<Opened>,
}

/// Every sort of sink.
pub const SINKS: &[SinkKind] = &[
    SinkKind {
        name: stdout::NAME,
        summary: "One line of JSON for each event on standard output, from the daemon's start on.",
        open: stdout::open,
    },
    SinkKind {
        name: file::NAME,
        summary: "One line of JSON for each event at the end of a file, going on where it stopped.",
        open: file::open,
    },
    SinkKind {
        name: journald::NAME,
        summary: "One entry for each event in the systemd journal, with fields to filter by, from the daemon's start on.",
        open: journald::open,
    },
];

/// Events as lines of JSON.
pub(crate) fn lines(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    Ok(text)
}
