//! `http_send`: one request that changes something where it is sent.
//!
//! Every request carries the call's identity as its `Idempotency-Key`, the same however often it is sent: a server that
//! keeps such keys apart does it once. The model neither sees nor sets the key. A redirect is an answer, and so is a
//! status that says no: the request was received. What went wrong before anything was sent is told from what may have
//! been received.

use super::web_fetch::{address, headers, page};
use aaos_core::{
    approval::Preview,
    capability::Need,
    text,
    time::Span,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{
    PowerError, Powers, Tool, ToolError,
    power::{HttpAnswer, HttpRequest},
    tool::About,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use url::Url;

/// Most bytes of a body: what a model writes by hand, many times over.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an answer that are shown unless asked otherwise.
const BYTES_DEFAULT: u64 = 50_000;
/// Most bytes of an answer that can be asked for.
const BYTES_MAX: u64 = 1024 * 1024;
/// Longest time for the whole exchange: a server that does what it is asked before it answers.
const DEADLINE: Span = Span::from_secs(60);
/// The content type unless the caller says otherwise.
const CONTENT_TYPE: &str = "application/json";
/// The header that carries the call's identity.
/// Source: draft-ietf-httpapi-idempotency-key-header; the services that keep such keys take them without quotes.
const KEY: &str = "idempotency-key";
/// Headers that the tool sets itself.
const OWN: [&str; 2] = [KEY, "content-type"];

/// Sends one request.
pub(super) struct HttpSend;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What to do there: POST, PUT, PATCH or DELETE.
    method: Method,
    /// Address to send to, http or https.
    url: String,
    /// The body, as text, at most 1 MiB.
    #[serde(default)]
    body: String,
    /// What the body is.
    #[serde(default = "content_type")]
    content_type: String,
    /// Further headers, by name. A value may hold `{{secret:NAME}}`, where the grant for this address names that secret: its value is put in on the way out, and is never shown.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Most bytes of the answer's text to return, up to 1048576.
    #[serde(default = "bytes")]
    max_bytes: u64,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    const fn word(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

fn content_type() -> String {
    CONTENT_TYPE.to_owned()
}

const fn bytes() -> u64 {
    BYTES_DEFAULT
}

#[derive(Serialize)]
pub(super) struct Output {
    status: u16,
    url: String,
    content_type: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    body: String,
    truncated: bool,
}

#[async_trait]
impl Tool for HttpSend {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "http_send",
        summary: "Send a POST, PUT, PATCH or DELETE request with a text body; answers with the status, whatever it is, and the answer's text. Redirects are not followed. Write `{{secret:NAME}}` in a header to send a secret you were granted.",
        powers: &[Power::Http],
        effect: Effect::Irreversible,
        recovery: Recovery::Keyed,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        let method = input.method.word().to_owned();
        let need = Url::parse(input.url.trim()).map(|url| Need::Http { method, url });
        need.into_iter().collect()
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let (bytes_max, mut request) = request(input)?;
        let key = powers.call().to_string();
        request.headers.push((KEY.to_owned(), key));
        let answer = powers.http(request).await.map_err(told)?;
        Ok(output(&answer, bytes_max))
    }

    async fn preview(&self, input: &Input, powers: &Powers) -> Result<Option<Preview>, ToolError> {
        let url = check(input)?;
        let own = [
            format!("{KEY}: {}", powers.call()),
            format!("content-type: {}", input.content_type),
        ];
        let others = input.headers.iter();
        let others = others.map(|(name, value)| format!("{name}: {value}"));
        Ok(Some(Preview::Request {
            line: format!("{} {url}", input.method.word()),
            headers: own.into_iter().chain(others).collect(),
            body: input.body.clone(),
        }))
    }
}

/// A failure of the power: in doubt where the request may have been received.
fn told(error: PowerError) -> ToolError {
    match error {
        PowerError::Lost { what, message } => ToolError::InDoubt {
            tool: HttpSend::ABOUT.name.to_owned(),
            reason: format!("{what}: {message}"),
        },
        certain => certain.into(),
    }
}

/// Refuses what is not sent; answers with the address.
fn check(input: &Input) -> Result<Url, ToolError> {
    let wrong = |problem: String| ToolError::Input {
        tool: HttpSend::ABOUT.name.to_owned(),
        problem,
    };
    if input.body.len() > BODY_BYTES_MAX {
        return Err(wrong(format!(
            "body: {} bytes, at most {BODY_BYTES_MAX} are sent",
            input.body.len()
        )));
    }
    let own = |name: &&String| OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
    if let Some(name) = input.headers.keys().find(own) {
        return Err(wrong(format!(
            "headers: `{}` is set by the tool; the body's type goes in content_type",
            text::preview(name, 64)
        )));
    }
    address(HttpSend::ABOUT.name, &input.url)
}

fn request(input: Input) -> Result<(usize, HttpRequest), ToolError> {
    let url = check(&input)?;
    let bytes_max = input.max_bytes.clamp(1, BYTES_MAX);
    let mut headers = headers(HttpSend::ABOUT.name, input.headers)?;
    headers.push(("content-type".to_owned(), input.content_type));
    let request = HttpRequest {
        method: input.method.word().to_owned(),
        url,
        headers,
        body: input.body.into_bytes(),
        bytes_max,
        deadline: DEADLINE,
    };
    Ok((usize::try_from(bytes_max).unwrap_or(usize::MAX), request))
}

fn output(answer: &HttpAnswer, bytes_max: usize) -> Output {
    let page = page(answer);
    let body = text::head(&page.text, bytes_max);
    Output {
        status: answer.status,
        url: answer.url.to_string(),
        content_type: answer.content_type.clone(),
        headers: answer.headers.iter().cloned().collect(),
        truncated: answer.truncated || body.len() < page.text.len(),
        body: body.to_owned(),
    }
}
