//! `agentd fork`: continues a run from one of its steps under other terms, as a run of its own.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    submit, terms,
};
use crate::{
    config::Installation,
    rpc::{RunFork, recounted::ForkParams},
};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The run's id, or the beginning of it.
    run: String,
    /// The subtask from which on it goes its own way; `SUBTASK@2` keeps that subtask's first two model requests.
    #[arg(long, value_name = "SUBTASK[@TURNS]")]
    at: String,
    /// The model for everything, as `provider/model`.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Give again what the run was granted and its profile does not grant any longer; may be repeated.
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// A limit in place of the run's own: `2usd`, `100ktokens`, `10m`; may be repeated.
    #[arg(long, value_name = "AMOUNT")]
    budget: Vec<String>,
    /// Print the new run's id and leave it alone.
    #[arg(long)]
    detach: bool,
}

impl Act for Fork {
    const NAME: &'static str = "fork";
    const ABOUT: &'static str = "Continue a run from one of its steps under other settings, without repeating what came before";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let detach = self.detach;
        let params = self.params()?;
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Start).await?;
            let forked = link.ask::<RunFork>("fork the run", &params).await?;
            if detach {
                return submit::leave(desk, &forked);
            }
            submit::see(desk, &config, link, &forked).await
        })
    }
}

impl Fork {
    fn params(self) -> Result<ForkParams, CliError> {
        const DOING: &str = "read where to fork";
        let (at, turns_kept) = match self.at.split_once('@') {
            None => (self.at.clone(), 0),
            Some((at, turns)) => {
                let turns = turns.parse().map_err(|_| {
                    CliError::usage(
                        DOING,
                        "what follows `@` is no number",
                        "Write `--at SUBTASK@2`",
                    )
                })?;
                (at.to_owned(), turns)
            }
        };
        Ok(ForkParams {
            run: self.run,
            at,
            turns_kept,
            model: self.model,
            grants: terms::grants("--grant", &self.grant, &terms::base(None)?)?,
            budget: terms::amounts(&self.budget)?,
        })
    }
}
