//! What a subtask hands to those that need it: text, JSON, or a file in the run's reach.

use serde::{Deserialize, Serialize};

/// A subtask's output, or an input made from one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Value {
    /// Plain text, often Markdown.
    Text {
        /// The text.
        text: String,
    },
    /// A JSON document.
    Json {
        /// The document.
        json: serde_json::Value,
    },
    /// A file.
    Artifact {
        /// Its absolute path.
        path: String,
        /// Its size when it was recorded, in bytes.
        bytes: u64,
    },
}

impl Value {
    /// Text as a value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// One line for people: what it is and how big.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Text { text } => format!("text, {} characters", text.chars().count()),
            Self::Json { .. } => "JSON".to_owned(),
            Self::Artifact { path, bytes } => format!("{path} ({bytes} bytes)"),
        }
    }
}
