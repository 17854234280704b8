//! What went wrong, in words that name the destination and hold no secret.

use crate::{
    hop::Hop,
    policy::{self, Named, Refused},
    secret::Scrub,
};
use aaos_ports::PowerError;
use std::error::Error;
use url::Url;

pub(crate) fn denied(hop: &Hop, refused: &Refused) -> PowerError {
    refusal(&hop.method, &hop.url, refused)
}

/// A refusal of this room as the power's error.
pub(crate) fn refusal(method: &str, url: &Url, refused: &Refused) -> PowerError {
    let axis = match refused {
        Refused::Address { .. } => "address",
        Refused::Method(_) => "method",
        Refused::Header(_) | Refused::Headers => "header",
        Refused::Secret(_) | Refused::ShortSecret(_) | Refused::SecretInTarget => "secret",
        _ => "url",
    };
    PowerError::Denied {
        need: format!(
            "{} {}",
            aaos_core::text::preview(method, 16),
            policy::shown(url)
        ),
        axis: axis.to_owned(),
        reason: refused.to_string(),
    }
}

pub(crate) fn failed(destination: &str, message: &str) -> PowerError {
    PowerError::Io {
        what: format!("fetching {destination}"),
        message: message.to_owned(),
    }
}

/// A request that changes something, of which it is not known whether it was received.
pub(crate) fn lost(destination: &str, message: &str) -> PowerError {
    PowerError::Lost {
        what: format!("sending to {destination}"),
        message: message.to_owned(),
    }
}

/// What went wrong on the wire; an address the resolver refused is a refusal. Where no connection came about nothing was
/// sent; after that, a request that changes something may have been received.
pub(crate) fn fault(hop: &Hop, error: &reqwest::Error) -> PowerError {
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
    let words = aaos_core::text::preview(&cause.to_string(), 300);
    let (destination, message) = (policy::shown(&hop.url), format!("{stage}{words}{advice}"));
    if policy::changes(&hop.method) && !error.is_connect() && !error.is_builder() {
        return lost(&destination, &message);
    }
    failed(&destination, &message)
}

/// An error without any secret in its words.
pub(crate) fn clean(error: PowerError, scrub: &Scrub) -> PowerError {
    match error {
        PowerError::Denied { need, axis, reason } => PowerError::Denied {
            need: scrub.text(&need),
            axis,
            reason: scrub.text(&reason),
        },
        PowerError::Io { what, message } => PowerError::Io {
            what: scrub.text(&what),
            message: scrub.text(&message),
        },
        PowerError::Lost { what, message } => PowerError::Lost {
            what: scrub.text(&what),
            message: scrub.text(&message),
        },
        other => other,
    }
}
