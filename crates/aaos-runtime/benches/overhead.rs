//! What the runtime itself costs: subtasks with a model that answers at once and a journal in memory, and one
//! capability check.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items; a bench fails by panicking"
)]

use aaos_core::{
    budget::Budget,
    capability::{Charge, FileRight, Need, Table},
    event::{Kind, Mode, Seq},
    id::{AgentId, GrantId},
    model::{ModelRef, Purpose, Reply, Request},
    money::MicroDollars,
    time::Timestamp,
};
use aaos_ports::{DeltaSink, Goals, Provider, ProviderError, Submit, WatchItem};
use aaos_runtime::{Config, Deps, Models, Runtime};
use aaos_testkit::{
    backend::FakeBackend,
    catalog::FakeCatalog,
    clock::{FakeClock, FakeIds},
    files::MemoryTree,
    http::Pages,
    journal::MemoryJournal,
    provider::says,
    secrets::FakeSecrets,
};
use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use serde_json::json;
use std::{num::NonZeroUsize, sync::Arc};

/// Answers at once and remembers nothing.
struct Instantly {
    plan: String,
}

#[async_trait]
impl Provider for Instantly {
    async fn complete(&self, request: &Request, _: &dyn DeltaSink) -> Result<Reply, ProviderError> {
        Ok(match &request.purpose {
            Purpose::Plan { .. } => says(&self.plan),
            _ => says("done"),
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
        "instant".to_owned()
    }
}

/// A plan of so many independent subtasks that only answer.
fn plan(subtasks: usize) -> String {
    let subtask =
        |number: usize| json!({ "id": format!("s{number}"), "task": "say done", "role": "talker" });
    json!({ "subtasks": (0..subtasks).map(subtask).collect::<Vec<_>>(), "result": "s0" })
        .to_string()
}

async fn runtime(subtasks: usize) -> Arc<Runtime> {
    let talker = json!({ "name": "talker", "summary": "Answers.", "prompt": "Answer." });
    let model = ModelRef {
        provider: "instant".to_owned(),
        model: "m".to_owned(),
    };
    let deps = Deps {
        journal: Arc::new(MemoryJournal::new()),
        provider: Arc::new(Instantly {
            plan: plan(subtasks),
        }),
        models: Models::all(&model),
        catalog: Arc::new(FakeCatalog::new(vec![talker]).unwrap()),
        backend: Arc::new(FakeBackend::new(
            Vec::new(),
            MemoryTree::default(),
            Arc::new(Pages::default()),
        )),
        tools: Vec::new(),
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
            budget_operator_day: Default::default(),
            budget_day: Default::default(),
            approval_expires: aaos_core::time::Span::from_secs(3_600),
            effects_keyed: Vec::new(),
        },
    };
    Runtime::start(deps).await.unwrap()
}

/// One goal from submit to its end. The runtime is new each time: a journal in memory grows.
async fn goal(subtasks: usize) {
    let runtime = runtime(subtasks).await;
    let submit = Submit {
        goal: "do it".to_owned(),
        base: "/home/op".to_owned(),
        operator: 1000,
        profile: "bench".to_owned(),
        grants: vec!["file_read: /home/op/**".parse().unwrap()],
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
    let id = runtime.submit(submit).await.unwrap();
    let mut watch = runtime.watch(id, Seq(0));
    while let Some(Ok(WatchItem::Event(event))) = watch.next().await {
        if matches!(event.kind, Kind::RunFinished { .. }) {
            return;
        }
    }
}

fn goals(criterion: &mut Criterion) {
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("goal_of_independent_subtasks");
    group.sample_size(20);
    for subtasks in [1_usize, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(subtasks as u64));
        group.bench_with_input(
            BenchmarkId::from_parameter(subtasks),
            &subtasks,
            |bencher, subtasks| {
                bencher.to_async(&executor).iter(|| goal(*subtasks));
            },
        );
    }
    group.finish();
}

/// One check and charge among so many grants, the last of which allows the act, three derivations deep.
fn capability_check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capability_check");
    for grants in [1_u64, 8, 64] {
        let agents = [1, 2, 3].map(AgentId::from_drawn);
        let mut table = Table::new();
        for number in 0..grants {
            let reach = format!("file_read: /home/op/d{number}/**");
            table
                .issue(
                    GrantId::from_drawn(number),
                    agents[0],
                    reach.parse().unwrap(),
                )
                .unwrap();
            let [mut parent, mut next] = [number, grants + number];
            for holder in &agents[1..] {
                let (from, to) = (GrantId::from_drawn(parent), GrantId::from_drawn(next));
                table
                    .derive(
                        from,
                        to,
                        *holder,
                        reach.parse().unwrap(),
                        Timestamp::default(),
                    )
                    .unwrap();
                (parent, next) = (next, next + grants);
            }
        }
        let need = Need::File {
            right: FileRight::Read,
            path: format!("/home/op/d{}/a/b.md", grants - 1),
        };
        group.bench_function(BenchmarkId::from_parameter(grants), |bencher| {
            bencher.iter(|| table.authorize(agents[2], &need, &Charge::USE, Timestamp::default()));
        });
    }
    group.finish();
}

criterion_group!(benches, goals, capability_check);
criterion_main!(benches);
