//! `agentd audit key`: the public key that heads are signed with, to be kept elsewhere.

use super::{CliError, Desk};
use aaos_store::notary::{HEAD_FILE, PUBLIC_FILE};

/// Prints it.
pub(super) fn show(desk: &Desk) -> Result<(), CliError> {
    let state = super::state(desk, None)?;
    let file = state.join(PUBLIC_FILE);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let problem = format!("{}: {error}", file.display());
        CliError::failed(
            "read the public key",
            problem,
            "A daemon makes it at its first start",
        )
    })?;
    let key = text.trim();
    let head = state.join(HEAD_FILE);
    if desk.json() {
        return desk.say_json(&serde_json::json!({ "key": key, "file": file, "head": head }));
    }
    desk.say(crate::cli::words::clean(key))?;
    desk.note(format!(
        "keep it, and copies of {}, on another machine: `agentd audit verify --key KEY --head FILE` compares",
        head.display()
    ));
    Ok(())
}
