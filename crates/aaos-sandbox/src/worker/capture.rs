//! A program's output, of which the first and the last bytes are kept.
//!
//! Refuses: growing with what is written.

use aaos_ports::power::Captured;
use std::collections::VecDeque;

/// Keeps at most so many bytes: the first half and the last.
pub(super) struct Capture {
    head_max: usize,
    tail_max: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Capture {
    /// Keeps `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let tail_max = bytes_max / 2;
        Self {
            head_max: bytes_max - tail_max,
            tail_max,
            head: Vec::new(),
            tail: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Takes what came.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let room = self.head_max - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        // Of more than fits only the end can stay.
        let skipped = rest.len().saturating_sub(self.tail_max);
        let rest = rest.get(skipped..).unwrap_or_default();
        let over = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..over);
        self.tail.extend(rest);
        let gone = u64::try_from(skipped + over).unwrap_or(u64::MAX);
        self.dropped = self.dropped.saturating_add(gone);
    }

    /// What was kept. Where nothing is missing, it is all in one piece.
    pub(super) fn finish(self) -> Captured {
        let (mut head, tail) = (self.head, Vec::from(self.tail));
        if self.dropped == 0 {
            head.extend(tail);
            return Captured {
                head,
                dropped: 0,
                tail: Vec::new(),
            };
        }
        Captured {
            head,
            dropped: self.dropped,
            tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(bytes_max: usize, pieces: &[&str]) -> (String, u64, String) {
        let mut capture = Capture::new(bytes_max);
        for piece in pieces {
            capture.take(piece.as_bytes());
        }
        let Captured {
            head,
            dropped,
            tail,
        } = capture.finish();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(head), dropped, text(tail))
    }

    #[test]
    fn what_fits_is_kept_whole() {
        assert_eq!(
            captured(10, &["abc", "defghij"]),
            ("abcdefghij".to_owned(), 0, String::new())
        );
        assert_eq!(captured(10, &[]), (String::new(), 0, String::new()));
    }

    #[test]
    fn of_what_does_not_fit_the_first_half_and_the_last_are_kept() {
        let kept = ("abc".to_owned(), 20, "xyz".to_owned());
        assert_eq!(captured(6, &["abcdefghijklmnopqrstuvwxyz"]), kept);
        assert_eq!(captured(6, &["ab", "cdefghijklmnopqrstuvwx", "yz"]), kept);
        let by_one: Vec<String> = ('a'..='z').map(String::from).collect();
        let by_one: Vec<&str> = by_one.iter().map(String::as_str).collect();
        assert_eq!(captured(6, &by_one), kept);
    }

    #[test]
    fn keeping_nothing_counts_everything() {
        assert_eq!(captured(0, &["abc"]), (String::new(), 3, String::new()));
    }
}
