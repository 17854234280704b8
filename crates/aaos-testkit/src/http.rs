//! The fake of the HTTP power: answers by URL, redirects included, with the gate asked before each hop and told of it.

use aaos_core::capability::Need;
use aaos_ports::{
    Admitted, Connection, Gate, Http, PowerError,
    power::{ConnectionOutcome, HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use url::Url;

/// Most redirects that are followed, as the port says.
const REDIRECTS_MAX: usize = 5;

/// Where every page of this world is served from.
/// Source: RFC 5737, addresses for documentation.
const ADDRESS: &str = "192.0.2.1:443";

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
    hops: Mutex<Vec<(Url, Admitted)>>,
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

impl Pages {
    /// Every hop that was admitted, with what came with the admission.
    #[must_use]
    pub fn hops(&self) -> Vec<(Url, Admitted)> {
        self.hops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks before a hop and tells what became of it, as every HTTP power does.
    async fn hop(&self, method: &str, url: &Url, gate: &dyn Gate) -> Result<(), PowerError> {
        let need = Need::Http {
            method: method.to_owned(),
            url: url.clone(),
        };
        let asked = gate.admit(&need).await;
        let outcome = match &asked {
            Ok(_) => ConnectionOutcome::Allowed {
                address: Some(ADDRESS.to_owned()),
            },
            Err(PowerError::Denied { axis, reason, .. }) => ConnectionOutcome::Refused {
                axis: axis.clone(),
                reason: reason.clone(),
            },
            Err(error) => ConnectionOutcome::Refused {
                axis: "gate".to_owned(),
                reason: error.to_string(),
            },
        };
        gate.note(Connection {
            method: method.to_owned(),
            url: url.to_string(),
            outcome,
        });
        let mut hops = self.hops.lock().unwrap_or_else(PoisonError::into_inner);
        hops.push((url.clone(), asked?));
        Ok(())
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
            self.hop(&request.method, &url, gate).await?;
            let mut headers = Vec::new();
            let reads = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
            let (status, content_type, mut body) = match self.pages.get(url.as_str()) {
                None => (404, "text/plain".to_owned(), b"not found".to_vec()),
                Some(Page::Content(status, content_type, body)) => {
                    (*status, content_type.clone(), body.clone())
                }
                Some(Page::Broken(error)) => return Err(error.clone()),
                Some(Page::Redirect(next)) if !reads => {
                    headers.push(("location".to_owned(), next.to_string()));
                    (303, String::new(), Vec::new())
                }
                Some(Page::Redirect(next)) => {
                    url = next.clone();
                    continue;
                }
            };
            let room = usize::try_from(request.bytes_max).unwrap_or(usize::MAX);
            let truncated = body.len() > room;
            body.truncate(room);
            return Ok(HttpAnswer {
                headers,
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
