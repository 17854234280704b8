//! Tools whose acts can go wrong half-way, as a test says, and that can be asked about them.
#![allow(dead_code, reason = "each test file uses the part of this it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use crate::world::*;
use aaos_core::{
    approval::Preview,
    capability::Need,
    tool::{Effect, Power, Recovery, ToolSpec},
};
use aaos_ports::{AnyTool, Happened, Powers, Question, ToolError, ToolOutput};
use async_trait::async_trait;
use serde_json::Value as Json;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

/// How one performance of the act goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is done, or nothing is, and then the worker is lost.
    Lost { done: bool },
    /// It is done, or nothing is, and then nothing more happens, for ever.
    Hangs { done: bool },
    /// Its time is up.
    Late { done: bool },
    /// The worker's backend has given it up before it began.
    NoWorker,
}

/// What the tool says when it is asked whether its act happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// What is so.
    Truth,
    Unknown,
    Error,
}

/// A tool called `act` that changes a counter, and what is known of it.
#[derive(Clone)]
pub(crate) struct Act {
    spec: Arc<ToolSpec>,
    state: Arc<Mutex<State>>,
}

struct State {
    done: u32,
    begun: u32,
    turns: VecDeque<Turn>,
    look: Look,
    preview: Result<Option<Preview>, ToolError>,
    needs: Vec<Need>,
    questions: Vec<Question>,
}

impl Act {
    pub(crate) fn new(effect: Effect, recovery: Recovery) -> Self {
        let spec = ToolSpec {
            name: "act".parse().unwrap(),
            summary: "Acts.".to_owned(),
            input_schema: json!({ "type": "object", "properties": { "word": { "type": "string" } } }),
            powers: vec![Power::Files],
            effect,
            recovery,
            deadline: Span::from_secs(600),
        };
        let state = State {
            done: 0,
            begun: 0,
            turns: VecDeque::new(),
            look: Look::Truth,
            preview: Ok(None),
            needs: Vec::new(),
            questions: Vec::new(),
        };
        Self {
            spec: Arc::new(spec),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// How its first performances go; the others are done.
    pub(crate) fn going(self, turns: &[Turn]) -> Self {
        self.state.lock().unwrap().turns = turns.iter().copied().collect();
        self
    }

    pub(crate) fn looking(self, look: Look) -> Self {
        self.state.lock().unwrap().look = look;
        self
    }

    pub(crate) fn needing(self, need: Need) -> Self {
        self.state.lock().unwrap().needs.push(need);
        self
    }

    pub(crate) fn showing(self, preview: Result<Option<Preview>, ToolError>) -> Self {
        self.state.lock().unwrap().preview = preview;
        self
    }

    /// How often it was done.
    pub(crate) fn done(&self) -> u32 {
        self.state.lock().unwrap().done
    }

    /// How often it was begun.
    pub(crate) fn begun(&self) -> u32 {
        self.state.lock().unwrap().begun
    }

    pub(crate) fn questions(&self) -> Vec<Question> {
        self.state.lock().unwrap().questions.clone()
    }

    pub(crate) fn tool(&self) -> Arc<dyn AnyTool> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl AnyTool for Act {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn needs(&self, _: &Json) -> Result<Vec<Need>, ToolError> {
        Ok(self.state.lock().unwrap().needs.clone())
    }

    async fn call(&self, _: Json, powers: &Powers) -> Result<ToolOutput, ToolError> {
        let turn = {
            let mut state = self.state.lock().unwrap();
            let turn = state.turns.pop_front();
            let not_done = matches!(
                turn,
                Some(
                    Turn::NoWorker
                        | Turn::Lost { done: false }
                        | Turn::Hangs { done: false }
                        | Turn::Late { done: false }
                )
            );
            state.begun += u32::from(turn != Some(Turn::NoWorker));
            state.done += u32::from(!not_done);
            turn
        };
        let _ = powers;
        let tool = "act".to_owned();
        match turn {
            None => Ok(ToolOutput {
                json: json!("done"),
            }),
            Some(Turn::Lost { .. }) => {
                let reason = "it was killed".to_owned();
                Err(ToolError::WorkerLost { tool, reason })
            }
            Some(Turn::Late { .. }) => Err(ToolError::TimedOut { tool, limit_ms: 9 }),
            Some(Turn::Hangs { .. }) => std::future::pending().await,
            Some(Turn::NoWorker) => {
                let reason = "it was replaced too often".to_owned();
                Err(ToolError::NoWorker { tool, reason })
            }
        }
    }

    async fn consider(
        &self,
        question: Question,
        _: Json,
        _: &Powers,
    ) -> Result<ToolOutput, ToolError> {
        let mut state = self.state.lock().unwrap();
        state.questions.push(question.clone());
        let json = match question {
            Question::Evidence => json!({ "before": state.done }),
            Question::Happened { evidence } => {
                let happened = match state.look {
                    Look::Error => return Err(ToolError::Failed("it is blind".to_owned())),
                    Look::Unknown => Happened::Unknown {
                        why: "it is dark".to_owned(),
                    },
                    Look::Truth if evidence["before"] == json!(state.done) => Happened::No,
                    Look::Truth => Happened::Yes {
                        output: json!("seen"),
                    },
                };
                serde_json::to_value(happened).unwrap()
            }
            Question::Preview => serde_json::to_value(state.preview.clone()?).unwrap(),
        };
        Ok(ToolOutput { json })
    }
}

/// A world whose one agent calls `act` with each of these words, and then says all that it was told.
pub(crate) fn acting(act: &Act, words: &'static [&'static str]) -> Builder {
    let one = one_act();
    world(move |request, _| {
        // By what it has been told: a provider of a later daemon was asked nothing before.
        Ok(answer(
            request,
            &one,
            &|_, request| match words.get(told(request).len()) {
                Some(word) => calls(&[("act", json!({ "word": word }))]),
                None => says(&told(request).join("\n")),
            },
        ))
    })
    .tool(act.tool())
}

/// What the tools told the model so far.
pub(crate) fn told(request: &Request) -> Vec<String> {
    let told = request.messages.iter().filter_map(|message| match message {
        Message::Tools { results } => Some(results.iter().map(|result| result.text.clone())),
        _ => None,
    });
    told.flatten().collect()
}

/// The call that waits, as soon as one does.
pub(crate) async fn waiting(world: &World, run: RunId) -> aaos_core::event::Waiting {
    use aaos_ports::Decisions;
    for _ in 0..100_000 {
        if let Some(pending) = world.runtime.pending(Some(run)).await.unwrap().pop() {
            return pending.waiting;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("nothing waits: {:#?}", world.kinds(run))
}
