//! What a tool answered, as it came from a worker: bounded, and read without holding anyone up.
//!
//! Refuses: an answer longer than any tool has a use for, and words that are no JSON document.

use super::limits::{
    ANSWER_BYTES_MAX, ANSWER_BYTES_SHORT, ANSWERS_LONG_MAX, ERROR_BYTES_MAX, WORDS_BYTES_MAX,
};
use crate::defect::{self, Changes};
use aaos_core::{id::ToolName, text};
use aaos_ports::ToolError;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Reads answers. All workers share it.
#[derive(Clone)]
pub(super) struct Reading(Arc<Semaphore>);

impl Default for Reading {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERS_LONG_MAX)))
    }
}

/// The answer is no JSON document; the words say where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoJson(pub(super) String);

impl Reading {
    /// What a call came to. The outer error is the worker's offence, the inner one the call's.
    pub(super) async fn read(
        &self,
        tool: &ToolName,
        changes: Changes,
        outcome: Result<String, ToolError>,
    ) -> Result<Result<Value, ToolError>, NoJson> {
        let words = match outcome {
            Ok(words) => words,
            Err(error) => return Ok(Err(bounded(tool, error))),
        };
        let bytes = words.len();
        if bytes > ANSWER_BYTES_MAX {
            let reason = format!(
                "{tool} answered with {bytes} bytes, and {ANSWER_BYTES_MAX} are the most there may be; ask for less"
            );
            return Ok(Err(defect::broken(tool, changes, reason)));
        }
        if bytes > ANSWER_BYTES_SHORT {
            return self.read_long(words).await.map(Ok);
        }
        parse(&words).map(Ok)
    }

    async fn read_long(&self, words: String) -> Result<Value, NoJson> {
        let no_thread = |error: String| NoJson(format!("no thread to read it: {error}"));
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(|closed| no_thread(closed.to_string()))?;
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            parse(&words)
        });
        read.await.map_err(|error| no_thread(error.to_string()))?
    }
}

fn parse(words: &str) -> Result<Value, NoJson> {
    serde_json::from_str(words).map_err(|error| NoJson(error.to_string()))
}

/// An error as a worker may word it; one that goes on and on is cut, and stays as certain as it was.
fn bounded(tool: &ToolName, error: ToolError) -> ToolError {
    let words = error.to_string();
    if words.len() <= ERROR_BYTES_MAX {
        return error;
    }
    let changes = match error.is_certain() {
        true => Changes::No,
        false => Changes::Yes,
    };
    defect::broken(tool, changes, text::preview(&words, WORDS_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(outcome: Result<String, ToolError>) -> Result<Result<Value, ToolError>, NoJson> {
        Reading::default()
            .read(&"say".parse().unwrap(), Changes::No, outcome)
            .await
    }

    #[tokio::test]
    async fn an_answer_is_read_whether_short_or_long() {
        for bytes in [1, ANSWER_BYTES_SHORT, ANSWER_BYTES_MAX / 2] {
            let value = Value::String("x".repeat(bytes));
            assert_eq!(read(Ok(value.to_string())).await, Ok(Ok(value)));
        }
    }

    #[tokio::test]
    async fn an_answer_beyond_the_bound_fails_the_call_alone() {
        let long = "x".repeat(ANSWER_BYTES_MAX + 1);
        assert!(matches!(
            read(Ok(long)).await,
            Ok(Err(ToolError::Failed(_)))
        ));
        let error = ToolError::Failed("x".repeat(ERROR_BYTES_MAX + 1));
        let Ok(Err(ToolError::Failed(words))) = read(Err(error)).await else {
            panic!("an error");
        };
        assert!(words.len() <= WORDS_BYTES_MAX + 8);
    }

    #[tokio::test]
    async fn what_is_not_known_to_have_happened_stays_in_doubt_however_it_is_worded() {
        let reason = "x".repeat(ERROR_BYTES_MAX + 1);
        let tool = "say".to_owned();
        let doubt = read(Err(ToolError::WorkerLost { tool, reason })).await;
        assert!(matches!(doubt, Ok(Err(error)) if !error.is_certain()));
        let long = Ok("x".repeat(ANSWER_BYTES_MAX + 1));
        let (reading, tool) = (Reading::default(), "say".parse().unwrap());
        let doubt = reading.read(&tool, Changes::Yes, long);
        assert!(matches!(doubt.await, Ok(Err(error)) if !error.is_certain()));
    }

    #[tokio::test]
    async fn words_that_are_no_document_are_told_apart() {
        assert!(read(Ok("roses".to_owned())).await.is_err());
        let nested = "[".repeat(ANSWER_BYTES_SHORT + 1);
        assert!(read(Ok(nested)).await.is_err());
    }
}
