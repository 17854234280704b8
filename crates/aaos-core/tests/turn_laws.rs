//! Laws of the turn, of context selection and of the repeat guard: they hold for any sequence of inputs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aaos_core::{
    agent::{
        context,
        repeat::{Repeat, Verdict},
        turn::{Effect, Input, Silence, Turn},
    },
    failure::Failure,
    model::{Arguments, Block, Message, Reply, Stop, ToolCall, ToolResult, Usage},
    role::RoleLimits,
};
use proptest::prelude::*;

fn call(number: u8) -> ToolCall {
    ToolCall {
        id: number.to_string(),
        name: "echo".to_owned(),
        input: Arguments::Malformed(String::new()),
    }
}

fn result(number: u8) -> ToolResult {
    ToolResult {
        id: number.to_string(),
        name: "echo".to_owned(),
        text: "x".to_owned(),
        is_error: false,
    }
}

fn block() -> impl Strategy<Value = Block> {
    prop_oneof![
        prop_oneof![
            Just(String::new()),
            Just("CANNOT: no".to_owned()),
            any::<String>()
        ]
        .prop_map(|text| Block::Text { text }),
        any::<u8>().prop_map(|number| Block::ToolCall(call(number))),
        any::<String>().prop_map(|text| Block::Reasoning {
            text,
            signature: None
        }),
    ]
}

prop_compose! {
    fn reply()(
        blocks in prop::collection::vec(block(), 0..4),
        stop in prop_oneof![3 => Just(Stop::EndTurn), 4 => Just(Stop::ToolUse), 1 => Just(Stop::OutputLimit), 1 => Just(Stop::Refusal)],
    ) -> Reply {
        Reply { blocks, stop, usage: Usage::default(), model: String::new() }
    }
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        1 => Just(Input::Begin),
        6 => reply().prop_map(Input::Reply),
        1 => Just(Input::ModelFailed(Failure::Withheld)),
        4 => prop::collection::vec(any::<u8>(), 0..4).prop_map(|numbers| Input::ToolsDone(numbers.into_iter().map(result).collect())),
        2 => Just(Input::OutputPresent),
        2 => Just(Input::OutputMissing { declared: "o".to_owned(), found: "f".to_owned() }),
        1 => Just(Input::Stop(Failure::Stopped)),
    ]
}

fn limits() -> impl Strategy<Value = RoleLimits> {
    (0_u32..6, 0_u32..4).prop_map(|(turns_max, nudges_max)| RoleLimits {
        turns_max,
        nudges_max,
        ..RoleLimits::default()
    })
}

/// Whether every assistant message with calls is followed by exactly their results, and no results stand alone.
fn is_whole(messages: &[Message]) -> bool {
    let calls_of = |message: &Message| match message {
        Message::Assistant { blocks } => {
            let ids = blocks.iter().filter_map(|block| {
                if let Block::ToolCall(call) = block {
                    Some(call.id.clone())
                } else {
                    None
                }
            });
            ids.collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    messages
        .iter()
        .enumerate()
        .all(|(position, message)| match message {
            Message::Tools { results } => {
                let ids: Vec<String> = results.iter().map(|result| result.id.clone()).collect();
                position > 0 && calls_of(&messages[position - 1]) == ids && !ids.is_empty()
            }
            message => {
                calls_of(message).is_empty()
                    || matches!(messages.get(position + 1), Some(Message::Tools { .. }))
            }
        })
}

proptest! {
    #[test]
    fn any_sequence_of_inputs_is_survived_and_nothing_follows_the_finish(
        limits in limits(), inputs in prop::collection::vec(input(), 0..60),
    ) {
        let mut turn = Turn::new(&limits, "task".to_owned());
        let mut over = false;
        for input in inputs {
            let effects = turn.step(input);
            prop_assert!(effects.len() <= 1);
            prop_assert!(!over || effects.is_empty());
            over |= matches!(effects.first(), Some(Effect::Finish(_)));
            prop_assert!(turn.turns() <= limits.turns_max + limits.nudges_max);
            if effects.first() == Some(&Effect::AskModel) {
                prop_assert!(is_whole(turn.messages()), "a call without its results is sent to a model");
            }
        }
    }

    #[test]
    fn a_turn_that_is_answered_ends_within_its_turns_and_nudges(
        limits in limits(), replies in prop::collection::vec(reply(), 1..8), delivered in prop::collection::vec(any::<bool>(), 1..8),
        silent in any::<bool>(),
    ) {
        let silence = if silent { Silence::IsEnough } else { Silence::SaysNothing };
        let mut turn = Turn::new(&limits, "task".to_owned()).with_silence(silence);
        let mut effects = turn.step(Input::Begin);
        let mut asked = 0_usize;
        let mut checked = 0_usize;
        let finish = loop {
            let next = match effects.pop().unwrap() {
                Effect::AskModel => {
                    asked += 1;
                    Input::Reply(replies[asked % replies.len()].clone())
                }
                Effect::CallTools(calls) => Input::ToolsDone(calls.iter().map(|_| result(0)).collect()),
                Effect::CheckOutput => {
                    checked += 1;
                    if delivered[checked % delivered.len()] {
                        Input::OutputPresent
                    } else {
                        Input::OutputMissing { declared: "o".to_owned(), found: "f".to_owned() }
                    }
                }
                Effect::Finish(finish) => break finish,
            };
            effects = turn.step(next);
        };
        prop_assert!(asked <= (limits.turns_max + limits.nudges_max) as usize);
        prop_assert!(finish.is_err() || checked > 0, "success without a look at the output");
    }

    #[test]
    fn selection_keeps_the_task_the_newest_and_every_call_with_its_results(
        groups in prop::collection::vec((0_usize..2, 0_usize..600, 0_usize..600), 0..20), tokens_max in 0_u64..2_000,
    ) {
        let mut messages = vec![Message::User { text: "task".to_owned() }];
        for (kind, bytes, result_bytes) in groups {
            if kind == 0 {
                messages.push(Message::User { text: "x".repeat(bytes) });
            } else {
                let mut call = call(1);
                call.input = Arguments::Malformed("x".repeat(bytes));
                messages.push(Message::Assistant { blocks: vec![Block::ToolCall(call)] });
                let result = ToolResult { text: "x".repeat(result_bytes), ..result(1) };
                messages.push(Message::Tools { results: vec![result] });
            }
        }
        prop_assume!(is_whole(&messages));
        let Some(range) = context::oldest_to_summarise(&messages, tokens_max) else {
            return Ok(());
        };
        prop_assert!(context::tokens(&messages) > tokens_max);
        prop_assert!(range.start == 1 && range.end < messages.len() && !range.is_empty());
        for left in [context::compact(&messages, range.clone(), "s"), context::drop_oldest(&messages, range)] {
            prop_assert_eq!(left.first(), messages.first());
            prop_assert_eq!(left.last(), messages.last());
            prop_assert!(is_whole(&left));
            prop_assert!(left.len() < messages.len());
        }
    }

    #[test]
    fn any_range_is_survived_and_the_task_stays(count in 0_usize..6, start in 0_usize..9, end in 0_usize..9) {
        let messages: Vec<Message> = (0..count).map(|number| Message::User { text: number.to_string() }).collect();
        let left = context::drop_oldest(&messages, start..end);
        prop_assert_eq!(left.first(), messages.first());
    }

    #[test]
    fn a_repeated_call_is_refused_at_the_latest_when_it_must_be(
        calls in prop::collection::vec(0_u8..3, 0..60), warn_at in 1_u32..5, more in 0_u32..5,
    ) {
        let mut repeat = Repeat::new(warn_at, warn_at + more);
        let mut counts = [0_u32; 3];
        for call in calls {
            counts[call as usize] += 1;
            let times = counts[call as usize];
            let expected = if times >= warn_at + more {
                Verdict::Refuse(times)
            } else if times >= warn_at {
                Verdict::Warn(times)
            } else {
                Verdict::Fine
            };
            prop_assert_eq!(repeat.seen("t", &call.to_string()), expected);
        }
    }
}
