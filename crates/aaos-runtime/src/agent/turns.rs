//! An agent's turns: performs the effects of the core's turn machine.

use super::{Hands, Task, ask::Ask, context};
use crate::{
    invoke::{self, Caller},
    limits, outputs,
    record::Who,
    run::Run,
};
use aaos_core::{
    agent::{
        repeat::Repeat,
        turn::{Effect, Input, Silence, Turn},
    },
    failure::Failure,
    manifest::Expected,
    model::{Block, Message, Purpose, ToolCall, ToolResult},
    value::Value,
};
use futures::{StreamExt, stream::FuturesOrdered};
use std::sync::{Arc, Mutex};

/// Lets an agent take turns until it is done.
pub(crate) async fn perform(run: &Arc<Run>, task: &Task, hands: &Hands) -> Result<Value, Failure> {
    Agent::new(run, task, hands).take_turns().await
}

struct Agent<'a> {
    run: &'a Arc<Run>,
    task: &'a Task,
    hands: &'a Hands,
    turn: Turn,
    repeat: Mutex<Repeat>,
    refusals: u32,
    /// Calls made so far.
    calls: u64,
    /// The output found when the agent said that it had finished.
    delivered: Option<Value>,
}

impl<'a> Agent<'a> {
    fn new(run: &'a Arc<Run>, task: &'a Task, hands: &'a Hands) -> Self {
        let silence = match task.manifest.output {
            Expected::File(_) => Silence::IsEnough,
            Expected::Text | Expected::Json => Silence::SaysNothing,
        };
        let turn =
            Turn::new(&task.manifest.limits, task.manifest.message.clone()).with_silence(silence);
        let repeat = Mutex::new(Repeat::new(
            limits::REPEAT_WARN_AT,
            limits::REPEAT_REFUSE_AT,
        ));
        Self {
            run,
            task,
            hands,
            turn,
            repeat,
            refusals: 0,
            calls: 0,
            delivered: None,
        }
    }

    async fn take_turns(&mut self) -> Result<Value, Failure> {
        let mut effects = self.turn.step(Input::Begin);
        loop {
            let Some(effect) = effects.pop() else {
                return Err(Failure::Interrupted);
            };
            let input = match effect {
                Effect::AskModel => self.ask().await?,
                Effect::CallTools(calls) => self.call_tools(calls).await?,
                Effect::CheckOutput => self.check_output().await?,
                Effect::Finish(Ok(words)) => {
                    return Ok(self.delivered.take().unwrap_or_else(|| Value::text(words)));
                }
                Effect::Finish(Err(failure)) => return Err(failure),
            };
            effects = self.turn.step(input);
            self.hands.count_turns(self.turn.turns());
        }
    }

    async fn ask(&mut self) -> Result<Input, Failure> {
        context::make_room(self.run, self.task, &mut self.turn).await?;
        let manifest = &self.task.manifest;
        let ask = Ask {
            who: Who::agent(self.task.agent),
            payer: Some(self.task.agent),
            patience: self.task.patience.clone(),
            model: self.task.model.clone(),
            purpose: Purpose::Turn {
                role: manifest.role.clone(),
                subtask: self.task.subtask.clone(),
                task: manifest.task.clone(),
                params: manifest.params.clone(),
            },
            system: manifest.system.clone(),
            messages: self.turn.messages().to_vec(),
            tools: self.hands.tools.clone(),
            output_tokens_max: manifest.limits.output_tokens_max,
            reply_schema: None,
            deadline: self.task.deadline,
        };
        match ask.send(self.run).await {
            Ok(reply) => Ok(Input::Reply(reply)),
            // Nothing the model did, and nothing it could be told.
            Err(failure) if is_ours(&failure) => Err(failure),
            Err(failure) => Ok(Input::ModelFailed(failure)),
        }
    }

    /// Calls that only look run side by side; one that may change something waits for those before it and holds up
    /// those after it, as the model that wrote them in order would expect.
    async fn call_tools(&mut self, calls: Vec<ToolCall>) -> Result<Input, Failure> {
        let mut results: Vec<ToolResult> = Vec::with_capacity(calls.len());
        let mut ordinal = self.calls;
        self.calls = self.calls.saturating_add(calls.len() as u64);
        for group in groups(self.run, calls) {
            let caller = self.caller();
            let mut refusals = 0;
            for beside in group.chunks(limits::CALLS_PARALLEL_MAX) {
                let mut pending = FuturesOrdered::new();
                for call in beside {
                    pending.push_back(invoke::invoke(&caller, ordinal, call));
                    ordinal = ordinal.saturating_add(1);
                }
                while let Some(answer) = pending.next().await {
                    let answer = answer?;
                    refusals += u32::from(answer.repeat_refused);
                    results.push(answer.result);
                }
            }
            self.refusals += refusals;
        }
        if self.refusals >= limits::REPEAT_REFUSALS_MAX {
            let kind = aaos_core::failure::LimitKind::Repeats;
            let limit = u64::from(limits::REPEAT_REFUSE_AT);
            return Ok(Input::Stop(Failure::Limit { kind, limit }));
        }
        Ok(Input::ToolsDone(results))
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            run: self.run,
            task: self.task,
            hands: self.hands,
            repeat: &self.repeat,
        }
    }

    async fn check_output(&mut self) -> Result<Input, Failure> {
        let words = last_words(self.turn.messages());
        match outputs::check(self.run, self.task, &words, self.hands).await? {
            Ok(value) => {
                self.delivered = Some(value);
                Ok(Input::OutputPresent)
            }
            Err(missing) => Ok(Input::OutputMissing {
                declared: missing.declared,
                found: missing.found,
            }),
        }
    }
}

/// Whether a failure is neither the model's nor the provider's.
const fn is_ours(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Journal { .. } | Failure::Unrecoverable { .. } | Failure::Interrupted
    )
}

/// What the model said last.
fn last_words(messages: &[Message]) -> String {
    let Some(Message::Assistant { blocks }) = messages.last() else {
        return String::new();
    };
    let words = blocks.iter().filter_map(|block| match block {
        Block::Text { text } => Some(text.as_str()),
        _ => None,
    });
    words.collect()
}

/// Runs of calls that may go side by side.
fn groups(run: &Run, calls: Vec<ToolCall>) -> Vec<Vec<ToolCall>> {
    let looks = |call: &ToolCall| {
        let known = call
            .name
            .parse()
            .ok()
            .and_then(|name: aaos_core::id::ToolName| run.shared.tools.get(&name));
        known.is_none_or(|ready| invoke::only_looks(ready.tool.spec().effect))
    };
    let mut groups: Vec<Vec<ToolCall>> = Vec::new();
    let mut open = false;
    for call in calls {
        let beside = looks(&call);
        match groups.last_mut() {
            Some(group) if open && beside => group.push(call),
            _ => groups.push(vec![call]),
        }
        open = beside;
    }
    groups
}
