//! Scripts of replies: which entry answers, and what a script that does not fit says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and measures"
)]

mod support;

use aaos_core::{
    failure::ProviderFault,
    model::{Arguments, Message, Purpose, Request, Stop},
    value::Value,
};
use aaos_llm::provider::scripted::Scripted;
use aaos_ports::provider::Provider;
use serde_json::json;
use support::*;

fn script(text: &str) -> Scripted {
    Scripted::parse("replies", text).unwrap()
}

fn turn(role: &str, subtask: &str) -> Request {
    let mut request = request();
    request.purpose = Purpose::Turn {
        role: role.parse().unwrap(),
        subtask: Some(subtask.parse().unwrap()),
        task: format!("the task of {subtask}"),
        params: [("path".to_owned(), vec![Value::text("/runs/1/out.md")])].into(),
    };
    request
}

async fn text(script: &Scripted, request: &Request) -> String {
    ask(script, request)
        .await
        .0
        .map_or_else(|error| error.to_string(), |reply| reply.text())
}

#[tokio::test]
async fn the_first_entry_that_fits_and_is_left_answers() {
    let script = script(
        r#"
{"match": {"role": "writer", "subtask": "b"}, "reply": {"text": "for b"}}
{"match": {"role": "writer"}, "reply": {"text": "twice"}, "times": 2}

{"reply": {"text": "many"}, "times": "many"}
"#,
    );
    let mut said = Vec::new();
    for subtask in ["a", "b", "b", "c", "d"] {
        said.push(text(&script, &turn("writer", subtask)).await);
    }
    assert_eq!(said, ["twice", "for b", "twice", "many", "many"]);
}

#[tokio::test]
async fn an_agents_turns_are_told_apart() {
    let script = script(
        "[{match: {turn: 1}, reply: {text: one}, times: many}, {match: {turn: 2}, reply: {text: two}, times: many}]",
    );
    let mut request = turn("writer", "a");
    assert_eq!(text(&script, &request).await, "one");
    request.messages.push(Message::Assistant { blocks: vec![] });
    request.messages.push(Message::User {
        text: "go on".into(),
    });
    assert_eq!(text(&script, &request).await, "two");
    assert_eq!(text(&script, &turn("writer", "b")).await, "one");
}

#[tokio::test]
async fn parameters_are_filled_in_and_nothing_else() {
    let script = script(
        r#"{"reply": {"text": "to ${path} not ${other}", "tool_calls": [{"name": "file_write", "input": {"path": "${path}", "content": ["${path}", 1]}}, {"name": "x", "malformed": "{oops"}]}}"#,
    );
    let reply = ask(&script, &turn("writer", "a")).await.0.unwrap();
    assert_eq!(reply.text(), "to /runs/1/out.md not ${other}");
    let input = json!({"path": "/runs/1/out.md", "content": ["/runs/1/out.md", 1]});
    assert_eq!(reply.tool_calls()[0].input, Arguments::Json(input));
    assert_eq!(
        reply.tool_calls()[1].input,
        Arguments::Malformed("{oops".into())
    );
    assert_eq!(reply.stop, Stop::ToolUse);
    assert_eq!(reply.model, "scripted (replies)");
}

#[tokio::test]
async fn a_request_that_nothing_fits_is_named_in_the_failure() {
    let script = script(r#"{"match": {"purpose": "plan"}, "reply": {"json": {"subtasks": []}}}"#);
    let (found, _, message) = fault(&ask(&script, &turn("writer", "a")).await.0.unwrap_err());
    assert_eq!(found, ProviderFault::ScriptEnded);
    assert!(
        message.contains("role writer")
            && message.contains("subtask a")
            && message.contains("the task of a"),
        "{message}"
    );
    let mut plan = request();
    plan.purpose = Purpose::Plan {
        goal: "g".into(),
        base: "/".into(),
        roles: vec![],
        problems: vec![],
    };
    assert_eq!(text(&script, &plan).await, r#"{"subtasks":[]}"#);
    assert!(text(&script, &plan).await.contains("no entry is left"));
}

#[tokio::test]
async fn a_script_may_fail_as_a_provider_does() {
    let script =
        script(r#"{"reply": {"fail": {"fault": "server", "status": 503, "message": "busy"}}}"#);
    let error = ask(&script, &request()).await.0.unwrap_err();
    assert_eq!(
        fault(&error),
        (ProviderFault::Server, Some(503), "busy".to_owned())
    );
}

#[test]
fn a_broken_script_is_refused_with_file_and_line() {
    for (text, place) in [
        ("{\"reply\": {}}\n{\"reply\": {\"txt\": 1}}\n", "line 2"),
        ("{\"reply\": {}}\n{oops\n", "line 2"),
        ("- reply: { text: a }\n- reply: { tool_calls: 7 }\n", "2"),
        ("- match: { purpose: sing }\n  reply: {}\n", "1"),
        ("- reply: { delay_ms: 99999999999 }\n", "delay_ms"),
        ("just words", ""),
    ] {
        let error = Scripted::parse("/x/replies.yaml", text)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/x/replies.yaml: ") && error.contains(place),
            "{error}"
        );
    }
}

#[tokio::test]
async fn thousands_of_requests_at_once_are_answered_without_delay() {
    let script = script(
        "[{match: {turn: 1}, times: many, reply: {tool_calls: [{name: echo, input: {text: hi}}]}}, {times: many, reply: {text: done}}]",
    );
    let begun = std::time::Instant::now();
    let requests: Vec<Request> = (0..5_000)
        .map(|number| turn("writer", &format!("s{number}")))
        .collect();
    let replies =
        futures::future::join_all(requests.iter().map(|request| ask(&script, request))).await;
    assert!(replies.iter().all(|(reply, _)| reply.is_ok()));
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(script.label(&requests[0].model), "scripted (replies)");
}
