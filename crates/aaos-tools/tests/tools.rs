//! The built-in tools against the testkit's world: what they answer, what they refuse, what they leave alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use aaos_core::{
    approval::Preview,
    capability::Need,
    id::CallId,
    tool::{Effect, Recovery},
    value::Value as Output,
};
use aaos_ports::{AnyTool, Happened, PowerError, Powers, Question, Spawn, ToolError, power::Child};
use aaos_testkit::{
    backend::OpenGate,
    files::{MemoryTree, Node},
    http::{Page, Pages},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn tool(name: &str) -> Arc<dyn AnyTool> {
    aaos_tools::builtin()
        .into_iter()
        .find(|tool| tool.spec().name.as_str() == name)
        .unwrap()
}

fn none() -> Powers {
    Powers::none(CallId::from_drawn(1), Arc::new(OpenGate::default()))
}

/// Files beneath `/w`, readable and writable.
struct World(MemoryTree);

impl World {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let tree = MemoryTree::default();
        tree.put("/w", Node::Directory);
        for (path, content) in files {
            tree.put(path, Node::File(content.to_vec()));
        }
        Self(tree)
    }

    async fn call(&self, name: &str, input: Value) -> Result<Value, ToolError> {
        let grants = ["file_read: /w/*", "file_write: /w/*"].map(|grant| grant.parse().unwrap());
        let powers = none().with_files(Arc::new(self.0.power(&grants, "/w")));
        tool(name)
            .call(input, &powers)
            .await
            .map(|output| output.json)
    }

    /// What a tool answers to a question about a call. What would be written may be looked at, as a worker lets it.
    async fn ask(&self, name: &str, input: &Value, question: Question) -> Value {
        let grants = ["file_read: /w/*", "file_write: /w/*"].map(|grant| grant.parse().unwrap());
        let powers = none().with_files(Arc::new(self.0.power(&grants, "/w")));
        let answer = tool(name).consider(question, input.clone(), &powers).await;
        answer.unwrap().json
    }

    /// As a tool tells later, by what was seen before, whether its call happened.
    async fn happened(&self, name: &str, input: &Value, evidence: &Value) -> Happened {
        let evidence = evidence.clone();
        let told = self.ask(name, input, Question::Happened { evidence });
        serde_json::from_value(told.await).unwrap()
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.0.content(path).unwrap()).unwrap()
    }
}

fn failed(outcome: Result<Value, ToolError>) -> String {
    match outcome {
        Err(ToolError::Failed(text) | ToolError::Input { problem: text, .. }) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn inputs_that_are_not_named_are_refused_and_needs_are_declared() {
    for built in aaos_tools::builtin() {
        let refused = built.needs(&json!({"bogus": 1}));
        assert!(
            matches!(refused, Err(ToolError::Input { .. })),
            "{}",
            built.spec().name
        );
        for rubbish in [
            json!(null),
            json!([]),
            json!("x"),
            json!({}),
            json!({"path": 7}),
        ] {
            assert!(
                built.needs(&rubbish).is_err(),
                "{} {rubbish}",
                built.spec().name
            );
        }
    }
    let needs = |name: &str, input: Value| tool(name).needs(&input).unwrap();
    assert_eq!(needs("file_read", json!({"path": "a"})), [Need::read("a")]);
    assert_eq!(
        needs(
            "file_edit",
            json!({"path": "a", "old_string": "x", "new_string": "y"})
        ),
        [Need::read("a"), Need::write("a")]
    );
    assert_eq!(
        needs("grep", json!({"path": "a", "pattern": "x"})),
        [Need::read_tree("a")]
    );
    assert_eq!(
        needs("file_list", json!({"path": "a", "recursive": true})),
        [Need::read_tree("a")]
    );
    assert_eq!(
        needs("web_fetch", json!({"url": "https://h.example/x"})),
        [Need::get("https://h.example/x".parse().unwrap())]
    );
    assert_eq!(
        needs("spawn_agent", json!({"role": "writer", "task": "x"})),
        [Need::Spawn("writer".parse().unwrap())]
    );
}

#[tokio::test]
async fn a_tool_without_its_power_says_so() {
    for (name, input) in [
        ("file_read", json!({"path": "a"})),
        ("web_fetch", json!({"url": "http://h.example/"})),
        ("spawn_agent", json!({"role": "writer", "task": "x"})),
    ] {
        let outcome = tool(name).call(input, &none()).await;
        assert!(
            matches!(outcome, Err(ToolError::Power(PowerError::NotHeld(_)))),
            "{name}: {outcome:?}"
        );
    }
    let echoed = tool("echo")
        .call(json!({"message": "hi"}), &none())
        .await
        .unwrap();
    assert_eq!(echoed.json, json!({"message": "hi"}));
}

#[tokio::test]
async fn a_file_is_read_by_numbered_lines() {
    let world = World::new(&[("/w/a.txt", b"one\ntwo\r\nthree")]);
    let whole = world
        .call("file_read", json!({"path": "a.txt"}))
        .await
        .unwrap();
    assert_eq!(
        whole,
        json!({
            "path": "/w/a.txt", "content": "     1\tone\n     2\ttwo\r\n     3\tthree\n", "size_bytes": 14,
            "total_lines": 3, "offset": 1, "returned_lines": 3, "truncated": false
        })
    );
    let page = world
        .call(
            "file_read",
            json!({"path": "a.txt", "offset": 2, "limit": 1}),
        )
        .await
        .unwrap();
    assert_eq!(
        (page["content"].as_str(), page["truncated"].as_bool()),
        (Some("     2\ttwo\r\n"), Some(true))
    );
    let beyond = world
        .call("file_read", json!({"path": "a.txt", "offset": 9}))
        .await
        .unwrap();
    assert_eq!(
        (
            beyond["returned_lines"].as_u64(),
            beyond["truncated"].as_bool()
        ),
        (Some(0), Some(false))
    );
    assert!(beyond["note"].as_str().unwrap().contains("only 3 lines"));
}

#[tokio::test]
async fn a_large_file_is_paged_and_odd_ones_are_named() {
    let large: String = (1..=300_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    let world = World::new(&[
        ("/w/large", large.as_bytes()),
        ("/w/wide", &vec![b'x'; 3_000_000]),
        ("/w/latin", b"caf\xe9\n"),
        ("/w/binary", b"\x7fELF\0\0"),
        ("/w/empty", b""),
    ]);
    let page = world
        .call(
            "file_read",
            json!({"path": "large", "offset": 299_999, "limit": 5}),
        )
        .await
        .unwrap();
    assert_eq!(
        page["content"],
        "299999\tline 299999\n300000\tline 300000\n"
    );
    assert_eq!(
        (page["total_lines"].as_u64(), page["truncated"].as_bool()),
        (Some(300_000), Some(false))
    );
    let first = world
        .call("file_read", json!({"path": "large", "limit": 300_000}))
        .await
        .unwrap();
    assert!(first["content"].as_str().unwrap().len() <= 256 * 1024 && first["truncated"] == true);
    let wide = world
        .call("file_read", json!({"path": "wide"}))
        .await
        .unwrap();
    assert!(
        wide["content"].as_str().unwrap().ends_with("(line cut)\n") && wide["truncated"] == true
    );
    let latin = world
        .call("file_read", json!({"path": "latin"}))
        .await
        .unwrap();
    assert!(
        latin["content"].as_str().unwrap().contains("caf\u{fffd}")
            && latin["note"].as_str().unwrap().contains("UTF-8")
    );
    assert!(failed(world.call("file_read", json!({"path": "binary"})).await).contains("binary"));
    let empty = world
        .call("file_read", json!({"path": "empty"}))
        .await
        .unwrap();
    assert_eq!(
        (empty["total_lines"].as_u64(), empty["content"].as_str()),
        (Some(0), Some(""))
    );
}

#[tokio::test]
async fn several_files_are_read_each_with_its_own_outcome() {
    let world = World::new(&[
        ("/w/a", b"aa"),
        ("/w/huge", &vec![b'x'; 1024 * 1024 + 1]),
        ("/w/d/b", b"\0"),
    ]);
    world.0.put("/w/link", Node::Link);
    world.0.put("/w/pipe", Node::Fifo);
    let paths = [
        "a",
        "none",
        "link",
        "link/x",
        "pipe",
        "d",
        "huge",
        "/etc/passwd",
        "d/b",
    ];
    let output = world
        .call("file_read_many", json!({ "paths": paths }))
        .await
        .unwrap();
    assert_eq!(output["count"], 9);
    assert_eq!(
        output["files"][0],
        json!({"path": "a", "canonical": "/w/a", "content": "aa", "size_bytes": 2})
    );
    let reasons: Vec<&str> = (1..9)
        .map(|at| output["files"][at]["reason"].as_str().unwrap())
        .collect();
    let expected = [
        "not_found",
        "symlink_rejected",
        "symlink_rejected",
        "not_a_file",
        "not_a_file",
        "too_large",
        "capability_denied",
        "read_failed",
    ];
    assert_eq!(reasons, expected, "{output}");
    assert!(failed(world.call("file_read_many", json!({"paths": []})).await).contains("1 to 16"));
    assert!(
        failed(
            world
                .call("file_read_many", json!({"paths": vec!["a"; 17]}))
                .await
        )
        .contains("1 to 16")
    );
    let full = World::new(&[("/w/m", &vec![b'x'; 1024 * 1024])]);
    let output = full
        .call("file_read_many", json!({"paths": vec!["m"; 6]}))
        .await
        .unwrap();
    assert_eq!(
        (
            output["files"][3]["size_bytes"].as_u64(),
            output["files"][5]["reason"].as_str()
        ),
        (Some(1024 * 1024), Some("too_large"))
    );
}

#[tokio::test]
async fn a_directory_is_listed_with_real_sizes() {
    let world = World::new(&[
        ("/w/b.md", b"12345"),
        ("/w/a/c.rs", b"1"),
        ("/w/a/.git/x", b"1"),
    ]);
    world.0.put("/w/link", Node::Link);
    let listed = world.call("file_list", json!({"path": "."})).await.unwrap();
    let entries = json!([
        {"name": "a", "kind": "dir", "size_bytes": 0},
        {"name": "b.md", "kind": "file", "size_bytes": 5},
        {"name": "link", "kind": "symlink", "size_bytes": 0}
    ]);
    assert_eq!(
        listed,
        json!({"path": "/w", "kind": "dir", "entries": entries, "truncated": false})
    );
    let one = world
        .call("file_list", json!({"path": "b.md"}))
        .await
        .unwrap();
    assert_eq!(
        (one["kind"].as_str(), one["entries"][0]["name"].as_str()),
        (Some("file"), Some("b.md"))
    );
    let tree = world
        .call("file_list", json!({"path": "/w", "recursive": true}))
        .await
        .unwrap();
    let names: Vec<&str> = tree["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a/c.rs", "b.md"]);
    let globbed = world
        .call("file_list", json!({"path": ".", "glob": "*.md"}))
        .await
        .unwrap();
    assert_eq!(globbed["entries"].as_array().unwrap().len(), 1);
    let many = World::new(&[]);
    for number in 0..501 {
        many.0
            .put(&format!("/w/{number:04}"), Node::File(Vec::new()));
    }
    let listed = many.call("file_list", json!({"path": "."})).await.unwrap();
    assert_eq!(
        (
            listed["entries"].as_array().unwrap().len(),
            listed["truncated"].as_bool()
        ),
        (500, Some(true))
    );
}

#[tokio::test]
async fn a_file_is_written_and_added_to() {
    let world = World::new(&[]);
    let written = world
        .call("file_write", json!({"path": "x/y.txt", "content": "one"}))
        .await
        .unwrap();
    assert_eq!(
        written,
        json!({"path": "/w/x/y.txt", "bytes_written": 3, "size_bytes": 3})
    );
    let added = world
        .call(
            "file_write",
            json!({"path": "x/y.txt", "content": " two", "append": true}),
        )
        .await
        .unwrap();
    assert_eq!(
        (
            added["bytes_written"].as_u64(),
            added["size_bytes"].as_u64()
        ),
        (Some(4), Some(7))
    );
    assert_eq!(world.text("/w/x/y.txt"), "one two");
    let before = world.0.paths();
    let large = world
        .call(
            "file_write",
            json!({"path": "large", "content": "x".repeat(1024 * 1024 + 1)}),
        )
        .await;
    assert!(matches!(
        large,
        Err(ToolError::Power(PowerError::TooLarge {
            limit: 1_048_576,
            ..
        }))
    ));
    let denied = world
        .call("file_write", json!({"path": "/etc/x/y", "content": "x"}))
        .await;
    assert!(matches!(
        denied,
        Err(ToolError::Power(PowerError::Denied { .. }))
    ));
    assert_eq!(world.0.paths(), before);
}

#[tokio::test]
async fn an_edit_replaces_one_text_or_all_and_shows_the_difference() {
    let world = World::new(&[("/w/a.txt", b"one\ntwo\none\n")]);
    let edit = |old: &str, new: &str, all: bool| json!({"path": "a.txt", "old_string": old, "new_string": new, "replace_all": all});
    let edited = world
        .call("file_edit", edit("two", "zwei", false))
        .await
        .unwrap();
    assert_eq!(
        (
            edited["replacements"].as_u64(),
            edited["bytes_before"].as_u64(),
            edited["bytes_after"].as_u64()
        ),
        (Some(1), Some(12), Some(13))
    );
    assert!(
        edited["diff"].as_str().unwrap().contains("-two\n+zwei\n"),
        "{edited}"
    );
    assert!(failed(world.call("file_edit", edit("one", "1", false)).await).contains("2 times"));
    assert_eq!(
        world
            .call("file_edit", edit("one", "1", true))
            .await
            .unwrap()["replacements"],
        2
    );
    assert_eq!(world.text("/w/a.txt"), "1\nzwei\n1\n");
    for (old, new) in [("absent", "x"), ("", "x"), ("1", "1")] {
        failed(world.call("file_edit", edit(old, new, true)).await);
    }
    failed(
        world
            .call("file_edit", edit(&"x".repeat(65_537), "", false))
            .await,
    );
    assert_eq!(world.text("/w/a.txt"), "1\nzwei\n1\n");
}

#[tokio::test]
async fn an_edit_never_makes_damages_or_blows_up_a_file() {
    let world = World::new(&[
        ("/w/latin", b"caf\xe9"),
        ("/w/a", "a".repeat(100_000).as_bytes()),
    ]);
    let before = world.0.paths();
    let missing = world
        .call(
            "file_edit",
            json!({"path": "none", "old_string": "x", "new_string": "y"}),
        )
        .await;
    assert!(matches!(
        missing,
        Err(ToolError::Power(PowerError::NotFound(_)))
    ));
    assert!(
        failed(
            world
                .call(
                    "file_edit",
                    json!({"path": "latin", "old_string": "c", "new_string": "k"})
                )
                .await
        )
        .contains("UTF-8")
    );
    let bomb = json!({"path": "a", "old_string": "a", "new_string": "b".repeat(65_536), "replace_all": true});
    assert!(matches!(
        world.call("file_edit", bomb).await,
        Err(ToolError::Power(PowerError::TooLarge { .. }))
    ));
    assert_eq!(world.0.paths(), before);
    assert_eq!(world.0.content("/w/latin").unwrap(), b"caf\xe9");
}

#[tokio::test]
async fn grep_finds_lines_within_its_bounds() {
    let world = World::new(&[
        ("/w/a.rs", b"fn one() {}\nfn two() {}\n"),
        ("/w/s/b.md", b"Two words\r\n"),
        ("/w/binary", b"two\0two"),
        ("/w/wide", format!("two{}", "é".repeat(400)).as_bytes()),
        ("/w/.hidden", b"two"),
    ]);
    let found = world
        .call(
            "grep",
            json!({"pattern": "two", "path": ".", "glob": "*.rs"}),
        )
        .await
        .unwrap();
    let matches = json!([{"file": "/w/a.rs", "line": 2, "text": "fn two() {}"}]);
    assert_eq!(
        found,
        json!({"pattern": "two", "matches": matches, "total_matches": 1, "truncated": false})
    );
    let any = world
        .call(
            "grep",
            json!({"pattern": "TWO", "path": ".", "case_insensitive": true}),
        )
        .await
        .unwrap();
    let files: Vec<&str> = any["matches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["file"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["/w/a.rs", "/w/s/b.md", "/w/wide"]);
    let wide = any["matches"][2]["text"].as_str().unwrap();
    assert!(wide.len() <= 512 + '…'.len_utf8() && wide.ends_with('…'));
    let one = world
        .call("grep", json!({"pattern": "^fn", "path": "a.rs"}))
        .await
        .unwrap();
    assert_eq!(one["total_matches"], 2);
    assert_eq!(
        world
            .call("grep", json!({"pattern": "absent", "path": "."}))
            .await
            .unwrap()["total_matches"],
        0
    );
}

#[tokio::test]
async fn grep_stops_at_two_hundred_and_refuses_monstrous_patterns() {
    let world = World::new(&[("/w/a", "x\n".repeat(200).as_bytes()), ("/w/b", b"y\n")]);
    let exact = world
        .call("grep", json!({"pattern": "x", "path": "."}))
        .await
        .unwrap();
    assert_eq!(
        (
            exact["total_matches"].as_u64(),
            exact["truncated"].as_bool()
        ),
        (Some(200), Some(false))
    );
    let more = world
        .call("grep", json!({"pattern": "x|y", "path": "."}))
        .await
        .unwrap();
    assert_eq!(
        (more["total_matches"].as_u64(), more["truncated"].as_bool()),
        (Some(200), Some(true))
    );
    for pattern in [
        "(",
        "a{100000}{1000}",
        "",
        "(?=x)",
        &"x".repeat(5000),
        "a\\nb",
    ] {
        let refused = world
            .call("grep", json!({"pattern": pattern, "path": "."}))
            .await;
        assert!(
            matches!(refused, Err(ToolError::Input { .. })),
            "{pattern:.20}: {refused:?}"
        );
    }
}

async fn fetch(pages: Pages, input: Value) -> Result<Value, ToolError> {
    let powers = none().with_http(Arc::new(pages));
    tool("web_fetch")
        .call(input, &powers)
        .await
        .map(|output| output.json)
}

#[tokio::test]
async fn a_page_is_fetched_as_markdown_and_json_as_it_is() {
    let html =
        "<html><head><title>News</title></head><body><h1>Head</h1><p>Words</p></body></html>";
    let pages = || {
        Pages::default()
            .with_text("http://h.example/", "text/html; charset=utf-8", html)
            .with_text("http://h.example/j", "application/json", "[1,2]")
            .with(
                "http://h.example/r",
                Page::Redirect("http://h.example/j".parse().unwrap()),
            )
    };
    let page = fetch(pages(), json!({"url": "http://h.example/"}))
        .await
        .unwrap();
    assert_eq!(
        (
            page["status"].as_u64(),
            page["title"].as_str(),
            page["truncated"].as_bool()
        ),
        (Some(200), Some("News"), Some(false))
    );
    assert!(page["body"].as_str().unwrap().contains("# Head") && page["bytes_read"] == html.len());
    let moved = fetch(pages(), json!({"url": "http://h.example/r"}))
        .await
        .unwrap();
    assert_eq!(
        (moved["url"].as_str(), moved["body"].as_str()),
        (Some("http://h.example/j"), Some("[1,2]"))
    );
    let absent = fetch(
        pages(),
        json!({"url": "http://h.example/none", "max_bytes": 3}),
    )
    .await
    .unwrap();
    assert_eq!(
        (
            absent["status"].as_u64(),
            absent["body"].as_str(),
            absent["truncated"].as_bool()
        ),
        (Some(404), Some("not"), Some(true))
    );
    for url in ["nonsense", "ftp://h.example/", "file:///etc/passwd", ""] {
        failed(fetch(pages(), json!({"url": url})).await);
    }
}

/// Answers with what it was asked; one role fails.
#[derive(Default)]
struct Children(Mutex<Vec<Child>>);

#[async_trait]
impl Spawn for Children {
    async fn spawn(&self, child: Child) -> Result<Output, PowerError> {
        self.0.lock().unwrap().push(child.clone());
        if child.role.as_str() == "broken" {
            return Err(PowerError::Io {
                what: "agent".into(),
                message: "gave up".into(),
            });
        }
        Ok(Output::text(format!("{} did: {}", child.role, child.task)))
    }
}

#[tokio::test]
async fn children_are_started_and_one_failure_spares_the_others() {
    let children = Arc::new(Children::default());
    let powers = none().with_spawn(Arc::<Children>::clone(&children));
    let input = json!({"role": "writer", "task": "write", "params": {"a": "1", "b": ["2", "3"]}});
    let one = tool("spawn_agent").call(input, &powers).await.unwrap();
    assert_eq!(
        one.json,
        json!({"role": "writer", "output": {"type": "text", "text": "writer did: write"}})
    );
    assert_eq!(children.0.lock().unwrap()[0].params.len(), 2);
    let several = json!({"children": [{"role": "broken", "task": "x"}, {"role": "no name", "task": "x"}, {"role": "writer", "task": "y"}]});
    let several = tool("spawn_agents")
        .call(several, &powers)
        .await
        .unwrap()
        .json;
    assert_eq!(several["count"], 3);
    assert!(
        several["children"][0]["error"]
            .as_str()
            .unwrap()
            .contains("gave up")
    );
    assert!(
        several["children"][1]["error"]
            .as_str()
            .unwrap()
            .contains("role")
    );
    assert_eq!(several["children"][2]["output"]["text"], "writer did: y");
    let none = tool("spawn_agents")
        .call(json!({"children": []}), &powers)
        .await;
    assert!(matches!(none, Err(ToolError::Input { .. })));
    let blank = tool("spawn_agent")
        .call(json!({"role": "writer", "task": " "}), &powers)
        .await;
    assert!(matches!(blank, Err(ToolError::Input { .. })));
}

#[tokio::test]
async fn headers_are_sent_as_written_and_placeholders_stay_placeholders() {
    let pages = Arc::new(Pages::default().with_text("https://h.example/x", "text/plain", "ok"));
    let powers = none().with_http(pages.clone());
    let fetch = |headers: Value| {
        let input = json!({"url": "https://h.example/x", "headers": headers});
        let powers = powers.clone();
        async move { tool("web_fetch").call(input, &powers).await }
    };
    fetch(json!({"authorization": "Bearer {{secret:token}}", "Accept": "text/plain"}))
        .await
        .unwrap();
    let sent = pages.seen().remove(0).headers;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        sent,
        [
            header("Accept", "text/plain"),
            header("authorization", "Bearer {{secret:token}}"),
        ]
    );
    let many: serde_json::Map<String, Value> =
        (0..17).map(|n| (format!("x-{n}"), json!("v"))).collect();
    assert!(failed(fetch(json!(many)).await.map(|output| output.json)).contains("headers"));
    let long = fetch(json!({"x": "v".repeat(4096)})).await;
    assert!(failed(long.map(|output| output.json)).contains("headers"));
    assert_eq!(pages.seen().len(), 1);
}

#[test]
fn every_tool_that_changes_something_says_how_a_call_cut_off_is_settled() {
    let said = |name: &str| {
        let tool = tool(name);
        (tool.spec().effect, tool.spec().recovery)
    };
    for (name, effect, recovery) in [
        ("file_write", Effect::Reversible, Recovery::Looks),
        ("file_edit", Effect::Reversible, Recovery::Looks),
        ("git_commit", Effect::Reversible, Recovery::Looks),
        ("cargo_run", Effect::Reversible, Recovery::Looks),
        ("shell", Effect::Irreversible, Recovery::ByEffect),
        ("http_send", Effect::Irreversible, Recovery::Keyed),
        ("spawn_agent", Effect::Irreversible, Recovery::GoesOn),
        ("spawn_agents", Effect::Irreversible, Recovery::GoesOn),
    ] {
        assert_eq!(said(name), (effect, recovery), "{name}");
    }
    let others = aaos_tools::builtin();
    let others = others
        .iter()
        .filter(|tool| tool.spec().recovery == Recovery::ByEffect);
    for tool in others.filter(|tool| tool.spec().name.as_str() != "shell") {
        assert!(tool.spec().effect.may_repeat(), "{}", tool.spec().name);
    }
}

#[tokio::test]
async fn a_change_of_a_file_is_told_from_none_and_from_somebody_elses() {
    for (name, input) in [
        (
            "file_edit",
            json!({"path": "a", "old_string": "two", "new_string": "2"}),
        ),
        ("file_write", json!({"path": "a", "content": "2\n"})),
        (
            "file_write",
            json!({"path": "a", "content": "2\n", "append": true}),
        ),
        (
            "file_write",
            json!({"path": "new/b", "content": "2\n", "append": true}),
        ),
    ] {
        let world = World::new(&[("/w/a", b"one\ntwo\n")]);
        let evidence = world.ask(name, &input, Question::Evidence).await;
        assert_eq!(
            world.happened(name, &input, &evidence).await,
            Happened::No,
            "{input}"
        );
        let output = world.call(name, input.clone()).await.unwrap();
        let told = world.happened(name, &input, &evidence).await;
        assert_eq!(told, Happened::Yes { output }, "{input}");
        let path = if input["path"] == "a" {
            "/w/a"
        } else {
            "/w/new/b"
        };
        world.0.put(path, Node::File(b"else".to_vec()));
        let told = world.happened(name, &input, &evidence).await;
        assert!(
            matches!(told, Happened::Unknown { .. }),
            "{input}: {told:?}"
        );
        let told = world.happened(name, &input, &Value::Null).await;
        assert!(
            matches!(told, Happened::Unknown { .. }),
            "nothing was recorded: {told:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_may_only_be_written_is_known_by_its_size() {
    let tree = MemoryTree::default();
    tree.put("/w", Node::Directory);
    tree.put("/w/a", Node::File(b"one\n".to_vec()));
    let grants = ["file_write: /w/*".parse().unwrap()];
    let powers = none().with_files(Arc::new(tree.power(&grants, "/w")));
    let write = tool("file_write");
    let ask = async |input: &Value, question| {
        let told = write.consider(question, input.clone(), &powers).await;
        told.unwrap().json
    };
    for (input, before, after) in [
        (
            json!({"path": "a", "content": "two\n", "append": true}),
            "no",
            "yes",
        ),
        (json!({"path": "a", "content": "three\n"}), "no", "no"),
    ] {
        let evidence = ask(&input, Question::Evidence).await;
        let happened = async || {
            let evidence = evidence.clone();
            ask(&input, Question::Happened { evidence }).await["happened"].clone()
        };
        assert_eq!(happened().await, before, "{input}");
        write.call(input.clone(), &powers).await.unwrap();
        assert_eq!(happened().await, after, "{input}");
    }
    let shown = ask(&json!({"path": "a", "content": "x"}), Question::Preview).await;
    let shown: Preview = serde_json::from_value(shown).unwrap();
    assert!(
        matches!(&shown, Preview::Diff { diff, .. } if diff.contains("6 bytes become 1")),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_change_of_a_file_is_shown_before_it_is_made() {
    let world = World::new(&[("/w/a", b"one\ntwo\n"), ("/w/z", b"\0")]);
    let shown = async |name: &str, input: Value| {
        let shown = world.ask(name, &input, Question::Preview).await;
        match serde_json::from_value(shown).unwrap() {
            Preview::Diff { path, diff, .. } => (path, diff),
            other => panic!("{other:?}"),
        }
    };
    let edit = json!({"path": "a", "old_string": "two", "new_string": "2"});
    let (path, diff) = shown("file_edit", edit).await;
    assert_eq!(path, "/w/a");
    assert!(diff.contains("\n-two\n+2\n"), "{diff}");
    let (_, diff) = shown("file_write", json!({"path": "a", "content": "one\n"})).await;
    assert!(diff.contains("\n-two\n"), "{diff}");
    let append = json!({"path": "a", "content": "three\n", "append": true});
    let (_, diff) = shown("file_write", append).await;
    assert!(
        diff.contains("\n+three\n") && !diff.contains("\n-two"),
        "{diff}"
    );
    let (path, diff) = shown("file_write", json!({"path": "n/b", "content": "x\n"})).await;
    assert!(path.ends_with("n/b") && diff.contains("\n+x\n"), "{diff}");
    let (_, diff) = shown("file_write", json!({"path": "z", "content": "xyz"})).await;
    assert!(diff.contains("1 bytes become 3 bytes"), "{diff}");
    assert_eq!(world.text("/w/a"), "one\ntwo\n", "nothing changed");
}

#[tokio::test]
async fn a_long_change_is_shown_to_its_end_and_with_what_it_was_made_for() {
    let world = World::new(&[("/w/a", b"one\n"), ("/w/z", b"\0")]);
    let shown = async |input: &Value| {
        let shown = world.ask("file_write", input, Question::Preview).await;
        let shown: Preview = serde_json::from_value(shown).unwrap();
        let Preview::Diff { diff, before, .. } = &shown else {
            panic!("{shown:?}");
        };
        assert!(
            before.is_some() && diff.ends_with("+rm -rf /\n"),
            "{shown:?}"
        );
        shown
    };
    let long = "a harmless line\n".repeat(2_000) + "rm -rf /\n";
    let edit = json!({"path": "a", "content": long});
    let first = shown(&edit).await;
    assert!(first.still_holds(&shown(&edit).await));
    shown(&json!({"path": "z", "content": long})).await;
    world.0.put("/w/a", Node::File(b"other\n".to_vec()));
    assert!(!first.still_holds(&shown(&edit).await));
}

/// Sends through pages that answer by URL.
async fn send(pages: &Arc<Pages>, call: u64, input: Value) -> Result<Value, ToolError> {
    let powers = Powers::none(CallId::from_drawn(call), Arc::new(OpenGate::default()));
    let powers = powers.with_http(Arc::<Pages>::clone(pages));
    let sent = tool("http_send").call(input, &powers).await;
    sent.map(|output| output.json)
}

#[tokio::test]
async fn a_request_carries_its_calls_identity_and_whatever_comes_back_is_its_answer() {
    let refused = Page::Content(409, "application/json".to_owned(), b"{\"no\":1}".to_vec());
    let pages = Arc::new(Pages::default().with("https://a.example/x", refused).with(
        "https://a.example/r",
        Page::Redirect("https://a.example/y".parse().unwrap()),
    ));
    let input = json!({
        "method": "POST",
        "url": "https://a.example/x",
        "body": "{}",
        "headers": {"authorization": "Bearer {{secret:token}}"}
    });
    let needs = tool("http_send").needs(&input).unwrap();
    assert!(
        matches!(&needs[..], [Need::Http { method, url }] if method == "POST" && url.path() == "/x")
    );
    let answer = send(&pages, 7, input.clone()).await.unwrap();
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(409), &json!("{\"no\":1}"))
    );
    let again = send(&pages, 7, input.clone()).await.unwrap();
    assert_eq!(answer, again);
    send(&pages, 8, input).await.unwrap();
    let keys: Vec<String> = pages
        .seen()
        .iter()
        .map(|request| {
            let mut headers = request.headers.iter();
            headers
                .find(|(name, _)| name == "idempotency-key")
                .unwrap()
                .1
                .clone()
        })
        .collect();
    let [first, again, other] = &keys[..] else {
        panic!("{keys:?}");
    };
    assert_eq!(*first, CallId::from_drawn(7).to_string());
    assert!(first == again && first != other);
    let redirect = json!({"method": "DELETE", "url": "https://a.example/r"});
    let answer = send(&pages, 9, redirect).await.unwrap();
    assert_eq!(answer["headers"]["location"], "https://a.example/y");
    assert_eq!(pages.hops().len(), 4, "it was not followed");
}

#[tokio::test]
async fn a_request_that_may_have_been_received_is_in_doubt_and_one_that_was_not_sent_is_not() {
    let broken = |error| Page::Broken(error);
    let (what, message) = ("sending".to_owned(), "no answer".to_owned());
    let pages = Arc::new(
        Pages::default()
            .with(
                "https://a.example/lost",
                broken(PowerError::Lost {
                    what: what.clone(),
                    message: message.clone(),
                }),
            )
            .with(
                "https://a.example/io",
                broken(PowerError::Io { what, message }),
            ),
    );
    let post = |path: &str| json!({"method": "PUT", "url": format!("https://a.example/{path}")});
    let lost = send(&pages, 1, post("lost")).await;
    assert!(matches!(lost, Err(ToolError::InDoubt { .. })), "{lost:?}");
    let failed = send(&pages, 1, post("io")).await.unwrap_err();
    assert!(failed.is_certain(), "{failed:?}");
    for input in [
        json!({"method": "GET", "url": "https://a.example/"}),
        json!({"method": "POST", "url": "ftp://a.example/"}),
        json!({"method": "POST", "url": "https://a.example/", "headers": {"Idempotency-Key": "mine"}}),
        json!({"method": "POST", "url": "https://a.example/", "headers": {"Content-Type": "text/html"}}),
        json!({"method": "POST", "url": "https://a.example/", "body": "x".repeat(1024 * 1024 + 1)}),
    ] {
        let refused = send(&pages, 1, input.clone()).await;
        assert!(
            matches!(refused, Err(ToolError::Input { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(pages.seen().len(), 2);
}

#[tokio::test]
async fn a_request_is_shown_whole_with_secrets_by_their_names() {
    let input = json!({
        "method": "POST",
        "url": "https://a.example/x?y=1",
        "body": format!("{}end", "b".repeat(5000)),
        "headers": {"x-token": "{{secret:token}}"}
    });
    let shown = tool("http_send")
        .consider(Question::Preview, input, &none())
        .await;
    let shown: Preview = serde_json::from_value(shown.unwrap().json).unwrap();
    let Preview::Request {
        line,
        headers,
        body,
    } = shown
    else {
        panic!("{shown:?}");
    };
    assert_eq!(line, "POST https://a.example/x?y=1");
    let [key, content_type, token] = &headers[..] else {
        panic!("{headers:?}");
    };
    assert!(key.starts_with("idempotency-key: call-"), "{key}");
    assert_eq!(content_type, "content-type: application/json");
    assert_eq!(token, "x-token: {{secret:token}}");
    assert!(
        body.starts_with("bbb") && body.ends_with("end"),
        "{}",
        body.len()
    );
}
