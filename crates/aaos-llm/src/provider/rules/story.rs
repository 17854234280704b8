//! Stories of a list of news with the interface of Hacker News: a list of numbers, and one document for each.

use super::{
    compute::{Answer, Found, Part, Section},
    op::{Form, quote, unquote},
    summary,
};
use serde_json::Value;
use std::fmt;

/// Sentences of a story's own text that are shown.
const SENTENCES: usize = 3;

/// One story by its place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    /// Its place, from 1.
    pub(super) number: u32,
    /// The list.
    pub(super) list: &'static str,
    /// Where the interface begins.
    pub(super) base: String,
    /// What form the answer has.
    pub(super) form: Form,
}

const LISTS: [&str; 3] = ["topstories", "newstories", "beststories"];

impl fmt::Display for Story {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "read story {} of {}: {}",
            self.number,
            self.list,
            quote(&self.base)
        )?;
        out.write_str(match self.form {
            Form::Section => "",
            Form::Data => " as data",
            Form::Json => " as JSON",
            Form::Csv => " as CSV",
            Form::Report => " as a report",
        })
    }
}

impl Story {
    /// Reads its own sentence back; nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("read story ")?;
        let (number, rest) = rest.split_once(" of ")?;
        let (list, rest) = rest.split_once(": ")?;
        let list = LISTS.into_iter().find(|known| *known == list)?;
        let endings = [
            (Form::Data, " as data"),
            (Form::Json, " as JSON"),
            (Form::Csv, " as CSV"),
            (Form::Report, " as a report"),
        ];
        let found = endings
            .into_iter()
            .find_map(|(form, ending)| rest.strip_suffix(ending).map(|base| (form, base)));
        let (form, base) = found.unwrap_or((Form::Section, rest));
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some(Self {
            number,
            list,
            base: unquote(base)?,
            form,
        })
    }

    /// Where the list is.
    pub(super) fn list_url(&self) -> String {
        format!("{}/{}.json", self.base, self.list)
    }

    /// Where a story's document is.
    pub(super) fn item_url(&self, id: u64) -> String {
        format!("{}/item/{id}.json", self.base)
    }

    /// This story's number in the list.
    ///
    /// # Errors
    /// In words: the answer is no list, or too short.
    pub(super) fn pick(&self, body: &str) -> Result<u64, String> {
        let ids: Vec<u64> = serde_json::from_str(body)
            .map_err(|error| format!("{} is not a list of numbers: {error}", self.list_url()))?;
        let place = usize::try_from(self.number).unwrap_or(usize::MAX);
        ids.get(place - 1)
            .copied()
            .ok_or_else(|| format!("{} has only {} stories", self.list_url(), ids.len()))
    }

    /// What a story's document says.
    ///
    /// # Errors
    /// In words: the document is no story.
    pub(super) fn tell(&self, url: &str, body: &str) -> Result<Answer, String> {
        let item: Value = serde_json::from_str(body)
            .map_err(|error| format!("{url} is not a JSON document: {error}"))?;
        let text = |name: &str| {
            item.get(name)
                .and_then(Value::as_str)
                .map(plain_text)
                .filter(|text| !text.is_empty())
        };
        let number = |name: &str| item.get(name).and_then(Value::as_u64);
        let title = text("title").ok_or_else(|| format!("{url} has no title"))?;
        let mut facts = vec![
            item.get("url")
                .and_then(Value::as_str)
                .map_or_else(|| url.to_owned(), str::to_owned),
        ];
        let points = number("score").map(|score| format!("{score} points"));
        let by = text("by").map(|by| format!("by {by}"));
        let comments = number("descendants").map(|count| format!("{count} comments"));
        let about: Vec<String> = [points, by, comments].into_iter().flatten().collect();
        if !about.is_empty() {
            facts.push(about.join(", "));
        }
        let mut results = vec![Part {
            title: "Story".to_owned(),
            found: Found::Points(facts),
        }];
        let own = text("text")
            .map(|text| summary::summarise(&text, SENTENCES))
            .filter(|own| !own.is_empty());
        results.extend(own.map(|own| Part {
            title: "Text".to_owned(),
            found: Found::Sentences(own),
        }));
        let section = Section {
            source: format!("{}. {title}", self.number),
            results,
        };
        Ok(Answer {
            sections: vec![section],
            notes: Vec::new(),
        })
    }
}

/// A title for so many stories of a list.
pub(super) fn title(list: &str, count: u32) -> String {
    let rank = match list {
        "newstories" => "newest",
        "beststories" => "best",
        _ => "top",
    };
    if count == 1 {
        format!("The {rank} story")
    } else {
        format!("The {rank} {count} stories")
    }
}

/// A text without HTML marks.
fn plain_text(html: &str) -> String {
    let spaced = html
        .replace("<p>", "\n\n")
        .replace("</p>", "\n\n")
        .replace("<br>", "\n");
    let (mut text, mut inside) = (String::new(), false);
    for c in spaced.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    let marks = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&#x2F;", "/"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    marks
        .iter()
        .fold(text, |text, (mark, character)| {
            text.replace(mark, character)
        })
        .trim()
        .to_owned()
}
