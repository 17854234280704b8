//! The proxy of a worker's programs: plain requests and tunnels, each asked for like a tool's request.
//!
//! Refuses: following redirects (the program asks again, and so does the gate), a second request on one connection,
//! and whatever the head's judge refuses. A refusal says the axis and the reason, and nothing else.

use crate::{
    daemon::FarGate,
    head::{self, Asked, BODY_BYTES_MAX, Bad},
    pump,
    worker::{Worker, kib},
};
use aaos_core::time::Span;
use aaos_net::Passed;
use aaos_ports::{
    Connection, Gate, PowerError,
    power::{ConnectionOutcome, HttpRequest},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io::Cursor, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, join},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};
use url::Url;

/// Longest time a head takes to come.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longest time for a whole plain request and its answer.
const REQUEST_WITHIN: Span = Span::from_secs(300);
/// Pause after a connection that could not be taken, for want of descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// Most pauses in a row; then the listening socket is broken.
const PAUSES_MAX: u32 = 100;

/// Headers of a request that are between a program and its proxy, or that the client sets itself.
/// Source: RFC 9110, 7.6.1.
const HEADERS_DROPPED: [&str; 10] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "accept-encoding",
];

/// Serves connections until the listening socket breaks. What they have under way ends with this.
pub(crate) async fn serve(worker: Arc<Worker>, listener: TcpListener) {
    let (mut serving, mut pauses) = (JoinSet::new(), 0);
    loop {
        let turn = Arc::clone(&worker.connections).acquire_owned().await;
        let place = Arc::clone(&worker.parts.connections).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                pauses = 0;
                let worker = Arc::clone(&worker);
                serving.spawn(async move {
                    connection(&worker, stream).await;
                    drop((turn, place));
                });
            }
            Err(_) if pauses < PAUSES_MAX => {
                pauses += 1;
                time::sleep(PAUSE).await;
            }
            Err(_) => return,
        }
        while serving.try_join_next().is_some() {}
    }
}

async fn connection(worker: &Worker, mut stream: TcpStream) {
    let gate = FarGate::new(Arc::clone(&worker.parts.daemon), worker.worker, None);
    let head = time::timeout(HEAD_WITHIN, head::read(&mut stream)).await;
    let Ok(Ok(Some((head, rest)))) = head else {
        // Too slow, too long, or gone; what is no request gets no answer.
        return;
    };
    match head::parse(&head) {
        Err(bad) => {
            refuse(&gate, &head, bad);
            gate.settled().await;
            say(&mut stream, "400 Bad Request", bad.0).await;
        }
        Ok(Asked::Tunnel { host, port }) => {
            tunnel(worker, &gate, stream, &rest, &host, port).await;
        }
        Ok(Asked::Request {
            url,
            body_bytes_max,
        }) => {
            let whole = [head, rest].concat();
            let served = request(worker, &gate, stream, whole, &url, body_bytes_max);
            // Twice the time: for the body to come, and for the answer.
            let limit = REQUEST_WITHIN.as_duration() * 2;
            let _ = time::timeout(limit, served).await;
        }
    }
}

/// Notes a request that makes no sense as a connection refused.
fn refuse(gate: &FarGate, head: &[u8], bad: Bad) {
    let (method, url) = head::first_words(head);
    gate.note(Connection {
        method,
        url,
        outcome: ConnectionOutcome::Refused {
            axis: "request".to_owned(),
            reason: bad.0.to_owned(),
        },
    });
}

async fn tunnel(
    worker: &Worker,
    gate: &FarGate,
    mut stream: TcpStream,
    early: &[u8],
    host: &str,
    port: u16,
) {
    let far = worker.parts.client.tunnel(host, port, gate).await;
    gate.settled().await;
    match far {
        Ok(far) => {
            let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
            if stream.write_all(opened).await.is_ok() {
                // However it ends, both sockets are closed.
                let _ = pump::pump(stream, far, early).await;
            }
        }
        Err(error) => say(&mut stream, status_line(&error), &error.to_string()).await,
    }
}

/// Answers with a short text, and closes.
async fn say(stream: &mut TcpStream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    let said = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What is unread when a socket is closed would tear the answer away from its reader.
        let mut room = [0; 4096];
        while stream.read(&mut room).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // A program that does not take its answer goes without.
    let _ = time::timeout(HEAD_WITHIN, said).await;
}

fn status_line(error: &PowerError) -> &'static str {
    match error {
        PowerError::Denied { .. } => "403 Forbidden",
        PowerError::TooLarge { .. } => "502 Too Large",
        _ => "502 Bad Gateway",
    }
}

/// Serves one plain request. Its head was judged; the library reads it again, and the body, and writes the answer.
async fn request(
    worker: &Worker,
    gate: &FarGate,
    stream: TcpStream,
    whole: Vec<u8>,
    url: &Url,
    body_bytes_max: u64,
) {
    let held = worker.requests.acquire_many(kib(body_bytes_max)).await;
    let (near, far) = stream.into_split();
    let io = TokioIo::new(join(Cursor::new(whole).chain(near), far));
    let service = service_fn(|request: Request<Incoming>| async move {
        let passed = pass(worker, gate, request, url, body_bytes_max).await;
        gate.settled().await;
        Ok::<_, Infallible>(match passed {
            Ok(passed) => answer(passed),
            Err(error) => refusal(&error),
        })
    });
    let mut server = http1::Builder::new();
    server
        .keep_alive(false)
        .header_read_timeout(None)
        .auto_date_header(false);
    // A program that hangs up early has nobody to tell.
    let _ = server.serve_connection(io, service).await;
    drop(held);
}

async fn pass(
    worker: &Worker,
    gate: &FarGate,
    request: Request<Incoming>,
    url: &Url,
    body_bytes_max: u64,
) -> Result<Passed, PowerError> {
    let (head, body) = request.into_parts();
    let limit = usize::try_from(body_bytes_max).unwrap_or(usize::MAX);
    let body = time::timeout(
        REQUEST_WITHIN.as_duration(),
        Limited::new(body, limit).collect(),
    )
    .await;
    let Ok(Ok(body)) = body else {
        return Err(PowerError::Io {
            what: "reading the request's body".to_owned(),
            message: "it broke off, or is longer than 16 MiB".to_owned(),
        });
    };
    let named = named_by_connection(&head.headers);
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            !HEADERS_DROPPED.contains(&name)
                && !name.starts_with("proxy-")
                && !named.iter().any(|dropped| dropped == name)
        })
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let _held = worker.answers.acquire_many(kib(BODY_BYTES_MAX)).await;
    let request = HttpRequest {
        method: head.method.as_str().to_owned(),
        url: url.clone(),
        headers,
        body: body.to_bytes().into(),
        bytes_max: BODY_BYTES_MAX,
        deadline: REQUEST_WITHIN,
    };
    worker.parts.client.pass(request, gate).await
}

/// Headers that the request itself says are for the proxy alone.
fn named_by_connection(headers: &hyper::HeaderMap) -> Vec<String> {
    headers
        .get_all(hyper::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

fn answer(passed: Passed) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(passed.body)));
    *response.status_mut() = StatusCode::from_u16(passed.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in passed.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        if let Some((name, value)) = name.zip(HeaderValue::from_bytes(&value).ok()) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn refusal(error: &PowerError) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{error}\n"))));
    *response.status_mut() = match error {
        PowerError::Denied { .. } => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_GATEWAY,
    };
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
