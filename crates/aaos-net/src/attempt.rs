//! One attempt to connect out, noted at its gate whatever becomes of it.

use crate::policy;
use aaos_ports::{Connection, Gate, PowerError, power::ConnectionOutcome};
use std::net::SocketAddr;
use url::Url;

/// An attempt under way. One that was admitted is noted even if it is given up half-way.
pub(crate) struct Attempt<'a> {
    gate: &'a dyn Gate,
    connection: Connection,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asking,
    Admitted,
    Noted,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(gate: &'a dyn Gate, method: &str, url: &Url) -> Self {
        let connection = Connection {
            method: aaos_core::text::preview(method, 16),
            url: policy::shown(url),
            outcome: ConnectionOutcome::Allowed { address: None },
        };
        Self {
            gate,
            connection,
            state: State::Asking,
        }
    }

    /// The gate has admitted it.
    pub(crate) const fn admitted(&mut self) {
        self.state = State::Admitted;
    }

    /// It came to an end: connected to an address, refused, or failed on the wire.
    pub(crate) fn end(mut self, outcome: Result<Option<SocketAddr>, &PowerError>) {
        let outcome = match outcome {
            Ok(address) => ConnectionOutcome::Allowed {
                address: address.map(|address| address.to_string()),
            },
            Err(PowerError::Denied { axis, reason, .. }) => ConnectionOutcome::Refused {
                axis: axis.clone(),
                reason: reason.clone(),
            },
            Err(_) if self.state == State::Admitted => ConnectionOutcome::Allowed { address: None },
            // Nobody answered whether it may be made, and it was not.
            Err(_) => return,
        };
        self.connection.outcome = outcome;
        self.note();
    }

    fn note(&mut self) {
        self.state = State::Noted;
        self.gate.note(self.connection.clone());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.state == State::Admitted {
            self.note();
        }
    }
}
