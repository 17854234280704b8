//! Generated documents. One line in [`PAGES`] makes a page, or a part of one; `cargo xtask docs` writes
//! them and `cargo xtask docs --check` compares.
//!
//! A page comes from the checkout itself, or from a program's standard output. The second kind builds
//! that program, so the house's tests compare the first kind only and the gate compares both.

mod house_pages;

use std::process::Command;

use crate::finding::{Error, Finding};
use crate::rule::House;

/// One generated page or part.
pub struct Page {
    /// The file, relative to the checkout.
    pub file: &'static str,
    /// Which part of the file is generated.
    pub part: Part,
    /// Where its text comes from.
    pub source: Source,
}

/// Which part of a file is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What stands between the markers of this name.
    Between(&'static str),
}

/// Where a page's text comes from.
pub enum Source {
    /// A function of the checkout.
    House(fn(&House) -> Result<String, Error>),
    /// The standard output of `cargo` with these arguments, run in the checkout.
    Cargo(&'static [&'static str]),
}

/// Every generated page. To add one whose text a program prints:
/// `Page { file: "docs/reference/tools.md", part: Part::Whole, source: Source::Cargo(&["run", "--quiet",
/// "--bin", "agentd", "--", "docs", "tools"]) }`. The workspace's default members are built as one, as for an installation,
/// and so as whoever else builds the programs builds them.
pub static PAGES: &[Page] = &[
    Page {
        file: "ARCHITECTURE.md",
        part: Part::Between("diagram"),
        source: Source::House(house_pages::diagram),
    },
    Page {
        file: "ARCHITECTURE.md",
        part: Part::Between("code map"),
        source: Source::House(house_pages::code_map),
    },
    Page {
        file: "CONTRIBUTING.md",
        part: Part::Between("rules"),
        source: Source::House(house_pages::rules),
    },
    Page {
        file: "docs/reference/authority.md",
        part: Part::Whole,
        source: Source::House(house_pages::authority),
    },
    Page {
        file: "docs/reference/events.md",
        part: Part::Whole,
        source: Source::House(house_pages::events),
    },
    Page {
        file: "docs/reference/tools.md",
        part: Part::Whole,
        source: Source::Cargo(&["run", "--quiet", "--bin", "agentd", "--", "docs", "tools"]),
    },
    Page {
        file: "docs/reference/rpc.md",
        part: Part::Whole,
        source: Source::Cargo(&["run", "--quiet", "--bin", "agentd", "--", "docs", "rpc"]),
    },
    Page {
        file: "docs/reference/commands.md",
        part: Part::Whole,
        source: Source::Cargo(&["run", "--quiet", "--bin", "agentd", "--", "docs", "cli"]),
    },
    Page {
        file: "docs/reference/configuration.md",
        part: Part::Whole,
        source: Source::Cargo(&["run", "--quiet", "--bin", "agentd", "--", "docs", "config"]),
    },
    Page {
        file: "docs/reference/wire.md",
        part: Part::Whole,
        source: Source::Cargo(&["run", "--quiet", "--bin", "agentd", "--", "docs", "events"]),
    },
    Page {
        file: "docs/reference/grants.md",
        part: Part::Whole,
        source: Source::Cargo(&[
            "run",
            "--quiet",
            "--bin",
            "agentd",
            "--",
            "docs",
            "capabilities",
        ]),
    },
];

/// Which pages are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that come from the checkout alone.
    Tree,
    /// Those a program prints as well.
    Programs,
}

/// The pages that are not what their source makes of them.
///
/// # Errors
/// A source failed, or a page lacks its markers.
pub fn stale(house: &House, reach: Reach) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for page in within(reach) {
        if is_stale(house, page)? {
            let advice = format!("{} is not current; run `cargo xtask docs`", page.part);
            found.push(Finding::new(page.file, advice));
        }
    }
    Ok(found)
}

/// Writes every page and names the files that changed.
///
/// # Errors
/// A source failed, a page lacks its markers, or a file cannot be written.
pub fn write(house: &House) -> Result<Vec<&'static str>, Error> {
    let mut changed = Vec::new();
    for page in PAGES {
        let text = whole(house, page)?;
        if house.tree.read(page.file).ok().as_ref() != Some(&text) {
            house.tree.write(page.file, &text)?;
            changed.push(page.file);
        }
    }
    changed.dedup();
    Ok(changed)
}

/// Puts text between a page's markers of this name, where no generator does.
///
/// # Errors
/// The page lacks the markers, or cannot be written.
pub fn replace(house: &House, file: &'static str, name: &str, text: &str) -> Result<(), Error> {
    let page = insert(file, &house.tree.read(file)?, name, text)?;
    house.tree.write(file, &page)
}

fn within(reach: Reach) -> impl Iterator<Item = &'static Page> {
    let meant =
        move |page: &&Page| reach == Reach::Programs || matches!(page.source, Source::House(_));
    PAGES.iter().filter(meant)
}

fn is_stale(house: &House, page: &Page) -> Result<bool, Error> {
    let text = whole(house, page)?;
    Ok(house.tree.read(page.file).ok().as_ref() != Some(&text))
}

/// The whole file as it should be.
fn whole(house: &House, page: &Page) -> Result<String, Error> {
    let generated = match page.source {
        Source::House(make) => make(house)?,
        Source::Cargo(arguments) => printed(house, page, arguments)?,
    };
    match page.part {
        Part::Whole => Ok(headed(page, &generated)),
        Part::Between(name) => insert(page.file, &house.tree.read(page.file)?, name, &generated),
    }
}

/// A whole page begins by saying that it is generated and from what.
fn headed(page: &Page, generated: &str) -> String {
    let from = match page.source {
        Source::House(_) => "from the checkout".to_owned(),
        Source::Cargo(arguments) => format!("from `cargo {}`", arguments.join(" ")),
    };
    format!(
        "<!-- Generated {from} by `cargo xtask docs`; not edited by hand. -->\n\n{}\n",
        generated.trim()
    )
}

fn printed(house: &House, page: &Page, arguments: &[&str]) -> Result<String, Error> {
    let command = format!("cargo {}", arguments.join(" "));
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(house.tree.root())
        .output()
        .map_err(|source| Error::Start {
            program: "cargo".into(),
            source,
        })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Generator {
            command,
            page: page.file,
            stderr,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Puts generated text between a file's markers.
fn insert(file: &'static str, text: &str, name: &str, generated: &str) -> Result<String, Error> {
    let start = format!("<!-- generated: {name} -->");
    let end = format!("<!-- end: {name} -->");
    let parts = text.split_once(&start).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    match parts {
        Some((before, after)) => Ok(format!(
            "{before}{start}\n{}\n{end}{after}",
            generated.trim()
        )),
        None => Err(Error::Markers {
            page: file,
            start,
            end,
        }),
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => f.write_str("the page"),
            Self::Between(name) => write!(f, "the part \"{name}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::insert;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb\n";
        let made = insert("A.md", text, "x", "new\n").unwrap();
        assert_eq!(made, "a\n<!-- generated: x -->\nnew\n<!-- end: x -->\nb\n");
        assert_eq!(insert("A.md", &made, "x", "new").unwrap(), made);
        assert!(insert("A.md", "no markers", "x", "new").is_err());
    }
}
