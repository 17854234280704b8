//! What may be asked for and where a connection may go: pure functions over URLs, addresses, headers, redirects.
//!
//! Refuses everything it does not know to be harmless: address forms that carry another address inside, user names in
//! URLs, headers that speak for the connection rather than the request.

use crate::secret;
use aaos_core::{
    capability::{Reach, is_localhost},
    text,
};
use std::net::{IpAddr, SocketAddr};
use url::{Host, Url};

/// Longest URL, in bytes. Source: what servers commonly accept (8 KiB request line).
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// Most redirects that are followed.
pub const REDIRECTS_MAX: usize = 5;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Most bytes of all headers of a request.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most addresses of one name that are looked at.
pub const ADDRESSES_MAX: usize = 32;
/// Fewest bytes of a secret's value: anything shorter is found in answers by chance.
pub const SECRET_BYTES_MIN: usize = 8;
/// Most bytes of a URL that an error shows.
const URL_BYTES_SHOWN: usize = 256;

/// Methods that may be sent. `CONNECT` and `TRACE` speak to proxies and are not among them.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Methods that only read: done twice they are as if done once. Source: RFC 9110, 9.2.1 (safe methods).
const METHODS_SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Whether a method may change something where it is sent.
#[must_use]
pub fn changes(method: &str) -> bool {
    !METHODS_SAFE.contains(&method)
}

/// Headers that belong to the connection, to authority over it, or to this room.
/// Source: RFC 9110, 7.6.1 (connection), 11.6 and 11.7 (authority); RFC 9112, 6 (framing).
const HEADERS_REFUSED: [&str; 13] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "authorization",
    "cookie",
    "accept-encoding",
    "http2-settings",
];

/// Why a request or a connection was refused before it was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither `http` nor `https`.
    #[error("the scheme `{0}` is not supported; use http or https")]
    Scheme(String),
    /// A user name or password stands in the URL.
    #[error("the URL carries a user name or password; leave it out")]
    Userinfo,
    /// The URL has no host.
    #[error("the URL names no host")]
    Host,
    /// Port 0 is no port.
    #[error("port 0 cannot be connected to")]
    Port,
    /// Too long.
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    Long,
    /// A method that is not sent.
    #[error("the method `{0}` is not sent; use one of {all}", all = METHODS.join(", "))]
    Method(String),
    /// A header that is not the caller's to set.
    #[error("the header `{0}` cannot be set")]
    Header(String),
    /// A placeholder whose secret did not come with the admission.
    #[error("no grant that admits this request names the secret `{0}`")]
    Secret(String),
    /// A secret too short to be recognised in an answer.
    #[error(
        "the secret `{0}` is shorter than {SECRET_BYTES_MIN} bytes, too short to be kept out of an answer; use a longer one"
    )]
    ShortSecret(String),
    /// A redirect that carries a secret in its target.
    #[error("the redirect leads to an address that holds a secret, and was not followed")]
    SecretInTarget,
    /// Too many headers, or too many bytes of them.
    #[error("a request has at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes together")]
    Headers,
    /// An address that is reached by no grant, or only by one that names it.
    #[error(
        "{host} leads to {address}, which is {kind}; only a grant that names a private address itself reaches it, and none reaches link-local or metadata addresses"
    )]
    Address {
        /// The host asked for.
        host: String,
        /// The address.
        address: IpAddr,
        /// What kind of address.
        kind: &'static str,
    },
    /// A redirect from a protected connection to an open one.
    #[error("the redirect from https to http was not followed")]
    Downgrade,
    /// A redirect whose target is no URL.
    #[error("the redirect leads to `{0}`, which is not a URL that can be followed")]
    Target(String),
}

/// A URL for people: scheme, host, port and path, without the query, bounded.
#[must_use]
pub fn shown(url: &Url) -> String {
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let plain = format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    );
    text::preview(&plain, URL_BYTES_SHOWN)
}

/// What the host of a URL may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A name that has to be looked up: public addresses only.
    Public,
    /// `localhost` or a name beneath it: loopback addresses only.
    Localhost,
    /// A literal address, already found acceptable.
    Literal,
}

/// Checks a URL before anyone is asked about it. A literal private address passes: the gate admits it or not. An
/// address no grant reaches does not.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &Url) -> Result<Named, Refused> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refused::Scheme(text::preview(url.scheme(), 32)));
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(Refused::Long);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Userinfo);
    }
    if url.port() == Some(0) {
        return Err(Refused::Port);
    }
    match url.host().ok_or(Refused::Host)? {
        Host::Domain(name) => Ok(named(name)),
        Host::Ipv4(address) => check_literal(url, IpAddr::V4(address)),
        Host::Ipv6(address) => check_literal(url, IpAddr::V6(address)),
    }
}

/// What a host name may lead to.
#[must_use]
pub fn named(name: &str) -> Named {
    if is_localhost(name) {
        Named::Localhost
    } else {
        Named::Public
    }
}

fn check_literal(url: &Url, address: IpAddr) -> Result<Named, Refused> {
    match kind(address) {
        Kind::Public | Kind::Private | Kind::Loopback => Ok(Named::Literal),
        Kind::Never(kind) => Err(Refused::Address {
            host: url.host_str().unwrap_or_default().to_owned(),
            address,
            kind,
        }),
    }
}

/// What kind of place an address is, to this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Loopback,
    Never(&'static str),
}

fn kind(address: IpAddr) -> Kind {
    if let Some(form) = hidden_form(address) {
        return Kind::Never(form);
    }
    match Reach::of(address) {
        Reach::Never => Kind::Never("link-local, metadata, multicast or reserved"),
        Reach::Private if address.is_loopback() => Kind::Loopback,
        Reach::Private => Kind::Private,
        Reach::Public => Kind::Public,
    }
}

/// Forms of address that hide another one or lead nowhere; nothing honest is reached only through these.
fn hidden_form(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            // RFC 5737.
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
                Some("a documentation address")
            }
            // RFC 7526: 6to4 relays.
            [192, 88, 99, _] => Some("a 6to4 relay address"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
            [0, 0, 0, 0, 0 | 0xffff, 0 | 0xffff, ..] => Some("an IPv4 address in IPv6 form"),
            [0x64, 0xff9b, ..] => Some("a NAT64 address"),
            [0x2002, ..] => Some("a 6to4 address"),
            [0x2001, 0, ..] => Some("a Teredo address"),
            // RFC 3849, RFC 9637.
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("a documentation address"),
            // RFC 7343, RFC 4843: identifiers, not places.
            [0x2001, 0x10..=0x2f, ..] => Some("an identifier, not an address"),
            _ => None,
        },
    }
}

/// The addresses of a name that may be connected to. A name that leads to public and private addresses is reached
/// only at the public ones.
///
/// # Errors
/// None of them may; the first one is named.
pub fn acceptable(
    name: &str,
    found: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Refused> {
    let wanted = named(name);
    let mut refused = None;
    let mut accepted = Vec::new();
    for socket in found.into_iter().take(ADDRESSES_MAX) {
        match (kind(socket.ip()), wanted) {
            (Kind::Public, Named::Public) | (Kind::Loopback, Named::Localhost) => {
                accepted.push(socket)
            }
            (found, _) => refused = refused.or(Some((socket.ip(), found))),
        }
    }
    match (accepted.is_empty(), refused) {
        (true, Some((address, found))) => Err(Refused::Address {
            host: text::preview(name, URL_BYTES_SHOWN),
            address,
            kind: found.word(),
        }),
        _ => Ok(accepted),
    }
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Public => "not a loopback address",
            Self::Private => "a private address",
            Self::Loopback => "a loopback address",
            Self::Never(form) => form,
        }
    }
}

/// Checks a method and the caller's headers.
///
/// # Errors
/// The first that is not sent.
pub fn check_request(method: &str, headers: &[(String, String)]) -> Result<(), Refused> {
    if !METHODS.contains(&method) {
        return Err(Refused::Method(text::preview(method, 32)));
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()))
        .sum();
    if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(Refused::Headers);
    }
    let secret = headers.iter().any(|(_, value)| secret::is_in(value));
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        // Authority is the operator's: it goes out only as a secret that a grant names.
        let own = lower == "authorization" && secret::is_in(value);
        // Parts of an answer could show a secret piece by piece, which nobody would recognise.
        let piecemeal = secret && lower == "range";
        let refused = HEADERS_REFUSED.contains(&lower.as_str()) || lower.starts_with("proxy-");
        if (refused && !own) || piecemeal {
            return Err(Refused::Header(text::preview(name, 64)));
        }
    }
    Ok(())
}

/// What is sent to a redirect's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The target.
    pub url: Url,
    /// The method.
    pub method: String,
    /// Whether the body is sent again.
    pub body: Resend,
}

/// Whether a body goes along to the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// It does.
    Body,
    /// It does not.
    Nothing,
}

/// Where a redirect leads; `None` if the answer is none.
///
/// 303 turns everything but `HEAD` into `GET`; 301 and 302 turn `POST` into `GET`, as every browser does; 307 and 308
/// change nothing (RFC 9110, 15.4).
///
/// # Errors
/// It leads to what is no URL, or from `https` to `http`.
pub fn redirect(
    status: u16,
    location: Option<&str>,
    from: &Url,
    method: &str,
) -> Result<Option<Next>, Refused> {
    let (method, body) = match (status, method) {
        (303, "HEAD") | (301 | 302, "GET" | "HEAD") => (method, Resend::Nothing),
        (303, _) | (301 | 302, "POST") => ("GET", Resend::Nothing),
        (301 | 302 | 307 | 308, _) => (method, Resend::Body),
        _ => return Ok(None),
    };
    let Some(location) = location else {
        return Ok(None);
    };
    let target = || Refused::Target(text::preview(location, URL_BYTES_SHOWN));
    if location.len() > URL_BYTES_MAX {
        return Err(target());
    }
    let url = from.join(location).map_err(|_| target())?;
    if from.scheme() == "https" && url.scheme() == "http" {
        return Err(Refused::Downgrade);
    }
    Ok(Some(Next {
        url,
        method: method.to_owned(),
        body,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn sockets(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), 80))
            .collect()
    }

    #[test]
    fn a_name_never_leads_to_an_address_that_is_not_public() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "192.88.99.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:0:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "2001:20::1",
        ] {
            let refused = acceptable("example.com", sockets(&[address]));
            assert!(
                matches!(refused, Err(Refused::Address { .. })),
                "{address}: {refused:?}"
            );
        }
        for address in [
            "8.8.8.8",
            "1.1.1.1",
            "172.32.0.1",
            "100.63.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert_eq!(
                acceptable("example.com", sockets(&[address])),
                Ok(sockets(&[address])),
                "{address}"
            );
        }
    }

    #[test]
    fn of_mixed_addresses_only_the_public_ones_are_kept() {
        let mixed = sockets(&["10.0.0.1", "8.8.8.8", "::1"]);
        assert_eq!(acceptable("example.com", mixed), Ok(sockets(&["8.8.8.8"])));
    }

    #[test]
    fn localhost_leads_to_loopback_and_nowhere_else() {
        assert_eq!(
            acceptable("localhost", sockets(&["127.0.0.1", "8.8.8.8"])),
            Ok(sockets(&["127.0.0.1"]))
        );
        assert!(acceptable("LOCALHOST.", sockets(&["10.0.0.1"])).is_err());
        assert!(acceptable("a.localhost", sockets(&["8.8.8.8"])).is_err());
        assert!(acceptable("notlocalhost", sockets(&["127.0.0.1"])).is_err());
    }

    #[test]
    fn a_url_is_checked_in_its_normal_form() {
        let check = |text: &str| check_url(&Url::parse(text).unwrap());
        assert_eq!(check("http://user@example.com/"), Err(Refused::Userinfo));
        assert_eq!(check("http://:x@example.com/"), Err(Refused::Userinfo));
        assert_eq!(check("http://example.com:0/"), Err(Refused::Port));
        assert!(matches!(
            check("ftp://example.com/"),
            Err(Refused::Scheme(_))
        ));
        assert!(matches!(
            check("file:///etc/passwd"),
            Err(Refused::Scheme(_))
        ));
        for never in [
            "http://169.254.169.254/",
            "http://2852039166/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://0251.0376.0251.0376/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://0/",
            "http://[::]/",
            "http://[64:ff9b::a9fe:a9fe]/",
        ] {
            assert!(
                matches!(check(never), Err(Refused::Address { .. })),
                "{never}"
            );
        }
        assert_eq!(check("http://127.1:80/"), Ok(Named::Literal));
        assert_eq!(check("http://LocalHost/"), Ok(Named::Localhost));
        assert_eq!(check("https://example.com/"), Ok(Named::Public));
        assert_eq!(
            check(&format!("http://h/{}", "x".repeat(URL_BYTES_MAX))),
            Err(Refused::Long)
        );
    }

    #[test]
    fn headers_of_the_connection_are_refused() {
        let with = |name: &str| check_request("GET", &[(name.to_owned(), "x".to_owned())]);
        for name in [
            "Host",
            "HOST",
            "Authorization",
            "Proxy-Authorization",
            "proxy-anything",
            "Transfer-Encoding",
            "Cookie",
        ] {
            assert!(matches!(with(name), Err(Refused::Header(_))), "{name}");
        }
        assert_eq!(with("Accept"), Ok(()));
        let bearer = ("authorization", "Bearer {{secret:token}}");
        let own = [bearer].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(check_request("GET", &own), Ok(()));
        let parts = [bearer, ("Range", "bytes=0-3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            check_request("GET", &parts),
            Err(Refused::Header("Range".to_owned()))
        );
        assert!(matches!(
            check_request("CONNECT", &[]),
            Err(Refused::Method(_))
        ));
        assert!(matches!(check_request("get", &[]), Err(Refused::Method(_))));
        let many = vec![("a".to_owned(), "b".to_owned()); HEADERS_MAX + 1];
        assert_eq!(check_request("GET", &many), Err(Refused::Headers));
    }

    #[test]
    fn a_redirect_changes_the_method_as_the_standard_says() {
        let from = Url::parse("http://h.example/a/b").unwrap();
        for (status, method, then, body) in [
            (301, "POST", "GET", Resend::Nothing),
            (302, "POST", "GET", Resend::Nothing),
            (302, "PUT", "PUT", Resend::Body),
            (303, "PUT", "GET", Resend::Nothing),
            (303, "HEAD", "HEAD", Resend::Nothing),
            (307, "POST", "POST", Resend::Body),
            (308, "DELETE", "DELETE", Resend::Body),
            (301, "GET", "GET", Resend::Nothing),
        ] {
            let next = redirect(status, Some("../c?d"), &from, method)
                .unwrap()
                .unwrap();
            assert_eq!(
                (next.url.as_str(), next.method.as_str(), next.body),
                ("http://h.example/c?d", then, body),
                "{status} {method}"
            );
        }
        for status in [200, 300, 304, 305, 404] {
            assert_eq!(redirect(status, Some("/x"), &from, "GET"), Ok(None));
        }
        assert_eq!(redirect(302, None, &from, "GET"), Ok(None));
        assert!(matches!(
            redirect(302, Some("http://["), &from, "GET"),
            Err(Refused::Target(_))
        ));
    }

    #[test]
    fn a_redirect_never_leaves_encryption() {
        let from = Url::parse("https://h.example/").unwrap();
        assert_eq!(
            redirect(302, Some("http://h.example/"), &from, "GET"),
            Err(Refused::Downgrade)
        );
    }
}
