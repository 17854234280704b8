//! Launches: one at a time, from a large daemon, many at once, and for a single program.

use crate::{
    floor::Floor,
    peers::Peer,
    product::{World, call, was_pooled},
    say, timed,
};
use aaos_ports::Worker;
use aaos_sandbox::backend::namespaced::Namespaced;
use serde_json::json;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Launches of each kind.
const LAUNCHES: usize = 500;
/// One of so many rounds also starts the peers, which take much longer.
const PEERS_EVERY: usize = 5;
/// Workers kept ready where there is a pool.
const POOL: usize = 4;
/// What the daemon holds when it is large, in bytes, and the bytes of one of its pages.
const LARGE_BYTES: usize = 512 << 20;
const PAGE_BYTES: usize = 4096;
/// Turns of a small and a large daemon, and launches of each.
const LARGE_TURNS: usize = 10;
const LARGE_LAUNCHES: usize = 30;
/// Launches that are under way at once, how long they go on, and how many turns there are.
const TOGETHER: usize = 8;
const TOGETHER_TIME: Duration = Duration::from_millis(1500);
const TOGETHER_TURNS: usize = 4;
/// Single programs started.
const PROGRAMS: usize = 100;

/// Cold and pooled launches beside the least there can be, and peers.
pub(crate) async fn turns(world: &World) {
    let mut floor = Floor::start(world);
    let (same, typical) = (
        Peer::bubblewrap_same(world),
        Peer::bubblewrap_typical(world),
    );
    let firejail = Peer::firejail();
    let (cold, pooled) = (world.namespaced(0), world.namespaced(POOL));
    cold.warm().await.unwrap();
    let plain = world.grants();
    let online = world.online_grants();
    if online.is_none() {
        crate::absent("workers with a way out: `aaos-egress` is not built");
    }
    let mut taken = Taken::default();
    for round in 0..LAUNCHES {
        one(world, &cold, &plain, "cold", &mut taken).await;
        pooled.warm().await.unwrap();
        one(world, &pooled, &plain, "pooled", &mut taken).await;
        pooled.warm().await.unwrap();
        if let Some(online) = &online {
            one(world, &pooled, online, "pooled online", &mut taken).await;
            pooled.warm().await.unwrap();
        }
        let launched = floor.ask("launch");
        taken.add("minimum", launched[0]);
        taken.add("minimum stop", launched[1]);
        taken.add("whole", floor.ask("whole")[0]);
        taken.add("handed", floor.ask("handed")[0]);
        if round % PEERS_EVERY != 0 {
            continue;
        }
        for (name, peer) in [
            ("bwrap same", &same),
            ("bwrap typical", &typical),
            ("firejail", &firejail),
        ] {
            if let Some(peer) = peer {
                taken.add(name, peer.run(&["/bin/true"]));
            }
        }
    }
    taken.say();
}

/// Launches and stops one worker.
async fn one(
    world: &World,
    backend: &Namespaced,
    grants: &[String],
    name: &str,
    taken: &mut Taken,
) {
    let (took, (worker, notes)) = timed(world.launch(backend, grants)).await;
    taken.add(name, took);
    let really = was_pooled(&notes);
    assert_eq!(
        really,
        name.starts_with("pooled"),
        "a launch was not what it was to be"
    );
    // The end of one that was never called is waited for by nobody.
    greet(&*worker).await;
    let (took, ()) = timed(worker.stop()).await;
    taken.add(&format!("{name} stop"), took);
}

/// Calls a worker, so that its end is one that is waited for.
async fn greet(worker: &dyn Worker) {
    call(worker, "echo", json!({ "message": "x" })).await;
}

/// Cold launches from this process as it is and when it holds much more.
pub(crate) async fn large(world: &World) {
    let cold = world.namespaced(0);
    cold.warm().await.unwrap();
    let grants = world.grants();
    let mut taken = Taken::default();
    for turn in 0..2 * LARGE_TURNS {
        let much = turn % 2 == 1;
        let mut held = vec![0_u8; if much { LARGE_BYTES } else { 0 }];
        held.iter_mut()
            .step_by(PAGE_BYTES)
            .for_each(|byte| *byte = 1);
        for _ in 0..LARGE_LAUNCHES {
            let (took, (worker, _)) = timed(world.launch(&cold, &grants)).await;
            taken.add(if much { "large daemon" } else { "small daemon" }, took);
            greet(&*worker).await;
            worker.stop().await;
        }
        std::hint::black_box(&held);
    }
    taken.say();
}

/// Several launches at once, over and over, beside as many processes of the yardstick.
pub(crate) async fn together(world: &World) {
    let mut floor = Floor::start(world);
    let cold = world.namespaced(0);
    cold.warm().await.unwrap();
    let mut taken = Taken::default();
    for _ in 0..TOGETHER_TURNS {
        let each = Mutex::new(Vec::new());
        let since = Instant::now();
        let loops = (0..TOGETHER).map(|_| over_and_over(world, &cold, since, &each));
        futures::future::join_all(loops).await;
        let seconds = since.elapsed().as_secs_f64();
        let mut each = each.into_inner().unwrap();
        each.sort_by(f64::total_cmp);
        taken.add("together per second", each.len() as f64 / seconds);
        taken.add("together p50", each[each.len() / 2]);
        taken.add("together p99", each[(each.len() - 1) * 99 / 100]);
        let asked = format!("together {TOGETHER} {}", TOGETHER_TIME.as_millis());
        let theirs = floor.raw(&asked);
        taken.add("minimum together per second", theirs[0]);
        taken.add("minimum together p50", theirs[1] / 1e3);
        taken.add("minimum together p99", theirs[2] / 1e3);
    }
    taken.say();
}

async fn over_and_over(
    world: &World,
    backend: &Namespaced,
    since: Instant,
    each: &Mutex<Vec<f64>>,
) {
    let grants = world.grants();
    while since.elapsed() < TOGETHER_TIME {
        let (took, (worker, _)) = timed(world.launch(backend, &grants)).await;
        each.lock().unwrap().push(took);
        worker.stop().await;
    }
}

/// One program, with everything made for it alone and gone afterwards; and the same in a worker that is there already.
pub(crate) async fn program(world: &World) {
    let mut floor = Floor::start(world);
    let same = Peer::bubblewrap_same(world);
    let cold = Arc::new(world.namespaced(0));
    cold.warm().await.unwrap();
    let mut grants = world.grants();
    grants.push(format!("exec: true in {}", world.workspace.display()));
    let input = json!({ "command": "true", "args": [] });
    let (resident, _) = world.launch(&*cold, &grants).await;
    let mut taken = Taken::default();
    for _ in 0..PROGRAMS {
        let (took, ()) = timed(async {
            let (worker, _) = world.launch(&*cold, &grants).await;
            call(&*worker, "shell", input.clone()).await;
            worker.stop().await;
        })
        .await;
        taken.add("program alone", took);
        let (took, _) = timed(call(&*resident, "shell", input.clone())).await;
        taken.add("program resident", took);
        taken.add("minimum program", floor.ask("command /bin/true")[0]);
        if let Some(same) = &same {
            taken.add("bwrap same program", same.run(&["/bin/true"]));
        }
    }
    resident.stop().await;
    taken.say();
}

/// Numbers by name.
#[derive(Default)]
pub(crate) struct Taken(std::collections::BTreeMap<String, Vec<f64>>);

impl Taken {
    pub(crate) fn add(&mut self, name: &str, number: f64) {
        self.0.entry(name.to_owned()).or_default().push(number);
    }

    pub(crate) fn all(&mut self, name: &str, numbers: Vec<f64>) {
        self.0.entry(name.to_owned()).or_default().extend(numbers);
    }

    pub(crate) fn say(self) {
        for (name, numbers) in self.0 {
            say(&name, &numbers);
        }
    }
}
