//! `agentd revoke`: takes a grant back from a run that is going on.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::rpc::{RunRevoke, wire::RevokeParams};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The run's id, or the beginning of it.
    run: String,
    /// The grant's id, or the beginning of it; `agentd status RUN` shows them.
    grant: String,
}

impl Act for Revoke {
    const NAME: &'static str = "revoke";
    const ABOUT: &'static str = "Take a grant back from a run, with every grant made from it and the calls that rest on one";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let params = RevokeParams {
            run: self.run,
            grant: self.grant,
        };
        let revoked = start::ask::<RunRevoke>(desk, Absent::Start, "revoke the grant", &params)?;
        desk.tell(&revoked, |revoked| {
            desk.say(format!(
                "revoked {}, {} made from it, {} ended",
                revoked.grant,
                words::plural(u64::from(revoked.descendants), "grant"),
                words::plural(u64::from(revoked.calls), "call")
            ))
        })
    }
}
