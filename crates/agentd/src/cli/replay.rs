//! `agentd replay`: carries a run out again from its record and names the first difference.

use super::{
    Act, CliError, Code, Desk,
    start::{self, Absent},
    words,
};
use crate::{config::Installation, rpc::wire::RunParams};
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
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Start).await?;
            let params = RunParams { run: self.run };
            let replayed: Replayed = link
                .ask_for("replay the run", "run.replay", &params, REPLAY_TIME)
                .await?;
            if desk.json() {
                desk.say_json(&replayed)?;
            } else {
                print(desk, &replayed)?;
            }
            match replayed.divergence {
                None => Ok(()),
                Some(_) => Err(CliError::quiet(Code::Failed)),
            }
        })
    }
}

fn print(desk: &Desk, replayed: &Replayed) -> Result<(), CliError> {
    let paint = desk.paint();
    let verdict = match replayed.divergence {
        None => paint.good("the same"),
        Some(_) => paint.bad("diverged"),
    };
    desk.say(format!(
        "{}  {verdict}",
        paint.strong(&replayed.run.to_string())
    ))?;
    desk.say(format!(
        "compared   {}",
        words::plural(replayed.events, "event")
    ))?;
    desk.say(format!(
        "recorded   {}, {}; no model was asked and nothing was performed",
        if replayed.replies == 1 {
            "1 model reply".to_owned()
        } else {
            format!("{} model replies", words::count(replayed.replies))
        },
        words::plural(replayed.results, "tool result")
    ))?;
    if let Some(end) = &replayed.ends_at {
        desk.say(format!("ends       {}", words::one_line(end, 300)))?;
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
