//! `agentd completions`: completions for a shell.

use super::{Act, CliError, Desk};
use clap::Args;
use clap_complete::Shell;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Act for Completions {
    const NAME: &'static str = "completions";
    const ABOUT: &'static str = "Print completions for a shell";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "agentd", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        if desk.json() {
            return desk.say_json(
                &serde_json::json!({ "shell": self.shell.to_string(), "script": script }),
            );
        }
        desk.say(script.trim_end())
    }
}
