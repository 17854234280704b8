//! The journal's pace: durable appends by many at once against SQLite's own one-row commits on the same disk,
//! ordered appends, bodies in the database against bodies in files, watchers.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use aaos_core::event::Seq;
use aaos_ports::{Durability, Filter, Journal};
use aaos_store::{Options, Store};
use aaos_testkit::journal::draft;
use criterion::{BenchmarkId, Criterion, Throughput};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;

/// Words in an event: about what a tool call's intent holds.
const WORDS: usize = 200;

fn store() -> (Arc<Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir_in(".").unwrap();
    (
        Arc::new(Store::open(dir.path(), Options::standard()).unwrap()),
        dir,
    )
}

/// So many appenders, each appending so many events one after the other.
async fn append(store: &Arc<Store>, appenders: u64, each: u64, durability: Durability) {
    let appending = (0..appenders).map(|appender| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for _ in 0..each {
                let drafts = vec![draft(appender, Some(appender), &"x".repeat(WORDS))];
                store.append(drafts, durability).await.unwrap();
            }
        })
    });
    for done in futures::future::join_all(appending).await {
        done.unwrap();
    }
}

fn durable(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("durable");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor: SQLite, one row, one commit, FULL", |bencher| {
        let dir = tempfile::tempdir_in(".").unwrap();
        let connection = rusqlite::Connection::open(dir.path().join("floor.db")).unwrap();
        let setup =
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (body TEXT)";
        connection.execute_batch(setup).unwrap();
        let body = "x".repeat(WORDS);
        let mut insert = connection.prepare("INSERT INTO t VALUES (?1)").unwrap();
        bencher.iter(|| insert.execute([&body]).unwrap());
    });
    for (appenders, each) in [(1, 1), (16, 1), (256, 1)] {
        let (store, _dir) = store();
        group.throughput(Throughput::Elements(appenders * each));
        group.bench_function(BenchmarkId::new("appenders", appenders), |bencher| {
            bencher
                .to_async(runtime)
                .iter(|| append(&store, appenders, each, Durability::Durable));
        });
    }
    group.finish();
}

fn ordered(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("ordered");
    for (appenders, each) in [(1, 100), (16, 16), (256, 4)] {
        let (store, _dir) = store();
        group.throughput(Throughput::Elements(appenders * each));
        group.bench_function(BenchmarkId::new("appenders", appenders), |bencher| {
            bencher
                .to_async(runtime)
                .iter(|| append(&store, appenders, each, Durability::Ordered));
        });
    }
    let (batches, _kept) = store();
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("one append of a thousand events", |bencher| {
        bencher.iter(|| {
            let drafts = (0..1_000)
                .map(|n| draft(n % 50, Some(n), &"x".repeat(WORDS)))
                .collect();
            runtime
                .block_on(batches.append(drafts, Durability::Ordered))
                .unwrap();
        });
    });
    let (store, _dir) = store();
    let noise = {
        let store = Arc::clone(&store);
        runtime.spawn(async move { append(&store, 16, u64::MAX, Durability::Durable).await })
    };
    group.throughput(Throughput::Elements(16));
    group.bench_function("one appender beside sixteen durable ones", |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| append(&store, 1, 16, Durability::Ordered));
    });
    noise.abort();
    group.finish();
}

fn bodies(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("bodies");
    for kib in [1, 16, 64, 65, 256] {
        let (store, _dir) = store();
        let mut number = 0_u64;
        group.throughput(Throughput::Bytes(kib << 10));
        group.bench_function(
            BenchmarkId::new("put and one durable append, KiB", kib),
            |bencher| {
                bencher.iter(|| {
                    number += 1;
                    let mut body = vec![0; usize::try_from(kib << 10).unwrap()];
                    body[..8].copy_from_slice(&number.to_le_bytes());
                    runtime.block_on(async {
                        store.put(body).await.unwrap();
                        store
                            .append(vec![draft(1, None, "x")], Durability::Durable)
                            .await
                            .unwrap();
                    });
                });
            },
        );
    }
    group.finish();
}

fn watchers(criterion: &mut Criterion, runtime: &Runtime) {
    const EVENTS: u64 = 2_000;
    let mut group = criterion.benchmark_group("watch");
    let (store, _dir) = store();
    let drafts = (0..EVENTS)
        .map(|_| draft(1, None, &"x".repeat(WORDS)))
        .collect();
    runtime
        .block_on(store.append(drafts, Durability::Durable))
        .unwrap();
    let drain = async |from: &Store| {
        let events = from
            .watch(Filter::default(), Seq(0))
            .take(usize::try_from(EVENTS).unwrap());
        assert_eq!(events.count().await as u64, EVENTS);
    };
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("from memory", |bencher| {
        bencher.iter(|| runtime.block_on(drain(&store)))
    });
    let dir = tempfile::tempdir_in(".").unwrap();
    let disk = Store::open(dir.path(), Options::standard()).unwrap();
    let drafts = (0..EVENTS)
        .map(|_| draft(1, None, &"x".repeat(WORDS)))
        .collect();
    runtime
        .block_on(disk.append(drafts, Durability::Durable))
        .unwrap();
    drop(disk);
    let disk = Store::open(dir.path(), Options::standard()).unwrap();
    group.bench_function("from disk", |bencher| {
        bencher.iter(|| runtime.block_on(drain(&disk)))
    });
    group.finish();
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(4));
    let mut criterion = criterion.configure_from_args();
    durable(&mut criterion, &runtime);
    ordered(&mut criterion, &runtime);
    bodies(&mut criterion, &runtime);
    watchers(&mut criterion, &runtime);
    criterion.final_summary();
}
