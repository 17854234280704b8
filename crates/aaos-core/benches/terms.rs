//! What a budget and the rules for approval add to one call.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by panicking"
)]

use aaos_core::{
    approval::Rule,
    budget::{Budget, Ledger},
    capability::Need,
    id::{AgentId, RoleName, ToolName},
    model::Usage,
    money::MicroDollars,
    tool::Effect,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::hint::black_box;

/// Agents below one another.
const DEEP: u64 = 5;
/// More than a bench counts.
const PLENTY: u64 = u64::MAX / 2;

fn ledger() -> (Ledger, AgentId) {
    let budget = Budget {
        tokens: PLENTY,
        cost: MicroDollars(PLENTY),
        calls: PLENTY,
        ..Budget::default()
    };
    let role: RoleName = "worker".parse().unwrap();
    let limits = BTreeMap::from([(role.clone(), budget)]);
    let mut ledger = Ledger::new(budget).with_roles(&limits);
    let mut above = None;
    for number in 0..DEEP {
        let agent = AgentId::from_drawn(number);
        ledger.open(agent, above, &role).unwrap();
        above = Some(agent);
    }
    (ledger, above.unwrap())
}

fn budget(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("budget");
    let (mut books, agent) = ledger();
    group.bench_function("reserve and settle", |bencher| {
        bencher.iter(|| {
            let reserved = books.reserve(black_box(Some(agent)), 1_000, MicroDollars(10));
            books.settle(reserved.unwrap(), Usage::default());
        });
    });
    let (mut books, agent) = ledger();
    group.bench_function("call", |bencher| {
        bencher.iter(|| books.call(black_box(agent)));
    });
    group.finish();
}

fn approval(criterion: &mut Criterion) {
    let rules: Vec<Rule> = (0..16)
        .map(|number| format!("file_write: /etc/{number}/**").parse().unwrap())
        .collect();
    let tool: ToolName = "file_write".parse().unwrap();
    let needs = [Need::read("/data/in/report.txt")];
    let mut group = criterion.benchmark_group("approval");
    group.bench_function("16 rules", |bencher| {
        bencher.iter(|| {
            let asks = |rule: &Rule| rule.applies(&tool, Effect::Idempotent, black_box(&needs));
            rules.iter().any(asks)
        });
    });
    group.finish();
}

criterion_group!(benches, budget, approval);
criterion_main!(benches);
