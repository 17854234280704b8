//! Every bound of the daemon's side of a worker, in one place.

use std::time::Duration;

/// Most workers kept ready, whatever the operator asks for: each holds a process and two descriptors.
pub const POOL_MAX: usize = 64;
/// Longest that the processes of a daemon that is gone are waited for. They are killed at once and gone within
/// milliseconds; one that waits for a slow disk needs longer.
pub(super) const GUARD_WITHIN: Duration = Duration::from_secs(10);
/// Longest the launcher has to say that it is there. It starts in a few milliseconds; a swamped machine needs longer.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Longest a worker has to be cloned and staged, and again to confine itself. Both take a millisecond or two.
pub(super) const LAUNCH_WITHIN: Duration = Duration::from_secs(10);
/// Most attempts at one launch: a worker, launcher or broker that died under it says nothing of the next one. As many as
/// somebody who kills processes at random, several each second, does not hit in a row; one that cannot start at all is
/// told within a second or two.
pub(super) const LAUNCH_ATTEMPTS_MAX: usize = 10;
/// Most times one agent's lost worker is replaced. More losses are the agent's own doing.
pub(super) const REPLACEMENTS_MAX: u32 = 3;
/// Most times one call moves on to another worker, because the one it waited for ended before it began.
pub(super) const MOVES_MAX: usize = 16;
/// Longest past a call's deadline, or past its cancellation, that its answer is waited for.
/// The worker ends the call itself; killing the programs it started takes some milliseconds.
pub(super) const ANSWER_SLACK: Duration = Duration::from_secs(3);
/// Longest a worker has to answer that what was revoked is out of its reach.
pub(super) const NARROW_WITHIN: Duration = Duration::from_secs(2);
/// Longest until the end of the egress broker is noticed once a worker has found it gone. It is a matter of microseconds.
pub(super) const NOTICED_WITHIN: Duration = Duration::from_secs(1);
/// Longest a worker may leave what was sent to it unread.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes waiting to be sent beyond which nothing more is read from a worker.
pub(super) const OUTBOX_BYTES_HIGH: usize = 1 << 20;
/// Bytes asked of a line at once, and kept of its buffer when it is empty.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Most questions of one worker that are open: one per call, with room for threads that hurry.
pub(super) const ASKS_MAX: usize = 16;
/// Most file acts of one worker at once.
pub(super) const ACTS_MAX: usize = 4;
/// Most file acts of all workers at once. Each holds a thread.
pub(super) const ACTS_ALL_MAX: usize = 64;
/// Most entries of one listing; a tool's own limit is far below.
pub(super) const LIST_ENTRIES_MAX: usize = 100_000;
/// Longest answer of a tool, in bytes of JSON: many times what the runtime passes on to a model.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest answer that is read where it arrives. A longer one takes milliseconds, and a thread that may block.
pub(super) const ANSWER_BYTES_SHORT: usize = 64 * 1024;
/// Most long answers of all workers that are read at once: as values they take many times the room of their text.
pub(super) const ANSWERS_LONG_MAX: usize = 2;
/// Most bytes of an error from a worker that are passed on whole.
pub(super) const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Longest that a killed process and the file acts done for it are waited for.
pub(super) const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of a text that came from a worker and is shown to operators.
pub(super) const WORDS_BYTES_MAX: usize = 1024;
