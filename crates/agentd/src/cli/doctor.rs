//! `agentd doctor`: what this machine can confine with, and a real worker to see whether it does.
//!
//! Needs no daemon and disturbs none. Each trial is a launch as a run would make it, for an agent that holds nothing
//! but what the trial is about; what the worker shows is printed as it is, passed canaries included.

mod shown;
mod trial;

use super::{Act, CliError, Code, Desk};
use crate::config::{Config, Installation, Origin, Setting};
use aaos_core::proof::Layer;
use aaos_ports::LaunchError;
use aaos_sandbox::machine::{self, Finding, State};
use clap::Args;
use std::path::Path;
use trial::Trial;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Leave this layer out, to see that the launch is refused for it.
    #[arg(long, value_name = "LAYER")]
    drill: Option<Layer>,
    /// The system-wide installation's settings.
    #[arg(long)]
    system: bool,
}

impl Act for Doctor {
    const NAME: &'static str = "doctor";
    const ABOUT: &'static str = "Show what this machine can confine agents with, and try it";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let mut config = desk.config(Installation::by_flag(self.system))?;
        if let Some(layer) = self.drill {
            config.confinement.drill = Some(Setting::new(layer, Origin::Flag("drill")));
        }
        let mut findings = machine::findings();
        findings.push(program("worker program", &config.confinement.worker.value));
        findings.push(program("egress program", &config.confinement.egress.value));
        let trials = desk.wait(trial::all(&config))?;
        let report = Report {
            config: &config,
            findings,
            trials,
        };
        report.show(desk)?;
        report.verdict(desk)
    }
}

/// Whether a program of this product is where it is looked for.
fn program(what: &str, path: &Path) -> Finding {
    let found = path.display().to_string();
    if path.is_file() {
        return Finding::good(what, found);
    }
    Finding::lacking(
        what,
        State::Bad,
        format!("there is no {found}"),
        "Install the package again, build it with `cargo build`, or name its place in [confinement]",
    )
}

/// Everything that was found.
struct Report<'a> {
    config: &'a Config,
    findings: Vec<Finding>,
    trials: Vec<Trial>,
}

impl Report<'_> {
    fn refusal(&self) -> Option<&LaunchError> {
        self.trials.iter().find_map(|trial| trial.refused.as_ref())
    }

    /// Done if every launch succeeded under what the configuration requires.
    fn verdict(&self, desk: &Desk) -> Result<(), CliError> {
        let Some(refusal) = self.refusal() else {
            return Ok(());
        };
        if desk.json() {
            return Err(CliError::quiet(Code::Failed));
        }
        let next_step = match &self.config.confinement.drill {
            Some(drill) if refusal.layer == Some(drill.value) => match &drill.origin {
                Origin::Flag(_) => {
                    "Nothing: this was a drill, and the launch was refused as it should be"
                        .to_owned()
                }
                origin => format!("Remove `drill` at {origin} when the drill is over"),
            },
            _ if refusal.layer.is_some() => {
                "What each layer needs stands beneath the table; to do without one, leave it out of `require` in [confinement]"
                    .to_owned()
            }
            _ => refusal.next_step.clone(),
        };
        Err(CliError::failed(
            "confine a worker",
            refusal.missing.clone(),
            next_step,
        ))
    }
}
