//! Memory of workers that wait: their own, and the kernel's for them.

use crate::{
    launch::Taken,
    product::{World, call},
};
use serde_json::json;
use std::{collections::BTreeMap, fs, time::Duration};

/// Workers that wait.
const WORKERS: usize = 200;
/// How many of them are looked at one by one.
const LOOKED_AT: usize = 40;
/// How long the kernel is given to settle.
const SETTLE: Duration = Duration::from_millis(700);
/// What the kernel keeps for processes and namespaces, as `/proc/meminfo` names it.
const KERNEL: [&str; 4] = ["Slab", "KernelStack", "PageTables", "Percpu"];

/// Starts workers, lets them wait, and looks; then again after a call of each.
pub(crate) async fn idle(world: &World) {
    let backend = world.namespaced(0);
    let grants = world.grants();
    // What is made once is there before anything is counted.
    world.launch(&backend, &grants).await.0.stop().await;
    tokio::time::sleep(SETTLE).await;
    let (before, own_before) = (meminfo(), own_kib());
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(world.launch(&backend, &grants).await.0);
    }
    tokio::time::sleep(SETTLE).await;
    let (after, own_after) = (meminfo(), own_kib());
    let mut taken = Taken::default();
    let fresh = shares();
    let kernel: f64 = KERNEL
        .iter()
        .map(|key| after[*key] - before[*key])
        .sum::<f64>()
        / WORKERS as f64;
    let all = median(&fresh) + kernel;
    taken.all("idle pss kib", fresh);
    taken.add("idle kernel kib", kernel);
    taken.add("idle sum kib", all);
    taken.add("idle per gib", 1_048_576.0 / all);
    taken.add(
        "idle memfree kib",
        (before["MemFree"] - after["MemFree"]) / WORKERS as f64,
    );
    taken.add(
        "daemon per worker kib",
        (own_after - own_before) / WORKERS as f64,
    );
    for worker in &workers {
        call(&**worker, "echo", json!({ "message": "x" })).await;
    }
    tokio::time::sleep(SETTLE).await;
    taken.all("used pss kib", shares());
    for worker in workers {
        worker.stop().await;
    }
    taken.say();
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The table of the machine's memory, in KiB.
fn meminfo() -> BTreeMap<String, f64> {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    text.lines()
        .filter_map(|line| {
            let (key, rest) = line.split_once(':')?;
            let number = rest.split_whitespace().next()?.parse().ok()?;
            Some((key.to_owned(), number))
        })
        .collect()
}

/// This process's own memory, in KiB.
fn own_kib() -> f64 {
    field("/proc/self/status", "RssAnon:").unwrap()
}

fn field(path: &str, key: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The proportional share of memory of some workers, in KiB each.
fn shares() -> Vec<f64> {
    let shares: Vec<f64> = workers()
        .into_iter()
        .take(LOOKED_AT)
        .filter_map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:"))
        .collect();
    assert!(!shares.is_empty(), "no worker could be looked at");
    shares
}

/// The workers of this process's launcher: its grandchildren.
fn workers() -> Vec<u32> {
    let parents: BTreeMap<u32, u32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let parent = field(&format!("/proc/{pid}/status"), "PPid:")?;
            Some((pid, parent as u32))
        })
        .collect();
    let grandparent = |pid: &u32| parents.get(parents.get(pid)?).copied();
    parents
        .keys()
        .filter(|pid| grandparent(pid) == Some(std::process::id()))
        .copied()
        .collect()
}
