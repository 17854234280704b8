//! The HTTP power against real servers on loopback: redirects, limits, refusals, and servers that mean harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use aaos_core::{capability::Need, time::Span};
use aaos_ports::{
    Admitted, Connection, Gate, Http, PowerError,
    power::{HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get},
};
use common::{client, serve};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use url::Url;

/// Admits what its rule admits and remembers what it was asked.
struct Asked<F> {
    rule: F,
    seen: Mutex<Vec<String>>,
}

#[async_trait]
impl<F: Fn(&Url) -> bool + Send + Sync> Gate for Asked<F> {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        let Need::Http { method, url } = need else {
            panic!("asked for {need}")
        };
        self.seen
            .lock()
            .unwrap()
            .push(format!("{method} {}", url.path()));
        if (self.rule)(url) {
            return Ok(Admitted::default());
        }
        Err(PowerError::Denied {
            need: need.to_string(),
            axis: "host".into(),
            reason: "not granted".into(),
        })
    }

    fn note(&self, _connection: Connection) {}
}

fn gate<F: Fn(&Url) -> bool + Send + Sync>(rule: F) -> Asked<F> {
    Asked {
        rule,
        seen: Mutex::default(),
    }
}

fn request(url: &str) -> HttpRequest {
    common::request(url, 1000)
}

async fn get_url(url: &str) -> Result<HttpAnswer, PowerError> {
    client().send(request(url), &gate(|_| true)).await
}

/// A server that answers every connection with these bytes and then keeps it open.
async fn serve_raw(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = socket.read(&mut asked).await;
                let _ = socket.write_all(&answer).await;
                tokio::time::sleep(Duration::from_secs(30)).await;
            });
        }
    });
    format!("http://{address}")
}

fn endless() -> Body {
    Body::from_stream(futures::stream::repeat_with(|| {
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 512]))
    }))
}

#[tokio::test]
async fn a_body_is_cut_at_its_bound_and_one_of_exactly_that_size_is_whole() {
    let router = Router::new()
        .route("/exact", get(|| async { "x".repeat(1000) }))
        .route("/more", get(|| async { "x".repeat(1001) }))
        .route("/endless", get(|| async { endless() }))
        .route("/huge", get(|| async { "x".repeat(10_001) }));
    let base = serve(router).await;
    let exact = get_url(&format!("{base}/exact")).await.unwrap();
    assert_eq!(
        (exact.body.len(), exact.truncated, exact.status),
        (1000, false, 200)
    );
    let more = get_url(&format!("{base}/more")).await.unwrap();
    assert_eq!((more.body.len(), more.truncated), (1000, true));
    let endless = get_url(&format!("{base}/endless")).await.unwrap();
    assert_eq!((endless.body.len(), endless.truncated), (1000, true));
    let huge = get_url(&format!("{base}/huge")).await;
    assert!(
        matches!(&huge, Err(PowerError::TooLarge { what, limit: 10_000 }) if what.contains("/huge")),
        "{huge:?}"
    );
}

#[tokio::test]
async fn every_hop_is_asked_for_and_a_refused_one_is_not_connected_to() {
    let secret = serve(Router::new().route("/", get(|| async { "secret" }))).await;
    let target = secret.clone();
    let router = Router::new()
        .route("/a", get(|| async { Redirect::to("/b") }))
        .route("/b", get(move || async move { Redirect::to(&target) }));
    let base = serve(router).await;
    let port = Url::parse(&base).unwrap().port();
    let gate = gate(|url: &Url| url.port() == port);
    let refused = client().send(request(&format!("{base}/a")), &gate).await;
    assert!(
        matches!(&refused, Err(PowerError::Denied { need, .. }) if need.contains(&secret)),
        "{refused:?}"
    );
    assert_eq!(*gate.seen.lock().unwrap(), ["GET /a", "GET /b", "GET /"]);
}

#[tokio::test]
async fn a_first_hop_that_is_not_granted_is_never_sent() {
    let refused = client()
        .send(request("http://127.0.0.1:9/"), &gate(|_| false))
        .await;
    assert!(matches!(refused, Err(PowerError::Denied { axis, .. }) if axis == "host"));
}

#[tokio::test]
async fn a_redirect_to_metadata_is_refused_whatever_the_gate_says() {
    let router = Router::new()
        .route(
            "/meta",
            get(|| async { Redirect::to("http://169.254.169.254/latest/meta-data") }),
        )
        .route(
            "/decimal",
            get(|| async { Redirect::to("http://2852039166/") }),
        )
        .route(
            "/user",
            get(|| async { Redirect::to("http://a:b@example.com/") }),
        )
        .route(
            "/file",
            get(|| async { Redirect::to("file:///etc/passwd") }),
        )
        .route(
            "/zero",
            get(|| async { Redirect::to("http://0.0.0.0:80/") }),
        );
    let base = serve(router).await;
    for (path, axis) in [
        ("meta", "address"),
        ("decimal", "address"),
        ("user", "url"),
        ("file", "url"),
        ("zero", "address"),
    ] {
        let refused = get_url(&format!("{base}/{path}")).await;
        assert!(
            matches!(&refused, Err(PowerError::Denied { axis: found, .. }) if found == axis),
            "{path}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn localhost_is_reached_where_the_gate_admits_it() {
    let base = serve(Router::new().route("/", get(|| async { "here" }))).await;
    let answer = get_url(&base.replace("127.0.0.1", "localhost"))
        .await
        .unwrap();
    assert_eq!(answer.body, b"here");
    assert!(answer.content_type.starts_with("text/plain"));
}

#[tokio::test]
async fn redirects_end_after_five() {
    let base = serve(Router::new().route("/loop", get(|| async { Redirect::to("/loop") }))).await;
    let gate = gate(|_| true);
    let refused = client().send(request(&format!("{base}/loop")), &gate).await;
    assert!(
        matches!(&refused, Err(PowerError::Io { message, .. }) if message.contains("too many redirects (>5)")),
        "{refused:?}"
    );
    assert_eq!(gate.seen.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn a_slow_server_is_left_at_the_deadline() {
    let slow = Router::new().route(
        "/",
        get(|| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            "late"
        }),
    );
    let trickle = Router::new().route(
        "/",
        get(|| async {
            Body::from_stream(futures::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), ()))
            }))
        }),
    );
    for base in [
        serve(slow).await,
        serve(trickle).await,
        serve_raw(Vec::new()).await,
        serve_raw(b"HTTP/1.1 200 OK\r\nX: y\r\n".to_vec()).await,
    ] {
        let began = Instant::now();
        let request = HttpRequest {
            deadline: Span::from_millis(300),
            ..request(&base)
        };
        let late = client().send(request, &gate(|_| true)).await;
        assert!(
            matches!(&late, Err(PowerError::Io { what, message }) if what.contains(&base) && message.contains("300 ms")),
            "{late:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}

/// Zeros as the system's `gzip` packs them: a thousandth of their size.
fn gzip_of_zeros(megabytes: usize) -> Vec<u8> {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let mut child = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let block = vec![0_u8; 1 << 20];
        for _ in 0..megabytes {
            input.write_all(&block).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output.stdout
}

#[tokio::test]
async fn a_compressed_bomb_is_read_only_up_to_the_bound() {
    let bomb = gzip_of_zeros(64);
    assert!(bomb.len() < 100_000);
    let router = Router::new().route(
        "/",
        get(move || async move { ([(header::CONTENT_ENCODING, "gzip")], bomb) }),
    );
    let base = serve(router).await;
    let request = HttpRequest {
        bytes_max: 1_000_000,
        ..request(&base)
    };
    let answer = client().send(request, &gate(|_| true)).await.unwrap();
    assert_eq!((answer.body.len(), answer.truncated), (1_000_000, true));
}

#[tokio::test]
async fn the_callers_own_headers_do_not_go_to_another_origin() {
    let echo = |headers: HeaderMap| async move {
        let names = ["x-key", "accept"].map(|name| {
            headers
                .get(name)
                .map_or("-", |value| value.to_str().unwrap())
                .to_owned()
        });
        names.join(" ")
    };
    let other = serve(Router::new().route("/", get(echo))).await;
    let here = Router::new()
        .route("/same", get(|| async { Redirect::to("/echo") }))
        .route("/echo", get(echo))
        .route("/other", get(move || async move { Redirect::to(&other) }));
    let base = serve(here).await;
    for (path, expected) in [("same", "k text/html"), ("other", "- text/html")] {
        let headers = vec![
            ("x-key".to_owned(), "k".to_owned()),
            ("accept".to_owned(), "text/html".to_owned()),
        ];
        let request = HttpRequest {
            headers,
            ..request(&format!("{base}/{path}"))
        };
        let answer = client().send(request, &gate(|_| true)).await.unwrap();
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_line_break_in_a_header_is_refused() {
    for (name, value) in [
        ("x-a", "b\r\nHost: evil"),
        ("x-a\r\nHost", "b"),
        ("x a", "b"),
        ("", "b"),
        ("Host", "b"),
    ] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let refused = client()
            .send(
                HttpRequest {
                    headers,
                    ..request("http://127.0.0.1:9/")
                },
                &gate(|_| true),
            )
            .await;
        assert!(
            matches!(&refused, Err(PowerError::Denied { axis, .. }) if axis == "header"),
            "{name:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_line_break_in_a_redirect_makes_no_second_header() {
    let raw = b"HTTP/1.1 302 Found\r\nLocation: /x%0d%0aHost:%20evil\r\nContent-Length: 0\r\n\r\n"
        .to_vec();
    let base = serve_raw(raw).await;
    let gate = gate(|_| true);
    let outcome = client()
        .send(
            HttpRequest {
                deadline: Span::from_secs(2),
                ..request(&base)
            },
            &gate,
        )
        .await;
    assert!(outcome.is_err());
    assert!(
        gate.seen
            .lock()
            .unwrap()
            .iter()
            .all(|asked| !asked.contains('\n'))
    );
}

#[tokio::test]
async fn rubbish_is_an_error_that_names_the_destination() {
    for raw in [
        &b"\x00\xff\xfe not http at all\r\n\r\n"[..],
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello",
    ] {
        let base = serve_raw(raw.to_vec()).await;
        let request = HttpRequest {
            deadline: Span::from_secs(3),
            ..request(&base)
        };
        let outcome = client().send(request, &gate(|_| true)).await;
        assert!(
            matches!(&outcome, Err(PowerError::Io { what, .. }) if what.contains(&base)),
            "{outcome:?}"
        );
    }
    let refused = get_url("http://127.0.0.1:1/nothing?secret=1").await;
    let Err(PowerError::Io { what, message }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        what.contains("127.0.0.1:1/nothing")
            && !what.contains("secret")
            && !message.contains("secret"),
        "{what}: {message}"
    );
}

#[tokio::test]
async fn a_request_that_changes_something_goes_to_one_address_and_a_redirect_is_its_answer() {
    async fn seen(method: Method, body: String) -> String {
        format!("{method} {body}")
    }
    fn to(status: StatusCode) -> Response {
        (status, [(header::LOCATION, "/seen")]).into_response()
    }
    let router = Router::new()
        .route("/seen", any(seen))
        .route("/302", any(|| async { to(StatusCode::FOUND) }))
        .route("/307", any(|| async { to(StatusCode::TEMPORARY_REDIRECT) }));
    let base = serve(router).await;
    let sent = async |method: &str, path: &str| {
        let request = HttpRequest {
            method: method.into(),
            ..request(&format!("{base}/{path}"))
        };
        let gate = gate(|_| true);
        let answer = client().send(request, &gate).await.unwrap();
        let hops = gate.seen.lock().unwrap().len();
        (answer, hops)
    };
    for path in ["302", "307"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let (answer, hops) = sent(method, path).await;
            assert_eq!((answer.status.to_string().as_str(), hops), (path, 1));
            let location = ("location".to_owned(), "/seen".to_owned());
            assert_eq!(answer.headers, [location]);
        }
        let (answer, hops) = sent("GET", path).await;
        assert_eq!((answer.body.as_slice(), hops), (&b"GET "[..], 2));
    }
}

#[tokio::test]
async fn a_request_that_changes_something_is_lost_once_it_may_have_been_received_and_not_before() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let post = |deadline| HttpRequest {
        method: "POST".into(),
        body: b"words".to_vec(),
        deadline,
        ..request(&format!("http://{address}/"))
    };
    let gate = gate(|_| true);
    let late = client().send(post(Span::from_millis(300)), &gate).await;
    assert!(matches!(late, Err(PowerError::Lost { .. })), "{late:?}");
    let hanging_up = async {
        loop {
            let (mut connection, _) = silent.accept().await.unwrap();
            let mut room = [0; 4096];
            let _ = connection.read(&mut room).await;
        }
    };
    let client = client();
    let broken = tokio::select! {
        broken = client.send(post(Span::from_secs(10)), &gate) => broken,
        () = hanging_up => unreachable!("it goes on for ever"),
    };
    assert!(matches!(broken, Err(PowerError::Lost { .. })), "{broken:?}");
    drop(silent);
    let absent = client.send(post(Span::from_secs(10)), &gate).await;
    assert!(matches!(absent, Err(PowerError::Io { .. })), "{absent:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_its_status_is_still_an_answer_to_what_changed_something() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut room = [0; 4096];
            let _ = connection.read(&mut room).await;
            let half = b"HTTP/1.1 201 Created\r\ncontent-length: 10\r\netag: one\r\n\r\nhalf";
            connection.write_all(half).await.unwrap();
        }
    };
    let client = client();
    let sending = async {
        let gate = gate(|_| true);
        let post = HttpRequest {
            method: "POST".into(),
            ..request(&url)
        };
        let answer = client.send(post, &gate).await.unwrap();
        assert_eq!((answer.status, answer.truncated), (201, true));
        assert_eq!(answer.body, b"half");
        assert_eq!(answer.headers, [("etag".to_owned(), "one".to_owned())]);
        let got = client.send(request(&url), &gate).await;
        assert!(matches!(got, Err(PowerError::Io { .. })), "{got:?}");
    };
    tokio::select! {
        () = sending => {}
        () = serving => unreachable!("it goes on for ever"),
    }
}
