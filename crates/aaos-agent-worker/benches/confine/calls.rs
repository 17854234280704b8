//! Calls: an echo and a file of 4 KiB, confined, in process, and as the least that a socket and the kernel take.

use crate::{
    floor::{self, Floor},
    launch::Taken,
    peers::Peer,
    product::{FILE, FILE_BYTES, World, call},
    timed,
};
use serde_json::json;
use std::{
    os::fd::OwnedFd,
    os::unix::net::UnixStream as StdStream,
    process::{Child, Command},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Turns, and calls of each kind in a row within one, so that none pays for another's cold caches alone.
const TURNS: usize = 100;
const IN_A_ROW: usize = 10;
/// Bytes of an echo in all: a call's name, its identity and a short argument.
const ECHO_BYTES: usize = 200;
/// Bytes of the echoed text, so that a call has about that size.
const TEXT_BYTES: usize = 130;

/// The least worker behind a socket that tokio waits on, unconfined.
struct Raw {
    line: UnixStream,
    child: Child,
}

impl Raw {
    async fn start(world: &World) -> Self {
        let (ours, theirs) = StdStream::pair().unwrap();
        let child = Command::new(floor::worker(world))
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut line = UnixStream::from_std(ours).unwrap();
        line.read_exact(&mut [0]).await.unwrap();
        Self { line, child }
    }

    async fn trip(&mut self, sent: &[u8], expected: usize) {
        let mut buffer = vec![0; expected];
        self.line.write_all(sent).await.unwrap();
        self.line.read_exact(&mut buffer).await.unwrap();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Every kind in turns; `how` is added to each name.
pub(crate) async fn turns(world: &World, how: &str) {
    let mut floor = Floor::start(world);
    let mut raw = Raw::start(world).await;
    let typical = Peer::bubblewrap_typical(world);
    let (confined, plain) = (world.namespaced(0), world.in_process());
    let grants = world.grants();
    let (confined, _) = world.launch(&confined, &grants).await;
    let (plain, _) = world.launch(&plain, &grants).await;
    let echo = json!({ "message": "x".repeat(TEXT_BYTES) });
    let read = json!({ "path": FILE });
    let path = format!("F{}", world.workspace.join(FILE).display());
    let mut taken = Taken::default();
    let mut add = |name: &str, numbers| taken.all(&format!("{name}{how}"), numbers);
    for turn in 0..=TURNS {
        let mut add = |name: &str, numbers| {
            if turn > 0 {
                add(name, numbers);
            }
        };
        for (name, worker) in [("confined", &confined), ("in process", &plain)] {
            for (tool, input) in [("echo", &echo), ("file_read", &read)] {
                let mut numbers = Vec::with_capacity(IN_A_ROW);
                for _ in 0..IN_A_ROW {
                    numbers.push(timed(call(&**worker, tool, input.clone())).await.0);
                }
                add(&format!("{tool} {name}"), numbers);
            }
        }
        let mut numbers = (Vec::new(), Vec::new());
        for _ in 0..IN_A_ROW {
            numbers
                .0
                .push(timed(raw.trip(&[b'E'; ECHO_BYTES], ECHO_BYTES)).await.0);
            numbers
                .1
                .push(timed(raw.trip(path.as_bytes(), FILE_BYTES)).await.0);
        }
        add("echo raw tokio", numbers.0);
        add("read raw tokio", numbers.1);
        add(
            "echo raw",
            floor.ask(&format!("echo {ECHO_BYTES} {IN_A_ROW}")),
        );
        add("read raw", floor.ask(&format!("read {FILE} {IN_A_ROW}")));
        if let Some(typical) = &typical {
            add("cat in bwrap", vec![typical.run(&["cat", FILE])]);
        }
    }
    confined.stop().await;
    plain.stop().await;
    taken.say();
}
