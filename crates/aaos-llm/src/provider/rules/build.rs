//! A goal, understood, becomes a plan: one subtask for each source, so that they run in parallel, then one that puts
//! the results together.

use super::{
    compute,
    deliver::{Delivery, Document},
    noun::HACKER_NEWS,
    op::{Analysis, Chain, Form, Op, Scope},
    parser::{Block, Format, Goal},
    refusal::Refusal,
    source::Source,
    story::Story,
    words,
};
use aaos_core::{
    id::{RoleName, SubtaskId},
    plan::{Item, Param, Plan, Subtask},
    role::Role,
};
use std::collections::{BTreeMap, BTreeSet};

/// Longest title made from a goal's sources, in bytes.
const TITLE_BYTES_MAX: usize = 120;

/// One analysis and the sources it is of.
struct Unit {
    sources: Vec<Source>,
    chains: Vec<Chain>,
    scope: Scope,
}

/// A plan being made.
struct Builder {
    subtasks: Vec<Subtask>,
    /// Fetched pages, by address.
    pages: BTreeMap<String, SubtaskId>,
    numbers: BTreeMap<&'static str, u32>,
}

/// Makes the plan.
///
/// # Errors
/// A result cannot have the form that is asked for, or a role that is needed is not there.
pub(super) fn plan(goal: Goal, text: &str, roles: &[Role]) -> Result<Plan, Refusal> {
    let document = document(&goal, text)?;
    let mut units: Vec<Unit> = goal.blocks.into_iter().flat_map(units).collect();
    reform(&mut units, document, text)?;
    let mut builder = Builder {
        subtasks: Vec::new(),
        pages: BTreeMap::new(),
        numbers: BTreeMap::new(),
    };
    let title = title(&units);
    let raw = goal.output.is_some() && raw_document(&units, document);
    fits_form(
        &units,
        document,
        text,
        copied(&units).is_some() && goal.output.is_some(),
    )?;
    let result = match (&goal.output, copied(&units)) {
        (Some(output), Some(source)) => builder.copy(source, output, &title),
        _ => builder.analyse(
            &units,
            goal.output.as_deref(),
            if raw { Document::Text } else { document },
            &title,
        ),
    };
    let result =
        result.ok_or_else(|| Refusal::new(text, "a name for a subtask could not be made"))?;
    let plan = Plan {
        subtasks: builder.subtasks,
        result,
    };
    known_roles(&plan, roles)?;
    Ok(plan)
}

/// The form of the document, by the goal's words or the file's name.
fn document(goal: &Goal, text: &str) -> Result<Document, Refusal> {
    let named = goal.format.map(|format| match format {
        Format::Markdown => Document::Markdown,
        Format::Text => Document::Text,
        Format::Json => Document::Json,
        Format::Csv => Document::Csv,
    });
    let Some(output) = &goal.output else {
        return match named {
            Some(Document::Text) | None => Ok(Document::Markdown),
            Some(document) => Ok(document),
        };
    };
    let ending = output
        .rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, ending)| ending.to_lowercase());
    let by_name = match ending.as_deref() {
        Some("md" | "markdown") => Document::Markdown,
        Some("json") => Document::Json,
        Some("csv") => Document::Csv,
        Some("txt" | "text" | "log" | "list") | None => Document::Text,
        Some(binary) if words::is_binary_ending(binary) => {
            return Err(Refusal::new(
                output,
                "only text can be written: Markdown, plain text, JSON, CSV",
            ));
        }
        Some("html" | "htm") => {
            return Err(Refusal::new(
                output,
                "pages are read as Markdown; HTML cannot be written",
            ));
        }
        Some(_) => Document::Text,
    };
    match named {
        Some(document) if document != by_name && ending.is_some() && by_name != Document::Text => {
            Err(Refusal::new(
                output,
                "the file's name and the form that is asked for differ",
            ))
        }
        Some(document) => Ok(document),
        None if text.is_empty() => Ok(Document::Markdown),
        None => Ok(by_name),
    }
}

/// A block, split where its steps need different views of its sources.
fn units(block: Block) -> Vec<Unit> {
    let mut split: Vec<Unit> = Vec::new();
    for chain in block.chains {
        let scope = scope(&chain, &block.sources, block.scope);
        match split.iter_mut().find(|unit| unit.scope == scope) {
            Some(unit) => unit.chains.push(chain),
            None => split.push(Unit {
                sources: block.sources.clone(),
                chains: vec![chain],
                scope,
            }),
        }
    }
    split
}

/// Steps on a folder's most frequent words take its files as one text; anything else takes each by itself.
fn scope(chain: &Chain, sources: &[Source], said: Option<Scope>) -> Scope {
    let folder = matches!(sources, [Source::Folder { .. }]);
    let of_all = chain.iter().any(Op::needs_all);
    let words = matches!(chain.first(), Some(Op::TopWords(_)));
    match said {
        _ if of_all => Scope::Together,
        Some(scope) => scope,
        None if folder && words => Scope::Together,
        None => Scope::Each,
    }
}

/// The one source whose text is to be written unchanged.
fn copied(units: &[Unit]) -> Option<&Source> {
    match units {
        [
            Unit {
                sources, chains, ..
            },
        ] => match (sources.as_slice(), chains.as_slice()) {
            ([source @ (Source::File(_) | Source::Url(_))], [chain])
                if chain.as_slice() == [Op::Show] =>
            {
                Some(source)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Where one table is to be given as it is but in another form, its rows are read; what is no table is refused.
fn reform(units: &mut [Unit], document: Document, goal: &str) -> Result<(), Refusal> {
    let ending = copied(units).and_then(|source| super::digest::ending(&source.label()));
    let other = match (ending.as_deref(), document) {
        (Some("csv" | "tsv"), Document::Json) | (Some("json" | "tsv"), Document::Csv) => true,
        (Some("md" | "markdown" | "html" | "htm"), Document::Json | Document::Csv) => {
            let why = "the text of a page or a document is no table; CSV and JSON can be turned into each other";
            return Err(Refusal::new(goal, why));
        }
        _ => false,
    };
    if let ([unit], true) = (units, other) {
        unit.chains = vec![vec![Op::Records]];
    }
    Ok(())
}

/// Whether what is written is text of the sources themselves, so that a heading would spoil it.
fn raw_document(units: &[Unit], document: Document) -> bool {
    let own = |op: &Op| {
        matches!(
            op,
            Op::Combine | Op::Sort(_) | Op::Unique | Op::First(_) | Op::Last(_) | Op::Show
        )
    };
    let one = match units {
        [
            Unit {
                sources,
                chains,
                scope,
            },
        ] => {
            let single = sources.len() == 1 || *scope == Scope::Together;
            single
                && chains.len() == 1
                && chains.iter().flatten().all(own)
                && !chains.iter().any(|chain| chain.as_slice() == [Op::Show])
        }
        _ => false,
    };
    one && matches!(document, Document::Markdown | Document::Text)
}

/// Refuses a form that would make nonsense of a text: its lines are neither a table nor a document of fields.
fn fits_form(units: &[Unit], document: Document, goal: &str, copied: bool) -> Result<(), Refusal> {
    let text = |op: &Op| {
        matches!(
            op,
            Op::Combine | Op::Sort(_) | Op::Unique | Op::First(_) | Op::Last(_) | Op::Show
        )
    };
    let bare = |chain: &Chain| {
        chain.iter().all(text) && (document == Document::Csv || chain.as_slice() != [Op::Show])
    };
    let wrong = matches!(document, Document::Csv | Document::Json)
        && units.iter().flat_map(|unit| &unit.chains).any(bare);
    if wrong && !copied {
        return Err(Refusal::new(
            goal,
            "the lines of a text can be written as text or Markdown, not as a table or as JSON",
        ));
    }
    Ok(())
}

fn known_roles(plan: &Plan, roles: &[Role]) -> Result<(), Refusal> {
    for subtask in &plan.subtasks {
        let Some(role) = roles.iter().find(|role| role.name == subtask.role) else {
            return Err(Refusal::new(
                "",
                format!(
                    "the role `{}`, which this needs, is not installed",
                    subtask.role
                ),
            ));
        };
        if let Some(param) = subtask
            .params
            .keys()
            .find(|param| !role.parameters.contains_key(*param))
        {
            return Err(Refusal::new(
                "",
                format!(
                    "the role `{}` has no parameter `{param}`, which this needs",
                    role.name
                ),
            ));
        }
    }
    Ok(())
}

fn title(units: &[Unit]) -> String {
    let chains: Vec<&Chain> = units.iter().flat_map(|unit| &unit.chains).collect();
    let stories = units
        .iter()
        .flat_map(|unit| &unit.sources)
        .find_map(|source| match source {
            Source::Stories { list, count, .. } => Some(super::story::title(list, *count)),
            _ => None,
        });
    if let Some(stories) = stories {
        return stories;
    }
    let mut labels: Vec<String> = Vec::new();
    for label in units
        .iter()
        .flat_map(|unit| &unit.sources)
        .map(Source::label)
    {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let titles: BTreeSet<String> = chains.iter().map(|chain| compute::title(chain)).collect();
    let what = match titles.first() {
        Some(title) if titles.len() == 1 => title.clone(),
        _ => "Report".to_owned(),
    };
    let of = match labels.as_slice() {
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        many => format!("{} sources", many.len()),
    };
    aaos_core::text::preview(&format!("{what}: {of}"), TITLE_BYTES_MAX)
}

impl Builder {
    fn id(&mut self, kind: &'static str) -> Option<SubtaskId> {
        let number = self.numbers.entry(kind).or_insert(0);
        *number += 1;
        format!("{kind}-{number}").parse().ok()
    }

    fn add(
        &mut self,
        kind: &'static str,
        role: &str,
        task: String,
        params: Vec<(&str, Param)>,
    ) -> Option<SubtaskId> {
        let id = self.id(kind)?;
        let role: RoleName = role.parse().ok()?;
        let params = params
            .into_iter()
            .map(|(name, param)| (name.to_owned(), param))
            .collect();
        self.subtasks.push(Subtask {
            id: id.clone(),
            task,
            role,
            params,
            depends_on: BTreeSet::new(),
            ttl: None,
        });
        Some(id)
    }

    /// A page's subtask; each address is fetched once.
    fn page(&mut self, url: &str) -> Option<SubtaskId> {
        if let Some(id) = self.pages.get(url) {
            return Some(id.clone());
        }
        let id = self.add(
            "fetch",
            "fetcher",
            format!("fetch {url}"),
            vec![("url", Param::text(url))],
        )?;
        self.pages.insert(url.to_owned(), id.clone());
        Some(id)
    }

    /// A source as an analyzer's or a writer's input.
    fn input(&mut self, source: &Source) -> Option<Item> {
        match source {
            Source::Url(url) => self.page(url).map(|from| Item::From { from }),
            other => Some(Item::Text(match other {
                Source::File(path) => path.clone(),
                other => other.label(),
            })),
        }
    }

    fn copy(&mut self, source: &Source, output: &str, title: &str) -> Option<SubtaskId> {
        let input = self.input(source)?;
        let delivery = Delivery {
            title: title.to_owned(),
            document: Document::AsItIs,
        };
        let params = vec![
            ("inputs", Param::Many(vec![input])),
            ("output", Param::text(output)),
            ("title", Param::text(title)),
        ];
        self.add("write", "writer", delivery.to_string(), params)
    }

    /// Subtasks for all units, and the one that ends the plan.
    fn analyse(
        &mut self,
        units: &[Unit],
        output: Option<&str>,
        document: Document,
        title: &str,
    ) -> Option<SubtaskId> {
        let parts: usize = units.iter().map(subtasks_of).sum();
        let alone = output.is_none() && parts == 1;
        let form = match (alone, document) {
            (true, Document::Json) => Form::Json,
            (true, Document::Csv) => Form::Csv,
            (true, _) => Form::Report,
            (false, document) if document.takes_data() => Form::Data,
            (false, _) => Form::Section,
        };
        let mut ends = Vec::new();
        for unit in units {
            ends.extend(self.unit(unit, form)?);
        }
        if alone {
            return ends.pop();
        }
        let inputs = Param::Many(ends.into_iter().map(|from| Item::From { from }).collect());
        let task = Delivery {
            title: title.to_owned(),
            document,
        }
        .to_string();
        match output {
            Some(output) => self.add(
                "write",
                "writer",
                task,
                vec![
                    ("inputs", inputs),
                    ("output", Param::text(output)),
                    ("title", Param::text(title)),
                ],
            ),
            None => {
                let question = Param::text(task.clone());
                self.add(
                    "together",
                    "analyzer",
                    task,
                    vec![("inputs", inputs), ("question", question)],
                )
            }
        }
    }

    fn unit(&mut self, unit: &Unit, form: Form) -> Option<Vec<SubtaskId>> {
        if unit.scope == Scope::Together {
            return self.analysis(unit, &unit.sources, form).map(|id| vec![id]);
        }
        let mut ends = Vec::new();
        for source in &unit.sources {
            match source {
                Source::Stories { base, list, count } => {
                    ends.extend(self.stories(base, list, *count, form)?)
                }
                source => ends.push(self.analysis(unit, std::slice::from_ref(source), form)?),
            }
        }
        Some(ends)
    }

    fn stories(
        &mut self,
        base: &str,
        list: &'static str,
        count: u32,
        form: Form,
    ) -> Option<Vec<SubtaskId>> {
        let mut ends = Vec::new();
        for number in 1..=count {
            let task = Story {
                number,
                list,
                base: base.to_owned(),
                form,
            }
            .to_string();
            ends.push(self.add("story", "browser", task, vec![("url", Param::text(base))])?);
        }
        Some(ends)
    }

    fn analysis(&mut self, unit: &Unit, sources: &[Source], form: Form) -> Option<SubtaskId> {
        let labels = sources.iter().map(Source::label).collect();
        let task = Analysis {
            chains: unit.chains.clone(),
            labels,
            scope: unit.scope,
            form,
        }
        .to_string();
        if let [Source::Folder { path, pattern }] = sources {
            return self.add(
                "survey",
                "explorer",
                task,
                vec![
                    ("folder", Param::text(path)),
                    ("pattern", Param::text(pattern)),
                ],
            );
        }
        let inputs = sources
            .iter()
            .map(|source| self.input(source))
            .collect::<Option<Vec<_>>>()?;
        let question = Param::text(task.clone());
        self.add(
            "analyse",
            "analyzer",
            task,
            vec![("inputs", Param::Many(inputs)), ("question", question)],
        )
    }
}

/// How many subtasks give results of a unit.
fn subtasks_of(unit: &Unit) -> usize {
    let of = |source: &Source| match source {
        Source::Stories { count, .. } => usize::try_from(*count).unwrap_or(usize::MAX),
        _ => 1,
    };
    if unit.scope == Scope::Together {
        1
    } else {
        unit.sources.iter().map(of).sum()
    }
}

/// Every address and path that a plan of these rules may hold beside those in the goal.
pub(super) const fn own_addresses() -> [&'static str; 2] {
    [HACKER_NEWS, "."]
}
