//! Tool names on the wire: both dialects accept letters, digits, `-` and `_` only, and at most 64 of them.

use crate::limits::WIRE_NAME_BYTES_MAX;
use aaos_core::tool::ToolSpec;
use std::collections::BTreeMap;

/// The names of one request's tools, both ways.
#[derive(Debug, Default)]
pub(crate) struct Names {
    to_wire: BTreeMap<String, String>,
    from_wire: BTreeMap<String, String>,
}

impl Names {
    /// Gives every tool a name the wire accepts, no two the same.
    pub(crate) fn of(tools: &[ToolSpec]) -> Self {
        let mut names = Self::default();
        for tool in tools {
            let own = tool.name.as_str();
            let wire = names.free(own);
            names.from_wire.insert(wire.clone(), own.to_owned());
            names.to_wire.insert(own.to_owned(), wire);
        }
        names
    }

    fn free(&self, own: &str) -> String {
        let clean = clean(own);
        let mut wire = clean.clone();
        let mut number = 2_u32;
        while self.from_wire.contains_key(&wire) {
            let suffix = format!("_{number}");
            let kept = WIRE_NAME_BYTES_MAX.saturating_sub(suffix.len());
            wire = format!("{}{suffix}", aaos_core::text::head(&clean, kept));
            number += 1;
        }
        wire
    }

    /// What the wire calls a tool. A tool that is not in this request keeps its name, cleaned.
    pub(crate) fn wire(&self, own: &str) -> String {
        self.to_wire.get(own).cloned().unwrap_or_else(|| clean(own))
    }

    /// What we call the tool a model named. A name that is none of ours stays as it is: it is refused later, by name.
    pub(crate) fn own(&self, wire: &str) -> String {
        self.from_wire
            .get(wire)
            .cloned()
            .unwrap_or_else(|| wire.to_owned())
    }
}

fn clean(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let clean: String = name
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .take(WIRE_NAME_BYTES_MAX)
        .collect();
    if clean.is_empty() {
        "_".to_owned()
    } else {
        clean
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use aaos_core::tool::Effect;

    fn tool(name: &str) -> ToolSpec {
        ToolSpec {
            name: name.parse().unwrap(),
            summary: String::new(),
            input_schema: serde_json::json!({}),
            powers: vec![],
            effect: Effect::Pure,
            recovery: aaos_core::tool::Recovery::ByEffect,
            deadline: aaos_core::time::Span::from_secs(120),
        }
    }

    #[test]
    fn every_name_survives_the_wire_and_fits_it() {
        let long = "x".repeat(90);
        let also_long = format!("{}y", "x".repeat(89));
        let own = [
            "grep",
            "mcp.git.log",
            "mcp_git.log",
            "mcp_git_log",
            &long,
            &also_long,
        ];
        let names = Names::of(&own.map(tool));
        for name in own {
            let wire = names.wire(name);
            assert!(wire.len() <= WIRE_NAME_BYTES_MAX);
            assert!(
                wire.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            );
            assert_eq!(names.own(&wire), name);
        }
    }

    #[test]
    fn a_name_the_model_made_up_is_kept_for_the_refusal() {
        assert_eq!(Names::of(&[tool("grep")]).own("rm -rf"), "rm -rf");
    }
}
