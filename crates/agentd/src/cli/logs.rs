//! `agentd logs`: a run's events, past ones, and live ones if asked for.

use super::{
    Act, CliError, Desk,
    follow::{self, Show},
    start::{self, Absent},
    submit,
};
use crate::{config::Installation, rpc::wire::WatchParams};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The run's id, or the beginning of it.
    run: String,
    /// Go on until the run ends.
    #[arg(long, short)]
    follow: bool,
    /// Only events after this place in the journal.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
}

impl Act for Logs {
    const NAME: &'static str = "logs";
    const ABOUT: &'static str = "Show a run's events, past and live";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let link = start::reach(desk, &config, Absent::Start).await?;
            let params = WatchParams {
                run: self.run,
                after: self.after,
                follow: self.follow,
            };
            let show = if desk.json() { Show::Json } else { Show::Lines };
            let watched = follow::follow(desk, &config, link, params, show).await?;
            if self.follow {
                submit::ending(desk, &watched)
            } else {
                Ok(())
            }
        })
    }
}
