//! `web_fetch`: one page, as readable text.
//!
//! HTML becomes Markdown; JSON and other text pass as they are. Binary data is named and not shown. Redirects and
//! addresses are the HTTP power's matter.

use super::{read, readable};
use aaos_core::{
    capability::Need,
    text,
    time::Span,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{
    Powers, Tool, ToolError,
    power::{HttpAnswer, HttpRequest},
    tool::About,
};
use async_trait::async_trait;
use encoding_rs::{Encoding, UTF_8};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use url::Url;

/// Bytes of text shown unless asked otherwise.
const BYTES_DEFAULT: u64 = 50_000;
/// Most bytes of text that can be asked for.
const BYTES_MAX: u64 = 1024 * 1024;
/// Bytes read at least: a page's markup is many times its text.
const READ_BYTES_MIN: u64 = 1024 * 1024;
/// Longest time for the whole fetch.
const DEADLINE: Span = Span::from_secs(30);
/// Bytes of a page that are searched for the encoding it declares.
/// Source: HTML standard, "prescan a byte stream to determine its encoding".
const PRESCAN_BYTES: usize = 1024;

/// What is asked for unless the caller says otherwise.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/json,text/*;q=0.9,*/*;q=0.5";
/// Most headers of a request beside the tool's own.
const HEADERS_MAX: usize = 16;
/// Longest header, name and value, in bytes. Source: servers commonly refuse more than 8 KiB for all of them.
const HEADER_BYTES_MAX: usize = 4096;

/// Fetches one page.
pub(super) struct WebFetch;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Address to fetch, http or https.
    url: String,
    /// Headers to send, by name. A value may hold `{{secret:NAME}}`, where the grant for this address names that secret: its value is put in on the way out, and is never shown.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Most bytes of text to return, up to 1048576.
    #[serde(default = "bytes")]
    max_bytes: u64,
}

const fn bytes() -> u64 {
    BYTES_DEFAULT
}

#[derive(Serialize)]
pub(super) struct Output {
    status: u16,
    url: String,
    content_type: String,
    title: String,
    body: String,
    truncated: bool,
    bytes_read: usize,
}

#[async_trait]
impl Tool for WebFetch {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "web_fetch",
        summary: "Fetch a web address: pages come as readable Markdown, JSON and text as they are. Write `{{secret:NAME}}` in a header to send a secret you were granted.",
        powers: &[Power::Http],
        effect: Effect::Read,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        Url::parse(&input.url).map(Need::get).into_iter().collect()
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let url = address(Self::ABOUT.name, &input.url)?;
        let bytes_max = input.max_bytes.clamp(1, BYTES_MAX);
        let mut headers = headers(Self::ABOUT.name, input.headers)?;
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("accept"))
        {
            headers.push(("accept".to_owned(), ACCEPT.to_owned()));
        }
        let request = HttpRequest {
            method: "GET".to_owned(),
            url,
            headers,
            body: Vec::new(),
            bytes_max: bytes_max.max(READ_BYTES_MIN),
            deadline: DEADLINE,
        };
        let answer = powers.http(request).await?;
        Ok(output(
            &answer,
            usize::try_from(bytes_max).unwrap_or(usize::MAX),
        ))
    }
}

/// The address a request of this tool goes to.
pub(super) fn address(tool: &str, written: &str) -> Result<Url, ToolError> {
    let wrong = |problem: String| ToolError::Input {
        tool: tool.to_owned(),
        problem,
    };
    let url = Url::parse(written.trim()).map_err(|error| {
        wrong(format!(
            "url: {error}; write an absolute address such as https://example.com/"
        ))
    })?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(wrong(format!(
            "url: the scheme `{}` is not supported; use http or https",
            text::preview(other, 32)
        ))),
    }
}

/// The headers to send. What a name or a value may hold is the HTTP power's matter.
pub(super) fn headers(
    tool: &str,
    asked: BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, ToolError> {
    let long = |(name, value): (&String, &String)| name.len() + value.len() > HEADER_BYTES_MAX;
    if asked.len() > HEADERS_MAX || asked.iter().any(long) {
        return Err(ToolError::Input {
            tool: tool.to_owned(),
            problem: format!(
                "headers: at most {HEADERS_MAX}, each of at most {HEADER_BYTES_MAX} bytes"
            ),
        });
    }
    Ok(asked.into_iter().collect())
}

fn output(answer: &HttpAnswer, bytes_max: usize) -> Output {
    let page = page(answer);
    let body = text::head(&page.text, bytes_max);
    Output {
        status: answer.status,
        url: answer.url.to_string(),
        content_type: answer.content_type.clone(),
        title: page.title,
        truncated: answer.truncated || body.len() < page.text.len(),
        body: body.to_owned(),
        bytes_read: answer.body.len(),
    }
}

/// An answer's body as text.
pub(super) fn page(answer: &HttpAnswer) -> readable::Page {
    let plain = |text: String| readable::Page {
        title: String::new(),
        text,
    };
    let kind = answer
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if is_opaque(kind, &answer.body) {
        return plain(format!(
            "(binary data of type {kind}, {} bytes, not shown)",
            answer.body.len()
        ));
    }
    let text = decoded(&answer.body, &answer.content_type);
    let html = matches!(kind, "text/html" | "application/xhtml+xml")
        || kind.is_empty() && looks_like_html(&text);
    if html {
        readable::page(&text, &answer.url)
    } else {
        plain(text)
    }
}

/// Whether a body is not text, by its declared type or, if that leaves it open, by its bytes.
fn is_opaque(kind: &str, body: &[u8]) -> bool {
    let said = kind.starts_with("image/")
        || kind.starts_with("audio/")
        || kind.starts_with("video/")
        || kind.starts_with("font/");
    said && kind != "image/svg+xml" || Encoding::for_bom(body).is_none() && read::is_binary(body)
}

fn looks_like_html(text: &str) -> bool {
    let beginning = text::head(text.trim_start(), 64).to_ascii_lowercase();
    beginning.starts_with("<!doctype html") || beginning.starts_with("<html")
}

/// A body in the encoding its bytes, its header or its markup declare; UTF-8 if none does.
fn decoded(body: &[u8], content_type: &str) -> String {
    let declared = after(content_type, "charset=").or_else(|| {
        let beginning = String::from_utf8_lossy(
            body.get(..body.len().min(PRESCAN_BYTES))
                .unwrap_or_default(),
        )
        .to_ascii_lowercase();
        after(&beginning, "charset=")
    });
    let encoding = declared
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .unwrap_or(UTF_8);
    // A byte order mark overrules what is declared.
    encoding.decode(body).0.into_owned()
}

/// The word after a key, without quotes.
fn after(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(key)?;
    let rest = rest.trim_start_matches(['"', '\'', ' ']);
    let word: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
        .take(40)
        .collect();
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn answer(content_type: &str, body: &[u8]) -> HttpAnswer {
        let url = Url::parse("https://h.example/a/").unwrap();
        HttpAnswer {
            status: 200,
            url,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: body.to_vec(),
            truncated: false,
        }
    }

    #[test]
    fn an_encoding_is_taken_from_mark_header_or_markup() {
        let shown =
            |content_type: &str, body: &[u8]| output(&answer(content_type, body), 1000).body;
        assert_eq!(shown("text/plain; charset=iso-8859-1", b"caf\xe9"), "café");
        assert_eq!(shown("text/plain", "café".as_bytes()), "café");
        assert_eq!(
            shown("text/plain; charset=\"shift_jis\"", b"\x93\xfa\x96\x7b"),
            "日本"
        );
        assert_eq!(shown("text/plain", b"\xff\xfeh\0i\0"), "hi");
        let page = b"<html><head><meta charset=windows-1251></head><body><p>\xcf\xf0\xe8\xe2\xe5\xf2</p></body></html>";
        assert!(shown("text/html", page).contains("Привет"));
    }

    #[test]
    fn json_and_text_pass_as_they_are_and_binary_data_is_only_named() {
        let json = output(&answer("application/json", br#"{"a": [1, 2]}"#), 1000);
        assert_eq!(
            (json.body.as_str(), json.truncated),
            (r#"{"a": [1, 2]}"#, false)
        );
        for (kind, body) in [
            ("image/png", &b"\x89PNG"[..]),
            ("application/octet-stream", &b"a\0b"[..]),
        ] {
            assert!(
                output(&answer(kind, body), 1000)
                    .body
                    .starts_with("(binary data"),
                "{kind}"
            );
        }
    }

    #[test]
    fn text_is_cut_at_the_bound_and_text_of_exactly_that_size_is_whole() {
        let exact = output(&answer("text/plain", &[b'x'; 100]), 100);
        assert_eq!((exact.body.len(), exact.truncated), (100, false));
        let more = output(&answer("text/plain", &[b'x'; 101]), 100);
        assert_eq!(
            (more.body.len(), more.truncated, more.bytes_read),
            (100, true, 101)
        );
    }
}
