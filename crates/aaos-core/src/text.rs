//! Cutting text for people and journals: never inside a character, always visibly.

/// The longest beginning of `text` that fits in `bytes`, without splitting a character.
#[must_use]
pub fn head(text: &str, bytes: usize) -> &str {
    let end = text.floor_char_boundary(bytes);
    text.get(..end).unwrap_or("")
}

/// `text`, or its beginning and an ellipsis if it is longer than `bytes`. Control characters become spaces, so
/// that a hostile text cannot move a terminal's cursor or break a line-based log.
#[must_use]
pub fn preview(text: &str, bytes: usize) -> String {
    let cut = head(text, bytes);
    let mut shown: String = cut
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
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
}
