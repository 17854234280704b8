//! What a file is before and after a change: digests that tell later whether it happened, and the difference for people.

use super::read;
use aaos_core::{approval::Preview, text};
use aaos_ports::{Files, PowerError};
use serde::{Deserialize, Serialize};
use similar::TextDiff;
use std::{io::Read, time::Duration};

/// Most bytes of a difference that a model is shown.
const DIFF_BYTES_MAX: usize = 16 * 1024;
/// Largest text whose difference is shown; of a larger one the sizes are.
const DIFFED_BYTES_MAX: u64 = 1024 * 1024;
/// Longest that a smallest difference is looked for; after that a larger one does.
const DIFF_WAIT: Duration = Duration::from_millis(500);
/// Largest file whose digest is taken: a tenth of a second's reading. Of a larger one the size has to do.
const DIGESTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Its size, in bytes.
    pub(super) size: u64,
    /// The BLAKE3 digest of its content, in hexadecimal; none if it may not be read or is too large.
    pub(super) digest: Option<String>,
}

impl State {
    /// Of a content.
    pub(super) fn of(content: &[u8]) -> Self {
        Self {
            size: size(content.len()),
            digest: Some(hex(&blake3::hash(content))),
        }
    }

    /// In words.
    pub(super) fn words(state: Option<&Self>) -> String {
        match state {
            None => "nothing".to_owned(),
            Some(Self {
                size,
                digest: Some(digest),
            }) => format!("{size} bytes with the digest {digest}"),
            Some(Self { size, digest: None }) => format!("{size} bytes that were not read"),
        }
    }
}

pub(super) fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn hex(hash: &blake3::Hash) -> String {
    hash.to_hex().as_str().to_owned()
}

/// What stands at a path now, and what would with `added` at its end.
///
/// # Errors
/// As the power's, but that a file which may be written and not read is known by its size.
pub(super) fn seen(
    files: &dyn Files,
    path: &str,
    added: &[u8],
) -> Result<(Option<State>, State), PowerError> {
    let entry = match files.stat(path) {
        Ok(entry) => entry,
        Err(PowerError::NotFound(_)) => return Ok((None, State::of(added))),
        Err(error) => return Err(error),
    };
    let unread = |size: u64| State { size, digest: None };
    let grown = entry.size.saturating_add(self::size(added.len()));
    if entry.size > DIGESTED_BYTES_MAX {
        return Ok((Some(unread(entry.size)), unread(grown)));
    }
    let file = match files.open(path) {
        Ok(file) => file,
        Err(PowerError::Denied { .. }) => return Ok((Some(unread(entry.size)), unread(grown))),
        Err(error) => return Err(error),
    };
    let (mut hasher, mut read_bytes, mut room) = (blake3::Hasher::new(), 0, vec![0; CHUNK_BYTES]);
    let mut bytes = file.bytes.take(DIGESTED_BYTES_MAX);
    loop {
        match bytes.read(&mut room) {
            Ok(0) => break,
            Ok(came) => {
                hasher.update(room.get(..came).unwrap_or_default());
                read_bytes += size(came);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read::failed(path, &error)),
        }
    }
    let now = State {
        size: read_bytes,
        digest: Some(hex(&hasher.finalize())),
    };
    let after = State {
        size: read_bytes.saturating_add(size(added.len())),
        digest: Some(hex(&hasher.update(added).finalize())),
    };
    Ok((Some(now), after))
}

/// The text at a path, for a difference; none if there is nothing there, or it cannot be shown as text.
pub(super) fn shown(files: &dyn Files, path: &str) -> Option<String> {
    let file = files.open(path).ok()?;
    let content = read::whole(file, DIFFED_BYTES_MAX).ok()?;
    String::from_utf8(content)
        .ok()
        .filter(|text| !read::is_binary(text.as_bytes()))
}

/// A change of a text file, all of it, for a person to judge.
pub(super) fn preview(path: String, before: &str, after: &str) -> Preview {
    let diff = match before == after {
        true => String::new(),
        false => whole_diff(before, after, &path),
    };
    Preview::Diff {
        path,
        diff,
        before: State::of(before.as_bytes()).digest,
    }
}

/// A change that cannot be shown as a difference: sizes, and the content that is written.
pub(super) fn preview_sizes(
    path: String,
    before: Option<&State>,
    after: u64,
    content: &str,
) -> Preview {
    let bytes = before.map_or("nothing".to_owned(), |state| {
        format!("{} bytes", state.size)
    });
    let mut diff = format!(
        "({bytes} become {after} bytes; what stands there now is not shown, this is written)\n"
    );
    for line in content.lines() {
        diff.push('+');
        diff.push_str(line);
        diff.push('\n');
    }
    Preview::Diff {
        path,
        diff,
        before: before.and_then(|state| state.digest.clone()),
    }
}

/// The difference of two texts, in the unified form, cut if it is long.
pub(super) fn diff(before: &str, after: &str, path: &str) -> String {
    let whole = whole_diff(before, after, path);
    let shown = text::head(&whole, DIFF_BYTES_MAX);
    if shown.len() < whole.len() {
        format!("{shown}\n… (difference cut)\n")
    } else {
        whole
    }
}

fn whole_diff(before: &str, after: &str, path: &str) -> String {
    let diff = TextDiff::configure()
        .timeout(DIFF_WAIT)
        .diff_lines(before, after);
    let name = text::preview(path, 512);
    let mut unified = diff.unified_diff();
    unified.context_radius(3).header(&name, &name).to_string()
}
