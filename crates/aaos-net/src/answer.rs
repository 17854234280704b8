//! Answers: read up to a bound, without any secret in them.

use crate::{
    fault::fault,
    hop::Hop,
    policy,
    secret::{Cut, Scrub},
};
use aaos_ports::{
    PowerError,
    power::{HEADERS_TOLD, HttpAnswer},
};
use futures::StreamExt;
use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderMap},
};

/// How many times the asked size an announced size may be before the answer is refused unread.
const ANNOUNCED_FACTOR_MAX: u64 = 10;
/// Most bytes of a content type that are kept.
const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// The answer to a request whose redirects are the caller's to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Status.
    pub status: u16,
    /// Its headers without those that belong to the connection or to how the body was sent; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, decoded from its transfer and content encodings.
    pub body: Vec<u8>,
}

/// Headers of an answer that are not passed on: those of the connection, and those of how the body was sent, which is
/// decoded here.
/// Source: RFC 9110, 7.6.1; RFC 9112, 6.
const HEADERS_KEPT_BACK: [&str; 9] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "alt-svc",
];

pub(crate) fn passed_on(headers: &HeaderMap, scrub: &Scrub) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            !HEADERS_KEPT_BACK.contains(&name) && !name.starts_with("proxy-")
        })
        .map(|(name, value)| {
            let value = scrub.bytes(value.as_bytes().to_vec(), Cut::Nowhere);
            (name.as_str().to_owned(), value)
        })
        .collect()
}

/// What is done about a body that breaks off, or that is said to be far larger than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partial {
    /// There is no answer.
    Refused,
    /// What came is the answer: the request has had its effect, and its status says which.
    Told,
}

/// Most bytes of a header that is passed on.
const HEADER_BYTES_TOLD: usize = 1024;

/// The headers a caller is told, without any secret in them.
fn told(headers: &HeaderMap, scrub: &Scrub) -> Vec<(String, String)> {
    let value = |name: &&str| {
        let value = String::from_utf8_lossy(headers.get(*name)?.as_bytes());
        let value = aaos_core::text::preview(&scrub.text(&value), HEADER_BYTES_TOLD);
        Some(((*name).to_owned(), value))
    };
    HEADERS_TOLD.iter().filter_map(value).collect()
}

/// Reads an answer up to its bound, and finds out whether there was more.
/// Secrets are put back to their placeholders.
pub(crate) async fn read(
    response: Response,
    hop: &Hop,
    bytes_max: u64,
    scrub: &Scrub,
    partial: Partial,
) -> Result<HttpAnswer, PowerError> {
    let announced = response.content_length().unwrap_or(0);
    let announced_max = bytes_max.saturating_mul(ANNOUNCED_FACTOR_MAX);
    if hop.method != "HEAD" && announced > announced_max && partial == Partial::Refused {
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
    let content_type = content_type.map(|value| scrub.text(&value)).map(|value| {
        let value = aaos_core::text::preview(&value, CONTENT_TYPE_BYTES_MAX);
        value.to_lowercase()
    });
    let headers = told(response.headers(), scrub);
    let cap = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let (mut body, mut truncated) = (Vec::new(), false);
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(_) if partial == Partial::Told => {
                truncated = true;
                break;
            }
            Err(error) => return Err(fault(hop, &error)),
        };
        let room = cap.saturating_sub(body.len());
        body.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        if piece.len() > room {
            truncated = true;
            break;
        }
    }
    let cut = if truncated { Cut::Off } else { Cut::Nowhere };
    let mut body = scrub.bytes(body, cut);
    // A placeholder may be longer than what it stands for.
    truncated |= body.len() > cap;
    body.truncate(cap);
    Ok(HttpAnswer {
        status,
        url: hop.url.clone(),
        content_type: content_type.unwrap_or_default(),
        headers,
        body,
        truncated,
    })
}
