//! Tells code from comments in a Rust file, character by character.
//!
//! The compiler's own lexer drops comments, and the rules judge them, so this keeps both: the comments
//! with their lines, and the code with every comment blanked out. It knows strings, raw strings,
//! characters, lifetimes and nested block comments, and nothing of grammar.

/// One comment, or one line of a longer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Counted from one.
    pub line: usize,
    /// Without its slashes.
    pub text: String,
}

/// A Rust file, split.
#[derive(Debug, Default)]
pub struct Scan {
    /// Comments in order, a block comment as one entry per line.
    pub comments: Vec<Comment>,
    /// The file's lines with comments left out.
    pub code: Vec<String>,
}

/// Splits a file.
pub fn scan(text: &str) -> Scan {
    let mut scanner = Scanner {
        rest: text,
        line: 1,
        code: String::new(),
        comments: Vec::new(),
    };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    Scan {
        comments: scanner.comments,
        code: scanner.code.lines().map(str::to_owned).collect(),
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    code: String,
    comments: Vec<Comment>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(end);
        } else if self.rest.starts_with("/*") {
            self.comment(block_end(self.rest));
        } else if let Some(end) = self.raw_string_end() {
            self.keep(end);
        } else if self.rest.starts_with('"') {
            self.keep(quoted_end(self.rest));
        } else if self.rest.starts_with('\'') {
            self.keep(char_end(self.rest));
        } else {
            self.keep(self.rest.chars().next().map_or(1, char::len_utf8));
        }
    }

    fn keep(&mut self, bytes: usize) {
        let (kept, rest) = self.rest.split_at(bytes);
        self.code.push_str(kept);
        self.line += kept.matches('\n').count();
        self.rest = rest;
    }

    fn comment(&mut self, bytes: usize) {
        let (text, rest) = self.rest.split_at(bytes);
        for (offset, line) in text.lines().enumerate() {
            let bare = line
                .trim()
                .trim_start_matches(['/', '*', '!'])
                .trim_end_matches("*/");
            self.comments.push(Comment {
                line: self.line + offset,
                text: bare.trim().to_owned(),
            });
        }
        let lines = text.matches('\n').count();
        self.code.extend(std::iter::repeat_n('\n', lines));
        self.line += lines;
        self.rest = rest;
    }

    /// The length of a raw string that starts here, if one does.
    fn raw_string_end(&self) -> Option<usize> {
        let in_word = self
            .code
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        let prefix = ["br", "cr", "r"]
            .into_iter()
            .find(|prefix| self.rest.starts_with(prefix))?;
        let after = &self.rest[prefix.len()..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        if in_word || !after[hashes..].starts_with('"') {
            return None;
        }
        let close = format!("\"{}", "#".repeat(hashes));
        let open = prefix.len() + hashes + 1;
        let body = &self.rest[open..];
        Some(
            body.find(&close)
                .map_or(self.rest.len(), |at| open + at + close.len()),
        )
    }
}

/// The length of the block comment that starts `text`, nested ones included.
fn block_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string literal that starts `text`.
fn quoted_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the character literal that starts `text`, or one for a lifetime's tick.
fn char_end(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            text[from..].find('\'').map_or(1, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::scan;

    #[test]
    fn comments_are_told_from_strings_that_look_like_them() {
        let scan = scan(
            "let a = \"// no\"; // yes\nlet b = r#\"/* \"no\" */\"#; /* also\n yes */ let c = '\"';",
        );
        let texts: Vec<_> = scan
            .comments
            .iter()
            .map(|c| (c.line, c.text.as_str()))
            .collect();
        assert_eq!(texts, [(1, "yes"), (2, "also"), (3, "yes")]);
        assert_eq!(scan.code[0], "let a = \"// no\"; ");
        assert_eq!(scan.code[2], " let c = '\"';");
    }

    #[test]
    fn lifetimes_escapes_and_raw_names_do_not_open_a_literal() {
        let scan =
            scan("fn f<'a>(x: &'a str) -> char { '\\'' } // end\nlet r#type = '\\u{41}'; // two");
        let texts: Vec<_> = scan.comments.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, ["end", "two"]);
    }

    #[test]
    fn code_keeps_its_line_numbers() {
        let scan = scan("/* one\n two */\nfn f() {}\n");
        assert_eq!(scan.code, ["", "", "fn f() {}"]);
    }
}
