//! Puts the layers together: defaults, then the file, then credentials, then the environment, then flags.

use super::{
    Budgets, Config, ConfigError, Environment, Installation, Origin, Overrides, PROFILE_DEFAULT,
    Paths, Place, Policy, Profile, ProviderConfig, Setting, Sinks,
    budgets::time,
    confinement::Confinement,
    file::{self, FileConfig, FileProvider, Privacy, Source},
    secrets,
};
use aaos_core::{
    id::NAME_BYTES_MAX,
    model::{ModelClass, ModelRef},
    secret::Secret,
};
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use toml::Spanned;

/// Seconds without runs and connections after which a per-user daemon ends.
const IDLE_EXIT_S: u64 = 900;
/// Model requests at the same time; more gain little against the limits providers set.
const SLOTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);
/// Agents with a worker at the same time, per run.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);
/// Most slots or workers that can be asked for: each holds a connection or a process.
const PARALLEL_MAX: usize = 1024;

/// How agents' tools run unless the operator says otherwise.
const BACKEND: &str = aaos_sandbox::backend::namespaced::NAME;

/// Kinds a key alone configures, in order of preference.
const KEY_KINDS: [(&str, &str); 3] = [
    ("anthropic", "ANTHROPIC_API_KEY"),
    ("openai", "OPENAI_API_KEY"),
    ("deepseek", "DEEPSEEK_API_KEY"),
];

/// Variables that hold secrets: what the daemon starts for the operator does not get them.
pub(crate) fn secret_variables() -> Vec<&'static str> {
    let keys = KEY_KINDS.iter().map(|(_, variable)| *variable);
    keys.chain(["CREDENTIALS_DIRECTORY"]).collect()
}

/// Profiles there always are; the file may replace them.
const PROFILES: [(&str, &[&str]); 4] = [
    (
        PROFILE_DEFAULT,
        &[
            "file_read: ./**",
            "file_write: ./**",
            "http: GET *",
            "http: HEAD *",
            "tool: *",
            "spawn: *",
        ],
    ),
    (
        "developer",
        &[
            "file_read: ./**",
            "file_write: ./**",
            "http: GET *",
            "http: HEAD *",
            "http: CONNECT https://index.crates.io",
            "http: CONNECT https://static.crates.io",
            "exec: cargo in ./**",
            "exec: git in ./**",
            "tool: *",
            "spawn: *",
        ],
    ),
    ("read-only", &["file_read: ./**", "tool: *", "spawn: *"]),
    ("none", &[]),
];

/// Reads the whole configuration.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do.
pub(crate) fn load(
    environment: &Environment,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let mut config = defaults(Paths::find(environment, overrides)?, environment);
    let path = config.paths.config.value.clone();
    match file::read(&path, Privacy::Open)? {
        Some(text) => from_file(
            &mut config,
            &Source {
                path: &path,
                text: &text,
            },
        )?,
        None if config.paths.config.origin != Origin::Default => {
            return Err(ConfigError {
                place: Place::Path(path),
                problem: "there is no such file".to_owned(),
                next_step: "Create it with `agentd configure`, or name another".to_owned(),
                excerpt: None,
            });
        }
        None => {}
    }
    let prices = path.with_file_name("prices.toml");
    if let Some(text) = file::read(&prices, Privacy::Open)? {
        config.prices = Some(Setting::new(
            text,
            Origin::File {
                path: prices,
                line: 1,
            },
        ));
    }
    from_credentials(&mut config, environment)?;
    from_environment(&mut config, environment);
    choose_first(&mut config);
    check_models(&config)?;
    config.programs = programs(&config.confinement);
    Ok(config)
}

fn defaults(paths: Paths, environment: &Environment) -> Config {
    let profile = |grants: &[&str]| Profile {
        grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        deny: vec![],
    };
    let profiles = PROFILES
        .iter()
        .map(|(name, grants)| ((*name).to_owned(), Setting::default(profile(grants))));
    Config {
        paths,
        backend: Setting::default(BACKEND.to_owned()),
        providers: BTreeMap::new(),
        provider_first: None,
        models: BTreeMap::new(),
        profiles: profiles.collect(),
        budgets: Budgets::usual(),
        policy: Policy::usual(),
        idle_exit_s: Setting::default(IDLE_EXIT_S),
        slots: Setting::default(SLOTS),
        workers_max: Setting::default(WORKERS_MAX),
        confinement: Confinement::usual(environment),
        secrets: BTreeMap::new(),
        sinks: Sinks {
            stdout: Setting::default(false),
            file: None,
            journald: Setting::default(false),
        },
        prices: None,
        programs: String::new(),
    }
}

/// The files of this program and of those it starts, each by its size and the time it was written; nothing for one
/// that is gone.
fn programs(confinement: &Confinement) -> String {
    let own = std::env::current_exe().unwrap_or_default();
    let files = [&own, &confinement.worker.value, &confinement.egress.value];
    let about = files.map(|file| {
        std::fs::metadata(file).map_or_else(
            |_| String::new(),
            |about| format!("{} {}.{}", about.len(), about.mtime(), about.mtime_nsec()),
        )
    });
    about.join(", ")
}

/// Puts a value of the file over a default.
pub(super) struct FromFile<'a> {
    source: &'a Source<'a>,
}

impl FromFile<'_> {
    /// Reads an amount of money or time.
    pub(super) fn amount(
        &self,
        spanned: &Spanned<String>,
    ) -> Result<super::amount::Amount, ConfigError> {
        self.source.amount(spanned)
    }

    /// A complaint about a value.
    pub(super) fn problem<T>(
        &self,
        spanned: &Spanned<T>,
        problem: impl Into<String>,
        next_step: &str,
    ) -> ConfigError {
        self.source
            .problem(spanned.span().start, problem, next_step)
    }

    pub(super) fn origin<T>(&self, spanned: &Spanned<T>) -> Origin {
        Origin::File {
            path: self.source.path.to_owned(),
            line: self.source.line(spanned.span().start),
        }
    }

    pub(super) fn setting<T: Clone>(&self, spanned: &Spanned<T>) -> Setting<T> {
        Setting::new(spanned.get_ref().clone(), self.origin(spanned))
    }

    /// A path; a relative one starts from the file's own directory.
    pub(super) fn path(&self, spanned: &Spanned<String>) -> Result<Setting<PathBuf>, ConfigError> {
        self.not_empty(spanned)?;
        let beside = self.source.path.parent().unwrap_or(Path::new("/"));
        Ok(Setting::new(
            beside.join(spanned.get_ref()),
            self.origin(spanned),
        ))
    }

    fn not_empty(&self, spanned: &Spanned<String>) -> Result<(), ConfigError> {
        let text = spanned.get_ref();
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            let wanted = "this must not be empty and must hold no control characters";
            return Err(self.problem(spanned, wanted, "Correct it, or remove the line"));
        }
        Ok(())
    }

    fn text(&self, spanned: &Spanned<String>) -> Result<Setting<String>, ConfigError> {
        self.not_empty(spanned)?;
        Ok(self.setting(spanned))
    }

    /// A number that may not be larger than this.
    pub(super) fn at_most<T: Copy + Into<usize>>(
        &self,
        spanned: &Spanned<T>,
        most: usize,
        next_step: &str,
    ) -> Result<Setting<T>, ConfigError> {
        if (*spanned.get_ref()).into() > most {
            let problem = format!("this is over the maximum of {most}");
            return Err(self.problem(spanned, problem, next_step));
        }
        Ok(self.setting(spanned))
    }

    /// Slots or workers.
    fn parallel(
        &self,
        spanned: &Spanned<NonZeroUsize>,
    ) -> Result<Setting<NonZeroUsize>, ConfigError> {
        self.at_most(spanned, PARALLEL_MAX, "Give a smaller number")
    }
}

fn from_file(config: &mut Config, source: &Source<'_>) -> Result<(), ConfigError> {
    let read: FileConfig = source.parse()?;
    let from = FromFile { source };
    if let Some(backend) = &read.backend {
        config.backend = from.text(backend)?;
    }
    if let (Some(roles), None) = (&read.roles_dir, &config.paths.roles) {
        config.paths.roles = Some(from.path(roles)?);
    }
    for (name, provider) in &read.providers {
        config
            .providers
            .insert(name.clone(), provider_from_file(&from, name, provider)?);
    }
    models_from_file(config, &from, &read)?;
    config.confinement.set(&from, &read.confinement)?;
    profiles_from_file(config, &from, &read)?;
    config.budgets.set(&from, &read.budget)?;
    config.policy.set(&from, &read)?;
    if let Some(seconds) = &read.daemon.idle_exit_s {
        config.idle_exit_s = from.setting(seconds);
    }
    if let Some(slots) = &read.daemon.slots {
        config.slots = from.parallel(slots)?;
    }
    if let Some(workers) = &read.daemon.workers_max {
        config.workers_max = from.parallel(workers)?;
    }
    if let Some(stdout) = &read.sinks.stdout {
        config.sinks.stdout = from.setting(stdout);
    }
    if let Some(file) = &read.sinks.file {
        config.sinks.file = Some(from.path(file)?);
    }
    if let Some(journald) = &read.sinks.journald {
        config.sinks.journald = from.setting(journald);
    }
    Ok(())
}

/// Why this cannot be a provider's name, if it cannot.
pub(crate) fn provider_name_problem(name: &str) -> Option<String> {
    let clean = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let named = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(clean);
    (!named || name == secrets::TABLE).then(|| {
        let shown = aaos_core::text::preview(name, 64);
        format!("`{shown}` is not a provider name: use letters, digits, `-`, `_` or `.`, and not `secrets`")
    })
}

fn provider_from_file(
    from: &FromFile<'_>,
    name: &str,
    read: &FileProvider,
) -> Result<ProviderConfig, ConfigError> {
    if let Some(problem) = provider_name_problem(name) {
        return Err(from.problem(&read.kind, problem, "Rename the section"));
    }
    let text = |spanned: &Option<Spanned<String>>| {
        spanned
            .as_ref()
            .map(|spanned| from.text(spanned))
            .transpose()
    };
    Ok(ProviderConfig {
        kind: from.text(&read.kind)?,
        base_url: text(&read.base_url)?,
        model: text(&read.model)?,
        file: read.file.as_ref().map(|file| from.path(file)).transpose()?,
        key: None,
        patience: read
            .patience
            .as_ref()
            .map(|text| {
                Ok(Setting::new(
                    time(from, "patience", text)?,
                    from.origin(text),
                ))
            })
            .transpose()?,
    })
}

fn models_from_file(
    config: &mut Config,
    from: &FromFile<'_>,
    read: &FileConfig,
) -> Result<(), ConfigError> {
    let classes = [
        (ModelClass::Planner, &read.models.planner),
        (ModelClass::Worker, &read.models.worker),
        (ModelClass::Reasoner, &read.models.reasoner),
    ];
    for (class, spanned) in classes {
        let Some(spanned) = spanned else { continue };
        let model = ModelRef::parse(spanned.get_ref()).ok_or_else(|| {
            let next_step = "Name a provider of this file and one of its models";
            from.problem(spanned, "this is not `provider/model`", next_step)
        })?;
        config
            .models
            .insert(class, Setting::new(model, from.origin(spanned)));
    }
    Ok(())
}

fn profiles_from_file(
    config: &mut Config,
    from: &FromFile<'_>,
    read: &FileConfig,
) -> Result<(), ConfigError> {
    for (name, spanned) in &read.profiles {
        let profile = spanned.get_ref();
        for line in profile.grants.iter().chain(&profile.deny) {
            // Relative paths start from each run's base directory, which the root stands for here.
            aaos_core::capability::parse_in(line.get_ref(), "/")
                .map_err(|error| from.problem(line, error.to_string(), "Correct the grant"))?;
        }
        let texts =
            |lines: &[Spanned<String>]| lines.iter().map(|line| line.get_ref().clone()).collect();
        let profile = Profile {
            grants: texts(&profile.grants),
            deny: texts(&profile.deny),
        };
        config
            .profiles
            .insert(name.clone(), Setting::new(profile, from.origin(spanned)));
    }
    Ok(())
}

/// Keys of the keys file, then those systemd hands over, which win.
fn from_credentials(config: &mut Config, environment: &Environment) -> Result<(), ConfigError> {
    let path = config.paths.credentials.clone();
    let read = secrets::credentials(&path)?;
    let origin = Origin::Credential(path);
    for (name, key) in read.keys {
        set_key(config, &name, &key, &origin)?;
    }
    let set = |(name, value)| (name, Setting::new(value, origin.clone()));
    config.secrets = read.secrets.into_iter().map(set).collect();
    let Some(directory) = environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from) else {
        return Ok(());
    };
    let known = KEY_KINDS.iter().map(|(kind, _)| (*kind).to_owned());
    let names: Vec<String> = config.providers.keys().cloned().chain(known).collect();
    for name in names {
        let path = directory.join(format!("{name}.key"));
        if let Some(text) = file::read(&path, Privacy::Open)? {
            set_key(
                config,
                &name,
                &Secret::new(text.trim().to_owned()),
                &Origin::Credential(path),
            )?;
        }
    }
    Ok(())
}

fn set_key(
    config: &mut Config,
    name: &str,
    key: &Secret<String>,
    origin: &Origin,
) -> Result<(), ConfigError> {
    if key.expose().is_empty()
        || key
            .expose()
            .chars()
            .any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(ConfigError {
            place: Place::Value(origin.clone()),
            problem: format!("the key of `{name}` is empty or holds spaces"),
            next_step: format!("Run `agentd configure --provider {name}`"),
            excerpt: None,
        });
    }
    let known = KEY_KINDS.iter().any(|(kind, _)| *kind == name);
    if !known && !config.providers.contains_key(name) {
        return Err(ConfigError {
            place: Place::Value(origin.clone()),
            problem: format!(
                "there is a key for `{}`, which is no provider",
                aaos_core::text::preview(name, 64)
            ),
            next_step: format!(
                "Add a section [providers.{name}] to {}, or remove the key",
                config.paths.config.value.display()
            ),
            excerpt: None,
        });
    }
    provider(config, name, origin).key = Some(Setting::new(key.clone(), origin.clone()));
    Ok(())
}

/// The provider of this name, made if there is none.
fn provider<'a>(config: &'a mut Config, name: &str, origin: &Origin) -> &'a mut ProviderConfig {
    config
        .providers
        .entry(name.to_owned())
        .or_insert_with(|| ProviderConfig {
            kind: Setting::new(name.to_owned(), origin.clone()),
            base_url: None,
            model: None,
            file: None,
            key: None,
            patience: None,
        })
}

fn from_environment(config: &mut Config, environment: &Environment) {
    for (kind, variable) in KEY_KINDS {
        if let Some(key) = environment.get(variable) {
            let origin = Origin::Variable(variable);
            let key = Setting::new(Secret::new(key.trim().to_owned()), origin.clone());
            provider(config, kind, &origin).key = Some(key);
        }
    }
    if let Some(url) = environment.get("OPENAI_BASE_URL") {
        let origin = Origin::Variable("OPENAI_BASE_URL");
        let url = Setting::new(url.to_owned(), origin.clone());
        provider(config, "openai", &origin).base_url = Some(url);
    }
    let mut over =
        |name: &str, variable: &'static str, set: fn(&mut ProviderConfig, Setting<String>)| {
            if let (Some(value), Some(provider)) =
                (environment.get(variable), config.providers.get_mut(name))
            {
                set(
                    provider,
                    Setting::new(value.to_owned(), Origin::Variable(variable)),
                );
            }
        };
    over("anthropic", "ANTHROPIC_BASE_URL", |provider, url| {
        provider.base_url = Some(url)
    });
    over("anthropic", "ANTHROPIC_MODEL", |provider, model| {
        provider.model = Some(model)
    });
    over("openai", "OPENAI_MODEL", |provider, model| {
        provider.model = Some(model)
    });
}

/// Which provider serves what `[models]` does not name: one the environment configures, then the file's first.
fn choose_first(config: &mut Config) {
    let from_environment =
        |provider: &ProviderConfig| matches!(provider.kind.origin, Origin::Variable(_));
    let by_variable = KEY_KINDS
        .iter()
        .map(|(kind, _)| *kind)
        .find(|name| config.providers.get(*name).is_some_and(from_environment));
    let by_models = config
        .models
        .get(&ModelClass::Worker)
        .or_else(|| config.models.values().next());
    let by_file = config
        .providers
        .iter()
        .find(|(_, provider)| matches!(provider.kind.origin, Origin::File { .. }));
    let by_key = KEY_KINDS
        .iter()
        .map(|(kind, _)| *kind)
        .find(|name| config.providers.contains_key(*name));
    config.provider_first = by_models
        .map(|model| Setting::new(model.value.provider.clone(), model.origin.clone()))
        .or_else(|| named(config, by_variable))
        .or_else(|| {
            by_file.map(|(name, provider)| Setting::new(name.clone(), provider.kind.origin.clone()))
        })
        .or_else(|| named(config, by_key));
}

fn named(config: &Config, name: Option<&str>) -> Option<Setting<String>> {
    let name = name?;
    let origin = config.providers.get(name)?.kind.origin.clone();
    Some(Setting::new(name.to_owned(), origin))
}

/// Every model that is named belongs to a provider there is; `rules` always is.
fn check_models(config: &Config) -> Result<(), ConfigError> {
    for model in config.models.values() {
        let (name, known) = (&model.value.provider, config.provider_names());
        if known.contains(&name.as_str()) {
            continue;
        }
        return Err(ConfigError {
            place: Place::Value(model.origin.clone()),
            problem: crate::report::no_such("provider", name, &known),
            next_step: "Add its section, or name another".to_owned(),
            excerpt: None,
        });
    }
    Ok(())
}

impl Config {
    /// Every provider a model may be named of; `rules` is always there.
    pub(crate) fn provider_names(&self) -> Vec<&str> {
        let configured = self.providers.keys().map(String::as_str);
        configured.chain(["rules"]).collect()
    }

    /// Whether the daemon ends when idle, and after how many seconds.
    pub(crate) fn idle_exit(&self) -> Option<std::time::Duration> {
        let seconds = self.idle_exit_s.value;
        (self.paths.installation == Installation::PerUser && seconds > 0)
            .then(|| std::time::Duration::from_secs(seconds))
    }
}
