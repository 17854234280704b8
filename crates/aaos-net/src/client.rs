//! The HTTP power: one request, at most five redirects, the gate asked before each hop.
//!
//! A connection goes only to an address the resolver below has looked at, or to a literal one that was checked: there
//! is no proxy, and no redirect that the library follows by itself.

use crate::{
    answer::{self, Partial, Passed},
    attempt::Attempt,
    fault::{clean, denied, failed, fault, lost},
    hop::{self, Hop},
    policy::{self, Refused},
    secret::Scrub,
};
use aaos_core::{capability::Need, time::Span};
use aaos_ports::{
    Gate, Http, PowerError,
    power::{HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use reqwest::{
    Method, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, LOCATION},
    redirect::Policy,
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{net::lookup_host, sync::Semaphore, time};

/// Most bytes of a body that are read, whatever is asked.
const BODY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Idle connections kept to one host, and for how long.
const IDLE_MAX: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// What the client is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What it calls itself.
    pub user_agent: String,
    /// Longest time to establish a connection.
    pub connect_timeout: Span,
    /// Most requests in flight; more wait, within their deadline. At least one is allowed.
    pub requests_max: usize,
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the HTTP client cannot be made: {source}; see whether the system's certificates are installed"
)]
pub struct ClientError {
    /// What the library says.
    #[from]
    source: reqwest::Error,
}

/// Outbound HTTP.
pub struct Client {
    inner: reqwest::Client,
    pub(crate) connect_timeout: Span,
    turns: Semaphore,
}

impl Client {
    /// Makes a client. The process must have installed a provider for `rustls`.
    ///
    /// # Errors
    /// The TLS configuration cannot be made.
    pub fn new(config: &Config) -> Result<Self, ClientError> {
        let inner = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .dns_resolver(PublicOnly)
            .connect_timeout(config.connect_timeout.as_duration())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_FOR)
            .build()?;
        Ok(Self {
            inner,
            connect_timeout: config.connect_timeout,
            turns: Semaphore::new(config.requests_max.max(1)),
        })
    }
}

/// Looks names up and passes on only addresses that may be connected to.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in its place by the library.
            let found = lookup_host((name.as_str(), 0)).await?;
            let accepted: Vec<SocketAddr> = policy::acceptable(name.as_str(), found)?;
            let addresses: Addrs = Box::new(accepted.into_iter());
            Ok(addresses)
        })
    }
}

#[async_trait]
impl Http for Client {
    async fn send(&self, request: HttpRequest, gate: &dyn Gate) -> Result<HttpAnswer, PowerError> {
        let trip = Trip::new(&request);
        self.in_turn(&trip, self.follow(request, gate, &trip)).await
    }
}

/// One request on its way, as far as its deadline has to know.
struct Trip {
    asked: String,
    deadline: Span,
    changes: bool,
    /// Whether something may have been sent.
    sent: AtomicBool,
}

impl Trip {
    fn new(request: &HttpRequest) -> Self {
        Self {
            asked: policy::shown(&request.url),
            deadline: request.deadline,
            changes: policy::changes(&request.method),
            sent: AtomicBool::new(false),
        }
    }

    /// What it comes to at its deadline.
    fn late(&self) -> PowerError {
        let message = format!("no complete answer within {} ms", self.deadline.millis());
        if self.changes && self.sent.load(Ordering::Relaxed) {
            return lost(&self.asked, &message);
        }
        failed(&self.asked, &message)
    }
}

impl Client {
    /// Sends one request and answers with whatever comes, redirects among it: whoever follows one asks again, and the
    /// gate with them. As [`Http::send`] in everything else.
    ///
    /// # Errors
    /// As [`Http::send`]; `TooLarge` for a body of more than `bytes_max`.
    pub async fn pass(&self, request: HttpRequest, gate: &dyn Gate) -> Result<Passed, PowerError> {
        let trip = Trip::new(&request);
        self.in_turn(&trip, self.pass_one(request, gate, &trip))
            .await
    }

    /// Waits for a turn and then for the answer, no longer than the deadline together.
    async fn in_turn<T>(
        &self,
        trip: &Trip,
        answer: impl Future<Output = Result<T, PowerError>>,
    ) -> Result<T, PowerError> {
        let answer = async {
            let _turn = self
                .turns
                .acquire()
                .await
                .map_err(|error| failed(&trip.asked, &error.to_string()))?;
            answer.await
        };
        time::timeout(trip.deadline.as_duration(), answer)
            .await
            .unwrap_or_else(|_| Err(trip.late()))
    }

    async fn follow(
        &self,
        request: HttpRequest,
        gate: &dyn Gate,
        trip: &Trip,
    ) -> Result<HttpAnswer, PowerError> {
        let bytes_max = request.bytes_max.min(BODY_BYTES_MAX);
        let mut hop = hop::first(request)?;
        let mut scrub = Scrub::default();
        for _ in 0..=policy::REDIRECTS_MAX {
            let response = self.take(&hop, gate, &mut scrub, trip).await?;
            // What changes something is sent to one address, once; where to go next is for the caller to say.
            let next = match trip.changes {
                true => None,
                false => next(&response, &hop, gate, &scrub)?,
            };
            let Some(next) = next else {
                let partial = match trip.changes {
                    true => Partial::Told,
                    false => Partial::Refused,
                };
                let read = answer::read(response, &hop, bytes_max, &scrub, partial).await;
                return read.map_err(|error| clean(error, &scrub));
            };
            hop = hop.redirected(next);
        }
        Err(failed(
            &policy::shown(&hop.url),
            &format!("too many redirects (>{})", policy::REDIRECTS_MAX),
        ))
    }

    async fn pass_one(
        &self,
        request: HttpRequest,
        gate: &dyn Gate,
        trip: &Trip,
    ) -> Result<Passed, PowerError> {
        let bytes_max = request.bytes_max.min(BODY_BYTES_MAX);
        let hop = hop::first(request)?;
        let mut scrub = Scrub::default();
        let response = self.take(&hop, gate, &mut scrub, trip).await?;
        let headers = answer::passed_on(response.headers(), &scrub);
        let read = answer::read(response, &hop, bytes_max, &scrub, Partial::Refused).await;
        let answer = read.map_err(|error| clean(error, &scrub))?;
        if answer.truncated {
            return Err(PowerError::TooLarge {
                what: format!("the answer of {}", policy::shown(&hop.url)),
                limit: bytes_max,
            });
        }
        Ok(Passed {
            status: answer.status,
            headers,
            body: answer.body,
        })
    }

    /// Takes one hop: checks it, asks, fills in what the gate admitted it with, sends it; and notes what became of it.
    async fn take(
        &self,
        hop: &Hop,
        gate: &dyn Gate,
        scrub: &mut Scrub,
        trip: &Trip,
    ) -> Result<Response, PowerError> {
        let mut attempt = Attempt::new(gate, &hop.method, &hop.url);
        let headers = self.ready(hop, gate, scrub, &mut attempt).await;
        let response = match headers {
            Ok(headers) => {
                trip.sent.store(true, Ordering::Relaxed);
                self.send_hop(hop, headers).await
            }
            Err(error) => Err(error),
        };
        let response = response.map_err(|error| clean(error, scrub));
        let address = |response: &Response| response.remote_addr();
        attempt.end(response.as_ref().map(address));
        response
    }

    /// Checks a hop and asks for it; its headers as they are sent.
    async fn ready(
        &self,
        hop: &Hop,
        gate: &dyn Gate,
        scrub: &mut Scrub,
        attempt: &mut Attempt<'_>,
    ) -> Result<HeaderMap, PowerError> {
        policy::check_url(&hop.url).map_err(|refused| denied(hop, &refused))?;
        let admitted = gate
            .admit(&Need::Http {
                method: hop.method.clone(),
                url: hop.url.clone(),
            })
            .await?;
        attempt.admitted();
        scrub
            .add(&admitted)
            .map_err(|error| failed(&policy::shown(&hop.url), &error.to_string()))?;
        hop::filled(hop, &admitted)
    }

    async fn send_hop(&self, hop: &Hop, headers: HeaderMap) -> Result<Response, PowerError> {
        let method = Method::from_bytes(hop.method.as_bytes())
            .map_err(|_| denied(hop, &Refused::Method(hop.method.clone())))?;
        let mut sent = self.inner.request(method, hop.url.clone()).headers(headers);
        if !hop.body.is_empty() {
            sent = sent.body(hop.body.clone());
        }
        sent.send().await.map_err(|error| fault(hop, &error))
    }
}

/// Where an answer redirects to, if it does. A redirect that is not followed is noted as a connection refused.
fn next(
    response: &Response,
    hop: &Hop,
    gate: &dyn Gate,
    scrub: &Scrub,
) -> Result<Option<policy::Next>, PowerError> {
    let location = response
        .headers()
        .get(LOCATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let status = response.status().as_u16();
    let next = policy::redirect(status, location.as_deref(), &hop.url, &hop.method);
    let next = next.and_then(|next| match next {
        Some(next) if scrub.is_held_by(next.url.as_str()) => Err(Refused::SecretInTarget),
        next => Ok(next),
    });
    next.map_err(|refused| {
        let error = clean(denied(hop, &refused), scrub);
        Attempt::new(gate, &hop.method, &hop.url).end(Err(&error));
        error
    })
}
