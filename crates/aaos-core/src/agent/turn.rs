//! An agent's turns with its model, as a closed set of cases.
//!
//! A machine. It is told what the model said and what the tools gave, and answers what to do next. It asks nobody,
//! waits for nothing, and always ends: after `turns_max` requests and one for each nudge. An agent succeeds only by
//! saying that it has finished while its declared output is there.
//!
//! ```
//! # use aaos_core::{agent::turn::{Effect, Input, Turn}, model::{Block, Reply, Stop, Usage}, role::RoleLimits};
//! let mut turn = Turn::new(&RoleLimits::default(), "Say hello.".to_owned());
//! assert_eq!(turn.step(Input::Begin), [Effect::AskModel]);
//! let blocks = vec![Block::Text { text: "Hello.".to_owned() }];
//! let reply = Reply { blocks, stop: Stop::EndTurn, usage: Usage::default(), model: String::new() };
//! assert_eq!(turn.step(Input::Reply(reply)), [Effect::CheckOutput]);
//! assert_eq!(turn.step(Input::OutputPresent), [Effect::Finish(Ok("Hello.".to_owned()))]);
//! ```

use crate::{
    failure::{Failure, LimitKind},
    model::{Block, Message, Reply, Stop, ToolCall, ToolResult},
    role::RoleLimits,
    text::preview,
};

/// Most tool calls of one reply that are made; the others are answered with an error.
pub const CALLS_PER_TURN_MAX: usize = 128;
/// Most bytes of an agent's own reason for giving up that are kept.
const REASON_BYTES_MAX: usize = 1_000;
/// What an answer begins with when the agent gives up.
pub const GAVE_UP: [&str; 2] = ["ERROR:", "CANNOT:"];

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The agent may start.
    Begin,
    /// The model answered.
    Reply(Reply),
    /// The model could not be asked.
    ModelFailed(Failure),
    /// The tool calls ended; one result per call, in order.
    ToolsDone(Vec<ToolResult>),
    /// The declared output is there.
    OutputPresent,
    /// The declared output is not there.
    OutputMissing {
        /// What was declared.
        declared: String,
        /// What was found instead.
        found: String,
    },
    /// The agent must end now.
    Stop(Failure),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the model, with the messages as they are.
    AskModel,
    /// Make these calls; together if they do not depend on order.
    CallTools(Vec<ToolCall>),
    /// See whether the declared output is there.
    CheckOutput,
    /// It is over; nothing follows. Its last words, or why it failed.
    Finish(Result<String, Failure>),
}

/// Whether an answer without words can be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// No: the words are the output.
    SaysNothing,
    /// Yes: the output is a file.
    IsEnough,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    New,
    Asking,
    Calling(Vec<ToolCall>),
    Checking(String),
    Over,
}

/// One agent's conversation with its model.
#[derive(Debug, Clone)]
pub struct Turn {
    state: State,
    messages: Vec<Message>,
    silence: Silence,
    turns: u32,
    turns_max: u32,
    nudges: u32,
    nudges_max: u32,
}

impl Turn {
    /// A conversation that begins with `message`, the task.
    #[must_use]
    pub fn new(limits: &RoleLimits, message: String) -> Self {
        Self {
            state: State::New,
            messages: vec![Message::User { text: message }],
            silence: Silence::SaysNothing,
            turns: 0,
            turns_max: limits.turns_max,
            nudges: 0,
            nudges_max: limits.nudges_max,
        }
    }

    /// The same, with its own answer to whether silence is enough.
    #[must_use]
    pub const fn with_silence(mut self, silence: Silence) -> Self {
        self.silence = silence;
        self
    }

    /// The conversation so far; never empty, and the first message is the task.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Puts a shorter conversation in the place of this one, as `context` makes it. An empty one is ignored.
    pub fn replace(&mut self, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.messages = messages;
        }
    }

    /// Model requests made.
    #[must_use]
    pub const fn turns(&self) -> u32 {
        self.turns
    }

    /// Takes what happened and answers what to do next. What cannot be true now is ignored.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match (std::mem::replace(&mut self.state, State::Over), input) {
            (State::Over, _) => Vec::new(),
            (_, Input::Stop(failure)) | (State::Asking, Input::ModelFailed(failure)) => {
                self.fail(failure)
            }
            (State::New, Input::Begin) => self.ask(),
            (State::Asking, Input::Reply(reply)) => self.reply(reply),
            (State::Calling(calls), Input::ToolsDone(results)) => self.tools_done(calls, results),
            (State::Checking(words), Input::OutputPresent) => self.delivered(words),
            (State::Checking(_), Input::OutputMissing { declared, found }) => {
                self.missing(declared, found)
            }
            (state, _) => {
                self.state = state;
                Vec::new()
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.state = State::Over;
        vec![Effect::Finish(Err(failure))]
    }

    /// Asks, unless all turns are used. A nudge brings one turn with it.
    fn ask(&mut self) -> Vec<Effect> {
        if self.turns >= self.turns_max.saturating_add(self.nudges) {
            return self.fail(Failure::Limit {
                kind: LimitKind::Turns,
                limit: u64::from(self.turns_max),
            });
        }
        self.turns = self.turns.saturating_add(1);
        self.state = State::Asking;
        vec![Effect::AskModel]
    }

    fn reply(&mut self, reply: Reply) -> Vec<Effect> {
        let words = reply.text();
        let calls: Vec<ToolCall> = reply.tool_calls().into_iter().cloned().collect();
        match reply.stop {
            Stop::OutputLimit => return self.fail(Failure::Truncated),
            Stop::Refusal => return self.fail(Failure::Withheld),
            Stop::EndTurn | Stop::ToolUse => self.remember(reply.blocks),
        }
        // Servers differ in what they call a stop for tools; the calls themselves say it.
        if !calls.is_empty() {
            return self.call(calls);
        }
        if let Some(reason) = gave_up(&words) {
            return self.fail(Failure::GaveUp { reason });
        }
        self.state = State::Checking(words);
        vec![Effect::CheckOutput]
    }

    fn remember(&mut self, blocks: Vec<Block>) {
        let says = |block: &Block| !matches!(block, Block::Text { text } if text.is_empty());
        let blocks: Vec<Block> = blocks.into_iter().filter(says).collect();
        if !blocks.is_empty() {
            self.messages.push(Message::Assistant { blocks });
        }
    }

    fn call(&mut self, calls: Vec<ToolCall>) -> Vec<Effect> {
        let made = calls.iter().take(CALLS_PER_TURN_MAX).cloned().collect();
        self.state = State::Calling(calls);
        vec![Effect::CallTools(made)]
    }

    /// Every call gets exactly one answer, or providers refuse the whole conversation.
    fn tools_done(&mut self, calls: Vec<ToolCall>, results: Vec<ToolResult>) -> Vec<Effect> {
        let mut results = results.into_iter();
        let answered = calls.into_iter().map(|call| match results.next() {
            Some(result) => ToolResult {
                id: call.id,
                name: call.name,
                ..result
            },
            None => not_made(call),
        });
        self.messages.push(Message::Tools {
            results: answered.collect(),
        });
        self.ask()
    }

    fn delivered(&mut self, words: String) -> Vec<Effect> {
        if words.trim().is_empty() && self.silence == Silence::SaysNothing {
            return self.missing(
                "an answer in words".to_owned(),
                "the last reply was empty".to_owned(),
            );
        }
        vec![Effect::Finish(Ok(words))]
    }

    fn missing(&mut self, declared: String, found: String) -> Vec<Effect> {
        if self.nudges >= self.nudges_max {
            return self.fail(Failure::OutputMissing { declared, found });
        }
        self.nudges += 1;
        self.messages.push(Message::User {
            text: nudge(&declared, &found),
        });
        self.ask()
    }
}

fn not_made(call: ToolCall) -> ToolResult {
    let text = format!(
        "this call was not made: one reply may hold at most {CALLS_PER_TURN_MAX} calls, and each needs its result"
    );
    ToolResult {
        id: call.id,
        name: call.name,
        text,
        is_error: true,
    }
}

fn nudge(declared: &str, found: &str) -> String {
    format!(
        "You ended, but what you are to deliver is not there: {declared} ({found}). Deliver it now. If you cannot, begin \
         your answer with `CANNOT:` and say what stands in the way."
    )
}

/// The reason, if these words say that the agent gives up.
fn gave_up(words: &str) -> Option<String> {
    let words = words.trim();
    let reason = GAVE_UP.iter().find_map(|sign| words.strip_prefix(sign))?;
    Some(preview(reason.trim(), REASON_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arguments, Usage};

    fn turn(turns_max: u32, nudges_max: u32) -> Turn {
        let mut turn = Turn::new(
            &RoleLimits {
                turns_max,
                nudges_max,
                ..RoleLimits::default()
            },
            "do it".to_owned(),
        );
        assert_eq!(turn.step(Input::Begin), [Effect::AskModel]);
        turn
    }

    fn call(id: &str) -> ToolCall {
        ToolCall {
            id: id.to_owned(),
            name: "echo".to_owned(),
            input: Arguments::Json(serde_json::json!({})),
        }
    }

    fn result(text: &str) -> ToolResult {
        ToolResult {
            id: "wrong".to_owned(),
            name: "wrong".to_owned(),
            text: text.to_owned(),
            is_error: false,
        }
    }

    fn reply(text: &str, calls: &[&str], stop: Stop) -> Input {
        let mut blocks = vec![Block::Text {
            text: text.to_owned(),
        }];
        blocks.extend(calls.iter().map(|id| Block::ToolCall(call(id))));
        Input::Reply(Reply {
            blocks,
            stop,
            usage: Usage::default(),
            model: String::new(),
        })
    }

    fn says(text: &str) -> Input {
        reply(text, &[], Stop::EndTurn)
    }

    fn missing() -> Input {
        Input::OutputMissing {
            declared: "o.md".to_owned(),
            found: "nothing".to_owned(),
        }
    }

    fn failed(failure: Failure) -> [Effect; 1] {
        [Effect::Finish(Err(failure))]
    }

    #[test]
    fn an_agent_calls_tools_and_finishes_with_its_last_words() {
        let mut turn = turn(9, 0);
        assert_eq!(
            turn.step(reply("", &["1", "2"], Stop::ToolUse)),
            [Effect::CallTools(vec![call("1"), call("2")])]
        );
        assert_eq!(
            turn.step(Input::ToolsDone(vec![result("a"), result("b")])),
            [Effect::AskModel]
        );
        assert_eq!(turn.step(says("done")), [Effect::CheckOutput]);
        assert_eq!(
            turn.step(Input::OutputPresent),
            [Effect::Finish(Ok("done".to_owned()))]
        );
        assert_eq!(turn.turns(), 2);
        assert_eq!(turn.messages().len(), 4);
    }

    #[test]
    fn a_correct_finish_costs_no_nudge() {
        let mut turn = turn(9, 2);
        turn.step(says("done"));
        assert_eq!(
            turn.step(Input::OutputPresent),
            [Effect::Finish(Ok("done".to_owned()))]
        );
        assert_eq!(turn.turns(), 1);
    }

    #[test]
    fn a_missing_output_is_named_to_the_model_and_then_fails() {
        let mut turn = turn(9, 1);
        turn.step(says("done"));
        assert_eq!(turn.step(missing()), [Effect::AskModel]);
        assert!(
            matches!(turn.messages().last(), Some(Message::User { text }) if text.contains("o.md"))
        );
        assert_eq!(turn.step(says("really done")), [Effect::CheckOutput]);
        let failure = Failure::OutputMissing {
            declared: "o.md".to_owned(),
            found: "nothing".to_owned(),
        };
        assert_eq!(turn.step(missing()), failed(failure));
    }

    #[test]
    fn all_turns_used_is_a_failure() {
        let mut turn = turn(2, 0);
        turn.step(reply("", &["1"], Stop::ToolUse));
        assert_eq!(
            turn.step(Input::ToolsDone(vec![result("a")])),
            [Effect::AskModel]
        );
        turn.step(reply("", &["2"], Stop::ToolUse));
        let failure = Failure::Limit {
            kind: LimitKind::Turns,
            limit: 2,
        };
        assert_eq!(
            turn.step(Input::ToolsDone(vec![result("a")])),
            failed(failure)
        );
    }

    #[test]
    fn a_nudge_at_the_last_turn_still_brings_one_more() {
        let mut turn = turn(1, 1);
        turn.step(says("done"));
        assert_eq!(turn.step(missing()), [Effect::AskModel]);
    }

    #[test]
    fn a_cut_or_withheld_answer_never_succeeds_and_its_calls_are_not_made() {
        assert_eq!(
            turn(9, 9).step(reply("half", &["1"], Stop::OutputLimit)),
            failed(Failure::Truncated)
        );
        assert_eq!(
            turn(9, 9).step(reply("no", &[], Stop::Refusal)),
            failed(Failure::Withheld)
        );
    }

    #[test]
    fn a_model_that_cannot_be_asked_ends_the_agent() {
        let mut turn = turn(9, 9);
        assert_eq!(
            turn.step(Input::ModelFailed(Failure::Stopped)),
            failed(Failure::Stopped)
        );
        assert_eq!(turn.step(says("late")), []);
    }

    #[test]
    fn a_stop_for_tools_without_calls_is_an_end_and_calls_with_an_end_are_made() {
        assert_eq!(
            turn(9, 0).step(reply("x", &[], Stop::ToolUse)),
            [Effect::CheckOutput]
        );
        assert_eq!(
            turn(9, 0).step(reply("x", &["1"], Stop::EndTurn)),
            [Effect::CallTools(vec![call("1")])]
        );
    }

    #[test]
    fn an_agent_that_gives_up_has_failed_with_its_reason() {
        for words in [" ERROR: the site is down\n", "CANNOT: the site is down"] {
            let failure = Failure::GaveUp {
                reason: "the site is down".to_owned(),
            };
            assert_eq!(turn(9, 9).step(says(words)), failed(failure));
        }
        assert_eq!(
            turn(9, 9).step(says("The log says ERROR: x")),
            [Effect::CheckOutput]
        );
    }

    #[test]
    fn saying_nothing_is_no_answer_unless_a_file_is() {
        let mut quiet = turn(9, 1);
        assert_eq!(quiet.step(says("")), [Effect::CheckOutput]);
        assert_eq!(quiet.step(Input::OutputPresent), [Effect::AskModel]);
        quiet.step(says(" \n"));
        assert!(matches!(
            &quiet.step(Input::OutputPresent)[..],
            [Effect::Finish(Err(Failure::OutputMissing { .. }))]
        ));
        let mut filed = turn(9, 1).with_silence(Silence::IsEnough);
        filed.step(says(""));
        assert_eq!(
            filed.step(Input::OutputPresent),
            [Effect::Finish(Ok(String::new()))]
        );
    }

    #[test]
    fn every_call_has_one_answer_under_its_own_name() {
        let mut turn = turn(9, 0);
        turn.step(reply("", &["1", "1", "2"], Stop::ToolUse));
        turn.step(Input::ToolsDone(vec![result("a")]));
        let Some(Message::Tools { results }) = turn.messages().last() else {
            panic!("no results")
        };
        let told: Vec<(&str, bool)> = results
            .iter()
            .map(|result| (result.id.as_str(), result.is_error))
            .collect();
        assert_eq!(told, [("1", false), ("1", true), ("2", true)]);
    }

    #[test]
    fn a_flood_of_calls_is_made_only_in_part_and_answered_whole() {
        let ids: Vec<String> = (0..CALLS_PER_TURN_MAX + 7)
            .map(|id| id.to_string())
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut turn = turn(9, 0);
        let effects = turn.step(reply("", &ids, Stop::ToolUse));
        assert!(
            matches!(&effects[..], [Effect::CallTools(calls)] if calls.len() == CALLS_PER_TURN_MAX)
        );
        turn.step(Input::ToolsDone(Vec::new()));
        assert!(
            matches!(turn.messages().last(), Some(Message::Tools { results }) if results.len() == ids.len())
        );
    }

    #[test]
    fn what_cannot_be_true_now_is_ignored() {
        let mut turn = turn(9, 0);
        for input in [
            Input::Begin,
            Input::OutputPresent,
            missing(),
            Input::ToolsDone(Vec::new()),
        ] {
            assert_eq!(turn.step(input), []);
        }
        assert_eq!(turn.step(says("done")), [Effect::CheckOutput]);
        assert_eq!(turn.step(Input::ModelFailed(Failure::Stopped)), []);
        assert_eq!(
            turn.step(Input::Stop(Failure::Stopped)),
            failed(Failure::Stopped)
        );
        assert_eq!(turn.step(Input::Stop(Failure::Stopped)), []);
    }

    #[test]
    fn an_empty_conversation_never_replaces_one() {
        let mut turn = turn(9, 0);
        turn.replace(Vec::new());
        assert_eq!(turn.messages().len(), 1);
    }
}
