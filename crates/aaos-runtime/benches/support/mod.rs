//! What the benches of the runtime have in common: a runtime with everything outside it in memory, a goal, its end.

use aaos_core::{
    budget::Budget,
    event::{Kind, Mode, Seq},
    id::RunId,
    model::{ModelRef, Reply, Request},
    money::MicroDollars,
};
use aaos_ports::{AnyTool, DeltaSink, Goals, Provider, ProviderError, Submit, WatchItem};
use aaos_runtime::{Config, DayLimit, Deps, Models, Runtime};
use aaos_testkit::{
    backend::FakeBackend,
    catalog::FakeCatalog,
    clock::{FakeClock, FakeIds},
    files::MemoryTree,
    http::Pages,
    journal::MemoryJournal,
    secrets::FakeSecrets,
};
use async_trait::async_trait;
use futures::StreamExt;
use std::{num::NonZeroUsize, sync::Arc};

/// A model that answers at once and remembers nothing.
struct Instantly<F>(F);

#[async_trait]
impl<F: Fn(&Request) -> Reply + Send + Sync> Provider for Instantly<F> {
    async fn complete(&self, request: &Request, _: &dyn DeltaSink) -> Result<Reply, ProviderError> {
        Ok((self.0)(request))
    }

    async fn probe(&self, _: &ModelRef) -> Result<(), ProviderError> {
        Ok(())
    }

    fn worst_case(&self, _: &Request) -> MicroDollars {
        MicroDollars::ZERO
    }

    fn window(&self, _: &ModelRef) -> Option<u64> {
        None
    }

    fn label(&self, _: &ModelRef) -> String {
        "instant".to_owned()
    }
}

/// A plan of so many independent subtasks of one role.
pub(crate) fn plan(subtasks: usize, role: &str) -> String {
    let subtask = |number: usize| serde_json::json!({ "id": format!("s{number}"), "task": "do it", "role": role });
    let subtasks: Vec<_> = (0..subtasks).map(subtask).collect();
    serde_json::json!({ "subtasks": subtasks, "result": "s0" }).to_string()
}

/// A new runtime with one role.
pub(crate) async fn runtime(
    model: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    role: serde_json::Value,
    tools: Vec<Arc<dyn AnyTool>>,
) -> Arc<Runtime> {
    let name = ModelRef {
        provider: "instant".to_owned(),
        model: "m".to_owned(),
    };
    let pages = Arc::new(Pages::default());
    let deps = Deps {
        journal: Arc::new(MemoryJournal::new()),
        provider: Arc::new(Instantly(model)),
        models: Models::all(&name),
        catalog: Arc::new(FakeCatalog::new(vec![role]).unwrap()),
        backend: Arc::new(FakeBackend::new(
            tools.clone(),
            MemoryTree::default(),
            pages,
        )),
        tools,
        secrets: Arc::new(FakeSecrets::default()),
        clock: Arc::new(FakeClock::default()),
        ids: Arc::new(FakeIds::default()),
        bell: None,
        config: Config {
            runs_dir: "/runs".to_owned(),
            slots: NonZeroUsize::new(16).unwrap(),
            workers_max: NonZeroUsize::new(8).unwrap(),
            runs_of_one_max: aaos_runtime::RUNS_OPEN_MAX,
            version: "0".to_owned(),
            prices: "none".to_owned(),
            budget_operator_day: DayLimit::default(),
            budget_day: DayLimit::default(),
            approval_expires: aaos_core::approval::EXPIRES_AFTER,
            effects_keyed: Vec::new(),
        },
    };
    Runtime::start(deps).await.unwrap()
}

/// Submits a goal that is to be planned, with this grant, and waits for its end.
pub(crate) async fn finished(runtime: &Runtime, grant: &str) -> RunId {
    let submit = Submit {
        goal: "do it".to_owned(),
        base: "/home/op".to_owned(),
        operator: 1000,
        profile: "bench".to_owned(),
        grants: vec![grant.parse().unwrap()],
        budget: Budget {
            tokens: u64::MAX,
            ..Budget::default()
        },
        role_budgets: Default::default(),
        park: false,
        approve: Vec::new(),
        mode: Some(Mode::Plan),
        model: None,
    };
    let run = runtime.submit(submit).await.unwrap();
    let mut watch = runtime.watch(run, Seq(0));
    while let Some(Ok(item)) = watch.next().await {
        if let WatchItem::Event(event) = item
            && matches!(event.kind, Kind::RunFinished { .. })
        {
            break;
        }
    }
    run
}
