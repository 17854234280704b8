//! The pages that come from the checkout: the plan's diagram and code map, who may reach what, the rules,
//! the event kinds.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::ambient::GROUPS;
use crate::finding::Error;
use crate::plan::{Plan, Room};
use crate::rule::{House, RULES, events};

/// The crate every room may use; its arrows would only blur the picture.
const CORE: &str = "aaos-core";

/// The floor whose rooms stand side by side.
const MIDDLE: u8 = 2;

/// The rooms and their doors, as a mermaid chart.
pub(super) fn diagram(house: &House) -> Result<String, Error> {
    let plan = &house.plan;
    let middle: BTreeSet<&str> = plan
        .rooms()
        .into_iter()
        .filter(|(_, room)| room.floor == MIDDLE)
        .map(|(name, _)| name)
        .collect();
    let mut out = String::from("```mermaid\nflowchart BT\n");
    for (name, _) in plan
        .rooms()
        .into_iter()
        .filter(|(_, room)| room.floor < MIDDLE)
    {
        let _ = writeln!(out, "  {}[{name}]", short(name));
    }
    out.push_str("  subgraph middle [\"floor 2: no doors between these\"]\n");
    for name in &middle {
        let _ = writeln!(out, "    {}[{name}]", short(name));
    }
    out.push_str("  end\n");
    for (name, _) in plan
        .rooms()
        .into_iter()
        .filter(|(_, room)| room.floor > MIDDLE)
    {
        let _ = writeln!(out, "  {}[{name}]", short(name));
    }
    for (name, room) in plan.rooms() {
        for target in arrows(room, &middle) {
            let _ = writeln!(out, "  {} --> {target}", short(name));
        }
    }
    out.push_str("```\n\nEvery room may also use `aaos-core`; those arrows are left out.");
    Ok(out)
}

/// A crate's name in the chart.
fn short(name: &str) -> &str {
    name.strip_prefix("aaos-").unwrap_or(name)
}

/// The arrows that leave a room: the whole middle floor as one, the core only if it is all there is.
fn arrows<'a>(room: &'a Room, middle: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let doors: BTreeSet<&str> = room.may_use.iter().map(String::as_str).collect();
    if !middle.is_empty() && middle.is_subset(&doors) {
        return vec!["middle"];
    }
    let others: Vec<&str> = doors
        .iter()
        .filter(|door| **door != CORE)
        .map(|door| short(door))
        .collect();
    if others.is_empty() {
        doors.iter().map(|door| short(door)).collect()
    } else {
        others
    }
}

/// Every crate with its floor and purpose.
pub(super) fn code_map(house: &House) -> Result<String, Error> {
    let plan = &house.plan;
    let mut out = String::from("| where | floor | what for | may use |\n|---|---|---|---|\n");
    for (name, room) in plan.rooms() {
        let _ = writeln!(
            out,
            "| [`crates/{name}`](crates/{name}/src) | {} | {} | {} |",
            room.floor,
            room.purpose,
            doors(plan, room)
        );
    }
    for (name, workshop) in &plan.workshop {
        let folder = if name == "xtask" {
            name.clone()
        } else {
            format!("crates/{name}")
        };
        let _ = writeln!(
            out,
            "| [`{folder}`]({folder}/src) | never shipped | {} | {} |",
            workshop.purpose,
            list(&workshop.may_use)
        );
    }
    Ok(out)
}

fn doors(plan: &Plan, room: &Room) -> String {
    let below = plan
        .rooms()
        .into_iter()
        .filter(|(_, other)| other.floor < room.floor);
    if room.may_use.len() > 2 && below.count() == room.may_use.len() {
        "every room below".to_owned()
    } else {
        list(&room.may_use)
    }
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "nothing of ours".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{}`", short(name)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The rules with their promises.
pub(super) fn rules(_: &House) -> Result<String, Error> {
    let mut out = String::from("| rule | what holds |\n|---|---|\n");
    for rule in RULES {
        let _ = writeln!(out, "| `{}` | {} |", rule.name, rule.promise);
    }
    Ok(out)
}

/// Which room may reach the world by which functions.
pub(super) fn authority(house: &House) -> Result<String, Error> {
    let mut out = String::from(
        "# Who may reach the world\n\n\
         Functions that reach the world by name, without having been handed a power, are refused by clippy in every\n\
         room that does not own them. `house.toml` says who owns what; the lists are in `xtask/src/ambient.rs`.\n\
         Tests and workshops are free.\n\n\
         | authority | functions refused elsewhere | owned by | everywhere else |\n|---|---|---|---|\n",
    );
    for group in GROUPS {
        let owners = house
            .plan
            .rooms()
            .into_iter()
            .filter(|(_, room)| room.owns.contains(group.name));
        let owners: Vec<String> = owners.map(|(name, _)| format!("`{name}`")).collect();
        let count = group.methods.len();
        let _ = writeln!(
            out,
            "| {} | {count} | {} | {} |",
            group.name,
            owners.join(", "),
            group.instead
        );
    }
    Ok(out)
}

/// Every event kind with its fields and who emits it.
pub(super) fn events(house: &House) -> Result<String, Error> {
    let sources = house.sources()?;
    let mut out = String::from(
        "# Events\n\nEvery kind the journal can hold, in the order of `crates/aaos-core/src/event/kind.rs`. A test\n\
         fails when nothing emits one, or nothing asserts it.\n",
    );
    for kind in events::declared(&sources)? {
        let _ = write!(out, "\n## `{}`\n\n{}\n", kind.tag, kind.summary);
        if !kind.fields.is_empty() {
            out.push_str("\n| field | meaning |\n|---|---|\n");
        }
        for (name, meaning) in &kind.fields {
            let _ = writeln!(out, "| `{name}` | {meaning} |");
        }
    }
    Ok(out)
}
