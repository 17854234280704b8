//! What the runtime itself costs: subtasks with a model that answers at once and a journal in memory, and one
//! capability check.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items; a bench fails by panicking"
)]

mod support;

use aaos_core::{
    capability::{Charge, FileRight, Need, Table},
    id::{AgentId, GrantId},
    model::Purpose,
    time::Timestamp,
};
use aaos_testkit::provider::says;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

/// One goal of so many independent subtasks that only answer, from submit to its end. The runtime is new each time: a
/// journal in memory grows.
async fn goal(subtasks: usize) {
    let plan = support::plan(subtasks, "talker");
    let talker = json!({ "name": "talker", "summary": "Answers.", "prompt": "Answer." });
    let model = move |request: &aaos_core::model::Request| match &request.purpose {
        Purpose::Plan { .. } => says(&plan),
        _ => says("done"),
    };
    let runtime = support::runtime(model, talker, Vec::new()).await;
    support::finished(&runtime, "file_read: /home/op/**").await;
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
