//! Ignore files: which paths people mostly do not mean.
//!
//! Each directory's own rules come before those above it. Refuses nothing: a line that is no pattern is passed over, as
//! version control does.

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use std::{io::Read, sync::Arc};

/// Files that say what people mostly do not mean, the stronger one last.
pub(crate) const NAMES: [&str; 2] = [".gitignore", ".ignore"];
/// Most bytes of an ignore file that are read.
const BYTES_MAX: u64 = 256 * 1024;

/// The ignore rules of a directory and of those above it.
pub(crate) struct Ignored {
    rules: Gitignore,
    above: Option<Arc<Ignored>>,
}

impl Ignored {
    /// The rules that hold in a directory: those of its own ignore files, the stronger one last, then those above.
    pub(crate) fn within(
        directory: &str,
        own: impl IntoIterator<Item = impl Read>,
        above: Option<Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let mut rules = GitignoreBuilder::new(directory);
        let mut any = false;
        for file in own {
            let mut text = Vec::new();
            if file.take(BYTES_MAX).read_to_end(&mut text).is_err() {
                continue;
            }
            any = true;
            for line in String::from_utf8_lossy(&text).lines() {
                let _passed_over = rules.add_line(None, line);
            }
        }
        match any.then(|| rules.build()) {
            Some(Ok(rules)) if !rules.is_empty() => Some(Arc::new(Self { rules, above })),
            _ => above,
        }
    }
}

/// Whether the nearest rule that speaks of a path ignores it.
pub(crate) fn is_ignored(path: &str, directory: bool, mut rules: Option<&Arc<Ignored>>) -> bool {
    while let Some(here) = rules {
        match here.rules.matched(path, directory) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => rules = here.above.as_ref(),
        }
    }
    false
}
