//! The plans that runs are given, and the scripted model that carries them out: it answers by what it is asked, never by
//! what came before, so that it says the same after every restart.

use serde_json::{Value, json};

/// A kind of plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Reads, then effects of each class side by side.
    Mixed,
    /// An agent that starts two others, each with an effect.
    Family,
    /// A subtask that fails after an effect; the second plan keeps the effect and goes round.
    Detour,
    /// It fails after an effect, and the second plan is no better.
    Hopeless,
    /// Its effect waits for approval.
    Asked,
}

/// Every form.
pub(crate) const FORMS: [Form; 5] = [
    Form::Mixed,
    Form::Family,
    Form::Detour,
    Form::Hopeless,
    Form::Asked,
];

/// The role of agents that do something.
const HAND: &str = "\
name: hand
summary: Does what the script says.
parameters:
  tag: { type: string, required: true, description: Names the run. }
  url: { type: string, required: true, description: Where the effects are. }
capabilities:
  - \"inherit: file_read\"
  - \"inherit: file_write\"
  - \"inherit: http\"
  - \"inherit: tool\"
  - \"inherit: spawn\"
prompt: Do it.
output: text
limits: { turns_max: 12, output_tokens_max: 1000, nudges_max: 1, wall_clock_s: 7200, context_tokens_max: 100000 }
";

/// The roles, by file name.
pub(crate) fn roles() -> [(&'static str, String); 2] {
    let kid = HAND.replace("name: hand", "name: kid");
    [("hand.yaml", HAND.to_owned()), ("kid.yaml", kid)]
}

/// A run's name in everything it does.
pub(crate) fn tag(lane: usize, number: usize) -> String {
    format!("t{lane}x{number:05}")
}

/// The goal of a run.
pub(crate) fn goal(form: Form, tag: &str) -> String {
    format!("carry out the plan {form:?} as #{tag}#")
}

fn subtask(id: &str, tag: &str, url: &str, after: &[&str]) -> Value {
    json!({ "id": id, "role": "hand", "task": format!("do {id} of #{tag}#"), "params": { "tag": tag, "url": url }, "depends_on": after })
}

/// What the planner says for one run.
pub(crate) fn plans(form: Form, tag: &str, url: &str) -> Vec<Value> {
    let part = |id: &str, after: &[&str]| subtask(id, tag, url, after);
    let first = |subtasks: Vec<Value>, result: &str| {
        json!({ "match": { "purpose": "plan", "contains": format!("#{tag}#") }, "times": "many",
            "reply": { "json": { "subtasks": subtasks, "result": result } } })
    };
    match form {
        Form::Mixed => vec![first(
            vec![
                part("look", &[]),
                part("send", &["look"]),
                part("put", &["look"]),
                part("end", &["send", "put"]),
            ],
            "end",
        )],
        Form::Family => vec![first(vec![part("parent", &[])], "parent")],
        Form::Detour => {
            let round = json!({ "match": { "purpose": "plan", "contains": format!("the first way of {tag} is closed") }, "times": "many",
                "reply": { "json": { "subtasks": [part("first", &[]), part("second", &["first"])], "result": "second" } } });
            let plan = first(
                vec![part("first", &[]), part("closed", &["first"])],
                "closed",
            );
            vec![round, plan]
        }
        Form::Hopeless => vec![first(
            vec![part("first", &[]), part("never", &["first"])],
            "never",
        )],
        Form::Asked => vec![first(vec![part("asked", &[])], "asked")],
    }
}

fn post(path: &str) -> Value {
    json!({ "name": "http_send", "input": { "method": "POST", "url": format!("${{url}}/{path}"), "body": "once" } })
}

fn call(name: &str, input: Value) -> Value {
    json!({ "name": name, "input": input })
}

/// A turn of a subtask that calls tools.
fn turn(fits: Value, calls: Vec<Value>) -> Value {
    json!({ "match": fits, "times": "many", "reply": { "tool_calls": calls, "usage": USAGE() } })
}

/// A turn of a subtask that ends it.
fn says(fits: Value, text: &str) -> Value {
    json!({ "match": fits, "times": "many", "reply": { "text": text, "usage": USAGE() } })
}

const USAGE: fn() -> Value = || json!({ "input_tokens": 10, "output_tokens": 5, "cost": 7 });

/// What the agents say, whichever run they work for.
pub(crate) fn turns() -> Vec<Value> {
    let at = |id: &str, turn: u64| json!({ "purpose": "turn", "role": "hand", "subtask": id, "turn": turn });
    let kid = |turn: u64| json!({ "purpose": "turn", "role": "kid", "turn": turn });
    let get = call("web_fetch", json!({ "url": "${url}/get/page" }));
    let child = |name: &str| json!({ "role": "kid", "task": format!("be {name}"), "params": { "tag": format!("${{tag}}-{name}"), "url": "${url}" } });
    vec![
        turn(
            at("look", 1),
            vec![
                call("echo", json!({ "message": "${tag}" })),
                call("file_read", json!({ "path": "seed.txt" })),
            ],
        ),
        turn(at("look", 2), vec![get.clone()]),
        says(at("look", 3), "looked for ${tag}"),
        turn(at("send", 1), vec![post("plain/${tag}-a")]),
        turn(
            at("send", 2),
            vec![post("keyed/${tag}-b"), post("plain/${tag}-c")],
        ),
        says(at("send", 3), "sent ${tag}"),
        turn(
            at("put", 1),
            vec![call(
                "file_write",
                json!({ "path": "out.txt", "content": "one of ${tag}\n" }),
            )],
        ),
        turn(
            at("put", 2),
            vec![call(
                "file_edit",
                json!({ "path": "out.txt", "old_string": "one of", "new_string": "two of" }),
            )],
        ),
        turn(
            at("put", 3),
            vec![call(
                "http_send",
                json!({ "method": "PUT", "url": "${url}/set/${tag}", "body": "value of ${tag}" }),
            )],
        ),
        says(at("put", 4), "put ${tag}"),
        says(at("end", 1), "all of ${tag} is done"),
        turn(
            at("parent", 1),
            vec![call(
                "spawn_agents",
                json!({ "children": [child("one"), child("two")] }),
            )],
        ),
        turn(
            at("parent", 2),
            vec![call(
                "file_write",
                json!({ "path": "family.txt", "content": "both of ${tag}\n" }),
            )],
        ),
        says(at("parent", 3), "the family of ${tag} is done"),
        turn(kid(1), vec![post("plain/${tag}"), get]),
        says(kid(2), "${tag} was sent"),
        turn(at("first", 1), vec![post("plain/${tag}-first")]),
        says(at("first", 2), "first of ${tag}"),
        says(at("closed", 1), "CANNOT: the first way of ${tag} is closed"),
        turn(at("second", 1), vec![post("keyed/${tag}-second")]),
        says(at("second", 2), "second of ${tag}"),
        says(at("never", 1), "CANNOT: nothing helps ${tag}"),
        turn(at("asked", 1), vec![post("plain/${tag}-asked")]),
        says(at("asked", 2), "asked and done ${tag}"),
    ]
}
