//! Is this a plan? Finds it in a model's reply, and names everything that is wrong with it at once.
//!
//! A model's reply is hostile input: of any size, cut anywhere, full of braces. What is refused here never starts.

use super::{Item, Param, Plan, Subtask, graph::Graph, placeholder};
use crate::{
    id::{RoleName, SubtaskId},
    role::{OutputKind, Parameter, ParameterKind, Role},
    text::preview,
};
use std::collections::{BTreeMap, BTreeSet};

pub use super::reply::parse;
pub use super::schema::schema;

/// Most problems that are named; the rest are counted. More would only drown a planner.
const PROBLEMS_MAX: usize = 40;
/// Most bytes of a value shown in a problem.
const SHOWN_BYTES_MAX: usize = 80;
/// Most members of a cycle shown in a problem.
const CYCLE_SHOWN_MAX: usize = 12;

/// How large a plan may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most subtasks.
    pub subtasks_max: usize,
    /// Most subtasks on a way from a root to a leaf.
    pub depth_max: u32,
    /// Most bytes of tasks and parameters together.
    pub params_bytes_max: usize,
}

impl Default for Limits {
    /// Far beyond what a model writes; a program that submits plans may need it.
    fn default() -> Self {
        Self {
            subtasks_max: 10_000,
            depth_max: 64,
            params_bytes_max: 1 << 20,
        }
    }
}

/// Whether a plan can be walked with these roles, within these limits.
///
/// # Errors
/// Every problem at once, in words a planner can act on.
pub fn check(
    plan: &Plan,
    roles: &BTreeMap<RoleName, Role>,
    limits: &Limits,
) -> Result<(), Vec<String>> {
    if plan.subtasks.is_empty() {
        return Err(vec![
            "the plan has no subtasks; it needs at least one".to_owned(),
        ]);
    }
    if plan.subtasks.len() > limits.subtasks_max {
        let found = plan.subtasks.len();
        return Err(vec![format!(
            "the plan has {found} subtasks; at most {} are carried out",
            limits.subtasks_max
        )]);
    }
    let mut problems = size_problem(plan, limits).into_iter().collect::<Vec<_>>();
    problems.extend(duplicates(plan));
    let graph = Graph::of(plan);
    if graph.position(&plan.result).is_none() {
        problems.push(format!(
            "`result` names `{}`, which is no subtask",
            plan.result
        ));
    }
    problems.extend(shape_problems(plan, &graph, limits));
    let deliveries = deliveries(plan, roles);
    problems.extend(
        plan.subtasks
            .iter()
            .flat_map(|subtask| subtask_problems(subtask, roles, &deliveries)),
    );
    bounded(problems)
}

fn bounded(mut problems: Vec<String>) -> Result<(), Vec<String>> {
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    if more > 0 {
        problems.truncate(PROBLEMS_MAX);
        problems.push(format!("and {more} more of this kind"));
    }
    Err(problems)
}

fn size_problem(plan: &Plan, limits: &Limits) -> Option<String> {
    let params = |subtask: &Subtask| -> usize {
        subtask
            .params
            .iter()
            .map(|(name, param)| name.len() + param.items().iter().map(item_bytes).sum::<usize>())
            .sum()
    };
    let bytes: usize = plan
        .subtasks
        .iter()
        .map(|subtask| subtask.task.len() + params(subtask))
        .sum();
    let max = limits.params_bytes_max;
    (bytes > max).then(|| {
        format!("tasks and parameters have {bytes} bytes together; at most {max} are accepted")
    })
}

fn item_bytes(item: &Item) -> usize {
    match item {
        Item::Text(text) => text.len(),
        Item::From { from } => from.as_str().len(),
        Item::Number(_) => std::mem::size_of::<f64>(),
    }
}

fn duplicates(plan: &Plan) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&SubtaskId> = plan
        .subtasks
        .iter()
        .map(|subtask| &subtask.id)
        .filter(|id| !seen.insert(*id))
        .collect();
    twice
        .into_iter()
        .map(|id| format!("two subtasks are called `{id}`; every id must be its own"))
        .collect()
}

fn shape_problems(plan: &Plan, graph: &Graph, limits: &Limits) -> Vec<String> {
    let mut problems = Vec::new();
    for (position, subtask) in plan.subtasks.iter().enumerate() {
        let unknown = graph.unknown(position).iter();
        problems.extend(
            unknown.map(|need| format!("{}: it needs `{need}`, which is no subtask", subtask.id)),
        );
    }
    if let Some(cycle) = graph.cycle() {
        problems.push(cycle_problem(plan, &cycle));
    }
    for (subtask, depth) in plan.subtasks.iter().zip(graph.depths()) {
        problems.extend(depth.and_then(|depth| depth_problem(subtask, depth, limits)));
    }
    problems
}

fn cycle_problem(plan: &Plan, cycle: &[usize]) -> String {
    let name = |position: &usize| {
        plan.subtasks
            .get(*position)
            .map_or("?", |subtask| subtask.id.as_str())
    };
    let mut names: Vec<&str> = cycle.iter().take(CYCLE_SHOWN_MAX).map(name).collect();
    if cycle.len() > CYCLE_SHOWN_MAX {
        names.push("…");
    }
    names.extend(cycle.first().map(name));
    format!(
        "subtasks wait for each other in a circle: {}",
        names.join(" needs ")
    )
}

fn depth_problem(subtask: &Subtask, depth: u32, limits: &Limits) -> Option<String> {
    if depth >= limits.depth_max {
        return Some(format!(
            "{}: it lies {depth} steps deep; less than {} are allowed",
            subtask.id, limits.depth_max
        ));
    }
    let hops_max = subtask.ttl.and_then(|ttl| ttl.hops_max)?;
    (depth > hops_max).then(|| {
        format!(
            "{}: {depth} subtasks come before it; its hops_max is {hops_max}",
            subtask.id
        )
    })
}

/// What a subtask's output will be, as far as its role says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivers {
    Words,
    File,
}

/// What each subtask with a known role delivers.
type Deliveries<'a> = BTreeMap<&'a SubtaskId, Delivers>;

fn deliveries<'a>(plan: &'a Plan, roles: &BTreeMap<RoleName, Role>) -> Deliveries<'a> {
    let delivers = |subtask: &Subtask| match &roles.get(&subtask.role)?.output {
        OutputKind::File(name) if subtask.params.contains_key(name) => Some(Delivers::File),
        _ => Some(Delivers::Words),
    };
    plan.subtasks
        .iter()
        .filter_map(|subtask| Some((&subtask.id, delivers(subtask)?)))
        .collect()
}

fn subtask_problems(
    subtask: &Subtask,
    roles: &BTreeMap<RoleName, Role>,
    deliveries: &Deliveries<'_>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if subtask.task.trim().is_empty() {
        problems.push(format!(
            "{}: its task is empty; say in a sentence what is to be done",
            subtask.id
        ));
    }
    if subtask.ttl.is_some_and(|ttl| ttl.wall_clock_s == Some(0)) {
        problems.push(format!(
            "{}: its wall_clock_s is 0; it needs at least 1",
            subtask.id
        ));
    }
    match roles.get(&subtask.role) {
        Some(role) => problems.extend(role_problems(subtask, role, deliveries)),
        None => {
            let known: Vec<&str> = roles.keys().map(RoleName::as_str).collect();
            problems.push(format!(
                "{}: there is no role `{}`; there is {}",
                subtask.id,
                subtask.role,
                known.join(", ")
            ));
        }
    }
    problems
}

fn role_problems(subtask: &Subtask, role: &Role, deliveries: &Deliveries<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let known = || {
        role.parameters
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (name, param) in &subtask.params {
        let Some(parameter) = role.parameters.get(name) else {
            let name = preview(name, SHOWN_BYTES_MAX);
            problems.push(format!(
                "{}: role {} has no parameter `{name}`; it has {}",
                subtask.id,
                role.name,
                known()
            ));
            continue;
        };
        let wrong = param_problems(parameter, param, deliveries);
        problems.extend(
            wrong
                .into_iter()
                .map(|problem| format!("{}: parameter `{name}`: {problem}", subtask.id)),
        );
    }
    let absent = |name: &String| {
        subtask
            .params
            .get(name)
            .is_none_or(|param| param.items().is_empty())
    };
    let missing = role
        .parameters
        .iter()
        .filter(|(name, parameter)| parameter.required && absent(name));
    problems.extend(missing.map(|(name, parameter)| {
        format!(
            "{}: role {} needs the parameter `{name}`, a {}",
            subtask.id,
            role.name,
            parameter.kind.words()
        )
    }));
    problems
}

fn param_problems(
    parameter: &Parameter,
    param: &Param,
    deliveries: &Deliveries<'_>,
) -> Vec<String> {
    if matches!(param, Param::Many(_)) && !parameter.kind.is_list() {
        return vec![format!(
            "it takes one {}, not a list",
            parameter.kind.words()
        )];
    }
    param
        .items()
        .iter()
        .filter_map(|item| item_problem(parameter.kind, item, deliveries))
        .collect()
}

fn item_problem(kind: ParameterKind, item: &Item, deliveries: &Deliveries<'_>) -> Option<String> {
    match item {
        Item::From { from } => source_problem(kind, from, *deliveries.get(from)?),
        Item::Text(_) | Item::Number(_) if kind.is_words() => None,
        Item::Number(number) => Some(format!(
            "it takes a {}, not the number {number}",
            kind.words()
        )),
        Item::Text(text) if kind == ParameterKind::Url => {
            template_problem(text).or_else(|| placeholder::parse_url(text).err())
        }
        Item::Text(text) => path_problem(text),
    }
}

fn source_problem(kind: ParameterKind, from: &SubtaskId, delivers: Delivers) -> Option<String> {
    match delivers {
        Delivers::Words if kind.is_path() => Some(format!(
            "it takes a path, but {from} delivers words; give words as an input or as text"
        )),
        Delivers::File if kind == ParameterKind::Url => {
            Some(format!("it takes a URL, but {from} delivers a file"))
        }
        _ => None,
    }
}

fn path_problem(text: &str) -> Option<String> {
    let rest = text.strip_prefix(placeholder::RUN).unwrap_or(text);
    let anywhere = placeholder::Place {
        base: "/",
        folder: "/",
    };
    template_problem(rest).or_else(|| anywhere.absolute(text).err())
}

/// A `{name}` that nobody will fill in. Only `{run}` at the start of a path means something.
fn template_problem(text: &str) -> Option<String> {
    let named = |inner: &str| {
        !inner.is_empty()
            && inner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    let inner = text
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(inner, _)| inner));
    let found = inner.into_iter().find(|inner| named(inner))?;
    let found = preview(found, SHOWN_BYTES_MAX);
    Some(format!(
        "nothing fills in `{{{found}}}`; write it out, or name the subtask it comes from as {{\"from\": \"ID\"}}"
    ))
}

/// How many subtasks come before each, on the longest way; none for those in or behind a circle.
#[must_use]
pub fn depth(plan: &Plan) -> BTreeMap<SubtaskId, u32> {
    let depths = Graph::of(plan).depths();
    let ids = plan.subtasks.iter().map(|subtask| &subtask.id);
    ids.zip(depths)
        .filter_map(|(id, depth)| Some((id.clone(), depth?)))
        .collect()
}

/// Which finished subtasks of `old` stand in `new`: the same id, role, task and parameters, and everything they need
/// stands too.
#[must_use]
pub fn kept(old: &Plan, new: &Plan, finished: &BTreeSet<SubtaskId>) -> BTreeSet<SubtaskId> {
    let before: BTreeMap<&SubtaskId, &Subtask> = old
        .subtasks
        .iter()
        .map(|subtask| (&subtask.id, subtask))
        .collect();
    let graph = Graph::of(new);
    let mut kept = BTreeSet::new();
    for position in graph.ordered() {
        let Some(subtask) = new.subtasks.get(position) else {
            continue;
        };
        let same = before.get(&subtask.id).is_some_and(|old| {
            old.role == subtask.role && old.task == subtask.task && old.params == subtask.params
        });
        let stands = subtask.needs().iter().all(|need| kept.contains(need));
        if same
            && stands
            && finished.contains(&subtask.id)
            && graph.position(&subtask.id) == Some(position)
        {
            kept.insert(subtask.id.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::{Value, json};

    fn roles() -> BTreeMap<RoleName, Role> {
        let role: Role = serde_json::from_value(json!({
            "name": "writer", "summary": "writes", "prompt": "p",
            "parameters": {
                "output": {"type": "path", "required": true}, "title": {"type": "string"},
                "inputs": {"type": "inputs"}, "url": {"type": "url"}, "names": {"type": "string_list"},
            },
        }))
        .unwrap();
        [(role.name.clone(), role)].into()
    }

    fn reader() -> Role {
        serde_json::from_value(json!({
            "name": "reader", "summary": "reads", "prompt": "p", "output": {"file": "copy"},
            "parameters": {"path": {"type": "path"}, "copy": {"type": "path"}, "url": {"type": "url"}},
        }))
        .unwrap()
    }

    fn subtask(id: &str, more: Value) -> Value {
        let mut whole =
            json!({"id": id, "task": "write it", "role": "writer", "params": {"output": "o.md"}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        whole
    }

    fn plan(subtasks: &[Value], result: &str) -> Plan {
        serde_json::from_value(json!({"subtasks": subtasks, "result": result})).unwrap()
    }

    fn problems(subtasks: &[Value], result: &str) -> Vec<String> {
        check(&plan(subtasks, result), &roles(), &Limits::default())
            .err()
            .unwrap_or_default()
    }

    #[track_caller]
    fn refused(subtasks: &[Value], words: &str) {
        let problems = problems(subtasks, "a");
        assert!(
            problems.len() == 1 && problems[0].contains(words),
            "{problems:?}"
        );
    }

    #[test]
    fn a_good_plan_has_no_problems() {
        let a = subtask(
            "a",
            json!({"params": {"output": "{run}/a.md", "title": 7, "names": "one"}}),
        );
        let b = subtask(
            "b",
            json!({"params": {"output": "/x/b.md", "inputs": [{"from": "a"}, "n.txt"]}}),
        );
        assert_eq!(problems(&[a, b], "b"), Vec::<String>::new());
    }

    #[test]
    fn a_plan_of_nothing_is_refused() {
        assert!(problems(&[], "a")[0].contains("no subtasks"));
    }

    #[test]
    fn each_flaw_is_named() {
        let plain = |id| subtask(id, json!({}));
        refused(&[plain("a"), plain("a")], "two subtasks are called `a`");
        refused(
            &[subtask("a", json!({"role": "poet"}))],
            "no role `poet`; there is writer",
        );
        refused(
            &[subtask("a", json!({"depends_on": ["z"]}))],
            "needs `z`, which is no subtask",
        );
        refused(&[subtask("a", json!({"task": " "}))], "task is empty");
        refused(
            &[subtask("a", json!({"params": {}}))],
            "needs the parameter `output`, a path",
        );
        refused(
            &[subtask("a", json!({"params": {"output": ["a", "b"]}}))],
            "takes one path, not a list",
        );
        refused(
            &[subtask("a", json!({"params": {"output": 7}}))],
            "not the number 7",
        );
        refused(
            &[subtask(
                "a",
                json!({"params": {"output": "o", "size": "x"}}),
            )],
            "no parameter `size`; it has inputs",
        );
        refused(
            &[subtask("a", json!({"params": {"output": "{workspace}/o"}}))],
            "nothing fills in `{workspace}`",
        );
        refused(
            &[subtask("a", json!({"params": {"output": "x/{run}/o"}}))],
            "nothing fills in `{run}`",
        );
        refused(
            &[subtask("a", json!({"params": {"output": "a\nb"}}))],
            "control characters",
        );
        refused(
            &[subtask(
                "a",
                json!({"params": {"output": "o", "url": "http://x/{id}.json"}}),
            )],
            "`{id}`",
        );
        refused(
            &[subtask(
                "a",
                json!({"params": {"output": "o", "url": "file:///etc/passwd"}}),
            )],
            "http",
        );
        refused(
            &[subtask("a", json!({"ttl": {"wall_clock_s": 0}}))],
            "wall_clock_s is 0",
        );
    }

    #[test]
    fn a_path_comes_from_a_file_and_an_address_from_words() {
        let roles = [(reader().name, reader())].into();
        let problems = |params: Value, more: Value| {
            let plan = json!({"result": "a", "subtasks": [
                {"id": "a", "task": "t", "role": "reader", "params": params},
                {"id": "b", "task": "t", "role": "reader", "params": more}]});
            let plan = serde_json::from_value(plan).unwrap();
            check(&plan, &roles, &Limits::default())
                .err()
                .unwrap_or_default()
        };
        let from = json!({"from": "a"});
        let said = problems(json!({}), json!({"path": from}));
        assert!(said[0].contains("but a delivers words"), "{said:?}");
        let said = problems(json!({"copy": "c"}), json!({"url": from}));
        assert!(said[0].contains("but a delivers a file"), "{said:?}");
        assert!(problems(json!({"copy": "c"}), json!({"path": from})).is_empty());
        assert!(problems(json!({}), json!({"url": from})).is_empty());
    }

    #[test]
    fn the_result_must_be_a_subtask() {
        assert!(problems(&[subtask("a", json!({}))], "z")[0].contains("`result` names `z`"));
    }

    #[test]
    fn a_circle_is_named_member_by_member() {
        let a = subtask("a", json!({"depends_on": ["c"]}));
        let b = subtask(
            "b",
            json!({"params": {"output": "o", "inputs": {"from": "a"}}}),
        );
        let c = subtask("c", json!({"depends_on": ["b"]}));
        refused(&[a, b, c], "a needs c needs b needs a");
        refused(&[subtask("a", json!({"depends_on": ["a"]}))], "a needs a");
    }

    #[test]
    fn a_subtask_deeper_than_its_hops_is_refused() {
        let deep = |hops: u32| {
            [
                subtask("a", json!({})),
                subtask("b", json!({"depends_on": ["a"], "ttl": {"hops_max": hops}})),
            ]
        };
        refused(&deep(0), "its hops_max is 0");
        assert_eq!(problems(&deep(1), "a"), Vec::<String>::new());
    }

    #[test]
    fn everything_wrong_is_said_at_once_and_no_more_than_can_be_read() {
        let both = [
            subtask("a", json!({"role": "poet"})),
            subtask("b", json!({"params": {}})),
        ];
        assert_eq!(problems(&both, "z").len(), 3);
        let many: Vec<Value> = (0..200)
            .map(|n| subtask(&format!("s{n}"), json!({"role": "poet"})))
            .collect();
        let said = problems(&many, "s0");
        assert_eq!(said.len(), PROBLEMS_MAX + 1);
        assert_eq!(said.last().unwrap(), "and 160 more of this kind");
    }

    #[test]
    fn a_plan_beyond_the_limits_is_refused() {
        let limits = Limits {
            subtasks_max: 1,
            depth_max: 1,
            params_bytes_max: 10,
        };
        let two = plan(
            &[
                subtask("a", json!({})),
                subtask("b", json!({"depends_on": ["a"]})),
            ],
            "a",
        );
        assert!(check(&two, &roles(), &limits).is_err());
        let wide = Limits {
            subtasks_max: 2,
            ..limits
        };
        assert_eq!(check(&two, &roles(), &wide).unwrap_err().len(), 2);
    }

    #[test]
    fn depth_is_the_longest_way() {
        let shape = [
            subtask("a", json!({})),
            subtask("b", json!({"depends_on": ["a"]})),
            subtask("c", json!({"depends_on": ["a", "b"]})),
        ];
        let depths: Vec<u32> = depth(&plan(&shape, "a")).into_values().collect();
        assert_eq!(depths, [0, 1, 2]);
    }

    #[test]
    fn a_replan_keeps_what_is_the_same_all_the_way_down() {
        let id = |text: &str| text.parse::<SubtaskId>().unwrap();
        let a = subtask("a", json!({}));
        let b = subtask("b", json!({"depends_on": ["a"]}));
        let c = subtask("c", json!({}));
        let old = plan(&[a.clone(), b.clone(), c.clone()], "a");
        let finished: BTreeSet<_> = [id("a"), id("b"), id("c")].into();
        assert_eq!(kept(&old, &old, &finished), finished);
        let changed = plan(&[subtask("a", json!({"task": "otherwise"})), b, c], "a");
        assert_eq!(kept(&old, &changed, &finished), [id("c")].into());
        assert_eq!(kept(&old, &old, &[id("b")].into()), BTreeSet::new());
    }
}
