//! Typed forms: what the grammar reads, with holes where a template takes a value.
//!
//! Rendering puts values into the typed places. Values are data: none is ever read as grammar, so no quote, newline,
//! brace or star in one can become a grant of its own.

use super::{
    ArgScope, ExecScope, FileRight, HttpScope, MemoryRight, NAMES_MAX, NamePattern, NameScope,
    PATH_BYTES_MAX, PathError, PathScope, Resource,
    path::{self, Part, Piece},
    quote,
    template::TemplateError,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use url::Url;

/// Most capabilities one template line renders to.
pub const RENDERED_MAX: usize = 1024;

/// A place a value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    /// The parameter's name.
    pub(super) param: String,
    /// Whether it takes each value of a list.
    pub(super) each: bool,
}

impl Hole {
    /// The parameter that is the run's own directory.
    pub(super) const RUN: &'static str = "run";
}

impl fmt::Display for Hole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{{{}{}}}",
            self.param,
            if self.each { ".*" } else { "" }
        )
    }
}

/// Where values come from.
pub(super) struct Lookup<'a> {
    params: &'a dyn Fn(&str) -> Option<Vec<String>>,
    run_dir: &'a str,
    /// The value every list parameter has in this rendering.
    each: Option<&'a str>,
}

impl<'a> Lookup<'a> {
    /// No values: for text without holes.
    pub(super) const NONE: Lookup<'static> = Lookup {
        params: &|_| None,
        run_dir: "/",
        each: None,
    };

    pub(super) fn new(params: &'a dyn Fn(&str) -> Option<Vec<String>>, run_dir: &'a str) -> Self {
        Self {
            params,
            run_dir,
            each: None,
        }
    }

    fn values(&self, hole: &Hole) -> Result<Vec<String>, TemplateError> {
        if hole.param == Hole::RUN {
            return Ok(vec![self.run_dir.to_owned()]);
        }
        let values = (self.params)(&hole.param).ok_or_else(|| TemplateError::Unset {
            param: hole.param.clone(),
        })?;
        if values.len() > RENDERED_MAX {
            return Err(TemplateError::TooMany {
                param: hole.param.clone(),
                found: values.len(),
            });
        }
        Ok(values)
    }

    fn one(&self, hole: &Hole) -> Result<String, TemplateError> {
        if let (true, Some(value)) = (hole.each, self.each) {
            return Ok(value.to_owned());
        }
        let mut values = self.values(hole)?;
        match (values.pop(), values.len()) {
            (Some(value), 0) => Ok(value),
            (last, more) => Err(TemplateError::Count {
                param: hole.param.clone(),
                found: more + usize::from(last.is_some()),
            }),
        }
    }
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Root,
    Hole(Hole),
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartForm {
    Deep,
    Pieces(Vec<PieceForm>),
}

impl From<Part> for PartForm {
    fn from(part: Part) -> Self {
        match part {
            Part::Deep => Self::Deep,
            Part::Literal(name) => Self::Pieces(vec![PieceForm::Text(name.into())]),
            Part::Glob(pieces) => {
                Self::Pieces(pieces.into_vec().into_iter().map(PieceForm::from).collect())
            }
        }
    }
}

/// A piece of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PieceForm {
    Text(String),
    Star,
    Hole(Hole),
}

impl From<Piece> for PieceForm {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Text(text) => Self::Text(text),
            Piece::Star => Self::Star,
        }
    }
}

/// A path with holes. A hole that begins it takes an absolute path; one that is a whole component takes a relative path;
/// one within a component takes a part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathForm {
    pub(super) start: Start,
    pub(super) parts: Vec<PartForm>,
}

impl PathForm {
    pub(super) fn holes(&self) -> impl Iterator<Item = &Hole> {
        let start = match &self.start {
            Start::Hole(hole) => Some(hole),
            Start::Root => None,
        };
        let pieces = self.parts.iter().flat_map(|part| match part {
            PartForm::Deep => &[][..],
            PartForm::Pieces(pieces) => pieces,
        });
        start
            .into_iter()
            .chain(pieces.filter_map(|piece| match piece {
                PieceForm::Hole(hole) => Some(hole),
                PieceForm::Text(_) | PieceForm::Star => None,
            }))
    }

    pub(super) fn build(&self, lookup: &Lookup<'_>) -> Result<PathScope, TemplateError> {
        let wrong = |hole: &Hole| {
            let param = hole.param.clone();
            move |source: PathError| TemplateError::Path { param, source }
        };
        let mut parts = match &self.start {
            Start::Root => Vec::new(),
            Start::Hole(hole) => path::literal_parts(&lookup.one(hole)?).map_err(wrong(hole))?,
        };
        for part in &self.parts {
            match part {
                PartForm::Deep => parts.push(Part::Deep),
                PartForm::Pieces(pieces) => match pieces.as_slice() {
                    [PieceForm::Hole(hole)] => {
                        parts.extend(path::relative_parts(&lookup.one(hole)?).map_err(wrong(hole))?)
                    }
                    pieces => parts.push(component(pieces, lookup)?),
                },
            }
        }
        let param = self
            .holes()
            .next()
            .map_or_else(|| "path".to_owned(), |hole| hole.param.clone());
        PathScope::of(parts).map_err(|source| TemplateError::Path { param, source })
    }

    /// One scope, or one for each value of the list parameter.
    fn build_each(&self, lookup: &Lookup<'_>) -> Result<Vec<PathScope>, TemplateError> {
        let Some(hole) = self.holes().find(|hole| hole.each) else {
            return Ok(vec![self.build(lookup)?]);
        };
        let build = |value: &String| {
            self.build(&Lookup {
                each: Some(value),
                ..*lookup
            })
        };
        lookup.values(hole)?.iter().map(build).collect()
    }
}

fn component(pieces: &[PieceForm], lookup: &Lookup<'_>) -> Result<Part, TemplateError> {
    let mut built = Vec::with_capacity(pieces.len());
    for piece in pieces {
        built.push(match piece {
            PieceForm::Text(text) => Piece::Text(text.clone()),
            PieceForm::Star => Piece::Star,
            PieceForm::Hole(hole) => {
                let value = lookup.one(hole)?;
                if value.is_empty() || value.contains('/') {
                    return Err(TemplateError::Path {
                        param: hole.param.clone(),
                        source: PathError::Name(value),
                    });
                }
                Piece::Text(value)
            }
        });
    }
    Ok(Part::of(built))
}

impl fmt::Display for PathForm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            Start::Hole(hole) => write!(out, "{hole}")?,
            Start::Root if self.parts.is_empty() => out.write_str("/")?,
            Start::Root => {}
        }
        for (position, part) in self.parts.iter().enumerate() {
            let last = position + 1 == self.parts.len();
            out.write_str("/")?;
            match part {
                PartForm::Deep => out.write_str("**")?,
                PartForm::Pieces(pieces) => write_pieces(out, pieces, last)?,
            }
        }
        Ok(())
    }
}

fn write_pieces(out: &mut fmt::Formatter<'_>, pieces: &[PieceForm], last: bool) -> fmt::Result {
    for (position, piece) in pieces.iter().enumerate() {
        match piece {
            PieceForm::Text(text) => {
                quote::write_path(out, text, last && position + 1 == pieces.len())?
            }
            PieceForm::Star => out.write_str("*")?,
            PieceForm::Hole(hole) => write!(out, "{hole}")?,
        }
    }
    Ok(())
}

/// An entry of a name scope, or a hole for one or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameForm {
    Pattern(NamePattern),
    Hole(Hole),
}

impl NameForm {
    const fn hole(&self) -> Option<&Hole> {
        match self {
            Self::Hole(hole) => Some(hole),
            Self::Pattern(_) => None,
        }
    }
}

impl fmt::Display for NameForm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(out),
            Self::Hole(hole) => hole.fmt(out),
        }
    }
}

/// One line of the grammar, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Files {
        right: FileRight,
        path: PathForm,
    },
    Http(HttpScope),
    HttpHole {
        methods: BTreeSet<String>,
        hole: Hole,
    },
    Exec {
        program: String,
        args: ArgScope,
        workspace: PathForm,
    },
    Tool(Vec<NameForm>),
    Spawn(Vec<NameForm>),
    Message(Vec<NameForm>),
    Memory {
        right: MemoryRight,
        scope: Vec<NameForm>,
    },
    Custom {
        name: String,
        params: BTreeMap<String, String>,
    },
    Inherit(String),
}

impl Form {
    /// Every hole, in the order of the text.
    pub(super) fn holes(&self) -> Vec<&Hole> {
        match self {
            Self::Files { path, .. }
            | Self::Exec {
                workspace: path, ..
            } => path.holes().collect(),
            Self::HttpHole { hole, .. } => vec![hole],
            Self::Tool(names)
            | Self::Spawn(names)
            | Self::Message(names)
            | Self::Memory { scope: names, .. } => {
                names.iter().filter_map(NameForm::hole).collect()
            }
            Self::Http(_) | Self::Custom { .. } | Self::Inherit(_) => Vec::new(),
        }
    }

    /// The resources, with every hole filled. What is inherited is none of its own.
    pub(super) fn render(&self, lookup: &Lookup<'_>) -> Result<Vec<Resource>, TemplateError> {
        Ok(match self {
            Self::Files { right, path } => {
                let scopes = path.build_each(lookup)?.into_iter();
                scopes
                    .map(|scope| Resource::Files {
                        right: *right,
                        scope,
                    })
                    .collect()
            }
            Self::Http(scope) => vec![Resource::Http(scope.clone())],
            Self::HttpHole { methods, hole } => {
                let values = if hole.each {
                    lookup.values(hole)?
                } else {
                    vec![lookup.one(hole)?]
                };
                values
                    .iter()
                    .map(|value| request(methods, hole, value))
                    .collect::<Result<_, _>>()?
            }
            Self::Exec {
                program,
                args,
                workspace,
            } => {
                let start = |workspace| {
                    Resource::Exec(ExecScope {
                        program: program.clone(),
                        args: args.clone(),
                        workspace,
                    })
                };
                workspace
                    .build_each(lookup)?
                    .into_iter()
                    .map(start)
                    .collect()
            }
            Self::Tool(names) => render_names(names, lookup)?
                .map(Resource::Tool)
                .into_iter()
                .collect(),
            Self::Spawn(names) => render_names(names, lookup)?
                .map(Resource::Spawn)
                .into_iter()
                .collect(),
            Self::Message(names) => render_names(names, lookup)?
                .map(Resource::Message)
                .into_iter()
                .collect(),
            Self::Memory { right, scope } => {
                let scope = render_names(scope, lookup)?;
                scope
                    .map(|scope| Resource::Memory {
                        right: *right,
                        scope,
                    })
                    .into_iter()
                    .collect()
            }
            Self::Custom { name, params } => vec![Resource::Custom {
                name: name.clone(),
                params: params.clone(),
            }],
            Self::Inherit(_) => Vec::new(),
        })
    }
}

fn request(
    methods: &BTreeSet<String>,
    hole: &Hole,
    value: &str,
) -> Result<Resource, TemplateError> {
    let param = || hole.param.clone();
    let url = Url::parse(value)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    let url = url.ok_or_else(|| TemplateError::Url {
        param: param(),
        value: quote::cut(value),
    })?;
    let scope = HttpScope::of_url(methods.clone(), &url).map_err(|source| TemplateError::Host {
        param: param(),
        source,
    })?;
    Ok(Resource::Http(scope))
}

/// The scope of these names; none if every hole's list is empty.
fn render_names(
    names: &[NameForm],
    lookup: &Lookup<'_>,
) -> Result<Option<NameScope>, TemplateError> {
    let mut patterns = BTreeSet::new();
    for name in names {
        match name {
            NameForm::Pattern(pattern) => {
                patterns.insert(pattern.clone());
            }
            NameForm::Hole(hole) => {
                let values = if hole.each {
                    lookup.values(hole)?
                } else {
                    vec![lookup.one(hole)?]
                };
                for value in values {
                    if value.is_empty() || value.len() > PATH_BYTES_MAX {
                        return Err(TemplateError::Name {
                            param: hole.param.clone(),
                            found: value.len(),
                        });
                    }
                    patterns.insert(NamePattern::Exact(value));
                }
                if patterns.len() > NAMES_MAX {
                    return Err(TemplateError::TooMany {
                        param: hole.param.clone(),
                        found: patterns.len(),
                    });
                }
            }
        }
    }
    Ok((!patterns.is_empty()).then(|| NameScope::list(patterns)))
}

impl fmt::Display for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { right, path } => write!(out, "file_{right}: {path}"),
            Self::HttpHole { methods, hole } => {
                let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
                write!(out, "http: {} {hole}", methods.join(","))
            }
            Self::Exec {
                program,
                args,
                workspace,
            } => {
                out.write_str("exec: ")?;
                quote::write_word(out, program)?;
                if *args != ArgScope::Any {
                    write!(out, " {args}")?;
                }
                write!(out, " in {workspace}")
            }
            Self::Tool(names) => write_names(out, "tool", names),
            Self::Spawn(names) => write_names(out, "spawn", names),
            Self::Message(names) => write_names(out, "message", names),
            Self::Memory { right, scope } => {
                out.write_str("memory_")?;
                write_names(out, &right.to_string(), scope)
            }
            Self::Http(scope) => write!(out, "http: {scope}"),
            Self::Custom { name, params } => Resource::Custom {
                name: name.clone(),
                params: params.clone(),
            }
            .fmt(out),
            Self::Inherit(kind) => write!(out, "inherit: {kind}"),
        }
    }
}

fn write_names(out: &mut fmt::Formatter<'_>, kind: &str, names: &[NameForm]) -> fmt::Result {
    write!(out, "{kind}: ")?;
    if let [only] = names {
        return write!(out, "{only}");
    }
    out.write_str("[")?;
    quote::write_list(out, names, |out, name| write!(out, "{name}"))?;
    out.write_str("]")
}
