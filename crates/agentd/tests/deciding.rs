//! What an operator decides on is what happens: rules that hold, previews that tell all, answers that are for exactly
//! what was shown.
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
use stage::{of_kind, turns};
use std::net::TcpListener;

const DIRECT: [&str; 2] = ["--orchestration", "direct"];

/// A run that makes one call after the other, which waits at the first.
fn asking(place: &Place, flags: &[&str], calls: &[(&str, Value)]) -> (String, String) {
    place.script(&turns(calls));
    let run = place.submit(&[&DIRECT[..], flags].concat(), "do it");
    let call = place.waits(&run);
    (run, call)
}

fn show(place: &Place, call: &str) -> String {
    let shown = place.run(&["approvals", "show", call]);
    assert_eq!(shown.code, 0, "{shown:?}");
    shown.out
}

fn refused(done: &Done, words: &[&str]) {
    assert_eq!(done.code, 2, "{done:?}");
    for word in words {
        assert!(done.err.contains(word), "{word}: {}", done.err);
    }
}

#[test]
fn a_file_that_changed_after_it_was_shown_is_asked_about_again() {
    let place = Place::new();
    place.work("out.txt", "what was there\n");
    let write = json!({ "path": "out.txt", "content": "new\n" });
    let flags = ["--ask", "tool: file_write"];
    let (run, call) = asking(&place, &flags, &[("file_write", write)]);
    let shown = show(&place, &call);
    assert!(shown.contains("-what was there"));
    let sign = shown.split("--seen ").nth(1).unwrap();
    let sign = sign.split('`').next().unwrap();
    place.work("out.txt", "what somebody wrote meanwhile\n");
    let approve = ["approvals", "approve", &call, "--seen", sign];
    assert_eq!(place.run(&approve).code, 0);
    stage::wait_for("the second question", || {
        of_kind(&place.events(&run), "approval_requested").len() == 2
    });
    assert_eq!(place.waits(&run), call);
    refused(&place.run(&approve), &["than what was looked at"]);
    assert!(show(&place, &call).contains("-what somebody wrote meanwhile"));
    assert_eq!(place.run(&["approvals", "deny", &call]).code, 0);
    let attached = place.run(&["attach", &run]);
    assert_eq!(attached.code, 0, "{attached:?}");
    let again = "asked again because what it would do has changed";
    assert!(attached.out.contains(again), "{}", attached.out);
    let kept = std::fs::read_to_string(place.path("work/out.txt")).unwrap();
    assert_eq!(kept, "what somebody wrote meanwhile\n");
    assert!(of_kind(&place.events(&run), "tool_invoked").is_empty());
    assert_eq!(place.run(&["replay", &run]).code, 0, "it replays the same");
}

#[test]
fn a_request_to_this_machine_is_asked_about_by_a_rule_for_every_host() {
    let place = Place::new();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/orders", service.local_addr().unwrap());
    let body = format!("{}the last word", "word \u{202e} ".repeat(2_000));
    let headers = json!({ "x-reason": "nothing\nsend POST http://elsewhere/" });
    let order = json!({ "method": "POST", "url": url, "body": body, "headers": headers });
    let grant = format!("http: POST {url}");
    let flags = ["--grant", &grant, "--ask", "http: POST *"];
    let (run, call) = asking(&place, &flags, &[("http_send", order)]);
    let shown = show(&place, &call);
    for told in [
        &format!("send POST {url}"),
        "  content-type: application/json",
        "  x-reason: nothing send POST",
        "the last word",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    assert!(!shown.contains('\u{202e}'), "it turns the text around");
    assert_eq!(place.run(&["approvals", "deny", &call]).code, 0);
    assert_eq!(place.run(&["attach", &run]).code, 0);
    service.set_nonblocking(true).unwrap();
    assert!(service.accept().is_err(), "nothing was sent");
}

#[test]
fn what_is_approved_ahead_shows_and_ends_where_another_rule_begins() {
    let place = Place::new();
    let write = |path: &str| ("file_write", json!({ "path": path, "content": "x" }));
    let calls = [write("kept/one"), write("kept/two"), write("secret/three")];
    let flags = [
        "--ask",
        "file_write: ./**",
        "--ask",
        "file_write: ./secret/**",
    ];
    let (run, call) = asking(&place, &flags, &calls);
    let always = ["approvals", "approve", "--always", "1h", &call];
    assert_eq!(place.run(&always).code, 0);
    let view = place.until(&run, |view| {
        let preview = view["waiting"][0]["preview"].as_str();
        preview.is_some_and(|preview| preview.contains("three"))
    });
    assert!(place.path("work/kept/two").exists());
    let status = place.run(&["status", &run]);
    assert!(
        status.out.contains("not for file_write by `file_write: /"),
        "{}",
        status.out
    );
    let second = view["waiting"][0]["call"].as_str().unwrap();
    assert_eq!(place.run(&["approvals", "deny", second]).code, 0);
    assert_eq!(place.run(&["attach", &run]).code, 0);
    assert!(!place.path("work/secret/three").exists());
}

#[test]
fn a_rule_or_a_limit_that_would_hold_nothing_is_refused_and_says_why() {
    let place = Place::new();
    let asked = |rule: &str| place.run(&["submit", "--ask", rule, "list the files"]);
    refused(&asked("tool: git_comit"), &["`git_comit`", "git_commit"]);
    refused(&asked("tool: [file_write, svn_up]"), &["svn_up", "--ask"]);
    refused(
        &asked("tool: file_write {uses=3}"),
        &["a rule has no limits"],
    );
    refused(&asked("custom.deploy"), &["none is asked about"]);
    assert_eq!(place.run(&["list", "--json"]).json(), json!([]));
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);

    let roles = place.path("config/aaos/roles");
    std::fs::create_dir_all(&roles).unwrap();
    let role = "name: keeper\nsummary: Keeps.\nprompt: Keep.\napprove: [\"tool: git_comit\"]\n";
    std::fs::write(roles.join("keeper.yaml"), role).unwrap();
    let shown = place.run(&["submit", "list the files in ."]);
    let told = "tool: git_comit (by keeper; there is no such tool)";
    assert!(shown.code == 0 && shown.out.contains(told), "{shown:?}");

    for (config, words) in [
        (
            "[approvals]\nask = [\"tool: git_comit\"]\n",
            &["`git_comit`", "[approvals]", "config.toml:2"][..],
        ),
        (
            "[approvals]\nask = [\"http: POST * {uses=1}\"]\n",
            &["a rule has no limits", "config.toml"],
        ),
        (
            "[budget.roles.fetchr]\ntokens = 1000\n",
            &["`fetchr`", "config.toml:1", "agentd roles list"],
        ),
    ] {
        let place = Place::new();
        place.config(config);
        refused(&place.run(&["submit", "list the files"]), words);
    }
}

#[test]
fn a_limit_on_money_is_refused_where_nobody_knows_what_the_model_costs() {
    let place = Place::new();
    let provider = "[providers.far]\nkind = \"openai\"\nbase_url = \"https://models.invalid/v1\"\nmodel = \"m\"\n";
    let models = "[models]\nplanner = \"far/m\"\nworker = \"far/m\"\nreasoner = \"far/m\"\n";
    place.config(&format!("{provider}{models}"));
    let submit = |flags: &[&str]| place.run(&[&["submit", "--detach"], flags, &["think"]].concat());
    let told = ["`far/m`", "prices.toml", "--budget 200ktokens"];
    refused(&submit(&["--budget", "0.50usd"]), &told);
    let detached = submit(&["--budget", "9ktokens"]);
    assert_eq!(detached.code, 0, "{detached:?}");
    let run = detached.out.trim();
    let view = place.view(run);
    assert!(
        view["model"].to_string().contains("no price known"),
        "{view:#}"
    );
    assert_eq!(place.run(&["stop", run]).code, 0);

    let place = Place::new();
    place.config(&format!(
        "{provider}{models}[budget.day]\ncost = \"5usd\"\n"
    ));
    refused(&place.run(&["submit", "think"]), &told);
    let price = "[[price]]\nprovider = \"far\"\nmodel = \"m\"\ninput = 1\noutput = 1\n";
    std::fs::write(place.path("config/aaos/prices.toml"), price).unwrap();
    let run = place.submit(&[], "think");
    assert_eq!(place.run(&["stop", &run]).code, 0);
}

#[test]
fn a_limit_on_money_is_refused_where_nobody_knows_what_a_roles_own_model_costs() {
    let place = Place::new();
    place.script(&turns(&[]));
    let config = std::fs::read_to_string(place.path("config/aaos/config.toml")).unwrap();
    let far = "[providers.far]\nkind = \"openai\"\nbase_url = \"https://models.invalid/v1\"\nmodel = \"m\"\n";
    place.config(&format!("{config}{far}"));
    let submit =
        |flags: &[&str]| place.run(&[&["submit"], &DIRECT[..], flags, &["think"]].concat());
    let run_of = |goes: &Done| {
        assert_eq!(goes.code, 0, "{goes:?}");
        let list = place.run(&["list", "--json"]).json();
        list[0]["run"].as_str().unwrap().to_owned()
    };
    let before = run_of(&submit(&["--budget", "0.50usd"]));
    let at = place.view(&before)["subtasks"][0]["id"].clone();
    let fork = |run: &str, flags: &[&str]| {
        place.run(&[&["fork", run, "--at", at.as_str().unwrap()], flags].concat())
    };

    let role = "name: thinker\nsummary: Thinks.\nprompt: Think.\nmodel: far/m\n";
    std::fs::create_dir_all(place.path("config/aaos/roles")).unwrap();
    std::fs::write(place.path("config/aaos/roles/thinker.yaml"), role).unwrap();
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let told = ["`far/m`", "the role `thinker`", "prices.toml"];
    refused(&submit(&["--budget", "0.50usd"]), &told);
    let named = ["--model", "script/a", "--budget", "0.50usd"];
    let named = run_of(&submit(&named));
    let unlimited = run_of(&submit(&[]));

    // What a fork may ask is what the other run may, unless a model is named.
    assert_eq!(fork(&before, &["--budget", "7calls"]).code, 0);
    assert_eq!(fork(&named, &["--budget", "7calls"]).code, 0);
    refused(&fork(&unlimited, &["--budget", "0.40usd"]), &told);
    let other = ["--model", "far/m", "--budget", "7calls"];
    refused(&fork(&before, &other), &["`far/m`", "prices.toml"]);
}

#[test]
fn the_first_lines_of_a_run_and_of_a_fork_say_what_it_may_use() {
    let place = Place::new();
    place.script(&turns(&[]));
    let flags = ["--orchestration", "direct", "--budget", "0.50usd"];
    let done = place.run(&[&["submit"], &flags[..], &["think"]].concat());
    assert!(
        done.code == 0 && done.out.contains("may use $0.50, "),
        "{done:?}"
    );
    let run = place.run(&["list", "--json"]).json()[0]["run"].clone();
    let run = run.as_str().unwrap();
    let at = place.view(run)["subtasks"][0]["id"].clone();
    let fork = [
        "fork",
        run,
        "--at",
        at.as_str().unwrap(),
        "--budget",
        "7calls",
    ];
    let forked = place.run(&fork);
    assert!(
        forked.code == 0
            && forked.out.contains("may use $0.50, ")
            && forked.out.contains(" 7 calls"),
        "{forked:?}"
    );
}
