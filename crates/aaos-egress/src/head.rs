//! Heads of proxy requests: read within bounds and judged byte by byte before any library looks at them.
//!
//! Refuses everything two readers could understand differently: other versions, folded lines, bare line ends, control
//! bytes, two lengths, a `Host` that is not the target's.

use rustix::io::Errno;
use std::io;
use tokio::{io::AsyncReadExt, net::TcpStream};
use url::Url;

/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// Longest body, in bytes.
pub(crate) const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

/// Why a request is not served, in words for whoever wrote the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) &'static str);

/// What is asked of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A tunnel to this host and port.
    Tunnel {
        /// As it was written.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A request of this URL, with as many bytes of body at most.
    Request {
        /// Where to.
        url: Url,
        /// The announced length, or the bound if none was.
        body_bytes_max: u64,
    },
}

/// Reads a head and whatever came behind it; none if the other end closes before it says anything.
///
/// # Errors
/// It is too long, or the connection broke.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut held = Vec::with_capacity(1024);
    loop {
        if let Some(end) = held.windows(END.len()).position(|bytes| bytes == END) {
            let rest = held.split_off(end + END.len());
            return Ok(Some((held, rest)));
        }
        if held.len() >= HEAD_BYTES_MAX {
            return Err(Errno::MSGSIZE.into());
        }
        let room = HEAD_BYTES_MAX - held.len();
        let came = (&mut *stream)
            .take(u64::try_from(room).unwrap_or(0))
            .read_buf(&mut held)
            .await?;
        match (came, held.is_empty()) {
            (0, true) => return Ok(None),
            (0, false) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// The first two words of a head, for the journal; bounded and without a query.
pub(crate) fn first_words(head: &[u8]) -> (String, String) {
    let line = head.split(|byte| *byte == b'\r' || *byte == b'\n').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let target = target.split(['?', '#']).next().unwrap_or_default();
    (
        aaos_core::text::preview(method, 16),
        aaos_core::text::preview(target, 256),
    )
}

/// Judges a head.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(head: &[u8]) -> Result<Asked, Bad> {
    let text = head
        .strip_suffix(END)
        .and_then(|head| std::str::from_utf8(head).ok())
        .ok_or(Bad("the head is no text"))?;
    let mut lines = text.split("\r\n");
    let request = lines.next().unwrap_or_default();
    let plain = |line: &str| line.bytes().all(|c| matches!(c, b'\t' | 0x20..=0x7e));
    if !plain(request) {
        return Err(Bad("the request line holds a byte that has no place there"));
    }
    let mut words = request.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Bad("the request line is not `METHOD TARGET HTTP/1.1`"));
    };
    if method.is_empty() || !method.bytes().all(|c| c.is_ascii_uppercase()) {
        return Err(Bad("the method is not in capital letters"));
    }
    let mut fields = Fields::default();
    for line in lines {
        if !plain(line) {
            return Err(Bad("a header holds a byte that has no place there"));
        }
        fields.take(line)?;
    }
    let host = fields.host.ok_or(Bad("there is no Host header"))?;
    if method == "CONNECT" {
        if fields.length.is_some() || fields.chunked {
            return Err(Bad("CONNECT has no body"));
        }
        return tunnel(target, host);
    }
    let body_bytes_max = match (fields.length, fields.chunked) {
        (Some(_), true) => {
            return Err(Bad("Content-Length and Transfer-Encoding stand together"));
        }
        (Some(length), false) => length,
        (None, true) => BODY_BYTES_MAX,
        (None, false) => 0,
    };
    if body_bytes_max > BODY_BYTES_MAX {
        return Err(Bad("the body is longer than 16 MiB"));
    }
    Ok(Asked::Request {
        url: absolute(target, host)?,
        body_bytes_max,
    })
}

/// The headers that decide how the rest is read.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a str>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a str) -> Result<(), Bad> {
        self.count += 1;
        if self.count > HEADERS_MAX {
            return Err(Bad("there are more than 64 headers"));
        }
        let (name, value) = line.split_once(':').ok_or(Bad("a header has no colon"))?;
        // A name that begins with a space is a folded line, one that ends with a space hides another name.
        let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(Bad("a header's name is no name, or a line is folded"));
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" if self.host.is_some() => Err(Bad("there are two Host headers")),
            "host" => {
                self.host = Some(value);
                Ok(())
            }
            "content-length" => self.take_length(value),
            "transfer-encoding" if self.chunked => Err(Bad("there are two Transfer-Encodings")),
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                self.chunked = true;
                Ok(())
            }
            "transfer-encoding" => Err(Bad("the only Transfer-Encoding is chunked")),
            _ => Ok(()),
        }
    }

    fn take_length(&mut self, value: &str) -> Result<(), Bad> {
        if self.length.is_some() {
            return Err(Bad("there are two Content-Lengths"));
        }
        let digits = !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit());
        let length = value.parse().ok().filter(|_| digits);
        self.length = Some(length.ok_or(Bad("Content-Length is no number"))?);
        Ok(())
    }
}

/// The target of a tunnel: `HOST:PORT`, and the same again as `Host`.
fn tunnel(target: &str, host: &str) -> Result<Asked, Bad> {
    const FORM: Bad = Bad("the target of CONNECT is not `HOST:PORT`");
    if !target.eq_ignore_ascii_case(host) {
        return Err(Bad("the Host header is not the target"));
    }
    let (name, port) = target.rsplit_once(':').ok_or(FORM)?;
    let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or(FORM)?;
    if !is_host(name) {
        return Err(FORM);
    }
    Ok(Asked::Tunnel {
        host: name.to_owned(),
        port,
    })
}

/// Whether a text has only what host names and addresses are written with; what it means is judged elsewhere.
fn is_host(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._[]:".contains(&c);
    !text.is_empty() && text.bytes().all(plain)
}

/// The target of a request: a whole `http` URL whose host is that of the `Host` header.
fn absolute(target: &str, host: &str) -> Result<Url, Bad> {
    let scheme = target.get(..7).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("http://") {
        return Err(Bad(
            "the target is not a whole URL beginning with `http://`; for https open a tunnel with CONNECT",
        ));
    }
    // The URL parser would read these as something else than a server does.
    if target.contains(['\\', '#', '\t', '"', '<', '>', '^', '`', '{', '|', '}']) {
        return Err(Bad(
            "the target holds a character that has no place in a URL",
        ));
    }
    let rest = target.get(7..).unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if !is_host(authority) || !is_host(host) {
        return Err(Bad("the target's host is no host, or names a user"));
    }
    let url = Url::parse(target).map_err(|_| Bad("the target is no URL"))?;
    let named = Url::parse(&format!("http://{host}/")).map_err(|_| Bad("Host is no host"))?;
    if named.host() != url.host() || named.port() != url.port() {
        return Err(Bad("the Host header is not the target's host"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Result<Asked, Bad> {
        parse(head.as_bytes())
    }

    #[test]
    fn a_plain_request_and_a_tunnel_are_understood() {
        let got = judged("GET http://Example.com/a?b HTTP/1.1\r\nHost: example.com:80\r\n\r\n");
        let url = Url::parse("http://example.com/a?b").unwrap();
        let body_bytes_max = 0;
        assert_eq!(
            got,
            Ok(Asked::Request {
                url,
                body_bytes_max
            })
        );
        let got = judged("CONNECT a.example:443 HTTP/1.1\r\nHost: A.example:443\r\n\r\n");
        let host = "a.example".to_owned();
        assert_eq!(got, Ok(Asked::Tunnel { host, port: 443 }));
        let got = judged("CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n");
        let host = "[::1]".to_owned();
        assert_eq!(got, Ok(Asked::Tunnel { host, port: 8443 }));
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        let get = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n";
        for (head, why) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "whole URL"),
            ("GET //a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "whole URL"),
            ("GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "CONNECT"),
            ("GET http://a.example/ HTTP/1.0\r\nHost: a.example\r\n\r\n".to_owned(), "HTTP/1.1"),
            ("GET http://a.example/ HTTP/1.1 x\r\nHost: a.example\r\n\r\n".to_owned(), "HTTP/1.1"),
            ("GET  http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "HTTP/1.1"),
            ("get http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "capital"),
            ("GET http://a.example/ HTTP/1.1\r\n\r\n".to_owned(), "no Host"),
            ("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n".to_owned(), "not the target"),
            ("GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n".to_owned(), "not the target"),
            ("GET http://x@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "user"),
            ("GET http://@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "user"),
            ("GET http://a.example\\@b/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "character"),
            ("GET http://a.example/#f HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "character"),
            ("GET http:/a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "whole URL"),
            ("GET http:///a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "no host"),
            (format!("{get}Host: a.example\r\n\r\n"), "two Host"),
            (format!("{get}X: a\r\n b\r\n\r\n"), "no colon"),
            (format!("{get} X: a\r\n\r\n"), "folded"),
            (format!("{get}X : a\r\n\r\n"), "folded"),
            (format!("{get}X: a\nY: b\r\n\r\n"), "no place"),
            (format!("{get}X: a\rY: b\r\n\r\n"), "no place"),
            (format!("{get}X: a\0\r\n\r\n"), "no place"),
            (format!("{get}X: \u{7f}\r\n\r\n"), "no place"),
            (format!("{get}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "together"),
            (format!("{get}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), "together"),
            (format!("{get}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), "two Content"),
            (format!("{get}Content-Length: 1, 1\r\n\r\n"), "no number"),
            (format!("{get}Content-Length: +1\r\n\r\n"), "no number"),
            (format!("{get}Content-Length:\r\n\r\n"), "no number"),
            (format!("{get}Content-Length: 99999999\r\n\r\n"), "16 MiB"),
            (format!("{get}Transfer-Encoding: gzip, chunked\r\n\r\n"), "only"),
            (format!("{get}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), "two Transfer"),
            (format!("{get}{}\r\n", "X: a\r\n".repeat(64)), "64"),
            ("CONNECT a.example HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "HOST:PORT"),
            ("CONNECT a.example:https HTTP/1.1\r\nHost: a.example:https\r\n\r\n".to_owned(), "HOST:PORT"),
            ("CONNECT a.example:+443 HTTP/1.1\r\nHost: a.example:+443\r\n\r\n".to_owned(), "HOST:PORT"),
            ("CONNECT a.example:99999 HTTP/1.1\r\nHost: a.example:99999\r\n\r\n".to_owned(), "HOST:PORT"),
            ("CONNECT x@a.example:443 HTTP/1.1\r\nHost: x@a.example:443\r\n\r\n".to_owned(), "HOST:PORT"),
            ("CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n".to_owned(), "not the target"),
            ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 0\r\n\r\n".to_owned(), "no body"),
        ] {
            let refused = judged(&head);
            assert!(
                matches!(refused, Err(Bad(text)) if text.contains(why)),
                "{head:?}: {refused:?}"
            );
        }
    }
}
