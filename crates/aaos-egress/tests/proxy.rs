//! The proxy for programs: plain requests, tunnels, and what two readers could understand differently.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests, and a helper module that not every file uses whole"
)]

mod support;

use axum::{
    Router,
    body::Bytes,
    http::HeaderMap,
    response::Redirect,
    routing::{any, get},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::Arc,
    time::Duration,
};
use support::{Gates, Inside, VALUE, attach, egress, raw, serve, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

struct World {
    gates: Arc<Gates>,
    proxy: SocketAddr,
    _inside: Inside,
}

async fn world(rule: impl Fn(&str, &url::Url) -> bool + Send + Sync + 'static) -> World {
    let gates = Gates::new(rule);
    let inside = attach(&egress(), &gates).await;
    World {
        gates,
        proxy: inside.proxy(),
        _inside: inside,
    }
}

/// What a server saw of a request: its headers in order, and the length of its body.
async fn seen(headers: HeaderMap, body: Bytes) -> String {
    let mut names: Vec<String> = headers
        .iter()
        .filter(|(name, _)| *name != "user-agent")
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    names.sort();
    format!("{};body={}", names.join(";"), body.len())
}

fn host(base: &str) -> &str {
    base.strip_prefix("http://").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_request_goes_out_without_what_is_between_it_and_the_proxy() {
    let base = serve(Router::new().route("/x", any(seen))).await;
    let world = world(|_, _| true).await;
    let host = host(&base);
    let answer = raw(
        world.proxy,
        format!(
            "POST {base}/x?q HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Own: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        ),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = answer.rsplit("\r\n\r\n").next().unwrap();
    assert_eq!(
        body,
        format!("accept-encoding=gzip;accept=*/*;content-length=5;host={host};x-own=2;body=5")
    );
    assert_eq!(world.gates.asked(), [format!("POST {base}/x?q")]);
    assert_eq!(world.gates.outcomes(), [format!("POST {host}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_the_axis_and_the_reason() {
    let world = world(|_, _| false).await;
    let answer = raw(
        world.proxy,
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("(host): not granted"), "{answer}");
    let answer = raw(
        world.proxy,
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("(host): not granted"), "{answer}");
    assert_eq!(
        world.gates.asked(),
        ["GET http://a.example/", "CONNECT https://a.example/"]
    );
    assert_eq!(world.gates.outcomes(), ["GET host", "CONNECT host"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_handed_to_the_program_and_not_followed() {
    let router = Router::new().route(
        "/a",
        get(|| async { Redirect::to("http://169.254.169.254/") }),
    );
    let base = serve(router).await;
    let world = world(|_, _| true).await;
    let host = host(&base);
    let answer = raw(
        world.proxy,
        format!("GET {base}/a HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    assert!(
        answer.contains("location: http://169.254.169.254/\r\n"),
        "{answer}"
    );
    let again = raw(
        world.proxy,
        "GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
    )
    .await;
    assert!(again.starts_with("HTTP/1.1 403 "), "{again}");
    let hop = format!("GET {host}");
    assert_eq!(world.gates.outcomes(), [hop.as_str(), "GET address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_disguise_is_judged_as_what_it_is() {
    let world = world(|_, _| true).await;
    for host in [
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "169.254.43518",
        "0.0.0.0",
        "0",
        "[::]",
    ] {
        let plain = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let tunnel = format!("CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n");
        for asked in [plain, tunnel] {
            let answer = raw(world.proxy, asked.clone()).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{asked}: {answer}");
            assert!(answer.contains("(address)"), "{asked}: {answer}");
        }
    }
    assert!(world.gates.asked().is_empty());
    assert!(
        world
            .gates
            .outcomes()
            .iter()
            .all(|said| said.ends_with(" address"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_smuggle_a_second_request_is_refused_unsent_and_noted() {
    let base = serve(Router::new().route("/", any(seen))).await;
    let world = world(|_, _| true).await;
    let host = host(&base);
    let start = format!("POST {base}/ HTTP/1.1\r\nHost: {host}\r\n");
    let rows = [
        format!("{start}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET"),
        format!("{start}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET"),
        format!("{start}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
        format!("{start}Transfer-Encoding: xchunked\r\n\r\n"),
        format!("{start}Transfer-Encoding : chunked\r\n\r\n"),
        format!("{start}X: y\r\n Host: evil\r\n\r\n"),
        format!("{start}X: y\nHost: evil\r\n\r\n"),
        format!("{start}X: y\0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET {base}/ HTTP/1.0\r\nHost: {host}\r\n\r\n"),
        format!("GET {base}/ HTTP/1.1\r\nHost: other.example\r\n\r\n"),
        format!("GET http://x:y@{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx"),
    ];
    for asked in &rows {
        let answer = raw(world.proxy, asked.clone()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{asked:?}: {answer}");
    }
    assert!(world.gates.asked().is_empty());
    assert_eq!(world.gates.outcomes().len(), rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_on_a_connection_is_not_served() {
    let base = serve(Router::new().route("/", any(seen))).await;
    let world = world(|_, _| true).await;
    let one = format!("GET {base}/ HTTP/1.1\r\nHost: {}\r\n\r\n", host(&base));
    let answer = raw(world.proxy, format!("{one}{one}")).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(world.gates.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_an_end_is_left() {
    let world = world(|_, _| true).await;
    let long = format!(
        "GET http://a.example/ HTTP/1.1\r\nX: {}",
        "x".repeat(20_000)
    );
    assert_eq!(raw(world.proxy, long).await, "");
    let half = TcpStream::connect(world.proxy).unwrap();
    (&half).write_all(b"GET http://a.example/").unwrap();
    half.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let read = tokio::task::spawn_blocking(move || (&half).read(&mut [0; 10]).unwrap());
    assert_eq!(read.await.unwrap(), 0);
    assert!(world.gates.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_sixteen_mebibytes_are_refused_both_ways() {
    let router = Router::new()
        .route("/big", get(|| async { vec![b'x'; (16 << 20) + 1] }))
        .route("/", any(seen));
    let base = serve(router).await;
    let world = world(|_, _| true).await;
    let host = host(&base);
    let announced =
        format!("POST {base}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 16777217\r\n\r\n");
    let answer = raw(world.proxy, announced).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut chunked = format!(
        "POST {base}/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n1000001\r\n"
    )
    .into_bytes();
    chunked.resize(chunked.len() + (16 << 20) + 1, b'x');
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = raw(world.proxy, chunked).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(world.gates.asked().is_empty());
    let big = format!("GET {base}/big HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = raw(world.proxy, big).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{}", answer.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_out_for_a_program_and_does_not_come_back() {
    let reflect = |headers: HeaderMap| async move {
        let seen = headers.get("authorization").unwrap().clone();
        assert_eq!(seen, format!("Bearer {VALUE}"));
        (
            [("x-seen", seen.clone())],
            seen.to_str().unwrap().to_owned(),
        )
    };
    let base = serve(Router::new().route("/", get(reflect))).await;
    let world = world(|_, _| true).await;
    let host = host(&base);
    let with = |value: &str| {
        format!("GET {base}/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {value}\r\n\r\n")
    };
    let answer = raw(world.proxy, with("{{secret:token}}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("x-seen: Bearer {{secret:token}}\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("s3cr3t"), "{answer}");
    let other = raw(world.proxy, with("{{secret:other}}")).await;
    assert!(
        other.starts_with("HTTP/1.1 403 ") && other.contains("(secret)"),
        "{other}"
    );
    let own = raw(world.proxy, with("mine")).await;
    assert!(
        own.starts_with("HTTP/1.1 403 ") && own.contains("(header)"),
        "{own}"
    );
}

/// A server that answers every connection with what it says, once.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut all = Vec::new();
                socket.read_to_end(&mut all).await.unwrap();
                socket.write_all(&all).await.unwrap();
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_everything_both_ways() {
    let address = echo().await;
    let world = world(|method, _| method == "CONNECT").await;
    let proxy = world.proxy;
    let talk = move || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let asked = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nearly ");
        stream.write_all(asked.as_bytes()).unwrap();
        let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
        let mut answer = vec![0; opened.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, opened);
        let late = vec![b'x'; 1 << 20];
        stream.write_all(&late).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back.starts_with(b"early xxx"));
        assert_eq!(back.len(), 6 + late.len());
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    assert_eq!(world.gates.asked(), [format!("CONNECT https://{address}/")]);
    assert_eq!(world.gates.outcomes(), [format!("CONNECT {address}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_end_with_their_worker() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let world = world(|_, _| true).await;
    let asked = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let stream = tokio::spawn(raw(world.proxy, asked));
    let (mut far, _) = silent.accept().await.unwrap();
    until("the tunnel", || !world.gates.outcomes().is_empty()).await;
    drop(world);
    let mut room = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), far.read_to_end(&mut room));
    assert!(matches!(closed.await, Ok(Ok(0) | Err(_))));
    stream.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_program_hangs_up_is_dropped_and_noted() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let world = world(|_, _| true).await;
    let program = TcpStream::connect(world.proxy).unwrap();
    let asked = format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n\r\n");
    (&program).write_all(asked.as_bytes()).unwrap();
    let (mut far, _) = silent.accept().await.unwrap();
    drop(program);
    let mut room = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), far.read_to_end(&mut room));
    closed.await.unwrap().unwrap();
    until("the note", || world.gates.outcomes() == ["GET -"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_a_page_and_a_tunnel_through_it() {
    let base = serve(Router::new().route("/", get(|| async { "words" }))).await;
    let world = world(|_, _| true).await;
    let proxy = format!("http://{}", world.proxy);
    for extra in [&[][..], &["--proxytunnel"]] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "", "--proxy", &proxy, &base]);
        curl.args(extra);
        let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await;
        let output = output.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.stdout, b"words", "{error}");
    }
    let host = host(&base);
    assert_eq!(
        world.gates.outcomes(),
        [format!("GET {host}"), format!("CONNECT {host}")]
    );
}
