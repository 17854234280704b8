//! How fast a run is carried out again from its record: a thousand steps, each a model request and a tool call, with a
//! journal in memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items; a bench fails by panicking"
)]

use aaos_core::{
    budget::Budget,
    event::{Kind, Mode, Seq},
    model::{ModelRef, Purpose, Reply, Request},
    money::MicroDollars,
    tool::{Effect, Recovery, ToolSpec},
};
use aaos_ports::{
    AnyTool, DeltaSink, Goals, History, Powers, Provider, ProviderError, Submit, ToolError,
    ToolOutput, WatchItem,
};
use aaos_runtime::{Config, DayLimit, Deps, Models, Runtime};
use aaos_testkit::{
    backend::FakeBackend,
    catalog::FakeCatalog,
    clock::{FakeClock, FakeIds},
    files::MemoryTree,
    http::Pages,
    journal::MemoryJournal,
    provider::{calls, says},
    secrets::FakeSecrets,
};
use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use serde_json::json;
use std::{num::NonZeroUsize, sync::Arc};

/// Subtasks of the run, and tool calls of each.
const SUBTASKS: usize = 100;
const CALLS: usize = 10;

/// Calls a tool so many times and is done.
struct Busy;

#[async_trait]
impl Provider for Busy {
    async fn complete(&self, request: &Request, _: &dyn DeltaSink) -> Result<Reply, ProviderError> {
        if let Purpose::Plan { .. } = &request.purpose {
            let subtask = |number: usize| json!({ "id": format!("s{number}"), "task": "be busy", "role": "worker" });
            let subtasks: Vec<_> = (0..SUBTASKS).map(subtask).collect();
            return Ok(says(
                &json!({ "subtasks": subtasks, "result": "s0" }).to_string(),
            ));
        }
        let turn = request.messages.len() / 2;
        Ok(if turn < CALLS {
            calls(&[("noop", json!({ "number": turn }))])
        } else {
            says("done")
        })
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
        "busy".to_owned()
    }
}

struct Noop(ToolSpec);

#[async_trait]
impl AnyTool for Noop {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn needs(&self, _: &serde_json::Value) -> Result<Vec<aaos_core::capability::Need>, ToolError> {
        Ok(Vec::new())
    }

    async fn call(&self, input: serde_json::Value, _: &Powers) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput { json: input })
    }
}

async fn runtime() -> Arc<Runtime> {
    let worker = json!({ "name": "worker", "summary": "Works.", "prompt": "Work.",
        "capabilities": ["tool: noop"], "limits": { "turns_max": 40 } });
    let model = ModelRef {
        provider: "busy".to_owned(),
        model: "m".to_owned(),
    };
    let tool: Arc<dyn AnyTool> = Arc::new(Noop(ToolSpec {
        name: "noop".parse().unwrap(),
        summary: "Does nothing.".to_owned(),
        input_schema: json!({ "type": "object" }),
        powers: Vec::new(),
        effect: Effect::Pure,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    }));
    let http = Arc::new(Pages::default());
    let deps = Deps {
        journal: Arc::new(MemoryJournal::new()),
        provider: Arc::new(Busy),
        models: Models::all(&model),
        catalog: Arc::new(FakeCatalog::new(vec![worker]).unwrap()),
        backend: Arc::new(FakeBackend::new(
            vec![Arc::clone(&tool)],
            MemoryTree::default(),
            http,
        )),
        tools: vec![tool],
        secrets: Arc::new(FakeSecrets::default()),
        clock: Arc::new(FakeClock::default()),
        ids: Arc::new(FakeIds::default()),
        bell: None,
        config: Config {
            runs_dir: "/runs".to_owned(),
            slots: NonZeroUsize::new(16).unwrap(),
            workers_max: NonZeroUsize::new(8).unwrap(),
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

fn goal() -> Submit {
    Submit {
        goal: "be busy".to_owned(),
        base: "/home/op".to_owned(),
        operator: 1000,
        profile: "default".to_owned(),
        grants: vec!["tool: *".parse().unwrap()],
        budget: Budget {
            tokens: u64::MAX,
            ..Budget::default()
        },
        role_budgets: Default::default(),
        park: false,
        approve: Vec::new(),
        mode: Some(Mode::Plan),
        model: None,
    }
}

fn replay(bench: &mut Criterion) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (runtime, run) = tokio.block_on(async {
        let runtime = runtime().await;
        let run = runtime.submit(goal()).await.unwrap();
        let mut watch = runtime.watch(run, Seq(0));
        while let Some(Ok(item)) = watch.next().await {
            if let WatchItem::Event(event) = item
                && matches!(event.kind, Kind::RunFinished { .. })
            {
                break;
            }
        }
        (runtime, run)
    });
    let whole = tokio.block_on(runtime.replay(run)).unwrap();
    assert!(whole.divergence.is_none(), "{whole:?}");
    let mut group = bench.benchmark_group("replay");
    group.sample_size(10);
    group.throughput(Throughput::Elements(whole.events));
    group.bench_function("a run of a thousand steps, by events compared", |bencher| {
        bencher
            .to_async(&tokio)
            .iter(|| async { runtime.replay(run).await.unwrap() });
    });
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
