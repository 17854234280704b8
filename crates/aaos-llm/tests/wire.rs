//! What is sent in each dialect, and what is made of a good reply.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and may listen"
)]

mod support;

use aaos_core::{
    model::{Arguments, Block, Message, Reply, Request, Stop, ToolCall, ToolResult},
    money::MicroDollars,
};
use aaos_llm::{
    ProviderConfig,
    provider::{self, SetupError},
};
use serde_json::{Value, json};
use std::{num::NonZeroUsize, sync::Arc};
use support::*;

/// A conversation with everything in it.
fn long_request() -> Request {
    let call = |id: &str, name: &str, input: Arguments| {
        Block::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            input,
        })
    };
    let mut request = request();
    request.messages = vec![
        Message::User {
            text: "read both".into(),
        },
        Message::Assistant {
            blocks: vec![
                Block::Reasoning {
                    text: "plain thought".into(),
                    signature: None,
                },
                Block::Reasoning {
                    text: "signed thought".into(),
                    signature: Some("c2ln".into()),
                },
                Block::Text {
                    text: "reading".into(),
                },
                call("a", "file_read", Arguments::Json(json!({"path": "x"}))),
                call("b", "mcp.grep", Arguments::Malformed("{oops".into())),
            ],
        },
        Message::Tools {
            results: vec![
                ToolResult {
                    id: "a".into(),
                    name: "file_read".into(),
                    text: "content".into(),
                    is_error: false,
                },
                ToolResult {
                    id: "b".into(),
                    name: "mcp.grep".into(),
                    text: "no JSON".into(),
                    is_error: true,
                },
            ],
        },
        Message::User {
            text: "go on".into(),
        },
    ];
    request
}

async fn sent(
    dialect: Dialect,
    config: impl FnOnce(&mut ProviderConfig),
    request: &Request,
) -> Seen {
    let server = Server::saying(dialect.words("ok")).await;
    let mut made = dialect.config(&server.url);
    config(&mut made);
    ask(&*provider(&made), request).await.0.unwrap();
    server.requests().pop().unwrap()
}

#[tokio::test]
async fn a_request_is_written_as_anthropic_reads_it() {
    let seen = sent(Dialect::Anthropic, |_| {}, &long_request()).await;
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!(seen.header("x-api-key"), Some(KEY));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    let body = &seen.body;
    assert_eq!(
        (&body["stream"], &body["max_tokens"], &body["model"]),
        (&json!(true), &json!(100), &json!("m"))
    );
    let marker = json!({"type": "ephemeral"});
    assert_eq!(
        body["system"],
        json!([{"type": "text", "text": "Be brief.", "cache_control": marker}])
    );
    assert_eq!(body["tools"][0].get("cache_control"), None);
    assert_eq!(body["tools"][1]["cache_control"], marker);
    assert_eq!(body["tools"][1]["name"], "mcp_grep");
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    let said = &messages[1]["content"];
    assert_eq!(
        said[0],
        json!({"type": "thinking", "thinking": "signed thought", "signature": "c2ln"})
    );
    assert_eq!(said[1]["text"], "reading");
    assert_eq!(
        said[2],
        json!({"type": "tool_use", "id": "a", "name": "file_read", "input": {"path": "x"}})
    );
    assert_eq!(said[3]["input"], json!({"malformed_arguments": "{oops"}));
    let answer = &messages[2]["content"];
    assert_eq!(answer[0]["tool_use_id"], "a");
    assert_eq!(answer[1]["is_error"], true);
    assert_eq!(
        answer[2],
        json!({"type": "text", "text": "go on", "cache_control": marker})
    );
}

#[tokio::test]
async fn a_request_is_written_as_openai_and_its_likes_read_it() {
    let seen = sent(Dialect::OpenAi, |_| {}, &long_request()).await;
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    let body = &seen.body;
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert_eq!(body["max_tokens"], 100);
    assert_eq!(body["tools"][1]["function"]["name"], "mcp_grep");
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["system", "user", "assistant", "tool", "tool", "user"]
    );
    assert_eq!(messages[2]["reasoning_content"], "plain thought");
    assert_eq!(
        messages[2]["tool_calls"][0]["function"]["arguments"],
        "{\"path\":\"x\"}"
    );
    assert_eq!(
        messages[4],
        json!({"role": "tool", "tool_call_id": "b", "content": "no JSON"})
    );
}

#[tokio::test]
async fn an_agent_without_a_key_sends_none() {
    let seen = sent(Dialect::OpenAi, |config| config.key = None, &request()).await;
    assert_eq!(seen.header("authorization"), None);
}

async fn reply_to(dialect: Dialect, pieces: Vec<Piece>) -> (Reply, Heard) {
    let server = Server::saying(Answer::events(pieces)).await;
    let (reply, heard) = ask(&*dialect.provider(&server.url), &request()).await;
    (reply.unwrap(), heard)
}

fn parallel(dialect: Dialect) -> Vec<Piece> {
    [
        vec![dialect.begin()],
        dialect.text(0, "reading both"),
        dialect.call(1, "a", "file_read", &["{\"pa", "th\": \"", "x\"}"]),
        dialect.call(2, "b", "mcp_grep", &["{\"path\"", ": \"é\"}"]),
        dialect.end(Reason::Tools),
    ]
    .concat()
}

#[tokio::test]
async fn parallel_calls_in_pieces_come_out_whole_and_under_our_names() {
    for dialect in BOTH {
        let (reply, heard) = reply_to(dialect, parallel(dialect)).await;
        let call = |id: &str, name: &str, input: Value| {
            Block::ToolCall(ToolCall {
                id: id.into(),
                name: name.into(),
                input: Arguments::Json(input),
            })
        };
        let expected = vec![
            Block::Text {
                text: "reading both".into(),
            },
            call("a", "file_read", json!({"path": "x"})),
            call("b", "mcp.grep", json!({"path": "é"})),
        ];
        assert_eq!((reply.blocks, reply.stop), (expected, Stop::ToolUse));
        assert_eq!(heard.text(), "reading both");
        assert_eq!(reply.model, "served-model");
    }
}

#[tokio::test]
async fn where_the_network_cuts_a_reply_changes_nothing() {
    for dialect in BOTH {
        let whole: Vec<u8> = parallel(dialect)
            .into_iter()
            .flat_map(|piece| {
                if let Piece::Say(bytes) = piece {
                    bytes
                } else {
                    vec![]
                }
            })
            .collect();
        let expected = reply_to(dialect, vec![Piece::Say(whole.clone())]).await.0;
        for size in [1, 7, 61] {
            let cut = whole
                .chunks(size)
                .map(|bytes| Piece::Say(bytes.to_vec()))
                .collect();
            assert_eq!(reply_to(dialect, cut).await.0, expected);
        }
    }
}

#[tokio::test]
async fn what_was_used_is_counted_and_priced() {
    for dialect in BOTH {
        let (reply, _) = reply_to(dialect, parallel(dialect)).await;
        let usage = reply.usage;
        assert_eq!(
            (usage.input_tokens, usage.cached_tokens, usage.output_tokens),
            (100, 50, 20)
        );
        // 40 plain at 1, 50 cached at 0.1, 10 written at 2, 20 out at 10.
        assert_eq!(usage.cost, MicroDollars(40 + 5 + 20 + 200), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_count_is_counted_for() {
    let pieces = vec![
        event(
            &json!({"choices": [{"delta": {"content": "hello there"}, "finish_reason": "stop"}]}),
        ),
        say("data: [DONE]\n\n"),
    ];
    let (reply, _) = reply_to(Dialect::OpenAi, pieces).await;
    assert!(
        reply.usage.input_tokens > 10 && reply.usage.output_tokens > 2,
        "{:?}",
        reply.usage
    );
}

#[tokio::test]
async fn the_worst_case_is_never_less_than_the_cost() {
    for dialect in BOTH {
        let provider = dialect.provider("http://127.0.0.1:9");
        let worst = provider.worst_case(&request());
        assert!(worst >= MicroDollars(100 * 10), "{worst}");
        let mut unpriced = request();
        unpriced.model.model = "unheard-of".into();
        assert_eq!(provider.worst_case(&unpriced), MicroDollars::ZERO);
    }
}

#[tokio::test]
async fn signed_and_sealed_thought_goes_back_as_it_came() {
    let pieces = vec![
        event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "let me "}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "see"}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "QUJD"}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "QUJD"}}),
        ),
        event(&json!({"type": "content_block_stop", "index": 0})),
        event(
            &json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "c2VhbGVk"}}),
        ),
        event(&json!({"type": "content_block_stop", "index": 1})),
        event(
            &json!({"type": "content_block_start", "index": 2, "content_block": {"type": "thinking", "thinking": "", "signature": "ZW1wdHk="}}),
        ),
        event(&json!({"type": "content_block_stop", "index": 2})),
        event(&json!({"type": "ping"})),
        event(&json!({"type": "a_later_invention", "index": 9})),
    ];
    let dialect = Dialect::Anthropic;
    let pieces = [
        pieces,
        dialect.call(3, "a", "file_read", &[]),
        dialect.end(Reason::Tools),
    ]
    .concat();
    let (reply, _) = reply_to(dialect, pieces).await;
    let mut next = request();
    next.messages.push(Message::Assistant {
        blocks: reply.blocks,
    });
    next.messages.push(Message::Tools {
        results: vec![ToolResult {
            id: "a".into(),
            name: "file_read".into(),
            text: "x".into(),
            is_error: false,
        }],
    });
    let seen = sent(dialect, |_| {}, &next).await;
    let expected = json!([
        {"type": "thinking", "thinking": "let me see", "signature": "QUJDQUJD"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
        {"type": "thinking", "thinking": "", "signature": "ZW1wdHk="},
        {"type": "tool_use", "id": "a", "name": "file_read", "input": {}},
    ]);
    assert_eq!(seen.body["messages"][1]["content"], expected);
}

#[tokio::test]
async fn deepseeks_thought_goes_back_with_its_calls() {
    let pieces = vec![
        say(": keep-alive\n\n"),
        event(
            &json!({"choices": [{"delta": {"role": "assistant", "content": null, "reasoning_content": "hm, "}}], "usage": null}),
        ),
        event(&json!({"choices": [{"delta": {"reasoning_content": "a file"}}]})),
    ];
    let dialect = Dialect::OpenAi;
    let pieces = [
        pieces,
        dialect.call(0, "a", "file_read", &["{}"]),
        dialect.end(Reason::Tools),
    ]
    .concat();
    let server = Server::saying(Answer::events(pieces)).await;
    let mut config = dialect.config(&server.url);
    config.kind = "deepseek".into();
    let provider = provider(&config);
    let (reply, heard) = ask(&*provider, &request()).await;
    let reply = reply.unwrap();
    assert_eq!(
        reply.blocks[0],
        Block::Reasoning {
            text: "hm, a file".into(),
            signature: None
        }
    );
    assert!(
        heard
            .all()
            .contains(&aaos_ports::provider::Delta::Reasoning("a file".into()))
    );
    let mut next = request();
    next.messages.push(Message::Assistant {
        blocks: reply.blocks,
    });
    ask(&*provider, &next).await.0.unwrap();
    assert_eq!(
        server.requests()[1].body["messages"][2]["reasoning_content"],
        "hm, a file"
    );
}

#[tokio::test]
async fn calls_without_numbers_or_identities_are_put_together() {
    let pieces = vec![event(&json!({"choices": [{"delta": {"tool_calls": [
            {"function": {"name": "file_read", "arguments": {"path": "x"}}},
            {"function": {"name": "file_read", "arguments": "{\"path\": "}},
            {"function": {"arguments": "\"y\"}"}},
        ]}, "finish_reason": "stop"}]}))];
    let (reply, _) = reply_to(Dialect::OpenAi, pieces).await;
    let calls = reply.tool_calls();
    assert_eq!(calls[0].input, Arguments::Json(json!({"path": "x"})));
    assert_eq!(calls[1].input, Arguments::Json(json!({"path": "y"})));
    assert_ne!(calls[0].id, calls[1].id);
    assert_eq!(reply.stop, Stop::ToolUse);
}

#[tokio::test]
async fn arguments_that_come_whole_with_a_call_are_kept() {
    let begin = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "file_read", "input": {"path": "x"}}});
    let pieces = vec![
        event(&begin),
        event(&json!({"type": "content_block_stop", "index": 0})),
    ];
    let (reply, _) = reply_to(
        Dialect::Anthropic,
        [pieces, Dialect::Anthropic.end(Reason::Tools)].concat(),
    )
    .await;
    assert_eq!(
        reply.tool_calls()[0].input,
        Arguments::Json(json!({"path": "x"}))
    );
}

#[tokio::test]
async fn a_server_that_refuses_a_replys_form_is_asked_without_it_and_remembered() {
    let server = Server::start(|_, seen| match seen.body.get("response_format") {
        Some(_) => Answer::status(
            400,
            &json!({"error": {"message": "response_format is not supported"}}),
        ),
        None => Dialect::OpenAi.words("{}"),
    })
    .await;
    let provider = Dialect::OpenAi.provider(&server.url);
    let mut request = request();
    request.reply_schema = Some(json!({"type": "object"}));
    for _ in 0..2 {
        assert_eq!(ask(&*provider, &request).await.0.unwrap().text(), "{}");
    }
    let formats: Vec<bool> = server
        .requests()
        .iter()
        .map(|seen| seen.body.get("response_format").is_some())
        .collect();
    assert_eq!(formats, [true, false, false]);
}

#[tokio::test]
async fn a_replys_form_is_asked_for_in_each_servers_way() {
    let mut request = request();
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    request.reply_schema = Some(schema.clone());
    let seen = sent(Dialect::OpenAi, |_| {}, &request).await;
    assert_eq!(
        seen.body["response_format"]["json_schema"]["schema"],
        schema
    );
    let seen = sent(
        Dialect::OpenAi,
        |config| config.kind = "deepseek".into(),
        &request,
    )
    .await;
    assert_eq!(seen.body["response_format"], json!({"type": "json_object"}));
    let seen = sent(Dialect::Anthropic, |_| {}, &request).await;
    assert_eq!(seen.body["output_config"]["format"]["schema"], schema);
    request.reply_schema = Some(json!({"type": "object"}));
    let seen = sent(Dialect::Anthropic, |_| {}, &request).await;
    assert_eq!(seen.body.get("output_config"), None);
}

#[tokio::test]
async fn a_model_is_probed_without_asking_it_anything() {
    for dialect in BOTH {
        let server = Server::start(|_, seen| match seen.path.as_str() {
            "/v1/models" => {
                Answer::status(200, &json!({"data": [{"id": "m"}, {"id": "llama:latest"}]}))
            }
            "/v1/models/alias" => Answer::status(200, &json!({"id": "m"})),
            _ => Answer::status(404, &json!({"error": "unknown"})),
        })
        .await;
        let provider = dialect.provider(&server.url);
        for known in ["m", "llama", "alias"] {
            let model = aaos_core::model::ModelRef {
                model: known.into(),
                ..model()
            };
            assert_eq!(provider.probe(&model).await, Ok(()), "{known}");
        }
        let unknown = aaos_core::model::ModelRef {
            model: "../x y".into(),
            ..model()
        };
        let (found, _, message) = fault(&provider.probe(&unknown).await.unwrap_err());
        assert_eq!(found, aaos_core::failure::ProviderFault::UnknownModel);
        assert!(message.contains("llama:latest"), "{message}");
        assert!(server.requests().iter().all(|seen| seen.method == "GET"));
    }
}

#[tokio::test]
async fn a_server_without_a_list_of_models_passes_the_probe_by_answering() {
    let server = Server::saying(Answer::status(404, &json!({"detail": "Not Found"}))).await;
    assert_eq!(
        Dialect::OpenAi.provider(&server.url).probe(&model()).await,
        Ok(())
    );
    let server = Server::saying(Answer::status(401, &json!({}))).await;
    let error = Dialect::OpenAi
        .provider(&server.url)
        .probe(&model())
        .await
        .unwrap_err();
    assert_eq!(
        fault(&error).0,
        aaos_core::failure::ProviderFault::Unauthorised
    );
}

#[tokio::test]
async fn a_server_with_one_model_needs_no_name_for_it() {
    let list = |names: &[&str]| {
        let data: Vec<Value> = names.iter().map(|name| json!({"id": name})).collect();
        Answer::status(200, &json!({"data": data}))
    };
    crypto();
    let server = Server::saying(list(&["only"])).await;
    let mut config = Dialect::OpenAi.config(&server.url);
    provider::settle_model(&mut config).await.unwrap();
    assert_eq!(
        config.model(aaos_core::model::ModelClass::Planner),
        Some("only")
    );
    let server = Server::saying(list(&["one", "two"])).await;
    let mut config = Dialect::OpenAi.config(&server.url);
    let error = provider::settle_model(&mut config).await.unwrap_err();
    assert!(
        matches!(&error, SetupError::NoModel { count: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_are_allowed() {
    let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (now, peak) = (running.clone(), most.clone());
    let server = Server::start(move |_, _| {
        let mut answer = Dialect::OpenAi.words("ok");
        answer.pieces.insert(0, Piece::Wait(30));
        peak.fetch_max(
            now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1,
            std::sync::atomic::Ordering::SeqCst,
        );
        answer
    })
    .await;
    let mut config = Dialect::OpenAi.config(&server.url);
    config.concurrency = NonZeroUsize::new(2);
    let provider = provider(&config);
    let request = request();
    let asks = (0..6).map(|_| async {
        ask(&*provider, &request).await.0.unwrap();
        running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    });
    futures::future::join_all(asks).await;
    assert!(most.load(std::sync::atomic::Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::saying(Dialect::OpenAi.words("ok")).await;
    let provider = Dialect::OpenAi.provider(&server.url);
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        ask(&*provider, &request()).await.0.unwrap();
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_key_shows_in_no_provider() {
    let config = Dialect::Anthropic.config("http://127.0.0.1:9");
    assert!(!format!("{config:?}").contains(KEY));
    assert!(!provider(&config).label(&request().model).contains(KEY));
}
