//! File name patterns; shared by the tools that look for files.

use aaos_ports::ToolError;
use globset::{GlobBuilder, GlobMatcher};

/// Longest pattern, in bytes.
const BYTES_MAX: usize = 1024;

/// A glob. One without a slash is compared with the file's name, any other with its path beneath the searched directory.
pub(super) struct Pattern {
    matcher: GlobMatcher,
    whole_path: bool,
}

impl Pattern {
    /// Reads a glob: `*` within a name, `**` across directories, `?`, `[abc]`, `{a,b}`.
    ///
    /// # Errors
    /// It is no glob, or too long.
    pub(super) fn new(tool: &str, glob: &str) -> Result<Self, ToolError> {
        let wrong = |problem: String| ToolError::Input {
            tool: tool.to_owned(),
            problem,
        };
        if glob.len() > BYTES_MAX {
            return Err(wrong(format!("glob is longer than {BYTES_MAX} bytes")));
        }
        let built = GlobBuilder::new(glob.trim_start_matches("./"))
            .literal_separator(true)
            .build();
        let built = built.map_err(|error| {
            wrong(format!(
                "glob: {error}; write one such as *.rs or src/**/*.md"
            ))
        })?;
        Ok(Self {
            matcher: built.compile_matcher(),
            whole_path: glob.contains('/'),
        })
    }

    /// Whether a path relative to the searched directory is meant.
    pub(super) fn matches(&self, relative: &str) -> bool {
        let compared = if self.whole_path {
            relative
        } else {
            relative.rsplit('/').next().unwrap_or(relative)
        };
        self.matcher.is_match(compared)
    }
}

/// A path relative to a directory above it; its last name if it is that path itself.
pub(super) fn relative<'a>(path: &'a str, root: &str) -> &'a str {
    match path
        .strip_prefix(root.trim_end_matches('/'))
        .map(|rest| rest.trim_start_matches('/'))
    {
        Some("") | None => path.rsplit('/').next().unwrap_or(path),
        Some(rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_pattern_without_slash_means_names_and_one_with_it_paths() {
        let matches = |glob: &str, path: &str| Pattern::new("t", glob).unwrap().matches(path);
        assert!(matches("*.rs", "src/a/b.rs") && !matches("*.rs", "b.md"));
        assert!(matches("src/**/*.rs", "src/a/b.rs") && matches("./src/*.rs", "src/b.rs"));
        assert!(!matches("src/*.rs", "src/a/b.rs") && matches("*.{md,txt}", "x/readme.md"));
        assert!(Pattern::new("t", "[").is_err() && Pattern::new("t", &"x".repeat(2000)).is_err());
    }

    #[test]
    fn a_path_is_shown_relative_to_what_was_searched() {
        assert_eq!(relative("/a/b/c", "/a"), "b/c");
        assert_eq!(relative("/a/b", "/a/b"), "b");
        assert_eq!(relative("/a/b", "/"), "a/b");
    }
}
