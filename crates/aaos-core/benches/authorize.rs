//! The pace of a capability check: the use is allowed by the last of an agent's grants, or denied by all of them.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by panicking"
)]

use aaos_core::{
    capability::{Charge, Need, Table, parse},
    id::{AgentId, GrantId},
    time::Timestamp,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const NOW: Timestamp = Timestamp::from_micros(1);

/// A table in which one agent holds so many grants, each made from one of its parent's.
fn table(grants: u64) -> (Table, AgentId) {
    let (root, agent) = (AgentId::from_drawn(1), AgentId::from_drawn(2));
    let mut table = Table::new();
    for number in 0..grants {
        let whole = parse(&format!("file_read: /data/{number}/**")).unwrap();
        let part = parse(&format!("file_read: /data/{number}/in/**")).unwrap();
        let (above, below) = (
            GrantId::from_drawn(number),
            GrantId::from_drawn(grants + number),
        );
        table.issue(above, root, whole).unwrap();
        table.derive(above, below, agent, part, NOW).unwrap();
    }
    (table, agent)
}

fn authorize(criterion: &mut Criterion) {
    for which in ["allowed", "denied"] {
        let mut group = criterion.benchmark_group(format!("authorize_{which}"));
        for grants in [10, 100] {
            let (mut table, agent) = table(grants);
            let dir = if which == "allowed" {
                grants - 1
            } else {
                grants
            };
            let need = Need::read(format!("/data/{dir}/in/report.txt"));
            let before = table.authorize(agent, &need, &Charge::USE, NOW);
            assert_eq!(before.is_ok(), which == "allowed");
            group.bench_function(BenchmarkId::from_parameter(grants), |bencher| {
                bencher.iter(|| table.authorize(agent, black_box(&need), &Charge::USE, NOW));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, authorize);
criterion_main!(benches);
