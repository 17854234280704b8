//! Builds every part once and puts them together. The only file that sees every room.

use crate::{
    bell::Told,
    config::{Config, Day, Installation, Origin},
    confine,
    report::no_such,
    retention::{Forget, Retention},
    rpc::{Activity, Front, StopOrder},
    world::{RandomIds, SystemClock},
};
use aaos_core::{
    model::{ModelClass, ModelRef},
    time::Span,
};
use aaos_llm::{
    Prices, ProviderConfig, Router, SetupError,
    provider::{self, ModelChoice, ScriptFile, rules},
};
use aaos_ports::{AnyTool, Backend, Bell, Catalog, Clock, Journal, JournalError, Provider};
use aaos_runtime::{DayLimit, Deps, RUNS_OF_ONE_MAX, RUNS_OPEN_MAX, Runtime, StartError};
use aaos_sandbox::{BACKENDS, backend::Parts};
use aaos_store::{
    Options, RoleCatalog, Store,
    notary::{Key, Notary, Pace},
    sink::{Opened, SINKS, SinkPump, Target},
};
use std::{collections::BTreeMap, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

/// Outbound requests in flight, over all runs: more gain nothing on one line and crowd out the model's.
const HTTP_REQUESTS_MAX: usize = 32;
/// Longest time to connect to a host that is there.
const HTTP_CONNECT_TIME: Span = Span::from_secs(10);
/// Longest time sinks are given to take what is left when the daemon ends.
const SINK_DRAIN_TIME: Duration = Duration::from_secs(2);
/// The name a provider is asked for when none is configured and it could not be asked which it serves.
const MODEL_UNNAMED: &str = "default";

/// Why a part could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] StartError),
    /// A model provider.
    #[error(transparent)]
    Provider(#[from] SetupError),
    /// The price file.
    #[error(transparent)]
    Prices(#[from] aaos_llm::PriceError),
    /// Outbound HTTP.
    #[error(transparent)]
    Http(#[from] aaos_net::ClientError),
    /// A setting that names something there is not.
    #[error("{origin}: {problem}")]
    Setting {
        /// Where it was set.
        origin: Origin,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A sink.
    #[error("the sink {name} cannot be opened: {source}. Correct [sinks] in the configuration")]
    Sink {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ComposeError {
    /// What the journal said, if it was the journal.
    pub(crate) const fn journal(&self) -> Option<&JournalError> {
        match self {
            Self::Journal(error) | Self::Runtime(StartError::Journal(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether another daemon has the state directory.
    pub(crate) const fn is_in_use(&self) -> bool {
        matches!(self, Self::Journal(JournalError::InUse { .. }))
    }
}

/// The composed daemon.
pub(crate) struct House {
    /// What the methods have in hand.
    pub(crate) front: Arc<Front>,
    runtime: Arc<Runtime>,
    store: Arc<Store>,
    sinks: SinkPump,
    notary: Notary,
    retention: Option<Retention>,
}

impl House {
    /// Takes no more goals, gives runs time to reach a safe point, records the end.
    pub(crate) async fn drain(&self, reason: &str, grace: Span) {
        self.runtime.drain(grace, reason).await;
    }

    /// Lets go of everything.
    pub(crate) async fn close(self) {
        if let Some(retention) = self.retention {
            retention.close().await;
        }
        self.notary.close().await;
        self.sinks.drain(self.store.head(), SINK_DRAIN_TIME).await;
        self.store.close().await;
    }
}

/// Builds the daemon. The state directory is taken first: of two daemons on one, the second goes no further.
///
/// # Errors
/// A part could not be made.
pub(crate) async fn house(config: Arc<Config>) -> Result<House, ComposeError> {
    confine::claim(&config.paths);
    let state = config.paths.state.value.clone();
    let store = Arc::new(Store::open(&state, Options::standard())?);
    let key = Key::open(&state)?;
    let journal: Arc<dyn Journal> = Arc::<Store>::clone(&store);
    let models = models(&config).await?;
    let catalog: Arc<dyn Catalog> = Arc::new(RoleCatalog::load(
        &role_dirs(&config),
        aaos_store::catalog::roles::BUNDLED,
    ));
    let tools = aaos_tools::builtin();
    let backend = backend(&config, &tools)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sinks = SinkPump::start(&journal, store.head_at_open(), sinks(&config)?);
    let backend_name = backend.name().0;
    let specs = tools.iter().map(|tool| tool.spec().clone()).collect();
    let deps = Deps {
        journal,
        provider: Arc::clone(&models.provider),
        models: models.runtime(),
        catalog: Arc::clone(&catalog),
        backend,
        tools,
        bell: bell(&config),
        secrets: Arc::new(confine::Kept::of(&config)),
        clock: Arc::clone(&clock),
        ids: Arc::new(RandomIds::default()),
        config: plain(&config, &models),
    };
    let runtime = Runtime::start(deps).await?;
    let notary = Notary::start(Arc::clone(&store), Arc::clone(&clock), key, pace(&config));
    let (open, known) = (Arc::clone(&runtime), Arc::clone(&runtime));
    let forget: Forget = Arc::new(move |erased| known.forget(erased));
    let retention = config.policy.retention_days.as_ref().map(|days| {
        let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
        Retention::start(store, clock, days.value, Arc::clone(&forget))
    });
    let front = Front {
        goals: Arc::<Runtime>::clone(&runtime),
        authority: Arc::<Runtime>::clone(&runtime),
        decisions: Arc::<Runtime>::clone(&runtime),
        history: Arc::<Runtime>::clone(&runtime),
        store: Arc::clone(&store),
        runs_open: Box::new(move || open.runs_open()),
        forget,
        catalog,
        tools: specs,
        model_label: models.label(),
        unpriced: models.unpriced,
        provider: models.provider,
        models: models.classes,
        confinement: confinement(&config.backend.value),
        backend: backend_name,
        ready: clock.now(),
        clock,
        uid: rustix::process::getuid().as_raw(),
        config,
        activity: Activity::default(),
        stop: StopOrder::default(),
    };
    Ok(House {
        front: Arc::new(front),
        runtime,
        store,
        sinks,
        notary,
        retention,
    })
}

fn backend(config: &Config, tools: &[Arc<dyn AnyTool>]) -> Result<Arc<dyn Backend>, ComposeError> {
    let wanted = &config.backend;
    let entry = BACKENDS
        .iter()
        .find(|entry| entry.name == wanted.value)
        .ok_or_else(|| {
            let names: Vec<&str> = BACKENDS.iter().map(|entry| entry.name).collect();
            ComposeError::Setting {
                origin: wanted.origin.clone(),
                problem: no_such("backend", &wanted.value, &names),
            }
        })?;
    install_tls();
    let http = aaos_net::Client::new(&aaos_net::Config {
        user_agent: concat!("aaos/", env!("CARGO_PKG_VERSION")).to_owned(),
        connect_timeout: HTTP_CONNECT_TIME,
        requests_max: HTTP_REQUESTS_MAX,
    })?;
    let made = (entry.make)(Parts {
        tools: tools.to_vec(),
        http: Arc::new(http),
        own: confine::Own::of(&config.paths).files(),
        namespaced: confine::namespaced(config),
    });
    Ok(confine::labelled(made, config))
}

/// The runtime's plain settings.
fn plain(config: &Config, models: &Models) -> aaos_runtime::Config {
    aaos_runtime::Config {
        runs_dir: config.paths.runs().display().to_string(),
        slots: config.slots.value,
        workers_max: config.workers_max.value,
        runs_of_one_max: match config.paths.installation {
            Installation::System => RUNS_OF_ONE_MAX,
            Installation::PerUser => RUNS_OPEN_MAX,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        prices: models.prices_sum.clone(),
        budget_operator_day: day(&config.budgets.operator),
        budget_day: day(&config.budgets.day),
        approval_expires: config.policy.expire.value,
        effects_keyed: config.policy.keyed.value.clone(),
    }
}

/// The operator's command, if there is one.
fn bell(config: &Config) -> Option<Arc<dyn Bell>> {
    let told = Told::by(
        &config.policy.notify.value,
        crate::config::secret_variables(),
    )?;
    Some(Arc::new(told))
}

/// How often the journal's end is signed.
fn pace(config: &Config) -> Pace {
    let policy = &config.policy;
    Pace {
        events: NonZeroU64::new(policy.sign_every_events.value).unwrap_or(NonZeroU64::MIN),
        every: Duration::from_secs(policy.sign_every_s.value),
    }
}

fn day(day: &Day) -> DayLimit {
    DayLimit {
        tokens: day.tokens.as_ref().map(|tokens| tokens.value),
        cost: day.cost.as_ref().map(|cost| cost.value),
    }
}

/// One provider of cryptography for every connection; a second call changes nothing.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What a backend protects from, in its own words.
fn confinement(name: &str) -> &'static str {
    BACKENDS
        .iter()
        .find(|entry| entry.name == name)
        .map_or("", |entry| entry.summary)
}

/// Where role files are looked for beside the bundled ones.
fn role_dirs(config: &Config) -> Vec<PathBuf> {
    match &config.paths.roles {
        Some(roles) => vec![roles.value.clone()],
        None => vec![config.paths.config.value.with_file_name("roles")],
    }
}

fn sinks(config: &Config) -> Result<Vec<Opened>, ComposeError> {
    let file = config.sinks.file.as_ref().map(|file| file.value.clone());
    let wanted = [
        ("stdout", config.sinks.stdout.value.then(Target::default)),
        ("file", file.map(|path| Target { path: Some(path) })),
        (
            "journald",
            config.sinks.journald.value.then(Target::default),
        ),
    ];
    let open = |(name, target): (&str, Target)| {
        let kind = SINKS.iter().find(|kind| kind.name == name)?;
        Some((kind.open)(&target).map_err(|source| ComposeError::Sink {
            name: kind.name,
            source,
        }))
    };
    wanted
        .into_iter()
        .filter_map(|(name, target)| target.map(|target| (name, target)))
        .filter_map(open)
        .collect()
}

/// The models there are.
pub(crate) struct Models {
    /// All providers as one.
    pub(crate) provider: Arc<dyn Provider>,
    /// Which model serves which class.
    pub(crate) classes: Vec<(ModelClass, ModelRef)>,
    unpriced: Box<dyn Fn(&ModelRef) -> bool + Send + Sync>,
    prices_sum: String,
}

impl Models {
    fn of(&self, class: ModelClass) -> ModelRef {
        let found = self.classes.iter().find(|(known, _)| *known == class);
        found.map_or_else(rules_model, |(_, model)| model.clone())
    }

    fn runtime(&self) -> aaos_runtime::Models {
        aaos_runtime::Models {
            planner: self.of(ModelClass::Planner),
            worker: self.of(ModelClass::Worker),
            reasoner: self.of(ModelClass::Reasoner),
        }
    }

    /// What people are told: the models, or that there is none.
    fn label(&self) -> String {
        let mut names: Vec<String> = self
            .classes
            .iter()
            .map(|(_, model)| self.provider.label(model))
            .collect();
        names.dedup();
        names.join(", ")
    }
}

fn rules_model() -> ModelRef {
    ModelRef {
        provider: rules::MODEL.to_owned(),
        model: rules::MODEL.to_owned(),
    }
}

/// Builds every provider; `rules` is always there, and serves if nothing is configured.
pub(crate) async fn models(config: &Config) -> Result<Models, ComposeError> {
    install_tls();
    let (prices, prices_sum) = prices(config)?;
    let prices = Arc::new(prices);
    let mut built: Vec<(String, Arc<dyn Provider>)> =
        vec![(rules::MODEL.to_owned(), Arc::new(rules::Rules))];
    let (mut first, mut billing) = (None, BTreeMap::new());
    for (name, configured) in &config.providers {
        let mut wanted = provider_config(name, configured)?;
        if config
            .provider_first
            .as_ref()
            .is_some_and(|first| first.value == *name)
        {
            settle(&mut wanted).await?;
            first = Some(wanted.clone());
        }
        if wanted.bills() {
            billing.insert(name.clone(), wanted.kind.clone());
        }
        built.push((name.clone(), provider::build(&wanted, Arc::clone(&prices))?));
    }
    let usual = |class| match &first {
        Some(first) => {
            let model = first.model(class).unwrap_or(MODEL_UNNAMED).to_owned();
            ModelRef {
                provider: first.name.clone(),
                model,
            }
        }
        None => rules_model(),
    };
    let class = |class| {
        (
            class,
            config
                .models
                .get(&class)
                .map_or_else(|| usual(class), |model| model.value.clone()),
        )
    };
    let classes = ModelClass::ALL.map(class).to_vec();
    let router = Router::new(built);
    Ok(Models {
        provider: Arc::new(router),
        classes,
        unpriced: Box::new(move |model| {
            let kind = billing.get(&model.provider);
            kind.is_some_and(|kind| !prices.knows(kind, &model.provider, &model.model))
        }),
        prices_sum,
    })
}

/// Finds out which model the provider serves, if none is named. One that does not answer is asked for its default when
/// a run needs it, and the run then says what is wrong.
async fn settle(wanted: &mut ProviderConfig) -> Result<(), ComposeError> {
    match provider::settle_model(wanted).await {
        Ok(()) => Ok(()),
        Err(SetupError::Provider(error)) => {
            tracing::warn!(provider = wanted.name, %error, "the provider does not say which models it serves");
            wanted.models = ModelChoice::only(MODEL_UNNAMED);
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn provider_config(
    name: &str,
    configured: &crate::config::ProviderConfig,
) -> Result<ProviderConfig, ComposeError> {
    if provider::preset(&configured.kind.value).is_none() {
        let known: Vec<&str> = provider::PROVIDERS
            .iter()
            .map(|preset| preset.name)
            .collect();
        return Err(ComposeError::Setting {
            origin: configured.kind.origin.clone(),
            problem: no_such("kind of provider", &configured.kind.value, &known),
        });
    }
    let mut wanted = ProviderConfig::new(name, configured.kind.value.clone());
    wanted.base_url = configured.base_url.as_ref().map(|url| url.value.clone());
    wanted.key = configured.key.as_ref().map(|key| key.value.clone());
    if let Some(patience) = &configured.patience {
        wanted.patience.outage = patience.value;
    }
    if let Some(model) = &configured.model {
        wanted.models = ModelChoice::only(model.value.clone());
    }
    if let Some(file) = &configured.file {
        let text = std::fs::read_to_string(&file.value).map_err(|error| ComposeError::Setting {
            origin: file.origin.clone(),
            problem: format!(
                "the script {} cannot be read: {error}",
                file.value.display()
            ),
        })?;
        wanted.script = Some(ScriptFile {
            file: file.value.display().to_string(),
            text,
        });
    }
    Ok(wanted)
}

/// The bundled prices, and before them the operator's; with a digest for the journal.
fn prices(config: &Config) -> Result<(Prices, String), ComposeError> {
    let bundled = Prices::bundled()?;
    let version = env!("CARGO_PKG_VERSION");
    let Some(own) = &config.prices else {
        return Ok((bundled, format!("bundled {version}")));
    };
    let prices = Prices::parse(&own.origin.to_string(), &own.value)?.or(bundled);
    Ok((
        prices,
        format!(
            "bundled {version}, own {}",
            blake3::hash(own.value.as_bytes()).to_hex()
        ),
    ))
}
