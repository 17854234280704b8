//! `agentd resume`: raises a run's budget; one that waits at a limit goes on.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::{
    config::amount::Amount,
    rpc::{
        RunResume,
        decided::{ResumeParams, Resumed, raise},
    },
};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run's id, or the beginning of it.
    run: String,
    /// What is added, as `+1usd`, `+100ktokens`, `+10m`, `+500calls`; may be repeated.
    #[arg(long, value_name = "AMOUNT", required = true)]
    budget: Vec<String>,
}

impl Act for Resume {
    const NAME: &'static str = "resume";
    const ABOUT: &'static str = "Raise a run's budget; one that waits at a limit goes on";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let budget = amounts(&self.budget)?;
        let params = ResumeParams {
            run: self.run,
            budget,
        };
        let resumed = start::ask::<RunResume>(desk, Absent::Start, "raise the budget", &params)?;
        desk.tell(&resumed, |Resumed { run, budget }| {
            desk.say(format!(
                "{run} may use {}; `agentd attach {run}` shows how it goes on",
                words::budget(budget)
            ))
        })
    }
}

fn amounts(texts: &[String]) -> Result<Vec<Amount>, CliError> {
    let wrong = |problem: &str| {
        let next_step = "Write `--budget +1usd`, `+100ktokens`, `+10m`, `+500calls` or `+20agents`";
        CliError::usage("read the budget", problem, next_step)
    };
    let read = |text: &String| {
        let bare = text.strip_prefix('+').unwrap_or(text);
        bare.parse().map_err(|problem: String| wrong(&problem))
    };
    let amounts: Vec<Amount> = texts.iter().map(read).collect::<Result<_, _>>()?;
    raise(&amounts).map_err(wrong)?;
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_may_be_written_with_a_plus_and_without() {
        let read = |text: &str| amounts(&[text.to_owned()]);
        assert_eq!(read("+1usd"), read("1usd"));
        assert!(read("+3deep").is_err() && read("-1usd").is_err() && read("++1usd").is_err());
    }
}
