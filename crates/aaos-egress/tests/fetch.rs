//! Tools' requests through the real broker, against real servers on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests, and a helper module that not every file uses whole"
)]

mod support;

use aaos_core::id::CallId;
use aaos_ports::PowerError;
use aaos_sandbox::protocol::{FRAME_BYTES_MAX, Fetch, Fetched, Ring, frame};
use axum::{Router, http::HeaderMap, response::Redirect, routing};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};
use support::{Gates, VALUE, answer, attach, egress, get, serve, until};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_request_is_answered_and_noted_with_the_address_connected_to() {
    let base = serve(Router::new().route("/page", routing::get(|| async { "words" }))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let Fetched(answer) = inside.fetch(get(&format!("{base}/page?q"))).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"words"[..])
    );
    assert_eq!(gates.asked(), [format!("GET {base}/page?q")]);
    let address = base.strip_prefix("http://").unwrap();
    assert_eq!(gates.outcomes(), [format!("GET {address}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_asked_for_again_and_one_to_a_private_address_is_refused() {
    let secret = serve(Router::new().route("/", routing::get(|| async { "inner" }))).await;
    let target = format!("{secret}/");
    let router = Router::new()
        .route(
            "/away",
            routing::get(move || async move { Redirect::to(&target) }),
        )
        .route(
            "/meta",
            routing::get(|| async { Redirect::to("http://169.254.169.254/") }),
        )
        .route(
            "/mapped",
            routing::get(|| async { Redirect::to("http://[::ffff:127.0.0.1]/") }),
        );
    let base = serve(router).await;
    let port = url::Url::parse(&base).unwrap().port();
    let gates = Gates::new(move |_, url| url.port() == port);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    for (path, axis) in [("away", "host"), ("meta", "address"), ("mapped", "address")] {
        let Fetched(refused) = inside.fetch(get(&format!("{base}/{path}"))).await;
        assert!(
            matches!(&refused, Err(PowerError::Denied { axis: found, .. }) if found == axis),
            "{path}: {refused:?}"
        );
    }
    let address = base.strip_prefix("http://").unwrap();
    let hop = format!("GET {address}");
    assert_eq!(
        gates.outcomes(),
        [
            hop.as_str(),
            "GET host",
            &hop,
            "GET address",
            &hop,
            "GET address"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_the_server_and_never_the_worker() {
    let reflect = |headers: HeaderMap| async move {
        let seen = headers
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(seen, format!("Bearer {VALUE}"));
        seen
    };
    let base = serve(Router::new().route("/", routing::get(reflect))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let header = (
        "authorization".to_owned(),
        "Bearer {{secret:token}}".to_owned(),
    );
    let fetch = Fetch {
        headers: vec![header],
        ..get(&base)
    };
    let mut stream = inside.begin(inside.call, &fetch);
    let mut bytes = Vec::new();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("Bearer {{secret:token}}"), "{text}");
    assert!(!text.contains("s3cr3t"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_call_that_is_not_in_flight_is_refused() {
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let stream = inside.begin(CallId::from_drawn(8), &get("http://127.0.0.1:9/"));
    let Fetched(refused) = answer(stream).await.unwrap();
    assert!(
        matches!(&refused, Err(PowerError::Denied { axis, .. }) if axis == "call"),
        "{refused:?}"
    );
    assert!(gates.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_worker_hangs_up_is_dropped_and_noted() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let stream = inside.begin(inside.call, &get(&url));
    let (mut connection, _) = silent.accept().await.unwrap();
    drop(stream);
    let mut room = Vec::new();
    // The broker closes its connection to the server.
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut connection, &mut room);
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .unwrap()
        .unwrap();
    until("the note", || gates.outcomes() == ["GET -"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_that_is_gone_takes_its_requests_along_and_no_others() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = serve(Router::new().route("/", routing::get(|| async { "here" }))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let (one, other) = (attach(&egress, &gates).await, attach(&egress, &gates).await);
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let stream = one.begin(one.call, &get(&url));
    let _connection = silent.accept().await.unwrap();
    drop(one.attached);
    assert!(answer(stream).await.is_none());
    let Fetched(here) = other.fetch(get(&base)).await;
    assert_eq!(here.unwrap().body, b"here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_the_worker_that_said_it_and_no_other() {
    let base = serve(Router::new().route("/", routing::get(|| async { "here" }))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let other = attach(&egress, &gates).await;
    let file = std::fs::File::open("/proc/self/status").unwrap();
    let (pair, _far) = UnixStream::pair().unwrap();
    let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let rings: [&dyn Fn(&support::Inside); 5] = [
        &|inside| inside.ring(&Ring::Fetch { call: inside.call }, &file),
        &|inside| inside.ring(&Ring::Fetch { call: inside.call }, &datagram),
        &|inside| inside.ring(&Ring::Proxy, &pair),
        &|inside| {
            let _proxies = (inside.proxy(), inside.proxy());
        },
        &|inside| {
            let flags = rustix::net::SendFlags::empty();
            rustix::net::send(&inside.doorbell, &[0xff; 100], flags).unwrap();
        },
    ];
    for (row, ring) in rings.iter().enumerate() {
        let inside = attach(&egress, &gates).await;
        ring(&inside);
        let ended = {
            let doorbell = inside.doorbell.try_clone().unwrap();
            tokio::task::spawn_blocking(move || {
                let flags = rustix::net::RecvFlags::empty();
                rustix::net::recv(&doorbell, &mut [0; 1], flags).map(|came| came.1)
            })
        };
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        let ended = ended.unwrap().unwrap();
        // Closed; with a reset if something it had sent was left unread.
        assert!(
            matches!(ended, Ok(0) | Err(rustix::io::Errno::CONNRESET)),
            "{row}: {ended:?}"
        );
    }
    let Fetched(here) = other.fetch(get(&base)).await;
    assert_eq!(here.unwrap().body, b"here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_too_long_or_no_request_is_closed_on() {
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let too_long = u32::MAX.to_le_bytes().to_vec();
    let rubbish = frame::encode(&vec![0xff_u8; 1000], FRAME_BYTES_MAX).unwrap();
    for bytes in [too_long, rubbish] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        inside.ring(&Ring::Fetch { call: inside.call }, &theirs);
        drop(theirs);
        ours.write_all(&bytes).unwrap();
        assert!(answer(ours).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_one_worker_may_have_wait_their_turn() {
    let base = serve(Router::new().route("/", routing::get(|| async { "here" }))).await;
    let gates = Gates::new(|_, _| true);
    let egress = egress();
    let inside = attach(&egress, &gates).await;
    let streams: Vec<UnixStream> = (0..64)
        .map(|_| inside.begin(inside.call, &get(&base)))
        .collect();
    for stream in streams {
        let Fetched(here) = answer(stream).await.unwrap();
        assert_eq!(here.unwrap().body, b"here");
    }
    assert_eq!(gates.outcomes().len(), 64);
}
