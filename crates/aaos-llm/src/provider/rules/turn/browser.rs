//! The browser's turns: the list of stories, then the one story, then what it says.

use super::{Next, Step, seen::Seen, words};
use crate::provider::rules::story::{self, Story};
use serde_json::{Value, json};

/// Most bytes of a list or a story that are read.
const BYTES_MAX: u64 = 200_000;

pub(super) fn next(story: &Story, seen: &Seen<'_>) -> Step {
    let list_url = story.list_url();
    let Some(list) = page(seen, &list_url)? else {
        return Ok(fetch(&list_url));
    };
    let item_url = story.item_url(story.pick(list)?);
    let Some(item) = page(seen, &item_url)? else {
        return Ok(fetch(&item_url));
    };
    let answer = story.tell(&item_url, item)?;
    Ok(Next::Say(words(
        &answer,
        story.form,
        &story::title(story.list, 1),
    )))
}

fn fetch(url: &str) -> Next {
    Next::Call(vec![(
        "web_fetch",
        json!({ "url": url, "max_bytes": BYTES_MAX }),
    )])
}

/// A page that was fetched, whole and with success; none if it was not asked for.
fn page<'a>(seen: &'a Seen<'_>, url: &str) -> Result<Option<&'a str>, String> {
    let same = |input: &Value| input.get("url").and_then(Value::as_str) == Some(url);
    let Some(page) = seen
        .document("web_fetch", same)
        .map_err(|reason| format!("{url} cannot be fetched: {reason}"))?
    else {
        return Ok(None);
    };
    let status = page.get("status").and_then(Value::as_u64).unwrap_or(0);
    if !(200..300).contains(&status) {
        return Err(format!("{url} answered {status}"));
    }
    if page
        .get("truncated")
        .and_then(Value::as_bool)
        .unwrap_or(false)
    {
        return Err(format!("{url} is longer than {BYTES_MAX} bytes"));
    }
    page.get("body")
        .and_then(Value::as_str)
        .map(Some)
        .ok_or_else(|| format!("{url} gave no text"))
}
