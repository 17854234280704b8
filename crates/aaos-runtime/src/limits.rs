//! Every maximum of this room, by name.

use aaos_core::time::Span;

/// Longest goal, in bytes: a few pages of prose. Longer material belongs in a file that the goal names.
pub const GOAL_BYTES_MAX: usize = 64 * 1024;

/// How often a planner is asked for one plan: the first time and two repairs.
pub(crate) const PLAN_ATTEMPTS_MAX: u32 = 3;

/// How often a run is planned again after subtasks failed.
pub(crate) const REPLANS_MAX: u32 = 3;

/// Tool calls of one reply that run at the same time.
pub(crate) const CALLS_PARALLEL_MAX: usize = 8;

/// How much longer a worker may take to say that a call ran out of time.
pub(crate) const ANSWER_SLACK: Span = Span::from_secs(5);

/// How long a call that changes something may go on after a stop was asked for.
pub(crate) const STOP_GRACE: Span = Span::from_secs(5);

/// Most bytes of a tool's output that a model is shown; the whole is in the blob store.
pub(crate) const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of arguments, outputs and replies shown in events.
pub(crate) const PREVIEW_BYTES_MAX: usize = 200;

/// Bytes of a planner's refused answer shown in events and failures.
pub(crate) const REPLY_PREVIEW_BYTES_MAX: usize = 600;

/// The same call this often is answered with a warning beside the result.
pub(crate) const REPEAT_WARN_AT: u32 = 3;

/// The same call this often is refused.
pub(crate) const REPEAT_REFUSE_AT: u32 = 6;

/// Refused repeats after which the agent is taken to be stuck.
pub(crate) const REPEAT_REFUSALS_MAX: u32 = 3;

/// Tokens a planner may write; a subtask takes about sixty.
pub(crate) const PLAN_TOKENS_MAX: u32 = 16_384;

/// Tokens a summary may have.
pub(crate) const SUMMARY_TOKENS_MAX: u32 = 2_048;

/// Connections out of one call that are recorded one by one; a page with redirects makes a handful.
pub(crate) const CONNECTIONS_RECORDED_MAX: usize = 64;

/// Bytes of each text of a connection's event; longer addresses tell an operator nothing more.
pub(crate) const CONNECTION_TEXT_BYTES_MAX: usize = 512;

/// Workers that are told at the same time what is left to their agents.
pub(crate) const NARROWINGS_PARALLEL_MAX: usize = 64;

/// Runs that may go on at once; each costs some tens of kilobytes.
pub const RUNS_OPEN_MAX: usize = 4_096;

/// Of those, one operator's where several share a daemon: parked runs stay open for days, and must not fill it.
pub const RUNS_OF_ONE_MAX: usize = RUNS_OPEN_MAX / 2;

/// Finished runs kept in memory for `list`; older ones are read from the journal by id.
pub(crate) const RUNS_REMEMBERED_MAX: usize = 10_000;

/// Events read from the journal at a time.
pub(crate) const EVENTS_PAGE: usize = 4_096;

/// Times one call is performed again after its worker was lost under it. More losses are the call's own doing.
pub(crate) const REPEATS_AFTER_LOSS_MAX: u32 = 3;

/// Workers of one agent that are replaced after their backend gave them up.
pub(crate) const WORKERS_LOST_MAX: u32 = 3;

/// Longest a tool may look at what a call would do, or whether it happened.
pub(crate) const QUESTION_MAX: Span = Span::from_secs(30);

/// Longest a preview may take; a person is waiting to be asked.
pub(crate) const PREVIEW_MAX: Span = Span::from_secs(10);

/// Longest the bell may take for one act.
pub(crate) const BELL_MAX: Span = Span::from_secs(30);

/// Events read at a time to see whether a run got further: the first few mostly say so.
pub(crate) const EVENTS_LOOKED_AT: usize = 16;

/// How often in a row a run is taken up again without getting further, unless it waits for the operator. More, and it is
/// the run that brings the daemon down.
pub(crate) const RECOVERIES_MAX: u32 = 100;

/// How long whoever asks for a run that is being put together again waits for it; a long record takes a second.
pub(crate) const RECOVERY_WAIT_MAX: Span = Span::from_secs(10);

/// First and longest wait before a run is taken up again after the journal took nothing; doubles in between.
pub(crate) const RETAKE_WAIT_MIN: Span = Span::from_secs(1);
pub(crate) const RETAKE_WAIT_MAX: Span = Span::from_secs(30);

/// Runs that are put together again at the same time; each reads its whole record once.
pub(crate) const RECOVERIES_PARALLEL_MAX: usize = 4;

/// Runs whose recovery is announced in one append.
pub(crate) const RECOVERIES_APPENDED_MAX: usize = 1_024;

/// Events of a run that is replayed or forked: they are held in memory, about a kilobyte each.
pub(crate) const EVENTS_REPLAYED_MAX: usize = 250_000;

/// Records held whole at the same time; further replays and forks wait their turn.
pub(crate) const RECORDS_HELD_MAX: usize = 2;

/// Longest a replay goes on without deciding anything before it is taken to have come as far as it comes: it waits for
/// nothing but its record.
pub(crate) const REPLAY_QUIET_MAX: Span = Span::from_secs(10);

/// Longest a replay that has come to its end may take to put its agents away.
pub(crate) const REPLAY_UNWIND_MAX: Span = Span::from_secs(30);

/// Forks of forks whose agent's conversation is handed down from one to the next; each is read whole.
pub(crate) const FORKS_CHAINED_MAX: usize = 16;
