//! The catalogue page: every tool as models and operators are told of it, written from the tools themselves.

use aaos_core::tool::{Effect, Placement, Power, ToolSpec};
use serde_json::Value;
use std::fmt::Write;

/// The Markdown page of all built-in tools, in the table's order.
#[must_use]
pub fn catalogue() -> String {
    let mut page = String::from(
        "# Tools\n\nEach tool declares what a call needs before it runs; the call is checked against the agent's grants \
         and handed only that. Inputs that are not named here are refused.\n",
    );
    for tool in crate::builtin() {
        section(&mut page, tool.spec());
    }
    page
}

fn section(page: &mut String, spec: &ToolSpec) {
    let powers: Vec<&str> = spec.powers.iter().map(power_word).collect();
    let powers = if powers.is_empty() {
        "nothing".to_owned()
    } else {
        powers.join(", ")
    };
    let place = match spec.placement() {
        Placement::Worker => "the agent's worker",
        Placement::Daemon => "the daemon",
    };
    // Writing to a String does not fail.
    let _written = write!(
        page,
        "\n## `{}`\n\n{}\n\nIs handed: {powers}. Effect: {}. Runs in {place}.\n\n| input | type | required | meaning |\n|---|---|---|---|\n",
        spec.name,
        spec.summary,
        effect_word(spec.effect)
    );
    let required = spec.input_schema.get("required").and_then(Value::as_array);
    let properties = spec
        .input_schema
        .get("properties")
        .and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let needed = required.is_some_and(|names| names.iter().any(|required| required == name));
        row(page, name, property, if needed { "yes" } else { "no" });
    }
}

fn row(page: &mut String, name: &str, property: &Value, needed: &str) {
    let meaning = property
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let default = property.get("default").filter(|default| !default.is_null());
    let default = default
        .map(|default| format!(" Default: `{default}`."))
        .unwrap_or_default();
    let meaning = meaning.replace('\n', " ").replace('|', "\\|");
    let _written = writeln!(
        page,
        "| `{name}` | {} | {needed} | {meaning}{default} |",
        type_word(property)
    );
}

/// A property's type for people.
fn type_word(property: &Value) -> String {
    match property.get("type") {
        Some(Value::String(word)) if word == "array" => {
            let items = property.get("items").map(type_word).unwrap_or_default();
            format!("list of {items}")
        }
        Some(Value::String(word)) => word.clone(),
        Some(Value::Array(words)) => {
            let plain: Vec<&str> = words
                .iter()
                .filter_map(Value::as_str)
                .filter(|word| *word != "null")
                .collect();
            plain.join(" or ")
        }
        _ => "any".to_owned(),
    }
}

const fn power_word(power: &Power) -> &'static str {
    match power {
        Power::Files => "files",
        Power::Http => "HTTP",
        Power::Exec => "programs",
        Power::Remember => "memory",
        Power::Spawn => "starting agents",
        Power::Send => "messages",
        Power::ReadSkill => "skills",
    }
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "pure",
        Effect::Read => "read",
        Effect::Idempotent => "idempotent",
        Effect::Reversible => "reversible",
        Effect::Irreversible => "irreversible",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_tool_and_every_input() {
        let page = catalogue();
        for tool in crate::builtin() {
            let spec = tool.spec();
            assert!(page.contains(&format!("## `{}`", spec.name)));
            let properties = spec
                .input_schema
                .get("properties")
                .and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                assert!(page.contains(&format!("| `{name}` |")), "{name}");
                assert!(
                    property.get("description").is_some(),
                    "{}.{name} has no description",
                    spec.name
                );
            }
        }
    }
}
