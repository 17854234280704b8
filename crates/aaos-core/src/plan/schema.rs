//! The JSON Schema of a plan, for providers that can be told what form a reply must have.
//!
//! Bounded everywhere: small models run on where a schema lets them.

use crate::{
    id::NAME_BYTES_MAX,
    role::{Parameter, ParameterKind, Role},
};
use serde_json::{Map, Value, json};

/// Most subtasks a model is asked for in one plan.
const SUBTASKS_MAX: usize = 64;
/// Most characters of a task.
const TASK_CHARS_MAX: usize = 400;
/// Most characters of a parameter.
const PARAM_CHARS_MAX: usize = 2_000;
/// Most items of a list parameter.
const ITEMS_MAX: usize = 64;

/// The JSON Schema of a plan for these roles. `required` lists `task` before `role`, because a role is chosen better
/// once the task is in words.
#[must_use]
pub fn schema(roles: &[Role]) -> Value {
    let subtasks: Vec<Value> = roles.iter().map(subtask).collect();
    json!({
        "type": "object",
        "properties": {
            "subtasks": {
                "type": "array",
                "minItems": 1,
                "maxItems": SUBTASKS_MAX,
                "items": {"anyOf": subtasks},
            },
            "result": name("The subtask whose output answers the goal."),
        },
        "required": ["subtasks", "result"],
        "additionalProperties": false,
    })
}

fn name(description: &str) -> Value {
    json!({"type": "string", "pattern": format!("^[A-Za-z0-9_.-]{{1,{NAME_BYTES_MAX}}}$"), "description": description})
}

fn subtask(role: &Role) -> Value {
    let needs = name("A subtask that must succeed first.");
    json!({
        "type": "object",
        "description": role.summary,
        "properties": {
            "id": name("A short name of its own."),
            "task": text(TASK_CHARS_MAX, "What is to be done, in a sentence."),
            "role": {"type": "string", "enum": [role.name.as_str()]},
            "params": params(role),
            "depends_on": {"type": "array", "items": needs, "maxItems": SUBTASKS_MAX},
        },
        "required": ["id", "task", "role", "params"],
        "additionalProperties": false,
    })
}

fn text(chars_max: usize, description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": chars_max, "description": description})
}

fn params(role: &Role) -> Value {
    let properties: Map<String, Value> = role
        .parameters
        .iter()
        .map(|(name, parameter)| (name.clone(), param(parameter)))
        .collect();
    let required: Vec<&String> = role
        .parameters
        .iter()
        .filter(|(_, parameter)| parameter.required)
        .map(|(name, _)| name)
        .collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn param(parameter: &Parameter) -> Value {
    let words = match parameter.kind {
        ParameterKind::String | ParameterKind::StringList => "words",
        ParameterKind::Path | ParameterKind::PathList => "a path",
        ParameterKind::Url => "an http or https URL",
        ParameterKind::Inputs => "a file's path",
    };
    let item = json!({"anyOf": [
        text(PARAM_CHARS_MAX, words),
        {
            "type": "object",
            "properties": {"from": name("The subtask whose output it is.")},
            "required": ["from"],
            "additionalProperties": false,
        },
    ]});
    let mut schema = if parameter.kind.is_list() {
        json!({"type": "array", "items": item, "minItems": u8::from(parameter.required), "maxItems": ITEMS_MAX})
    } else {
        item
    };
    if let Some(object) = schema
        .as_object_mut()
        .filter(|_| !parameter.description.is_empty())
    {
        object.insert(
            "description".to_owned(),
            Value::from(parameter.description.as_str()),
        );
    }
    schema
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_schema_names_every_role_and_what_it_must_be_told() {
        let role: Role = serde_json::from_value(json!({
            "name": "writer", "summary": "writes", "prompt": "p",
            "parameters": {"output": {"type": "path", "required": true}, "inputs": {"type": "inputs"}},
        }))
        .unwrap();
        let schema = schema(std::slice::from_ref(&role));
        let subtask = &schema["properties"]["subtasks"]["items"]["anyOf"][0];
        assert_eq!(subtask["properties"]["role"]["enum"], json!(["writer"]));
        assert_eq!(
            subtask["properties"]["params"]["required"],
            json!(["output"])
        );
        assert_eq!(
            subtask["properties"]["params"]["properties"]["inputs"]["type"],
            "array"
        );
        let required = subtask["required"].as_array().unwrap();
        let at = |name: &str| required.iter().position(|key| key == name).unwrap();
        assert!(at("task") < at("role"));
    }
}
