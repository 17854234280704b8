//! Stage five: the output is kept whole in the blob store, and cut to what a model is shown.

use super::told;
use crate::{limits, run::Run};
use aaos_core::{failure::Failure, text};
use aaos_ports::{ToolError, ToolOutput};

/// An output made fit for a conversation.
pub(super) struct Bounded {
    pub(super) text: String,
    /// Digest of the whole.
    pub(super) digest: String,
    /// Size of the whole, in bytes.
    pub(super) bytes: u64,
}

pub(super) async fn bound(
    run: &Run,
    raw: &Result<ToolOutput, ToolError>,
    warning: Option<String>,
) -> Result<Bounded, Failure> {
    let whole = match raw {
        Ok(output) => output.json.to_string(),
        Err(error) => told(error),
    };
    let text = shown(&whole, warning);
    let bytes = whole.len() as u64;
    let digest = run.store(whole.into_bytes()).await?;
    Ok(Bounded {
        text,
        digest,
        bytes,
    })
}

/// An output as a model is shown it, with a warning beside it if there is one.
pub(super) fn shown(whole: &str, warning: Option<String>) -> String {
    let mut shown = text::head(whole, limits::OUTPUT_BYTES_MAX).to_owned();
    if shown.len() < whole.len() {
        shown.push_str(&format!(
            "\n[cut: {} of {} bytes shown; ask for a smaller part]",
            shown.len(),
            whole.len()
        ));
    }
    if let Some(warning) = warning {
        shown.push_str(&format!("\n[{warning}]"));
    }
    shown
}
