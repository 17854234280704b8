//! The explorer's turns: list a folder, then search or read what it holds, then answer.

use super::{
    Next, Params, Step,
    seen::{Seen, Texts, Wanted},
    text_param, title, words,
};
use crate::provider::rules::{
    compute::{self, Answer, Doc, Found, Part, Section},
    extract,
    op::{Analysis, Case, Chain, Entries, Items, Op, Pattern, Reach},
};
use serde_json::{Value, json};

/// Most files of one folder that are read.
const FILES_MAX: usize = 300;
/// Most bytes of one folder that are read: an agent's conversation holds them all.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most characters that a search's pattern grows by: the regular expression's own marks.
const MARKS: &str = r"\.+*?()|[]{}^$#&-~";

/// The folder that is looked at.
struct Place<'a> {
    folder: &'a str,
    /// The pattern without the mark of depth.
    pattern: &'a str,
    deep: bool,
    label: String,
}

/// A file or directory of the folder.
struct Entry {
    name: String,
    directory: bool,
    bytes: u64,
}

pub(super) fn next(analysis: &Analysis, params: &Params, seen: &Seen<'_>) -> Step {
    let place = Place::of(analysis, params)?;
    let mut answer = Answer::default();
    let (looks, reads): (Vec<&Chain>, Vec<&Chain>) = analysis
        .chains
        .iter()
        .partition(|chain| listed(chain).is_some());
    let searches = reads.iter().all(|chain| searched(chain).is_some());
    let needs_list = !looks.is_empty() || (!reads.is_empty() && !searches);
    let mut calls = Vec::new();
    let list = if needs_list {
        place.list(seen, &mut calls)?
    } else {
        None
    };
    let hits = if searches {
        search(&reads, &place, seen, &mut calls)?
    } else {
        Vec::new()
    };
    if !calls.is_empty() {
        return Ok(Next::Call(calls));
    }
    let entries = list.unwrap_or_default();
    place.look(&looks, &entries, &mut answer)?;
    if searches {
        if !hits.is_empty() {
            answer.sections.push(Section {
                source: place.label.clone(),
                results: hits,
            });
            answer.notes.push(
                "Folders below are searched too; hidden and ignored files are left out.".to_owned(),
            );
        }
    } else if !reads.is_empty() {
        match place.read(&reads, analysis, &entries, seen)? {
            Ok(more) => {
                answer.sections.extend(more.sections);
                answer.notes.extend(more.notes);
            }
            Err(calls) => return Ok(calls),
        }
    }
    Ok(Next::Say(words(&answer, analysis.form, &title(analysis))))
}

/// What a chain asks of a folder's list.
fn listed(chain: &Chain) -> Option<(Entries, bool)> {
    match chain.as_slice() {
        [Op::List(entries)] => Some((*entries, false)),
        [Op::CountEntries(entries)] => Some((*entries, true)),
        _ => None,
    }
}

/// The text a chain looks for, if the search tool alone answers it.
fn searched(chain: &Chain) -> Option<(Pattern, bool)> {
    match chain.as_slice() {
        [Op::Find(pattern)] => Some((pattern.clone(), false)),
        [Op::Extract(Items::Todos)] => Some((extract::todo_pattern(), false)),
        [Op::Find(pattern), Op::CountItems] => Some((pattern.clone(), true)),
        [Op::Extract(Items::Todos), Op::CountItems] => Some((extract::todo_pattern(), true)),
        _ => None,
    }
}

impl<'a> Place<'a> {
    fn of(analysis: &Analysis, params: &'a Params) -> Result<Self, String> {
        let folder = text_param(params, "folder")?;
        let pattern = text_param(params, "pattern").unwrap_or("*");
        let (deep, short) = match pattern.strip_prefix("**/") {
            Some(short) => (true, short),
            None => (pattern.contains('/'), pattern),
        };
        let label = analysis
            .labels
            .first()
            .cloned()
            .unwrap_or_else(|| folder.to_owned());
        Ok(Self {
            folder,
            pattern: short,
            deep,
            label,
        })
    }

    /// The folder as the operator wrote it.
    fn shown(&self, name: &str) -> String {
        let folder = self
            .label
            .split(['*', '?', '{'])
            .next()
            .unwrap_or("")
            .trim_end_matches("**/");
        let base = folder.rsplit_once('/').map_or("", |(base, _)| base);
        if base.is_empty() || base == "." {
            name.to_owned()
        } else {
            format!("{base}/{name}")
        }
    }

    /// What the folder holds, or the call that lists it.
    fn list(
        &self,
        seen: &Seen<'_>,
        calls: &mut Vec<(&'static str, Value)>,
    ) -> Result<Option<Vec<Entry>>, String> {
        let same = |input: &Value| input.get("path").and_then(Value::as_str) == Some(self.folder);
        let Some(list) = seen
            .document("file_list", same)
            .map_err(|reason| format!("{} cannot be listed: {reason}", self.folder))?
        else {
            let mut input = json!({ "path": self.folder });
            if let Some(object) = input.as_object_mut() {
                if self.pattern != "*" {
                    object.insert("glob".to_owned(), json!(self.pattern));
                }
                if self.deep {
                    object.insert("recursive".to_owned(), json!(true));
                }
            }
            calls.push(("file_list", input));
            return Ok(None);
        };
        if list
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|kind| !matches!(kind, "dir" | "directory"))
        {
            return Err(format!("{} is no folder", self.folder));
        }
        if list
            .get("truncated")
            .and_then(Value::as_bool)
            .unwrap_or(false)
        {
            return Err(format!(
                "{} holds more entries than can be listed; name a folder below it or a pattern",
                self.folder
            ));
        }
        let entries = list
            .get("entries")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(Some(entries.iter().filter_map(entry).collect()))
    }

    /// Answers from the list alone.
    fn look(
        &self,
        chains: &[&Chain],
        entries: &[Entry],
        answer: &mut Answer,
    ) -> Result<(), String> {
        let mut results = Vec::new();
        for (wanted, counted) in chains.iter().filter_map(|chain| listed(chain)) {
            if self.deep && wanted != Entries::Files {
                return Err("only files can be listed together with the folders below".to_owned());
            }
            let fits = |entry: &&Entry| match wanted {
                Entries::Files => !entry.directory,
                Entries::Folders => entry.directory,
                Entries::All => true,
            };
            let found: Vec<&Entry> = entries.iter().filter(fits).collect();
            let title = super::super::compute::capital(wanted.noun());
            results.push(if counted {
                Part {
                    title,
                    found: Found::Number(found.len() as u64),
                }
            } else {
                Part {
                    title,
                    found: Found::Lines(found.iter().map(|entry| self.line(entry)).collect()),
                }
            });
        }
        if results.is_empty() {
            return Ok(());
        }
        answer.sections.push(Section {
            source: self.label.clone(),
            results,
        });
        answer.notes.push(if self.deep {
            "Folders below are looked at too; hidden and ignored files are left out.".to_owned()
        } else {
            "Only the folder itself is looked at, not the folders below.".to_owned()
        });
        Ok(())
    }

    fn line(&self, entry: &Entry) -> String {
        let name = self.shown(&entry.name);
        if entry.directory {
            format!("{name}/")
        } else {
            format!("{name} ({} bytes)", entry.bytes)
        }
    }

    /// The files as the reading tool is asked for them.
    fn wanted(&self, files: &[&Entry]) -> Vec<Wanted> {
        let root = self.folder.trim_end_matches('/');
        let one = |file: &&Entry| Wanted {
            path: format!("{root}/{}", file.name),
            bytes: file.bytes,
        };
        files.iter().map(one).collect()
    }

    /// Reads the folder's files and answers; or the calls that read them.
    fn read(
        &self,
        chains: &[&Chain],
        analysis: &Analysis,
        entries: &[Entry],
        seen: &Seen<'_>,
    ) -> Result<Result<Answer, Next>, String> {
        let hidden = |name: &str| {
            name.rsplit('/')
                .next()
                .is_some_and(|last| last.starts_with('.'))
                && !self.pattern.starts_with('.')
        };
        let files: Vec<&Entry> = entries
            .iter()
            .filter(|entry| !entry.directory && !hidden(&entry.name))
            .collect();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        if files.is_empty() {
            return Err(format!("{} matches no files", self.label));
        }
        if files.len() > FILES_MAX || bytes > BYTES_MAX {
            return Err(format!(
                "{} holds {} files with {bytes} bytes; at most {FILES_MAX} files with {BYTES_MAX} bytes are read without a model; name fewer",
                self.label,
                files.len()
            ));
        }
        let wanted = self.wanted(&files);
        let read = match seen.texts(&wanted) {
            Texts::Ask(calls) => return Ok(Err(calls)),
            Texts::Ready(read) => read,
        };
        let (mut docs, mut missing) = (Vec::new(), Vec::new());
        for (file, text) in files.iter().zip(read) {
            match text {
                Ok(text) => docs.push(Doc {
                    label: self.shown(&file.name),
                    text,
                }),
                Err(reason) => {
                    missing.push(format!("Not read: {} ({reason})", self.shown(&file.name)))
                }
            }
        }
        if docs.is_empty() {
            return Err(format!(
                "none of the files could be read. {}",
                missing.join("; ")
            ));
        }
        let part = Analysis {
            chains: chains.iter().map(|chain| (*chain).clone()).collect(),
            ..analysis.clone()
        };
        let mut answer = tolerant(&part, docs, &mut missing)?;
        answer.notes.extend(missing);
        answer.notes.push(if self.deep {
            "Folders below are read too; hidden and ignored files are left out.".to_owned()
        } else {
            "Only the folder itself is read, not the folders below.".to_owned()
        });
        Ok(Ok(answer))
    }
}

/// Answers for the texts for which there is an answer, and names the others.
fn tolerant(
    analysis: &Analysis,
    docs: Vec<Doc>,
    missing: &mut Vec<String>,
) -> Result<Answer, String> {
    let suits = |doc: &Doc| compute::answer(analysis, std::slice::from_ref(doc)).map(|_| ());
    if analysis.chains.iter().flatten().any(Op::needs_all) {
        return compute::answer(analysis, &docs);
    }
    let mut suited = Vec::new();
    for doc in docs {
        match suits(&doc) {
            Ok(()) => suited.push(doc),
            Err(reason) => missing.push(format!("Left out: {reason}")),
        }
    }
    if suited.is_empty() {
        Err(missing.join("; "))
    } else {
        compute::answer(analysis, &suited)
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let name = value.get("name")?.as_str()?.to_owned();
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("file");
    let directory = match kind {
        "dir" | "directory" => true,
        "file" => false,
        _ => return None,
    };
    Some(Entry {
        name,
        directory,
        bytes: value.get("size_bytes").and_then(Value::as_u64).unwrap_or(0),
    })
}

/// What searches found, or the calls that search.
fn search(
    chains: &[&Chain],
    place: &Place<'_>,
    seen: &Seen<'_>,
    calls: &mut Vec<(&'static str, Value)>,
) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for chain in chains {
        let Some((pattern, counted)) = searched(chain) else {
            continue;
        };
        let expression = expression(&pattern);
        let same =
            |input: &Value| input.get("pattern").and_then(Value::as_str) == Some(&expression);
        let Some(found) = seen
            .document("grep", same)
            .map_err(|reason| format!("{} cannot be searched: {reason}", place.folder))?
        else {
            let mut input = json!({ "pattern": expression, "path": place.folder, "case_insensitive": pattern.case == Case::Ignored });
            if place.pattern != "*"
                && let Some(object) = input.as_object_mut()
            {
                object.insert("glob".to_owned(), json!(place.pattern));
            }
            if !calls.iter().any(|(_, asked)| *asked == input) {
                calls.push(("grep", input));
            }
            continue;
        };
        parts.push(hits(chain, place, found, counted)?);
    }
    Ok(parts)
}

fn hits(chain: &Chain, place: &Place<'_>, found: &Value, counted: bool) -> Result<Part, String> {
    let top_only = !place.deep && place.pattern != "*";
    let root = format!("{}/", place.folder.trim_end_matches('/'));
    let mut lines = Vec::new();
    for hit in found
        .get("matches")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let text = |name: &str| hit.get(name).and_then(Value::as_str).unwrap_or("");
        let file = text("file")
            .strip_prefix(root.as_str())
            .unwrap_or_else(|| text("file").trim_start_matches("./"));
        if top_only && file.contains('/') {
            continue;
        }
        let line = hit.get("line").and_then(Value::as_u64).unwrap_or(0);
        lines.push(format!(
            "{}:{line}: {}",
            place.shown(file),
            text("text").trim()
        ));
    }
    let more = found
        .get("truncated")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if counted && more {
        return Err(
            "there are more matches than one search gives; name a folder below or a pattern"
                .to_owned(),
        );
    }
    let found = if counted {
        Found::Number(lines.len() as u64)
    } else {
        if more {
            lines.push("… the search ended here; there are more".to_owned());
        }
        Found::Lines(lines)
    };
    Ok(Part {
        title: compute::title(chain),
        found,
    })
}

/// A literal text as a regular expression.
fn expression(pattern: &Pattern) -> String {
    let mut literal = String::new();
    for c in pattern.text.chars() {
        if MARKS.contains(c) {
            literal.push('\\');
        }
        literal.push(c);
    }
    if pattern.reach == Reach::Word {
        format!(r"\b{literal}\b")
    } else {
        literal
    }
}
