//! The table of built-in tools. A tool is a file beside this one and a line in [`builtin`].

mod cargo_run;
mod change;
mod echo;
mod file_edit;
mod file_list;
mod file_read;
mod file_read_many;
mod file_write;
mod git_commit;
mod grep;
mod http_send;
mod pattern;
mod program;
mod read;
mod readable;
mod shell;
mod spawn_agent;
mod spawn_agents;
mod web_fetch;

use aaos_ports::{AnyTool, Tool, tool::Described};
use std::sync::Arc;

pub use file_write::CONTENT_BYTES_MAX;

/// Every built-in tool, in the order the catalogue lists them.
#[must_use]
pub fn builtin() -> Vec<Arc<dyn AnyTool>> {
    [
        described(echo::Echo),
        described(file_read::FileRead),
        described(file_read_many::FileReadMany),
        described(file_list::FileList),
        described(grep::Grep),
        described(file_write::FileWrite),
        described(file_edit::FileEdit),
        described(cargo_run::CargoRun),
        described(git_commit::GitCommit),
        described(shell::Shell),
        described(web_fetch::WebFetch),
        described(http_send::HttpSend),
        described(spawn_agent::SpawnAgent),
        described(spawn_agents::SpawnAgents),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A tool with its specification; nothing if its declared name is none, which a test rules out.
fn described<T: Tool>(tool: T) -> Option<Arc<dyn AnyTool>> {
    Described::new(tool)
        .ok()
        .map(|tool| Arc::new(tool) as Arc<dyn AnyTool>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_tool() {
        let names: Vec<String> = builtin()
            .iter()
            .map(|tool| tool.spec().name.to_string())
            .collect();
        assert_eq!(
            names,
            [
                "echo",
                "file_read",
                "file_read_many",
                "file_list",
                "grep",
                "file_write",
                "file_edit",
                "cargo_run",
                "git_commit",
                "shell",
                "web_fetch",
                "http_send",
                "spawn_agent",
                "spawn_agents"
            ]
        );
    }

    #[test]
    fn schemas_are_plain_and_refuse_what_they_do_not_name() {
        for tool in builtin() {
            let schema = &tool.spec().input_schema;
            assert_eq!(schema["type"], "object", "{schema}");
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            assert!(!schema.to_string().contains("$ref"), "{schema}");
        }
    }
}
