//! `agentd models`: which model serves which class, and whether it answers.

use super::{
    Act, CliError, Code, Desk,
    start::{self, Absent},
    words,
};
use crate::{
    limits::{ANSWER_TIME, PROBE_TIME},
    rpc::{
        ModelList,
        wire::{ModelParams, Models as Answer},
    },
};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Models {
    /// Do not ask the models; only list them.
    #[arg(long)]
    no_probe: bool,
}

impl Act for Models {
    const NAME: &'static str = "models";
    const ABOUT: &'static str = "List the model of each class and probe whether it answers";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let params = ModelParams {
            probe: !self.no_probe,
        };
        let patience = PROBE_TIME + ANSWER_TIME;
        let doing = "list the models";
        let answer = start::ask_for::<ModelList>(desk, Absent::Start, doing, &params, patience)?;
        desk.tell(&answer, |answer| print(desk, answer))?;
        let fine = |probe: &Option<String>| probe.as_deref().is_none_or(|probe| probe == "ok");
        if answer.models.iter().all(|model| fine(&model.probe)) {
            Ok(())
        } else {
            Err(CliError::quiet(Code::Failed))
        }
    }
}

fn print(desk: &Desk, answer: &Answer) -> Result<(), CliError> {
    desk.say(words::model(&answer.label))?;
    for model in &answer.models {
        let probe = match model.probe.as_deref() {
            None => String::new(),
            Some("ok") => desk.paint().good("ok"),
            Some(problem) => desk.paint().bad(&words::one_line(problem, 600)),
        };
        desk.say(format!(
            "  {:<9} {}  {probe}",
            model.class.as_str(),
            words::one_line(&model.model, 120)
        ))?;
    }
    Ok(())
}
