//! What a call reaches outside, and with what: secrets for the admitted hop alone, every connection an event, workers
//! that start, are refused and are lost, the time a call has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_ports::WorkerNote;
use std::time::Duration;
use world::*;

const API: &str = "https://api.example.com/v1/me";
const ELSEWHERE: &str = "https://other.example.org/";
const TOKEN: &str = "ghp_do_not_show_me";

/// A world whose agent makes one call and says what it was told.
fn calling(tool: &'static str, input: serde_json::Value) -> Builder {
    let one = one_act();
    world(move |request, before| {
        Ok(answer(request, &one, &|_, request| match before {
            0 => calls(&[(tool, input.clone())]),
            _ => says(&last_results(request)[0].text),
        }))
    })
}

fn redirecting() -> Pages {
    Pages::default()
        .with(API, Page::Redirect(ELSEWHERE.parse().unwrap()))
        .with_text(ELSEWHERE, "text/plain", "hello")
}

fn connection(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ConnectionAllowed { .. } | Kind::ConnectionRefused { .. }
    )
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_with_the_hop_whose_grant_names_it_and_with_no_other() {
    let (world, told) = calling("web_fetch", json!({ "url": API }))
        .grants(&[
            "tool: *",
            "http: GET *",
            "http: GET https://api.example.com using token",
        ])
        .secret("token", TOKEN)
        .secret("unasked", "never handed out")
        .pages(redirecting())
        .run()
        .await;
    let hops = world.pages.hops();
    let names = |hop: usize| -> Vec<&str> {
        let secrets = &hops[hop].1.secrets;
        secrets.keys().map(String::as_str).collect()
    };
    assert_eq!((hops.len(), names(0), names(1)), (2, vec!["token"], vec![]));
    assert_eq!(hops[0].1.secrets["token"].expose(), TOKEN);
    assert_eq!(told.text(), r#"{"body":"hello","status":200}"#);
    let all = serde_json::to_string(&told.events).unwrap();
    assert!(!all.contains(TOKEN), "no event holds it");
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_a_value_is_refused_and_says_where_to_set_it() {
    let (world, told) = calling("web_fetch", json!({ "url": API }))
        .grants(&["tool: *", "http: GET https://api.example.com using token"])
        .pages(redirecting())
        .run()
        .await;
    assert_eq!(world.pages.hops().len(), 0);
    assert!(
        told.text().contains("(secret)") && told.text().contains("`[secrets]`"),
        "{}",
        told.text()
    );
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityDenied { axis, reason, .. } if axis == "secret" && reason.contains("`token`"))));
    assert!(
        told.has(|kind| matches!(kind, Kind::ConnectionRefused { axis, .. } if axis == "secret"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_not_given_a_secret_has_none() {
    let frugal = json!({ "name": "generalist", "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool", "http: GET https://api.example.com"] });
    let (world, _) = calling("web_fetch", json!({ "url": API }))
        .role(frugal)
        .grants(&["tool: *", "http: GET https://api.example.com using token"])
        .secret("token", TOKEN)
        .pages(Pages::default().with_text(API, "text/plain", "me"))
        .run()
        .await;
    let hops = world.pages.hops();
    assert_eq!((hops.len(), hops[0].1.secrets.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn every_connection_is_an_event_of_its_call_before_the_receipt() {
    let (_, told) = calling("web_fetch", json!({ "url": API }))
        .grants(&["tool: *", "http: GET https://api.example.com"])
        .pages(redirecting())
        .run()
        .await;
    let allowed = told.at(|kind| matches!(kind, Kind::ConnectionAllowed { method, url, address: Some(_) } if method == "GET" && url == API));
    let refused = told.at(
        |kind| matches!(kind, Kind::ConnectionRefused { method, url, axis, .. } if method == "GET" && url == ELSEWHERE && axis == "host"),
    );
    let (intent, receipt) = (
        told.at(|kind| matches!(kind, Kind::ToolInvoked { .. })),
        told.at(|kind| matches!(kind, Kind::ToolResult { .. })),
    );
    assert!(intent < allowed && allowed < refused && refused < receipt);
    for event in [allowed, refused] {
        assert_eq!(
            (
                told.events[event].subject.call,
                told.events[event].subject.cause
            ),
            (
                told.events[intent].subject.call,
                Some(told.events[intent].seq)
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_recorded_while_its_call_goes_on() {
    let world = calling(
        "web_crawl",
        json!({ "url": ELSEWHERE, "times": 1, "secs": 60 }),
    )
    .pages(redirecting())
    .start()
    .await;
    let id = world.submit().await;
    world.until(id, |kind| connection(kind).then_some(())).await;
    let ended = |kind: &Kind| matches!(kind, Kind::ToolResult { .. });
    assert!(!world.kinds(id).iter().any(ended));
    let told = world.end_of(id).await;
    assert_eq!(told.count(connection), 1);
}

#[tokio::test(start_paused = true)]
async fn many_connections_of_one_call_are_recorded_up_to_a_bound_and_then_counted() {
    let (_, told) = calling(
        "web_crawl",
        json!({ "url": ELSEWHERE, "times": 100, "secs": 0 }),
    )
    .pages(redirecting())
    .run()
    .await;
    assert_eq!(told.count(connection), 64);
    let omitted = told.at(|kind| {
        matches!(
            kind,
            Kind::ConnectionsOmitted {
                allowed: 36,
                refused: 0
            }
        )
    });
    assert!(omitted < told.at(|kind| matches!(kind, Kind::ToolResult { success: true, .. })));
    let (_, told) = calling(
        "web_crawl",
        json!({ "url": "http://other.example.org/", "times": 70, "secs": 0 }),
    )
    .grants(&["tool: *", "http: GET https://api.example.com"])
    .run()
    .await;
    assert!(told.has(|kind| matches!(
        kind,
        Kind::ConnectionsOmitted {
            allowed: 0,
            refused: 6
        }
    )));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_a_connection_is_cut() {
    let long = format!("{ELSEWHERE}{}", "x".repeat(5_000));
    let (_, told) = calling("web_fetch", json!({ "url": long })).run().await;
    assert!(
        told.has(|kind| matches!(kind, Kind::ConnectionAllowed { url, .. } if url.len() < 600))
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_there_before_a_call_and_what_it_lacks_shows_on_the_run() {
    let (world, told) = calling("echo", json!({ "message": "x" }))
        .missing_layers(&[Layer::Landlock])
        .run()
        .await;
    let (worker, agent) = (
        told.at(|kind| matches!(kind, Kind::WorkerStarted { missing, .. } if *missing == [Layer::Landlock])),
        told.at(|kind| matches!(kind, Kind::AgentSpawned { .. })),
    );
    let call = told.at(|kind| matches!(kind, Kind::ToolInvoked { .. }));
    assert!(agent < worker && worker < call);
    assert_eq!(
        told.events[worker].subject.agent,
        told.events[agent].subject.agent
    );
    let view = world.view(told.id).await;
    assert_eq!(
        view.layers_missing.into_iter().collect::<Vec<_>>(),
        [Layer::Landlock]
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_refused_is_an_event_and_the_failure_names_the_layer() {
    let (_, told) = calling("echo", json!({ "message": "x" }))
        .refusing_launches(
            Some(Layer::Seccomp),
            "the kernel offers no filters",
            "Use a kernel built with them",
        )
        .run()
        .await;
    assert!(told.has(|kind| matches!(kind, Kind::WorkerRefused { layer: Some(Layer::Seccomp), missing, .. } if missing == "the kernel offers no filters")));
    assert_eq!(
        told.failure().to_string(),
        "no worker: seccomp: the kernel offers no filters. Use a kernel built with them"
    );
    assert!(!told.has(|kind| matches!(kind, Kind::ToolInvoked { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_lost_is_an_event_of_its_agent() {
    let world = calling("wait", json!({ "secs": 60 })).start().await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::ToolInvoked { .. }).then_some(())
        })
        .await;
    let launched = world.backend.launched().remove(0);
    let reason = "killed by signal 9".to_owned();
    launched
        .witness
        .note(WorkerNote::Lost {
            reason: reason.clone(),
        })
        .await;
    let told = world.end_of(id).await;
    let lost = told.at(|kind| matches!(kind, Kind::WorkerLost { reason: told } if *told == reason));
    assert_eq!(told.events[lost].subject.agent, Some(launched.agent));
}

#[tokio::test(start_paused = true)]
async fn a_call_has_the_time_its_tool_declares() {
    let (world, told) = calling("wait_little", json!({ "secs": 8 })).run().await;
    assert_eq!(
        told.text(),
        "wait_little did not finish within 7000 ms; it was stopped"
    );
    assert_eq!(world.acts.all(), ["wait begins"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_agents_time() {
    let brief = json!({ "name": "generalist", "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool"], "limits": { "wall_clock_s": 110 } });
    let (world, told) = calling("wait", json!({ "secs": 1_000 }))
        .role(brief)
        .delay(|_| Duration::from_secs(1))
        .run()
        .await;
    let limit = Failure::Limit {
        kind: LimitKind::WallClock,
        limit: 110_000,
    };
    assert_eq!(told.failure(), &limit);
    assert_eq!(world.acts.all(), ["wait begins"]);
}
