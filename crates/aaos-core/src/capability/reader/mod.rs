//! Reads the grammar's text into typed forms, character by character, and says where it stops making sense.
//!
//! It makes no capability and substitutes nothing: a hole in a template becomes a typed hole in the form.

mod http;
mod limits;
mod path;

use super::{
    ArgScope, FileRight, GRANT_BYTES_MAX, GrammarError, HttpScope, Limits, MemoryRight, NAMES_MAX,
    NamePattern,
    exec::ARGUMENT_ALTERNATIVES_MAX,
    form::{Form, Hole, NameForm},
    quote,
    resource::CUSTOM_PARAMS_MAX,
    template::TemplateError,
};
use std::collections::{BTreeMap, BTreeSet};

/// Subcommands `cargo_run` stands for: those of the tool of that name.
const CARGO_SUBCOMMANDS: [&str; 10] = [
    "bench", "build", "check", "clippy", "doc", "fmt", "metadata", "run", "test", "tree",
];
/// Subcommands `git_commit` stands for: those the tool of that name needs.
const GIT_SUBCOMMANDS: [&str; 3] = ["add", "commit", "log"];

/// Every kind the grammar knows, for errors and for `inherit`.
pub(super) const KINDS: [&str; 10] = [
    "file_read",
    "file_write",
    "http",
    "exec",
    "tool",
    "spawn",
    "message",
    "memory_read",
    "memory_write",
    "custom",
];

/// Whether `{param}` may stand in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    Refused,
    Allowed,
}

/// A place in the text of one line.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    holes: Holes,
    base: Option<&'a str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        holes: Holes,
        base: Option<&'a str>,
    ) -> Result<Self, GrammarError> {
        let reader = Self {
            text,
            at: 0,
            holes,
            base,
        };
        if text.len() > GRANT_BYTES_MAX {
            return Err(reader.error(
                GRANT_BYTES_MAX,
                format!("the end: a grant has at most {GRANT_BYTES_MAX} bytes"),
            ));
        }
        Ok(reader)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn spaces(&mut self) {
        while self.eat(' ') || self.eat('\t') {}
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest
            .split(|character| !keep(character))
            .next()
            .unwrap_or_default();
        self.at += taken.len();
        taken
    }

    fn error(&self, at: usize, expected: impl Into<String>) -> GrammarError {
        let rest = self.text.get(at..).unwrap_or_default();
        let found: String = rest.chars().take(24).collect();
        let found = if found.is_empty() {
            "the end".to_owned()
        } else {
            format!("`{}`", quote::cut(&found))
        };
        GrammarError {
            at,
            expected: expected.into(),
            found,
        }
    }

    pub(super) fn expected(&self, what: impl Into<String>) -> GrammarError {
        self.error(self.at, what)
    }

    /// A value that reads well and still cannot be granted.
    pub(super) fn wrong_value(&self, error: &TemplateError) -> GrammarError {
        let start = self.text.find(':').map_or(0, |colon| colon + 1);
        self.error(start, format!("what can be granted ({error})"))
    }

    /// Nothing more may follow.
    pub(super) fn end(&mut self) -> Result<(), GrammarError> {
        self.spaces();
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(self.expected("the end of the grant"))
        }
    }

    /// A whole line: kind, scope, limits.
    pub(super) fn line(&mut self) -> Result<(Vec<Form>, Limits), GrammarError> {
        self.spaces();
        let start = self.at;
        let kind = self.take_while(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
        });
        self.spaces();
        let bare = matches!(kind, "web_search") || kind.starts_with("custom.");
        if !self.eat(':') && !(bare && (self.rest().is_empty() || self.at_limits())) {
            let hint = if KINDS.contains(&kind) || bare {
                "`:` and what the grant is for".to_owned()
            } else {
                kinds_hint()
            };
            return Err(self.error(
                if KINDS.contains(&kind) {
                    self.at
                } else {
                    start
                },
                hint,
            ));
        }
        self.spaces();
        let forms = self.body(kind, start)?;
        self.spaces();
        let limits = if self.at_limits() {
            self.limits()?
        } else {
            Limits::NONE
        };
        self.end()?;
        if limits != Limits::NONE && matches!(forms.first(), Some(Form::Inherit(_))) {
            return Err(self.expected("no limits: an inherited grant keeps those it has"));
        }
        Ok((forms, limits))
    }

    fn body(&mut self, kind: &str, start: usize) -> Result<Vec<Form>, GrammarError> {
        let form = match kind {
            "file_read" => Form::Files {
                right: FileRight::Read,
                path: self.path()?,
            },
            "file_write" => Form::Files {
                right: FileRight::Write,
                path: self.path()?,
            },
            "http" => self.http()?,
            "network" => return self.network(),
            "web_search" => Form::Http(HttpScope::public_get()),
            "exec" => self.exec()?,
            "cargo_run" => self.program("cargo", &CARGO_SUBCOMMANDS)?,
            "git_commit" => self.program("git", &GIT_SUBCOMMANDS)?,
            "tool" => Form::Tool(self.names()?),
            "spawn" | "spawn_child" => Form::Spawn(self.names()?),
            "message" | "message_send" => Form::Message(self.names()?),
            "memory_read" => Form::Memory {
                right: MemoryRight::Read,
                scope: self.names()?,
            },
            "memory_write" => Form::Memory {
                right: MemoryRight::Write,
                scope: self.names()?,
            },
            "inherit" if self.holes == Holes::Allowed => self.inherit()?,
            _ => match kind.strip_prefix("custom.").filter(|name| !name.is_empty()) {
                Some(name) => Form::Custom {
                    name: name.to_owned(),
                    params: self.params()?,
                },
                None => return Err(self.error(start, kinds_hint())),
            },
        };
        Ok(vec![form])
    }

    fn inherit(&mut self) -> Result<Form, GrammarError> {
        let start = self.at;
        let kind = self.take_while(|character| character.is_ascii_lowercase() || character == '_');
        if KINDS.contains(&kind) {
            Ok(Form::Inherit(kind.to_owned()))
        } else {
            Err(self.error(start, kinds_hint()))
        }
    }

    fn program(&mut self, program: &str, subcommands: &[&str]) -> Result<Form, GrammarError> {
        let alternatives = subcommands
            .iter()
            .map(|word| vec![(*word).to_owned()])
            .collect();
        Ok(Form::Exec {
            program: program.to_owned(),
            args: ArgScope::OneOf(alternatives),
            workspace: self.path()?,
        })
    }

    /// `cargo [check, test] in /ws`.
    pub(super) fn exec(&mut self) -> Result<Form, GrammarError> {
        let program = self.word("a program")?;
        if program.is_empty() {
            return Err(self.expected("a program"));
        }
        self.spaces();
        let args = if self.eat('[') {
            self.alternatives()?
        } else {
            ArgScope::Any
        };
        self.spaces();
        let start = self.at;
        if self.take_while(|character| character.is_ascii_alphabetic()) != "in" {
            return Err(self.error(start, "`in` and the directory it is started in"));
        }
        self.spaces();
        Ok(Form::Exec {
            program,
            args,
            workspace: self.path()?,
        })
    }

    fn alternatives(&mut self) -> Result<ArgScope, GrammarError> {
        let mut all = BTreeSet::new();
        self.spaces();
        if self.eat(']') {
            return Ok(ArgScope::OneOf(all));
        }
        loop {
            let mut words = Vec::new();
            self.spaces();
            while !matches!(self.peek(), Some(',' | ']')) {
                words.push(self.word("an argument, `,` or `]`")?);
                self.spaces();
            }
            if words.is_empty() || all.len() >= ARGUMENT_ALTERNATIVES_MAX {
                return Err(self.expected(format!(
                    "an argument, in at most {ARGUMENT_ALTERNATIVES_MAX} alternatives"
                )));
            }
            all.insert(words);
            if self.eat(']') {
                return Ok(ArgScope::OneOf(all));
            }
            self.bump();
        }
    }

    /// One pattern, or `[a, b]`.
    pub(super) fn names(&mut self) -> Result<Vec<NameForm>, GrammarError> {
        if !self.eat('[') {
            return Ok(vec![self.name()?]);
        }
        let mut names = Vec::new();
        loop {
            self.spaces();
            if names.len() >= NAMES_MAX {
                return Err(self.expected(format!("at most {NAMES_MAX} names")));
            }
            names.push(self.name()?);
            self.spaces();
            if self.eat(']') {
                return Ok(names);
            }
            if !self.eat(',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn name(&mut self) -> Result<NameForm, GrammarError> {
        if self.peek() == Some('{') {
            return Ok(NameForm::Hole(self.hole()?));
        }
        if self.eat('*') {
            return Ok(NameForm::Pattern(NamePattern::Prefix(String::new())));
        }
        let word = self.word("a name, `*` or a list `[a, b]`")?;
        Ok(NameForm::Pattern(if self.eat('*') {
            NamePattern::Prefix(word)
        } else {
            NamePattern::Exact(word)
        }))
    }

    fn params(&mut self) -> Result<BTreeMap<String, String>, GrammarError> {
        let mut params = BTreeMap::new();
        while !self.rest().is_empty() && !self.at_limits() {
            let start = self.at;
            let key = if self.peek() == Some('"') {
                self.word("a key")?
            } else {
                self.take_while(|character| quote::is_bare(character) && character != '=')
                    .to_owned()
            };
            if key.is_empty() || !self.eat('=') {
                return Err(self.error(start, "`key=value`"));
            }
            let value = self.word("a value")?;
            if params.insert(key, value).is_some() || params.len() > CUSTOM_PARAMS_MAX {
                return Err(self.error(
                    start,
                    format!("at most {CUSTOM_PARAMS_MAX} parameters, each once"),
                ));
            }
            self.spaces();
            if !self.eat(',') {
                break;
            }
            self.spaces();
        }
        Ok(params)
    }

    /// A word, bare or in quotes.
    fn word(&mut self, what: &str) -> Result<String, GrammarError> {
        if !self.eat('"') {
            let word = self.take_while(quote::is_bare);
            return if word.is_empty() {
                Err(self.expected(what))
            } else {
                Ok(word.to_owned())
            };
        }
        let mut word = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.bump();
                    return Ok(word);
                }
                Some('\\') => word.push(self.escape()?),
                Some(character) if !character.is_control() => {
                    word.push(character);
                    self.bump();
                }
                _ => {
                    return Err(
                        self.expected("`\"`; control characters are written as `\\n` or `\\u{7f}`")
                    );
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, GrammarError> {
        let start = self.at;
        self.bump();
        match self.bump() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let opened = self.eat('{');
                let digits = self.take_while(|character| character.is_ascii_hexdigit());
                let value = u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                value
                    .filter(|_| opened && digits.len() <= 6 && self.eat('}'))
                    .ok_or_else(|| self.error(start, "`\\u{hex}`"))
            }
            Some(character) if !character.is_alphanumeric() && !character.is_control() => {
                Ok(character)
            }
            _ => Err(self.error(start, "`\\` and a sign, `\\n`, `\\r`, `\\t` or `\\u{hex}`")),
        }
    }

    /// `{param}`, `{param.*}`.
    fn hole(&mut self) -> Result<Hole, GrammarError> {
        let start = self.at;
        if self.holes == Holes::Refused {
            return Err(self.error(start, "no braces here: `{param}` belongs in role files; write `\\{` for a brace in a path"));
        }
        self.bump();
        let name = self.take_while(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
        });
        let each = self.rest().starts_with(".*");
        if each {
            self.at += 2;
        }
        if name.is_empty() || !self.eat('}') {
            return Err(self.error(start, "`{param}` or `{param.*}`"));
        }
        if each && name == Hole::RUN {
            return Err(self.error(start, "`{run}`, which is one directory"));
        }
        Ok(Hole {
            param: name.to_owned(),
            each,
        })
    }

    fn at_limits(&self) -> bool {
        begins_limits(self.rest())
    }
}

fn begins_limits(rest: &str) -> bool {
    rest.strip_prefix('{')
        .and_then(|inner| inner.split('}').next())
        .is_some_and(|inner| inner.contains('='))
}

fn kinds_hint() -> String {
    format!(
        "a kind of grant: {}, web_search, network, cargo_run, git_commit or custom.NAME",
        KINDS
            .split_last()
            .map_or(String::new(), |(_, rest)| rest.join(", "))
    )
}
