//! A skill: instructions in a file that an agent reads when it needs them, in three tiers of disclosure: a line in a
//! catalogue, the body, and the files beside it.
//!
//! Pure. The front matter's YAML is read elsewhere; here it is taken apart from the body and checked. A skill grants
//! nothing: what it says about tools is shown, never obeyed.

use crate::text::preview;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest name, in characters. Source: Agent Skills specification.
pub const NAME_CHARS_MAX: usize = 64;
/// Longest description, in characters. Source: Agent Skills specification.
pub const DESCRIPTION_CHARS_MAX: usize = 1_024;
/// Longest note on compatibility, in characters. Source: Agent Skills specification.
pub const COMPATIBILITY_CHARS_MAX: usize = 500;
/// Longest front matter, in bytes: every field at its limit, and as much again.
pub const FRONT_BYTES_MAX: usize = 16 << 10;
/// Most entries of `metadata`.
pub const METADATA_MAX: usize = 64;

/// What separates front matter from the body: a line of its own.
const FENCE: &str = "---";

/// A skill's front matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillFront {
    /// Its name, the same as its directory's.
    pub name: String,
    /// What it is for and when to use it.
    pub description: String,
    /// The licence it comes under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What it needs around it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<String>,
    /// Whatever its author wants to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tools it counts on, separated by spaces. Shown; grants nothing.
    #[serde(
        default,
        rename = "allowed-tools",
        skip_serializing_if = "Option::is_none"
    )]
    pub allowed_tools: Option<String>,
}

/// Why a file is not a skill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin with a line `---`.
    #[error("a skill begins with a line `---` and its front matter; this begins with `{found}`")]
    NoFront {
        /// The first line, cut short.
        found: String,
    },
    /// The front matter has no end.
    #[error("the front matter is not closed by a line `---` within {FRONT_BYTES_MAX} bytes")]
    Unclosed,
}

/// Takes a skill's text apart into the YAML of its front matter and its body.
///
/// # Errors
/// There is no front matter, or it has no end.
pub fn split(text: &str) -> Result<(&str, &str), Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if first.trim_end() != FENCE {
        return Err(Error::NoFront {
            found: preview(first, 64),
        });
    }
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if end > FRONT_BYTES_MAX {
            return Err(Error::Unclosed);
        }
        if line.trim_end() == FENCE {
            let (yaml, from_fence) = rest.split_at(end);
            return Ok((yaml, from_fence.get(line.len()..).unwrap_or("")));
        }
        end += line.len();
    }
    Err(Error::Unclosed)
}

impl SkillFront {
    /// Everything wrong with it, given the name of the directory it lies in; empty for a good one.
    #[must_use]
    pub fn problems(&self, directory: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_name(&self.name) {
            let name = preview(&self.name, NAME_CHARS_MAX);
            problems.push(format!(
                "`name` is `{name}`; use 1 to {NAME_CHARS_MAX} lower-case letters, digits and single hyphens between them"
            ));
        } else if self.name != directory {
            problems.push(format!(
                "`name` is `{}`, but its directory is `{}`",
                self.name,
                preview(directory, NAME_CHARS_MAX)
            ));
        }
        if self.description.trim().is_empty() {
            problems.push(
                "`description` is empty; say what the skill is for and when to use it".to_owned(),
            );
        }
        let texts = [
            (
                "description",
                Some(&self.description),
                DESCRIPTION_CHARS_MAX,
            ),
            (
                "compatibility",
                self.compatibility.as_ref(),
                COMPATIBILITY_CHARS_MAX,
            ),
            ("license", self.license.as_ref(), COMPATIBILITY_CHARS_MAX),
        ];
        for (key, text, chars_max) in texts {
            let found = text.map_or(0, |text| text.chars().count());
            if found > chars_max {
                problems.push(format!(
                    "`{key}` has {found} characters; at most {chars_max} are accepted"
                ));
            }
        }
        if self.metadata.len() > METADATA_MAX {
            problems.push(format!(
                "`metadata` has {} entries; at most {METADATA_MAX} are accepted",
                self.metadata.len()
            ));
        }
        problems
    }

    /// The tools it counts on, in the order it names them.
    #[must_use]
    pub fn tools(&self) -> Vec<&str> {
        self.allowed_tools
            .as_deref()
            .unwrap_or("")
            .split_whitespace()
            .collect()
    }

    /// First tier: its line in the catalogue. One line whatever the description holds.
    #[must_use]
    pub fn catalogue_line(&self) -> String {
        let words = self
            .description
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        format!(
            "- {}: {}",
            self.name,
            preview(&words, DESCRIPTION_CHARS_MAX)
        )
    }

    /// Second tier: the body, with the names of the files beside it, which are the third.
    #[must_use]
    pub fn body(&self, body: &str, files: &[String]) -> String {
        let mut text = format!("Skill {}:\n\n{}", self.name, body.trim());
        if !files.is_empty() {
            text.push_str("\n\nFiles of this skill:");
            files
                .iter()
                .for_each(|file| text.push_str(&format!("\n- {}", preview(file, 255))));
        }
        text
    }
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= NAME_CHARS_MAX && name.split('-').all(part)
}

/// The catalogue an agent is told of, or nothing if there are no skills.
#[must_use]
pub fn catalogue<'a>(skills: impl IntoIterator<Item = &'a SkillFront>) -> Option<String> {
    let lines: Vec<String> = skills.into_iter().map(SkillFront::catalogue_line).collect();
    (!lines.is_empty()).then(|| format!("## Available skills\n\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn front() -> SkillFront {
        serde_json::from_value(serde_json::json!({
            "name": "pdf-forms", "description": "Fill in\n PDF forms.", "allowed-tools": "file_read  file_write",
        }))
        .unwrap()
    }

    #[test]
    fn front_matter_and_body_come_apart() {
        assert_eq!(
            split("---\nname: a\n---\n# Body\n---\nmore"),
            Ok(("name: a\n", "# Body\n---\nmore"))
        );
        assert_eq!(
            split("\u{feff}---\r\nname: a\r\n---"),
            Ok(("name: a\r\n", ""))
        );
        assert_eq!(split("---\n---\n"), Ok(("", "")));
    }

    #[test]
    fn a_file_without_front_matter_is_refused() {
        assert!(matches!(split("# Body"), Err(Error::NoFront { .. })));
        assert!(matches!(split(""), Err(Error::NoFront { .. })));
        assert_eq!(split("---\nname: a\n"), Err(Error::Unclosed));
        assert_eq!(
            split(&format!("---\n{}---\n", "a: b\n".repeat(10_000))),
            Err(Error::Unclosed)
        );
    }

    #[test]
    fn a_name_is_what_the_specification_says_and_the_directorys() {
        assert_eq!(front().problems("pdf-forms"), Vec::<String>::new());
        assert!(front().problems("other")[0].contains("its directory is `other`"));
        for bad in ["", "-a", "a-", "a--b", "A", "a b", "../x", &"x".repeat(65)] {
            assert_eq!(
                SkillFront {
                    name: bad.to_owned(),
                    ..front()
                }
                .problems(bad)
                .len(),
                1,
                "{bad}"
            );
        }
    }

    #[test]
    fn each_text_has_a_limit() {
        let long = SkillFront {
            description: "é".repeat(1025),
            compatibility: Some("x".repeat(501)),
            ..front()
        };
        assert_eq!(long.problems("pdf-forms").len(), 2);
        assert_eq!(
            SkillFront {
                description: " ".to_owned(),
                ..front()
            }
            .problems("pdf-forms")
            .len(),
            1
        );
    }

    #[test]
    fn disclosure_has_three_tiers() {
        assert_eq!(front().catalogue_line(), "- pdf-forms: Fill in PDF forms.");
        assert_eq!(
            catalogue([&front()]).unwrap(),
            "## Available skills\n\n- pdf-forms: Fill in PDF forms."
        );
        assert_eq!(catalogue([]), None);
        let body = front().body("# Do\n", &["scripts/fill.py".to_owned()]);
        assert_eq!(
            body,
            "Skill pdf-forms:\n\n# Do\n\nFiles of this skill:\n- scripts/fill.py"
        );
        assert_eq!(front().tools(), ["file_read", "file_write"]);
    }
}
