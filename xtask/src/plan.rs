//! `house.toml` as values: the rooms, their doors, what they own, and the limits.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::finding::Error;
use crate::tree::Tree;

/// The plan's file, relative to the checkout.
pub const FILE: &str = "house.toml";

/// The whole plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Libraries, by crate name.
    pub room: BTreeMap<String, Room>,
    /// Programs, by crate name.
    pub binary: BTreeMap<String, Room>,
    /// What is never shipped, by crate name.
    pub workshop: BTreeMap<String, Workshop>,
    /// What keeps the core pure.
    pub core: Core,
    /// The one place that reads the environment.
    pub environment: Environment,
    /// The commands the README shows.
    pub commands: Commands,
    /// Limits with their exceptions.
    pub ratchet: Ratchet,
    /// Exemptions of the word rule.
    pub words: Words,
    /// What the history rule refuses.
    pub history: History,
}

/// A room or a binary.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Height in the house; doors lead down only.
    pub floor: u8,
    /// One sentence.
    pub purpose: String,
    /// The crates of the workspace it may depend on.
    pub may_use: BTreeSet<String>,
    /// The kinds of ambient authority it may use by name.
    pub owns: BTreeSet<String>,
    /// Crates that may not appear anywhere beneath it.
    #[serde(default)]
    pub closure_refuses: BTreeSet<String>,
}

/// A crate that is never shipped; every ambient authority is its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workshop {
    /// One sentence.
    pub purpose: String,
    /// The crates of the workspace it may depend on.
    pub may_use: BTreeSet<String>,
}

/// What keeps the core pure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// The only crates it may depend on directly.
    pub depends_on: BTreeSet<String>,
    /// Crates that may not appear anywhere beneath it.
    pub closure_refuses: BTreeSet<String>,
}

/// The one place that reads the environment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Path prefix, relative to the checkout.
    pub read_in: String,
}

/// The commands the README shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Runs every test; the README's second command and what CI calls.
    pub test: String,
}

/// Limits with their exceptions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratchet {
    /// Most lines of production code in a file.
    pub file_lines: usize,
    /// Most lines of code in a production function.
    pub function_lines: usize,
    /// Most methods of a port.
    pub port_methods: usize,
    /// Highest share of repeated production lines, in percent.
    pub repetition_percent: usize,
    /// What may exceed a limit, and why.
    #[serde(default)]
    pub exception: Vec<Exception>,
}

/// One thing that exceeds a limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Which limit.
    pub limit: Limit,
    /// The thing: a path, `path::function`, a trait, or `tree`.
    pub at: String,
    /// Its present number.
    pub is: usize,
    /// Why it is better so.
    pub reason: String,
}

/// The limits that know exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Lines of production code in a file.
    FileLines,
    /// Lines of code in a function.
    FunctionLines,
    /// Methods of a port.
    PortMethods,
    /// Share of repeated lines.
    RepetitionPercent,
}

/// Exemptions of the word rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Phrases in which a refused word means something else.
    pub phrases: Vec<String>,
}

/// What the history rule refuses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Words and phrases; a zero stands for any number.
    pub refused: Vec<String>,
}

impl Plan {
    /// Reads the plan.
    ///
    /// # Errors
    /// The file cannot be read or does not have this form.
    pub fn read(tree: &Tree) -> Result<Self, Error> {
        let text = tree.read(FILE)?;
        toml::from_str(&text).map_err(|source| Error::Data {
            file: FILE,
            source: Box::new(source),
        })
    }

    /// Rooms and binaries, lowest floor first, by name within a floor.
    pub fn rooms(&self) -> Vec<(&str, &Room)> {
        let mut rooms: Vec<_> = self
            .room
            .iter()
            .chain(&self.binary)
            .map(|(name, room)| (name.as_str(), room))
            .collect();
        rooms.sort_by_key(|(name, room)| (room.floor, *name));
        rooms
    }

    /// Every crate on the plan.
    pub fn names(&self) -> BTreeSet<&str> {
        let workshops = self.workshop.keys().map(String::as_str);
        self.rooms()
            .into_iter()
            .map(|(name, _)| name)
            .chain(workshops)
            .collect()
    }

    /// The doors of a crate; `None` if it is not on the plan.
    pub fn doors(&self, name: &str) -> Option<&BTreeSet<String>> {
        let room = self
            .room
            .get(name)
            .or_else(|| self.binary.get(name))
            .map(|room| &room.may_use);
        room.or_else(|| self.workshop.get(name).map(|workshop| &workshop.may_use))
    }

    /// The floor of a room or binary; `None` for workshops and strangers.
    pub fn floor(&self, name: &str) -> Option<u8> {
        self.room
            .get(name)
            .or_else(|| self.binary.get(name))
            .map(|room| room.floor)
    }

    /// One sentence about a crate.
    pub fn purpose(&self, name: &str) -> Option<&str> {
        let room = self
            .room
            .get(name)
            .or_else(|| self.binary.get(name))
            .map(|room| &room.purpose);
        room.or_else(|| self.workshop.get(name).map(|workshop| &workshop.purpose))
            .map(String::as_str)
    }
}
