//! What went wrong with a request, as typed data: from an HTTP status, an error document, a broken connection.
//!
//! Statuses and error codes decide; a provider's prose is passed on, never matched on.

use crate::limits::NAME_BYTES_MAX;
use aaos_core::{failure::ProviderFault, text::preview};
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;
use std::{error::Error, time::Duration};

/// Whether trying again is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would fail in the same way.
    Never,
    /// The reply came only in part; worth asking for whole a few times.
    Part,
    /// The provider is not there, busy or broken; after a wait, at least this long where it says so.
    Later(Option<Duration>),
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What the provider could not do.
    pub(crate) fault: ProviderFault,
    /// HTTP status, if there was one.
    pub(crate) status: Option<u16>,
    /// What happened, in the provider's words where it had any.
    pub(crate) message: String,
    /// Whether trying again is worth it.
    pub(crate) again: Again,
}

impl Fault {
    /// Whether an attempt that ended so may have to be paid for: the provider had begun to answer it, or may be at work on it
    /// unheard. Who refuses a request charges nothing for it.
    pub(crate) const fn billed(&self) -> bool {
        matches!(self.again, Again::Part)
            || matches!(
                self.fault,
                ProviderFault::TimedOut | ProviderFault::BadReply
            )
    }

    /// An answer that cannot be understood.
    pub(crate) fn bad_reply(message: impl ToString) -> Self {
        let fault = ProviderFault::BadReply;
        Self {
            fault,
            status: None,
            message: message.to_string(),
            again: Again::Never,
        }
    }

    /// No answer in time.
    pub(crate) fn timed_out(what: &str, limit: Duration, again: Again) -> Self {
        let message = format!("{what} within {} s", limit.as_secs_f32());
        Self {
            fault: ProviderFault::TimedOut,
            status: None,
            message,
            again,
        }
    }

    /// A connection that could not be made, or broke before it answered.
    pub(crate) fn connection(error: &reqwest::Error) -> Self {
        Self {
            fault: ProviderFault::Unreachable,
            status: None,
            message: causes(error),
            again: Again::Later(None),
        }
    }

    /// A connection that broke in the middle of an answer.
    pub(crate) fn broken(error: &reqwest::Error) -> Self {
        Self {
            again: Again::Part,
            ..Self::connection(error)
        }
    }

    /// A failure reported inside a stream, where no status can say it.
    pub(crate) fn in_stream(error: &Value) -> Self {
        let mut fault = Self::answered(StatusCode::OK, &Value::Null, None);
        fault.message = words(error);
        (fault.fault, fault.again) = match code(error) {
            "overloaded_error" | "api_error" | "server_error" | "timeout_error" => {
                (ProviderFault::Server, Again::Later(None))
            }
            "rate_limit_error" | "rate_limit_exceeded" => {
                (ProviderFault::RateLimited, Again::Later(None))
            }
            "authentication_error" | "permission_error" => {
                (ProviderFault::Unauthorised, Again::Never)
            }
            "invalid_request_error" => (ProviderFault::BadRequest, Again::Never),
            _ => (ProviderFault::Server, Again::Never),
        };
        fault
    }

    /// An answer with a status that is no success, or that reports a failure.
    pub(crate) fn answered(
        status: StatusCode,
        body: &Value,
        retry_after: Option<Duration>,
    ) -> Self {
        let number = status.as_u16();
        let (fault, again) = match number {
            401..=403 => (ProviderFault::Unauthorised, Again::Never),
            404 if names_an_error(body) => (ProviderFault::UnknownModel, Again::Never),
            408 | 425 => (ProviderFault::Server, Again::Later(retry_after)),
            429 if code(error_of(body)) == "insufficient_quota" => {
                (ProviderFault::RateLimited, Again::Never)
            }
            429 => (ProviderFault::RateLimited, Again::Later(retry_after)),
            500..=599 => (ProviderFault::Server, Again::Later(retry_after)),
            400 | 422 if code(error_of(body)) == "model_not_found" => {
                (ProviderFault::UnknownModel, Again::Never)
            }
            _ => (ProviderFault::BadRequest, Again::Never),
        };
        Self {
            fault,
            status: Some(number),
            message: words(body),
            again,
        }
    }
}

/// Every cause of an error, outermost first, without the address it went to: that may hold what nobody should read.
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn error_of(body: &Value) -> &Value {
    match body.get("error") {
        Some(error) if !error.is_null() => error,
        _ => body,
    }
}

/// Whether an error document says what is wrong, as opposed to a server that knows no such address.
fn names_an_error(body: &Value) -> bool {
    body.get("error").is_some_and(|error| !error.is_null())
        || body.get("message").is_some_and(Value::is_string)
}

/// An error's machine-readable kind: its `code` where that is text, else its `type`.
fn code(error: &Value) -> &str {
    let of = |key| error.get(key).and_then(Value::as_str);
    of("code").or_else(|| of("type")).unwrap_or_default()
}

/// What an error document says, for people.
fn words(body: &Value) -> String {
    let error = error_of(body);
    let said = error
        .get("message")
        .or_else(|| error.get("detail"))
        .unwrap_or(error);
    match said {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// How long the provider asks to be left alone: in milliseconds, in seconds, or as a date, which is compared with the
/// date of the answer itself, so that no clock has to agree with another.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let span = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    let date = |name: &str| httpdate::parse_http_date(text(name)?).ok();
    let until = || {
        Some(
            date("retry-after")?
                .duration_since(date("date")?)
                .unwrap_or_default(),
        )
    };
    number("retry-after-ms")
        .and_then(|ms| span(ms / 1_000.0))
        .or_else(|| number("retry-after").and_then(span))
        .or_else(until)
}

/// Where a provider is, for the next step.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Its configured name.
    pub(crate) name: String,
    /// Its address; none for providers without a network.
    pub(crate) base: String,
    /// The variable its key is usually kept in.
    pub(crate) key_variable: Option<&'static str>,
}

impl Site {
    /// What the operator can do.
    pub(crate) fn next_step(&self, fault: ProviderFault) -> String {
        let Self {
            name,
            base,
            key_variable,
        } = self;
        match fault {
            ProviderFault::Unreachable => {
                format!(
                    "Check that {base} is the right base URL of `{name}` and that it answers; `agentd models` tries it"
                )
            }
            ProviderFault::Unauthorised => format!(
                "Give `{name}` a valid key: `agentd configure --key-from-env {}`, or check the account it belongs to",
                key_variable.unwrap_or("VARIABLE")
            ),
            ProviderFault::UnknownModel => {
                format!(
                    "Choose a model that `{name}` serves with `--model` or in the configuration; `agentd models` lists them"
                )
            }
            ProviderFault::RateLimited => {
                format!(
                    "Wait, check the account's limits at `{name}`, or choose another model with `--model`"
                )
            }
            ProviderFault::TimedOut => {
                format!(
                    "Try again, raise the timeouts of `{name}` in the configuration, or choose another model with `--model`"
                )
            }
            ProviderFault::Server => {
                "Try again later, or choose another model with `--model`".to_owned()
            }
            ProviderFault::BadRequest => {
                format!(
                    "The provider's own words say what it refuses; check the model's name and the base URL of `{name}`, {base}"
                )
            }
            ProviderFault::BadReply => {
                format!(
                    "Check that {base} is an endpoint of the kind `{name}` is configured as; `agentd models` tries it"
                )
            }
            ProviderFault::ScriptEnded => format!("Add a reply that fits to {base}"),
        }
    }
}

/// A provider's name for a thing, short enough to show.
pub(crate) fn short(text: &str) -> String {
    preview(text, NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(status: u16, body: Value) -> (ProviderFault, Again) {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let fault = Fault::answered(status, &body, None);
        (fault.fault, fault.again)
    }

    #[test]
    fn each_status_has_its_fault() {
        let error = json!({"error": {"type": "x", "message": "words"}});
        assert_eq!(
            of(401, error.clone()),
            (ProviderFault::Unauthorised, Again::Never)
        );
        assert_eq!(
            of(403, Value::Null),
            (ProviderFault::Unauthorised, Again::Never)
        );
        assert_eq!(
            of(404, error.clone()),
            (ProviderFault::UnknownModel, Again::Never)
        );
        assert_eq!(
            of(404, Value::Null),
            (ProviderFault::BadRequest, Again::Never)
        );
        assert_eq!(
            of(404, json!({"detail": "Not Found"})),
            (ProviderFault::BadRequest, Again::Never)
        );
        assert_eq!(
            of(429, error.clone()),
            (ProviderFault::RateLimited, Again::Later(None))
        );
        assert_eq!(
            of(529, error.clone()),
            (ProviderFault::Server, Again::Later(None))
        );
        assert_eq!(
            of(302, Value::Null),
            (ProviderFault::BadRequest, Again::Never)
        );
        let spent = json!({"error": {"code": "insufficient_quota"}});
        assert_eq!(of(429, spent), (ProviderFault::RateLimited, Again::Never));
        let unknown = json!({"error": {"code": "model_not_found"}});
        assert_eq!(
            of(400, unknown),
            (ProviderFault::UnknownModel, Again::Never)
        );
    }

    #[test]
    fn an_error_of_any_shape_gives_its_words() {
        assert_eq!(words(&json!({"error": {"message": "m"}})), "m");
        assert_eq!(words(&json!({"error": "m"})), "m");
        assert_eq!(words(&json!({"message": "m"})), "m");
        assert_eq!(words(&json!({"detail": [1]})), "[1]");
        assert_eq!(words(&Value::Null), "");
    }

    #[test]
    fn a_wait_is_read_in_seconds_milliseconds_or_as_a_date_and_nonsense_is_not() {
        let wait = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, reqwest::header::HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(
            wait("retry-after-ms", "250"),
            Some(Duration::from_millis(250))
        );
        let dated = |date: Option<&'static str>, until: &'static str| {
            let mut headers = HeaderMap::new();
            let mut put = |name: &'static str, text: &'static str| {
                headers.insert(name, reqwest::header::HeaderValue::from_static(text));
            };
            put("retry-after", until);
            if let Some(date) = date {
                put("date", date);
            }
            retry_after(&headers)
        };
        let now = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(
            dated(Some(now), "Wed, 21 Oct 2026 07:29:30 GMT"),
            Some(Duration::from_secs(90))
        );
        assert_eq!(
            dated(Some(now), "Wed, 21 Oct 2026 07:27:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(dated(None, now), None, "no clock of ours is asked");
        for nonsense in [
            "-1",
            "soon",
            "NaN",
            "1e999",
            "Wed, 21 Oct 2026 07:28:00 GMT",
        ] {
            assert_eq!(wait("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
