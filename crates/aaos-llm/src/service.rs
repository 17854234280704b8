//! A model service on the network: sends requests in one dialect, follows the reply as it streams, tries again.
//!
//! One engine for every dialect, so that bounds, timeouts, retries and the hiding of keys are decided once. It
//! follows no redirect, uses no proxy, and reads nothing that is not an event stream.

use crate::{
    assemble::{Assembled, Assembly},
    door::{Door, Turn},
    fault::{Again, Fault, Site, retry_after, short},
    limits::{
        DRAIN_WAIT, ERROR_BODY_BYTES_MAX, ERROR_BODY_WAIT, MODEL_LIST_BYTES_MAX, MODELS_LISTED_MAX,
    },
    names::Names,
    price::{Biller, Counts, Prices, is_near},
    provider::{Patience, ProviderConfig, SetupError},
    retry::Attempts,
    stream::Frames,
};
use aaos_core::{
    failure::ProviderFault,
    model::{ModelRef, Reply, Request, Usage},
    money::MicroDollars,
    secret::Secret,
};
use aaos_ports::provider::{DeltaSink, Provider, ProviderError, Retry};
use async_trait::async_trait;
use futures::future::BoxFuture;
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};
use url::Url;

/// Whether a reply's stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More may come.
    More,
    /// The provider said that this was all.
    Done,
}

/// Whether a request tells the provider which form its reply must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the request's schema says.
    Asked,
    /// It is not told.
    Plain,
}

/// Follows one reply, event by event.
pub(crate) trait Reader: Send {
    /// The next event's data.
    ///
    /// # Errors
    /// It cannot be understood, or reports a failure.
    fn read(&mut self, data: &str, into: &mut Assembly<'_>) -> Result<Progress, Fault>;
}

/// What differs between the wire protocols.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// Where requests go, below the base URL.
    const COMPLETE: &'static str;
    /// Where the list of models is, below the base URL.
    const MODELS: &'static str;
    /// How this dialect's streams end.
    const ENDS: Ends;

    /// The headers that carry the key.
    fn key_header(&self, key: &str) -> Option<(HeaderName, String)>;

    /// Headers every request carries.
    fn headers(&self) -> HeaderMap;

    /// The request, as this dialect writes it.
    fn body(&self, request: &Request, names: &Names, format: Format) -> Value;

    /// A reader for one reply.
    fn reader(&self) -> Box<dyn Reader>;
}

/// How a dialect's streams end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Only with an explicit last event.
    Said,
    /// With an explicit last event, or without one once the reason for stopping has been given.
    SaidOrStopped,
}

/// One configured service.
pub(crate) struct Service<D> {
    dialect: D,
    site: Site,
    kind: &'static str,
    base: Url,
    client: Client,
    headers: HeaderMap,
    key: Option<Secret<String>>,
    patience: Patience,
    permits: Option<Semaphore>,
    door: Door,
    prices: Arc<Prices>,
    /// Whether it is where nobody bills.
    is_free: bool,
    /// Set once the service has refused a reply's form and then answered without one.
    refuses_format: AtomicBool,
}

/// A key is not shown even as its length.
impl<D> std::fmt::Debug for Service<D> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service")
            .field("site", &self.site)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<D: Dialect> Service<D> {
    /// Makes a service ready; connects to nothing yet.
    ///
    /// # Errors
    /// The base URL, the key or the machine's certificates cannot be used.
    pub(crate) fn new(
        dialect: D,
        config: &ProviderConfig,
        preset: &'static crate::provider::Preset,
        prices: Arc<Prices>,
    ) -> Result<Self, SetupError> {
        let base = base_url(config, preset.base_url)?;
        let mut headers = dialect.headers();
        if let Some((name, value)) = config
            .key
            .as_ref()
            .and_then(|key| dialect.key_header(key.expose()))
        {
            let mut value = HeaderValue::from_str(&value).map_err(|_| SetupError::Key {
                name: config.name.clone(),
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let site = Site {
            name: config.name.clone(),
            base: base.as_str().trim_end_matches('/').to_owned(),
            key_variable: preset.key.variable(),
        };
        Ok(Self {
            client: client(&base, &config.patience, config)?,
            dialect,
            site,
            kind: preset.name,
            is_free: is_near(&base),
            base,
            headers,
            key: config.key.clone(),
            patience: config.patience,
            door: Door::new(config.patience),
            permits: config.concurrency.map(|most| Semaphore::new(most.get())),
            prices,
            refuses_format: AtomicBool::new(false),
        })
    }

    fn biller(&self) -> Biller<'_> {
        Biller {
            kind: self.kind,
            name: &self.site.name,
        }
    }

    fn address(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(Fault::bad_reply)
    }

    /// Makes attempts until one succeeds or trying again is not worth it. While the provider is down, one request at a
    /// time asks it and the others wait.
    async fn persist<'a, T>(
        &self,
        pieces: &dyn DeltaSink,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, Fault>> + Send + Sync,
    ) -> Result<T, Fault> {
        let mut trouble: Option<Attempts> = None;
        loop {
            let turn = self.turn(pieces, &mut trouble).await?;
            let fault = match self.whole(attempt()).await {
                Ok(done) => {
                    self.door.open();
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            match fault.again {
                Again::Later(asked) => {
                    self.door
                        .shut(&fault, asked.unwrap_or_default(), turn.as_ref());
                }
                Again::Never | Again::Part => self.door.open(),
            }
            drop(turn);
            let attempts =
                trouble.get_or_insert_with(|| Attempts::new(&self.patience, self.patience.outage));
            let Some(wait) = attempts.wait_after(&fault) else {
                return Err(given_up(fault, attempts));
            };
            let retry = self.retrying(&fault, attempts.failed(), wait);
            pieces.again(retry).await;
            tokio::time::sleep(wait).await;
        }
    }

    /// The turn to ask a provider that is down; none is needed while it answers.
    async fn turn(
        &self,
        pieces: &dyn DeltaSink,
        trouble: &mut Option<Attempts>,
    ) -> Result<Option<Turn<'_>>, Fault> {
        let Some(fault) = self.door.fault() else {
            return Ok(None);
        };
        if trouble.is_none() {
            // It has not asked yet, and waits for what others find; whoever watches is told why.
            pieces
                .again(Retry {
                    billed: false,
                    ..self.retrying(&fault, 0, Duration::ZERO)
                })
                .await;
        }
        let attempts =
            trouble.get_or_insert_with(|| Attempts::new(&self.patience, self.patience.outage));
        let passed = attempts.within(self.door.pass()).await;
        passed.ok_or_else(|| given_up(self.door.fault().unwrap_or(fault), attempts))
    }

    /// One attempt, within the time for a whole reply.
    async fn whole<T>(&self, attempt: BoxFuture<'_, Result<T, Fault>>) -> Result<T, Fault> {
        let total = self.patience.total.as_duration();
        timeout(total, attempt)
            .await
            .unwrap_or_else(|_| Err(Fault::timed_out("no whole reply", total, Again::Never)))
    }

    /// Asks what somebody waits for and sees fail: a few attempts within seconds, whatever others find.
    async fn look<'a, T>(
        &self,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, Fault>> + Send + Sync,
    ) -> Result<T, Fault> {
        let mut attempts = Attempts::new(&self.patience, self.patience.look);
        loop {
            let fault = match self.whole(attempt()).await {
                Ok(done) => return Ok(done),
                Err(fault) => fault,
            };
            let Some(wait) = attempts.wait_after(&fault) else {
                return Err(fault);
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn retrying(&self, fault: &Fault, attempt: u32, wait: Duration) -> Retry {
        let reason = format!("{}: {}", fault.fault.words(), self.clean(&fault.message));
        tracing::debug!(provider = %self.site.name, attempt, fault = ?fault.fault, "trying again");
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Retry {
            attempt,
            wait_ms,
            reason: short(&reason),
            billed: fault.billed(),
        }
    }

    /// A provider's words without our key, should it have sent that back.
    fn clean(&self, text: &str) -> String {
        match &self.key {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose().as_str(), "…"),
            _ => text.to_owned(),
        }
    }

    fn error(&self, model: &ModelRef, fault: Fault) -> ProviderError {
        let mut message = self.clean(&fault.message);
        if let Again::Later(Some(asked)) = fault.again {
            message = format!(
                "it asks to be left alone for {} s; {message}",
                asked.as_secs()
            );
        }
        let next_step = self.site.next_step(fault.fault);
        ProviderError {
            billed: fault.billed(),
            ..ProviderError::new(model, fault.fault, fault.status, &message, &next_step)
        }
    }

    async fn attempt(&self, request: &Request, pieces: &dyn DeltaSink) -> Result<Reply, Fault> {
        let known_to_refuse = self.refuses_format.load(Ordering::Relaxed);
        if request.reply_schema.is_none() || known_to_refuse {
            return self.exchange(request, pieces, Format::Plain).await;
        }
        let fault = match self.exchange(request, pieces, Format::Asked).await {
            Err(fault) if fault.fault == ProviderFault::BadRequest => fault,
            done => return done,
        };
        match self.exchange(request, pieces, Format::Plain).await {
            Ok(reply) => {
                self.refuses_format.store(true, Ordering::Relaxed);
                Ok(reply)
            }
            Err(_) => Err(fault),
        }
    }

    /// One request and its reply.
    async fn exchange(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
        format: Format,
    ) -> Result<Reply, Fault> {
        let names = Names::of(&request.tools);
        let body = self.dialect.body(request, &names, format);
        let post = self
            .client
            .post(self.address(D::COMPLETE)?)
            .headers(self.headers.clone())
            .json(&body);
        let response = self.head(post).await?;
        require_events(&response)?;
        let assembled = self.follow(response, pieces, &names).await?;
        Ok(self.priced(request, assembled))
    }

    /// The beginning of an answer, if it is a success.
    async fn head(&self, request: reqwest::RequestBuilder) -> Result<Response, Fault> {
        let first_byte = self.patience.first_byte.as_duration();
        let response = timeout(first_byte, request.send())
            .await
            .map_err(|_| Fault::timed_out("no answer", first_byte, Again::Later(None)))?
            .map_err(|error| Fault::connection(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let body = bounded(response, ERROR_BODY_BYTES_MAX);
        let body = timeout(ERROR_BODY_WAIT, body)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        Err(Fault::answered(status, &document(status, &body), wait))
    }

    async fn follow(
        &self,
        mut response: Response,
        pieces: &dyn DeltaSink,
        names: &Names,
    ) -> Result<Assembled, Fault> {
        let idle = self.patience.idle.as_duration();
        let (mut frames, mut reader, mut assembly) = (
            Frames::default(),
            self.dialect.reader(),
            Assembly::new(pieces),
        );
        let mut said = false;
        while !said {
            let chunk = timeout(idle, response.chunk())
                .await
                .map_err(|_| Fault::timed_out("nothing more of the reply came", idle, Again::Part))?
                .map_err(|error| Fault::broken(&error))?;
            let Some(chunk) = chunk else { break };
            let pushed = frames.push(&chunk);
            while let Some(frame) = frames.next() {
                said = said || reader.read(&frame.data, &mut assembly)? == Progress::Done;
            }
            pushed.map_err(Fault::bad_reply)?;
        }
        if said {
            hand_back(response).await;
        } else if D::ENDS == Ends::Said {
            assembly.stop = None;
        }
        assembly.finish(names).map_err(|flaw| Fault {
            // Without its end it is a connection that broke where nothing says so.
            again: if said { Again::Never } else { Again::Part },
            ..Fault::bad_reply(flaw)
        })
    }

    fn priced(&self, request: &Request, assembled: Assembled) -> Reply {
        let counts = assembled.counts.unwrap_or_else(|| Counts {
            // A provider that does not count is counted for, so that the run's budget holds.
            input: request.tokens_estimate(),
            output: (assembled.bytes as u64).div_ceil(3),
            ..Counts::default()
        });
        let cost = self
            .prices
            .cost(self.biller(), &request.model.model, counts);
        let usage = Usage {
            input_tokens: counts.input,
            cached_tokens: counts.cached.min(counts.input),
            output_tokens: counts.output,
            cost,
        };
        let model = assembled
            .model
            .unwrap_or_else(|| request.model.model.clone());
        Reply {
            blocks: assembled.blocks,
            stop: assembled.stop,
            usage,
            model,
        }
    }

    /// Asks for a document below the base URL.
    async fn get(&self, path: &str) -> Result<Value, Fault> {
        let response = self
            .head(
                self.client
                    .get(self.address(path)?)
                    .headers(self.headers.clone()),
            )
            .await?;
        let idle = self.patience.idle.as_duration();
        let body = timeout(idle, bounded(response, MODEL_LIST_BYTES_MAX))
            .await
            .map_err(|_| Fault::timed_out("no list of models", idle, Again::Never))??;
        serde_json::from_slice(&body)
            .map_err(|_| Fault::bad_reply("the list of models is no JSON document"))
    }

    async fn listed(&self) -> Result<Vec<String>, Fault> {
        let list = self.get(D::MODELS).await?;
        let entries = list.get("data").and_then(Value::as_array);
        let entries =
            entries.ok_or_else(|| Fault::bad_reply("the list of models has no `data`"))?;
        let name = |entry: &Value| entry.get("id").and_then(Value::as_str).map(short);
        Ok(entries
            .iter()
            .filter_map(name)
            .take(MODELS_LISTED_MAX)
            .collect())
    }

    /// The models the service lists.
    pub(crate) async fn models(&self) -> Result<Vec<String>, ProviderError> {
        let any = ModelRef {
            provider: self.site.name.clone(),
            model: String::new(),
        };
        self.look(|| Box::pin(self.listed()))
            .await
            .map_err(|fault| self.error(&any, fault))
    }

    /// Whether the service lists the model. Some list a model `x` as `x:latest`, and some know more than they list;
    /// those are asked for the one.
    async fn known(&self, model: &str) -> Result<(), Fault> {
        let listed = match self.listed().await {
            Err(fault)
                if fault
                    .status
                    .is_some_and(|status| matches!(status, 404 | 405 | 501)) =>
            {
                return Ok(());
            }
            listed => listed?,
        };
        let latest = format!("{model}:latest");
        if listed.iter().any(|name| *name == model || *name == latest) {
            return Ok(());
        }
        let encoded: String = url::form_urlencoded::byte_serialize(model.as_bytes()).collect();
        let one = self
            .get(&format!("{}/{}", D::MODELS, encoded.replace('+', "%20")))
            .await;
        match one {
            Ok(document) if document.get("id").is_some() => Ok(()),
            Err(fault) if fault.fault == ProviderFault::Unauthorised => Err(fault),
            _ => Err(Fault {
                fault: ProviderFault::UnknownModel,
                status: None,
                message: format!("it lists {}", some_of(&listed)),
                again: Again::Never,
            }),
        }
    }

    /// Services word "no such model" in many ways; whether the model is listed says it without reading words.
    async fn explained(&self, model: &str, fault: Fault) -> Fault {
        if fault.status != Some(400) || fault.fault != ProviderFault::BadRequest {
            return fault;
        }
        match timeout(ERROR_BODY_WAIT, self.known(model)).await {
            Ok(Err(known)) if known.fault == ProviderFault::UnknownModel => Fault {
                fault: ProviderFault::UnknownModel,
                ..fault
            },
            _ => fault,
        }
    }
}

#[async_trait]
impl<D: Dialect> Provider for Service<D> {
    async fn complete(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError> {
        // Waiting for a permit is the operator's own limit, not the provider's slowness: it has no deadline here.
        let _permit = match &self.permits {
            Some(permits) => permits.acquire().await.ok(),
            None => None,
        };
        let answer = self
            .persist(pieces, || Box::pin(self.attempt(request, pieces)))
            .await;
        match answer {
            Ok(reply) => Ok(reply),
            Err(fault) => {
                let fault = self.explained(&request.model.model, fault).await;
                Err(self.error(&request.model, fault))
            }
        }
    }

    async fn probe(&self, model: &ModelRef) -> Result<(), ProviderError> {
        let known = self.look(|| Box::pin(self.known(&model.model))).await;
        known.map_err(|fault| self.error(model, fault))
    }

    fn worst_case(&self, request: &Request) -> MicroDollars {
        let (input, output) = (
            request.tokens_estimate(),
            u64::from(request.output_tokens_max),
        );
        self.prices
            .most(self.biller(), &request.model.model, input, output)
    }

    fn window(&self, _: &ModelRef) -> Option<u64> {
        None
    }

    fn label(&self, model: &ModelRef) -> String {
        if self.is_free || self.prices.knows(self.kind, &self.site.name, &model.model) {
            return model.to_string();
        }
        format!("{model} (no price known: counts as free)")
    }
}

/// A fault after which nothing more is tried, with what was.
fn given_up(mut fault: Fault, attempts: &Attempts) -> Fault {
    if attempts.failed() > 1 || fault.again != Again::Never {
        fault.message = format!(
            "asked {} times in at most {} s; {}",
            attempts.failed(),
            attempts.seconds(),
            fault.message
        );
    }
    fault
}

fn some_of(models: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = models.iter().take(SHOWN).map(String::as_str).collect();
    match models.len().checked_sub(SHOWN) {
        _ if models.is_empty() => "no models".to_owned(),
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Where a provider is: as configured, else where its kind usually is.
pub(crate) fn base_url(config: &ProviderConfig, preset: Option<&str>) -> Result<Url, SetupError> {
    let refuse = |problem: &str| SetupError::BaseUrl {
        name: config.name.clone(),
        problem: problem.to_owned(),
    };
    let text = config
        .base_url
        .as_deref()
        .or(preset)
        .ok_or_else(|| refuse("there is none"))?;
    let mut url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "it holds a user name or password; keys are configured apart",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it has a query or a fragment"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn client(base: &Url, patience: &Patience, config: &ProviderConfig) -> Result<Client, SetupError> {
    let refuse = |problem: String| SetupError::Tls {
        name: config.name.clone(),
        problem,
    };
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(refuse(
            "the program was started without cryptography".to_owned(),
        ));
    }
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
        .connect_timeout(patience.connect.as_duration());
    // Without TLS no certificate is needed, and a machine may have none.
    let client = if base.scheme() == "http" {
        client.tls_certs_only([])
    } else {
        client
    };
    client.build().map_err(|error| refuse(error.to_string()))
}

fn require_events(response: &Response) -> Result<(), Fault> {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("no content type");
    if kind
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/event-stream")
    {
        return Ok(());
    }
    let message = format!(
        "it answered with {} where a stream of events was expected",
        short(kind)
    );
    Err(Fault {
        status: Some(response.status().as_u16()),
        ..Fault::bad_reply(message)
    })
}

/// The beginning of a body.
async fn bounded(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Fault::connection(&error))?
    {
        let room = bytes_max.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() >= bytes_max {
            break;
        }
    }
    Ok(body)
}

/// An error's body as a document. Pages for people are named, not quoted.
fn document(status: StatusCode, body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| match std::str::from_utf8(body) {
        Ok(text) if !text.trim().is_empty() && !text.trim_start().starts_with('<') => {
            text.trim().into()
        }
        _ => status.canonical_reason().map_or(Value::Null, Value::from),
    })
}

/// Reads what little follows a reply's last event, so that the connection serves the next request.
async fn hand_back(mut response: Response) {
    let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
    // A provider that keeps talking loses its connection, nothing more.
    let _ended = timeout(DRAIN_WAIT, rest).await;
}
