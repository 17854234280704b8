//! What a rule reports: a place and a sentence that says what to do there.

use std::fmt;
use std::path::PathBuf;

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where: a path with a line, a crate, a trait.
    pub place: String,
    /// What is wrong and what to do about it, in one or two sentences.
    pub advice: String,
}

impl Finding {
    /// A finding at `place`.
    pub fn new(place: impl fmt::Display, advice: impl Into<String>) -> Self {
        Self {
            place: place.to_string(),
            advice: advice.into(),
        }
    }

    /// A finding at a line of a file, counted from one.
    pub fn at_line(path: &str, line: usize, advice: impl Into<String>) -> Self {
        Self {
            place: format!("{path}:{line}"),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.advice)
    }
}

/// Why a rule could not be judged at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the checkout could not be read or written.
    #[error("cannot reach {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data file does not have the form its reader expects.
    #[error("{file} is not well formed: {source}")]
    Data {
        /// The file, relative to the checkout.
        file: &'static str,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A Rust file does not parse.
    #[error("{path} does not parse: {source}; run `cargo check`")]
    Syntax {
        /// The file, relative to the checkout.
        path: String,
        /// Where and why.
        source: syn::Error,
    },
    /// `cargo metadata` failed.
    #[error("cargo metadata failed: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A document's generator ended with a failure.
    #[error("`{command}` failed while writing {page}:\n{stderr}")]
    Generator {
        /// The command line.
        command: String,
        /// The page it was to write.
        page: &'static str,
        /// What it printed.
        stderr: String,
    },
    /// A page lacks the markers between which a part is generated.
    #[error("{page} lacks the lines `{start}` and `{end}`; put them where the part belongs")]
    Markers {
        /// The page.
        page: &'static str,
        /// The opening marker.
        start: String,
        /// The closing marker.
        end: String,
    },
    /// Something was named that there is not.
    #[error("there is no {what} `{name}`; there is: {known}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A document the rules read lacks the part they read.
    #[error("{file} lacks {what}")]
    Missing {
        /// The file, relative to the checkout.
        file: &'static str,
        /// The part.
        what: &'static str,
    },
}
