//! `agentd attach`: rejoins a run, from its beginning, as `submit` shows it.

use super::{
    Act, CliError, Desk,
    link::Link,
    start::{self, Absent},
    submit,
};
use crate::{
    config::Installation,
    rpc::{
        RunList, RunStatus,
        wire::{ListParams, RunParams, Submitted},
    },
};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The run's id, or the beginning of it; your newest run that has not ended if not given, else your newest.
    run: Option<String>,
}

impl Act for Attach {
    const NAME: &'static str = "attach";
    const ABOUT: &'static str = "Rejoin a run and see it to its end, as `submit` shows it";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Start).await?;
            let run = match self.run {
                Some(run) => run,
                None => newest(&mut link).await?,
            };
            let params = RunParams { run };
            let detail = link.ask::<RunStatus>("read the run", &params).await?;
            let run = Submitted::of(detail.view, detail.envelope, detail.approve);
            submit::see(desk, &config, link, &run).await
        })
    }
}

/// The caller's newest run that has not ended, or their newest.
async fn newest(link: &mut Link) -> Result<String, CliError> {
    const DOING: &str = "find your newest run";
    let all = ListParams {
        limit: Some(crate::limits::RUNS_LISTED_MAX),
    };
    let runs = link.ask::<RunList>(DOING, &all).await?;
    let me = rustix::process::getuid().as_raw();
    let mine = || runs.iter().filter(|run| run.operator == me);
    let open = mine().find(|run| !run.state.is_final());
    match open.or_else(|| mine().next()) {
        Some(run) => Ok(run.run.to_string()),
        None => Err(CliError::usage(
            DOING,
            "you have no runs here",
            "`agentd submit \"GOAL\"` starts one",
        )),
    }
}
