//! Checking that what a role declares was delivered: success means success.

use crate::agent::Hands;
use aaos_core::{failure::Failure, manifest::Expected, value::Value};

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

/// The output an agent's last words and files make, or what is missing of it.
pub(crate) async fn collect(
    expected: &Expected,
    words: &str,
    hands: &Hands,
) -> Result<Value, Missing> {
    match expected {
        Expected::Text if words.trim().is_empty() => Err(Missing {
            declared: "an answer in words".to_owned(),
            found: "nothing was said".to_owned(),
        }),
        Expected::Text => Ok(Value::text(words.trim())),
        Expected::Json => json(words),
        Expected::File(path) => file(path, hands).await,
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
    let Some(worker) = hands.worker() else {
        return Err(missing(
            "the role holds no file tool to write it with".to_owned(),
        ));
    };
    if !hands.has_changed() {
        // What lies there is someone else's.
        return Err(missing("nothing was written".to_owned()));
    }
    match worker.inspect(path).await {
        Ok(Some(bytes)) => Ok(Value::Artifact {
            path: path.to_owned(),
            bytes,
        }),
        Ok(None) => Err(missing("there is no such file".to_owned())),
        Err(error) => Err(missing(error.to_string())),
    }
}
