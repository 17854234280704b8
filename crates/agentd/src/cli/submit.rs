//! `agentd submit`: hands a goal to the daemon, shows the run as it goes, prints what it delivered.

use super::{
    Act, CliError, Desk,
    follow::{self, Show},
    link::Link,
    start::{self, Absent},
    status,
    terms::Terms,
    words,
};
use crate::{
    config::{Config, Installation},
    rpc::{
        RunSubmit,
        wire::{Submitted, WatchParams, Watched},
    },
};
use aaos_core::event::{Outcome, RunView};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    terms: Terms,
    /// Print the run's id and leave it alone.
    #[arg(long)]
    detach: bool,
}

impl Act for Submit {
    const NAME: &'static str = "submit";
    const ABOUT: &'static str = "Have a goal planned and carried out";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        desk.wait(self.perform(desk))
    }
}

impl Submit {
    async fn perform(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        let params = self.terms.params()?;
        let mut link = start::reach(desk, &config, Absent::Start).await?;
        let submitted = link.ask::<RunSubmit>("submit the goal", &params).await?;
        if self.detach {
            return leave(desk, &submitted);
        }
        see(desk, &config, link, &submitted).await
    }
}

/// Says which run it is, and leaves it alone.
pub(crate) fn leave(desk: &Desk, submitted: &Submitted) -> Result<(), CliError> {
    desk.tell(submitted, |submitted| desk.say(submitted.run.to_string()))
}

/// Shows a run from its first lines to its end, and says how it ended.
pub(crate) async fn see(
    desk: &Desk,
    config: &Config,
    link: Link,
    submitted: &Submitted,
) -> Result<(), CliError> {
    if !desk.json() {
        opening(desk, submitted)?;
    }
    let params = WatchParams {
        run: submitted.run.to_string(),
        after: 0,
        follow: true,
    };
    let watched = follow::follow(desk, config, link, params, Show::suited(desk)).await?;
    ending(desk, &watched)
}

/// The first lines: what runs, where, by which model, with which grants, what it may use, what it asks about.
fn opening(desk: &Desk, submitted: &Submitted) -> Result<(), CliError> {
    let paint = desk.paint();
    let backend = words::painted_backend(&submitted.backend, paint);
    desk.say(format!(
        "{}  {}  {}",
        paint.strong(&submitted.run.to_string()),
        backend,
        words::model(&submitted.model)
    ))?;
    desk.say(paint.dim(&format!(
        "granted by profile {}:",
        words::clean(&submitted.profile)
    )))?;
    status::grants(desk, &submitted.envelope)?;
    let budget = words::budget(&submitted.budget);
    desk.say(paint.dim(&format!("may use {budget}")))?;
    rules(desk, &submitted.approve)
}

/// Which acts happen only with approval; nothing if none does.
pub(crate) fn rules(desk: &Desk, approve: &[String]) -> Result<(), CliError> {
    if approve.is_empty() {
        return Ok(());
    }
    desk.say(desk.paint().dim("only with your approval:"))?;
    approve.iter().try_for_each(|rule| {
        let rule = words::clean(rule);
        desk.say(desk.paint().dim(&format!("  {rule}")))
    })
}

/// What it took.
fn work(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    let Some(finished) = view.finished else {
        return Ok(());
    };
    let elapsed = words::span(finished.since(view.submitted));
    let line = format!("{}, {elapsed}", status::work(view));
    desk.say(desk.paint().dim(&line))
}

/// The last lines: what was delivered and where it is, or what stood in the way.
pub(crate) fn ending(desk: &Desk, watched: &Watched) -> Result<(), CliError> {
    let Some(detail) = &watched.detail else {
        return Err(follow::going_away(watched.run));
    };
    if desk.json() {
        desk.say_json(&serde_json::json!({ "result": detail }))?;
    } else {
        status::delivered(desk, &detail.view)?;
        work(desk, &detail.view)?;
    }
    match &detail.view.outcome {
        Some(Outcome::Succeeded { .. }) => Ok(()),
        Some(Outcome::Failed { failure }) => {
            if desk.json() {
                return Err(CliError::quiet(super::Code::Failed));
            }
            let (problem, next_step) = crate::report::failure_of(detail.view.run, failure);
            Err(CliError::failed("carry out the goal", problem, next_step))
        }
        None => Ok(()),
    }
}
