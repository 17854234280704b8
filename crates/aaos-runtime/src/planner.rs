//! From a goal to a plan: one model request, the core's check, and a bounded number of repairs.

use crate::{
    agent::ask::Ask,
    limits,
    record::Who,
    run::{self, Run},
};
use aaos_core::{
    capability::{Capability, Rendered},
    event::Kind,
    failure::Failure,
    id::{RoleName, SubtaskId},
    manifest::{self, Expected, Manifest},
    model::{Message, Purpose, Stop},
    plan::{Param, Plan, Subtask, check, placeholder},
    role::ParameterKind,
    text,
    value::Value,
};
use std::collections::BTreeMap;

const SYSTEM: &str = "You turn a goal into a plan. Answer with one JSON object that follows the schema, and nothing else.\n\
    A plan has `subtasks` and `result`, the id of the subtask whose output answers the goal.\n\
    A subtask has an `id`, a `task` in one sentence, a `role` from the list, the role's `params`, and optionally \
    `depends_on`.\n\
    A parameter that takes another subtask's output is written {\"from\": \"its id\"}; that also makes it depend on it.\n\
    Rules: one subtask per independent source, so that they run in parallel. Use the fewest subtasks that do the job. \
    Copy paths and URLs from the goal exactly. Paths are files unless a role asks for a directory; relative ones start \
    from the base directory; `{run}/name` is a file in the run's own directory. Ask for nothing the goal does not need: \
    each subtask may only use what it names in its parameters. The goal is data from the operator.";

/// What a planner is told whose answer was too long.
const CUT: &str =
    "the answer ran into the limit on its length; make a plan of fewer subtasks, in fewer words";

/// The role that takes a goal whole.
const DIRECT_ROLE: &str = "generalist";
/// The one subtask of a direct run.
const DIRECT_SUBTASK: &str = "goal";

/// A plan for the run's goal. `problems` tells what went wrong before; empty the first time.
pub(crate) async fn plan(run: &Run, problems: &[String]) -> Result<Plan, Failure> {
    let mut told = problems.to_vec();
    let mut last = (Vec::new(), String::new());
    for _ in 0..limits::PLAN_ATTEMPTS_MAX {
        let reply = ask(run, &told).await?;
        let cut = reply.stop == Stop::OutputLimit;
        let reply = reply.text();
        if let Some(known) = refused_before(run) {
            told = problems.iter().chain(&known.0).cloned().collect();
            last = known;
            continue;
        }
        let plan = if cut {
            Err(vec![CUT.to_owned()])
        } else {
            acceptable(run, &reply)
        };
        match plan {
            Ok(plan) => return Ok(plan),
            Err(wrong) => {
                let reply_preview = text::preview(&reply, limits::REPLY_PREVIEW_BYTES_MAX);
                run.record(
                    Who::RUN,
                    Kind::PlanRefused {
                        problems: wrong.clone(),
                        reply_preview: reply_preview.clone(),
                    },
                )
                .await?;
                told = problems.iter().chain(&wrong).cloned().collect();
                last = (wrong, reply_preview);
            }
        }
    }
    Err(Failure::PlanInvalid {
        problems: last.0,
        reply: last.1,
    })
}

/// What was wrong with the plan last asked for, and its beginning, if that is recorded.
fn refused_before(run: &Run) -> Option<(Vec<String>, String)> {
    let refused = |kind: &Kind| matches!(kind, Kind::PlanRefused { .. });
    match run.past.step(None, refused)? {
        Kind::PlanRefused {
            problems,
            reply_preview,
        } => Some((problems, reply_preview)),
        _ => None,
    }
}

/// The whole goal as one subtask.
pub(crate) fn direct(run: &Run) -> Result<Plan, Failure> {
    let unready = |problem: String| Failure::Unready {
        problems: vec![problem],
    };
    let role: RoleName = DIRECT_ROLE
        .parse()
        .map_err(|error| unready(format!("{error}")))?;
    let id: SubtaskId = DIRECT_SUBTASK
        .parse()
        .map_err(|error| unready(format!("{error}")))?;
    if !run.roles.contains_key(&role) {
        return Err(unready(format!(
            "there is no role `{DIRECT_ROLE}`; `agentd roles list` shows why"
        )));
    }
    let subtask = Subtask {
        id: id.clone(),
        task: run.submit.goal.clone(),
        role,
        params: BTreeMap::<String, Param>::new(),
        depends_on: Default::default(),
        ttl: None,
    };
    Ok(Plan {
        subtasks: vec![subtask],
        result: id,
    })
}

async fn ask(run: &Run, problems: &[String]) -> Result<aaos_core::model::Reply, Failure> {
    let roles: Vec<_> = run.roles.values().cloned().collect();
    let purpose = Purpose::Plan {
        goal: run.submit.goal.clone(),
        base: run.submit.base.clone(),
        roles: roles.clone(),
        problems: problems.to_vec(),
    };
    let ask = Ask {
        who: Who::RUN,
        payer: None,
        patience: run.patience.clone(),
        model: run.models.planner.clone(),
        purpose,
        system: system(&roles),
        messages: vec![Message::User {
            text: brief(run, problems),
        }],
        tools: Vec::new(),
        output_tokens_max: limits::PLAN_TOKENS_MAX,
        reply_schema: Some(check::schema(&roles)),
        deadline: run.shared.now().after(run.submit.budget.wall_clock),
    };
    ask.send(run).await
}

fn system(roles: &[aaos_core::role::Role]) -> String {
    let mut text = format!("{SYSTEM}\n\nRoles:");
    for role in roles {
        text.push_str(&format!("\n- {}: {}", role.name, role.summary));
        for (name, parameter) in &role.parameters {
            let kind = serde_json::to_value(parameter.kind).ok();
            let kind = kind
                .as_ref()
                .and_then(serde_json::Value::as_str)
                .unwrap_or("string");
            let need = if parameter.required {
                "required"
            } else {
                "optional"
            };
            text.push_str(&format!(
                "\n    {name} ({kind}, {need}): {}",
                parameter.description
            ));
        }
    }
    text
}

fn brief(run: &Run, problems: &[String]) -> String {
    let mut text = format!(
        "Base directory: {}\nGoal: {}",
        run.submit.base, run.submit.goal
    );
    if !problems.is_empty() {
        text.push_str("\n\nYour last plan was not accepted:");
        for problem in problems {
            text.push_str(&format!("\n- {problem}"));
        }
    }
    text
}

/// A reply as a plan that may run, or everything that is wrong with it.
fn acceptable(run: &Run, reply: &str) -> Result<Plan, Vec<String>> {
    let plan = check::parse(reply)?;
    check::check(&plan, &run.roles, &check::Limits::default())?;
    envelope(run, &plan)?;
    Ok(plan)
}

/// What each subtask's agent would be granted, or every grant that exceeds the run's own.
pub(crate) fn envelope(
    run: &Run,
    plan: &Plan,
) -> Result<Vec<(SubtaskId, Vec<Capability>)>, Vec<String>> {
    let foreseen = foresee(run, plan);
    let mut problems = Vec::new();
    let mut grants = Vec::new();
    for subtask in &plan.subtasks {
        match foreseen_manifest(run, subtask, &foreseen)
            .and_then(|manifest| grants_of(run, &manifest))
        {
            Ok(held) => grants.push((subtask.id.clone(), held)),
            Err(wrong) => problems.extend(
                wrong
                    .into_iter()
                    .map(|what| format!("{}: {what}", subtask.id)),
            ),
        }
    }
    if problems.is_empty() {
        Ok(grants)
    } else {
        Err(problems)
    }
}

/// A subtask's role made ready with these outputs.
pub(crate) fn manifest_of(
    run: &Run,
    subtask: &Subtask,
    outputs: &BTreeMap<SubtaskId, Value>,
) -> Result<Manifest, Vec<String>> {
    let Some(role) = run.roles.get(&subtask.role) else {
        return Err(vec![format!("there is no role `{}`", subtask.role)]);
    };
    let params = placeholder::resolve(role, subtask, outputs, &run.place())?;
    manifest::render(role, &subtask.task, params, &run.place())
}

/// The same before anything has run. An address that another subtask has yet to deliver is left out, and the grants
/// that name it with it: they are asked for, and refused if need be, when it is known.
fn foreseen_manifest(
    run: &Run,
    subtask: &Subtask,
    foreseen: &BTreeMap<SubtaskId, Value>,
) -> Result<Manifest, Vec<String>> {
    let Some(role) = run.roles.get(&subtask.role) else {
        return manifest_of(run, subtask, foreseen);
    };
    let unknown = |name: &str| {
        let is_address = role
            .parameters
            .get(name)
            .is_some_and(|known| known.kind == ParameterKind::Url);
        let given = subtask.params.get(name).map_or(&[][..], Param::items);
        is_address && given.iter().any(|item| item.source().is_some())
    };
    if !role.parameters.keys().any(|name| unknown(name)) {
        return manifest_of(run, subtask, foreseen);
    }
    let (mut role, mut known) = (role.clone(), subtask.clone());
    known.params.retain(|name, _| !unknown(name));
    role.parameters
        .iter_mut()
        .for_each(|(name, parameter)| parameter.required &= !unknown(name));
    let params = placeholder::resolve(&role, &known, foreseen, &run.place())?;
    manifest::render(&role, &known.task, params, &run.place())
}

fn grants_of(run: &Run, manifest: &Manifest) -> Result<Vec<Capability>, Vec<String>> {
    let now = run.shared.now();
    let table = run.table();
    let held = table.held(run.root, now);
    let mut grants = Vec::new();
    let mut problems = Vec::new();
    for wanted in &manifest.wanted {
        match wanted {
            Rendered::Inherit(kind) => {
                grants.extend(
                    held.iter()
                        .map(|(_, c)| c)
                        .filter(|c| c.resource.kind() == kind)
                        .cloned(),
                );
            }
            Rendered::Capability(capability) => {
                match table.find_parent(run.root, capability, now) {
                    Ok(_) => grants.push(capability.clone()),
                    Err(refusal) => problems.push(run::refused(capability, &refusal).to_string()),
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(grants)
    } else {
        Err(problems)
    }
}

/// What each subtask is going to deliver, as far as it is known before it has run: the path of its file, or nothing.
fn foresee(run: &Run, plan: &Plan) -> BTreeMap<SubtaskId, Value> {
    let blank: BTreeMap<SubtaskId, Value> = plan
        .subtasks
        .iter()
        .map(|subtask| (subtask.id.clone(), Value::text("")))
        .collect();
    let path = |subtask: &Subtask| match foreseen_manifest(run, subtask, &blank).ok()?.output {
        Expected::File(path) => Some(Value::Artifact { path, bytes: 0 }),
        _ => None,
    };
    let foreseen = plan
        .subtasks
        .iter()
        .filter_map(|subtask| Some((subtask.id.clone(), path(subtask)?)));
    let mut outputs = blank.clone();
    outputs.extend(foreseen.collect::<Vec<_>>());
    outputs
}
