//! Papers: links that lead somewhere, and a README whose commands exist.

use crate::finding::{Error, Finding};
use crate::rule::House;
use crate::rule::comments::prose;

/// The README, relative to the checkout.
const README: &str = "README.md";

/// What CI runs, relative to the checkout.
const CI: &str = ".ci/run";

/// The folder that holds one file per command of the daemon's command line.
const COMMANDS: &str = "crates/agentd/src/cli";

/// Programs a README may call that are not ours.
const SHELL: &[&str] = &[
    "cat", "cd", "cp", "curl", "echo", "export", "git", "less", "ls", "mkdir", "printf", "rustup",
    "sudo",
];

/// Cargo commands a README may call.
const CARGO: &[&str] = &["build", "install", "nextest", "run", "test", "xtask"];

/// Relative links in documents lead somewhere.
///
/// # Errors
/// A document cannot be read.
pub fn links(house: &House) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for path in house.tree.files("md")? {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = house.tree.read(&path)?;
        for (line, text) in prose(&text) {
            for target in targets(text) {
                if !house.tree.holds(&join(folder, target)) {
                    let advice =
                        format!("links to {target}, which does not exist; mend or remove the link");
                    found.push(Finding::at_line(&path, line, advice));
                }
            }
        }
    }
    Ok(found)
}

/// The relative targets of a line's links, without their anchors.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        let relative =
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
        relative.then_some(target)
    })
}

fn join(folder: &str, target: &str) -> String {
    if folder.is_empty() {
        target.to_owned()
    } else {
        format!("{folder}/{target}")
    }
}

/// The README's commands exist, and its test command is what CI calls.
///
/// # Errors
/// The README or the CI script cannot be read.
pub fn readme(house: &House) -> Result<Vec<Finding>, Error> {
    let (readme, ci) = (house.tree.read(README)?, house.tree.read(CI)?);
    let test = house.plan.commands.test.as_str();
    let commands = commands(&readme);
    let mut found = Vec::new();
    if !commands.iter().any(|(_, command)| command == test) {
        let advice =
            format!("shows no test command; put `{test}` on a line of its own in a sh block");
        found.push(Finding::new(README, advice));
    }
    if !ci.lines().any(|line| line.trim() == test) {
        let advice = format!(
            "does not call `{test}`, the README's test command; call it on a line of its own"
        );
        found.push(Finding::new(CI, advice));
    }
    for (line, command) in &commands {
        if let Some(wrong) = wrong_with(command, |name| is_agentd_command(house, name)) {
            found.push(Finding::at_line(README, *line, wrong));
        }
    }
    Ok(found)
}

/// The commands of a document's shell blocks, with their lines; continued lines are joined.
pub fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut shell, mut joined) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let bare = line.trim();
        if let Some(language) = bare.strip_prefix("```") {
            shell = !shell && ["sh", "bash", "console"].contains(&language);
            joined = false;
            continue;
        }
        if !shell || bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let (part, open) = bare
            .strip_suffix('\\')
            .map_or((bare, false), |part| (part.trim_end(), true));
        let part = part.strip_prefix("$ ").unwrap_or(part);
        let part = part.split(" #").next().unwrap_or(part).trim_end();
        match found.last_mut() {
            Some((_, command)) if joined => {
                command.push(' ');
                command.push_str(part);
            }
            _ => found.push((index + 1, part.to_owned())),
        }
        joined = open;
    }
    found
}

/// What is wrong with a command, if anything.
fn wrong_with(command: &str, known: impl Fn(&str) -> bool) -> Option<String> {
    let words: Vec<&str> = command
        .split_whitespace()
        .skip_while(|word| is_setting(word))
        .collect();
    let program = words.first()?.rsplit('/').next()?;
    let ours = match program {
        "agentd" => words.get(1).copied(),
        "cargo" if words.get(1) == Some(&"run") => after_dashes(&words),
        "cargo" if words.get(1) == Some(&"xtask") => {
            let name = words.get(2).copied().unwrap_or_default();
            let unknown = !crate::COMMANDS.iter().any(|command| command.name == name);
            return unknown
                .then(|| format!("`cargo xtask {name}` does not exist; see xtask/src/lib.rs"));
        }
        "cargo" => {
            let name = words.get(1).copied().unwrap_or_default();
            return (!CARGO.contains(&name))
                .then(|| format!("`cargo {name}` is not a command readers have"));
        }
        "run" | "." => None,
        other => {
            return (!SHELL.contains(&other))
                .then(|| format!("`{other}` is not a program readers have"));
        }
    };
    let name = ours.filter(|name| !name.starts_with('-'))?;
    (!known(name)).then(|| format!("`agentd {name}` does not exist; see {COMMANDS}"))
}

/// Whether a word sets a variable for the command that follows.
fn is_setting(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

fn after_dashes<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == "--")?;
    words.get(at + 1).copied()
}

fn is_agentd_command(house: &House, name: &str) -> bool {
    let file = name.replace('-', "_");
    let spellings = [
        format!("{COMMANDS}/{file}.rs"),
        format!("{COMMANDS}/{file}/mod.rs"),
        format!("{COMMANDS}/{file}_cmd.rs"),
    ];
    spellings.iter().any(|path| house.tree.holds(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{commands, targets, wrong_with};

    #[test]
    fn commands_are_read_from_shell_blocks_alone() {
        let text =
            "```sh\n# why\n$ cargo run -- submit \\\n    'x'   # note\n```\n```toml\na = 1\n```\n";
        assert_eq!(commands(text), [(3, "cargo run -- submit 'x'".to_owned())]);
    }

    #[test]
    fn a_command_that_does_not_exist_is_named() {
        let known = |name: &str| name == "submit";
        assert_eq!(wrong_with("KEY=1 agentd submit 'x'", known), None);
        assert!(
            wrong_with("cargo run --release -- sumbit 'x'", known)
                .unwrap()
                .contains("sumbit")
        );
        assert_eq!(wrong_with("agentd --version", known), None);
        assert!(
            wrong_with("cargo xtask chekc", known)
                .unwrap()
                .contains("chekc")
        );
        assert!(wrong_with("frobnicate", known).is_some());
    }

    #[test]
    fn only_relative_links_are_followed() {
        let line = "[a](docs/a.md#x) [b](https://b.c) [c](#d) [e](../f)";
        assert_eq!(targets(line).collect::<Vec<_>>(), ["docs/a.md", "../f"]);
    }
}
