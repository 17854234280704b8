//! Secrets, notes and tunnels against real servers on loopback: what is sent where, and what comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use aaos_core::{capability::Need, secret::Secret, time::Span};
use aaos_ports::{
    Admitted, Connection, Gate, Http, PowerError,
    power::{ConnectionOutcome, HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use common::{client, serve};
use std::{collections::BTreeMap, sync::Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const VALUE: &str = "s3cr3t/value+of=token";

/// Admits everything; paths that begin with `/api`, with a secret. Refuses what is named `/no`.
#[derive(Default)]
struct Secretive {
    notes: Mutex<Vec<Connection>>,
}

#[async_trait]
impl Gate for Secretive {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        let Need::Http { url, .. } = need else {
            panic!("asked for {need}")
        };
        if url.path() == "/no" {
            return Err(PowerError::Denied {
                need: need.to_string(),
                axis: "path".into(),
                reason: "not granted".into(),
            });
        }
        let value = Secret::new(VALUE.to_owned());
        let secrets = BTreeMap::from([("token".to_owned(), value)]);
        Ok(if url.path().starts_with("/api") {
            Admitted { secrets }
        } else {
            Admitted::default()
        })
    }

    fn note(&self, connection: Connection) {
        self.notes.lock().unwrap().push(connection);
    }
}

impl Secretive {
    fn notes(&self) -> Vec<Connection> {
        self.notes.lock().unwrap().clone()
    }
}

/// A GET that would send the secret.
fn request(url: &str) -> HttpRequest {
    let bearer = "Bearer {{secret:token}}".to_owned();
    HttpRequest {
        headers: vec![("Authorization".to_owned(), bearer)],
        ..common::request(url, 10_000)
    }
}

async fn send(url: &str) -> (Result<HttpAnswer, PowerError>, Vec<Connection>) {
    let gate = Secretive::default();
    let answer = client().send(request(url), &gate).await;
    (answer, gate.notes())
}

fn authorization(headers: &HeaderMap) -> String {
    let value = headers.get(header::AUTHORIZATION);
    value
        .map_or("-", |value| value.to_str().unwrap())
        .to_owned()
}

async fn reflect(headers: HeaderMap) -> Response {
    let seen = authorization(&headers);
    assert_eq!(seen, format!("Bearer {VALUE}"));
    let percent: String = url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect();
    let kind = [(header::CONTENT_TYPE, format!("text/x; t={VALUE}"))];
    (kind, format!("you said {seen}; in a link: {percent}; end")).into_response()
}

#[tokio::test]
async fn a_reflecting_server_hears_the_secret_and_the_agent_does_not() {
    let base = serve(Router::new().route("/api", get(reflect))).await;
    let (answer, notes) = send(&format!("{base}/api?q=1")).await;
    let answer = answer.unwrap();
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        "you said Bearer {{secret:token}}; in a link: {{secret:token}}; end"
    );
    assert_eq!(answer.content_type, "text/x; t={{secret:token}}");
    let address = base.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(
        notes,
        [Connection {
            method: "GET".into(),
            url: format!("{base}/api"),
            outcome: ConnectionOutcome::Allowed {
                address: Some(address)
            },
        }]
    );
}

#[tokio::test]
async fn an_answer_cut_within_a_secret_shows_no_part_of_it() {
    let router = Router::new().route("/api", get(reflect));
    let base = serve(router).await;
    for bytes_max in 10..60 {
        let request = HttpRequest {
            bytes_max,
            ..request(&format!("{base}/api"))
        };
        let answer = client().send(request, &Secretive::default()).await.unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        assert!(
            !body.contains("s3c") && answer.truncated,
            "{bytes_max}: {body}"
        );
    }
}

#[tokio::test]
async fn a_placeholder_that_was_not_admitted_is_refused_and_nothing_is_sent() {
    let base = "http://127.0.0.1:9";
    let (refused, notes) = send(&format!("{base}/open")).await;
    assert!(
        matches!(&refused, Err(PowerError::Denied { axis, reason, .. }) if axis == "secret" && reason.contains("`token`")),
        "{refused:?}"
    );
    let outcome = &notes.first().unwrap().outcome;
    assert!(matches!(outcome, ConnectionOutcome::Refused { axis, .. } if axis == "secret"));
}

#[tokio::test]
async fn a_redirect_takes_no_secret_to_where_it_was_not_admitted() {
    async fn tell(headers: HeaderMap) -> String {
        authorization(&headers)
    }
    let other = serve(
        Router::new()
            .route("/api", get(tell))
            .route("/open", get(tell)),
    )
    .await;
    let (there, open) = (format!("{other}/api"), format!("{other}/open"));
    let router = Router::new()
        .route("/api/same", get(|| async { Redirect::to("/open") }))
        .route(
            "/api/other",
            get(move || async move { Redirect::to(&there) }),
        )
        .route("/api/open", get(move || async move { Redirect::to(&open) }))
        .route("/open", get(tell));
    let base = serve(router).await;
    let (same, notes) = send(&format!("{base}/api/same")).await;
    assert!(
        matches!(&same, Err(PowerError::Denied { axis, .. }) if axis == "secret"),
        "{same:?}"
    );
    assert_eq!(notes.len(), 2);
    for path in ["other", "open"] {
        let (answer, _) = send(&format!("{base}/api/{path}")).await;
        assert_eq!(answer.unwrap().body, b"-", "{path}");
    }
}

#[tokio::test]
async fn a_redirect_that_carries_the_secret_away_is_not_followed() {
    let router = Router::new().route(
        "/api",
        get(|| async {
            let target = format!("http://127.0.0.1:9/api?t={VALUE}");
            (StatusCode::FOUND, [(header::LOCATION, target)])
        }),
    );
    let base = serve(router).await;
    let (refused, notes) = send(&format!("{base}/api")).await;
    assert!(
        matches!(&refused, Err(PowerError::Denied { axis, .. }) if axis == "secret"),
        "{refused:?}"
    );
    assert!(!format!("{refused:?}{notes:?}").contains("s3cr3t"));
    assert_eq!(notes.len(), 2);
}

#[tokio::test]
async fn every_hop_is_noted_with_its_outcome() {
    let router = Router::new()
        .route("/a", get(|| async { Redirect::to("/no") }))
        .route(
            "/meta",
            get(|| async { Redirect::to("http://169.254.169.254/") }),
        );
    let base = serve(router).await;
    let outcomes = |path: &str| {
        let request = HttpRequest {
            headers: Vec::new(),
            ..request(&format!("{base}{path}"))
        };
        async {
            let gate = Secretive::default();
            let _ = client().send(request, &gate).await;
            let axis = |note: Connection| match note.outcome {
                ConnectionOutcome::Allowed { address } => address.unwrap_or_default(),
                ConnectionOutcome::Refused { axis, .. } => axis,
            };
            gate.notes().into_iter().map(axis).collect::<Vec<_>>()
        }
    };
    let here = base.strip_prefix("http://").unwrap();
    assert_eq!(outcomes("/a").await, [here, "path"]);
    assert_eq!(outcomes("/meta").await, [here, "address"]);
    let dead = HttpRequest {
        headers: Vec::new(),
        ..request("http://127.0.0.1:1/")
    };
    let gate = Secretive::default();
    let failed = client().send(dead, &gate).await;
    assert!(matches!(failed, Err(PowerError::Io { .. })));
    let notes = gate.notes();
    let unconnected = ConnectionOutcome::Allowed { address: None };
    assert_eq!(notes.first().unwrap().outcome, unconnected);
}

#[tokio::test]
async fn a_request_given_up_after_it_was_admitted_is_noted_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/", listener.local_addr().unwrap());
    let request = HttpRequest {
        headers: Vec::new(),
        deadline: Span::from_millis(200),
        ..request(&silent)
    };
    let gate = Secretive::default();
    assert!(client().send(request, &gate).await.is_err());
    assert_eq!(gate.notes().len(), 1);
}

#[tokio::test]
async fn a_passed_request_follows_no_redirect_and_brings_the_headers_back_clean() {
    let router = Router::new().route(
        "/api",
        get(|| async {
            let seen = [
                (header::LOCATION, format!("/next?t={VALUE}")),
                (header::SET_COOKIE, "a=b".to_owned()),
                (header::CONNECTION, "close".to_owned()),
            ];
            (StatusCode::FOUND, seen, VALUE)
        }),
    );
    let base = serve(router).await;
    let request = request(&format!("{base}/api"));
    let passed = client().pass(request, &Secretive::default()).await.unwrap();
    let header = |name: &str| {
        let found = passed.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    };
    assert_eq!(passed.status, 302);
    assert_eq!(header("location").unwrap(), "/next?t={{secret:token}}");
    assert_eq!(header("set-cookie").unwrap(), "a=b");
    assert_eq!(header("connection"), None);
    assert_eq!(passed.body, b"{{secret:token}}");
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_is_noted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(&asked).await.unwrap();
    });
    let gate = Secretive::default();
    let mut stream = client()
        .tunnel("127.0.0.1", address.port(), &gate)
        .await
        .unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    assert_eq!(
        gate.notes(),
        [Connection {
            method: "CONNECT".into(),
            url: format!("https://{address}/"),
            outcome: ConnectionOutcome::Allowed {
                address: Some(address.to_string())
            },
        }]
    );
}

#[tokio::test]
async fn a_tunnel_goes_to_no_address_that_no_grant_reaches_however_it_is_written() {
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "0",
        "a/b",
        "a@b",
        "",
        "a b",
        "a:1",
        "127.0.0.1#",
    ] {
        let gate = Secretive::default();
        let refused = client().tunnel(host, 80, &gate).await;
        assert!(
            matches!(&refused, Err(PowerError::Denied { axis, .. }) if axis == "address" || axis == "url"),
            "{host}: {refused:?}"
        );
    }
    let refused = client().tunnel("127.0.0.1", 0, &Secretive::default()).await;
    assert!(matches!(refused, Err(PowerError::Denied { axis, .. }) if axis == "url"));
}
