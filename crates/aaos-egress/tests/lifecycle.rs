//! The broker's process: confined, ended with its daemon, started again when lost, leaving nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests, and a helper module that not every file uses whole"
)]

mod support;

use aaos_sandbox::{
    backend::namespaced::egress::Egress,
    protocol::{Fetched, packets},
};
use axum::{Router, routing};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::Arc,
};
use support::{Gates, answer, attach, egress, get, serve, until};
use tokio::net::TcpListener;

fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_holds_no_authority_but_to_connect() {
    let egress = egress();
    assert_eq!(egress.pid(), None);
    egress.warm().await.unwrap();
    let pid = egress.pid().unwrap();
    for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, field), "0000000000000000", "{field}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "Seccomp"), "2");
    if rustix::process::geteuid().is_root() {
        assert_eq!(status(pid, "CapBnd"), "0000000000000000");
        assert_eq!(status(pid, "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(status(pid, "Gid"), "65534\t65534\t65534\t65534");
        assert_eq!(status(pid, "Groups"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_thread_of_the_broker_is_confined() {
    let egress = egress();
    egress.warm().await.unwrap();
    let pid = egress.pid().unwrap();
    let threads: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).unwrap().collect();
    assert!(threads.len() > 1);
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2") && status.contains("CapEff:\t0000000000000000"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_ends_and_reaps_its_process() {
    let egress = egress();
    let inside = attach(&egress, &Gates::new(|_, _| true)).await;
    let pid = egress.pid().unwrap();
    assert!(is_there(pid));
    drop(egress);
    assert!(is_there(pid), "a worker still needs it");
    drop(inside);
    until("the broker's end", || !is_there(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_amid_a_request_fails_it_and_the_next_worker_gets_another() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = serve(Router::new().route("/", routing::get(|| async { "here" }))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let stream = inside.begin(inside.call, &get(&url));
    let _connection = silent.accept().await.unwrap();
    let pid = egress.pid().unwrap();
    kill(pid);
    assert!(answer(stream).await.is_none());
    until("the loss to be noticed", || !inside.attached.is_served()).await;
    until("the broker to be reaped", || !is_there(pid)).await;
    let again = attach(&egress, &gates).await;
    assert_ne!(egress.pid(), Some(pid));
    let Fetched(here) = again.fetch(get(&base)).await;
    assert_eq!(here.unwrap().body, b"here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_its_daemon_ends() {
    let (ours, theirs) = packets::pair().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_aaos-egress"))
        .env_clear()
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    let line = packets::Packets::new(ours).unwrap();
    let hello = line.next::<aaos_sandbox::protocol::EgressReport>().await;
    assert!(hello.unwrap().is_some());
    drop(line);
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert_eq!(ended.await.unwrap().into_raw(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_that_is_not_there_or_is_no_broker_says_what_to_do() {
    for (binary, part) in [
        ("/nowhere/aaos-egress", "/nowhere/aaos-egress"),
        ("/bin/true", "before its first word"),
    ] {
        let error = Egress::new(binary.into(), Arc::default())
            .warm()
            .await
            .unwrap_err();
        assert!(error.missing.contains(part), "{error}");
        assert!(!error.next_step.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_coming_and_going_leave_no_descriptor_behind() {
    let base = serve(Router::new().route("/", routing::get(|| async { "here" }))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    egress.warm().await.unwrap();
    let ours = || fs::read_dir("/proc/self/fd").unwrap().count();
    let round = async || {
        let inside = attach(&egress, &gates).await;
        let _proxy = inside.proxy();
        let Fetched(here) = inside.fetch(get(&base)).await;
        assert_eq!(here.unwrap().body, b"here");
    };
    round().await;
    let before = ours();
    for _ in 0..200 {
        round().await;
    }
    // Descriptors of connections that are kept idle differ by a few.
    until("descriptors to be closed", || ours() <= before + 8).await;
}
