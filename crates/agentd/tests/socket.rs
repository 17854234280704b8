//! What the socket does with what no honest peer sends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{Peer, Place};
use serde_json::{Value, json};

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or(0)
}

#[test]
fn garbage_is_refused_by_its_code_and_the_daemon_lives() {
    let place = Place::new();
    let mut peer = place.connect();
    peer.send(b"\x00\xff\xfe garbage \x1b[2J\n");
    assert_eq!(code(&peer.line().unwrap()), -32700);
    assert_eq!(
        code(&peer.ask(r#"{"jsonrpc":"2.0","id":1,"method":"#)),
        -32700
    );
    assert_eq!(
        code(&peer.ask(r#"[{"jsonrpc":"2.0","id":1,"method":"daemon.status"}]"#)),
        -32600
    );
    let unknown = peer.ask(r#"{"jsonrpc":"2.0","id":7,"method":"agent.explode"}"#);
    assert_eq!((code(&unknown), unknown["id"].as_i64()), (-32601, Some(7)));
    assert!(
        unknown["error"]["data"]["next_step"]
            .as_str()
            .unwrap()
            .contains("run.submit")
    );
    let params = peer.ask(
        r#"{"jsonrpc":"2.0","id":"x","method":"run.stop","params":{"run":"run-1","force":true}}"#,
    );
    assert_eq!((code(&params), params["id"].as_str()), (-32602, Some("x")));
    assert!(peer.is_served());
}

#[test]
fn half_a_request_at_the_end_of_a_connection_is_no_harm() {
    let place = Place::new();
    let mut peer = place.connect();
    peer.send(br#"{"jsonrpc":"2.0","id":1,"meth"#);
    peer.finish();
    // A last line without its end is taken as a line.
    assert_eq!(code(&peer.line().unwrap()), -32700);
    assert!(peer.line().is_none());
    assert!(Peer::open(&place.socket()).is_served());
}

#[test]
fn a_line_over_the_limit_is_refused_and_the_connection_goes_on() {
    let place = Place::new();
    let mut peer = place.connect();
    let mut line = vec![b'x'; 5 * 1024 * 1024];
    line.push(b'\n');
    let mut sender = Peer::open(&place.socket());
    let sent = std::thread::spawn(move || {
        sender.send(&line);
        sender
    });
    let mut sender = sent.join().unwrap();
    let refused = sender.line().unwrap();
    assert_eq!(code(&refused), -32600, "{refused}");
    assert!(sender.is_served());
    assert!(peer.is_served());
}

#[test]
fn a_goal_of_a_megabyte_is_refused_by_name_and_nothing_is_started() {
    let place = Place::new();
    let mut peer = place.connect();
    let goal = "word ".repeat(200_000);
    let base = place.path("work").display().to_string();
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "run.submit", "params": { "goal": goal, "base": base } });
    let answer = peer.ask(&request.to_string());
    assert_eq!(code(&answer), -32005, "{answer}");
    let problem = answer["error"]["data"]["problem"].as_str().unwrap();
    assert!(
        problem.contains("65536") && problem.len() < 500,
        "{problem}"
    );
    let list = peer.ask(r#"{"jsonrpc":"2.0","id":2,"method":"run.list"}"#);
    assert_eq!(list["result"], json!([]));
}

#[test]
fn an_empty_or_binary_goal_is_refused() {
    let place = Place::new();
    let mut peer = place.connect();
    let base = place.path("work").display().to_string();
    for goal in ["", "   ", "a\u{0}b", "\u{1b}[2J"] {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "run.submit", "params": { "goal": goal, "base": base } });
        assert_eq!(code(&peer.ask(&request.to_string())), -32005, "{goal:?}");
    }
}

#[test]
fn two_hundred_connections_are_served_or_told_why_not() {
    let place = Place::new();
    drop(place.connect());
    let mut peers: Vec<Peer> = (0..200).map(|_| Peer::open(&place.socket())).collect();
    let mut served = 0;
    let mut refused = 0;
    for peer in &mut peers {
        peer_asks(peer, &mut served, &mut refused);
    }
    assert_eq!(served + refused, 200);
    assert!(served >= 120, "served {served}");
    assert!(refused >= 70, "refused {refused}");
    drop(peers);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(Peer::open(&place.socket()).is_served());
}

fn peer_asks(peer: &mut Peer, served: &mut u32, refused: &mut u32) {
    // The daemon turns a connection too many away before it reads, so the refusal may be there already.
    let _ = peer.try_send(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tool.list\"}\n");
    let answer = peer.line().unwrap();
    match code(&answer) {
        0 => *served += 1,
        -32002 => *refused += 1,
        other => panic!("{other}"),
    }
}

#[test]
fn many_requests_on_one_connection_are_all_answered() {
    let place = Place::new();
    let mut peer = place.connect();
    let requests: String = (0..500)
        .map(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"daemon.status\"}}\n"))
        .collect();
    peer.send(requests.as_bytes());
    let ids: std::collections::BTreeSet<i64> = (0..500)
        .map(|_| peer.line().unwrap()["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids.len(), 500);
}

#[test]
fn a_grant_that_does_not_parse_starts_nothing() {
    let place = Place::new();
    let mut peer = place.connect();
    let base = place.path("work").display().to_string();
    for grants in [
        json!(["file_read"]),
        json!(["file_read: ../../etc"]),
        json!(["tool: x\nfile_read: /**"]),
        json!(["http: GET http://169.254.169.254"]),
    ] {
        let params = json!({ "goal": "list the files", "base": base, "grants": grants });
        let request =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "run.submit", "params": params });
        assert_eq!(code(&peer.ask(&request.to_string())), -32005, "{grants}");
    }
}
