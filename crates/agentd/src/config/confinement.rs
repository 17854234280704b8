//! How workers are confined, as configured: the layers a launch requires, the programs that confine and connect, and
//! where granted programs are looked for.
//!
//! Refuses a layer there is not, and a requirement that names nothing. Programs are looked for where this program
//! lies, then where packages put them; whether they are there is said at the first launch and by `agentd doctor`.

use super::{
    ConfigError, Environment, Origin, Setting, assemble::FromFile, file::FileConfinement,
    paths::absolute_variable,
};
use aaos_core::proof::Layer;
use aaos_sandbox::backend::namespaced::POOL_MAX;
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use toml::Spanned;

/// The program that becomes each worker.
const WORKER: &str = "aaos-agent-worker";
/// The program that connects out for agents.
const EGRESS: &str = "aaos-egress";
/// Where packages put programs that are started by others, as the Filesystem Hierarchy Standard has it.
const LIBEXEC: &str = "/usr/libexec/aaos";
/// Most further directories for programs.
const TOOLCHAIN_MAX: usize = 64;
/// Where programs are looked for if `PATH` is not set. Source: what a Debian login has.
const PATH_USUAL: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// How workers are confined.
#[derive(Debug, Clone)]
pub(crate) struct Confinement {
    /// Layers without which no worker takes a call.
    pub(crate) require: Setting<BTreeSet<Layer>>,
    /// The program that becomes each worker.
    pub(crate) worker: Setting<PathBuf>,
    /// The program that connects out for agents.
    pub(crate) egress: Setting<PathBuf>,
    /// Workers kept staged and waiting; 0 for none.
    pub(crate) pool: Setting<usize>,
    /// A layer that is left out on purpose, to see that its absence is noticed.
    pub(crate) drill: Option<Setting<Layer>>,
    /// Where granted programs are looked for, and what they may read.
    pub(crate) toolchain: Toolchain,
}

/// Where this machine keeps its programs.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// Directories searched for a bare name, in order.
    pub(crate) path: Setting<Vec<PathBuf>>,
    /// Where cargo keeps its registry, if it is there.
    pub(crate) cargo_home: Option<Setting<PathBuf>>,
    /// Where rustup keeps its toolchains, if it is there.
    pub(crate) rustup_home: Option<Setting<PathBuf>>,
    /// Further directories that programs may read and start programs from.
    pub(crate) extra: Setting<Vec<PathBuf>>,
}

impl Confinement {
    /// What holds if nothing is configured.
    pub(super) fn usual(environment: &Environment) -> Self {
        Self {
            require: Setting::default(Layer::required_by_default()),
            worker: Setting::default(beside(WORKER)),
            egress: Setting::default(beside(EGRESS)),
            pool: Setting::default(cores().min(POOL_MAX)),
            drill: None,
            toolchain: Toolchain::of(environment),
        }
    }

    /// Puts what the file says over it.
    pub(super) fn set(
        &mut self,
        from: &FromFile<'_>,
        read: &FileConfinement,
    ) -> Result<(), ConfigError> {
        if let Some(require) = &read.require {
            let layers = require
                .get_ref()
                .iter()
                .map(|layer| parse_layer(from, layer));
            let layers = layers.collect::<Result<BTreeSet<_>, _>>()?;
            self.require = Setting::new(layers, from.origin(require));
        }
        if let Some(worker) = &read.worker {
            self.worker = from.path(worker)?;
        }
        if let Some(egress) = &read.egress {
            self.egress = from.path(egress)?;
        }
        if let Some(pool) = &read.pool {
            let next_step = "Give a smaller number; 0 keeps none ready";
            self.pool = from.at_most(pool, POOL_MAX, next_step)?;
        }
        if let Some(drill) = &read.drill {
            self.drill = Some(Setting::new(parse_layer(from, drill)?, from.origin(drill)));
        }
        if let Some(toolchain) = &read.toolchain {
            self.toolchain.extra = directories(from, toolchain)?;
        }
        Ok(())
    }

    /// In what the operator has set less than the usual bar, for people; nothing if in nothing.
    pub(crate) fn lowered(&self) -> Vec<String> {
        let usual = Layer::required_by_default();
        let mut lowered = Vec::new();
        let waived: Vec<&str> = usual
            .difference(&self.require.value)
            .map(|layer| layer.name())
            .collect();
        if !waived.is_empty() {
            lowered.push(format!("not required: {}", waived.join(", ")));
        }
        if let Some(drill) = &self.drill {
            lowered.push(format!("drill: {} left out", drill.value));
        }
        lowered
    }
}

impl Toolchain {
    fn of(environment: &Environment) -> Self {
        let path = match environment.get("PATH") {
            Some(text) => Setting::new(search_path(text), Origin::Variable("PATH")),
            None => Setting::default(PATH_USUAL.map(PathBuf::from).to_vec()),
        };
        Self {
            path,
            cargo_home: tool_home(environment, "CARGO_HOME", ".cargo"),
            rustup_home: tool_home(environment, "RUSTUP_HOME", ".rustup"),
            extra: Setting::default(Vec::new()),
        }
    }
}

/// The absolute directories of a search path that are there, each once. A relative one would mean another directory
/// for every process.
fn search_path(text: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for part in text.split(':').map(PathBuf::from) {
        if part.is_absolute() && part.is_dir() && !found.contains(&part) {
            found.push(part);
        }
    }
    found
}

/// A tool's own directory: the variable's, else its usual one in the home directory if that is there.
fn tool_home(
    environment: &Environment,
    variable: &'static str,
    beneath_home: &str,
) -> Option<Setting<PathBuf>> {
    if let Some(path) = absolute_variable(environment, variable) {
        return Some(Setting::new(path, Origin::Variable(variable)));
    }
    let usual = absolute_variable(environment, "HOME")?.join(beneath_home);
    usual.is_dir().then(|| Setting::default(usual))
}

/// Where a program of this product lies: beside this one, else where packages put it. If it is in neither place, the
/// first is named, because it is what a build makes.
fn beside(name: &str) -> PathBuf {
    let packaged = Path::new(LIBEXEC).join(name);
    let here = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(|dir| dir.join(name)));
    match here {
        Some(here) if here.is_file() || !packaged.is_file() => here,
        _ => packaged,
    }
}

/// Processors this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn parse_layer(from: &FromFile<'_>, layer: &Spanned<String>) -> Result<Layer, ConfigError> {
    layer
        .get_ref()
        .parse()
        .map_err(|error: aaos_core::proof::LayerError| {
            from.problem(layer, error.to_string(), "Name one of them, or remove it")
        })
}

fn directories(
    from: &FromFile<'_>,
    list: &Spanned<Vec<Spanned<String>>>,
) -> Result<Setting<Vec<PathBuf>>, ConfigError> {
    if list.get_ref().len() > TOOLCHAIN_MAX {
        let problem = format!("these are more than {TOOLCHAIN_MAX}");
        return Err(from.problem(list, problem, "Name the directory that holds them"));
    }
    let read = |dir: &Spanned<String>| from.path(dir).map(|dir| dir.value);
    let dirs = list.get_ref().iter().map(read).collect::<Result<_, _>>()?;
    Ok(Setting::new(dirs, from.origin(list)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_search_path_keeps_what_is_absolute_and_there_once() {
        let found = search_path("/usr/bin:relative::/usr/bin:/nowhere-at-all:/usr/../usr/bin");
        assert_eq!(
            found,
            [PathBuf::from("/usr/bin"), PathBuf::from("/usr/../usr/bin")]
        );
    }

    #[test]
    fn a_bar_set_lower_is_told_and_the_usual_one_is_not() {
        let mut confinement = Confinement::usual(&Environment::default());
        assert!(confinement.lowered().is_empty());
        confinement.require.value.remove(&Layer::Landlock);
        confinement.drill = Some(Setting::default(Layer::Seccomp));
        assert_eq!(
            confinement.lowered(),
            ["not required: landlock", "drill: seccomp left out"]
        );
    }
}
