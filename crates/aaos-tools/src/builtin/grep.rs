//! `grep`: lines that match a pattern, in a file or in all files beneath a directory.
//!
//! Skips hidden, ignored and binary files. The pattern is compiled within size limits and runs in linear time.

use super::pattern::{Pattern, relative};
use aaos_core::{
    capability::Need,
    text,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{
    Files, Powers, Tool, ToolError,
    power::{Entry, Flow, Tidy},
    tool::About,
};
use async_trait::async_trait;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;

/// Most matching lines of one answer.
const MATCHES_MAX: usize = 200;
/// Most bytes of one line that are shown.
const LINE_BYTES_MAX: usize = 512;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4 * 1024;
/// Most bytes a compiled pattern may take, and its cache.
const REGEX_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Longest line that is searched, in bytes; a file with a longer one is skipped from there on.
const HEAP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Searches files.
pub(super) struct Grep;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Regular expression to look for, in Rust's syntax (no look-around, no back-references).
    pattern: String,
    /// Directory or file to search: an absolute path, or one relative to the base directory.
    path: String,
    /// Only files that fit this pattern, such as *.rs or src/**/*.md.
    #[serde(default)]
    glob: Option<String>,
    /// Take upper and lower case for the same.
    #[serde(default)]
    case_insensitive: bool,
}

#[derive(Serialize)]
pub(super) struct Output {
    pattern: String,
    matches: Vec<Match>,
    total_matches: usize,
    truncated: bool,
}

#[derive(Serialize)]
struct Match {
    file: String,
    line: u64,
    text: String,
}

#[async_trait]
impl Tool for Grep {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "grep",
        summary: "Find lines that match a regular expression, in a file or beneath a directory; at most 200 matches.",
        powers: &[Power::Files],
        effect: Effect::Read,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![Need::read_tree(&input.path)]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let files = powers.files()?;
        let glob = input
            .glob
            .as_deref()
            .map(|glob| Pattern::new(Self::ABOUT.name, glob))
            .transpose()?;
        let matcher = matcher(&input)?;
        let root = files.stat(&input.path)?.path;
        let mut search = Search {
            files,
            matcher,
            searcher: searcher(),
            matches: Vec::new(),
            truncated: false,
        };
        files.walk(&root, Tidy::Skip, &mut |entry| {
            let wanted = glob
                .as_ref()
                .is_none_or(|glob| glob.matches(relative(&entry.path, &root)));
            if wanted {
                search.file(entry)
            } else {
                Flow::Continue
            }
        })?;
        let Search {
            matches, truncated, ..
        } = search;
        Ok(Output {
            pattern: input.pattern,
            total_matches: matches.len(),
            matches,
            truncated,
        })
    }
}

fn matcher(input: &Input) -> Result<RegexMatcher, ToolError> {
    let wrong = |problem: String| ToolError::Input {
        tool: Grep::ABOUT.name.to_owned(),
        problem,
    };
    if input.pattern.is_empty() || input.pattern.len() > PATTERN_BYTES_MAX {
        return Err(wrong(format!(
            "pattern has 1 to {PATTERN_BYTES_MAX} bytes, not {}",
            input.pattern.len()
        )));
    }
    RegexMatcherBuilder::new()
        .case_insensitive(input.case_insensitive)
        .line_terminator(Some(b'\n'))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build(&input.pattern)
        .map_err(|error| wrong(format!("pattern: {}", text::head(&error.to_string(), 600))))
}

fn searcher() -> Searcher {
    SearcherBuilder::new()
        .line_number(true)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(HEAP_BYTES_MAX))
        .build()
}

/// A search under way.
struct Search<'a> {
    files: &'a dyn Files,
    matcher: RegexMatcher,
    searcher: Searcher,
    matches: Vec<Match>,
    truncated: bool,
}

impl Search<'_> {
    /// Searches one file. One that cannot be opened or read is passed over, as is the rest of one with a giant line.
    fn file(&mut self, entry: &Entry) -> Flow {
        if entry.size == 0 && !is_kernel_file(&entry.path) {
            return Flow::Continue;
        }
        let Ok(file) = self.files.open(&entry.path) else {
            return Flow::Continue;
        };
        let sink = Found {
            path: &entry.path,
            matches: &mut self.matches,
            truncated: &mut self.truncated,
        };
        let _read_or_passed_over = self.searcher.search_reader(&self.matcher, file.bytes, sink);
        if self.truncated {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

/// Whether a file's size may be given as nothing although it has content.
fn is_kernel_file(path: &str) -> bool {
    path.starts_with("/proc/") || path.starts_with("/sys/")
}

/// Takes matching lines of one file.
struct Found<'a> {
    path: &'a str,
    matches: &'a mut Vec<Match>,
    truncated: &'a mut bool,
}

impl Sink for Found<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        if self.matches.len() >= MATCHES_MAX {
            *self.truncated = true;
            return Ok(false);
        }
        self.matches.push(Match {
            file: self.path.to_owned(),
            line: found.line_number().unwrap_or(0),
            text: shown(found.bytes()),
        });
        Ok(true)
    }
}

/// A line for the answer: without its end, cut, in UTF-8.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let cut = line
        .get(..line.len().min(LINE_BYTES_MAX + 4))
        .unwrap_or_default();
    let lossy = String::from_utf8_lossy(cut);
    let head = text::head(&lossy, LINE_BYTES_MAX);
    if line.len() > LINE_BYTES_MAX {
        format!("{head}…")
    } else {
        head.to_owned()
    }
}
