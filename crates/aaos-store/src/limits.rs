//! Every bound of this room in one place.

/// Appends and bodies that wait for the writer; the next caller waits until there is room.
pub const QUEUE_MAX: usize = 1_024;

/// Most events in one append.
pub const APPEND_EVENTS_MAX: usize = 10_000;

/// Largest body of one event, in bytes of JSON. What is larger belongs in a blob.
pub const EVENT_BYTES_MAX: usize = 16 << 20;

/// Most events in one transaction, unless a single append brings more.
pub const BATCH_EVENTS_MAX: usize = 4_096;

/// Most bytes of bodies in one transaction, unless a single item brings more.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// Batches that wait for the disk's confirmation while the writer goes on; then the writer waits too.
pub const SYNC_QUEUE_MAX: usize = 4_096;

/// Recent events kept in memory for watchers, unless the options say otherwise.
pub const TAIL_EVENTS_MAX: usize = 4_096;

/// Most bytes of bodies among the recent events kept in memory.
pub const TAIL_BYTES_MAX: usize = 8 << 20;

/// Most events a watcher holds at once.
pub const WATCH_EVENTS_MAX: usize = 256;

/// Connections that read at the same time, unless the options say otherwise.
pub const READERS_MAX: usize = 4;

/// Largest body in the blob store, in bytes.
pub const BLOB_BYTES_MAX: usize = 64 << 20;

/// Bodies up to this size, in bytes, share the events' transaction and sync; larger ones are files.
/// Measured in `docs/decisions/0004-journal.md`.
pub const BLOB_INLINE_BYTES_MAX: usize = 64 << 10;

/// Most bodies that wait for the first event that names them. Each agent at work has one at most; the rest is for those
/// whose agent was stopped before it could name them.
pub const PENDING_BODIES_MAX: usize = 64;

/// Most bytes of such bodies.
pub const PENDING_BYTES_MAX: usize = 2 << 20;

/// Wait between two attempts to empty the log of what was erased while another program reads it, in milliseconds.
pub const FOLD_PAUSE_MS: u64 = 100;

/// Such attempts: together they outlast a reader's longest chunk, and keep whoever asked for some seconds.
pub const FOLD_TRIES_MAX: u32 = 50;

/// Most forks of forks that are followed to the run whose past an open one goes on from.
pub const FORKS_FOLLOWED_MAX: usize = 64;

/// Events at the end of the journal whose chain is checked whenever it is opened.
pub const OPEN_CHECK_EVENTS: u64 = 1_024;

/// Pages of the write-ahead log after which it is moved into the database; a page has 4096 bytes.
pub const WAL_PAGES: u64 = 4_000;

/// Pages the writer keeps in memory, in KiB: the ends of every index that events are added to.
pub const WRITER_CACHE_KIB: u32 = 16 << 10;

/// Longest wait for another connection's lock, in milliseconds.
pub const BUSY_MS: u64 = 5_000;

/// Least room on the disk, in bytes, with which new work is still accepted; what is under way needs it to end well.
/// A run's events and bodies take some MiB; this is room for a few, and for the log.
pub const HEADROOM_BYTES_MIN: u64 = 64 << 20;

/// Least room on the disk as a part of its size: one part in so many. The lesser of the two bounds counts, so that
/// a small disk is not refused for being small.
pub const HEADROOM_PARTS: u64 = 100;

/// Bodies just stored that erasure leaves alone unless an event speaks of them since; the oldest are forgotten.
pub const PUTS_KEPT_MAX: usize = 4_096;

/// Runs whose time has come that are looked for at once: the journal is searched once for all of them.
pub const EXPIRED_RUNS_MAX: usize = 4_096;

/// Bodies after which no further run is added to a search for what is to be erased; remembering one takes some
/// tens of bytes. A run has some ten, so that all the runs named at once usually fit.
pub const ERASE_BODIES_MAX: usize = 65_536;

/// Bytes of an event's JSON that the journald sink sends; a longer one is cut and says so. With the other fields it
/// fits into the 208 KiB that a datagram socket buffers by default on Linux.
pub const JOURNALD_EVENT_BYTES_MAX: usize = 48 << 10;

/// Longest wait for journald to take one datagram, in milliseconds.
pub const JOURNALD_SEND_MS: u64 = 5_000;

/// Largest file beside the journal that holds a key or a signed head, in bytes.
pub const NOTARY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Damaged and missing bodies that a report names; the others are only counted.
pub const REPORT_NAMES_MAX: usize = 32;

/// Most events handed to a sink at once.
pub const SINK_BATCH_EVENTS_MAX: usize = 256;

/// First wait after a sink failed, in milliseconds; doubles up to [`SINK_RETRY_MS_MAX`].
pub const SINK_RETRY_MS_MIN: u64 = 100;

/// Longest wait after a sink failed, in milliseconds.
pub const SINK_RETRY_MS_MAX: u64 = 30_000;

/// Largest role file, in bytes.
pub const ROLE_FILE_BYTES_MAX: u64 = 256 << 10;

/// Most files looked at in one directory of roles.
pub const ROLE_FILES_MAX: usize = 1_024;
