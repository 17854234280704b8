//! "Fetch the top 5 stories and write a summary", against a copy of the Hacker News interface on loopback: one fetcher
//! a story, side by side, and the writer after all of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::Place;
use serde_json::{Value, json};
use stage::{Pages, Web, of_kind};

const TITLES: [&str; 7] = [
    "A bridge that repairs itself",
    "Show HN: a calendar for gardeners",
    "Why tides are late & how \"late\" is measured",
    "The smallest \u{201c}ferry\u{201d} in Europe – a visit",
    "Ask HN: how do you keep notes?",
    "This is the sixth story",
    "This is the seventh story",
];
const TOP: usize = 5;

/// The interface's answers: the list is in an order of its own.
fn pages() -> Pages {
    let number = |place: usize| 9_000 + (place * 37) % 100;
    let list: Vec<usize> = (0..TITLES.len()).map(number).collect();
    let mut pages = Pages::from([(
        "/v0/topstories.json".to_owned(),
        ("application/json; charset=utf-8", json!(list).to_string()),
    )]);
    for (place, title) in TITLES.iter().enumerate() {
        let id = number(place);
        let item = json!({
            "by": format!("author{place}"), "descendants": 10 + place, "id": id, "score": 100 + place, "time": 1_770_000_000,
            "title": title, "type": "story", "url": format!("https://example.org/{id}"),
        });
        pages.insert(
            format!("/v0/item/{id}.json"),
            ("application/json; charset=utf-8", item.to_string()),
        );
    }
    pages
}

/// Places in the journal of the events of a kind, of the writer's subtask or of all others.
fn places(events: &[Value], kind: &str, of_writer: bool) -> Vec<u64> {
    let started = of_kind(events, "subtask_started");
    let writer: Vec<&Value> = started
        .iter()
        .filter(|event| event["role"] == "writer")
        .map(|event| &event["subtask"])
        .collect();
    let wanted = |event: &&Value| writer.contains(&&event["subtask"]) == of_writer;
    of_kind(events, kind)
        .into_iter()
        .filter(wanted)
        .map(|event| event["seq"].as_u64().unwrap())
        .collect()
}

#[test]
fn five_stories_are_fetched_side_by_side_and_then_written_up() {
    let (place, web) = (Place::new(), Web::serve(pages()));
    let goal = format!(
        "fetch the top 5 stories from {}/v0 and write a summary to stories.md",
        web.url()
    );
    let done = place.run(&["submit", "--grant", &web.grant(), &goal]);
    assert_eq!(done.code, 0, "{done:?}");
    let text = std::fs::read_to_string(place.path("work/stories.md")).unwrap();
    let found: Vec<usize> = TITLES[..TOP]
        .iter()
        .map(|title| {
            text.find(title)
                .unwrap_or_else(|| panic!("{title}: {text}"))
        })
        .collect();
    assert!(found.is_sorted(), "in the list's order: {text}");
    assert!(
        TITLES[TOP..].iter().all(|title| !text.contains(title)),
        "{text}"
    );

    let run = done.out.split_whitespace().next().unwrap();
    let events = place.events(run);
    let started = places(&events, "subtask_started", false);
    let ended = places(&events, "subtask_completed", false);
    assert_eq!(
        (started.len(), ended.len()),
        (TOP, TOP),
        "a fetcher a story"
    );
    assert!(
        started.iter().max() < ended.iter().min(),
        "every fetcher started before any ended: {started:?}, {ended:?}"
    );
    let written = places(&events, "subtask_started", true);
    assert_eq!(written.len(), 1);
    assert!(
        ended.iter().max() < written.iter().min(),
        "the writer comes after all: {ended:?}, {written:?}"
    );
}

#[test]
fn without_a_file_the_summary_is_the_answer() {
    let (place, web) = (Place::new(), Web::serve(pages()));
    let goal = format!(
        "fetch the top 5 stories from {}/v0 and write a summary",
        web.url()
    );
    let done = place.run(&["submit", "--json", "--grant", &web.grant(), &goal]);
    assert_eq!(done.code, 0, "{done:?}");
    let delivered = stage::outcome(&done)["output"].clone();
    let text = match delivered["path"].as_str() {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => delivered["text"].as_str().unwrap().to_owned(),
    };
    assert!(
        TITLES[..TOP].iter().all(|title| text.contains(title)),
        "{text}"
    );
}

#[test]
fn a_story_that_cannot_be_fetched_fails_the_run_and_leaves_no_summary() {
    let mut pages = pages();
    pages.retain(|path, _| !path.ends_with("/9074.json"));
    let (place, web) = (Place::new(), Web::serve(pages));
    let goal = format!(
        "fetch the top 5 stories from {}/v0 and write a summary to stories.md",
        web.url()
    );
    let done = place.run(&["submit", "--grant", &web.grant(), &goal]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.err.contains("error: could not carry out the goal"),
        "{}",
        done.err
    );
    assert!(
        !place.path("work/stories.md").exists(),
        "no summary with a story missing"
    );
}

#[test]
fn stories_that_may_not_be_fetched_are_not() {
    let (place, web) = (Place::new(), Web::serve(pages()));
    let goal = format!(
        "fetch the top 5 stories from {}/v0 and write a summary to stories.md",
        web.url()
    );
    let done = place.run(&["submit", &goal]);
    assert_eq!(
        done.code, 1,
        "a grant for any public address reaches no loopback one: {done:?}"
    );
    assert!(!place.path("work/stories.md").exists());
}
