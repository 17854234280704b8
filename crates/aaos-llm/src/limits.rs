//! Every limit of this room, with its unit and where it comes from.

use std::time::Duration;

/// Longest line of an event stream, in bytes. A line carries one event; the largest real ones hold a whole tool
/// call's arguments, some hundred kilobytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Most bytes one reply may take on the wire. A token takes about 300 bytes as an event, so this is some
/// 200 000 tokens, more than any model writes in one reply.
pub const REPLY_WIRE_BYTES_MAX: usize = 64 << 20;

/// Most bytes of text, thought and arguments kept of one reply: four bytes a token at twice the tokens of the
/// longest replies.
pub const REPLY_BYTES_MAX: usize = 2 << 20;

/// Most tool calls in one reply. Models ask for a few at once; a hundred is already a malfunction.
pub const TOOL_CALLS_MAX: usize = 128;

/// Most parts in one reply: texts, thoughts and calls.
pub const PARTS_MAX: usize = 1_024;

/// Most bytes read of an answer that reports a failure.
pub const ERROR_BODY_BYTES_MAX: usize = 64 << 10;

/// Most bytes read of a list of models. The longest public list holds some hundred kilobytes.
pub const MODEL_LIST_BYTES_MAX: usize = 8 << 20;

/// Most models kept of such a list.
pub const MODELS_LISTED_MAX: usize = 4_096;

/// Longest wait for the rest of an answer whose beginning already said that it failed.
pub const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// Longest wait for a connection to be handed back after a reply has ended.
pub const DRAIN_WAIT: Duration = Duration::from_millis(200);

/// Most bytes of a name: a model's in its own reply, a call's identity.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest tool name both dialects accept, in bytes. Source: OpenAI's function names (Anthropic allows 128).
pub const WIRE_NAME_BYTES_MAX: usize = 64;

/// Most bytes of a script of replies.
pub const SCRIPT_BYTES_MAX: usize = 64 << 20;

/// Most entries of a script of replies.
pub const SCRIPT_ENTRIES_MAX: usize = 100_000;

/// Longest delay a script may ask for, in milliseconds.
pub const SCRIPT_DELAY_MS_MAX: u64 = 3_600_000;

/// Most bytes of a price file.
pub const PRICE_FILE_BYTES_MAX: usize = 1 << 20;
