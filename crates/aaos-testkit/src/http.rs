//! The fake of the HTTP power: answers by URL, redirects included, with the gate asked before each hop.

use aaos_core::capability::Need;
use aaos_ports::{
    Gate, Http, PowerError,
    power::{HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use url::Url;

/// Most redirects that are followed, as the port says.
const REDIRECTS_MAX: usize = 5;

/// What an address answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Page {
    /// A status, a content type and a body.
    Content(u16, String, Vec<u8>),
    /// A redirect.
    Redirect(Url),
    /// A failure.
    Broken(PowerError),
}

/// Answers by URL; anything else is 404.
#[derive(Debug, Default)]
pub struct Pages {
    pages: BTreeMap<String, Page>,
    seen: Mutex<Vec<HttpRequest>>,
}

impl Pages {
    /// With one more page.
    #[must_use]
    pub fn with(mut self, url: &str, page: Page) -> Self {
        self.pages.insert(url.to_owned(), page);
        self
    }

    /// With one more page of text with status 200.
    #[must_use]
    pub fn with_text(self, url: &str, content_type: &str, body: &str) -> Self {
        self.with(
            url,
            Page::Content(200, content_type.to_owned(), body.as_bytes().to_vec()),
        )
    }

    /// Every request so far, redirects not included.
    #[must_use]
    pub fn seen(&self) -> Vec<HttpRequest> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Http for Pages {
    async fn send(&self, request: HttpRequest, gate: &dyn Gate) -> Result<HttpAnswer, PowerError> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        let mut url = request.url;
        for _ in 0..=REDIRECTS_MAX {
            gate.admit(&Need::Http {
                method: request.method.clone(),
                url: url.clone(),
            })?;
            let (status, content_type, mut body) = match self.pages.get(url.as_str()) {
                None => (404, "text/plain".to_owned(), b"not found".to_vec()),
                Some(Page::Content(status, content_type, body)) => {
                    (*status, content_type.clone(), body.clone())
                }
                Some(Page::Broken(error)) => return Err(error.clone()),
                Some(Page::Redirect(next)) => {
                    url = next.clone();
                    continue;
                }
            };
            let room = usize::try_from(request.bytes_max).unwrap_or(usize::MAX);
            let truncated = body.len() > room;
            body.truncate(room);
            return Ok(HttpAnswer {
                status,
                url,
                content_type,
                body,
                truncated,
            });
        }
        Err(PowerError::Io {
            what: format!("fetching {url}"),
            message: format!("too many redirects (>{REDIRECTS_MAX})"),
        })
    }
}
