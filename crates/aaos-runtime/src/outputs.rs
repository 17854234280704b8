//! Checking that what a role declares was delivered: success means success.
//!
//! A file that was found once, or found missing, is not looked at again when its agent goes on after a restart: others
//! may have changed it since.

use crate::{
    agent::{Hands, Task},
    record::Who,
    run::Run,
};
use aaos_core::{event::Kind, failure::Failure, manifest::Expected, value::Value};

/// What is there in place of a declared output.
pub(crate) struct Missing {
    pub(crate) declared: String,
    pub(crate) found: String,
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Self::OutputMissing {
            declared: missing.declared,
            found: missing.found,
        }
    }
}

/// What an agent is told of a declared file that is missing.
const UNWRITTEN: &str = "nothing was written";
const ABSENT: &str = "there is no such file";

/// The output an agent's last words and files make, or what is missing of it; recorded, unless the record has it.
///
/// # Errors
/// It could not be recorded.
pub(crate) async fn check(
    run: &Run,
    task: &Task,
    words: &str,
    hands: &Hands,
) -> Result<Result<Value, Missing>, Failure> {
    let who = Who::agent(task.agent);
    let found = match &task.manifest.output {
        Expected::Text if words.trim().is_empty() => Err(Missing {
            declared: "an answer in words".to_owned(),
            found: "nothing was said".to_owned(),
        }),
        Expected::Text => Ok(Value::text(words.trim())),
        Expected::Json => json(words),
        Expected::File(path) => {
            if let Some(known) = known(run, task, path, hands) {
                return Ok(known);
            }
            file(path, hands).await
        }
    };
    match &found {
        Ok(Value::Artifact { path, bytes }) => {
            let declared = path.clone();
            let bytes = *bytes;
            run.record_step(who, Kind::OutputFound { declared, bytes })
                .await?;
        }
        Ok(_) => {}
        Err(missing) => {
            if let Some(subtask) = task.subtask.clone() {
                let kind = Kind::SubtaskOutputMissing {
                    subtask,
                    declared: missing.declared.clone(),
                    found: missing.found.clone(),
                };
                run.record_step(who, kind).await?;
            }
        }
    }
    Ok(found)
}

/// What the record says of a declared file, if it says anything.
fn known(run: &Run, task: &Task, path: &str, hands: &Hands) -> Option<Result<Value, Missing>> {
    let line = Some(task.agent);
    let told = |kind: &Kind| {
        matches!(
            kind,
            Kind::OutputFound { .. } | Kind::SubtaskOutputMissing { .. }
        )
    };
    let missing = |found: String| Missing {
        declared: path.to_owned(),
        found,
    };
    match run.past.step(line, told) {
        Some(Kind::OutputFound { declared, bytes }) => Some(Ok(Value::Artifact {
            path: declared,
            bytes,
        })),
        Some(Kind::SubtaskOutputMissing { found, .. }) => Some(Err(missing(found))),
        Some(_) => None,
        None if run.past.is_used_up(line) => None,
        // A child's missing file is not recorded; that its line goes on says that the file was.
        None if !hands.has_changed() => Some(Err(missing(UNWRITTEN.to_owned()))),
        None => Some(Err(missing(ABSENT.to_owned()))),
    }
}

fn json(words: &str) -> Result<Value, Missing> {
    let bare = words.trim();
    let inner = bare
        .strip_prefix("```json")
        .or_else(|| bare.strip_prefix("```"))
        .unwrap_or(bare);
    let inner = inner.strip_suffix("```").unwrap_or(inner);
    serde_json::from_str(inner)
        .map(|json| Value::Json { json })
        .map_err(|error| Missing {
            declared: "a JSON document".to_owned(),
            found: error.to_string(),
        })
}

async fn file(path: &str, hands: &Hands) -> Result<Value, Missing> {
    let missing = |found: String| Missing {
        declared: path.to_owned(),
        found,
    };
    if !hands.has_changed() {
        // What lies there is someone else's.
        return Err(missing(UNWRITTEN.to_owned()));
    }
    match hands.inspect(path).await {
        Ok(Some(bytes)) => Ok(Value::Artifact {
            path: path.to_owned(),
            bytes,
        }),
        Ok(None) => Err(missing(ABSENT.to_owned())),
        Err(problem) => Err(missing(problem)),
    }
}
