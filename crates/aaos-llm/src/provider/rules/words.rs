//! The words that goals are made of, as tables.

use super::op::{Entries, Items, Unit};

/// What a clause asks for, by its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Take a file's text.
    Read,
    /// Take a page's text.
    Fetch,
    /// Show, list, extract, find.
    Show,
    /// Count.
    Count,
    /// Find lines with a text.
    Search,
    /// Summarise.
    Summarise,
    /// Compare.
    Compare,
    /// Put together.
    Combine,
    /// Sort.
    Sort,
    /// Keep one of each line.
    Deduplicate,
    /// Write to a file.
    Write,
    /// Write a file's text to another.
    Copy,
    /// Add numbers up.
    Add,
    /// Give a table another form.
    Convert,
}

/// The verb a word is, if it is one.
pub(super) fn verb(word: &str) -> Option<Verb> {
    Some(match word {
        "read" | "open" | "load" | "take" => Verb::Read,
        "fetch" | "download" | "retrieve" => Verb::Fetch,
        "list" | "show" | "print" | "display" | "give" | "get" | "find" | "extract" | "collect"
        | "output" | "tell" | "report" | "return" | "pull" | "gather" => Verb::Show,
        "count" => Verb::Count,
        "search" | "grep" | "look" => Verb::Search,
        "summarise" | "summarize" | "condense" => Verb::Summarise,
        "compare" | "diff" => Verb::Compare,
        "combine" | "concatenate" | "merge" | "join" => Verb::Combine,
        "sort" | "order" => Verb::Sort,
        "deduplicate" | "dedupe" | "remove" | "drop" => Verb::Deduplicate,
        "write" | "save" | "store" | "put" | "export" => Verb::Write,
        "copy" => Verb::Copy,
        "add" | "sum" => Verb::Add,
        "convert" => Verb::Convert,
        _ => return None,
    })
}

/// A number written as a word.
pub(super) fn number(word: &str) -> Option<u32> {
    const WORDS: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    const TENS: [(&str, u32); 5] = [
        ("thirty", 30),
        ("forty", 40),
        ("fifty", 50),
        ("hundred", 100),
        ("dozen", 12),
    ];
    let tens = TENS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, value)| *value);
    tens.or_else(|| {
        WORDS
            .iter()
            .position(|name| *name == word)
            .and_then(|at| u32::try_from(at).ok())
    })
}

/// What can be counted in a text, by the noun that names it (one or two words).
pub(super) fn unit(noun: &str) -> Option<Unit> {
    Some(match noun {
        "word" | "words" => Unit::Words,
        "line" | "lines" => Unit::Lines,
        "character" | "characters" | "chars" => Unit::Characters,
        "sentence" | "sentences" => Unit::Sentences,
        "paragraph" | "paragraphs" => Unit::Paragraphs,
        other => Unit::Of(items(other)?),
    })
}

/// What can be extracted from a text, by the noun that names it (one or two words).
pub(super) fn items(noun: &str) -> Option<Items> {
    Some(match noun {
        "link" | "links" | "hyperlinks" => Items::Links,
        "url" | "urls" | "web addresses" => Items::Urls,
        "email" | "emails" | "e-mails" | "email addresses" | "e-mail addresses"
        | "email address" => Items::Emails,
        "heading" | "headings" | "headers" | "headlines" | "section titles"
        | "section headings" => Items::Headings,
        "date" | "dates" => Items::Dates,
        "number" | "numbers" => Items::Numbers,
        "todo" | "todos" | "todo lines" | "todo items" | "todo comments" | "todo list" => {
            Items::Todos
        }
        "table" | "tables" => Items::Tables,
        _ => return None,
    })
}

/// What a directory holds, by the noun that names it.
pub(super) fn entries(noun: &str) -> Option<Entries> {
    Some(match noun {
        "file" | "files" => Entries::Files,
        "folder" | "folders" | "directories" | "subdirectories" | "subfolders" => Entries::Folders,
        "entries" => Entries::All,
        _ => return None,
    })
}

/// The pattern that a kind of file means.
pub(super) fn file_kind(word: &str) -> Option<&'static str> {
    Some(match word {
        "markdown" | "md" => "*.{md,markdown}",
        "text" | "txt" => "*.txt",
        "json" => "*.json",
        "csv" => "*.csv",
        "yaml" | "yml" => "*.{yaml,yml}",
        "toml" => "*.toml",
        "log" => "*.log",
        "html" => "*.{html,htm}",
        "xml" => "*.xml",
        "rust" => "*.rs",
        "python" => "*.py",
        "shell" => "*.sh",
        "javascript" => "*.js",
        _ => return None,
    })
}

/// Names that everybody gives to directories and nobody to anything else a goal may mention.
pub(super) fn is_folder_name(word: &str) -> bool {
    const NAMES: [&str; 32] = [
        "docs",
        "doc",
        "src",
        "lib",
        "test",
        "tests",
        "notes",
        "logs",
        "data",
        "examples",
        "bin",
        "config",
        "scripts",
        "crates",
        "reports",
        "out",
        "assets",
        "images",
        "include",
        "tools",
        "pages",
        "posts",
        "articles",
        "content",
        "templates",
        "downloads",
        "documents",
        "inbox",
        "journal",
        "drafts",
        "papers",
        "packages",
    ];
    NAMES.contains(&word)
}

/// Words that bind: what they stand for is a condition or an exception.
pub(super) fn is_condition(word: &str) -> bool {
    const WORDS: [&str; 22] = [
        "not",
        "don't",
        "dont",
        "doesn't",
        "without",
        "except",
        "excluding",
        "unless",
        "if",
        "when",
        "whenever",
        "until",
        "never",
        "no",
        "only",
        "otherwise",
        "else",
        "or",
        "instead",
        "but",
        "ignoring",
        "skip",
    ];
    WORDS.contains(&word)
}

/// Words that ask for judgement, invention or change to programs: what a model is for.
pub(super) fn needs_model(word: &str) -> bool {
    const WORDS: [&str; 62] = [
        "explain",
        "translate",
        "rewrite",
        "improve",
        "fix",
        "refactor",
        "implement",
        "build",
        "create",
        "design",
        "write",
        "draft",
        "compose",
        "invent",
        "review",
        "critique",
        "analyse",
        "analyze",
        "evaluate",
        "assess",
        "recommend",
        "suggest",
        "decide",
        "choose",
        "plan",
        "debug",
        "optimise",
        "optimize",
        "classify",
        "categorise",
        "categorize",
        "rank",
        "rate",
        "predict",
        "guess",
        "think",
        "research",
        "investigate",
        "describe",
        "paraphrase",
        "proofread",
        "edit",
        "correct",
        "generate",
        "code",
        "program",
        "test",
        "deploy",
        "answer",
        "poem",
        "story",
        "essay",
        "important",
        "interesting",
        "best",
        "worst",
        "relevant",
        "opinion",
        "sentiment",
        "why",
        "should",
        "bugs",
    ];
    WORDS.contains(&word)
}

/// Words whose literal search is seldom what was meant: finding them takes judgement.
pub(super) fn is_judgement(word: &str) -> bool {
    const WORDS: [&str; 22] = [
        "bug",
        "bugs",
        "error",
        "errors",
        "mistake",
        "mistakes",
        "typo",
        "typos",
        "problem",
        "problems",
        "issue",
        "issues",
        "vulnerability",
        "vulnerabilities",
        "inconsistencies",
        "contradictions",
        "secrets",
        "duplicates",
        "insights",
        "answers",
        "information",
        "anything",
    ];
    WORDS.contains(&word)
}

/// Frequent words of other languages that are not English ones.
pub(super) fn is_foreign(word: &str) -> bool {
    const WORDS: [&str; 40] = [
        "und", "der", "das", "den", "lies", "zähle", "fasse", "zusammen", "datei", "schreibe",
        "nach", "ein", "eine", "le", "les", "et", "dans", "fichier", "lis", "écris", "résume",
        "des", "une", "el", "los", "las", "y", "archivo", "lee", "escribe", "resume", "leggi",
        "scrivi", "il", "conta", "le", "parole", "en", "het", "lees",
    ];
    WORDS.contains(&word)
}

/// Endings of files that hold no text.
pub(super) fn is_binary_ending(ending: &str) -> bool {
    const ENDINGS: [&str; 24] = [
        "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "png", "jpg", "jpeg", "gif",
        "webp", "svg", "zip", "gz", "tar", "mp3", "mp4", "wav", "epub", "exe", "sqlite", "db",
    ];
    ENDINGS.contains(&ending)
}
