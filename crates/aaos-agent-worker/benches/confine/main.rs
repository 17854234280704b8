//! What confinement costs, beside what the kernel itself takes for it.
//!
//! `cargo xtask bench confine` runs this and makes a table of what it prints: one JSON line for each series of numbers,
//! `{"series": NAME, "numbers": [...]}`, in microseconds unless the name says otherwise, and `{"absent": TEXT}` for a
//! yardstick that cannot be had. Whatever is compared takes turns within one part. The kernel's yardstick is
//! `bench/sandbox/floor.c`, compiled here with `cc`. Parts to measure are named on the command line; without one, all.
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench"
)]

mod calls;
mod floor;
mod launch;
mod memory;
mod peers;
mod product;
mod search;

use product::World;
use serde_json::json;
use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

type Part = for<'a> fn(&'a World) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Every part, in the order in which they are measured.
const PARTS: &[(&str, Part)] = &[
    ("launch", |world| Box::pin(launch::turns(world))),
    ("large", |world| Box::pin(launch::large(world))),
    ("together", |world| Box::pin(launch::together(world))),
    ("program", |world| Box::pin(launch::program(world))),
    ("calls", |world| Box::pin(calls::turns(world, ""))),
    ("pinned", |world| {
        Box::pin(calls::turns(world, ", one processor"))
    }),
    ("memory", |world| Box::pin(memory::idle(world))),
    ("search", |world| Box::pin(search::turns(world))),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Only `cargo bench` says so; a test run over all targets is no moment to measure.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let named: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    for (name, part) in PARTS {
        if !named.is_empty() && !named.iter().any(|word| word == name) {
            continue;
        }
        if *name == "pinned" {
            pin();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        // On a thread of the runtime's own, as the daemon's work is.
        runtime.block_on(async move {
            let measured = tokio::spawn(async move { part(&World::new()).await });
            measured.await.unwrap();
        });
        if *name == "pinned" {
            unpin();
        }
    }
}

/// Keeps this process, and what it starts from here on, on the first processor.
fn pin() {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).unwrap();
}

/// Lets this process run everywhere again.
fn unpin() {
    let mut all = rustix::thread::CpuSet::new();
    for processor in 0..rustix::thread::CpuSet::MAX_CPU {
        all.set(processor);
    }
    rustix::thread::sched_setaffinity(None, &all).unwrap();
}

/// Prints one series.
fn say(series: &str, numbers: &[f64]) {
    println!("{}", json!({ "series": series, "numbers": numbers }));
}

/// Says what could not be had, and why.
fn absent(what: &str) {
    println!("{}", json!({ "absent": what }));
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Microseconds that this takes, and what it answers.
async fn timed<T>(work: impl Future<Output = T>) -> (f64, T) {
    let since = Instant::now();
    let answer = work.await;
    (micros(since.elapsed()), answer)
}
