//! Event streams (`text/event-stream`), taken apart as bytes arrive.
//!
//! A pure machine: bytes go in, whole events come out. It refuses lines and replies over their bounds, and bytes
//! that are no text. Line ends are `\n`, `\r` or `\r\n`, wherever the network cut them.

use crate::limits::{LINE_BYTES_MAX, REPLY_WIRE_BYTES_MAX};
use std::collections::VecDeque;

/// One event: the data lines between two empty lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The data lines, joined by newlines.
    pub(crate) data: String,
}

/// Why a stream cannot be followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// A line, or the lines of one event, over the bound.
    #[error("an event of the reply is longer than {LINE_BYTES_MAX} bytes")]
    Line,
    /// The reply as a whole over the bound.
    #[error("the reply is longer than {REPLY_WIRE_BYTES_MAX} bytes")]
    Reply,
    /// Bytes that are not UTF-8.
    #[error("the reply is not text")]
    NotText,
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    after_return: bool,
    bytes: usize,
    ready: VecDeque<Frame>,
}

impl Frames {
    /// Takes the next bytes. What came before a flaw stays available.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Flaw> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > REPLY_WIRE_BYTES_MAX {
            return Err(Flaw::Reply);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(end);
            let Some((ending, rest)) = rest.split_first() else {
                break;
            };
            let second_half = self.after_return && *ending == b'\n' && line.is_empty();
            self.after_return = *ending == b'\r';
            if !second_half {
                self.extend(line)?;
                self.end_line()?;
            }
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.after_return = false;
            self.extend(bytes)?;
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(Flaw::Line);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Flaw> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).map_err(|_| Flaw::NotText)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.is_empty() {
            self.end_frame();
        } else if let Some(data) = text.strip_prefix("data:") {
            self.add_data(data.strip_prefix(' ').unwrap_or(data))?;
        }
        // Other fields and comments carry nothing either dialect needs: the data names its own kind.
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn add_data(&mut self, data: &str) -> Result<(), Flaw> {
        if self.data.len() + data.len() >= LINE_BYTES_MAX {
            return Err(Flaw::Line);
        }
        if self.has_data {
            self.data.push('\n');
        }
        self.has_data = true;
        self.data.push_str(data);
        Ok(())
    }

    fn end_frame(&mut self) {
        if std::mem::take(&mut self.has_data) {
            self.ready.push_back(Frame {
                data: std::mem::take(&mut self.data),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::string_slice,
        reason = "a test fails by panicking"
    )]
    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<String> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for chunk in chunks {
            frames.push(chunk).unwrap();
            while let Some(frame) = frames.next() {
                found.push(frame.data);
            }
        }
        found
    }

    const STREAM: &[u8] =
        "\u{feff}: ping\r\nevent: x\r\ndata: one\r\n\r\ndata:two\ndata: héé\n\n\rdata: three\r\rdata: half".as_bytes();

    #[test]
    fn where_the_network_cuts_a_stream_changes_nothing() {
        let whole = frames(&[STREAM]);
        assert_eq!(whole, ["one", "two\nhéé", "three"]);
        for cut in 0..=STREAM.len() {
            let (left, right) = STREAM.split_at(cut);
            assert_eq!(frames(&[left, right]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(frames(&single), whole);
    }

    #[test]
    fn an_endless_line_is_refused_before_it_fills_memory() {
        let mut frames = Frames::default();
        let chunk = vec![b'x'; 64 << 10];
        let refused = (0..100).find_map(|_| frames.push(&chunk).err());
        assert_eq!(refused, Some(Flaw::Line));
    }

    #[test]
    fn an_event_of_endless_lines_is_refused() {
        let mut frames = Frames::default();
        let line = format!("data: {}\n", "x".repeat(1000));
        let refused = (0..2000).find_map(|_| frames.push(line.as_bytes()).err());
        assert_eq!(refused, Some(Flaw::Line));
    }

    #[test]
    fn an_endless_reply_of_comments_is_refused() {
        let mut frames = Frames::default();
        let comments = ": still here\n".repeat(5_000);
        let refused = (0..2000).find_map(|_| frames.push(comments.as_bytes()).err());
        assert_eq!(refused, Some(Flaw::Reply));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(
            Frames::default().push(b"data: \xff\xfe\n"),
            Err(Flaw::NotText)
        );
    }
}
