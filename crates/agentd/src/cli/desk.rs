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
    /// Whether standard output is a terminal that can be drawn on.
    pub(crate) terminal: bool,
}

impl Desk {
    /// Sets the desk.
    pub(crate) fn new(flags: Flags, environment: Environment) -> Self {
        // A dumb one shows what moves its cursor as text.
        let dumb = environment.get("TERM") == Some("dumb");
        Self {
            flags,
            environment,
            terminal: io::stdout().is_terminal() && !dumb,
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

    /// Prints a table whose columns stay columns on a narrow terminal.
    pub(crate) fn say_table<const N: usize>(
        &self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), CliError> {
        self.say_cut(&table(head, rows))
    }

    /// Prints lines; on a terminal each is cut to one row of it.
    pub(crate) fn say_cut(&self, text: &str) -> Result<(), CliError> {
        if !self.terminal {
            return self.say(text);
        }
        let (_, columns) = console::Term::stdout().size();
        self.say(cut(text, usize::from(columns)))
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

/// A table without borders, its columns two spaces apart. Cells may be coloured: widths are what a terminal shows.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| console::measure_text_width(cell)).max()
    };
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            console::pad_str(cell, *width, console::Alignment::Left, None).into_owned()
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Lines cut to so many columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let cut = |line| console::truncate_str(line, columns.max(1), "…").into_owned();
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stands_in_columns_with_colours_and_fits_a_narrow_terminal() {
        let rows = [
            [
                "run-1".to_owned(),
                "\u{1b}[32mdone\u{1b}[0m".to_owned(),
                "a goal ".repeat(20),
            ],
            ["run-22".to_owned(), "waiting".to_owned(), "x".to_owned()],
        ];
        let whole = table(["ID", "STATE", "GOAL"], rows);
        let starts = |line: &str| {
            let plain = console::strip_ansi_codes(line).into_owned();
            plain
                .find("GOAL")
                .or_else(|| plain.find("a goal"))
                .or_else(|| plain.find('x'))
        };
        let columns: Vec<_> = whole.lines().map(starts).collect();
        assert_eq!(columns, [Some(17); 3], "{whole}");
        let narrow = cut(&whole, 40);
        let widths: Vec<_> = narrow.lines().map(console::measure_text_width).collect();
        assert!(widths.iter().all(|width| *width <= 40), "{narrow}");
        assert!(
            narrow.contains('…') && narrow.lines().count() == 3,
            "{narrow}"
        );
    }
}
