//! How fast a run is carried out again from its record: a thousand steps, each a model request and a tool call, with a
//! journal in memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items; a bench fails by panicking"
)]

mod support;

use aaos_core::{
    model::{Purpose, Reply, Request},
    tool::{Effect, Recovery, ToolSpec},
};
use aaos_ports::{AnyTool, History, Powers, ToolError, ToolOutput};
use aaos_runtime::Runtime;
use aaos_testkit::provider::{calls, says};
use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use std::sync::Arc;

/// Subtasks of the run, and tool calls of each.
const SUBTASKS: usize = 100;
const CALLS: usize = 10;

/// Calls a tool so many times and is done.
fn busy(request: &Request) -> Reply {
    if let Purpose::Plan { .. } = &request.purpose {
        return says(&support::plan(SUBTASKS, "worker"));
    }
    let turn = request.messages.len() / 2;
    if turn < CALLS {
        calls(&[("noop", json!({ "number": turn }))])
    } else {
        says("done")
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
    let tool: Arc<dyn AnyTool> = Arc::new(Noop(ToolSpec {
        name: "noop".parse().unwrap(),
        summary: "Does nothing.".to_owned(),
        input_schema: json!({ "type": "object" }),
        powers: Vec::new(),
        effect: Effect::Pure,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    }));
    support::runtime(busy, worker, vec![tool]).await
}

fn replay(bench: &mut Criterion) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (runtime, run) = tokio.block_on(async {
        let runtime = runtime().await;
        let run = support::finished(&runtime, "tool: *").await;
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
