//! Reading a file as text, within a bound; shared by the tools that read.

use aaos_core::text;
use aaos_ports::{PowerError, ToolError, power::OpenFile};
use std::io::Read;

/// Bytes at a file's beginning that are looked at to tell text from binary data.
/// Source: version control systems look at 8,000 bytes for a NUL.
pub(super) const PROBE_BYTES: usize = 8 * 1024;

/// Whether data looks like anything but text: a NUL stands near its beginning.
pub(super) fn is_binary(beginning: &[u8]) -> bool {
    beginning.iter().take(PROBE_BYTES).any(|byte| *byte == 0)
}

/// What is said of a file that is not text.
pub(super) fn binary(path: &str, size: u64) -> ToolError {
    ToolError::Failed(format!(
        "{} holds binary data or UTF-16 text ({size} bytes), not text this tool can show",
        text::preview(path, 512)
    ))
}

/// A whole file of at most `bytes_max` bytes, even if it grows while it is read.
///
/// # Errors
/// It is larger, or cannot be read.
pub(super) fn whole(file: OpenFile, bytes_max: u64) -> Result<Vec<u8>, PowerError> {
    let OpenFile { bytes, path, size } = file;
    let too_large = || PowerError::TooLarge {
        what: text::preview(&path, 512),
        limit: bytes_max,
    };
    if size > bytes_max {
        return Err(too_large());
    }
    let mut content = Vec::new();
    let read = bytes
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut content);
    read.map_err(|error| failed(&path, &error))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(too_large());
    }
    Ok(content)
}

/// A read that failed halfway.
pub(super) fn failed(path: &str, error: &std::io::Error) -> PowerError {
    PowerError::Io {
        what: format!("reading {}", text::preview(path, 512)),
        message: error.to_string(),
    }
}
