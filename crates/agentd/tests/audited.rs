//! Attempts to get out are in the journal: what was tried, where it ran, that it failed, and each connection by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{Done, Place};
use serde_json::{Value, json};
use stage::{Web, objects, of_kind};

/// Runs one agent that makes these calls one after the other, with these grants beside the default profile.
fn attempted(place: &Place, calls: &[(&str, Value)], grants: &[String]) -> Vec<Value> {
    let plan = json!({ "subtasks": [{ "id": "try", "role": "generalist", "task": "try", "params": {} }], "result": "try" });
    let mut script = vec![json!({ "match": { "purpose": "plan" }, "reply": { "json": plan } })];
    for (turn, (name, input)) in calls.iter().enumerate() {
        let reply = json!({ "tool_calls": [{ "name": name, "input": input }] });
        script.push(json!({ "match": { "purpose": "turn", "turn": turn + 1 }, "reply": reply }));
    }
    script.push(json!({ "match": { "purpose": "turn" }, "reply": { "text": "all of it failed" } }));
    place.script(&script);
    let mut arguments = vec!["submit", "--json", "--orchestration", "plan"];
    for grant in grants {
        arguments.extend(["--grant", grant]);
    }
    arguments.push("try to get out");
    let mut command = place.command(&arguments);
    let done = Done::from(command.env("PATH", "/usr/bin:/bin").output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    objects(&done.out)
}

#[test]
fn what_a_program_tried_is_in_the_journal_as_failed() {
    let place = Place::new();
    let grants = ["sh", "cat"].map(|program| format!("exec: {program} in ./**"));
    let shell = |line: &str| ("shell", json!({ "command": line }));
    let calls = [
        shell("cat /etc/shadow"),
        shell("perl -e 1"),
        shell("cat /proc/1/environ"),
        shell("echo x > /etc/passwd"),
        ("shell", json!({ "command": "perl", "args": ["-e", "1"] })),
    ];
    let events = attempted(&place, &calls, &grants);
    let invoked = of_kind(&events, "tool_invoked");
    assert_eq!(invoked.len(), 4, "{invoked:#?}");
    assert!(
        invoked
            .iter()
            .all(|event| event["execution_surface"] == "worker"),
        "{invoked:#?}"
    );
    let results = of_kind(&events, "tool_result");
    assert_eq!(results.len(), 4, "{results:#?}");
    for result in &results {
        let told = result["result_preview"].as_str().unwrap();
        assert!(told.contains("\"exit_code\":"), "{result:#}");
        assert!(!told.contains("\"exit_code\":0"), "{result:#}");
    }
    // What no grant names does not get as far as a program.
    let denied = of_kind(&events, "capability_denied");
    assert_eq!(denied.len(), 1, "{denied:#?}");
    assert!(denied[0]["need"].as_str().unwrap().contains("perl"));
}

#[test]
fn every_connection_of_a_fetch_is_in_the_journal_allowed_or_refused() {
    let place = Place::new();
    let pages = [("/".to_owned(), ("text/plain", "a page".to_owned()))];
    let web = Web::serve(pages.into_iter().collect());
    let other = Web::serve(stage::Pages::default());
    let fetch = |url: String| ("web_fetch", json!({ "url": url }));
    let calls = [
        fetch(format!("{}/", web.url())),
        fetch("http://169.254.169.254/latest/meta-data/".to_owned()),
        fetch(format!("{}/", other.url())),
    ];
    let events = attempted(&place, &calls, &[web.grant()]);
    let allowed = of_kind(&events, "connection_allowed");
    assert_eq!(allowed.len(), 1, "{allowed:#?}");
    assert!(
        allowed[0]["address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1")
    );
    // Both others are refused before a connection is tried.
    let denied = of_kind(&events, "capability_denied").len();
    let refused = of_kind(&events, "connection_refused").len();
    assert_eq!(denied + refused, 2, "{events:#?}");
}
