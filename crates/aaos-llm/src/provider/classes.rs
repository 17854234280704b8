//! Which model serves which class: any single provider of any kind serves them all.

use super::ProviderConfig;
use aaos_core::model::{ModelClass, ModelRef};
use std::collections::BTreeMap;

/// A model for every class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// For plans.
    pub planner: ModelRef,
    /// For most subtasks.
    pub worker: ModelRef,
    /// For subtasks where the worker's model failed.
    pub reasoner: ModelRef,
}

/// Why the classes cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// There is no provider at all.
    #[error("no provider is configured; configure one with `agentd configure`")]
    NoProvider,
    /// A provider has no model for a class.
    #[error(
        "provider `{provider}` has no model for the class `{class}`; name one in the configuration, or with `--model`"
    )]
    NoModel {
        /// The provider's configured name.
        provider: String,
        /// The class.
        class: &'static str,
    },
    /// A model was named without a provider, and there are several.
    #[error("`{model}` names no configured provider; write PROVIDER/MODEL with one of {known}")]
    WhichProvider {
        /// What was written.
        model: String,
        /// The configured providers.
        known: String,
    },
}

impl Classes {
    /// One model for every class.
    #[must_use]
    pub fn only(model: ModelRef) -> Self {
        Self {
            planner: model.clone(),
            worker: model.clone(),
            reasoner: model,
        }
    }

    /// Chooses for every class: what `chosen` says (as [`parse_model`] reads it), else what the first provider has.
    ///
    /// # Errors
    /// No provider, a class without a model, a model whose provider cannot be told.
    pub fn settle(
        providers: &[ProviderConfig],
        chosen: &BTreeMap<ModelClass, String>,
    ) -> Result<Self, ClassError> {
        let first = providers.first().ok_or(ClassError::NoProvider)?;
        let pick = |class: ModelClass| match chosen.get(&class) {
            Some(written) => parse_model(written, providers),
            None => usual(first, class),
        };
        Ok(Self {
            planner: pick(ModelClass::Planner)?,
            worker: pick(ModelClass::Worker)?,
            reasoner: pick(ModelClass::Reasoner)?,
        })
    }

    /// The model for a class.
    #[must_use]
    pub const fn of(&self, class: ModelClass) -> &ModelRef {
        match class {
            ModelClass::Planner => &self.planner,
            ModelClass::Worker => &self.worker,
            ModelClass::Reasoner => &self.reasoner,
        }
    }
}

fn usual(provider: &ProviderConfig, class: ModelClass) -> Result<ModelRef, ClassError> {
    let model = provider.model(class).ok_or_else(|| ClassError::NoModel {
        provider: provider.name.clone(),
        class: class.as_str(),
    })?;
    Ok(ModelRef {
        provider: provider.name.clone(),
        model: model.to_owned(),
    })
}

/// Reads a model as people write it: `provider/model`, a provider's name alone for its worker's model, or a model's
/// name alone where there is one provider. A model's own name may hold slashes.
///
/// # Errors
/// The provider cannot be told, or it has no model of its own.
pub fn parse_model(written: &str, providers: &[ProviderConfig]) -> Result<ModelRef, ClassError> {
    let named = |name: &str| providers.iter().find(|provider| provider.name == name);
    if let Some((provider, model)) = written.split_once('/')
        && let Some(provider) = named(provider)
        && !model.is_empty()
    {
        return Ok(ModelRef {
            provider: provider.name.clone(),
            model: model.to_owned(),
        });
    }
    if let Some(provider) = named(written) {
        return usual(provider, ModelClass::Worker);
    }
    match providers {
        [only] if !written.is_empty() => Ok(ModelRef {
            provider: only.name.clone(),
            model: written.to_owned(),
        }),
        [] => Err(ClassError::NoProvider),
        several => Err(ClassError::WhichProvider {
            model: crate::fault::short(written),
            known: several
                .iter()
                .map(|provider| provider.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::provider::{ModelChoice, PROVIDERS};

    fn provider(name: &str, kind: &str) -> ProviderConfig {
        ProviderConfig::new(name, kind)
    }

    #[test]
    fn any_single_provider_serves_every_class() {
        for preset in PROVIDERS {
            let mut config = provider("main", preset.name);
            if preset.model(ModelClass::Worker).is_none() {
                config.models = ModelChoice::only("installed");
            }
            let classes = Classes::settle(&[config], &BTreeMap::new()).unwrap();
            for class in ModelClass::ALL {
                assert_eq!(classes.of(class).provider, "main", "{}", preset.name);
            }
        }
    }

    #[test]
    fn a_class_may_be_served_by_another_provider() {
        let providers = [provider("main", "anthropic"), provider("local", "ollama")];
        let chosen = BTreeMap::from([(ModelClass::Planner, "local/a/b:1".to_owned())]);
        let classes = Classes::settle(&providers, &chosen).unwrap();
        assert_eq!(classes.planner.to_string(), "local/a/b:1");
        assert_eq!(classes.worker.provider, "main");
    }

    #[test]
    fn a_model_is_read_as_people_write_it() {
        let one = [provider("main", "anthropic")];
        let model = |text: &str| parse_model(text, &one).map(|model| model.to_string());
        assert_eq!(model("main/x").unwrap(), "main/x");
        assert_eq!(model("meta/x").unwrap(), "main/meta/x");
        assert_eq!(model("x").unwrap(), "main/x");
        assert_eq!(model("main").unwrap(), "main/claude-sonnet-5-5");
        let two = [provider("main", "anthropic"), provider("other", "openai")];
        assert!(matches!(
            parse_model("x", &two),
            Err(ClassError::WhichProvider { .. })
        ));
        assert!(matches!(
            parse_model("", &one),
            Err(ClassError::WhichProvider { .. })
        ));
        assert_eq!(parse_model("x", &[]), Err(ClassError::NoProvider));
    }

    #[test]
    fn a_server_without_a_named_model_says_so() {
        let error = Classes::settle(&[provider("local", "vllm")], &BTreeMap::new()).unwrap_err();
        assert!(matches!(&error, ClassError::NoModel { provider, .. } if provider == "local"));
    }
}
