//! A tool call's way: what is refused before it happens, what the model is told, what is recorded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use world::*;

/// A world whose one agent makes these calls, one after another, and then says what it was last told.
fn making(made: Vec<(&'static str, serde_json::Value)>) -> Builder {
    let one = one_act();
    world(move |request, before| {
        Ok(answer(
            request,
            &one,
            &|_, request| match made.get(before) {
                Some(call) => calls(std::slice::from_ref(call)),
                None => says(&last_results(request)[0].text),
            },
        ))
    })
}

fn invoked(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolInvoked { .. })
}

#[tokio::test(start_paused = true)]
async fn a_call_is_recorded_before_and_after() {
    let (world, told) = making(vec![(
        "file_write",
        json!({ "path": "a.md", "content": "hi" }),
    )])
    .run()
    .await;
    assert_eq!(told.text(), r#"{"bytes":2}"#);
    let (intent, receipt) = (
        told.at(invoked),
        told.at(|kind| matches!(kind, Kind::ToolResult { .. })),
    );
    assert!(intent < receipt);
    let Kind::ToolInvoked {
        tool,
        input_hash,
        args_preview,
        ..
    } = &told.events[intent].kind
    else {
        panic!()
    };
    assert_eq!(
        (tool.as_str(), args_preview.as_str()),
        ("file_write", r#"{"content":"hi","path":"a.md"}"#)
    );
    assert_eq!(input_hash.len(), 64);
    let Kind::ToolResult {
        success,
        output,
        result_preview,
        ..
    } = &told.events[receipt].kind
    else {
        panic!()
    };
    assert_eq!(
        (*success, result_preview.as_str(), output.len()),
        (true, r#"{"bytes":2}"#, 64)
    );
    assert_eq!(
        told.events[intent].subject.call,
        told.events[receipt].subject.call
    );
    for event in [intent, receipt] {
        assert_eq!(
            world.journal.sure(told.events[event].seq),
            Durability::Durable,
            "a change is sure before and after"
        );
    }
    assert_eq!(world.view(told.id).await.tool_calls, 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_looks_waits_for_no_disk() {
    let (world, told) = making(vec![("echo", json!({ "message": "x" }))])
        .run()
        .await;
    let intent = &told.events[told.at(invoked)];
    assert_eq!(world.journal.sure(intent.seq), Durability::Ordered);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_makes_no_sense_is_rejected_told_and_the_agent_goes_on() {
    let cases = [
        (
            "no_such_tool",
            json!({}),
            "there is no tool `no_such_tool`; you may call: change, echo",
        ),
        ("bad name\n!", json!({}), "there is no tool"),
        ("echo", json!({ "mesage": "x" }), "do not fit the schema"),
        ("echo", json!({ "message": 7 }), "at `/message`"),
        ("echo", json!("message"), "do not fit the schema"),
    ];
    for (tool, input, told_of) in cases {
        let (world, told) = making(vec![(tool, input), ("echo", json!({ "message": "right" }))])
            .run()
            .await;
        assert_eq!(told.text(), "\"right\"", "{tool}");
        assert_eq!(told.count(|kind| matches!(kind, Kind::ToolRejected { problem, .. } if problem.contains(told_of))), 1, "{tool}: {:#?}", told.events);
        assert_eq!(
            (told.count(invoked), world.acts.all()),
            (1, vec!["echo right".to_owned()])
        );
        let after = world
            .requests()
            .into_iter()
            .find(|request| matches!(request.messages.last(), Some(Message::Tools { .. })))
            .unwrap();
        let result = last_results(&after).remove(0);
        assert!(
            result.is_error && result.text.contains(told_of),
            "{result:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_tool_call_is_rejected_and_told() {
    let one = one_act();
    let (_, told) = world(move |request, before| {
        Ok(answer(request, &one, &|_, request| match before {
            0 => {
                let input = Arguments::Malformed("{\"message\": \"hal".to_owned());
                reply(
                    vec![Block::ToolCall(ToolCall {
                        id: "c".to_owned(),
                        name: "echo".to_owned(),
                        input,
                    })],
                    Stop::ToolUse,
                )
            }
            _ => says(&last_results(request)[0].text),
        }))
    })
    .run()
    .await;
    assert!(told.text().contains("not a JSON document") && told.text().contains("hal"));
    assert!(told.has(|kind| matches!(kind, Kind::ToolRejected { .. })) && !told.has(invoked));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_not_granted_is_denied_with_the_axis_and_nothing_runs() {
    for path in [
        "/etc/shadow",
        "../../etc/shadow",
        "/home/op/../../etc/shadow",
        "/home/opposite/x",
        "/home/op/./../other",
    ] {
        let (world, told) = making(vec![("file_read", json!({ "path": path }))])
            .run()
            .await;
        assert!(
            told.text().starts_with("refused (scope)"),
            "{path}: {}",
            told.text()
        );
        assert!(told.has(|kind| matches!(kind, Kind::CapabilityDenied { tool, axis, .. } if tool == "file_read" && axis == "scope")));
        assert!(!told.has(invoked) && world.acts.all().is_empty(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_none_is_denied_too() {
    for path in ["", "/home/op/a\0b", "/.."] {
        let (world, told) = making(vec![("file_read", json!({ "path": path }))])
            .run()
            .await;
        assert!(
            told.has(|kind| matches!(kind, Kind::CapabilityDenied { .. })),
            "{path:?}: {:#?}",
            told.tags()
        );
        assert!(world.acts.all().is_empty(), "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_not_granted_is_not_offered_and_is_denied() {
    let (world, told) = making(vec![("change", json!({ "secs": 0 }))])
        .grants(&["tool: echo"])
        .run()
        .await;
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityDenied { tool, .. } if tool == "change"))
    );
    assert!(world.acts.all().is_empty());
    let turn = world
        .requests()
        .into_iter()
        .find(|request| matches!(request.purpose, Purpose::Turn { .. }))
        .unwrap();
    assert_eq!(
        turn.tools
            .iter()
            .map(|tool| tool.name.as_str())
            .collect::<Vec<_>>(),
        ["echo"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_tool_reaches_nothing_it_did_not_declare() {
    let (world, told) = making(vec![("sneak", json!({ "path": "/etc/shadow" }))])
        .run()
        .await;
    assert!(told.text().contains("refused"), "{}", told.text());
    assert!(world.acts.all().is_empty());
    assert!(told.has(|kind| matches!(kind, Kind::ToolResult { success: false, .. })));
}

#[tokio::test(start_paused = true)]
async fn each_hop_of_a_redirect_is_authorised_and_a_refused_one_is_recorded() {
    let pages = || {
        Pages::default()
            .with(
                "https://good.example/a",
                Page::Redirect("https://evil.example/b".parse().unwrap()),
            )
            .with_text("https://evil.example/b", "text/plain", "secrets")
    };
    let fetch = || vec![("web_fetch", json!({ "url": "https://good.example/a" }))];
    let (_, told) = making(fetch())
        .pages(pages())
        .grants(&["tool: *", "http: GET https://good.example/"])
        .run()
        .await;
    assert!(
        told.text().contains("evil.example") && told.text().contains("refused"),
        "{}",
        told.text()
    );
    let denied = told.at(
        |kind| matches!(kind, Kind::CapabilityDenied { need, .. } if need.contains("evil.example")),
    );
    assert!(
        told.at(invoked) < denied
            && denied < told.at(|kind| matches!(kind, Kind::ToolResult { success: false, .. }))
    );
    let (_, told) = making(fetch()).pages(pages()).run().await;
    assert!(told.text().contains("secrets"));
}

#[tokio::test(start_paused = true)]
async fn a_tools_own_failure_is_told_and_is_no_refusal() {
    let (_, told) = making(vec![("fail", json!({}))]).run().await;
    assert_eq!(told.text(), "it is broken; use another");
    assert!(told.has(|kind| matches!(kind, Kind::ToolResult { success: false, .. })));
    assert!(!told.has(|kind| matches!(
        kind,
        Kind::CapabilityDenied { .. } | Kind::ToolRejected { .. }
    )));
}

#[tokio::test(start_paused = true)]
async fn the_same_call_again_is_warned_of_then_refused_then_ends_the_agent() {
    let stuck = |_: &str, _| calls(&[("echo", json!({ "message": "again" }))]);
    let (world, told) = planned(one_act(), stuck).run().await;
    assert_eq!(
        told.failure(),
        &Failure::Limit {
            kind: LimitKind::Repeats,
            limit: 6
        }
    );
    assert_eq!(world.acts.all().len(), 5, "made five times");
    let warned: Vec<u32> = told
        .kinds()
        .filter_map(|kind| match kind {
            Kind::ToolRepeat { attempt_count, .. } => Some(*attempt_count),
            _ => None,
        })
        .collect();
    assert_eq!(warned, [3, 4, 5]);
    let refused: Vec<u32> = told
        .kinds()
        .filter_map(|kind| match kind {
            Kind::ToolRepeatGuardFired { attempt_count, .. } => Some(*attempt_count),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [6, 7, 8]);
    let third = &world.requests()[4];
    assert!(
        last_results(third)[0].text.contains("3 times"),
        "{:?}",
        last_results(third)
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_call_in_one_reply_is_refused_too() {
    let flood: Vec<(&str, serde_json::Value)> = (0..100)
        .map(|_| ("echo", json!({ "message": "x" })))
        .collect();
    let (world, told) = planned(one_act(), move |_, _| calls(&flood)).run().await;
    assert_eq!(
        told.failure(),
        &Failure::Limit {
            kind: LimitKind::Repeats,
            limit: 6
        }
    );
    assert_eq!(world.acts.all().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn calls_that_only_look_run_side_by_side_and_changes_run_alone_in_order() {
    let several = [
        ("wait", json!({ "secs": 10 })),
        ("wait", json!({ "secs": 9 })),
        ("change", json!({ "secs": 1 })),
        ("echo", json!({ "message": "after" })),
    ];
    let (world, told) = planned(one_act(), move |_, before| {
        if before == 0 {
            calls(&several)
        } else {
            says("done")
        }
    })
    .run()
    .await;
    assert_eq!(told.text(), "done");
    let expected = [
        "wait begins",
        "wait begins",
        "wait ends",
        "wait ends",
        "change begins",
        "change ends",
        "echo after",
    ];
    assert_eq!(world.acts.all(), expected);
    let results = world
        .requests()
        .into_iter()
        .next_back()
        .map(|request| last_results(&request))
        .unwrap();
    let names: Vec<&str> = results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(
        names,
        ["wait", "wait", "change", "echo"],
        "answered in the order of the calls"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_runs_out_of_time() {
    let (world, told) = making(vec![("wait", json!({ "secs": 100_000 }))])
        .run()
        .await;
    assert!(
        told.text().contains("did not finish within 120000 ms"),
        "{}",
        told.text()
    );
    assert_eq!(world.acts.all(), ["wait begins"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_output_is_cut_for_the_model_and_whole_in_the_store() {
    let (world, told) = {
        let world = making(vec![("file_read", json!({ "path": "big" }))])
            .start()
            .await;
        world
            .tree
            .put("/home/op/big", Node::File(vec![b'x'; 1 << 20]));
        let told = world.run().await;
        (world, told)
    };
    assert!(
        told.text().len() < 257 * 1024
            && told.text().contains("bytes shown; ask for a smaller part")
    );
    let digest = told.kinds().find_map(|kind| match kind {
        Kind::ToolResult { output, .. } => Some(aaos_ports::Digest(output.clone())),
        _ => None,
    });
    let whole = aaos_ports::Journal::get(&world.journal, &digest.unwrap())
        .await
        .unwrap();
    assert_eq!(whole.len(), (1 << 20) + 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_costs_no_uses() {
    let made = vec![
        ("file_read", json!({ "path": "/etc/shadow" })),
        ("file_read", json!({ "path": "/etc/passwd" })),
        ("file_read", json!({ "path": "in.md" })),
    ];
    let world = making(made)
        .grants(&["tool: file_read {uses=1}", "file_read: /home/op/**"])
        .start()
        .await;
    world
        .tree
        .put("/home/op/in.md", Node::File(b"words".to_vec()));
    assert_eq!(world.run().await.text(), "\"words\"");
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_uses_is_held_by_the_whole_run() {
    let two = plan(&[
        act("a"),
        json!({ "id": "b", "task": "do b", "role": "generalist", "depends_on": ["a"] }),
    ]);
    let (world, told) = planned(two, |_, before| match before {
        0 => calls(&[("echo", json!({ "message": "x" }))]),
        _ => says("done"),
    })
    .grants(&["tool: echo {uses=1}"])
    .run()
    .await;
    assert_eq!(world.acts.all().len(), 1, "{:#?}", told.events);
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_bytes_refuses_the_next_act() {
    let made = vec![
        ("file_read", json!({ "path": "in.md" })),
        ("file_read", json!({ "path": "in.md", })),
    ];
    let world = making(made)
        .grants(&["tool: file_read", "file_read: /home/op/** {bytes=20}"])
        .start()
        .await;
    world
        .tree
        .put("/home/op/in.md", Node::File(b"many words".to_vec()));
    let told = world.run().await;
    assert!(
        told.text().starts_with("refused (bytes)"),
        "{}",
        told.text()
    );
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityDenied { axis, .. } if axis == "bytes"))
    );
    assert_eq!(
        world.acts.all(),
        ["read in.md"],
        "17 bytes in, 12 out: the first act went over, the second was refused"
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_bytes_counts_what_goes_in() {
    let made = vec![
        ("echo", json!({ "message": "x".repeat(100) })),
        ("echo", json!({ "message": "y" })),
    ];
    let (world, told) = making(made).grants(&["tool: echo {bytes=150}"]).run().await;
    assert!(
        told.text().starts_with("refused (bytes)"),
        "{}",
        told.text()
    );
    assert_eq!(world.acts.all().len(), 1);
}
