//! One hop of a request: what is sent, as the caller wrote it, and what of it goes on after a redirect.

use crate::{
    fault::denied,
    policy::{self, Refused, Resend},
    secret,
};
use aaos_ports::{Admitted, PowerError, power::HttpRequest};
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// Most bytes of a body that are sent.
const SENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One hop of a request.
pub(crate) struct Hop {
    pub(crate) url: Url,
    pub(crate) method: String,
    /// As the caller wrote them, placeholders and all.
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Vec<u8>,
}

/// Checks a request and makes its first hop.
pub(crate) fn first(request: HttpRequest) -> Result<Hop, PowerError> {
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
        headers: Vec::new(),
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
        let Some((key, _)) = parsed else {
            let name = aaos_core::text::preview(&name, 64);
            return Err(denied(&hop, &Refused::Header(name)));
        };
        hop.headers.push((key, value));
    }
    Ok(hop)
}

impl Hop {
    /// The hop a redirect leads to. Headers the caller set do not go to another origin, but for those that only say
    /// what kind of answer is wanted.
    pub(crate) fn redirected(self, next: policy::Next) -> Self {
        let same = next.url.origin() == self.url.origin();
        let mut headers = self.headers;
        headers.retain(|(name, _)| {
            same || *name == ACCEPT || *name == ACCEPT_LANGUAGE || *name == CONTENT_TYPE
        });
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

/// A hop's headers with every placeholder filled in.
pub(crate) fn filled(hop: &Hop, admitted: &Admitted) -> Result<HeaderMap, PowerError> {
    let mut headers = HeaderMap::new();
    for (name, text) in &hop.headers {
        let value = secret::fill(text, admitted).map_err(|refused| denied(hop, &refused))?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| denied(hop, &Refused::Header(name.to_string())))?;
        headers.append(name.clone(), value);
    }
    Ok(headers)
}
