//! Laws of plans: whatever a model writes, nothing panics, and what passes the check can be walked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aaos_core::{
    id::{RoleName, SubtaskId},
    plan::{
        Plan,
        check::{self, Limits},
        placeholder::{Place, resolve},
        walk::{Effect, Input, Walk},
    },
    role::Role,
    value::Value,
};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn roles() -> BTreeMap<RoleName, Role> {
    let role: Role = serde_json::from_value(json!({
        "name": "writer", "summary": "writes", "prompt": "p",
        "parameters": {
            "output": {"type": "path", "required": true}, "title": {"type": "string"}, "inputs": {"type": "inputs"},
            "url": {"type": "url"}, "paths": {"type": "path_list"},
        },
        "capabilities": ["file_write: {output}", "file_read: {paths.*}", "tool: file_write"],
        "output": {"file": "output"},
    }))
    .unwrap();
    [(role.name.clone(), role)].into()
}

/// Text as a hostile or muddled model writes it.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("[".to_owned()),
        Just("```json\n".to_owned()),
        Just("\"subtasks\":".to_owned()),
        Just("\"result\":\"a\"".to_owned()),
        Just("{\"id\":\"a\",\"task\":\"t\",\"role\":\"writer\"}".to_owned()),
        Just(",".to_owned()),
        Just("]".to_owned()),
        Just("é\u{200b}\u{0}".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn item() -> impl Strategy<Value = serde_json::Value> {
    let words = prop_oneof![
        Just("a.md".to_owned()),
        Just("../../etc/shadow".to_owned()),
        Just("{run}/x".to_owned()),
        Just("{x}".to_owned()),
        Just("https://example.org/a".to_owned()),
        Just("x\"\n  - tool: *\n".to_owned()),
        any::<String>(),
    ];
    prop_oneof![
        words.prop_map(serde_json::Value::from),
        (0_u8..4).prop_map(|number| json!({"from": format!("s{number}")})),
        any::<i32>().prop_map(serde_json::Value::from),
    ]
}

prop_compose! {
    fn subtask()(
        number in 0_u8..5, role in prop_oneof![4 => Just("writer"), 1 => Just("poet")],
        params in prop::collection::btree_map(
            prop_oneof![Just("output"), Just("title"), Just("inputs"), Just("url"), Just("paths"), Just("other")],
            prop_oneof![2 => item(), 1 => prop::collection::vec(item(), 0..3).prop_map(serde_json::Value::from)], 0..4,
        ),
        depends_on in prop::collection::btree_set(0_u8..5, 0..2),
    ) -> serde_json::Value {
        let depends_on: Vec<String> = depends_on.into_iter().map(|need| format!("s{need}")).collect();
        json!({"id": format!("s{number}"), "task": "do it", "role": role, "params": params, "depends_on": depends_on})
    }
}

prop_compose! {
    fn plan()(subtasks in prop::collection::vec(subtask(), 0..5), result in 0_u8..5) -> Plan {
        serde_json::from_value(json!({"subtasks": subtasks, "result": format!("s{result}")})).unwrap()
    }
}

prop_compose! {
    /// A plan that is right, so that the check passes often.
    fn decent()(count in 1_usize..6)(
        needs in prop::collection::vec(any::<prop::sample::Index>(), count), with_input in prop::collection::vec(any::<bool>(), count),
    ) -> Plan {
        let subtask = |number: usize| {
            let mut params = json!({"output": format!("{{run}}/{number}.md"), "title": "x"});
            if number > 0 && with_input[number] {
                params["inputs"] = json!([{"from": format!("s{}", needs[number].index(number))}]);
            }
            json!({"id": format!("s{number}"), "task": "do it", "role": "writer", "params": params})
        };
        serde_json::from_value(json!({"subtasks": (0..needs.len()).map(subtask).collect::<Vec<_>>(), "result": "s0"})).unwrap()
    }
}

const PLACE: Place<'static> = Place {
    base: "/home/o",
    folder: "/runs/1",
};

fn walked(plan: &Plan) -> (usize, Option<bool>) {
    let mut walk = Walk::new(plan, 2);
    let mut inputs = vec![Input::Begin];
    let (mut launched, mut finish) = (0, None);
    while let Some(input) = inputs.pop() {
        for effect in walk.step(&input) {
            match effect {
                Effect::Launch(id) => {
                    launched += 1;
                    inputs.push(Input::Done(id));
                }
                Effect::Finish { ok } => finish = Some(ok),
                Effect::Skip { .. } => {}
            }
        }
    }
    (launched, finish)
}

proptest! {
    #[test]
    fn no_reply_makes_the_parser_panic(reply in hostile()) {
        if let Err(problems) = check::parse(&reply) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn a_plan_survives_any_words_around_it(plan in plan(), before in "[^{]*", after in any::<String>()) {
        let reply = format!("{before}{}{after}", serde_json::to_string(&plan).unwrap());
        prop_assert_eq!(check::parse(&reply), Ok(plan));
    }

    #[test]
    fn what_passes_the_check_has_depths_can_be_walked_and_needs_only_what_there_is(plan in prop_oneof![plan(), decent()]) {
        let roles = roles();
        if check::check(&plan, &roles, &Limits::default()).is_ok() {
            prop_assert_eq!(check::depth(&plan).len(), plan.subtasks.len());
            prop_assert_eq!(walked(&plan), (plan.subtasks.len(), Some(true)));
        }
    }

    #[test]
    fn what_passes_the_check_resolves_to_absolute_paths_and_web_addresses(plan in prop_oneof![plan(), decent()]) {
        let roles = roles();
        prop_assume!(check::check(&plan, &roles, &Limits::default()).is_ok());
        let file = Value::Artifact { path: "/x/y".to_owned(), bytes: 1 };
        let outputs: BTreeMap<SubtaskId, Value> =
            plan.subtasks.iter().map(|subtask| (subtask.id.clone(), file.clone())).collect();
        for subtask in &plan.subtasks {
            let role = &roles[&subtask.role];
            // An address that another subtask is to deliver may turn out to be none; nothing else may fail.
            let Ok(params) = resolve(role, subtask, &outputs, &PLACE) else {
                prop_assert!(subtask.params.get("url").is_some_and(|param| param.items().iter().any(|item| item.source().is_some())));
                continue;
            };
            for value in params.get("output").into_iter().chain(params.get("paths")).flatten() {
                let Value::Text { text } = value else { return Err(TestCaseError::fail("no path")) };
                prop_assert!(text.starts_with('/') && !text.split('/').any(|part| part == ".."));
            }
            let manifest = aaos_core::manifest::render(role, &subtask.task, params, &PLACE);
            if let Ok(manifest) = manifest {
                for wanted in &manifest.wanted {
                    let aaos_core::capability::Rendered::Capability(capability) = wanted else { continue };
                    let parsed: aaos_core::capability::Capability = capability.to_string().parse().unwrap();
                    prop_assert_eq!(&parsed, capability);
                    prop_assert!(capability.to_string() != "tool: *");
                }
            }
        }
    }

    #[test]
    fn a_replan_keeps_only_finished_subtasks_whose_needs_it_keeps(
        old in decent(), new in decent(), finished in prop::collection::btree_set(0_u8..6, 0..6),
    ) {
        let finished: BTreeSet<SubtaskId> = finished.into_iter().map(|number| format!("s{number}").parse().unwrap()).collect();
        let kept = check::kept(&old, &new, &finished);
        prop_assert!(kept.is_subset(&finished));
        for subtask in new.subtasks.iter().filter(|subtask| kept.contains(&subtask.id)) {
            prop_assert!(subtask.needs().is_subset(&kept));
            prop_assert!(old.subtasks.iter().any(|before| before.id == subtask.id && before.params == subtask.params));
        }
        let all: BTreeSet<SubtaskId> = old.subtasks.iter().map(|subtask| subtask.id.clone()).collect();
        prop_assert_eq!(check::kept(&old, &old, &all), all);
    }
}

#[test]
fn ten_thousand_subtasks_are_checked_and_walked() {
    let subtask = |number: usize| {
        let mut subtask = json!({"id": format!("s{number}"), "task": "do it", "role": "writer", "params": {"output": "{run}/o"}});
        if number >= 100 {
            subtask["depends_on"] = json!([
                format!("s{}", number % 100),
                format!("s{}", (number * 7) % 100)
            ]);
        }
        subtask
    };
    let subtasks: Vec<_> = (0..10_000).map(subtask).collect();
    let plan: Plan = serde_json::from_value(json!({"subtasks": subtasks, "result": "s0"})).unwrap();
    assert_eq!(check::check(&plan, &roles(), &Limits::default()), Ok(()));
    assert_eq!(walked(&plan), (10_000, Some(true)));
}
