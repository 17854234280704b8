//! The HTTP power: one request, at most five redirects, the gate asked before each hop.
//!
//! A connection goes only to an address the resolver below has looked at, or to a literal one that was checked: there
//! is no proxy, and no redirect that the library follows by itself.

use crate::policy::{self, Named, Refused, Resend};
use aaos_core::{capability::Need, time::Span};
use aaos_ports::{
    Gate, Http, PowerError,
    power::{HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use futures::StreamExt;
use reqwest::{
    Method, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
    redirect::Policy,
};
use std::{error::Error, net::SocketAddr, time::Duration};
use tokio::{net::lookup_host, sync::Semaphore, time};
use url::Url;

/// Most bytes of a body that are read, whatever is asked.
const BODY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Most bytes of a body that are sent.
const SENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many times the asked size an announced size may be before the answer is refused unread.
const ANNOUNCED_FACTOR_MAX: u64 = 10;
/// Idle connections kept to one host, and for how long.
const IDLE_MAX: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Most bytes of a content type that are kept.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

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

/// One hop of a request.
struct Hop {
    url: Url,
    method: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[async_trait]
impl Http for Client {
    async fn send(&self, request: HttpRequest, gate: &dyn Gate) -> Result<HttpAnswer, PowerError> {
        let asked = policy::shown(&request.url);
        let deadline = request.deadline;
        let answer = async {
            let _turn = self
                .turns
                .acquire()
                .await
                .map_err(|error| failed(&asked, &error.to_string()))?;
            self.follow(request, gate).await
        };
        time::timeout(deadline.as_duration(), answer)
            .await
            .unwrap_or_else(|_| {
                Err(failed(
                    &asked,
                    &format!("no complete answer within {} ms", deadline.millis()),
                ))
            })
    }
}

impl Client {
    async fn follow(
        &self,
        request: HttpRequest,
        gate: &dyn Gate,
    ) -> Result<HttpAnswer, PowerError> {
        let bytes_max = request.bytes_max.min(BODY_BYTES_MAX);
        let mut hop = first(request)?;
        for _ in 0..=policy::REDIRECTS_MAX {
            policy::check_url(&hop.url).map_err(|refused| denied(&hop, &refused))?;
            gate.admit(&Need::Http {
                method: hop.method.clone(),
                url: hop.url.clone(),
            })?;
            let response = self.send_hop(&hop).await?;
            let location = response
                .headers()
                .get(LOCATION)
                .map(|value| String::from_utf8_lossy(value.as_bytes()));
            let next = policy::redirect(
                response.status().as_u16(),
                location.as_deref(),
                &hop.url,
                &hop.method,
            );
            match next.map_err(|refused| denied(&hop, &refused))? {
                None => return read(response, &hop, bytes_max).await,
                Some(next) => hop = hop.redirected(next),
            }
        }
        Err(failed(
            &policy::shown(&hop.url),
            &format!("too many redirects (>{})", policy::REDIRECTS_MAX),
        ))
    }

    async fn send_hop(&self, hop: &Hop) -> Result<Response, PowerError> {
        let method = Method::from_bytes(hop.method.as_bytes())
            .map_err(|_| denied(hop, &Refused::Method(hop.method.clone())))?;
        let mut sent = self
            .inner
            .request(method, hop.url.clone())
            .headers(hop.headers.clone());
        if !hop.body.is_empty() {
            sent = sent.body(hop.body.clone());
        }
        sent.send().await.map_err(|error| fault(hop, &error))
    }
}

/// Checks a request and makes its first hop.
fn first(request: HttpRequest) -> Result<Hop, PowerError> {
    let HttpRequest {
        method,
        url,
        headers,
        body,
        ..
    } = request;
    let mut hop = Hop {
        url,
        method,
        headers: HeaderMap::new(),
        body,
    };
    policy::check_request(&hop.method, &headers).map_err(|refused| denied(&hop, &refused))?;
    if hop.body.len() > SENT_BYTES_MAX {
        let limit = u64::try_from(SENT_BYTES_MAX).unwrap_or(u64::MAX);
        return Err(PowerError::TooLarge {
            what: format!("the body sent to {}", policy::shown(&hop.url)),
            limit,
        });
    }
    for (name, value) in headers {
        // Line breaks and the like are refused by these two.
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_str(&value).ok());
        let Some((key, value)) = parsed else {
            let name = aaos_core::text::preview(&name, 64);
            return Err(denied(&hop, &Refused::Header(name)));
        };
        hop.headers.append(key, value);
    }
    Ok(hop)
}

impl Hop {
    /// The hop a redirect leads to. Headers the caller set do not go to another origin.
    fn redirected(self, next: policy::Next) -> Self {
        let same = next.url.origin() == self.url.origin();
        let headers = if same {
            self.headers
        } else {
            plain(&self.headers)
        };
        let body = match next.body {
            Resend::Body => self.body,
            Resend::Nothing => Vec::new(),
        };
        Self {
            url: next.url,
            method: next.method,
            headers,
            body,
        }
    }
}

/// Of the caller's headers, those that only say what kind of answer is wanted.
fn plain(headers: &HeaderMap) -> HeaderMap {
    let names = [ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE];
    names
        .into_iter()
        .filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)))
        .collect()
}

/// Reads an answer up to its bound, and finds out whether there was more.
async fn read(response: Response, hop: &Hop, bytes_max: u64) -> Result<HttpAnswer, PowerError> {
    let announced = response.content_length().unwrap_or(0);
    let announced_max = bytes_max.saturating_mul(ANNOUNCED_FACTOR_MAX);
    if hop.method != "HEAD" && announced > announced_max {
        let what = format!(
            "the answer of {} ({announced} bytes)",
            policy::shown(&hop.url)
        );
        return Err(PowerError::TooLarge {
            what,
            limit: announced_max,
        });
    }
    let status = response.status().as_u16();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let content_type = content_type
        .map(|value| aaos_core::text::preview(&value, CONTENT_TYPE_BYTES_MAX).to_lowercase());
    let cap = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let (mut body, mut truncated) = (Vec::new(), false);
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| fault(hop, &error))?;
        let room = cap.saturating_sub(body.len());
        body.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        if piece.len() > room {
            truncated = true;
            break;
        }
    }
    Ok(HttpAnswer {
        status,
        url: hop.url.clone(),
        content_type: content_type.unwrap_or_default(),
        body,
        truncated,
    })
}

fn denied(hop: &Hop, refused: &Refused) -> PowerError {
    let axis = match refused {
        Refused::Address { .. } => "address",
        Refused::Method(_) => "method",
        Refused::Header(_) | Refused::Headers => "header",
        _ => "url",
    };
    PowerError::Denied {
        need: format!(
            "{} {}",
            aaos_core::text::preview(&hop.method, 16),
            policy::shown(&hop.url)
        ),
        axis: axis.to_owned(),
        reason: refused.to_string(),
    }
}

fn failed(destination: &str, message: &str) -> PowerError {
    PowerError::Io {
        what: format!("fetching {destination}"),
        message: message.to_owned(),
    }
}

/// What went wrong on the wire; an address the resolver refused is a refusal.
fn fault(hop: &Hop, error: &reqwest::Error) -> PowerError {
    let mut cause: &dyn Error = error;
    loop {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return denied(hop, refused);
        }
        match cause.source() {
            Some(next) => cause = next,
            None => break,
        }
    }
    let stage = if error.is_connect() {
        "cannot connect: "
    } else if error.is_timeout() {
        "timed out: "
    } else if error.is_decode() || error.is_body() {
        "the answer is broken: "
    } else {
        ""
    };
    let localhost = matches!(
        policy::check_url(&hop.url),
        Ok(Named::Localhost | Named::Literal)
    );
    let advice = if error.is_connect() && localhost {
        "; see whether something listens there"
    } else {
        ""
    };
    failed(
        &policy::shown(&hop.url),
        &format!(
            "{stage}{}{advice}",
            aaos_core::text::preview(&cause.to_string(), 300)
        ),
    )
}
