//! Every maximum of the daemon's front door, in one place.

use std::time::Duration;

/// Longest request line, in bytes: thirty times the longest goal, so that a goal that is too long is told so.
pub(crate) const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest line of an answer that the command line takes, in bytes: the view of a run of ten thousand subtasks.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections at the same time; a person at a shell has a handful.
pub(crate) const CONNECTIONS_MAX: usize = 128;
/// Of those, one operator's where several share a daemon.
pub(crate) const CONNECTIONS_OF_ONE_MAX: usize = CONNECTIONS_MAX / 2;
/// Requests in flight on one connection.
pub(crate) const IN_FLIGHT_MAX: usize = 32;
/// Lines waiting to be written to one connection before its requests wait.
pub(crate) const OUTBOX_LINES_MAX: usize = 256;
/// Longest time a half request may wait for its other half.
pub(crate) const HALF_REQUEST_TIME: Duration = Duration::from_secs(30);
/// Longest time a connection may be silent with nothing in flight.
pub(crate) const SILENCE_TIME: Duration = Duration::from_secs(300);
/// Longest time a peer may take to read one line.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(30);
/// Most runs of a caller that are looked through for the beginning of an id, and that `run.list` answers with.
pub(crate) const RUNS_LISTED_MAX: usize = 1_000;
/// Most runs that are looked through for those that are a caller's, or open: more than the runtime keeps in hand.
pub(crate) const RUNS_KNOWN_MAX: usize = 16_384;
/// Most candidates that an ambiguous id is answered with.
pub(crate) const CANDIDATES_MAX: usize = 8;
/// Time runs are given to reach a safe point when the daemon ends.
pub(crate) const DRAIN_TIME: aaos_core::time::Span = aaos_core::time::Span::from_secs(5);
/// Longest wait for a daemon that was just started: its start is some tens of milliseconds.
pub(crate) const START_TIME: Duration = Duration::from_secs(10);
/// Longest wait for a daemon that was told to stop: the time runs are given, and as much again.
pub(crate) const STOP_TIME: Duration = Duration::from_secs(15);
/// Longest wait for a daemon's answer to a question that asks nobody else.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Longest wait for one model's probe.
pub(crate) const PROBE_TIME: Duration = Duration::from_secs(20);
/// Size at which the log of a daemon started on demand is set aside at its next start.
pub(crate) const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
