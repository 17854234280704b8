//! The beginning of an id: which of several things is meant. One set of words for runs, acts and grants.
//!
//! Nothing is guessed: what fits several is answered with candidates, what fits none with where to look.

use super::{Fault, FaultKind};
use crate::limits::CANDIDATES_MAX;
use aaos_core::text::preview;

/// Bytes of what was given that are shown again.
const SHOWN_BYTES: usize = 64;

/// An id or the beginning of one, as somebody gave it, and what it is to name.
pub(super) struct Beginning<'a> {
    /// With the prefix or without; in small letters or capital ones.
    pub(super) text: &'a str,
    /// What the ids begin with, before the dash.
    pub(super) prefix: &'static str,
    /// What one such thing is called, and several.
    pub(super) called: [&'a str; 2],
    /// Where to look if none fits.
    pub(super) next_step: &'a str,
}

impl Beginning<'_> {
    /// The only one of these whose id begins so. `about` tells a thing's id, and for candidates what else it is.
    pub(super) fn only<T>(
        &self,
        things: impl IntoIterator<Item = T>,
        about: impl Fn(&T) -> (String, String),
    ) -> Result<T, Fault> {
        let prefix = format!("{}-", self.prefix);
        let digits = self.text.strip_prefix(&prefix).unwrap_or(self.text);
        let beginning = format!("{prefix}{}", digits.to_ascii_lowercase());
        let fits = |thing: &T| !self.text.is_empty() && about(thing).0.starts_with(&beginning);
        let mut fitting: Vec<T> = things.into_iter().filter(fits).collect();
        let ([one, several], shown) = (self.called, preview(self.text, SHOWN_BYTES));
        if fitting.len() > 1 {
            let line = |(id, rest): (String, String)| format!("{id}  {rest}");
            let candidates = fitting.iter().map(about).map(line);
            let problem = format!("several {several} have an id that begins with `{shown}`");
            return Err(Fault {
                candidates: candidates.take(CANDIDATES_MAX).collect(),
                ..Fault::new(FaultKind::Unknown, problem, "Give more of it")
            });
        }
        fitting.pop().ok_or_else(|| {
            let problem = match shown.as_str() {
                "" => format!("no {one} is named"),
                _ => format!("no {one} has an id that begins with `{shown}`"),
            };
            Fault::new(FaultKind::Unknown, problem, self.next_step)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;
    use aaos_core::id::RunId;

    fn only(text: &str, runs: &[RunId]) -> Result<RunId, Fault> {
        let beginning = Beginning {
            text,
            prefix: RunId::PREFIX,
            called: ["run", "runs"],
            next_step: "`agentd list` shows the runs there are",
        };
        beginning.only(runs.iter().copied(), |run| {
            (run.to_string(), "its goal".to_owned())
        })
    }

    #[test]
    fn a_thing_is_named_by_the_beginning_that_is_its_alone_in_any_case_with_prefix_or_without() {
        let runs = [RunId::from_drawn(7), RunId::from_drawn(7 << 60)];
        let whole = runs[1].to_string();
        let bare = whole.strip_prefix("run-").unwrap();
        for text in [&whole, bare, &bare[..3], &bare.to_ascii_uppercase()] {
            assert_eq!(only(text, &runs), Ok(runs[1]), "{text}");
        }
    }

    #[test]
    fn a_beginning_that_several_share_is_answered_with_some_of_them() {
        let runs: Vec<RunId> = (0..99).map(RunId::from_drawn).collect();
        let fault = only("run-", &runs).unwrap_err();
        assert_eq!(fault.kind(), Some(FaultKind::Unknown));
        assert_eq!(fault.candidates.len(), CANDIDATES_MAX);
        assert_eq!(fault.candidates[0], format!("{}  its goal", runs[0]));
    }

    #[test]
    fn a_beginning_that_nothing_has_is_told_where_to_look() {
        for text in ["", "zzzz", "grant-7", "run-run-"] {
            let fault = only(text, &[RunId::from_drawn(7)]).unwrap_err();
            assert_eq!(fault.kind(), Some(FaultKind::Unknown), "{text}");
            assert!(fault.candidates.is_empty() && fault.next_step.contains("agentd list"));
            assert_eq!(fault.problem == "no run is named", text.is_empty());
        }
    }
}
