//! A worker that is no worker: it holds a doorbell of the real broker and rings it. Gates are told what to admit.

use aaos_core::{capability::Need, id::CallId, secret::Secret};
use aaos_ports::{Admitted, Connection, Gate, PowerError, power::ConnectionOutcome};
use aaos_sandbox::{
    backend::namespaced::egress::{Asker, Attached, Egress},
    protocol::{FRAME_BYTES_MAX, Fetch, Fetched, PACKET_BYTES_MAX, Ring, frame, line},
};
use async_trait::async_trait;
use axum::Router;
use rustix::{fd::AsFd, net::SendFlags};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use url::Url;

/// The value of the one secret.
pub(crate) const VALUE: &str = "s3cr3t-value-of-a-token";

/// Whether a method and URL are admitted.
type Rule = Box<dyn Fn(&str, &Url) -> bool + Send + Sync>;

/// Admits what its rule admits, and remembers what it was asked and told.
pub(crate) struct Gates {
    rule: Rule,
    asked: Mutex<Vec<String>>,
    notes: Mutex<Vec<Connection>>,
}

impl Gates {
    pub(crate) fn new(rule: impl Fn(&str, &Url) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            rule: Box::new(rule),
            asked: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// What became of each attempt: the address, `-` for none, or the axis of the refusal.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        let said = |note: &Connection| match &note.outcome {
            ConnectionOutcome::Allowed { address } => {
                format!("{} {}", note.method, address.as_deref().unwrap_or("-"))
            }
            ConnectionOutcome::Refused { axis, .. } => format!("{} {axis}", note.method),
        };
        notes.iter().map(said).collect()
    }
}

#[async_trait]
impl Gate for Gates {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        let Need::Http { method, url } = need else {
            panic!("asked for {need}")
        };
        self.asked.lock().unwrap().push(format!("{method} {url}"));
        if (self.rule)(method, url) {
            let value = Secret::new(VALUE.to_owned());
            return Ok(Admitted {
                secrets: BTreeMap::from([("token".to_owned(), value)]),
            });
        }
        Err(PowerError::Denied {
            need: need.to_string(),
            axis: "host".to_owned(),
            reason: "not granted".to_owned(),
        })
    }

    fn note(&self, connection: Connection) {
        self.notes.lock().unwrap().push(connection);
    }
}

/// A worker's session: one call in flight, which also runs programs.
pub(crate) struct Session {
    pub(crate) call: CallId,
    pub(crate) gates: Arc<Gates>,
}

impl Asker for Session {
    fn gate(&self, call: Option<CallId>) -> Option<Arc<dyn Gate>> {
        let gate: Arc<dyn Gate> = Arc::clone(&self.gates) as _;
        (call.is_none() || call == Some(self.call)).then_some(gate)
    }
}

pub(crate) fn egress() -> Egress {
    Egress::new(env!("CARGO_BIN_EXE_aaos-egress").into(), Arc::default())
}

/// A worker's end of things.
pub(crate) struct Inside {
    pub(crate) call: CallId,
    pub(crate) doorbell: OwnedFd,
    pub(crate) attached: Attached,
}

pub(crate) async fn attach(egress: &Egress, gates: &Arc<Gates>) -> Inside {
    let call = CallId::from_drawn(7);
    let session = Session {
        call,
        gates: Arc::clone(gates),
    };
    let (attached, doorbell) = egress.attach(Arc::new(session)).await.unwrap();
    Inside {
        call,
        doorbell,
        attached,
    }
}

impl Inside {
    /// Rings with a descriptor.
    pub(crate) fn ring(&self, ring: &Ring, descriptor: &impl AsFd) {
        let packet = frame::packet(ring, PACKET_BYTES_MAX).unwrap();
        let flags = SendFlags::empty();
        line::send(&self.doorbell, &packet, Some(descriptor.as_fd()), flags).unwrap();
    }

    /// Begins a fetch; the stream brings its answer.
    pub(crate) fn begin(&self, call: CallId, fetch: &Fetch) -> UnixStream {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        self.ring(&Ring::Fetch { call }, &theirs);
        frame::write(&mut ours, fetch, FRAME_BYTES_MAX).unwrap();
        ours
    }

    pub(crate) async fn fetch(&self, fetch: Fetch) -> Fetched {
        let stream = self.begin(self.call, &fetch);
        answer(stream).await.expect("an answer")
    }

    /// Hands over a proxy's listening socket and says where it listens.
    pub(crate) fn proxy(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.ring(&Ring::Proxy, &listener);
        listener.local_addr().unwrap()
    }
}

/// The answer on a stream; none if it ended without one.
pub(crate) async fn answer(mut stream: UnixStream) -> Option<Fetched> {
    let read = move || frame::read(&mut stream, FRAME_BYTES_MAX).ok().flatten();
    tokio::task::spawn_blocking(read).await.unwrap()
}

pub(crate) fn get(url: &str) -> Fetch {
    Fetch {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        bytes_max: 100_000,
        deadline_ms: 10_000,
    }
}

/// A server on loopback.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

/// Sends bytes to a proxy and returns all that comes back.
pub(crate) async fn raw(proxy: SocketAddr, bytes: impl Into<Vec<u8>>) -> String {
    let bytes = bytes.into();
    let talk = move || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

/// Waits until something holds, at most ten seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "waited for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
