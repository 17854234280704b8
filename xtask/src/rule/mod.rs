//! The rules of the house, one file per subject. Each returns its findings and judges nothing else.

pub mod comments;
pub mod doors;
pub mod events;
pub mod papers;
pub mod purity;
pub mod repetition;
pub mod sizes;

use crate::finding::{Error, Finding};
use crate::plan::Plan;
use crate::source::{Source, read_all};
use crate::tree::Tree;
use crate::workspace::Workspace;

/// A checkout with its plan: what every rule starts from.
pub struct House {
    /// The checkout.
    pub tree: Tree,
    /// Its plan.
    pub plan: Plan,
}

impl House {
    /// The house this program was built from.
    ///
    /// # Errors
    /// The plan cannot be read.
    pub fn here() -> Result<Self, Error> {
        let tree = Tree::here();
        let plan = Plan::read(&tree)?;
        Ok(Self { tree, plan })
    }

    /// Its Rust files, parsed.
    ///
    /// # Errors
    /// A file cannot be read or does not parse.
    pub fn sources(&self) -> Result<Vec<Source>, Error> {
        read_all(&self.tree, &self.plan)
    }

    /// Its crates, as cargo sees them.
    ///
    /// # Errors
    /// `cargo metadata` failed.
    pub fn workspace(&self) -> Result<Workspace, Error> {
        Workspace::read(&self.tree)
    }
}

/// A rule: what it promises, and how it is judged.
pub struct Rule {
    /// The name `cargo xtask house NAME` takes.
    pub name: &'static str,
    /// One sentence: what holds when there are no findings.
    pub promise: &'static str,
    /// Judges the house.
    pub judge: fn(&House) -> Result<Vec<Finding>, Error>,
}

/// Every rule. `xtask/tests/house.rs` has one test per line.
pub static RULES: &[Rule] = &[
    Rule {
        name: "doors",
        promise: "Rooms open only onto the rooms the plan names, and doors lead down.",
        judge: doors::doors,
    },
    Rule {
        name: "plan",
        promise: "Every crate is on the plan with a purpose, and every room of the plan exists.",
        judge: doors::plan,
    },
    Rule {
        name: "workshops",
        promise: "Nothing that ships depends on a workshop.",
        judge: doors::workshops,
    },
    Rule {
        name: "core",
        promise: "The core has no async function and none of the crates that reach the world.",
        judge: purity::core,
    },
    Rule {
        name: "closures",
        promise: "Rooms keep out what they refuse to have beneath them, as the worker every network and database crate.",
        judge: purity::closures,
    },
    Rule {
        name: "unsafe",
        promise: "Every crate root forbids unsafe code; one module of the sandbox may ask for it.",
        judge: purity::unsafe_code,
    },
    Rule {
        name: "environment",
        promise: "One place reads the environment.",
        judge: purity::environment,
    },
    Rule {
        name: "clippy-config",
        promise: "Every clippy.toml is what the plan makes of it.",
        judge: |house| Ok(crate::ambient::stale(&house.tree, &house.plan)),
    },
    Rule {
        name: "ports",
        promise: "A port has few methods.",
        judge: sizes::ports,
    },
    Rule {
        name: "sizes",
        promise: "Files and functions stay short, or the plan says why not.",
        judge: sizes::lengths,
    },
    Rule {
        name: "repetition",
        promise: "Little is written twice.",
        judge: repetition::repetition,
    },
    Rule {
        name: "events",
        promise: "Every event kind is emitted by something that ships and asserted by a test.",
        judge: events::events,
    },
    Rule {
        name: "words",
        promise: "Comments and documents use the glossary's words.",
        judge: comments::words,
    },
    Rule {
        name: "history",
        promise: "Code comments say what is, not what was.",
        judge: comments::history,
    },
    Rule {
        name: "links",
        promise: "Relative links in documents lead somewhere.",
        judge: papers::links,
    },
    Rule {
        name: "readme",
        promise: "The README's commands exist, and its test command is what CI calls.",
        judge: papers::readme,
    },
    Rule {
        name: "documents",
        promise: "What is generated is current.",
        judge: |house| crate::docs::stale(house, crate::docs::Reach::Tree),
    },
];

/// The rule of that name.
pub fn named(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}
