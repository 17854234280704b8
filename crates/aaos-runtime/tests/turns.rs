//! An agent's turns: when it has finished, when it is reminded, what becomes of a conversation that grows too long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use world::*;

fn turns(world: &World) -> usize {
    world
        .requests()
        .iter()
        .filter(|request| matches!(request.purpose, Purpose::Turn { .. }))
        .count()
}

fn writing() -> serde_json::Value {
    plan(&[
        json!({ "id": "w", "task": "write", "role": "writer", "params": { "output": "{run}/out.md" } }),
    ])
}

/// Where the writer was told to write.
fn output(request: &Request) -> String {
    let Purpose::Turn { params, .. } = &request.purpose else {
        panic!()
    };
    let Value::Text { text } = &params["output"][0] else {
        panic!()
    };
    text.clone()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_finished_properly_makes_exactly_two_requests() {
    let writing = writing();
    let (world, told) = world(move |request, before| {
        Ok(answer(request, &writing, &|_, request| match before {
            0 => calls(&[(
                "file_write",
                json!({ "path": output(request), "content": "report" }),
            )]),
            _ => says("It is written."),
        }))
    })
    .run()
    .await;
    let path = format!("/runs/{}/out.md", told.id);
    assert_eq!(
        told.outcome,
        Outcome::Succeeded {
            output: Value::Artifact {
                path: path.clone(),
                bytes: 6
            }
        }
    );
    assert_eq!(turns(&world), 2);
    assert!(!told.has(|kind| matches!(kind, Kind::SubtaskOutputMissing { .. })));
    assert!(told.has(|kind| matches!(
        kind,
        Kind::AgentExecutionCompleted {
            stop: StopReason::Complete,
            turns: 2
        }
    )));
    assert_eq!(world.tree.content(&path).as_deref(), Some(&b"report"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_named_once_and_then_fails() {
    let (world, told) = planned(writing(), |_, _| says("I have written the report."))
        .run()
        .await;
    let Failure::OutputMissing { declared, found } = told.failure() else {
        panic!("{:?}", told.failure())
    };
    assert!(declared.ends_with("/out.md") && found.contains("nothing was written"));
    assert_eq!(turns(&world), 2, "one reminder");
    assert_eq!(told.count(|kind| matches!(kind, Kind::SubtaskOutputMissing { declared, .. } if declared.ends_with("/out.md"))), 2);
    let last = world
        .requests()
        .into_iter()
        .rfind(|request| matches!(request.purpose, Purpose::Turn { .. }))
        .unwrap();
    assert!(shown(&last).contains("out.md") && shown(&last).contains("Deliver it now"));
}

#[tokio::test(start_paused = true)]
async fn a_reminded_agent_that_delivers_succeeds() {
    let writing = writing();
    let (world, told) = world(move |request, before| {
        Ok(answer(request, &writing, &|_, request| match before {
            1 => calls(&[(
                "file_write",
                json!({ "path": output(request), "content": "x" }),
            )]),
            _ => says("Done."),
        }))
    })
    .run()
    .await;
    assert!(matches!(told.outcome, Outcome::Succeeded { .. }));
    assert_eq!(turns(&world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_lay_there_before_is_no_delivery() {
    let to_base = plan(&[
        json!({ "id": "w", "task": "write", "role": "writer", "params": { "output": "out.md" } }),
    ]);
    let world = planned(to_base, |_, _| says("It is written."))
        .start()
        .await;
    world
        .tree
        .put("/home/op/out.md", Node::File(b"someone else's".to_vec()));
    let told = world.run().await;
    assert!(
        matches!(told.failure(), Failure::OutputMissing { found, .. } if found.contains("nothing was written"))
    );
}

#[tokio::test(start_paused = true)]
async fn json_that_does_not_parse_fails_and_json_that_does_is_a_value() {
    let listing = || plan(&[json!({ "id": "l", "task": "list", "role": "lister" })]);
    let (_, told) = planned(listing(), |_, _| says("Here you go: [1, 2"))
        .run()
        .await;
    assert!(
        matches!(told.failure(), Failure::OutputMissing { declared, .. } if declared.contains("JSON"))
    );
    assert_eq!(
        told.count(|kind| matches!(kind, Kind::SubtaskOutputMissing { .. })),
        2
    );
    for said in ["[1, 2]", "```json\n[1, 2]\n```", "  [1,2]\n"] {
        let (_, told) = planned(listing(), move |_, _| says(said)).run().await;
        assert_eq!(
            told.outcome,
            Outcome::Succeeded {
                output: Value::Json {
                    json: json!([1, 2])
                }
            }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn saying_nothing_is_no_answer() {
    let (world, told) = planned(plan(&[talk("a", &[])]), |_, _| says(" \n"))
        .run()
        .await;
    assert!(
        matches!(told.failure(), Failure::OutputMissing { found, .. } if found.contains("nothing was said"))
    );
    assert_eq!(turns(&world), 3, "two reminders, as the role says");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_stops_calling_tools_uses_up_its_turns() {
    let role = json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["tool: echo"], "limits": { "turns_max": 5 } });
    let busy = |_: &str, before| calls(&[("echo", json!({ "message": format!("{before}") }))]);
    let (world, told) = planned(one_act(), busy).role(role).run().await;
    assert_eq!(
        told.failure(),
        &Failure::Limit {
            kind: LimitKind::Turns,
            limit: 5
        }
    );
    assert_eq!((turns(&world), world.acts.all().len()), (5, 5));
}

fn talkative(context_tokens_max: u32) -> serde_json::Value {
    json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["tool: echo"],
        "limits": { "context_tokens_max": context_tokens_max, "output_tokens_max": 100 } })
}

fn long_work(before: usize) -> Reply {
    if before < 8 {
        return calls(&[(
            "echo",
            json!({ "message": format!("{before} {}", "words ".repeat(60)) }),
        )]);
    }
    says("finished")
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_outgrows_its_room_is_summarised() {
    let (world, told) = planned(one_act(), |_, before| long_work(before))
        .role(talkative(700))
        .run()
        .await;
    assert_eq!(told.text(), "finished");
    assert!(told.has(|kind| matches!(kind, Kind::ContextSummarized { messages, tokens_saved } if *messages >= 2 && *tokens_saved > 0)));
    let last = world
        .requests()
        .into_iter()
        .rfind(|request| matches!(request.purpose, Purpose::Turn { .. }))
        .unwrap();
    assert!(shown(&last).contains("what went before, in short"));
    let Message::User { text } = &last.messages[0] else {
        panic!()
    };
    assert!(text.contains("do a"), "the task stays first");
    assert_eq!(world.acts.all().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn without_a_summary_the_oldest_messages_go_and_that_is_recorded() {
    let one = one_act();
    let (world, told) = world(move |request, before| match request.purpose {
        Purpose::Summarise => Err(fault(ProviderFault::Server)),
        _ => Ok(answer(request, &one, &|_, _| long_work(before))),
    })
    .role(talkative(700))
    .run()
    .await;
    assert_eq!(told.text(), "finished");
    assert!(told.has(|kind| matches!(kind, Kind::ContextSummarizationFailed { messages_dropped, reason } if *messages_dropped >= 2 && !reason.is_empty())));
    let last = world
        .requests()
        .into_iter()
        .rfind(|request| matches!(request.purpose, Purpose::Turn { .. }))
        .unwrap();
    assert!(shown(&last).contains("earlier messages were left out"));
}

#[tokio::test(start_paused = true)]
async fn an_empty_summary_is_none() {
    let one = one_act();
    let (_, told) = world(move |request, before| match request.purpose {
        Purpose::Summarise => Ok(says("  ")),
        _ => Ok(answer(request, &one, &|_, _| long_work(before))),
    })
    .role(talkative(700))
    .run()
    .await;
    assert!(told.has(|kind| matches!(kind, Kind::ContextSummarizationFailed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_scaffold_fetches_a_page_whole_without_a_model() {
    let get = plan(&[
        json!({ "id": "get", "task": "fetch", "role": "fetcher", "params": { "url": "https://a.example/x", "output": "page.md" } }),
    ]);
    let pages = Pages::default().with_text("https://a.example/x", "text/plain", "the page");
    let (world, told) = planned(get, |name, _| says(name)).pages(pages).run().await;
    assert_eq!(
        told.outcome,
        Outcome::Succeeded {
            output: Value::Artifact {
                path: "/home/op/page.md".to_owned(),
                bytes: 8
            }
        }
    );
    assert_eq!(
        world.tree.content("/home/op/page.md").as_deref(),
        Some(&b"the page"[..])
    );
    assert_eq!(turns(&world), 0);
    assert!(told.has(|kind| matches!(kind, Kind::AgentSpawned { model: None, .. })));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_fetched_is_never_written() {
    let get = |params| {
        plan(&[json!({ "id": "get", "task": "fetch", "role": "fetcher", "params": params })])
    };
    let params = json!({ "url": "https://a.example/x", "output": "page.md" });
    for page in [
        Page::Content(404, "text/html".to_owned(), b"<h1>Not found</h1>".to_vec()),
        Page::Content(200, "text/plain".to_owned(), b" \n".to_vec()),
    ] {
        let pages = Pages::default().with("https://a.example/x", page);
        let (world, told) = planned(get(params.clone()), |name, _| says(name))
            .pages(pages)
            .run()
            .await;
        assert!(
            matches!(told.failure(), Failure::Tool { tool, .. } if tool == "web_fetch"),
            "{:?}",
            told.failure()
        );
        assert!(world.tree.content("/home/op/page.md").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_with_an_unknown_scaffold_cannot_start() {
    let odd = json!({ "name": "odd", "summary": "s", "prompt": "p", "scaffold": "dance" });
    let (_, told) = planned(
        plan(&[json!({ "id": "a", "task": "x", "role": "odd" })]),
        |name, _| says(name),
    )
    .role(odd)
    .run()
    .await;
    assert!(
        matches!(told.failure(), Failure::Unready { problems } if problems[0].contains("dance") && problems[0].contains("fetch"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_conversation_whose_summary_broke_off_goes_on_after_a_kill() {
    let working = || {
        world(|request, _| match request.purpose {
            Purpose::Summarise => Err(fault(ProviderFault::Server).billed()),
            _ => Ok(answer(request, &one_act(), &|_, request| {
                long_work(calls_made(request))
            })),
        })
        .role(talkative(700))
    };
    let first = working().start().await;
    let id = first.submit().await;
    let mut left_out = 0;
    let dropped = |kind: &Kind| {
        left_out += usize::from(matches!(kind, Kind::ContextSummarizationFailed { .. }));
        (left_out == 1 && matches!(kind, Kind::ToolResult { .. })).then_some(())
    };
    first.until(id, dropped).await;
    let second = working().journal(first.journal.killed()).start().await;
    let told = second.end_of(id).await;
    assert_eq!(told.text(), "finished");
}

/// How many calls an agent of `long_work` has made, by the last one's own words.
fn calls_made(request: &Request) -> usize {
    let last = request
        .messages
        .iter()
        .rev()
        .find_map(|message| match message {
            Message::Assistant { blocks } => blocks.iter().find_map(|block| match block {
                Block::ToolCall(call) => Some(format!("{:?}", call.input)),
                _ => None,
            }),
            _ => None,
        });
    let digits = |text: String| -> String {
        let from = text.find(|c: char| c.is_ascii_digit()).unwrap();
        text[from..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect()
    };
    last.map_or(0, |text| digits(text).parse::<usize>().unwrap() + 1)
}
