//! The operator's command line: one file to a command, one line in [`COMMANDS`].
//!
//! Output is for people on a terminal and plain when piped; every command has `--json`. Exit codes: 0 done, 1 it
//! failed, 2 wrong use, 3 the daemon cannot be reached, 4 Ctrl-C twice. What comes from models, tools or files is
//! printed without control characters.

mod approvals;
mod attach;
mod audit;
mod budget;
mod completions;
mod config;
mod configure;
mod daemon;
mod desk;
mod docs;
mod doctor;
mod error;
mod follow;
mod fork;
mod link;
mod list;
mod logs;
mod models;
mod picture;
mod plan;
mod replay;
mod resume;
mod revoke;
mod roles;
mod run;
mod screen;
mod settle;
mod start;
mod status;
mod stop;
mod submit;
mod tell;
mod terms;
mod tools;
mod tree;
mod words;

pub(crate) use desk::Desk;
pub(crate) use error::{CliError, Code};

use crate::config::Environment;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::{path::PathBuf, process::ExitCode};

/// The commands, in the order of the help.
pub(crate) const COMMANDS: &[Entry] = &[
    Entry::of::<submit::Submit>(),
    Entry::of::<attach::Attach>(),
    Entry::of::<plan::Plan>(),
    Entry::of::<list::List>(),
    Entry::of::<status::Status>(),
    Entry::of::<approvals::Approvals>(),
    Entry::of::<settle::Settle>(),
    Entry::of::<budget::Budget>(),
    Entry::of::<resume::Resume>(),
    Entry::of::<stop::Stop>(),
    Entry::of::<revoke::Revoke>(),
    Entry::of::<logs::Logs>(),
    Entry::of::<replay::Replay>(),
    Entry::of::<fork::Fork>(),
    Entry::of::<roles::Roles>(),
    Entry::of::<tools::Tools>(),
    Entry::of::<models::Models>(),
    Entry::of::<configure::Configure>(),
    Entry::of::<config::ShowConfig>(),
    Entry::of::<doctor::Doctor>(),
    Entry::of::<audit::Audit>(),
    Entry::of::<daemon::Daemon>(),
    Entry::of::<run::Run>(),
    Entry::of::<completions::Completions>(),
    Entry::of::<docs::Docs>(),
];

/// One command, as its author writes it: its fields are its arguments.
pub(crate) trait Act: Args + FromArgMatches {
    /// Its name.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const ABOUT: &'static str;
    /// Whether the help lists it.
    const HIDDEN: bool = false;

    /// Does it.
    fn act(self, desk: &Desk) -> Result<(), CliError>;
}

/// One line of the table.
pub(crate) struct Entry {
    name: &'static str,
    define: fn() -> Command,
    act: fn(&ArgMatches, &Desk) -> Result<(), CliError>,
}

impl Entry {
    const fn of<A: Act>() -> Self {
        Self {
            name: A::NAME,
            define: define::<A>,
            act: act::<A>,
        }
    }
}

fn define<A: Act>() -> Command {
    // After the arguments, whose own documentation would otherwise stand in the sentence's place.
    A::augment_args(Command::new(A::NAME))
        .about(A::ABOUT)
        .hide(A::HIDDEN)
}

fn act<A: Act>(matches: &ArgMatches, desk: &Desk) -> Result<(), CliError> {
    let arguments = A::from_arg_matches(matches)
        .map_err(|error| CliError::usage("read the arguments", &error.to_string(), "See --help"))?;
    arguments.act(desk)
}

/// Where the help lists them: apart, so that a command's own arguments stand together.
const EVERYWHERE: &str = "Options of every command";

/// Flags every command takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// Print JSON instead of text.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
    /// The configuration file.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The state directory.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The daemon's socket.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// The whole command line.
pub(crate) fn command() -> Command {
    Flags::augment_args(Command::new("agentd"))
        .about("Turns goals into plans and has agents carry them out, with no more authority than you grant")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(COMMANDS.iter().map(|entry| (entry.define)()))
}

/// Reads the arguments and does what they say.
pub(crate) fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            if !error.use_stderr() {
                let _ = error.print();
                return Code::Done.into();
            }
            let asked_for_json = std::env::args_os().any(|argument| argument == "--json");
            if asked_for_json {
                misused(&error).print(asked_for_json);
            } else {
                let _ = error.print();
            }
            return Code::Usage.into();
        }
    };
    let flags = Flags::from_arg_matches(&matches).unwrap_or_default();
    let json = flags.json;
    match Environment::read()
        .map_err(CliError::from)
        .and_then(|environment| perform(&matches, Desk::new(flags, environment)))
    {
        Ok(()) => Code::Done.into(),
        Err(error) => {
            error.print(json);
            error.code.into()
        }
    }
}

/// Wrong use, for programs.
fn misused(error: &clap::Error) -> CliError {
    let text = error.to_string();
    let problem = text.strip_prefix("error: ").unwrap_or(&text);
    CliError::usage("read the arguments", problem.trim_end(), "See --help")
}

fn perform(matches: &ArgMatches, desk: Desk) -> Result<(), CliError> {
    let (name, arguments) = matches.subcommand().unwrap_or(("", matches));
    match COMMANDS.iter().find(|entry| entry.name == name) {
        Some(entry) => (entry.act)(arguments, &desk),
        None => Err(CliError::usage(
            "find the command",
            "there is no such command",
            "See --help",
        )),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_holds_together() {
        super::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        let command = super::command();
        let about = |command: &clap::Command| {
            command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        let dull: Vec<_> = command
            .get_subcommands()
            .filter(|one| about(one).split(' ').count() < 3)
            .collect();
        assert!(dull.is_empty(), "{dull:?}");
        assert!(
            !command
                .get_subcommands()
                .any(|one| about(one).contains("rguments"))
        );
    }
}
