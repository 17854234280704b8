//! The escape suite: one row for each attempt to get out of a worker. Every attempt has to fail, and for the stated reason.
//!
//! The attempts are made by a hostile program (`probe.c`) that runs under the exec profile, the wider of the two: what
//! the exec profile stops, the plain one stops too (a test of the profiles holds that). Everything runs as whoever runs
//! the tests and, if that is root, once more as an unprivileged user.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod rows;
mod stage;

use aaos_ports::Worker;
use rows::{EXECUTION, NAMESPACES, NETWORK, PATHS, RESOURCES, Row, SECRETS, SMUGGLING};
use stage::Stage;

/// A stage, and a worker on it.
async fn staged() -> (Stage, Box<dyn Worker>) {
    let stage = Stage::build();
    let worker = stage.launch().await;
    (stage, worker)
}

/// The worker still starts programs and brings what they say.
async fn goes_on(stage: &Stage, worker: &dyn Worker) {
    let said = stage.run(worker, &["hello"]).await;
    assert!(said.text.contains("hello"), "{said:?}");
}

fn nothing_runs_on(stage: &Stage) {
    let probes = stage.processes_of_the_probe();
    assert!(probes.is_empty(), "left running: {probes:?}");
}

/// Makes every attempt of a family and tells of all that were not stopped as stated.
async fn every_row_holds(rows: &[Row]) {
    let (stage, worker) = staged().await;
    let mut wrong = Vec::new();
    for row in rows {
        let said = stage.attempt(&*worker, row).await;
        if let Err(problem) = row.judge(&said) {
            wrong.push(format!("{}: {problem}", row.name));
        }
    }
    worker.stop().await;
    assert!(
        wrong.is_empty(),
        "{} of {} got out or were stopped by something else:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_no_path_trick_leads_outside() {
    every_row_holds(PATHS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_no_namespace_or_privilege_is_gained() {
    every_row_holds(NAMESPACES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_nothing_is_executed_but_what_was_granted() {
    every_row_holds(EXECUTION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_no_socket_leads_anywhere() {
    every_row_holds(NETWORK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_the_proxy_cannot_be_talked_round() {
    every_row_holds(SMUGGLING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_no_resource_can_be_used_up() {
    every_row_holds(RESOURCES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_no_secret_is_in_reach() {
    every_row_holds(SECRETS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_the_probe_itself_runs_so_that_a_refusal_means_something() {
    let (stage, worker) = staged().await;
    goes_on(&stage, &*worker).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_what_a_program_leaves_running_is_gone_with_it() {
    let (stage, worker) = staged().await;
    let said = stage.run(&*worker, &["daemonize"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    nothing_runs_on(&stage);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_a_flood_of_output_is_cut_and_the_worker_goes_on() {
    let (stage, worker) = staged().await;
    let flooded = stage.run(&*worker, &["flood"]).await;
    assert!(
        flooded.text.len() < 4 << 20,
        "{} bytes came through",
        flooded.text.len()
    );
    goes_on(&stage, &*worker).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_a_worker_goes_on_after_a_fork_bomb() {
    let (stage, worker) = staged().await;
    stage.run(&*worker, &["fork-bomb"]).await;
    nothing_runs_on(&stage);
    goes_on(&stage, &*worker).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_a_program_that_hangs_is_ended_at_its_deadline() {
    let (stage, worker) = staged().await;
    let said = stage.run_for(&*worker, &["hang"], 500).await;
    assert!(said.is_err(), "{said:?}");
    nothing_runs_on(&stage);
    goes_on(&stage, &*worker).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_the_file_tools_refuse_pipes_devices_and_links() {
    let (stage, worker) = staged().await;
    for name in ["pipe", "link", "linked/secret", "socket"] {
        let refused = stage.read_by_tool(&*worker, name).await;
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    let denied = stage.read_by_tool(&*worker, "../outside/secret").await;
    assert!(denied.is_err(), "{denied:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_a_link_put_where_the_operator_named_a_path_is_not_followed() {
    let stage = Stage::build();
    let worker = stage.launch_beyond_a_link().await;
    let refused = stage.read_by_tool(&*worker, "linked/secret").await;
    assert!(refused.is_err(), "{refused:?}");
    worker.stop().await;
}

#[test]
fn every_row_holds_for_an_unprivileged_user() {
    stage::again_as_an_unprivileged_user("row_");
}
