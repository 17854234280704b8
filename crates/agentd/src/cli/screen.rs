//! A part of the terminal that is drawn again and again, with lines above it that stay.

use std::io;

/// What is drawn on.
pub(crate) struct Screen {
    terminal: console::Term,
    /// Columns that each line took which was drawn last.
    drawn: Vec<usize>,
}

impl Screen {
    /// Standard output's terminal.
    pub(crate) fn new() -> Self {
        Self {
            terminal: console::Term::buffered_stdout(),
            drawn: Vec::new(),
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
        let (_, columns) = self.terminal.size();
        let rows = rows(&self.drawn, usize::from(columns));
        self.terminal.clear_last_lines(rows)?;
        for line in stay.iter().chain(frame) {
            self.terminal.write_line(line)?;
        }
        self.drawn = frame
            .iter()
            .map(|line| console::measure_text_width(line))
            .collect();
        self.terminal.flush()
    }
}

/// Rows that lines of these widths take: a terminal that has become narrower since breaks them.
fn rows(widths: &[usize], columns: usize) -> usize {
    let rows = |width: &usize| width.div_ceil(columns.max(1)).max(1);
    widths.iter().map(rows).sum()
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn lines_that_a_narrower_terminal_breaks_are_cleared_whole() {
        let widths = [79, 40, 0];
        assert_eq!(rows(&widths, 80), 3);
        assert_eq!(rows(&widths, 40), 2 + 1 + 1);
        assert_eq!(rows(&widths, 39), 3 + 2 + 1);
        assert_eq!(rows(&[], 80), 0);
    }
}
