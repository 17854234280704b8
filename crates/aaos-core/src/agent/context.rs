//! Which earlier messages make room when a conversation has grown too long.
//!
//! The first message is the task and always stays. A tool call and its results stay or go together, because providers
//! refuse one without the other. The newest exchange stays.

use crate::model::Message;
use std::ops::Range;

/// What is left should fill at most this share of the room, in percent, so that making room is not needed again at
/// once.
const LEFT_PERCENT: u64 = 60;
/// Bytes a token stands for, at least; the same measure by which requests are estimated.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens a message costs beside its text.
const TOKENS_PER_MESSAGE: u64 = 8;
/// Fewest messages that are worth a summary; one alone may be the last summary.
const MESSAGES_MIN: usize = 2;

/// How many tokens these messages take, generously estimated.
#[must_use]
pub fn tokens(messages: &[Message]) -> u64 {
    messages
        .iter()
        .map(message_tokens)
        .fold(0, u64::saturating_add)
}

fn message_tokens(message: &Message) -> u64 {
    (message.bytes() as u64)
        .div_ceil(BYTES_PER_TOKEN)
        .saturating_add(TOKENS_PER_MESSAGE)
}

/// The oldest messages that must give way for the conversation to fit in `tokens_max`; none if it fits, or if there is
/// nothing that may go.
#[must_use]
pub fn oldest_to_summarise(messages: &[Message], tokens_max: u64) -> Option<Range<usize>> {
    let mut left = tokens(messages);
    if left <= tokens_max {
        return None;
    }
    let goal = tokens_max / 100 * LEFT_PERCENT + tokens_max % 100 * LEFT_PERCENT / 100;
    let newest = newest_exchange(messages);
    let mut end = 1;
    for (position, message) in messages.iter().enumerate().take(newest).skip(1) {
        if left <= goal && !matches!(message, Message::Tools { .. }) {
            break;
        }
        left = left.saturating_sub(message_tokens(message));
        end = position + 1;
    }
    (end > MESSAGES_MIN).then_some(1..end)
}

/// Where the newest exchange begins: the last message that is no tool result.
fn newest_exchange(messages: &[Message]) -> usize {
    messages
        .iter()
        .rposition(|message| !matches!(message, Message::Tools { .. }))
        .unwrap_or(0)
}

/// The conversation with a summary in the place of `range`.
#[must_use]
pub fn compact(messages: &[Message], range: Range<usize>, summary: &str) -> Vec<Message> {
    let text = format!("[Summary of the earlier conversation, made to save room]\n{summary}");
    without(messages, range, text)
}

/// The conversation without `range`, for when no summary can be had.
#[must_use]
pub fn drop_oldest(messages: &[Message], range: Range<usize>) -> Vec<Message> {
    let count = within(messages, &range).len();
    let text = format!("[{count} earlier messages were left out to save room]");
    without(messages, range, text)
}

fn within(messages: &[Message], range: &Range<usize>) -> Range<usize> {
    let start = range.start.clamp(1, messages.len().max(1));
    start..range.end.clamp(start, messages.len().max(start))
}

fn without(messages: &[Message], range: Range<usize>, note: String) -> Vec<Message> {
    let range = within(messages, &range);
    let before = messages.get(..range.start).unwrap_or(messages);
    let after = messages.get(range.end..).unwrap_or(&[]);
    let mut left = before.to_vec();
    if !range.is_empty() {
        left.push(Message::User { text: note });
    }
    left.extend_from_slice(after);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arguments, Block, ToolCall, ToolResult};

    fn user(bytes: usize) -> Message {
        Message::User {
            text: "x".repeat(bytes),
        }
    }

    fn calls(bytes: usize) -> Message {
        let input = Arguments::Malformed("x".repeat(bytes));
        Message::Assistant {
            blocks: vec![Block::ToolCall(ToolCall {
                id: "1".to_owned(),
                name: "t".to_owned(),
                input,
            })],
        }
    }

    fn results(bytes: usize) -> Message {
        let text = "x".repeat(bytes);
        Message::Tools {
            results: vec![ToolResult {
                id: "1".to_owned(),
                name: "t".to_owned(),
                text,
                is_error: false,
            }],
        }
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(
            oldest_to_summarise(&[user(30), calls(30), results(30)], 1_000),
            None
        );
        assert_eq!(oldest_to_summarise(&[], 0), None);
    }

    #[test]
    fn the_oldest_go_and_the_task_stays() {
        let messages = [
            user(300),
            calls(3_000),
            results(3_000),
            calls(30),
            results(30),
        ];
        assert_eq!(oldest_to_summarise(&messages, 1_000), Some(1..3));
    }

    #[test]
    fn a_call_never_loses_its_results() {
        let messages = [user(30), calls(3_000), results(30), calls(30), results(30)];
        assert_eq!(oldest_to_summarise(&messages, 900), Some(1..3));
    }

    #[test]
    fn the_newest_exchange_stays_however_large() {
        assert_eq!(
            oldest_to_summarise(&[user(30), calls(9_000), results(9_000)], 100),
            None
        );
        let messages = [
            user(30),
            calls(30),
            results(30),
            calls(9_000),
            results(9_000),
        ];
        assert_eq!(oldest_to_summarise(&messages, 100), Some(1..3));
    }

    #[test]
    fn a_summary_is_not_summarised_alone() {
        assert_eq!(
            oldest_to_summarise(&[user(30), user(3_000), calls(9), results(9)], 100),
            None
        );
    }

    #[test]
    fn a_summary_stands_where_the_messages_were() {
        let messages = [user(1), user(2), user(3), user(4)];
        let left = compact(&messages, 1..3, "they talked");
        assert_eq!(left.len(), 3);
        assert!(matches!(&left[1], Message::User { text } if text.ends_with("they talked")));
        let dropped = drop_oldest(&messages, 1..3);
        assert!(matches!(&dropped[1], Message::User { text } if text.starts_with("[2 earlier")));
    }

    #[test]
    fn a_range_out_of_bounds_takes_neither_the_task_nor_a_panic() {
        let messages = [user(1), user(2)];
        for range in [0..9, 5..9, 1..1, 0..0] {
            assert_eq!(
                drop_oldest(&messages, range.clone()).first(),
                messages.first(),
                "{range:?}"
            );
        }
        assert_eq!(compact(&[], 0..3, "s"), []);
    }
}
