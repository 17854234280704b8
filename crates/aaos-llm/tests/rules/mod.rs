//! What the tests of the provider `rules` share: requests, the bundled roles, a plan as lines.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use aaos_core::{
    failure::Failure,
    id::{RoleName, RunId},
    model::{Message, ModelRef, Purpose, Reply, Request},
    plan::{Param, Plan, check},
    role::Role,
};
use aaos_llm::provider::rules::Rules;
use aaos_ports::provider::{Delta, DeltaSink, Provider, Retry};
use std::{collections::BTreeMap, sync::LazyLock};

const ROLES: [&str; 7] = [
    include_str!("../../../aaos-store/roles/analyzer.yaml"),
    include_str!("../../../aaos-store/roles/browser.yaml"),
    include_str!("../../../aaos-store/roles/builder.yaml"),
    include_str!("../../../aaos-store/roles/explorer.yaml"),
    include_str!("../../../aaos-store/roles/fetcher.yaml"),
    include_str!("../../../aaos-store/roles/generalist.yaml"),
    include_str!("../../../aaos-store/roles/writer.yaml"),
];

/// Takes pieces and forgets them.
pub(crate) struct Nowhere;

#[async_trait::async_trait]
impl DeltaSink for Nowhere {
    fn delta(&self, _delta: Delta) {}

    async fn again(&self, _: Retry) {}
}

/// The roles that come with the program, read once.
pub(crate) fn roles() -> &'static BTreeMap<RoleName, Role> {
    static READ: LazyLock<BTreeMap<RoleName, Role>> = LazyLock::new(|| {
        let read = |text: &&str| serde_saphyr::from_str::<Role>(text).unwrap();
        ROLES
            .iter()
            .map(read)
            .map(|role| (role.name.clone(), role))
            .collect()
    });
    &READ
}

/// A request with a purpose and a conversation.
pub(crate) fn request(purpose: Purpose, messages: Vec<Message>) -> Request {
    Request {
        run: RunId::from_drawn(1),
        model: ModelRef {
            provider: "rules".to_owned(),
            model: "rules".to_owned(),
        },
        purpose,
        system: String::new(),
        messages,
        tools: Vec::new(),
        output_tokens_max: 4_096,
        reply_schema: None,
    }
}

/// The provider's answer. It waits for nothing, so one poll is enough.
pub(crate) fn ask(request: &Request) -> Result<Reply, Failure> {
    futures::executor::block_on(Rules.complete(request, &Nowhere)).map_err(|error| *error.failure)
}

/// A plan for a goal, or why it is refused.
pub(crate) fn plan(goal: &str, roles: &BTreeMap<RoleName, Role>) -> Result<Plan, Failure> {
    let purpose = Purpose::Plan {
        goal: goal.to_owned(),
        base: "/base".to_owned(),
        roles: roles.values().cloned().collect(),
        problems: Vec::new(),
    };
    let said = Message::User {
        text: goal.to_owned(),
    };
    ask(&request(purpose, vec![said])).map(|reply| check::parse(&reply.text()).unwrap())
}

/// A plan, one line for each subtask: `id role [what it takes] > output: task`, and which is the result.
pub(crate) fn lines(plan: &Plan) -> Vec<String> {
    let items = |param: &Param| {
        let shown = param.items().iter().map(|item| match item {
            aaos_core::plan::Item::Text(text) => text.clone(),
            aaos_core::plan::Item::From { from } => format!("@{from}"),
            aaos_core::plan::Item::Number(number) => number.to_string(),
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    let line = |subtask: &aaos_core::plan::Subtask| {
        let taken: Vec<String> = ["url", "folder", "pattern", "inputs"]
            .iter()
            .filter_map(|name| subtask.params.get(*name))
            .map(items)
            .collect();
        let output = subtask
            .params
            .get("output")
            .map(|path| format!(" > {}", items(path)))
            .unwrap_or_default();
        let end = if subtask.id == plan.result { "= " } else { "" };
        format!(
            "{end}{} {} [{}]{output}: {}",
            subtask.id,
            subtask.role,
            taken.join(" | "),
            subtask.task
        )
    };
    plan.subtasks.iter().map(line).collect()
}
