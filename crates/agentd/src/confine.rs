//! What confined workers are made from, out of the configuration: the programs, the layers required, the runtime's own
//! files that stay hidden, where granted programs are looked for; and the values of secrets.
//!
//! Composes and decides nothing. A bar the operator has set lower than usual is part of the backend's name, so that
//! it stands on every run, in every list and in every event.

use crate::config::{Config, Origin, Paths};
use aaos_core::{event::BackendName, secret::Secret, tool::Placement};
use aaos_ports::{Backend, LaunchError, LaunchSpec, Secrets, Worker};
use aaos_sandbox::{
    OwnFiles,
    backend::namespaced::{self, NamespacedConfig},
    programs::Toolchain,
    protocol::Mask,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the namespaced backend is made from.
pub(crate) fn namespaced(config: &Config) -> NamespacedConfig {
    let confinement = &config.confinement;
    let toolchain = &confinement.toolchain;
    let home = |home: &Option<crate::config::Setting<PathBuf>>| {
        home.as_ref().map(|home| home.value.clone())
    };
    NamespacedConfig {
        worker: confinement.worker.value.clone(),
        egress: confinement.egress.value.clone(),
        require: confinement.require.value.clone(),
        pool: confinement.pool.value,
        omit: confinement.drill.as_ref().map(|drill| drill.value),
        mask: Own::of(&config.paths).mask(),
        lock: Some(config.paths.state.value.join("workers.lock")),
        toolchain: Toolchain {
            path: toolchain.path.value.clone(),
            cargo_home: home(&toolchain.cargo_home),
            rustup_home: home(&toolchain.rustup_home),
            extra: toolchain.extra.value.clone(),
        },
    }
}

/// What no agent reaches, however wide its grants: the journal, the keys, and what decides about grants. The runs' own
/// folders are theirs.
pub(crate) struct Own {
    kept: Vec<PathBuf>,
    open: Vec<PathBuf>,
}

impl Own {
    /// The runtime's own files in an installation.
    pub(crate) fn of(paths: &Paths) -> Self {
        let config = &paths.config.value;
        let beside = |name: &str| config.with_file_name(name);
        let mut kept = vec![
            paths.state.value.clone(),
            config.clone(),
            paths.credentials.clone(),
            paths.socket.value.clone(),
            beside("prices.toml"),
            beside("roles"),
        ];
        kept.extend(own_directory(paths).map(Path::to_owned));
        kept.extend(paths.roles.iter().map(|roles| roles.value.clone()));
        Self {
            kept,
            open: vec![paths.runs()],
        }
    }

    /// For the file power.
    pub(crate) fn files(&self) -> OwnFiles {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let texts = |paths: &[PathBuf]| paths.iter().map(text).collect::<Vec<_>>();
        OwnFiles::new(&texts(&self.kept), &texts(&self.open))
    }

    /// For a worker's root, which knows a path by the name it is granted under and by its real one.
    fn mask(&self) -> Mask {
        Mask {
            hidden: both_names(&self.kept),
            shown: both_names(&self.open),
        }
    }
}

/// Each path, and where its links lead if it is there and that is elsewhere.
fn both_names(paths: &[PathBuf]) -> Vec<String> {
    let real = paths
        .iter()
        .filter_map(|path| std::fs::canonicalize(path).ok());
    let all: BTreeSet<PathBuf> = paths.iter().cloned().chain(real).collect();
    all.iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// The configuration's directory, where it is this product's own and not one the operator chose.
fn own_directory(paths: &Paths) -> Option<&Path> {
    let usual = paths.config.origin == Origin::Default;
    paths.config.value.parent().filter(|_| usual)
}

/// Makes the configuration's directory if it is not there. What is not there cannot be hidden from a worker: an agent
/// that may write the home directory could otherwise put a configuration in place for the next start.
pub(crate) fn claim(paths: &Paths) {
    let Some(directory) = own_directory(paths) else {
        return;
    };
    let mut builder = std::fs::DirBuilder::new();
    if let Err(error) = builder.recursive(true).mode(0o700).create(directory) {
        tracing::warn!(directory = %directory.display(), %error, "the configuration's directory cannot be made");
    }
}

/// The backend under a name that says in what the operator has set less than the usual bar; as it is if in nothing.
pub(crate) fn labelled(backend: Arc<dyn Backend>, config: &Config) -> Arc<dyn Backend> {
    let lowered = config.confinement.lowered();
    if backend.name().0 != namespaced::NAME || lowered.is_empty() {
        return backend;
    }
    let name = format!("{} ({})", namespaced::NAME, lowered.join("; "));
    Arc::new(Lowered {
        name: BackendName(name),
        backend,
    })
}

struct Lowered {
    name: BackendName,
    backend: Arc<dyn Backend>,
}

#[async_trait]
impl Backend for Lowered {
    fn name(&self) -> BackendName {
        self.name.clone()
    }

    fn surface(&self) -> Placement {
        self.backend.surface()
    }

    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError> {
        self.backend.launch(spec).await
    }
}

/// Secrets as the keys file has them.
pub(crate) struct Kept(BTreeMap<String, Secret<String>>);

impl Kept {
    /// Those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let value = |(name, secret): (&String, &crate::config::Setting<Secret<String>>)| {
            (name.clone(), secret.value.clone())
        };
        Self(config.secrets.iter().map(value).collect())
    }
}

impl Secrets for Kept {
    fn value(&self, name: &str) -> Option<Secret<String>> {
        self.0.get(name).cloned()
    }
}
