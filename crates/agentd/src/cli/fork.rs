//! `agentd fork`: continues a run from one of its steps under other terms, as a run of its own.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    submit,
};
use crate::{
    config::{Installation, amount::Amount},
    rpc::{recounted::ForkParams, wire::Submitted},
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
            let forked: Submitted = link.ask("fork the run", "run.fork", &params).await?;
            if detach {
                return if desk.json() {
                    desk.say_json(&forked)
                } else {
                    desk.say(forked.run.to_string())
                };
            }
            if !desk.json() {
                submit::opening(desk, &forked)?;
            }
            submit::see(desk, &config, link, forked.run).await
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
        let amount = |text: &String| -> Result<Amount, CliError> {
            text.parse().map_err(|problem: String| {
                CliError::usage("read the budget", &problem, "See `agentd fork --help`")
            })
        };
        Ok(ForkParams {
            run: self.run,
            at,
            turns_kept,
            model: self.model,
            budget: self.budget.iter().map(amount).collect::<Result<_, _>>()?,
        })
    }
}
