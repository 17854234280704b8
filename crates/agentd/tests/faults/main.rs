//! Faults: daemons, workers, launchers and brokers are killed at drawn moments while runs are carried out against a
//! service that counts every effect. No run is lost, no effect that may not be repeated happens twice, and what is left is
//! what an undisturbed run leaves.
//!
//! `AAOS_FAULT_SEED` draws everything, `AAOS_FAULT_KILLS` says how many faults there are, `AAOS_FAULT_LANES` how many
//! daemons serve beside one another. A failure names the seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests, whose counts are there to be read"
)]

mod check;
mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod disks;
mod effects;
mod lane;
mod link;
mod pool;
mod processes;
mod providers;
mod seed;
#[path = "../stage/mod.rs"]
mod stage;
mod storage;

use check::{Left, Tally};
use effects::Effects;
use lane::{Lane, Victim};
use pool::{FORMS, Form};
use seed::Seed;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Faults unless the environment says otherwise.
const KILLS: u64 = 1_000;
/// Daemons side by side unless the environment says otherwise: one for each of the two cores CI has.
const LANES: u64 = 2;
/// Most memory a daemon may take, in kilobytes: several times what one takes after a thousand runs.
const MEMORY_KB_MAX: u64 = 600_000;
/// The lane of the undisturbed runs.
const CALM: usize = 9;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(usual, |text| text.parse().unwrap())
}

/// Every plan once, with nothing killed and no trouble.
fn undisturbed(effects: &Arc<Effects>, seed: &Seed) -> BTreeMap<Form, Left> {
    let mut lane = Lane::new(CALM, effects, seed);
    lane.start();
    for (number, form) in FORMS.into_iter().enumerate() {
        lane.submit(number, form);
    }
    lane.finish();
    let mut calm = BTreeMap::new();
    for run in &lane.runs {
        let left = Left::by(&lane, run, effects);
        assert!(
            left.each_once() && left.effects() > 0,
            "{left:#?}\n{}",
            lane.excerpt(run)
        );
        calm.insert(run.form, left);
    }
    assert_eq!(calm.len(), FORMS.len());
    lane.close();
    calm
}

/// What one lane came to.
struct Came {
    runs: usize,
    kills: BTreeMap<Victim, u32>,
    tally: Tally,
    answers: u32,
    memory: u64,
}

/// Faults in one lane, until there have been enough in all.
fn disturbed(
    number: usize,
    effects: &Arc<Effects>,
    seed: &Seed,
    left: &AtomicU64,
    calm: &BTreeMap<Form, Left>,
) -> Came {
    let mut lane = Lane::new(number, effects, seed);
    while left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
    {
        lane.fault();
        let left = left.load(Ordering::SeqCst);
        if left.is_multiple_of(500) {
            println!("{left} faults to come");
        }
    }
    lane.finish();
    let mut tally = Tally::default();
    for run in &lane.runs {
        let left = Left::by(&lane, run, effects);
        assert!(
            left == calm[&run.form],
            "{left:#?}\nbut undisturbed\n{:#?}\n{}",
            calm[&run.form],
            lane.excerpt(run)
        );
        let wrong = tally.read(&lane.events(&run.id));
        assert!(wrong.is_empty(), "{wrong:#?}\n{}", lane.excerpt(run));
    }
    lane.close();
    Came {
        runs: lane.runs.len(),
        kills: lane.kills.clone(),
        tally,
        answers: lane.answers,
        memory: lane.memory,
    }
}

#[test]
fn a_thousand_kills_lose_no_run_and_repeat_no_effect() {
    let begun = Instant::now();
    let drawn = u64::from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos(),
    );
    let chosen = number("AAOS_FAULT_SEED", drawn);
    println!("AAOS_FAULT_SEED={chosen}");
    let seed = Seed::new(chosen);
    processes::adopt();
    let effects = Arc::new(Effects::serve(&seed));
    let calm = undisturbed(&effects, &seed);
    effects.make_trouble();
    let kills = number("AAOS_FAULT_KILLS", KILLS);
    let left = AtomicU64::new(kills);
    let lanes = usize::try_from(number("AAOS_FAULT_LANES", LANES)).unwrap();
    let came: Vec<Came> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|number| {
                scope.spawn({
                    let (effects, seed, left, calm) = (&effects, &seed, &left, &calm);
                    move || disturbed(number, effects, seed, left, calm)
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| {
                lane.join()
                    .unwrap_or_else(|_| panic!("a lane failed; AAOS_FAULT_SEED={chosen}"))
            })
            .collect()
    });
    report(&came, begun);
    let killed: u32 = came.iter().flat_map(|came| came.kills.values()).sum();
    assert_eq!(u64::from(killed), kills);
    let memory = came.iter().map(|came| came.memory).max().unwrap();
    assert!(memory < MEMORY_KB_MAX, "a daemon took {memory} kB");
    // Each effect was counted with its run; what is beyond them is of goals whose submitter never heard.
    let record = effects.settled();
    let twice: Vec<_> = record
        .done
        .iter()
        .filter(|(_, times)| **times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn report(came: &[Came], begun: Instant) {
    let (mut kills, mut tally) = (BTreeMap::<Victim, u32>::new(), Tally::default());
    for lane in came {
        for (victim, times) in &lane.kills {
            *kills.entry(*victim).or_default() += times;
        }
        tally.add(&lane.tally);
    }
    println!(
        "runs {}, kills {kills:?}, resumed {}, calls repeated {}, in doubt {}, settled {}, answers {}, model requests abandoned {}, approvals asked {}, over a restart {}, workers lost {}, workers started {}, calls {}, memory {:?} kB, {:.0} s",
        came.iter().map(|lane| lane.runs).sum::<usize>(),
        tally.of("run_recovering"),
        tally.of("tool_repeated"),
        tally.of("effect_in_doubt"),
        tally.of("effect_settled"),
        came.iter().map(|lane| lane.answers).sum::<u32>(),
        tally.of("model_abandoned"),
        tally.of("approval_requested"),
        tally.of("approvals over a restart"),
        tally.of("worker_lost"),
        tally.of("worker_started"),
        tally.of("tool_result"),
        came.iter().map(|lane| lane.memory).collect::<Vec<_>>(),
        begun.elapsed().as_secs_f64(),
    );
}
