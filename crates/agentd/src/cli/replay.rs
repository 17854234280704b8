//! `agentd replay`: carries a run out again from its record and names the first difference.

use super::{
    Act, CliError, Code, Desk,
    start::{self, Absent},
    words,
};
use crate::rpc::{RunReplay, wire::RunParams};
use aaos_ports::{Line, Replayed};
use clap::Args;
use std::time::Duration;

/// Longest wait for a replay: a run of tens of thousands of steps.
const REPLAY_TIME: Duration = Duration::from_secs(900);

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The run's id, or the beginning of it.
    run: String,
}

impl Act for Replay {
    const NAME: &'static str = "replay";
    const ABOUT: &'static str =
        "Carry a run out again from its record, asking no model and touching nothing, and compare";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let params = RunParams { run: self.run };
        let doing = "replay the run";
        let replayed =
            start::ask_for::<RunReplay>(desk, Absent::Start, doing, &params, REPLAY_TIME)?;
        desk.tell(&replayed, |replayed| print(desk, replayed))?;
        match replayed.divergence {
            None => Ok(()),
            Some(_) => Err(CliError::quiet(Code::Failed)),
        }
    }
}

fn print(desk: &Desk, replayed: &Replayed) -> Result<(), CliError> {
    let paint = desk.paint();
    let verdict = match replayed.divergence {
        None => paint.good("the same"),
        Some(_) => paint.bad("diverged"),
    };
    let run = paint.strong(&replayed.run.to_string());
    desk.say(format!("{run}  {verdict}"))?;
    let fact = |name: &str, said: String| desk.say(format!("{name:<11}{said}"));
    let replies = words::counted(replayed.replies, "model reply", "model replies");
    let results = words::plural(replayed.results, "tool result");
    fact("compared", words::plural(replayed.events, "event"))?;
    fact(
        "recorded",
        format!("{replies}, {results}; no model was asked and nothing was performed"),
    )?;
    if let Some(end) = &replayed.ends_at {
        fact("ends", words::one_line(end, 300))?;
    }
    let Some(divergence) = &replayed.divergence else {
        return Ok(());
    };
    let whose = match &divergence.line {
        Line::Run => "the run itself".to_owned(),
        Line::Agent {
            agent,
            role,
            subtask,
        } => {
            let of = subtask
                .as_ref()
                .map_or_else(String::new, |subtask| format!(" for {subtask}"));
            format!("{agent}, {role}{of}")
        }
    };
    let place = divergence
        .seq
        .map_or_else(String::new, |seq| format!(", event {}", seq.0));
    let said = |text: &Option<String>| {
        text.as_ref().map_or_else(
            || "nothing more".to_owned(),
            |text| words::one_line(text, 1_000),
        )
    };
    desk.say(format!("first difference in {whose}{place}"))?;
    desk.say(paint.good(&format!("  recorded  {}", said(&divergence.recorded))))?;
    desk.say(paint.bad(&format!("  replayed  {}", said(&divergence.replayed))))
}
