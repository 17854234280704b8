//! What every provider does, whatever it is: one suite, run by each kind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and may listen"
)]

mod support;

use aaos_core::{
    failure::ProviderFault,
    model::{Block, Request, Stop},
};
use aaos_llm::{Router, provider::ScriptFile};
use aaos_ports::provider::{Delta, Provider};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use support::*;

/// Requests the provider answers in words, and with calls.
struct Candidate {
    provider: Arc<dyn Provider>,
    words: Request,
    calls: Option<Request>,
}

async fn conforms(candidate: &Candidate) {
    a_reply_is_what_was_heard(candidate).await;
    calls_are_asked_for_exactly_when_there_are_some(candidate).await;
    many_at_once_are_answered(candidate).await;
    dropping_a_request_ends_it(candidate).await;
    a_stranger_is_refused_by_the_router(candidate).await;
    let Candidate {
        provider, words, ..
    } = candidate;
    assert_eq!(provider.probe(&words.model).await, Ok(()));
    assert!(!provider.label(&words.model).is_empty());
}

async fn a_reply_is_what_was_heard(candidate: &Candidate) {
    let (reply, heard) = ask(&*candidate.provider, &candidate.words).await;
    let reply = reply.unwrap();
    assert!(!reply.text().is_empty() && !reply.model.is_empty());
    assert!(heard.text().is_empty() || heard.text() == reply.text());
    assert!(reply.usage.cached_tokens <= reply.usage.input_tokens);
    assert!(candidate.provider.worst_case(&candidate.words) >= reply.usage.cost);
    let (again, _) = ask(&*candidate.provider, &candidate.words).await;
    assert_eq!(again.unwrap().text(), reply.text());
}

async fn calls_are_asked_for_exactly_when_there_are_some(candidate: &Candidate) {
    let requests = std::iter::once(&candidate.words).chain(candidate.calls.as_ref());
    for request in requests {
        let (reply, heard) = ask(&*candidate.provider, request).await;
        let reply = reply.unwrap();
        assert_eq!(reply.stop == Stop::ToolUse, !reply.tool_calls().is_empty());
        let ids: std::collections::BTreeSet<&str> = reply
            .tool_calls()
            .iter()
            .map(|call| call.id.as_str())
            .collect();
        assert_eq!(ids.len(), reply.tool_calls().len());
        let named = heard
            .all()
            .into_iter()
            .filter(|delta| matches!(delta, Delta::ToolCall(_)))
            .count();
        assert!(named == 0 || named == reply.tool_calls().len());
        assert!(
            reply
                .blocks
                .iter()
                .all(|block| !matches!(block, Block::Text { text } if text.is_empty()))
        );
    }
    if let Some(calls) = &candidate.calls {
        assert!(
            !ask(&*candidate.provider, calls)
                .await
                .0
                .unwrap()
                .tool_calls()
                .is_empty()
        );
    }
}

async fn many_at_once_are_answered(candidate: &Candidate) {
    let asks = (0..64).map(|_| ask(&*candidate.provider, &candidate.words));
    let replies = futures::future::join_all(asks).await;
    assert!(replies.iter().all(|(reply, _)| reply.is_ok()));
}

async fn dropping_a_request_ends_it(candidate: &Candidate) {
    for micros in [0, 50, 500, 2_000] {
        let asked = ask(&*candidate.provider, &candidate.words);
        let _dropped = tokio::time::timeout(Duration::from_micros(micros), asked).await;
    }
    assert!(ask(&*candidate.provider, &candidate.words).await.0.is_ok());
}

async fn a_stranger_is_refused_by_the_router(candidate: &Candidate) {
    let model = &candidate.words.model;
    let router = Router::new([(model.provider.clone(), candidate.provider.clone())]);
    assert!(ask(&router, &candidate.words).await.0.is_ok());
    assert_eq!(router.label(model), candidate.provider.label(model));
    let mut stranger = candidate.words.clone();
    stranger.model.provider = "stranger".to_owned();
    let error = ask(&router, &stranger).await.0.unwrap_err().to_string();
    assert!(
        error.contains("stranger") && error.contains(&model.provider) && error.contains("--model"),
        "{error}"
    );
    assert!(router.probe(&stranger.model).await.is_err());
}

/// A request whose answer the test servers give with calls.
fn calling() -> Request {
    let mut request = request();
    request.output_tokens_max = 101;
    request
}

async fn service(dialect: Dialect) -> Candidate {
    let server =
        Server::start(
            move |_, seen| match (seen.path.as_str(), &seen.body["max_tokens"]) {
                ("/v1/models", _) => Answer::status(200, &json!({"data": [{"id": "m"}]})),
                (_, limit) if *limit == json!(101) => {
                    let calls = [
                        dialect.call(0, "a", "file_read", &["{}"]),
                        dialect.call(1, "b", "mcp_grep", &[]),
                    ];
                    Answer::events([calls.concat(), dialect.end(Reason::Tools)].concat())
                }
                _ => dialect.words("hello"),
            },
        )
        .await;
    Candidate {
        provider: dialect.provider(&server.url),
        words: request(),
        calls: Some(calling()),
    }
}

#[tokio::test]
async fn anthropic_conforms() {
    conforms(&service(Dialect::Anthropic).await).await;
}

#[tokio::test]
async fn openai_conforms() {
    conforms(&service(Dialect::OpenAi).await).await;
}

#[tokio::test]
async fn every_preset_of_openai_conforms() {
    for kind in ["deepseek", "ollama", "vllm", "openrouter"] {
        let server = Server::start(|_, seen| match seen.path.as_str() {
            "/v1/models" => Answer::status(200, &json!({"data": [{"id": "m"}]})),
            _ => Dialect::OpenAi.words("hello"),
        })
        .await;
        let mut config = Dialect::OpenAi.config(&server.url);
        config.kind = kind.to_owned();
        conforms(&Candidate {
            provider: provider(&config),
            words: request(),
            calls: None,
        })
        .await;
    }
}

#[tokio::test]
async fn scripted_conforms() {
    let mut config = aaos_llm::ProviderConfig::new("main", "scripted");
    config.script = Some(ScriptFile {
        file: "replies.yaml".to_owned(),
        text: "- match: { purpose: turn, contains: call }\n  times: many\n  reply: { text: reading, tool_calls: [ { name: file_read, input: { path: x } }, { name: echo } ] }\n\
               - times: many\n  reply: { text: hello, usage: { input_tokens: 5, cost: 7 } }\n"
            .to_owned(),
    });
    let mut calls = request();
    calls.messages = vec![aaos_core::model::Message::User {
        text: "call".to_owned(),
    }];
    let provider = provider(&config);
    assert_eq!(provider.label(&calls.model), "scripted (replies.yaml)");
    conforms(&Candidate {
        provider,
        words: request(),
        calls: Some(calls),
    })
    .await;
}

#[tokio::test]
async fn an_empty_router_says_what_to_do() {
    let error = ask(&Router::default(), &request()).await.0.unwrap_err();
    let (found, _, _) = fault(&error);
    assert_eq!(found, ProviderFault::UnknownModel);
}

#[tokio::test]
async fn rules_conform() {
    let mut words = request();
    words.purpose = aaos_core::model::Purpose::Classify {
        goal: "list the files in docs".to_owned(),
    };
    let config = aaos_llm::ProviderConfig::new("main", "rules");
    let provider = provider(&config);
    assert_eq!(provider.label(&words.model), "none (rules)");
    conforms(&Candidate {
        provider,
        words,
        calls: None,
    })
    .await;
}
