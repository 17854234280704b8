//! How the grammar writes data so that reading it back gives the same data: escapes in paths, quotes around words.

use std::fmt;

/// Longest piece of foreign text an error quotes, in characters.
const QUOTE_CHARS_MAX: usize = 120;

/// The beginning of a text, for quoting in an error.
pub(super) fn cut(text: &str) -> String {
    text.chars()
        .take(QUOTE_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect()
}

/// Writes one component's text; `last` says whether the path ends with it, where a bare space would be lost.
pub(super) fn write_path(out: &mut impl fmt::Write, text: &str, last: bool) -> fmt::Result {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' | '\\' | '{' | '}' => write!(out, "\\{character}")?,
            ' ' if last && characters.peek().is_none() => out.write_str("\\ ")?,
            _ => write_character(out, character)?,
        }
    }
    Ok(())
}

fn write_character(out: &mut impl fmt::Write, character: char) -> fmt::Result {
    match character {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        _ if character.is_control() => write!(out, "\\u{{{:x}}}", u32::from(character)),
        _ => out.write_char(character),
    }
}

/// Whether a character may stand in a word without quotes.
pub(super) fn is_bare(character: char) -> bool {
    !character.is_whitespace()
        && !character.is_control()
        && !matches!(character, ',' | '[' | ']' | '{' | '}' | '*' | '"' | '\\')
}

/// Writes a word, in quotes if it needs them.
pub(super) fn write_word(out: &mut impl fmt::Write, word: &str) -> fmt::Result {
    if !word.is_empty() && word.chars().all(is_bare) {
        return out.write_str(word);
    }
    write_quoted(out, word)
}

/// Writes a word in quotes.
pub(super) fn write_quoted(out: &mut impl fmt::Write, word: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in word.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            _ => write_character(out, character)?,
        }
    }
    out.write_char('"')
}

/// Writes entries with `, ` between them.
pub(super) fn write_list<T>(
    out: &mut fmt::Formatter<'_>,
    entries: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (position, entry) in entries.into_iter().enumerate() {
        if position > 0 {
            out.write_str(", ")?;
        }
        write(out, entry)?;
    }
    Ok(())
}
