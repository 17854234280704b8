//! A part of the terminal that is drawn again and again, with lines above it that stay.

use std::io;

/// What is drawn on.
pub(crate) struct Screen {
    terminal: console::Term,
    drawn: usize,
}

impl Screen {
    /// Standard output's terminal.
    pub(crate) fn new() -> Self {
        Self {
            terminal: console::Term::buffered_stdout(),
            drawn: 0,
        }
    }

    /// Rows and columns that can be drawn on: one less than there are, so that nothing scrolls or wraps.
    pub(crate) fn size(&self) -> super::tree::Size {
        let (rows, columns) = self.terminal.size();
        super::tree::Size {
            rows: usize::from(rows).saturating_sub(1),
            columns: usize::from(columns).saturating_sub(1),
        }
    }

    /// Draws in place of what was drawn last, after lines that stay.
    pub(crate) fn draw(&mut self, stay: &[String], frame: &[String]) -> io::Result<()> {
        self.terminal.clear_last_lines(self.drawn)?;
        for line in stay.iter().chain(frame) {
            self.terminal.write_line(line)?;
        }
        self.drawn = frame.len();
        self.terminal.flush()
    }
}
