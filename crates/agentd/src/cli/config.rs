//! `agentd config`: every setting and where it came from.

use super::{Act, CliError, Desk, words};
use crate::config::Installation;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct ShowConfig {
    /// The system-wide installation's settings.
    #[arg(long)]
    system: bool,
}

impl Act for ShowConfig {
    const NAME: &'static str = "config";
    const ABOUT: &'static str = "Show every setting and where it came from; keys show as …";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::by_flag(self.system))?;
        let entries = config.entries();
        if desk.json() {
            return desk.say_json(
                &serde_json::json!({ "entries": entries, "fingerprint": config.fingerprint() }),
            );
        }
        let paint = desk.paint();
        entries.iter().try_for_each(|entry| {
            let origin = paint.dim(&format!("# {}", words::clean(&entry.origin)));
            desk.say(format!(
                "{} = {}  {origin}",
                words::clean(&entry.key),
                words::clean(&entry.value)
            ))
        })
    }
}
