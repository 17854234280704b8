//! `agentd run`: the daemon itself.

use super::{Act, CliError, Code, Desk};
use crate::{
    config::Installation,
    daemon::{self, DaemonError, Starter},
};
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
    let next_step = match &error {
        DaemonError::Compose(_) => {
            "Correct it and start again; `agentd config` shows every setting and where it came from"
        }
        DaemonError::Socket(_) => "`agentd daemon status` shows which daemon answers",
        DaemonError::System { .. } => "Close other programs, or raise the limits of this one",
    };
    CliError::new(Code::Failed, "run the daemon", error.to_string(), next_step)
}
