//! Cutting text for people and journals: never inside a character, always visibly.

/// The longest beginning of `text` that fits in `bytes`, without splitting a character.
#[must_use]
pub fn head(text: &str, bytes: usize) -> &str {
    let end = text.floor_char_boundary(bytes);
    text.get(..end).unwrap_or("")
}

/// Whether a character may make a text read otherwise than it is: control characters, line and paragraph separators,
/// and marks that turn the direction of what follows.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    // Source: Unicode Standard Annex 9, explicit and implicit directional formatting characters.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text`, or its beginning and an ellipsis if it is longer than `bytes`. Deceptive characters become spaces, so
/// that a hostile text cannot move a terminal's cursor, break a line-based log, or read otherwise than it is.
#[must_use]
pub fn preview(text: &str, bytes: usize) -> String {
    let cut = head(text, bytes);
    let mut shown: String = cut
        .chars()
        .map(|c| if is_deceptive(c) { ' ' } else { c })
        .collect();
    if cut.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(head("héllo", 2), "h");
        assert_eq!(preview("héllo", 3), "hé…");
        assert_eq!(preview("a\u{1b}[2Jb", 99), "a [2Jb");
    }

    #[test]
    fn a_text_reads_as_it_is() {
        assert_eq!(preview("a\u{202e}b\u{2028}c\u{200f}d", 99), "a b c d");
        assert_eq!(preview("שלום, 你好 é", 99), "שלום, 你好 é");
    }
}
