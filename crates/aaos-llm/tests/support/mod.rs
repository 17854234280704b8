//! A model server on loopback that says exactly what a test wants, and remembers what it was asked.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "shared by several test programs, each of which uses a part; a test fails by panicking and may listen"
)]

use aaos_core::{
    failure::{Failure, ProviderFault},
    id::RunId,
    model::{Message, ModelRef, Purpose, Reply, Request},
    secret::Secret,
    time::Span,
    tool::{Effect, ToolSpec},
};
use aaos_llm::{Patience, Prices, ProviderConfig, build};
use aaos_ports::provider::{Delta, DeltaSink, Provider, ProviderError, Retry};
use axum::{
    body::{Body, Bytes},
    extract::Request as HttpRequest,
    response::Response,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The key the tests use; it must show nowhere.
pub const KEY: &str = "sk-test-0123456789abcdef";

/// A piece of an answer.
#[derive(Clone)]
pub enum Piece {
    /// These bytes.
    Say(Vec<u8>),
    /// Nothing for so many milliseconds.
    Wait(u64),
    /// Nothing, for ever.
    Hang,
    /// These bytes, for ever.
    Repeat(Vec<u8>),
    /// The connection breaks.
    Break,
}

/// An answer.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub pieces: Vec<Piece>,
}

impl Answer {
    pub fn events(pieces: Vec<Piece>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "text/event-stream".to_owned())],
            pieces,
        }
    }

    pub fn status(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self {
            status,
            headers,
            pieces: vec![say(&body.to_string())],
        }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }
}

pub fn say(text: &str) -> Piece {
    Piece::Say(text.as_bytes().to_vec())
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A model server.
pub struct Server {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers every request by what `answer` makes of it and of how many came before.
    pub async fn start(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let handle = move |request: HttpRequest| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let seen = read(request).await;
                let before = {
                    let mut log = log.lock().unwrap();
                    log.push(seen.clone());
                    log.len() - 1
                };
                Ok::<_, Infallible>(write(answer(before, &seen)))
            }
        };
        let app = axum::Router::new().fallback(handle);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    /// Gives every request the same answer.
    pub async fn saying(answer: Answer) -> Self {
        Self::start(move |_, _| answer.clone()).await
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(request: HttpRequest) -> Seen {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let text =
        |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

fn write(answer: Answer) -> Response {
    let pieces = stream::iter(answer.pieces).flat_map(|piece| match piece {
        Piece::Say(bytes) => stream::once(async move { Ok(Bytes::from(bytes)) }).boxed(),
        Piece::Wait(ms) => stream::once(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(Bytes::new())
        })
        .boxed(),
        Piece::Hang => stream::pending().boxed(),
        Piece::Repeat(bytes) => stream::repeat_with(move || Ok(Bytes::from(bytes.clone())))
            .then(|piece| async move {
                tokio::task::yield_now().await;
                piece
            })
            .boxed(),
        Piece::Break => stream::once(async {
            // What was said before must arrive before the connection is gone.
            tokio::time::sleep(Duration::from_millis(30)).await;
            Err(std::io::Error::other("broken"))
        })
        .boxed(),
    });
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(pieces)).unwrap()
}

/// The wire protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Anthropic,
    OpenAi,
}

pub const BOTH: [Dialect; 2] = [Dialect::Anthropic, Dialect::OpenAi];

/// One event.
pub fn event(json: &Value) -> Piece {
    let kind = json
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("message");
    say(&format!("event: {kind}\ndata: {json}\n\n"))
}

impl Dialect {
    pub fn kind(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    pub fn begin(self) -> Piece {
        match self {
            Self::Anthropic => event(&json!({"type": "message_start", "message": {
                "model": "served-model", "usage": {"input_tokens": 40, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 10, "output_tokens": 1}}})),
            Self::OpenAi => event(
                &json!({"id": "1", "model": "served-model", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
            ),
        }
    }

    pub fn text(self, index: u64, text: &str) -> Vec<Piece> {
        match self {
            Self::Anthropic => vec![
                event(
                    &json!({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}),
                ),
                event(
                    &json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}),
                ),
                event(&json!({"type": "content_block_stop", "index": index})),
            ],
            Self::OpenAi => vec![event(
                &json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
            )],
        }
    }

    /// The beginning of a call and its arguments in pieces, without its end.
    pub fn half_call(self, index: u64, id: &str, name: &str, pieces: &[&str]) -> Vec<Piece> {
        match self {
            Self::Anthropic => {
                let begin = json!({"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}});
                let more = |piece: &&str| {
                    event(
                        &json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}),
                    )
                };
                std::iter::once(event(&begin))
                    .chain(pieces.iter().map(more))
                    .collect()
            }
            Self::OpenAi => {
                let begin = json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}}]});
                let more = |piece: &&str| {
                    event(
                        &json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}}]}),
                    )
                };
                std::iter::once(event(&begin))
                    .chain(pieces.iter().map(more))
                    .collect()
            }
        }
    }

    pub fn call(self, index: u64, id: &str, name: &str, pieces: &[&str]) -> Vec<Piece> {
        let mut said = self.half_call(index, id, name, pieces);
        if self == Self::Anthropic {
            said.push(event(
                &json!({"type": "content_block_stop", "index": index}),
            ));
        }
        said
    }

    /// The end, for a reason in this dialect's word.
    pub fn end(self, reason: Reason) -> Vec<Piece> {
        match self {
            Self::Anthropic => vec![
                event(
                    &json!({"type": "message_delta", "delta": {"stop_reason": reason.anthropic()}, "usage": {"output_tokens": 20}}),
                ),
                event(&json!({"type": "message_stop"})),
            ],
            Self::OpenAi => vec![
                event(
                    &json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason.openai()}]}),
                ),
                event(
                    &json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 10}}}),
                ),
                say("data: [DONE]\n\n"),
            ],
        }
    }

    /// A whole reply of words.
    pub fn words(self, text: &str) -> Answer {
        let pieces = [
            vec![self.begin()],
            self.text(0, text),
            self.end(Reason::Stop),
        ]
        .concat();
        Answer::events(pieces)
    }

    pub fn config(self, url: &str) -> ProviderConfig {
        let mut config = ProviderConfig::new("main", self.kind());
        config.base_url = Some(match self {
            Self::Anthropic => url.to_owned(),
            Self::OpenAi => format!("{url}/v1"),
        });
        config.key = Some(Secret::new(KEY.to_owned()));
        config.patience = quick();
        config
    }

    pub fn provider(self, url: &str) -> Arc<dyn Provider> {
        provider(&self.config(url))
    }
}

/// Why a reply ends.
#[derive(Debug, Clone, Copy)]
pub enum Reason {
    Stop,
    Tools,
    Length,
    Refusal,
    Unknown,
}

impl Reason {
    fn anthropic(self) -> &'static str {
        match self {
            Self::Stop => "end_turn",
            Self::Tools => "tool_use",
            Self::Length => "max_tokens",
            Self::Refusal => "refusal",
            Self::Unknown => "boredom",
        }
    }

    fn openai(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Tools => "tool_calls",
            Self::Length => "length",
            Self::Refusal => "content_filter",
            Self::Unknown => "boredom",
        }
    }
}

/// Patience for a test: fractions of a second.
pub fn quick() -> Patience {
    Patience {
        connect: Span::from_millis(500),
        first_byte: Span::from_millis(400),
        idle: Span::from_millis(400),
        total: Span::from_secs(5),
        outage: Span::from_millis(300),
        look: Span::from_millis(300),
        backoff_first: Span::from_millis(5),
        backoff_max: Span::from_millis(50),
    }
}

pub fn provider(config: &ProviderConfig) -> Arc<dyn Provider> {
    crypto();
    let text = "[[price]]\nprovider='main'\nmodel='m'\ninput=1_000_000\ncached=100_000\nwritten=2_000_000\noutput=10_000_000\n";
    build(config, Arc::new(Prices::parse("test", text).unwrap())).unwrap()
}

pub fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Remembers the pieces of a reply, and the attempts at it.
#[derive(Default)]
pub struct Heard {
    pieces: Mutex<Vec<Delta>>,
    /// Each with the number of pieces that had come before it.
    retries: Mutex<Vec<(usize, Retry)>>,
}

#[async_trait::async_trait]
impl DeltaSink for Heard {
    fn delta(&self, delta: Delta) {
        self.pieces.lock().unwrap().push(delta);
    }

    async fn again(&self, retry: Retry) {
        let before = self.pieces.lock().unwrap().len();
        self.retries.lock().unwrap().push((before, retry));
    }
}

impl Heard {
    pub fn all(&self) -> Vec<Delta> {
        self.pieces.lock().unwrap().clone()
    }

    /// The words since the last retry.
    pub fn text(&self) -> String {
        let void = self.retries.lock().unwrap().last().map_or(0, |(at, _)| *at);
        let words = |delta: Delta| match delta {
            Delta::Text(more) => Some(more),
            _ => None,
        };
        self.all()
            .into_iter()
            .skip(void)
            .filter_map(words)
            .collect()
    }

    pub fn retries(&self) -> Vec<Retry> {
        let retries = self.retries.lock().unwrap();
        retries.iter().map(|(_, retry)| retry.clone()).collect()
    }
}

pub fn model() -> ModelRef {
    ModelRef {
        provider: "main".to_owned(),
        model: "m".to_owned(),
    }
}

pub fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.parse().unwrap(),
        summary: format!("the tool {name}"),
        input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
        powers: vec![],
        effect: Effect::Read,
        recovery: aaos_core::tool::Recovery::ByEffect,
        deadline: aaos_core::time::Span::from_secs(120),
    }
}

pub fn request() -> Request {
    Request {
        run: RunId::from_drawn(1),
        model: model(),
        purpose: Purpose::Turn {
            role: "generalist".parse().unwrap(),
            subtask: Some("one".parse().unwrap()),
            task: "say hello".to_owned(),
            params: std::collections::BTreeMap::new(),
        },
        system: "Be brief.".to_owned(),
        messages: vec![Message::User {
            text: "say hello".to_owned(),
        }],
        tools: vec![tool("file_read"), tool("mcp.grep")],
        output_tokens_max: 100,
        reply_schema: None,
    }
}

/// Asks once and gives back the reply with what was heard of it.
pub async fn ask(
    provider: &dyn Provider,
    request: &Request,
) -> (Result<Reply, ProviderError>, Heard) {
    let heard = Heard::default();
    let reply = provider.complete(request, &heard).await;
    (reply, heard)
}

/// What a provider could not do, its status and its words.
pub fn fault(error: &ProviderError) -> (ProviderFault, Option<u16>, String) {
    match &*error.failure {
        Failure::Provider {
            provider,
            fault,
            status,
            message,
            next_step,
            ..
        } => {
            assert_eq!(provider, "main");
            assert!(!next_step.is_empty());
            assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
            (*fault, *status, message.clone())
        }
        other => panic!("{other:?}"),
    }
}

/// Asks a server that gives one answer to everything, and expects a fault.
pub async fn fault_of(dialect: Dialect, answer: Answer) -> (ProviderFault, Option<u16>, usize) {
    let server = Server::saying(answer).await;
    let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
    let (fault, status, _) = fault(&reply.expect_err("a fault"));
    let posts = server
        .requests()
        .iter()
        .filter(|seen| seen.method == "POST")
        .count();
    (fault, status, posts)
}
