//! What services may do to us: each case ends in a typed failure, in bounded time and memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, listens and measures"
)]

mod support;

use aaos_core::{
    failure::ProviderFault::{
        self, BadReply, BadRequest, RateLimited, Server as ServerFault, TimedOut, Unauthorised,
        UnknownModel, Unreachable,
    },
    model::{Arguments, Stop},
    time::Span,
};
use serde_json::json;
use std::time::{Duration, Instant};
use support::*;

fn refusal() -> serde_json::Value {
    json!({"error": {"type": "some_error", "message": format!("your key {KEY} is no good")}})
}

#[tokio::test]
async fn a_refused_key_fails_at_once_and_is_not_repeated_to_anyone() {
    for dialect in BOTH {
        for status in [401, 403] {
            let server = Server::saying(Answer::status(status, &refusal())).await;
            let (reply, heard) = ask(&*dialect.provider(&server.url), &request()).await;
            let (found, code, message) = fault(&reply.unwrap_err());
            assert_eq!(
                (found, code, server.requests().len()),
                (Unauthorised, Some(status), 1)
            );
            assert!(
                message.contains("is no good") && !message.contains(KEY),
                "{message}"
            );
            assert_eq!(heard.all(), []);
        }
    }
}

#[tokio::test]
async fn an_unknown_model_fails_at_once() {
    for dialect in BOTH {
        let found = fault_of(dialect, Answer::status(404, &refusal())).await;
        assert_eq!(found, (UnknownModel, Some(404), 1));
    }
}

#[tokio::test]
async fn an_unknown_model_is_told_from_other_refusals_by_the_list_of_models() {
    let server = Server::start(|_, seen| match seen.path.as_str() {
        "/v1/models" => Answer::status(200, &json!({"data": [{"id": "other"}]})),
        _ => Answer::status(400, &refusal()),
    })
    .await;
    let (reply, _) = ask(&*Dialect::OpenAi.provider(&server.url), &request()).await;
    assert_eq!(fault(&reply.unwrap_err()).0, UnknownModel);
    let mut listed = request();
    listed.model.model = "other".to_owned();
    let (reply, _) = ask(&*Dialect::OpenAi.provider(&server.url), &listed).await;
    assert_eq!(fault(&reply.unwrap_err()).0, BadRequest);
}

#[tokio::test]
async fn a_wrong_address_is_no_unknown_model() {
    for dialect in BOTH {
        let page = Answer {
            pieces: vec![say("<html>nothing here")],
            ..Answer::status(404, &json!(0))
        };
        assert_eq!(fault_of(dialect, page).await.0, BadRequest);
        let fast = Answer::status(404, &json!({"detail": "Not Found"}));
        assert_eq!(fault_of(dialect, fast).await.0, BadRequest);
    }
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_and_the_pieces_before_are_void() {
    for dialect in BOTH {
        for status in [429, 500, 503, 529] {
            let server = Server::start(move |before, _| match before {
                0 => Answer::status(status, &refusal()).header("retry-after-ms", "20"),
                _ => dialect.words("hello"),
            })
            .await;
            let (reply, heard) = ask(&*dialect.provider(&server.url), &request()).await;
            assert_eq!(reply.unwrap().text(), "hello");
            assert_eq!(
                (heard.retries().len(), heard.text()),
                (1, "hello".to_owned())
            );
            assert!(!heard.retries()[0].billed, "who refuses charges nothing");
            assert!(!format!("{:?}", heard.all()).contains(KEY));
        }
    }
}

#[tokio::test]
async fn a_provider_that_stays_busy_fails_when_the_patience_with_it_is_over() {
    for dialect in BOTH {
        for (status, expected) in [(429, RateLimited), (500, ServerFault), (529, ServerFault)] {
            let found = fault_of(dialect, Answer::status(status, &refusal())).await;
            assert_eq!((found.0, found.1), (expected, Some(status)));
            assert!((2..60).contains(&found.2), "{found:?}");
        }
    }
}

#[tokio::test]
async fn a_wait_over_the_bound_fails_at_once_and_says_so() {
    for dialect in BOTH {
        let answer = Answer::status(429, &refusal()).header("retry-after", "3600");
        let server = Server::saying(answer).await;
        let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
        let (found, _, message) = fault(&reply.unwrap_err());
        assert_eq!((found, server.requests().len()), (RateLimited, 1));
        assert!(message.contains("3600 s"), "{message}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_seen_within_seconds_by_who_looks() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for dialect in BOTH {
        let mut config = dialect.config(&format!("http://{closed}"));
        let (reply, heard) = ask(&*provider(&config), &request()).await;
        let (found, _, message) = fault(&reply.unwrap_err());
        assert_eq!(found, Unreachable);
        assert!(message.contains("times in at most"), "{message}");
        assert!(!heard.retries().is_empty());
        config.patience = aaos_llm::Patience::default();
        let begun = Instant::now();
        let looked = provider(&config).probe(&model()).await;
        assert_eq!(fault(&looked.unwrap_err()).0, Unreachable);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn an_outage_that_ends_costs_no_request_and_starts_no_storm() {
    const ASKING: usize = 40;
    const FAILING: usize = 8;
    for dialect in BOTH {
        let server = Server::start(move |before, _| match before {
            0..FAILING => Answer::status(503, &refusal()),
            _ => dialect.words("back"),
        })
        .await;
        let mut config = dialect.config(&server.url);
        config.patience.outage = Span::from_secs(60);
        let provider = provider(&config);
        // One finds out; the others come while it is known.
        let first = tokio::spawn({
            let provider = provider.clone();
            async move { ask(&*provider, &request()).await }
        });
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        let others = (0..ASKING).map(|_| {
            let provider = provider.clone();
            tokio::spawn(async move { ask(&*provider, &request()).await })
        });
        for one in others.chain([first]).collect::<Vec<_>>() {
            let (reply, _) = one.await.unwrap();
            assert_eq!(reply.unwrap().text(), "back");
        }
        // Beside the failures, every request once; those that came before the first failure was known failed once each.
        let asked = server.requests().len();
        assert!(
            asked <= ASKING + 1 + FAILING + ASKING,
            "{asked} requests: a storm"
        );
    }
}

#[tokio::test]
async fn one_request_that_always_fails_keeps_no_other_out() {
    for dialect in BOTH {
        let server = Server::start(move |_, seen| {
            if seen.body.to_string().contains("poison") {
                Answer::status(500, &refusal())
            } else {
                dialect.words("well")
            }
        })
        .await;
        let mut config = dialect.config(&server.url);
        config.patience.outage = Span::from_secs(60);
        let provider = provider(&config);
        let mut poison = request();
        poison.system = "poison".to_owned();
        let failing = tokio::spawn({
            let provider = provider.clone();
            async move { ask(&*provider, &poison).await }
        });
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            let (reply, _) = ask(&*provider, &request()).await;
            assert_eq!(reply.unwrap().text(), "well");
        }
        failing.abort();
    }
}

#[tokio::test]
async fn a_wait_until_a_date_is_kept() {
    for dialect in BOTH {
        let server = Server::start(move |before, _| match before {
            0 => Answer::status(429, &refusal())
                .header("date", "Wed, 21 Oct 2026 07:28:00 GMT")
                .header("retry-after", "Wed, 21 Oct 2026 07:28:01 GMT"),
            _ => dialect.words("hello"),
        })
        .await;
        let mut config = dialect.config(&server.url);
        config.patience.outage = Span::from_secs(60);
        let (reply, heard) = ask(&*provider(&config), &request()).await;
        assert_eq!(reply.unwrap().text(), "hello");
        let waits: Vec<u64> = heard.retries().iter().map(|retry| retry.wait_ms).collect();
        assert!(waits.len() == 1 && waits[0] >= 1_000, "{waits:?}");
    }
}

#[tokio::test]
async fn a_host_without_an_address_is_unreachable() {
    let mut config = Dialect::OpenAi.config("http://no-such-host.invalid");
    config.patience = quick();
    let (reply, _) = ask(&*provider(&config), &request()).await;
    assert_eq!(fault(&reply.unwrap_err()).0, Unreachable);
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    for dialect in BOTH {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let (reply, _) = ask(&*dialect.provider(&url), &request()).await;
        assert_eq!(fault(&reply.unwrap_err()).0, TimedOut);
        let begun = [
            vec![dialect.begin()],
            dialect.text(0, "so far"),
            vec![Piece::Hang],
        ]
        .concat();
        assert_eq!(fault_of(dialect, Answer::events(begun)).await.0, TimedOut);
        assert_eq!(
            fault_of(dialect, Answer::events(vec![Piece::Hang])).await.0,
            TimedOut
        );
    }
}

#[tokio::test]
async fn an_error_whose_words_never_come_is_still_its_status() {
    let answer = Answer {
        pieces: vec![Piece::Repeat(vec![b'x'; 4096])],
        ..Answer::status(401, &json!(0))
    };
    assert_eq!(fault_of(Dialect::OpenAi, answer).await.0, Unauthorised);
}

#[tokio::test]
async fn a_stream_that_never_ends_is_left() {
    for dialect in BOTH {
        let mut config = dialect.config("");
        config.patience.total = Span::from_millis(700);
        let pings = vec![dialect.begin(), Piece::Repeat(b": ping\n\n".to_vec())];
        let server = Server::saying(Answer::events(pings)).await;
        config.base_url = dialect.config(&server.url).base_url;
        let (reply, _) = ask(&*provider(&config), &request()).await;
        assert!(matches!(fault(&reply.unwrap_err()).0, TimedOut | BadReply));
        let words = dialect.text(0, &"word ".repeat(2_000)).concat_bytes();
        let endless = vec![dialect.begin(), Piece::Repeat(words)];
        assert_eq!(fault_of(dialect, Answer::events(endless)).await.0, BadReply);
        let line = vec![say("data: {\"x\":\""), Piece::Repeat(vec![b'x'; 16 << 10])];
        assert_eq!(fault_of(dialect, Answer::events(line)).await.0, BadReply);
    }
}

trait ConcatBytes {
    fn concat_bytes(self) -> Vec<u8>;
}

impl ConcatBytes for Vec<Piece> {
    fn concat_bytes(self) -> Vec<u8> {
        let bytes = |piece| {
            if let Piece::Say(bytes) = piece {
                bytes
            } else {
                vec![]
            }
        };
        self.into_iter().flat_map(bytes).collect()
    }
}

#[tokio::test]
async fn what_is_no_stream_of_events_is_no_reply() {
    for dialect in BOTH {
        for kind in ["text/html; charset=utf-8", "application/json", "text/plain"] {
            let page = Answer::events(vec![say("<html>Sign in to this network")])
                .header("content-type", kind);
            assert_eq!(
                fault_of(dialect, page).await,
                (BadReply, Some(200), 1),
                "{kind}"
            );
        }
        let mut bare = dialect.words("hello");
        bare.headers.clear();
        assert_eq!(fault_of(dialect, bare).await.0, BadReply);
    }
}

#[tokio::test]
async fn no_redirect_is_followed_with_a_key() {
    for dialect in BOTH {
        let trap = Server::saying(dialect.words("give me the key")).await;
        let answer = Answer::status(307, &json!({})).header("location", &trap.url);
        assert_eq!(fault_of(dialect, answer).await.0, BadRequest);
        assert_eq!(trap.requests().len(), 0);
    }
}

#[tokio::test]
async fn rubbish_is_no_reply() {
    let rubbish: [&[u8]; 8] = [
        b"",
        b"hello there\n\n",
        b"data: not json\n\n",
        b"data: {\"choices\": 7, \"type\": []}\n\n",
        b"data: \xff\xfe\xfd\n\n",
        b"data: [[[[[[[[\n\n",
        b"data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n",
        b"data: {\"type\":\"content_block_start\",\"index\":-1,\"content_block\":{\"type\":\"tool_use\"}}\n\ndata: [DONE]\n\n",
    ];
    for dialect in BOTH {
        for bytes in rubbish {
            let answer = Answer::events(vec![Piece::Say(bytes.to_vec())]);
            assert_eq!(
                fault_of(dialect, answer).await.0,
                BadReply,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        let deep = format!("data: {}\n\n", "[".repeat(100_000));
        assert_eq!(
            fault_of(dialect, Answer::events(vec![say(&deep)])).await.0,
            BadReply
        );
    }
}

#[tokio::test]
async fn half_a_reply_is_asked_for_whole_a_few_times_and_is_no_reply() {
    for dialect in BOTH {
        let half_call = dialect.half_call(0, "a", "file_read", &["{\"path\": \"/et"]);
        let half_text = dialect.text(0, "so far so");
        for half in [half_call, half_text, vec![]] {
            let answer = Answer::events([vec![dialect.begin()], half].concat());
            let (found, status, posts) = fault_of(dialect, answer).await;
            assert_eq!((found, status), (BadReply, None));
            assert!((2..=6).contains(&posts), "{posts}");
        }
    }
}

#[tokio::test]
async fn half_a_call_is_named() {
    for dialect in BOTH {
        let half = dialect.half_call(0, "a", "file_read", &["{\"path\": \"/et"]);
        let server = Server::saying(Answer::events(half)).await;
        let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
        let (found, _, message) = fault(&reply.unwrap_err());
        assert!(
            found == BadReply && message.contains("`file_read`"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    for dialect in BOTH {
        let server = Server::start(move |before, _| match before {
            0 => Answer::events(
                [
                    vec![dialect.begin()],
                    dialect.text(0, "lost"),
                    vec![Piece::Break],
                ]
                .concat(),
            ),
            _ => dialect.words("kept"),
        })
        .await;
        let (reply, heard) = ask(&*dialect.provider(&server.url), &request()).await;
        assert_eq!(reply.unwrap().text(), "kept");
        assert_eq!(
            (heard.retries().len(), heard.text()),
            (1, "kept".to_owned())
        );
        assert!(heard.retries()[0].billed, "half an answer is paid for");
    }
}

#[tokio::test]
async fn what_may_have_to_be_paid_for_is_told_apart_from_what_is_free() {
    for dialect in BOTH {
        let half = Answer::events([vec![dialect.begin()], vec![Piece::Break]].concat());
        for (answer, billed) in [
            (half, true),
            (Answer::events(vec![say("no event")]), true),
            (Answer::status(401, &refusal()), false),
            (Answer::status(503, &refusal()), false),
        ] {
            let server = Server::saying(answer).await;
            let (reply, heard) = ask(&*dialect.provider(&server.url), &request()).await;
            let error = reply.unwrap_err();
            assert_eq!(error.billed, billed, "{error}");
            assert!(heard.retries().iter().all(|retry| retry.billed == billed));
        }
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let (reply, _) = ask(&*dialect.provider(&url), &request()).await;
        assert!(reply.unwrap_err().billed, "it may be at work unheard");
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_an_error() {
    for (kind, expected, posts) in [
        ("overloaded_error", ServerFault, 2),
        ("rate_limit_error", RateLimited, 2),
        ("authentication_error", Unauthorised, 1),
        ("invalid_request_error", BadRequest, 1),
        ("never_heard_of_it", ServerFault, 1),
    ] {
        for dialect in BOTH {
            let error = json!({"type": "error", "error": {"type": kind, "message": "words"}});
            let answer = Answer::events(vec![dialect.begin(), event(&error)]);
            let found = fault_of(dialect, answer).await;
            assert_eq!(found.0, expected, "{dialect:?} {kind}");
            assert_eq!(
                found.2.min(2),
                posts,
                "{dialect:?} {kind}: asked again or not"
            );
        }
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_reach_the_model_as_they_are() {
    for dialect in BOTH {
        let calls = dialect.call(0, "a", "file_read", &["{\"path\": ", "oops"]);
        let answer = Answer::events([calls, dialect.end(Reason::Tools)].concat());
        let server = Server::saying(answer).await;
        let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
        let reply = reply.unwrap();
        let call = reply.tool_calls()[0].clone();
        assert_eq!(
            call.input,
            Arguments::Malformed("{\"path\": oops".to_owned())
        );
        assert_eq!(reply.stop, Stop::ToolUse);
    }
}

#[tokio::test]
async fn a_huge_call_number_costs_no_memory() {
    for dialect in BOTH {
        let calls = dialect.call(u64::from(u32::MAX), "a", "file_read", &["{}"]);
        let answer = Answer::events([calls, dialect.end(Reason::Tools)].concat());
        let server = Server::saying(answer).await;
        let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
        assert_eq!(reply.unwrap().tool_calls().len(), 1);
    }
}

#[tokio::test]
async fn hundreds_of_calls_are_no_reply() {
    for dialect in BOTH {
        let calls: Vec<Piece> = (0..500)
            .flat_map(|index| dialect.call(index, &format!("c{index}"), "file_read", &["{}"]))
            .collect();
        let answer = Answer::events([calls, dialect.end(Reason::Tools)].concat());
        assert_eq!(fault_of(dialect, answer).await.0, BadReply);
    }
}

#[tokio::test]
async fn each_way_of_stopping_is_told_apart() {
    let cases = [
        (Reason::Stop, Stop::EndTurn),
        (Reason::Length, Stop::OutputLimit),
        (Reason::Refusal, Stop::Refusal),
    ];
    for dialect in BOTH {
        for (reason, expected) in cases {
            let answer = Answer::events([dialect.text(0, "words"), dialect.end(reason)].concat());
            let server = Server::saying(answer).await;
            let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
            assert_eq!(reply.unwrap().stop, expected);
        }
        let answer =
            Answer::events([dialect.text(0, "words"), dialect.end(Reason::Unknown)].concat());
        assert_eq!(fault_of(dialect, answer).await.0, BadReply);
    }
}

#[tokio::test]
async fn a_call_cut_by_the_output_limit_is_a_cut_reply_not_a_broken_one() {
    for dialect in BOTH {
        let half = dialect.half_call(0, "a", "file_read", &["{\"path\": \"/et"]);
        let server =
            Server::saying(Answer::events([half, dialect.end(Reason::Length)].concat())).await;
        let (reply, _) = ask(&*dialect.provider(&server.url), &request()).await;
        assert_eq!(reply.unwrap().stop, Stop::OutputLimit);
    }
}

#[tokio::test]
async fn a_server_that_counts_absurdly_breaks_nothing() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "prompt_tokens_details": {"cached_tokens": u64::MAX}}});
    let pieces = [
        Dialect::OpenAi.text(0, "x"),
        Dialect::OpenAi.end(Reason::Stop),
        vec![],
    ]
    .concat();
    let mut pieces = pieces;
    pieces.insert(2, event(&usage));
    let server = Server::saying(Answer::events(pieces)).await;
    let (reply, _) = ask(&*Dialect::OpenAi.provider(&server.url), &request()).await;
    assert!(reply.is_ok());
}

#[tokio::test]
async fn every_fault_names_provider_model_and_next_step() {
    let found: ProviderFault = fault_of(Dialect::Anthropic, Answer::status(418, &json!({})))
        .await
        .0;
    assert_eq!(found, BadRequest);
    let server = Server::saying(Answer::status(401, &refusal())).await;
    let (reply, _) = ask(&*Dialect::Anthropic.provider(&server.url), &request()).await;
    let text = reply.unwrap_err().to_string();
    for part in [
        "main/m",
        "HTTP 401",
        "agentd configure",
        "ANTHROPIC_API_KEY",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
