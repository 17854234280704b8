//! The router: sends each request to the provider its model names.

use aaos_core::{
    failure::ProviderFault,
    model::{ModelRef, Reply, Request},
    money::MicroDollars,
};
use aaos_ports::provider::{DeltaSink, Provider, ProviderError};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc};

/// Several providers as one.
#[derive(Clone, Default)]
pub struct Router {
    providers: BTreeMap<String, Arc<dyn Provider>>,
}

impl Router {
    /// Routes to these, by their configured names. Of two with one name the later serves.
    #[must_use]
    pub fn new(providers: impl IntoIterator<Item = (String, Arc<dyn Provider>)>) -> Self {
        Self {
            providers: providers.into_iter().collect(),
        }
    }

    /// The provider that serves a model.
    ///
    /// # Errors
    /// None of that name is configured.
    pub fn find(&self, model: &ModelRef) -> Result<&Arc<dyn Provider>, ProviderError> {
        self.providers
            .get(&model.provider)
            .ok_or_else(|| self.unknown(model))
    }

    fn unknown(&self, model: &ModelRef) -> ProviderError {
        let names: Vec<&str> = self.providers.keys().map(String::as_str).collect();
        let message = format!(
            "no provider `{}` is configured; there are: {}",
            model.provider,
            names.join(", ")
        );
        let next_step = "Configure it with `agentd configure`, or choose a configured one with `--model PROVIDER/MODEL`";
        ProviderError::new(
            model,
            ProviderFault::UnknownModel,
            None,
            &message,
            next_step,
        )
    }
}

#[async_trait]
impl Provider for Router {
    async fn complete(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError> {
        self.find(&request.model)?.complete(request, pieces).await
    }

    async fn probe(&self, model: &ModelRef) -> Result<(), ProviderError> {
        self.find(model)?.probe(model).await
    }

    fn worst_case(&self, request: &Request) -> MicroDollars {
        self.find(&request.model)
            .map_or(MicroDollars::ZERO, |provider| provider.worst_case(request))
    }

    fn window(&self, model: &ModelRef) -> Option<u64> {
        self.find(model).ok()?.window(model)
    }

    fn label(&self, model: &ModelRef) -> String {
        self.find(model)
            .map_or_else(|_| model.to_string(), |provider| provider.label(model))
    }
}
