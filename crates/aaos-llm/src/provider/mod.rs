//! The table of providers, what configures one, and how one is built.
//!
//! Adding a provider is one file here and one line in [`PROVIDERS`].

mod anthropic;
mod openai;
mod router;
pub mod rules;
pub mod scripted;

pub use router::Router;

use crate::{
    price::Prices,
    service::{Service, base_url},
};
use aaos_core::{model::ModelClass, secret::Secret, time::Span};
use aaos_ports::provider::{Provider, ProviderError};
use std::{num::NonZeroUsize, sync::Arc};

/// Every kind of provider, in the order they are offered.
pub static PROVIDERS: &[Preset] = &[
    Preset {
        name: "anthropic",
        summary: "Claude models by Anthropic's own API, or another server that speaks it",
        base_url: Some("https://api.anthropic.com"),
        key: KeyNeed::Required("ANTHROPIC_API_KEY"),
        models: Some(["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"]),
        wire: Wire::Anthropic,
    },
    Preset {
        name: "openai",
        summary: "OpenAI's models, or any server that speaks its chat completions, by base URL",
        base_url: Some("https://api.openai.com/v1"),
        key: KeyNeed::Optional("OPENAI_API_KEY"),
        models: Some(["gpt-6-luna", "gpt-6.1-sol", "gpt-6-astra"]),
        wire: Wire::OpenAi(openai::Habits::OPENAI),
    },
    Preset {
        name: "deepseek",
        summary: "DeepSeek's models",
        base_url: Some("https://api.deepseek.com/v1"),
        key: KeyNeed::Required("DEEPSEEK_API_KEY"),
        models: Some(["deepseek-v4-flash", "deepseek-v4-flash", "deepseek-v4-pro"]),
        wire: Wire::OpenAi(openai::Habits::DEEPSEEK),
    },
    Preset {
        name: "ollama",
        summary: "Models on this machine, served by Ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        key: KeyNeed::Optional("OLLAMA_API_KEY"),
        models: None,
        wire: Wire::OpenAi(openai::Habits::COMPATIBLE),
    },
    Preset {
        name: "vllm",
        summary: "Models on a machine of yours, served by vLLM",
        base_url: Some("http://127.0.0.1:8000/v1"),
        key: KeyNeed::Optional("VLLM_API_KEY"),
        models: None,
        wire: Wire::OpenAi(openai::Habits::COMPATIBLE),
    },
    Preset {
        name: "openrouter",
        summary: "Many providers' models through OpenRouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        key: KeyNeed::Required("OPENROUTER_API_KEY"),
        models: None,
        wire: Wire::OpenAi(openai::Habits::COMPATIBLE),
    },
    Preset {
        name: "rules",
        summary: "No model: everyday goals over files and pages, planned by fixed rules",
        base_url: None,
        key: KeyNeed::None,
        models: Some([rules::MODEL; 3]),
        wire: Wire::Rules,
    },
    Preset {
        name: "scripted",
        summary: "Replies read from a file, for tests and demonstrations",
        base_url: None,
        key: KeyNeed::None,
        models: Some(["script"; 3]),
        wire: Wire::Scripted,
    },
];

/// A kind of provider.
#[derive(Debug)]
pub struct Preset {
    /// Its name in the configuration.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Where it is, unless the configuration says otherwise; none if it is nowhere on the network.
    pub base_url: Option<&'static str>,
    /// Whether it needs a key.
    pub key: KeyNeed,
    /// Its models for planner, worker and reasoner, unless the configuration says otherwise; none if that depends on
    /// what is installed there.
    models: Option<[&'static str; 3]>,
    wire: Wire,
}

impl Preset {
    /// The model it uses for a class by default, at its default address.
    #[must_use]
    pub fn model(&self, class: ModelClass) -> Option<&'static str> {
        let place = match class {
            ModelClass::Planner => 0,
            ModelClass::Worker => 1,
            ModelClass::Reasoner => 2,
        };
        self.models.and_then(|models| models.get(place).copied())
    }
}

/// Whether a provider needs a key, and the variable it is usually kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNeed {
    /// It answers nobody without one.
    Required(&'static str),
    /// Some servers of this kind want one.
    Optional(&'static str),
    /// It has no use for one.
    None,
}

impl KeyNeed {
    /// The variable a key is usually kept in.
    #[must_use]
    pub const fn variable(self) -> Option<&'static str> {
        match self {
            Self::Required(name) | Self::Optional(name) => Some(name),
            Self::None => None,
        }
    }
}

/// What a kind of provider speaks.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Anthropic,
    OpenAi(openai::Habits),
    Rules,
    Scripted,
}

/// Finds a kind of provider by its name in the configuration.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PROVIDERS.iter().find(|preset| preset.name == name)
}

/// How long a service on the network is waited for, and how it is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time to make a connection.
    pub connect: Span,
    /// Longest time from a request to the beginning of its answer. A local model reads a long prompt for minutes.
    pub first_byte: Span,
    /// Longest silence within an answer.
    pub idle: Span,
    /// Longest time for one attempt, from the request to the whole reply.
    pub total: Span,
    /// How long a provider that cannot be reached, is busy (429) or broken (5xx) is asked again, from a request's first
    /// trouble on; also the longest wait that it may ask for. An operator's `patience`.
    pub outage: Span,
    /// The same where somebody waits for the answer of a probe or a list of models.
    pub look: Span,
    /// First wait between two attempts; each further one is twice as long, plus a random part.
    pub backoff_first: Span,
    /// Longest such wait, before the random part.
    pub backoff_max: Span,
}

impl Default for Patience {
    /// Measured against what people put up with: minutes for a slow model or an outage, seconds for a look whether a
    /// server is there. During an outage a provider gets four requests a minute.
    fn default() -> Self {
        Self {
            connect: Span::from_secs(3),
            first_byte: Span::from_secs(180),
            idle: Span::from_secs(120),
            total: Span::from_secs(900),
            outage: Span::from_secs(600),
            look: Span::from_secs(3),
            backoff_first: Span::from_millis(250),
            backoff_max: Span::from_secs(10),
        }
    }
}

/// Which models serve the classes; each may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelChoice {
    /// For plans.
    pub planner: Option<String>,
    /// For most subtasks; serves the other classes too where they are left out.
    pub worker: Option<String>,
    /// For subtasks where the worker's model failed.
    pub reasoner: Option<String>,
}

impl ModelChoice {
    /// One model for every class.
    #[must_use]
    pub fn only(model: impl Into<String>) -> Self {
        Self {
            worker: Some(model.into()),
            ..Self::default()
        }
    }

    /// What is chosen for a class: its own model, else the worker's, else any.
    #[must_use]
    pub fn of(&self, class: ModelClass) -> Option<&str> {
        let own = match class {
            ModelClass::Planner => &self.planner,
            ModelClass::Worker => &self.worker,
            ModelClass::Reasoner => &self.reasoner,
        };
        own.as_deref()
            .or(self.worker.as_deref())
            .or(self.reasoner.as_deref())
            .or(self.planner.as_deref())
    }
}

/// A script's file, read by whoever may read files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFile {
    /// Its path, for labels and errors.
    pub file: String,
    /// Its content.
    pub text: String,
}

/// One configured provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderConfig {
    /// Its name, as `ModelRef::provider` says it.
    pub name: String,
    /// Its kind: a name in [`PROVIDERS`].
    pub kind: String,
    /// Where it is, if not where its kind usually is.
    pub base_url: Option<String>,
    /// Its key.
    pub key: Option<Secret<String>>,
    /// Its models, if not its kind's.
    pub models: ModelChoice,
    /// How long it is waited for.
    pub patience: Patience,
    /// Most requests at once; no limit of its own if left out.
    pub concurrency: Option<NonZeroUsize>,
    /// The script, for the kind `scripted`.
    pub script: Option<ScriptFile>,
}

impl ProviderConfig {
    /// A provider of a kind, with everything else as that kind has it.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            base_url: None,
            key: None,
            models: ModelChoice::default(),
            patience: Patience::default(),
            concurrency: None,
            script: None,
        }
    }

    /// The model for a class: as configured, else as its kind has it. A kind's own models are no guide to what a
    /// server at another address serves.
    #[must_use]
    pub fn model(&self, class: ModelClass) -> Option<&str> {
        let usual = || match preset(&self.kind) {
            Some(preset) if self.is_at_home(preset) => preset.model(class),
            _ => None,
        };
        self.models.of(class).or_else(usual)
    }

    /// Whether somebody bills for what it is asked, as far as its kind and address tell: on this machine and its own
    /// network nobody does.
    #[must_use]
    pub fn bills(&self) -> bool {
        let usual = preset(&self.kind).and_then(|preset| preset.base_url);
        let url = self.base_url.as_deref().or(usual);
        url.and_then(|url| url::Url::parse(url).ok())
            .is_some_and(|url| !crate::price::is_near(&url))
    }

    /// Refuses a kind there is not and an address that nothing can be reached at. Connects to nothing.
    ///
    /// # Errors
    /// `Kind`, `BaseUrl`.
    pub fn check_address(&self) -> Result<(), SetupError> {
        let preset = find(self)?;
        match preset.wire {
            Wire::Rules | Wire::Scripted => Ok(()),
            Wire::Anthropic | Wire::OpenAi(_) => base_url(self, preset.base_url).map(drop),
        }
    }

    fn is_at_home(&self, preset: &Preset) -> bool {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        // Gateways in front of Anthropic's API serve Anthropic's names.
        matches!(preset.wire, Wire::Anthropic)
            || self
                .base_url
                .as_deref()
                .is_none_or(|url| Some(bare(url)) == preset.base_url.map(bare))
    }
}

/// Why a provider cannot be built from its configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// No such kind.
    #[error("provider `{name}`: there is no kind `{kind}`; there are {known}")]
    Kind {
        /// The provider's configured name.
        name: String,
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
    /// The base URL cannot be used.
    #[error(
        "provider `{name}`: its base URL cannot be used: {problem}; it looks like https://host/v1"
    )]
    BaseUrl {
        /// The provider's configured name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The key holds what no header may.
    #[error(
        "provider `{name}`: its key holds line breaks or other characters that no key has; set it again with `agentd configure`"
    )]
    Key {
        /// The provider's configured name.
        name: String,
    },
    /// Encrypted connections cannot be made.
    #[error(
        "provider `{name}`: encrypted connections cannot be made: {problem}; install the system's CA certificates (package ca-certificates)"
    )]
    Tls {
        /// The provider's configured name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A scripted provider without a script, or with a broken one.
    #[error("provider `{name}`: {problem}")]
    Script {
        /// The provider's configured name.
        name: String,
        /// What is wrong and where.
        problem: String,
    },
    /// No model was named and the server does not have just one.
    #[error("provider `{name}` serves {count} models; name one in the configuration: {some}")]
    NoModel {
        /// The provider's configured name.
        name: String,
        /// How many it serves.
        count: usize,
        /// The first few.
        some: String,
    },
    /// It was asked for its models and did not answer.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

fn find(config: &ProviderConfig) -> Result<&'static Preset, SetupError> {
    preset(&config.kind).ok_or_else(|| SetupError::Kind {
        name: config.name.clone(),
        kind: crate::fault::short(&config.kind),
        known: PROVIDERS
            .iter()
            .map(|preset| preset.name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Builds a provider. Connects to nothing yet.
///
/// # Errors
/// Whatever in the configuration cannot be used, with the provider's name.
pub fn build(
    config: &ProviderConfig,
    prices: Arc<Prices>,
) -> Result<Arc<dyn Provider>, SetupError> {
    let preset = find(config)?;
    Ok(match preset.wire {
        Wire::Anthropic => Arc::new(Service::new(anthropic::Messages, config, preset, prices)?),
        Wire::OpenAi(habits) => Arc::new(Service::new(
            openai::Chat::new(habits, config),
            config,
            preset,
            prices,
        )?),
        Wire::Rules => Arc::new(rules::Rules),
        Wire::Scripted => Arc::new(scripted::Scripted::from_config(config)?),
    })
}

/// The models a provider lists.
///
/// # Errors
/// As [`build`], or the provider did not answer.
pub async fn served_models(config: &ProviderConfig) -> Result<Vec<String>, SetupError> {
    let preset = find(config)?;
    let prices = Arc::new(Prices::none());
    Ok(match preset.wire {
        Wire::Anthropic => {
            Service::new(anthropic::Messages, config, preset, prices)?
                .models()
                .await?
        }
        Wire::OpenAi(habits) => {
            Service::new(openai::Chat::new(habits, config), config, preset, prices)?
                .models()
                .await?
        }
        Wire::Rules | Wire::Scripted => preset
            .model(ModelClass::Worker)
            .map(str::to_owned)
            .into_iter()
            .collect(),
    })
}

/// Fills in the model of a provider for which none is configured or usual: the only one it serves.
///
/// # Errors
/// As [`served_models`], or it serves none or several.
pub async fn settle_model(config: &mut ProviderConfig) -> Result<(), SetupError> {
    if config.model(ModelClass::Worker).is_some() {
        return Ok(());
    }
    let served = served_models(config).await?;
    match served.as_slice() {
        [only] => {
            config.models = ModelChoice::only(only.clone());
            Ok(())
        }
        several => {
            let some = several
                .iter()
                .take(8)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            Err(SetupError::NoModel {
                name: config.name.clone(),
                count: several.len(),
                some,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_what_it_needs() {
        for (place, preset) in PROVIDERS.iter().enumerate() {
            assert!(
                PROVIDERS
                    .iter()
                    .skip(place + 1)
                    .all(|other| other.name != preset.name)
            );
            assert_eq!(
                matches!(preset.wire, Wire::Anthropic | Wire::OpenAi(_)),
                preset.base_url.is_some(),
                "{}",
                preset.name
            );
        }
    }

    #[test]
    fn any_single_provider_serves_every_class() {
        for preset in PROVIDERS {
            let mut config = ProviderConfig::new("main", preset.name);
            if preset.model(ModelClass::Worker).is_none() {
                config.models = ModelChoice::only("installed");
            }
            for class in ModelClass::ALL {
                assert!(config.model(class).is_some(), "{}: {class:?}", preset.name);
            }
        }
    }

    #[test]
    fn a_bundled_models_price_is_known() {
        let prices = Prices::bundled().unwrap();
        for preset in PROVIDERS
            .iter()
            .filter(|preset| matches!(preset.key, KeyNeed::Required(_)) || preset.name == "openai")
        {
            for model in preset.models.into_iter().flatten() {
                let biller = crate::price::Biller {
                    kind: preset.name,
                    name: "any",
                };
                assert!(prices.most(biller, model, 1_000, 1_000).0 > 0, "{model}");
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_known_ones() {
        let error = build(
            &ProviderConfig::new("main", "gemini"),
            Arc::new(Prices::none()),
        )
        .err()
        .unwrap();
        let text = error.to_string();
        assert!(
            text.contains("`gemini`") && text.contains("anthropic") && text.contains("scripted"),
            "{text}"
        );
    }

    #[test]
    fn a_key_shows_in_no_configuration_and_no_error() {
        let mut config = ProviderConfig::new("main", "anthropic");
        config.key = Some(Secret::new("sk-secret\nvalue".to_owned()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let error = build(&config, Arc::new(Prices::none())).err().unwrap();
        assert!(matches!(error, SetupError::Key { .. }));
        assert!(!format!("{config:?} {error} {error:?}").contains("sk-secret"));
    }

    #[test]
    fn a_base_url_that_holds_a_password_or_is_none_is_refused() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for bad in [
            "https://user:pw@host/v1",
            "ftp://host",
            "host:80",
            "not a url",
            "http://h/v1?key=k",
            "http://h/#x",
        ] {
            let mut config = ProviderConfig::new("main", "openai");
            config.base_url = Some(bad.to_owned());
            let error = build(&config, Arc::new(Prices::none())).err().unwrap();
            assert!(
                matches!(error, SetupError::BaseUrl { .. }),
                "{bad}: {error}"
            );
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }

    #[test]
    fn a_server_at_another_address_is_not_asked_for_its_kinds_usual_models() {
        let mut config = ProviderConfig::new("main", "openai");
        assert!(config.model(ModelClass::Planner).is_some());
        config.base_url = Some("http://127.0.0.1:1/v1".to_owned());
        assert_eq!(config.model(ModelClass::Planner), None);
        config.models = ModelChoice::only("mine");
        for class in ModelClass::ALL {
            assert_eq!(config.model(class), Some("mine"));
        }
    }
}
