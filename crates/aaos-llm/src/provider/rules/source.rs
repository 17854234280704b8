//! What a goal works on: files, folders, pages and lists of stories, as its words name them.

use super::{
    lex::{Kind, is_path},
    parser::{Parsed, Parser},
    words,
};

/// Something a goal takes texts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// One file.
    File(String),
    /// One page.
    Url(String),
    /// Files of one directory, by a pattern; `**/` before it reaches the directories below.
    Folder {
        /// The directory.
        path: String,
        /// The pattern.
        pattern: String,
    },
    /// Stories of a list of news.
    Stories {
        /// Where the list's interface begins.
        base: String,
        /// The list: `topstories`, `newstories` or `beststories`.
        list: &'static str,
        /// How many of them.
        count: u32,
    },
}

impl Source {
    /// What the operator calls it.
    pub(super) fn label(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Url(url) => url.clone(),
            Self::Folder { path, pattern } => format!("{}/{pattern}", path.trim_end_matches('/')),
            Self::Stories { base, list, .. } => format!("{base}/{list}"),
        }
    }

    /// Whether it is a file whose name does not say so: it may be a directory.
    pub(super) fn may_be_folder(&self) -> bool {
        matches!(self, Self::File(path) if {
            let name = path.rsplit('/').next().unwrap_or(path);
            !is_path(name)
        })
    }
}

/// What a text in quotation marks may be where a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoted {
    /// A path, whatever it looks like: the words before it say so.
    Path,
    /// A path only if it looks like one.
    IfPath,
}

/// Sources and how the words refer to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The sources.
    pub(super) sources: Vec<Source>,
    /// Whether the words say that each is taken by itself.
    pub(super) each: bool,
    /// Whether they were named by a pronoun only.
    pub(super) pronoun: Option<String>,
}

const FOLDER_NOUNS: &[&str] = &["directory", "folder", "dir"];
const FILE_NOUNS: &[&str] = &["file", "files", "document", "documents"];
const PAGE_NOUNS: &[&str] = &[
    "page", "pages", "website", "websites", "site", "sites", "url", "urls", "article", "articles",
];

/// Phrases that mean each of what was named, by itself.
const EACH: &[&str] = &[
    "each of them",
    "each of the files",
    "each of the pages",
    "each file",
    "each page",
    "each document",
    "every file",
    "every page",
    "each one",
    "each",
];
/// Phrases that mean all of what was named.
const ALL: &[&str] = &[
    "both of them",
    "both files",
    "both pages",
    "both texts",
    "both documents",
    "both",
    "all of them",
    "the two files",
    "the two pages",
    "the two texts",
    "the two",
    "them all",
    "them",
    "these files",
    "those files",
    "these pages",
    "these",
    "those",
    "the files",
    "the pages",
    "the documents",
    "the texts",
    "their contents",
];
/// Phrases that mean the one that was named.
const ONE: &[&str] = &[
    "the file",
    "the page",
    "the document",
    "the text",
    "this file",
    "this page",
    "the article",
    "that file",
    "it",
];

impl Parser<'_> {
    /// Sources by name or by pronoun; `None`, and nothing taken, if there are none here.
    pub(super) fn sources(&mut self, quoted: Quoted) -> Parsed<Option<Named>> {
        if let Some(named) = self.pronoun_sources()? {
            return Ok(Some(named));
        }
        let start = self.at;
        let both = self.eat_any(&["both"]).is_some();
        let each = self.eat_phrase("each of") || self.eat_phrase("all of");
        self.eat_phrase("the contents of");
        self.eat_phrase("the content of");
        self.eat_phrase("the text of");
        let Some(first) = self.source(quoted)? else {
            self.at = start;
            return Ok(None);
        };
        let mut sources = first;
        loop {
            let before = self.at;
            if !self.eat_list_separator() || self.peek_verb().is_some() {
                self.at = before;
                break;
            }
            match self.source(quoted)? {
                Some(more) => sources.extend(more),
                None => {
                    self.at = before;
                    break;
                }
            }
        }
        if both && sources.len() != 2 {
            return Err(self.refuse_from(start, "`both` needs exactly two"));
        }
        Ok(Some(Named {
            sources,
            each,
            pronoun: None,
        }))
    }

    /// `it`, `them`, `each of them`, `the files`: what was named before.
    fn pronoun_sources(&mut self) -> Parsed<Option<Named>> {
        let start = self.at;
        for (phrases, each) in [(EACH, true), (ALL, false), (ONE, false)] {
            let Some(phrase) = phrases.iter().find(|phrase| self.eat_phrase(phrase)) else {
                continue;
            };
            if self.word() == Some("of") || self.followed_by_name() {
                self.at = start;
                return Ok(None);
            }
            if self.context.is_empty() {
                return Err(
                    self.refuse_from(start, "nothing was named before that this could mean")
                );
            }
            let one_text = self.context.len() == 1
                && !matches!(
                    self.context.first(),
                    Some(Source::Folder { .. } | Source::Stories { .. })
                );
            if phrase.contains("both") || phrase.contains("two") {
                if self.context.len() != 2 {
                    return Err(self.refuse_from(start, "exactly two must have been named before"));
                }
            } else if phrases == ONE && !one_text {
                return Err(self.refuse_from(
                    start,
                    "more than one was named before; say `each` or name the one",
                ));
            }
            return Ok(Some(Named {
                sources: self.context.clone(),
                each,
                pronoun: Some((*phrase).to_owned()),
            }));
        }
        Ok(None)
    }

    /// Whether what follows goes on with the noun: `each file in docs`, `the file a.txt`.
    fn followed_by_name(&mut self) -> bool {
        let start = self.at;
        let joined = self
            .eat_any(&["in", "inside", "under", "within", "called", "named", "at"])
            .is_some();
        let determined = self.eat_any(&["the", "a"]).is_some();
        let named = match self.peek() {
            Some(Kind::Path(_) | Kind::Url(_) | Kind::Quoted(_) | Kind::Site(_)) => true,
            Some(Kind::Word(word)) => (joined && words::is_folder_name(word)) || determined,
            _ => false,
        };
        self.at = start;
        named
    }

    /// One source, or the several that a phrase such as `pages A` means.
    fn source(&mut self, quoted: Quoted) -> Parsed<Option<Vec<Source>>> {
        let start = self.at;
        if let Some(folder) = self.files_in_folder()? {
            return Ok(Some(vec![folder]));
        }
        self.eat_any(&["the", "my", "this", "all"]);
        if self.eat_phrase("current directory")
            || self.eat_phrase("current folder")
            || self.eat_phrase("working directory")
        {
            return self
                .deep(Source::Folder {
                    path: ".".to_owned(),
                    pattern: "*".to_owned(),
                })
                .map(|found| Some(vec![found]));
        }
        let this = self.at > start && self.word_at(start) == Some("this");
        if this && self.eat_any(FOLDER_NOUNS).is_some() && !self.followed_by_name() {
            return self
                .deep(Source::Folder {
                    path: ".".to_owned(),
                    pattern: "*".to_owned(),
                })
                .map(|found| Some(vec![found]));
        }
        let folder = self.eat_any(FOLDER_NOUNS).is_some();
        let web = !folder && {
            self.eat_any(&["web"]);
            self.eat_any(PAGE_NOUNS).is_some()
        };
        let noun = folder || web || self.eat_any(FILE_NOUNS).is_some();
        self.eat_any(&["called", "named", "at"]);
        let Some(found) = self.name(folder, if noun { Quoted::Path } else { quoted })? else {
            self.at = start;
            return Ok(None);
        };
        if web && !matches!(found, Source::Url(_)) {
            return Err(self.refuse_from(
                start,
                "a page needs its address, beginning with http:// or https://",
            ));
        }
        self.deep(found).map(|found| Some(vec![found]))
    }

    /// A path, address or quoted path at this place; words only where they cannot be anything else.
    fn name(&mut self, folder: bool, quoted: Quoted) -> Parsed<Option<Source>> {
        let found = match self.peek() {
            Some(Kind::Url(url)) => Source::Url(url.clone()),
            Some(Kind::Site(_)) => return Err(self.refuse_here_default()),
            Some(Kind::Path(path)) => self.path(path.clone())?,
            Some(Kind::Quoted(text))
                if text.starts_with("http://") || text.starts_with("https://") =>
            {
                match url::Url::parse(text) {
                    Ok(_) => Source::Url(text.clone()),
                    Err(_) => return Err(self.refuse_here("this is no address")),
                }
            }
            Some(Kind::Quoted(text)) if quoted == Quoted::Path || is_path(text) => {
                self.path(text.clone())?
            }
            Some(Kind::Word(_)) => return Ok(self.folder_word(folder)),
            _ => return Ok(None),
        };
        self.at += 1;
        let folder =
            folder || (!matches!(found, Source::Url(_)) && self.eat_any(FOLDER_NOUNS).is_some());
        if !folder {
            self.eat_any(&["file", "page"]);
            return Ok(Some(found));
        }
        Ok(Some(as_folder(found)))
    }

    /// A directory named by a bare word: beside the noun, or by a name that only directories have.
    fn folder_word(&mut self, folder: bool) -> Option<Source> {
        let start = self.at;
        let name = self.original(start).to_owned();
        self.at += 1;
        let noun_after = self.eat_any(FOLDER_NOUNS).is_some();
        let plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if plain
            && (folder || noun_after || words::is_folder_name(&name))
            && !matches!(name.as_str(), "the" | "a" | "in" | "and")
        {
            return Some(Source::Folder {
                path: name,
                pattern: "*".to_owned(),
            });
        }
        self.at = start;
        None
    }

    /// A path as written: a file, or a directory if it ends in `/` or holds a wildcard.
    fn path(&self, path: String) -> Parsed<Source> {
        if path.trim().is_empty() || path.chars().any(char::is_control) {
            return Err(self.refuse_here("this is no path"));
        }
        if path.starts_with('~') {
            return Err(self.refuse_here("`~` is not expanded here; write the whole path"));
        }
        let wild = path.find(['*', '?']);
        if let Some(wild) = wild {
            if path.contains('[') {
                return Err(self.refuse_here("patterns may hold `*`, `?`, `**` and `{a,b}` only"));
            }
            let cut = path.get(..wild).and_then(|head| head.rfind('/'));
            let (folder, pattern) = match cut {
                Some(0) => ("/", path.get(1..).unwrap_or("*")),
                Some(cut) => (
                    path.get(..cut).unwrap_or("."),
                    path.get(cut + 1..).unwrap_or("*"),
                ),
                None => (".", path.as_str()),
            };
            return Ok(Source::Folder {
                path: folder.to_owned(),
                pattern: pattern.to_owned(),
            });
        }
        if path.ends_with('/')
            || matches!(path.as_str(), "." | "..")
            || path.ends_with("/..")
            || path.ends_with("/.")
        {
            return Ok(Source::Folder {
                path,
                pattern: "*".to_owned(),
            });
        }
        Ok(Source::File(path))
    }

    /// `all the markdown files in docs`, `every file under src`, `the *.md files in docs`.
    fn files_in_folder(&mut self) -> Parsed<Option<Source>> {
        let start = self.at;
        while self
            .eat_any(&["all", "every", "each", "of", "the", "any"])
            .is_some()
        {}
        let pattern = self.file_pattern();
        let determined = self.at > start;
        if self.eat_any(FILE_NOUNS).is_none() {
            self.at = start;
            return Ok(None);
        }
        if self
            .eat_any(&["in", "inside", "under", "within", "of", "from"])
            .is_none()
        {
            return Ok(self.files_of_context(start, pattern, determined));
        }
        let pattern = pattern.unwrap_or_else(|| "*".to_owned());
        let Some(folder) = self.folder()? else {
            self.at = start;
            return Ok(None);
        };
        Ok(Some(with_pattern(folder, &pattern)))
    }

    /// `all markdown files`, after one folder was named.
    fn files_of_context(
        &mut self,
        start: usize,
        pattern: Option<String>,
        determined: bool,
    ) -> Option<Source> {
        match self.context.as_slice() {
            [folder @ Source::Folder { .. }] if determined && !self.followed_by_name_here() => {
                Some(pattern.map_or_else(
                    || folder.clone(),
                    |pattern| with_pattern(folder.clone(), &pattern),
                ))
            }
            _ => {
                self.at = start;
                None
            }
        }
    }

    fn followed_by_name_here(&self) -> bool {
        matches!(
            self.peek(),
            Some(Kind::Path(_) | Kind::Url(_) | Kind::Quoted(_) | Kind::Site(_))
        )
    }

    /// A directory where only a directory can stand.
    pub(super) fn folder(&mut self) -> Parsed<Option<Source>> {
        match self.source(Quoted::Path)? {
            Some(found) => match <[Source; 1]>::try_from(found) {
                Ok([Source::Url(_)]) => Err(self.refuse_here_default()),
                Ok([found]) => self.deep(as_folder(found)).map(Some),
                Err(_) => Err(self.refuse_here_default()),
            },
            None => Ok(None),
        }
    }

    /// The pattern that `markdown`, `.md` or `*.md` means before `files`.
    pub(super) fn file_pattern(&mut self) -> Option<String> {
        let pattern = match self.peek()? {
            Kind::Word(word) => words::file_kind(word)?.to_owned(),
            Kind::Path(path)
                if path.starts_with('.')
                    && !path.contains('/')
                    && path.len() > 1
                    && path != ".." =>
            {
                format!("*{path}")
            }
            Kind::Path(path) if path.starts_with('*') && !path.contains('/') => path.clone(),
            _ => return None,
        };
        let noun = self.tokens.get(self.at + 1).map(|token| &token.kind);
        if !matches!(noun, Some(Kind::Word(word)) if FILE_NOUNS.contains(&word.as_str())) {
            return None;
        }
        self.at += 1;
        Some(pattern)
    }

    /// `recursively`, `and its subfolders` after a directory.
    fn deep(&mut self, source: Source) -> Parsed<Source> {
        let Source::Folder { path, pattern } = source else {
            return Ok(source);
        };
        const DEEP: &[&str] = &[
            "recursively",
            "and its subfolders",
            "and its subdirectories",
            "and all its subfolders",
            "and all its subdirectories",
            "and all subfolders",
            "and all subdirectories",
            "and subfolders",
            "and subdirectories",
            "including subfolders",
            "including subdirectories",
            "including its subfolders",
            "including its subdirectories",
            "and everything below it",
        ];
        let deep = DEEP.iter().any(|phrase| self.eat_phrase(phrase));
        let pattern = if deep && !pattern.contains("**") {
            format!("**/{pattern}")
        } else {
            pattern
        };
        Ok(Source::Folder { path, pattern })
    }
}

/// A path taken as a directory.
pub(super) fn as_folder(source: Source) -> Source {
    match source {
        Source::File(path) => Source::Folder {
            path,
            pattern: "*".to_owned(),
        },
        other => other,
    }
}

/// A directory with only those of its files that a pattern takes.
pub(super) fn with_pattern(folder: Source, wanted: &str) -> Source {
    match folder {
        Source::Folder { path, pattern } if pattern.starts_with("**/") => Source::Folder {
            path,
            pattern: format!("**/{wanted}"),
        },
        Source::Folder { path, .. } => Source::Folder {
            path,
            pattern: wanted.to_owned(),
        },
        other => other,
    }
}
