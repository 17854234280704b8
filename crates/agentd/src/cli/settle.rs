//! `agentd settle`: says what becomes of an act that was cut off and may or may not have happened.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::rpc::{
    RunSettle,
    decided::{Settle as Settlement, SettleParams},
};
use clap::{ArgGroup, Args};

/// Its arguments.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("settlement").required(true).args(["done", "repeat", "give_up"])))]
pub(crate) struct Settle {
    /// The run's id, or the beginning of it.
    run: String,
    /// The act's id, or the beginning of it; `agentd status RUN` shows what is in doubt.
    call: String,
    /// It happened: the agent goes on, and it is not done again.
    #[arg(long)]
    done: bool,
    /// It did not happen, or may happen twice: it is done now.
    #[arg(long)]
    repeat: bool,
    /// Leave it: the agent is told that it failed.
    #[arg(long)]
    give_up: bool,
}

impl Act for Settle {
    const NAME: &'static str = "settle";
    const ABOUT: &'static str =
        "Say whether an act that was cut off happened, is to be done again, or is given up";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let (settlement, said) = if self.done {
            (Settlement::Done, "is taken as done")
        } else if self.repeat {
            (Settlement::Repeat, "is done again")
        } else {
            (Settlement::GiveUp, "is given up")
        };
        let params = SettleParams {
            run: self.run,
            call: self.call,
            settlement,
        };
        let decided = start::ask::<RunSettle>(desk, Absent::Start, "settle the act", &params)?;
        desk.tell(&decided, |decided| {
            desk.say(format!("{} {said}", words::decided(decided)))
        })
    }
}
