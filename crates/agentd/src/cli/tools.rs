//! `agentd tools`: the tools there are.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::rpc::{ToolList, wire::Nothing};
use aaos_core::tool::ToolSpec;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Tools {}

impl Act for Tools {
    const NAME: &'static str = "tools";
    const ABOUT: &'static str = "List tools, what they are handed and where they run";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let answer = start::ask::<ToolList>(desk, Absent::Start, "list the tools", &Nothing {})?;
        desk.tell(&answer, |answer| {
            desk.say_table(
                ["NAME", "POWERS", "EFFECT", "RUNS IN", "SUMMARY"],
                answer.tools.iter().map(row),
            )
        })
    }
}

fn row(tool: &ToolSpec) -> [String; 5] {
    let powers: Vec<String> = tool
        .powers
        .iter()
        .map(|power| format!("{power:?}").to_lowercase())
        .collect();
    [
        tool.name.to_string(),
        powers.join(" "),
        format!("{:?}", tool.effect).to_lowercase(),
        super::tree::placement(tool.placement()).to_owned(),
        words::one_line(&tool.summary, 80),
    ]
}
