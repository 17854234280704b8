//! The tools a backend under contract is made with: each does one thing, and says what it found.

use aaos_core::{
    capability::Need,
    tool::{Effect, Power, ToolSpec},
};
use aaos_ports::{
    AnyTool, Powers, Question, ToolError, ToolOutput,
    power::{Captured, Command, Ended, Flow, Tidy, WriteMode},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{io::Read, sync::Arc, time::Duration};

/// The tools a backend under test has to be made with.
#[must_use]
pub fn tools() -> Vec<Arc<dyn AnyTool>> {
    Act::ALL
        .into_iter()
        .map(|act| Arc::new(Probe::new(act)) as Arc<dyn AnyTool>)
        .collect()
}

/// What a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Gives back its input.
    Say,
    /// Does nothing for a minute, on the call's own thread.
    Sleep,
    /// Panics.
    Break,
    /// Panics, and would have changed something for good.
    Wreck,
    /// Gives back the call's identity.
    Who,
    /// Reads the file `path`.
    Read,
    /// Writes `text` to the file `path`.
    Write,
    /// Names the files beneath `path`.
    Walk,
    /// Says whether files are at hand.
    Fetch,
    /// Starts `program` with `args` in `directory`.
    Start,
    /// Gives back more than any answer may hold.
    Shout,
}

impl Act {
    const ALL: [Self; 11] = [
        Self::Say,
        Self::Sleep,
        Self::Break,
        Self::Wreck,
        Self::Who,
        Self::Read,
        Self::Write,
        Self::Walk,
        Self::Fetch,
        Self::Start,
        Self::Shout,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Say => "say",
            Self::Sleep => "sleep",
            Self::Break => "break",
            Self::Wreck => "wreck",
            Self::Who => "who",
            Self::Read => "read",
            Self::Write => "write",
            Self::Walk => "walk",
            Self::Fetch => "fetch",
            Self::Start => "start",
            Self::Shout => "shout",
        }
    }

    fn powers(self) -> Vec<Power> {
        match self {
            Self::Read | Self::Write | Self::Walk => vec![Power::Files],
            Self::Start => vec![Power::Exec],
            Self::Say
            | Self::Sleep
            | Self::Break
            | Self::Wreck
            | Self::Who
            | Self::Fetch
            | Self::Shout => Vec::new(),
        }
    }

    const fn effect(self) -> Effect {
        match self {
            Self::Wreck => Effect::Irreversible,
            Self::Write => Effect::Reversible,
            _ => Effect::Pure,
        }
    }
}

/// A tool that does one thing.
struct Probe {
    act: Act,
    spec: ToolSpec,
}

impl Probe {
    fn new(act: Act) -> Self {
        let name = act.name().parse();
        let spec = ToolSpec {
            name: name.unwrap_or_else(|error| unreachable!("{error}")),
            summary: "Probe.".to_owned(),
            input_schema: json!({"type": "object"}),
            powers: act.powers(),
            effect: act.effect(),
            recovery: aaos_core::tool::Recovery::ByEffect,
            deadline: aaos_ports::tool::DEADLINE,
        };
        Self { act, spec }
    }
}

fn text(input: &Value, name: &str) -> String {
    let text = input.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn texts(input: &Value, name: &str) -> Vec<String> {
    let items = input.get(name).and_then(Value::as_array);
    let items = items.into_iter().flatten().filter_map(Value::as_str);
    items.map(str::to_owned).collect()
}

#[async_trait]
impl AnyTool for Probe {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn needs(&self, input: &Value) -> Result<Vec<Need>, ToolError> {
        let path = text(input, "path");
        Ok(match self.act {
            Act::Read => vec![Need::read(path)],
            Act::Write => vec![Need::write(path)],
            Act::Walk => vec![Need::read_tree(path)],
            Act::Start => vec![Need::Exec {
                program: text(input, "program"),
                args: texts(input, "args"),
                workspace: text(input, "directory"),
            }],
            _ => Vec::new(),
        })
    }

    async fn call(&self, input: Value, powers: &Powers) -> Result<ToolOutput, ToolError> {
        let json = match self.act {
            Act::Say => input,
            Act::Sleep => sleep().await,
            #[allow(clippy::panic, reason = "what a defective tool does")]
            Act::Break | Act::Wreck => panic!("a defect"),
            Act::Who => json!(powers.call().to_string()),
            Act::Read => read(&text(&input, "path"), powers)?,
            Act::Write => {
                let (path, content) = (text(&input, "path"), text(&input, "text"));
                let files = powers.files()?;
                json!(files.write(&path, content.as_bytes(), WriteMode::Replace)?)
            }
            Act::Walk => walk(&text(&input, "path"), powers)?,
            Act::Fetch => {
                powers.files()?;
                Value::Null
            }
            Act::Start => start(&input, powers)?,
            Act::Shout => json!("x".repeat(20 * 1024 * 1024)),
        };
        Ok(ToolOutput { json })
    }

    /// Tells what it was asked, and of a write what stands at its path.
    async fn consider(
        &self,
        question: Question,
        input: Value,
        powers: &Powers,
    ) -> Result<ToolOutput, ToolError> {
        let now = match self.act {
            Act::Write => read(&text(&input, "path"), powers)?,
            Act::Sleep => sleep().await,
            #[allow(clippy::panic, reason = "what a defective tool does")]
            Act::Break | Act::Wreck => panic!("a defect"),
            _ => Value::Null,
        };
        let asked = serde_json::to_value(question);
        let asked = asked.map_err(|error| ToolError::Failed(error.to_string()))?;
        Ok(ToolOutput {
            json: json!({ "asked": asked, "now": now }),
        })
    }
}

/// On the call's own thread, as a worker without timers would; it can be stopped between two naps.
async fn sleep() -> Value {
    for _ in 0..6000 {
        std::thread::sleep(Duration::from_millis(10));
        yield_once().await;
    }
    Value::Null
}

fn read(path: &str, powers: &Powers) -> Result<Value, ToolError> {
    let mut text = String::new();
    let mut file = powers.files()?.open(path)?;
    let read = file.bytes.read_to_string(&mut text);
    read.map_err(|error| ToolError::Failed(error.to_string()))?;
    Ok(json!(text))
}

fn walk(root: &str, powers: &Powers) -> Result<Value, ToolError> {
    let mut found = Vec::new();
    powers.files()?.walk(root, Tidy::Skip, &mut |entry| {
        found.push(entry.path.clone());
        Flow::Continue
    })?;
    found.sort();
    Ok(json!(found))
}

fn start(input: &Value, powers: &Powers) -> Result<Value, ToolError> {
    let bytes = input.get("bytes").and_then(Value::as_u64).unwrap_or(65_536);
    let finished = powers.exec()?.run(Command {
        program: text(input, "program"),
        args: texts(input, "args"),
        directory: text(input, "directory"),
        env: vec![("ASKED".to_owned(), "for".to_owned())],
        stdin: text(input, "stdin").into_bytes(),
        output_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
    })?;
    let ended = match finished.ended {
        Ended::Code(code) => json!({ "code": code }),
        Ended::Signal(signal) => json!({ "signal": signal }),
    };
    Ok(json!({
        "ended": ended,
        "stdout": shown(&finished.stdout),
        "stderr": shown(&finished.stderr),
    }))
}

fn shown(captured: &Captured) -> Value {
    json!({
        "head": String::from_utf8_lossy(&captured.head),
        "dropped": captured.dropped,
        "tail": String::from_utf8_lossy(&captured.tail),
    })
}

/// Lets whoever polls look whether the call is still wanted.
async fn yield_once() {
    let mut yielded = false;
    futures::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
