//! The last step of a plan: several subtasks' results made one document. Its sentence, and the document.

use super::{
    compute::Answer,
    op::{quote, unquote},
    report,
};

/// What a document looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// Markdown.
    Markdown,
    /// Plain text.
    Text,
    /// JSON.
    Json,
    /// CSV.
    Csv,
    /// The one input, byte for byte.
    AsItIs,
}

impl Document {
    const ALL: [Self; 5] = [
        Self::Markdown,
        Self::Text,
        Self::Json,
        Self::Csv,
        Self::AsItIs,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Markdown => " as Markdown",
            Self::Text => " as plain text",
            Self::Json => " as JSON",
            Self::Csv => " as CSV",
            Self::AsItIs => " as it is",
        }
    }

    /// Whether it is made from answers as data rather than from Markdown sections.
    pub(super) const fn takes_data(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Csv)
    }
}

/// A delivery: a title and a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The document's title.
    pub(super) title: String,
    /// Its form.
    pub(super) document: Document,
}

impl std::fmt::Display for Delivery {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "put the results together: {}{}",
            quote(&self.title),
            self.document.words()
        )
    }
}

impl Delivery {
    /// Reads its own sentence back; nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("put the results together: ")?;
        let form = |document: Document| {
            rest.strip_suffix(document.words())
                .map(|title| (document, title))
        };
        let (document, title) = Document::ALL.into_iter().find_map(form)?;
        Some(Self {
            title: unquote(title)?,
            document,
        })
    }

    /// The document.
    ///
    /// # Errors
    /// In words: an input is not what a subtask of these rules gives.
    pub(super) fn compose(&self, inputs: &[String]) -> Result<String, String> {
        match self.document {
            Document::AsItIs => Ok(inputs.concat()),
            Document::Markdown => Ok(report::report(&self.title, inputs)),
            Document::Text => self
                .merged(inputs)
                .map(|answer| report::plain(&self.title, &answer)),
            Document::Json => self
                .merged(inputs)
                .map(|answer| report::json(&self.title, &answer)),
            Document::Csv => self.merged(inputs).map(|answer| report::csv(&answer)),
        }
    }

    fn merged(&self, inputs: &[String]) -> Result<Answer, String> {
        let mut all = Answer::default();
        for (at, input) in inputs.iter().enumerate() {
            let one: Answer = serde_json::from_str(input).map_err(|error| {
                format!("input {} is not a result of these rules: {error}", at + 1)
            })?;
            all.sections.extend(one.sections);
            for note in one.notes {
                if !all.notes.contains(&note) {
                    all.notes.push(note);
                }
            }
        }
        Ok(all)
    }
}
