//! `file_read`: a text file, by lines, of any size.
//!
//! The file is streamed: only the lines asked for are held. Refuses binary data.

use super::read;
use aaos_core::{
    capability::Need,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{Powers, Tool, ToolError, power::OpenFile, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read};

/// Lines shown unless asked otherwise.
const LINES_DEFAULT: u64 = 2000;
/// Most bytes of one line that are shown.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of content in one answer: about what a large model's context can spare.
const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// Reads a text file by lines.
pub(super) struct FileRead;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// File to read: an absolute path, or one relative to the base directory.
    path: String,
    /// First line to show, counting from 1.
    #[serde(default = "first")]
    offset: u64,
    /// Most lines to show.
    #[serde(default = "lines")]
    limit: u64,
}

const fn first() -> u64 {
    1
}

const fn lines() -> u64 {
    LINES_DEFAULT
}

#[derive(Serialize)]
pub(super) struct Output {
    path: String,
    content: String,
    size_bytes: u64,
    total_lines: u64,
    offset: u64,
    returned_lines: u64,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[async_trait]
impl Tool for FileRead {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "file_read",
        summary: "Read a text file; lines come numbered. Page through long files with offset and limit.",
        powers: &[Power::Files],
        effect: Effect::Read,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![Need::read(&input.path)]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let file = powers.files()?.open(&input.path)?;
        page(file, input.offset.max(1), input.limit)
    }
}

/// The lines of a file from `offset` on, at most `limit`.
fn page(file: OpenFile, offset: u64, limit: u64) -> Result<Output, ToolError> {
    let OpenFile { bytes, path, size } = file;
    let failed = |error: std::io::Error| ToolError::from(read::failed(&path, &error));
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, bytes);
    if read::is_binary(reader.fill_buf().map_err(failed)?) {
        return Err(read::binary(&path, size));
    }
    let mut page = Page::default();
    let mut number = 0_u64;
    loop {
        let wanted = number.saturating_add(1) >= offset && page.lines < limit && !page.full;
        let kept = if wanted { LINE_BYTES_MAX } else { 0 };
        let Some(line) = next_line(&mut reader, kept).map_err(failed)? else {
            break;
        };
        number = number.saturating_add(1);
        if wanted {
            page.add(number, &line);
        }
    }
    let last = offset.saturating_sub(1).saturating_add(page.lines);
    let note = page.note(offset, number);
    Ok(Output {
        size_bytes: size,
        total_lines: number,
        offset,
        returned_lines: page.lines,
        truncated: page.cut || (offset <= number && last < number),
        content: page.content,
        note,
        path,
    })
}

/// One line as far as it is kept.
struct Line {
    kept: Vec<u8>,
    cut: bool,
}

/// Reads to the next line break or the end, keeping at most `kept_max` bytes; `None` at the end.
fn next_line(
    reader: &mut BufReader<Box<dyn Read + Send>>,
    kept_max: usize,
) -> std::io::Result<Option<Line>> {
    let mut line = Line {
        kept: Vec::new(),
        cut: false,
    };
    let mut any = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any.then_some(line));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer
            .get(..end.unwrap_or(buffer.len()))
            .unwrap_or_default();
        let room = kept_max.saturating_sub(line.kept.len()).min(piece.len());
        line.kept
            .extend_from_slice(piece.get(..room).unwrap_or_default());
        line.cut |= room < piece.len();
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// The lines gathered so far.
#[derive(Default)]
struct Page {
    content: String,
    lines: u64,
    full: bool,
    cut: bool,
    lossy: bool,
}

impl Page {
    fn add(&mut self, number: u64, line: &Line) {
        let shown = String::from_utf8_lossy(&line.kept);
        // A character cut in two at the line's bound is no sign of another encoding.
        self.lossy |= !line.cut && matches!(shown, std::borrow::Cow::Owned(_));
        let ending = if line.cut { " … (line cut)" } else { "" };
        let numbered = format!("{number:>6}\t{shown}{ending}\n");
        if self.content.len() + numbered.len() > CONTENT_BYTES_MAX {
            (self.full, self.cut) = (true, true);
            return;
        }
        self.cut |= line.cut;
        self.content.push_str(&numbered);
        self.lines += 1;
    }

    fn note(&self, offset: u64, total: u64) -> Option<String> {
        if total == 0 {
            return Some("the file is empty".to_owned());
        }
        if offset > total {
            return Some(format!(
                "the file has only {total} lines; nothing stands at line {offset}"
            ));
        }
        self.lossy
            .then(|| "some bytes are not UTF-8 and are shown as \u{fffd}".to_owned())
    }
}
