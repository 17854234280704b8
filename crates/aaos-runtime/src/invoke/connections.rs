//! Connections out that a call tried: recorded as they happen, a bounded number one by one and the rest as a count.
//!
//! What is told of them comes by way of a process that speaks with hostile ones; every text is cut.

use crate::limits;
use aaos_core::{event::Kind, text};
use aaos_ports::{Connection, power::ConnectionOutcome};

/// What one call's powers told of connections and is not in the journal yet.
#[derive(Default)]
pub(super) struct Connections {
    pending: Vec<Kind>,
    told: usize,
    /// Further ones that were allowed.
    allowed: u64,
    /// Further ones that were refused.
    refused: u64,
}

impl Connections {
    /// Takes one up, or counts it if there have been many.
    pub(super) fn take_up(&mut self, connection: Connection) {
        if self.told < limits::CONNECTIONS_RECORDED_MAX {
            self.told += 1;
            self.pending.push(as_event(connection));
            return;
        }
        let count = match connection.outcome {
            ConnectionOutcome::Allowed { .. } => &mut self.allowed,
            ConnectionOutcome::Refused { .. } => &mut self.refused,
        };
        *count = count.saturating_add(1);
    }

    /// The events that are to be recorded now.
    pub(super) fn pending(&mut self) -> Vec<Kind> {
        std::mem::take(&mut self.pending)
    }

    /// The event of those that were only counted, if there are any.
    pub(super) fn omitted(&mut self) -> Option<Kind> {
        let (allowed, refused) = (
            std::mem::take(&mut self.allowed),
            std::mem::take(&mut self.refused),
        );
        (allowed > 0 || refused > 0).then_some(Kind::ConnectionsOmitted { allowed, refused })
    }
}

fn as_event(connection: Connection) -> Kind {
    let cut = |text: &str| text::preview(text, limits::CONNECTION_TEXT_BYTES_MAX);
    let (method, url) = (cut(&connection.method), cut(&connection.url));
    match connection.outcome {
        ConnectionOutcome::Allowed { address } => Kind::ConnectionAllowed {
            method,
            url,
            address: address.as_deref().map(cut),
        },
        ConnectionOutcome::Refused { axis, reason } => Kind::ConnectionRefused {
            method,
            url,
            axis: cut(&axis),
            reason: cut(&reason),
        },
    }
}
