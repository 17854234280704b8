//! `agentd daemon`: what the daemon is, stopping it, starting it anew.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::{
    config::{Config, Installation},
    rpc::{
        DaemonStop,
        wire::{DaemonStatusAnswer, StopParams, Stopping, Trouble, When},
    },
};
use aaos_core::time::Span;
use clap::{Args, Subcommand};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Show what the daemon is and what goes on.
    Status,
    /// Stop it; calls in flight are given some seconds, and open runs go on at its next start.
    Stop,
    /// Stop it and start it with the settings of now.
    Restart,
}

impl Act for Daemon {
    const NAME: &'static str = "daemon";
    const ABOUT: &'static str = "Show, stop or restart the daemon";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            match self.which {
                Which::Status => status(desk, &config).await,
                Which::Stop => stop(desk, &config).await,
                Which::Restart => restart(desk, &config).await,
            }
        })
    }
}

async fn status(desk: &Desk, config: &Config) -> Result<(), CliError> {
    let mut link = start::reach(desk, config, Absent::Report).await?;
    print(desk, &start::about(&mut link).await?)
}

/// What the daemon says of itself.
pub(crate) fn print(desk: &Desk, status: &DaemonStatusAnswer) -> Result<(), CliError> {
    if desk.json() {
        return desk.say_json(status);
    }
    let paint = desk.paint();
    let state = if status.stopping {
        paint.warn("ending")
    } else {
        paint.good("ready")
    };
    desk.say(format!(
        "agentd {}  {state}, process {}, for {}",
        status.version,
        status.pid,
        words::span(Span::from_secs(status.uptime_s))
    ))?;
    let fact = |name: &str, said: String| desk.say(format!("{name:<13}{said}"));
    fact("backend", words::painted_backend(&status.backend, paint))?;
    fact("confinement", words::clean(&status.confinement))?;
    fact("model", words::clean(&status.model))?;
    fact("state", words::clean(&status.state_dir))?;
    fact("socket", words::clean(&status.socket))?;
    fact("runs", format!("{} active", status.runs_active))?;
    fact("connections", status.connections.to_string())?;
    match &status.trouble {
        None => Ok(()),
        Some(trouble) => desk.say(paint.bad(&no_goals(trouble))),
    }
}

/// Why no goals are taken, in two lines.
pub(crate) fn no_goals(trouble: &Trouble) -> String {
    format!(
        "takes no goals: {}\n  next: {}",
        words::clean(&trouble.problem),
        words::clean(&trouble.next_step)
    )
}

async fn stop(desk: &Desk, config: &Config) -> Result<(), CliError> {
    let stopping = order_stop(desk, config).await?;
    if desk.json() {
        return desk.say_json(&stopping);
    }
    desk.say(format!("stopped process {}", stopping.pid))?;
    if stopping.runs_active > 0 {
        desk.say(format!(
            "{} not ended; what is open goes on where it was when a daemon starts again: `agentd attach` starts one",
            words::plural(stopping.runs_active as u64, "run")
        ))?;
    }
    Ok(())
}

async fn order_stop(desk: &Desk, config: &Config) -> Result<Stopping, CliError> {
    let mut link = start::reach(desk, config, Absent::Report).await?;
    let now = StopParams { when: When::Now };
    let stopping = link.ask::<DaemonStop>("stop the daemon", &now).await?;
    drop(link);
    start::gone(config, stopping.pid).await?;
    Ok(stopping)
}

async fn restart(desk: &Desk, config: &Config) -> Result<(), CliError> {
    match order_stop(desk, config).await {
        Ok(_) => {}
        // None was there: then one is started all the same.
        Err(_) if !config.paths.socket.value.exists() => {}
        Err(error) => return Err(error),
    }
    let mut link = start::start(config).await?;
    print(desk, &start::about(&mut link).await?)
}
