//! `agentd run`: the daemon itself.

use super::{Act, CliError, Desk};
use crate::{
    config::Installation,
    daemon::{self, DaemonError, Starter},
};
use aaos_ports::JournalError;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// As a service of the machine: /etc/aaos, /var/lib/aaos, /run/agentd.
    #[arg(long)]
    system: bool,
    /// Started by the command line, in the background.
    #[arg(long, hide = true)]
    on_demand: bool,
}

impl Act for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Run the daemon here; `submit` starts one on demand";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let installation = Installation::by_flag(self.system);
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .with_max_level(tracing::Level::INFO)
            .init();
        let config = desk.config(installation)?;
        let starter = if self.on_demand {
            Starter::OnDemand
        } else {
            Starter::Operator
        };
        daemon::run(config, starter).map_err(explain)
    }
}

fn explain(error: DaemonError) -> CliError {
    const DOING: &str = "run the daemon";
    if let DaemonError::Compose(error) = &error
        && let Some(error) = error.journal()
    {
        let (problem, next_step) = of_journal(error);
        return CliError::failed(DOING, problem, next_step);
    }
    let next_step = match &error {
        DaemonError::Compose(_) => {
            "Correct it and start again; `agentd config` shows every setting and where it came from"
        }
        DaemonError::Socket(_) => "`agentd daemon status` shows which daemon answers",
        DaemonError::System { .. } => "Close other programs, or raise the limits of this one",
    };
    CliError::failed(DOING, error.to_string(), next_step)
}

/// Why a journal keeps the daemon from starting, and what to do.
fn of_journal(error: &JournalError) -> (String, String) {
    let next_step = match error {
        JournalError::Storage {
            place,
            message,
            next_step,
        } => {
            let problem = format!("the journal at {place} cannot be written: {message}");
            return (problem, next_step.clone());
        }
        JournalError::Damaged { .. } => {
            "Put a whole copy back in its place, or begin a new journal with --state-dir"
        }
        _ => "`agentd daemon status` shows which daemon answers",
    };
    (error.to_string(), next_step.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::ComposeError;
    use aaos_runtime::StartError;

    #[test]
    fn a_journal_that_keeps_the_daemon_from_starting_names_its_own_next_step() {
        let full = || JournalError::Storage {
            place: "/s/journal.db".to_owned(),
            message: "disk is full".to_owned(),
            next_step: "Make room".to_owned(),
        };
        let opening = ComposeError::Journal(full());
        let recovering = ComposeError::Runtime(StartError::Journal(full()));
        for error in [opening, recovering] {
            let said = explain(DaemonError::Compose(error));
            assert_eq!(said.next_step, "Make room");
            assert!(!said.problem.contains("Make room"), "{}", said.problem);
        }
        let damaged = JournalError::Damaged {
            place: "/s/journal.db".to_owned(),
            seq: 7,
            message: "its hash does not hold".to_owned(),
        };
        let said = explain(DaemonError::Compose(damaged.into()));
        assert!(
            said.problem.contains("agentd audit verify") && said.next_step.contains("--state-dir"),
            "{said:?}"
        );
    }
}
