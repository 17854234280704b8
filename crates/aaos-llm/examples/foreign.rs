//! Drives one provider against a foreign server: a plan, a turn with two tool calls at once, and the turn after.
//!
//! `foreign KIND BASE_URL KEY MODEL`, as `tests/foreign/run` calls it. Ends with 1 and a sentence if anything differs
//! from what the server's brain says.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program for people and scripts, with a command line"
)]

use aaos_core::{
    failure::{Failure, ProviderFault},
    id::RunId,
    model::{Arguments, Message, ModelRef, Purpose, Reply, Request, Stop, ToolResult},
    secret::Secret,
    tool::{Effect, ToolSpec},
};
use aaos_llm::{Prices, ProviderConfig, build};
use aaos_ports::provider::{Delta, DeltaSink, Provider, Retry};
use serde_json::json;
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

type Outcome = Result<(), Box<dyn Error>>;

/// Counts pieces: more than one of text means that the reply streamed.
#[derive(Default)]
struct Pieces {
    text: AtomicUsize,
    calls: AtomicUsize,
}

#[async_trait::async_trait]
impl DeltaSink for Pieces {
    fn delta(&self, delta: Delta) {
        match delta {
            Delta::Text(_) => self.text.fetch_add(1, Ordering::Relaxed),
            Delta::ToolCall(_) => self.calls.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    async fn again(&self, _: Retry) {}
}

fn require(holds: bool, what: &str, found: &dyn std::fmt::Debug) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}").into())
    }
}

fn tool(name: &str, fields: serde_json::Value) -> Result<ToolSpec, Box<dyn Error>> {
    Ok(ToolSpec {
        name: name.parse()?,
        summary: format!("the tool {name}"),
        input_schema: json!({ "type": "object", "properties": fields }),
        powers: vec![],
        effect: Effect::Idempotent,
        recovery: aaos_core::tool::Recovery::ByEffect,
        deadline: aaos_core::time::Span::from_secs(120),
    })
}

fn request(model: &ModelRef, text: &str, tools: Vec<ToolSpec>) -> Request {
    Request {
        run: RunId::from_drawn(1),
        model: model.clone(),
        purpose: Purpose::Classify {
            goal: text.to_owned(),
        },
        system: "You answer exactly.".to_owned(),
        messages: vec![Message::User {
            text: text.to_owned(),
        }],
        tools,
        output_tokens_max: 500,
        reply_schema: None,
    }
}

async fn ask(
    provider: &dyn Provider,
    request: &Request,
) -> Result<(Reply, Pieces), Box<dyn Error>> {
    let pieces = Pieces::default();
    let reply = provider.complete(request, &pieces).await?;
    Ok((reply, pieces))
}

async fn plan(provider: &dyn Provider, model: &ModelRef) -> Outcome {
    let mut request = request(
        model,
        "Write a report to /tmp/report.md; answer with subtasks as JSON",
        vec![],
    );
    request.reply_schema = Some(json!({ "type": "object" }));
    let (reply, pieces) = ask(provider, &request).await?;
    let plan: serde_json::Value = serde_json::from_str(&reply.text())?;
    require(
        plan["subtasks"][2]["role"] == "writer",
        "a plan was expected",
        &plan,
    )?;
    require(reply.stop == Stop::EndTurn, "it had finished", &reply.stop)?;
    require(
        pieces.text.load(Ordering::Relaxed) > 3,
        "the plan streams in pieces",
        &pieces.text,
    )?;
    require(
        reply.usage.input_tokens == 100 && reply.usage.output_tokens == 20,
        "tokens are counted",
        &reply.usage,
    )
}

async fn turns(provider: &dyn Provider, model: &ModelRef) -> Outcome {
    let tools = vec![
        tool(
            "file_write",
            json!({"path": {"type": "string"}, "content": {"type": "string"}}),
        )?,
        tool("echo", json!({"text": {"type": "string"}}))?,
    ];
    let mut request = request(model, "Write a report to /tmp/report.md", tools);
    let (reply, pieces) = ask(provider, &request).await?;
    let calls: Vec<(&str, &Arguments)> = reply
        .tool_calls()
        .into_iter()
        .map(|call| (call.name.as_str(), &call.input))
        .collect();
    let content =
        json!({"path": "/tmp/report.md", "content": "Written over a real wire protocol."});
    let expected = [
        ("file_write", &Arguments::Json(content)),
        ("echo", &Arguments::Json(json!({"text": "in parallel"}))),
    ];
    require(calls == expected, "two calls with whole arguments", &calls)?;
    require(
        reply.stop == Stop::ToolUse,
        "it waits for its tools",
        &reply.stop,
    )?;
    require(
        pieces.calls.load(Ordering::Relaxed) == 2,
        "each call is announced",
        &pieces.calls,
    )?;
    let result = |call: &&aaos_core::model::ToolCall| ToolResult {
        id: call.id.clone(),
        name: call.name.clone(),
        text: "{\"ok\":true}".to_owned(),
        is_error: false,
    };
    let results = reply.tool_calls().iter().map(result).collect();
    request.messages.push(Message::Assistant {
        blocks: reply.blocks.clone(),
    });
    request.messages.push(Message::Tools { results });
    let (reply, _) = ask(provider, &request).await?;
    require(
        reply.stop == Stop::EndTurn && reply.text().starts_with("Done"),
        "it ends when answered",
        &reply,
    )
}

async fn refusals(config: &ProviderConfig, provider: &dyn Provider, model: &ModelRef) -> Outcome {
    provider.probe(model).await?;
    let stranger = ModelRef {
        model: "no-such-model".to_owned(),
        ..model.clone()
    };
    let unknown = ask(provider, &request(&stranger, "hello", vec![]))
        .await
        .err();
    let found = unknown.as_ref().and_then(|error| fault(error.as_ref()));
    require(
        found == Some(ProviderFault::UnknownModel),
        "an unknown model is told as such",
        &unknown,
    )?;
    let text = unknown.map(|error| error.to_string()).unwrap_or_default();
    let key = config
        .key
        .as_ref()
        .map(|key| key.expose().as_str())
        .unwrap_or_default();
    require(!text.contains(key), "no error shows the key", &text)?;
    let mut keyless = config.clone();
    keyless.key = None;
    let keyless = build(&keyless, Arc::new(Prices::none()))?;
    let refused = ask(&*keyless, &request(model, "hello", vec![])).await.err();
    let found = refused.as_ref().and_then(|error| fault(error.as_ref()));
    require(
        found == Some(ProviderFault::Unauthorised),
        "a missing key is told as such",
        &refused,
    )
}

fn fault(error: &(dyn Error + 'static)) -> Option<ProviderFault> {
    match &*error.downcast_ref::<aaos_ports::ProviderError>()?.failure {
        Failure::Provider { fault, .. } => Some(*fault),
        _ => None,
    }
}

async fn run() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, base_url, key, model] = arguments.as_slice() else {
        return Err("usage: foreign KIND BASE_URL KEY MODEL".into());
    };
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "cryptography was set up twice")?;
    let mut config = ProviderConfig::new("foreign", kind);
    config.base_url = Some(base_url.clone());
    config.key = Some(Secret::new(key.clone()));
    let provider = build(&config, Arc::new(Prices::bundled()?))?;
    let model = ModelRef {
        provider: "foreign".to_owned(),
        model: model.clone(),
    };
    plan(&*provider, &model).await?;
    turns(&*provider, &model).await?;
    refusals(&config, &*provider, &model).await
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
