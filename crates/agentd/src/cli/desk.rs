//! What every command has in hand: its flags, the environment, the configuration, standard output.

use super::{CliError, Flags};
use crate::config::{self, Config, Environment, Installation, Overrides};
use serde::Serialize;
use std::{
    future::Future,
    io::{self, IsTerminal, Write},
};

/// What every command has in hand.
pub(crate) struct Desk {
    /// Flags every command takes.
    pub(crate) flags: Flags,
    /// What the environment said.
    pub(crate) environment: Environment,
    /// Whether standard output is a terminal.
    pub(crate) terminal: bool,
}

impl Desk {
    /// Sets the desk.
    pub(crate) fn new(flags: Flags, environment: Environment) -> Self {
        Self {
            flags,
            environment,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// The flags that change the configuration.
    pub(crate) fn overrides(&self, installation: Installation) -> Overrides {
        Overrides {
            installation,
            config: self.flags.config.clone(),
            state_dir: self.flags.state_dir.clone(),
            socket: self.flags.socket.clone(),
        }
    }

    /// Reads the configuration.
    pub(crate) fn config(&self, installation: Installation) -> Result<Config, CliError> {
        Ok(config::load(
            &self.environment,
            &self.overrides(installation),
        )?)
    }

    /// Whether to print JSON.
    pub(crate) const fn json(&self) -> bool {
        self.flags.json
    }

    /// Colours, or none.
    pub(crate) fn paint(&self) -> super::words::Paint {
        let colours =
            self.terminal && !self.flags.json && self.environment.get("NO_COLOR").is_none();
        super::words::Paint(colours)
    }

    /// Prints a line.
    pub(crate) fn say(&self, line: impl AsRef<str>) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(line.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(())
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn say_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value);
        self.say(
            text.map_err(|error| CliError::failed("print JSON", error.to_string(), "Report this"))?,
        )
    }

    /// Prints an answer: as JSON if that is asked for, else in words.
    pub(crate) fn tell<T: Serialize>(
        &self,
        answer: &T,
        in_words: impl FnOnce(&T) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        if self.json() {
            self.say_json(answer)
        } else {
            in_words(answer)
        }
    }

    /// Tells people something beside the output.
    pub(crate) fn note(&self, line: impl AsRef<str>) {
        let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
    }

    /// Waits for something.
    pub(crate) fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| {
            CliError::failed("start", error.to_string(), "Close other programs")
        })?;
        runtime.block_on(work)
    }
}

/// A table without borders, its columns two spaces apart.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}
