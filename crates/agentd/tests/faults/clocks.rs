//! The machine's clock is set, ahead or back, beneath a daemon at work or between one and the next.

use crate::{
    check::Left,
    lane::Lane,
    pool::{FORMS, Form},
    stage::of_kind,
    storage::{is_whole, preloaded, service, under_way},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Seconds of more than a year: any expiry, window or day that is counted in is over.
const LONG: i64 = 400 * 86_400;

/// The clock a lane's daemons read.
struct Clock(PathBuf);

impl Clock {
    fn of(lane: &mut Lane) -> Self {
        let ahead = lane.place.path("ahead");
        lane.through = vec![
            "/usr/bin/env".to_owned(),
            preloaded(lane, "wild_clock"),
            format!("CLOCK_AHEAD={}", ahead.display()),
        ];
        let clock = Self(ahead);
        clock.set(0);
        clock
    }

    /// Sets it to so many seconds ahead of the machine's. In one step, as a reader may come at any moment.
    fn set(&self, ahead: i64) {
        let made = self.0.with_extension("new");
        std::fs::write(&made, ahead.to_string()).unwrap();
        std::fs::rename(made, &self.0).unwrap();
    }
}

/// The times of a run's events, in the order they happened.
fn times(lane: &Lane, run: &str) -> Vec<i64> {
    let events = lane.events(run);
    let time = |event: &Value| event["time"].as_i64().unwrap();
    events.iter().map(time).collect()
}

/// Microseconds from the first to the last event.
fn spanned(times: &[i64]) -> i64 {
    times.last().unwrap() - times.first().unwrap()
}

#[test]
fn a_clock_that_is_set_beneath_a_daemon_at_work_changes_nothing_of_its_runs() {
    for (number, jump) in [(60, LONG), (61, -LONG)] {
        let (effects, seed) = service(number);
        let mut lane = Lane::new(0, &effects, &seed);
        let clock = Clock::of(&mut lane);
        let run = under_way(&mut lane, &effects);
        clock.set(jump);
        effects.release();
        lane.finish();
        is_whole(&lane, &run, &effects);
        let spanned = spanned(&times(&lane, &run.id));
        assert_eq!(
            spanned.signum(),
            jump.signum(),
            "the daemon saw no jump: {spanned}"
        );
        lane.submit(FORMS.len(), Form::Mixed);
        lane.finish();
        is_whole(&lane, &lane.runs[1].clone(), &effects);
        lane.close();
    }
}

#[test]
fn a_clock_that_is_set_between_two_daemons_loses_no_run() {
    for (number, jump) in [(62, LONG), (63, -LONG)] {
        let (effects, seed) = service(number);
        let mut lane = Lane::new(0, &effects, &seed);
        let clock = Clock::of(&mut lane);
        let run = under_way(&mut lane, &effects);
        lane.end(Signal::KILL);
        clock.set(jump);
        effects.release();
        lane.start();
        lane.finish();
        is_whole(&lane, &run, &effects);
        lane.close();
    }
}

#[test]
fn an_approval_is_still_asked_for_after_the_clock_was_set_back_and_expires_after_it_was_set_ahead()
{
    let (effects, seed) = service(64);
    let mut lane = Lane::new(0, &effects, &seed);
    let clock = Clock::of(&mut lane);
    lane.start();
    let asked = FORMS.iter().position(|form| *form == Form::Asked).unwrap();
    lane.submit(asked, Form::Asked);
    lane.submit(FORMS.len() + asked, Form::Asked);
    let [first, second] = [lane.runs[0].clone(), lane.runs[1].clone()];
    for run in [&first, &second] {
        lane.wait_for(&run.id, "approval_requested");
    }
    lane.end(Signal::KILL);
    clock.set(-LONG);
    lane.start();
    let waiting = lane.must("approval.list", &json!({}));
    assert_eq!(waiting.as_array().unwrap().len(), 2, "{waiting}");
    let of_first = waiting.as_array().unwrap().iter();
    let mut of_first = of_first.filter(|one| one["run"] == first.id.as_str());
    let call = of_first.next().unwrap()["call"].clone();
    let params = json!({ "call": call, "verdict": "approve" });
    lane.must("approval.answer", &params);
    assert_eq!(lane.outcome(&first.id)["result"], "succeeded");
    let left = Left::by(&lane, &first, &effects);
    assert!(left.each_once() && left.effects() > 0, "{left:#?}");

    clock.set(LONG);
    lane.end(Signal::KILL);
    lane.start();
    lane.wait_for(&second.id, "approval_expired");
    assert_ne!(lane.outcome(&second.id), Value::Null);
    let events = lane.events(&second.id);
    assert!(of_kind(&events, "approval_answered").is_empty());
    let done = effects.settled();
    assert!(done.done.keys().all(|path| !path.contains(&second.tag)));
    drop(done);
    lane.close();
}
