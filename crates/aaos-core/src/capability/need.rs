//! Needs: what one act asks for, stated before it is done.
//!
//! A need is data from a tool's input. It is compared with capabilities and never read as one.

use super::{
    ArgScope, ExecScope, FileRight, HttpScope, MemoryRight, NameScope, PathError, PathScope,
    Resource,
};
use crate::id::{RoleName, ToolName};
use std::{collections::BTreeSet, fmt};
use url::Url;

/// What one act asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// One file or directory.
    File {
        /// Read or write.
        right: FileRight,
        /// Its absolute path.
        path: String,
    },
    /// A directory and everything beneath it.
    FileTree {
        /// Read or write.
        right: FileRight,
        /// The directory's absolute path.
        path: String,
    },
    /// One HTTP request.
    Http {
        /// The method, in upper case.
        method: String,
        /// The address.
        url: Url,
    },
    /// One start of a program.
    Exec {
        /// The program as it is called.
        program: String,
        /// Its arguments, without the program itself.
        args: Vec<String>,
        /// The absolute path of the directory it is started in.
        workspace: String,
    },
    /// One call of a tool.
    Tool(ToolName),
    /// One agent of a role.
    Spawn(RoleName),
    /// One message to a peer.
    Message(String),
    /// One act on remembered records.
    Memory {
        /// Read or write.
        right: MemoryRight,
        /// Whose or which records.
        scope: String,
    },
}

impl Need {
    /// Reading one file.
    #[must_use]
    pub fn read(path: impl Into<String>) -> Self {
        Self::File {
            right: FileRight::Read,
            path: path.into(),
        }
    }

    /// Writing one file.
    #[must_use]
    pub fn write(path: impl Into<String>) -> Self {
        Self::File {
            right: FileRight::Write,
            path: path.into(),
        }
    }

    /// Reading a directory and everything beneath it.
    #[must_use]
    pub fn read_tree(path: impl Into<String>) -> Self {
        Self::FileTree {
            right: FileRight::Read,
            path: path.into(),
        }
    }

    /// Getting one address.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self::Http {
            method: "GET".to_owned(),
            url,
        }
    }

    /// The weakest resource that allows this need, to compare with what is held.
    ///
    /// # Errors
    /// The need names a path that cannot be granted.
    pub fn as_resource(&self) -> Result<Resource, PathError> {
        let normal = |path: &str| super::path::normalise(path);
        Ok(match self {
            Self::File { right, path } => Resource::Files {
                right: *right,
                scope: PathScope::exact(&normal(path)?)?,
            },
            Self::FileTree { right, path } => Resource::Files {
                right: *right,
                scope: PathScope::tree(&normal(path)?)?,
            },
            Self::Http { method, url } => Resource::Http(wanted_request(method, url)),
            Self::Exec {
                program,
                args,
                workspace,
            } => Resource::Exec(ExecScope {
                program: program.clone(),
                args: ArgScope::OneOf(if args.is_empty() {
                    BTreeSet::new()
                } else {
                    BTreeSet::from([args.clone()])
                }),
                workspace: PathScope::exact(&normal(workspace)?)?,
            }),
            Self::Tool(name) => Resource::Tool(NameScope::exact(name.as_str())),
            Self::Spawn(role) => Resource::Spawn(NameScope::exact(role.as_str())),
            Self::Message(peer) => Resource::Message(NameScope::exact(peer.as_str())),
            Self::Memory { right, scope } => Resource::Memory {
                right: *right,
                scope: NameScope::exact(scope.as_str()),
            },
        })
    }
}

/// The request as a scope. A host no grant reaches stays as it is written, so that it is compared and found wanting.
fn wanted_request(method: &str, url: &Url) -> HttpScope {
    let host = url.host_str().unwrap_or_default();
    // A tunnel leads to a host, not to a path.
    let segments = url
        .path_segments()
        .filter(|_| method != super::http::TUNNEL)
        .into_iter()
        .flatten()
        .map(|segment| super::http::normal_segment(segment).unwrap_or_default());
    HttpScope {
        schemes: if url.scheme() == "http" {
            super::Schemes::Http
        } else {
            super::Schemes::Https
        },
        host: super::HostScope::Exact(host.strip_suffix('.').unwrap_or(host).to_owned()),
        port: url.port_or_known_default(),
        methods: BTreeSet::from([method.to_owned()]),
        path_prefix: segments.collect(),
        secrets: BTreeSet::new(),
    }
}

impl fmt::Display for Need {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { right, path } => write!(out, "{right} {}", super::quote::cut(path)),
            Self::FileTree { right, path } => write!(
                out,
                "{right} everything beneath {}",
                super::quote::cut(path)
            ),
            Self::Http { method, url } => write!(
                out,
                "{} {}",
                super::quote::cut(method),
                super::quote::cut(url.as_str())
            ),
            Self::Exec {
                program,
                args,
                workspace,
            } => {
                let line: Vec<&str> = std::iter::once(program)
                    .chain(args)
                    .map(String::as_str)
                    .collect();
                write!(
                    out,
                    "run `{}` in {}",
                    super::quote::cut(&line.join(" ")),
                    super::quote::cut(workspace)
                )
            }
            Self::Tool(name) => write!(out, "call the tool {name}"),
            Self::Spawn(role) => write!(out, "start an agent of role {role}"),
            Self::Message(peer) => write!(out, "send a message to {}", super::quote::cut(peer)),
            Self::Memory { right, scope } => {
                write!(out, "{right} memory {}", super::quote::cut(scope))
            }
        }
    }
}
