//! The provider `rules` carries out its own plans: tools first, then an answer computed from what they gave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rules;

use aaos_core::{
    id::SubtaskId,
    model::{Arguments, Block, Message, Purpose, Reply, Stop, ToolCall, ToolResult},
    value::Value,
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

type Params = BTreeMap<String, Vec<Value>>;

fn text(value: &str) -> Value {
    Value::text(value)
}

fn file(path: &str) -> Value {
    Value::Artifact {
        path: path.to_owned(),
        bytes: 0,
    }
}

fn params(given: &[(&str, Vec<Value>)]) -> Params {
    given
        .iter()
        .map(|(name, values)| ((*name).to_owned(), values.clone()))
        .collect()
}

/// A small world: what each tool gives.
type Tool<'a> = &'a dyn Fn(&ToolCall) -> Result<String, String>;

/// Runs an agent to its end; its last words and the calls it made.
fn live(role: &str, task: &str, params: &Params, tool: Tool<'_>) -> (String, Vec<(String, Json)>) {
    let mut messages = vec![Message::User {
        text: task.to_owned(),
    }];
    let mut made = Vec::new();
    for _ in 0..40 {
        let purpose = Purpose::Turn {
            role: role.parse().unwrap(),
            subtask: "one".parse::<SubtaskId>().ok(),
            task: task.to_owned(),
            params: params.clone(),
        };
        let reply: Reply = rules::ask(&rules::request(purpose, messages.clone())).unwrap();
        let calls: Vec<ToolCall> = reply.tool_calls().into_iter().cloned().collect();
        assert_eq!(reply.stop == Stop::ToolUse, !calls.is_empty());
        if calls.is_empty() {
            return (reply.text(), made);
        }
        let mut results = Vec::new();
        for call in &calls {
            let Arguments::Json(input) = &call.input else {
                panic!("malformed arguments")
            };
            made.push((call.name.clone(), input.clone()));
            let (text, is_error) = match tool(call) {
                Ok(text) => (text, false),
                Err(text) => (text, true),
            };
            results.push(ToolResult {
                id: call.id.clone(),
                name: call.name.clone(),
                text,
                is_error,
            });
        }
        messages.push(Message::Assistant {
            blocks: reply.blocks.clone(),
        });
        messages.push(Message::Tools { results });
    }
    panic!("the agent never ended");
}

fn input(call: &ToolCall) -> &Json {
    match &call.input {
        Arguments::Json(input) => input,
        Arguments::Malformed(text) => panic!("{text}"),
    }
}

/// Files as the file tools give them.
fn files(known: &[(&str, &str)], call: &ToolCall) -> Result<String, String> {
    let content = |path: &str| {
        known
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, content)| *content)
    };
    let asked = input(call);
    match call.name.as_str() {
        "file_read_many" => {
            let one = |path: &Json| {
                let path = path.as_str().unwrap();
                match content(path) {
                    Some(text) => {
                        json!({ "path": path, "canonical": path, "content": text, "size_bytes": text.len() })
                    }
                    None => {
                        json!({ "path": path, "error": "not_found", "reason": format!("{path} does not exist") })
                    }
                }
            };
            let files: Vec<Json> = asked["paths"].as_array().unwrap().iter().map(one).collect();
            Ok(json!({ "count": files.len(), "files": files }).to_string())
        }
        "file_list" => {
            let root = format!("{}/", asked["path"].as_str().unwrap());
            let entries: Vec<Json> = known
                .iter()
                .filter_map(|(path, text)| path.strip_prefix(&root).map(|name| (name, text)))
                .map(|(name, text)| json!({ "name": name, "kind": "file", "size_bytes": text.len() }))
                .chain([json!({ "name": "sub", "kind": "dir", "size_bytes": 0 })])
                .collect();
            Ok(json!({ "path": asked["path"], "kind": "dir", "entries": entries, "truncated": false }).to_string())
        }
        other => Err(format!("no tool {other}")),
    }
}

#[test]
fn an_analyzer_reads_its_file_and_counts() {
    let given = params(&[("inputs", vec![file("/b/notes.txt")])]);
    let known = [("/b/notes.txt", "one two\nthree\n")];
    let task = r#"count words; count lines: "notes.txt" as a report"#;
    let (words, calls) = live("analyzer", task, &given, &|call| files(&known, call));
    assert_eq!(
        calls,
        [(
            "file_read_many".to_owned(),
            json!({ "paths": ["/b/notes.txt"] })
        )]
    );
    assert!(
        words.contains("Words: **3**")
            && words.contains("Lines: **2**")
            && words.contains("## notes.txt"),
        "{words}"
    );
    assert!(
        words.ends_with("Made by rules, without a model.\n"),
        "{words}"
    );
}

#[test]
fn an_analyzer_uses_what_other_subtasks_gave_without_a_call() {
    let given = params(&[(
        "inputs",
        vec![text(
            "See [x](https://x.example/a_(b)) and https://y.example/, twice: https://y.example/.",
        )],
    )]);
    let (words, calls) = live(
        "analyzer",
        r#"extract links: "https://page.example/""#,
        &given,
        &|_| panic!("a call"),
    );
    assert!(calls.is_empty());
    assert!(
        words.contains("### Links (2)\n\n- https://x.example/a_(b)\n- https://y.example/"),
        "{words}"
    );
}

#[test]
fn a_missing_file_ends_with_the_reason_and_no_answer() {
    let given = params(&[("inputs", vec![file("/b/gone.txt")])]);
    let (words, _) = live("analyzer", r#"count words: "gone.txt""#, &given, &|call| {
        files(&[], call)
    });
    assert_eq!(
        words,
        "CANNOT: /b/gone.txt cannot be read: /b/gone.txt does not exist"
    );
    let (words, _) = live("analyzer", r#"count words: "gone.txt""#, &given, &|_| {
        Err("file_read was refused".to_owned())
    });
    assert_eq!(
        words,
        "CANNOT: /b/gone.txt cannot be read: file_read was refused"
    );
}

#[test]
fn a_file_too_large_for_one_result_is_read_in_parts() {
    let whole: String = (1..=2_500)
        .map(|n| format!("line {n} of a long file\n"))
        .collect();
    let lines: Vec<&str> = whole.lines().collect();
    let tool = |call: &ToolCall| match call.name.as_str() {
        "file_read_many" => Ok(format!(
            "{{\"files\":[{{\"path\":\"/b/big\",\"content\":\"{}\n[cut: 9 of 99 bytes shown]",
            "x".repeat(50)
        )),
        "file_read" => {
            let (offset, limit) = (
                input(call)["offset"].as_u64().unwrap(),
                input(call)["limit"].as_u64().unwrap(),
            );
            let from = usize::try_from(offset).unwrap() - 1;
            let part = &lines[from..lines.len().min(from + usize::try_from(limit).unwrap())];
            let content: String = part
                .iter()
                .enumerate()
                .map(|(at, line)| format!("{:>6}\t{line}\n", from + at + 1))
                .collect();
            let more = from + part.len() < lines.len();
            Ok(json!({ "content": content, "offset": offset, "returned_lines": part.len(), "total_lines": lines.len(), "truncated": more }).to_string())
        }
        other => Err(format!("no tool {other}")),
    };
    let given = params(&[("inputs", vec![file("/b/big")])]);
    let (words, calls) = live(
        "analyzer",
        r#"count lines; count words: "big""#,
        &given,
        &tool,
    );
    assert!(
        words.contains("Lines: **2500**") && words.contains("Words: **15000**"),
        "{words}"
    );
    assert_eq!(calls.len(), 4, "{calls:?}");
}

#[test]
fn a_conversation_that_was_shortened_gives_no_answer() {
    let purpose = Purpose::Turn {
        role: "analyzer".parse().unwrap(),
        subtask: None,
        task: r#"count words: "a""#.to_owned(),
        params: params(&[("inputs", vec![file("/a")])]),
    };
    let messages = ["task", "[2 earlier messages were left out]"]
        .map(|text| Message::User {
            text: text.to_owned(),
        })
        .to_vec();
    assert!(
        rules::ask(&rules::request(purpose, messages))
            .unwrap()
            .text()
            .starts_with("CANNOT: ")
    );
}

#[test]
fn an_explorer_lists_then_reads_then_counts_with_a_total() {
    let known = [
        ("/b/docs/a.md", "# A\n\none two three\n"),
        ("/b/docs/b.md", "four\n"),
    ];
    let given = params(&[
        ("folder", vec![text("/b/docs")]),
        ("pattern", vec![text("*.md")]),
    ]);
    let (words, calls) = live(
        "explorer",
        r#"count words; extract headings: "docs/*.md""#,
        &given,
        &|call| files(&known, call),
    );
    assert_eq!(
        calls[0],
        (
            "file_list".to_owned(),
            json!({ "path": "/b/docs", "glob": "*.md" })
        )
    );
    assert_eq!(
        calls[1].1,
        json!({ "paths": ["/b/docs/a.md", "/b/docs/b.md"] })
    );
    assert!(
        words.contains("| docs/a.md | 4 |") && words.contains("| Total | 5 |"),
        "{words}"
    );
    assert!(
        words.contains("## docs/a.md\n\n### Headings (1)\n\n- A")
            && words.contains("not the folders below"),
        "{words}"
    );
}

#[test]
fn an_explorer_names_the_files_it_could_not_read() {
    let known = [("/b/docs/a.md", "one\n"), ("/b/docs/b.md", "two\n")];
    let given = params(&[
        ("folder", vec![text("/b/docs")]),
        ("pattern", vec![text("*")]),
    ]);
    let partial = |call: &ToolCall| {
        if call.name == "file_read_many" {
            files(&known[..1], call)
        } else {
            files(&known, call)
        }
    };
    let (words, _) = live("explorer", r#"show the text: "docs/*""#, &given, &partial);
    assert!(
        words.contains("one")
            && words.contains("Not read: docs/b.md (/b/docs/b.md does not exist)"),
        "{words}"
    );
    let cut = |_: &ToolCall| {
        Ok(
            json!({ "path": "/b/docs", "kind": "dir", "entries": [], "truncated": true })
                .to_string(),
        )
    };
    let (words, _) = live("explorer", r#"count the files: "docs/*""#, &given, &cut);
    assert!(words.starts_with("CANNOT: "), "{words}");
}

#[test]
fn an_explorer_searches_with_the_search_tool_and_a_literal_pattern() {
    let given = params(&[
        ("folder", vec![text("/b/src")]),
        ("pattern", vec![text("*")]),
    ]);
    let tool = |call: &ToolCall| {
        assert_eq!(
            input(call),
            &json!({ "pattern": r"main\(\)", "path": "/b/src", "case_insensitive": true })
        );
        let hit = json!({ "file": "/b/src/main.rs", "line": 3, "text": "  fn main() {" });
        Ok(
            json!({ "pattern": "", "matches": [hit], "total_matches": 1, "truncated": false })
                .to_string(),
        )
    };
    let (words, calls) = live(
        "explorer",
        r#"find lines with "main()"; find lines with "main()", then count them: "src/*""#,
        &given,
        &tool,
    );
    assert_eq!(calls.len(), 1);
    assert!(
        words.contains("- src/main.rs:3: fn main() {") && words.contains("**1**"),
        "{words}"
    );
}

#[test]
fn a_browser_goes_from_the_list_to_its_story() {
    let base = "http://127.0.0.1:9/v0";
    let tool = |call: &ToolCall| {
        let url = input(call)["url"].as_str().unwrap().to_owned();
        let body = match url.strip_prefix(base) {
            Some("/topstories.json") => json!([11, 22, 33]).to_string(),
            Some("/item/22.json") => json!({ "title": "ERROR: all gone", "url": "https://s.example/", "by": "ann", "score": 7, "text": "It was <i>late</i>. Nobody &amp; nothing came." }).to_string(),
            _ => return Ok(json!({ "status": 404, "url": url, "body": "", "truncated": false }).to_string()),
        };
        Ok(json!({ "status": 200, "url": url, "content_type": "application/json", "body": body, "truncated": false }).to_string())
    };
    let given = params(&[("url", vec![text(base)])]);
    let (words, calls) = live(
        "browser",
        &format!("read story 2 of topstories: \"{base}\""),
        &given,
        &tool,
    );
    assert_eq!(calls.len(), 2);
    for part in [
        "## 2. ERROR: all gone",
        "- https://s.example/",
        "7 points, by ann",
        "It was late. Nobody & nothing came.",
    ] {
        assert!(words.contains(part), "{words}");
    }
    let (words, _) = live(
        "browser",
        &format!("read story 4 of topstories: \"{base}\""),
        &given,
        &tool,
    );
    assert_eq!(
        words,
        format!("CANNOT: {base}/topstories.json has only 3 stories")
    );
    let (words, _) = live(
        "browser",
        &format!("read story 1 of topstories: \"{base}\""),
        &given,
        &tool,
    );
    assert_eq!(words, format!("CANNOT: {base}/item/11.json answered 404"));
}

#[test]
fn a_writer_writes_once_where_it_is_told_and_says_so() {
    let given = params(&[
        (
            "inputs",
            vec![
                text("## a.txt\n\nWords: **3**\n\n*A note.*"),
                text("## b.txt\n\nWords: **4**\n\n*A note.*"),
            ],
        ),
        ("output", vec![text("/b/report.md")]),
    ]);
    let tool = |call: &ToolCall| {
        Ok(json!({ "path": input(call)["path"], "bytes_written": 99 }).to_string())
    };
    let (words, calls) = live(
        "writer",
        r#"put the results together: "Words: a and b" as Markdown"#,
        &given,
        &tool,
    );
    let expected = "# Words: a and b\n\n## a.txt\n\nWords: **3**\n\n## b.txt\n\nWords: **4**\n\n*A note.*\n\nMade by rules, without a model.\n";
    assert_eq!(
        calls,
        [(
            "file_write".to_owned(),
            json!({ "path": "/b/report.md", "content": expected })
        )]
    );
    assert_eq!(words, "Wrote /b/report.md (99 bytes).");
    let (words, _) = live(
        "writer",
        r#"put the results together: "x" as Markdown"#,
        &given,
        &|_| Err("denied: /b/report.md".to_owned()),
    );
    assert_eq!(
        words,
        "CANNOT: /b/report.md cannot be written: denied: /b/report.md"
    );
}

/// What a writer puts into its file when an analyzer did `steps` to `content`.
fn written(steps: &str, content: &str, form: &str) -> String {
    let (data, _) = live(
        "analyzer",
        &format!("{steps}: \"a\" as data"),
        &params(&[("inputs", vec![text(content)])]),
        &|_| panic!("a call"),
    );
    let given = params(&[
        ("inputs", vec![text(&data)]),
        ("output", vec![text("/out")]),
    ]);
    let tool = |_: &ToolCall| Ok(json!({ "bytes_written": 1 }).to_string());
    let (_, calls) = live(
        "writer",
        &format!("put the results together: \"T\" {form}"),
        &given,
        &tool,
    );
    calls[0].1["content"].as_str().unwrap().to_owned()
}

#[test]
fn lines_reach_a_plain_file_as_they_are() {
    assert_eq!(
        written("sort the lines", "ERROR: b\na\nC\n", "as plain text"),
        "a\nC\nERROR: b\n"
    );
    assert_eq!(
        written("keep unique lines", "b\na\nb\n", "as plain text"),
        "b\na\n"
    );
    assert_eq!(
        written(
            r#"find lines with "x", then sort the lines"#,
            "z x\nno\na x\n",
            "as plain text"
        ),
        "a x\nz x\n"
    );
    assert_eq!(
        written(
            "extract email addresses",
            "a@b.example, <c.d+e@f.example>. x@y",
            "as plain text"
        ),
        "a@b.example\nc.d+e@f.example\n"
    );
}

#[test]
fn tables_and_json_hold_the_same_as_the_report() {
    assert_eq!(
        written("list the 2 most frequent words", "b A a, c", "as CSV"),
        "Word,Times\na,2\nb,1\n"
    );
    let document: Json = serde_json::from_str(&written(
        "count words; extract dates",
        "On 2024-03-01 and 1 March 2024.",
        "as JSON",
    ))
    .unwrap();
    assert_eq!(document["sources"][0]["results"][0]["value"], 6);
    assert_eq!(
        document["sources"][0]["results"][1]["value"],
        json!(["2024-03-01", "1 March 2024"])
    );
    assert_eq!(document["made_by"], "rules, without a model");
}

#[test]
fn a_comparison_shows_what_differs() {
    let given = params(&[(
        "inputs",
        vec![text("same\nold\n"), text("same\nnew\nnew\n")],
    )]);
    let (words, _) = live(
        "analyzer",
        r#"compare: "a", "b" together as a report"#,
        &given,
        &|_| panic!("a call"),
    );
    for part in [
        "### Lines only in a (1)\n\n- old",
        "- new",
        "-old\n+new",
        "| new | 0 | 2 |",
    ] {
        assert!(words.contains(part), "{part}\n{words}");
    }
    let same = params(&[("inputs", vec![text("x\n"), text("x\n")])]);
    let (words, _) = live("analyzer", r#"compare: "a", "b" together"#, &same, &|_| {
        panic!("a call")
    });
    assert!(words.contains("identical"), "{words}");
}

#[test]
fn fields_and_columns_are_read_or_named_as_missing() {
    let one = |steps: &str, content: &str| {
        live(
            "analyzer",
            &format!("{steps}: \"a\""),
            &params(&[("inputs", vec![text(content)])]),
            &|_| panic!("a call"),
        )
        .0
    };
    let items = r#"{"items":[{"name":"x","n":1},{"name":"y"}]}"#;
    assert!(one(r#"read the field "items.name""#, items).contains("- x\n- y"));
    assert!(one(r#"read the field "items.0.n""#, items).contains("- 1"));
    assert!(one(r#"read the field "nothing""#, items).starts_with("CANNOT: a: it has no field"));
    assert!(one(r#"read the field "a""#, "no json").starts_with("CANNOT: a: it is not JSON"));
    assert!(one(r#"read the column "Price""#, "name;price\n\"a;b\";3\nc;4\n").contains("- 3\n- 4"));
    assert!(
        one(r#"read the column "cost""#, "name,price\n").contains("its columns are: name, price")
    );
}

#[test]
fn other_tasks_and_other_roles_are_refused() {
    for (role, task) in [
        ("analyzer", "find the bug"),
        ("writer", "write a novel"),
        ("explorer", "look around"),
        ("browser", "browse"),
        ("builder", "count words: \"a\""),
        ("generalist", "help"),
    ] {
        let (words, calls) = live(
            role,
            task,
            &params(&[("output", vec![text("/x")])]),
            &|_| panic!("a call"),
        );
        assert!(
            words.starts_with("CANNOT: ") && words.contains("agentd configure") && calls.is_empty(),
            "{words}"
        );
    }
}

#[test]
fn earlier_messages_are_summarised_by_their_own_sentences() {
    let said =
        "The run began on Monday. It read three files. The files named the harbour and the bridge.";
    let messages = vec![
        Message::User {
            text: said.to_owned(),
        },
        Message::Assistant {
            blocks: vec![Block::Text {
                text: "Nothing else was found.".to_owned(),
            }],
        },
    ];
    let summary = rules::ask(&rules::request(Purpose::Summarise, messages))
        .unwrap()
        .text();
    assert!(summary.contains("The run began on Monday."), "{summary}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_sentence_of_a_summary_stands_in_its_source(source in "([A-Za-z ]{3,40}[.!?][ \n]{1,2}){0,20}", count in 1_u32..8) {
        let given = params(&[("inputs", vec![text(&source)])]);
        let task = format!("summarise in {count} bullet points: \"a\" as JSON");
        let (words, _) = live("analyzer", &task, &given, &|_| panic!("a call"));
        if let Ok(document) = serde_json::from_str::<Json>(&words) {
            let flat = source.split_whitespace().collect::<Vec<_>>().join(" ");
            let chosen = document["sources"][0]["results"][0]["value"].as_array().unwrap().clone();
            proptest::prop_assert!(chosen.len() <= usize::try_from(count).unwrap());
            for sentence in chosen {
                proptest::prop_assert!(flat.contains(sentence.as_str().unwrap()), "{}", sentence);
            }
        } else {
            proptest::prop_assert!(words.starts_with("CANNOT: "), "{}", words);
        }
    }

    #[test]
    fn no_task_and_no_tool_result_makes_a_turn_panic(task in proptest::prelude::any::<String>(), result in proptest::prelude::any::<String>()) {
        for (role, task) in [("analyzer", task.as_str()), ("analyzer", r#"count words: "a""#), ("explorer", r#"count words: "a/*""#), ("browser", r#"read story 1 of topstories: "http://h/v0""#)] {
            let given = params(&[("inputs", vec![file("/a")]), ("folder", vec![text("/a")]), ("url", vec![text("http://h/v0")])]);
            let (words, _) = live(role, task, &given, &|_| Ok(result.clone()));
            proptest::prop_assert!(!words.is_empty());
        }
    }
}

#[test]
fn tables_and_logs_are_summed_up_and_never_taken_for_sentences() {
    let one = |steps: &str, label: &str, content: &str| {
        let task = format!("{steps}: \"{label}\"");
        let params = params(&[("inputs", vec![text(content)])]);
        live("analyzer", &task, &params, &|_| panic!("a call")).0
    };
    let costs = "what,cost\nfood,1.50\nfood,2\nrent,640\n";
    let told = one("summarise in 5 sentences", "costs.csv", costs);
    assert!(
        told.contains("- A table of 3 rows with the columns what, cost."),
        "{told}"
    );
    assert!(
        told.contains("- cost: from 1.50 to 640, 643.50 in total."),
        "{told}"
    );
    assert!(!told.contains("word for word"), "{told}");
    let points = one("summarise in 2 bullet points", "costs.csv", costs);
    assert_eq!(points.matches("\n- ").count(), 2, "{points}");
    let log = one("summarise in 5 sentences", "a.log", "INFO up\nERROR lost\n");
    assert!(
        log.contains("- A log of 2 lines: ERROR 1, INFO 1."),
        "{log}"
    );
    let total = one(
        r#"read the column "cost", then add them up"#,
        "costs.csv",
        costs,
    );
    assert!(total.contains("**643.50**"), "{total}");
    let words = one(
        r#"read the column "what", then add them up"#,
        "costs.csv",
        costs,
    );
    assert!(
        words.starts_with("CANNOT: costs.csv: value 1 is no plain number"),
        "{words}"
    );
}
