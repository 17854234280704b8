//! HTTP scopes: which hosts a capability reaches, by which scheme, port, methods and path.
//!
//! The core resolves no names. `*` and `*.example.com` mean hosts that resolve only to public addresses; the room that
//! connects checks the address it connects to with [`Reach::of`]. A private address is reached only through a grant
//! that names that very address or `localhost`; a link-local one (cloud metadata) through none.
//!
//! A scope may name secrets that requests to it carry. It holds their names alone; values are no business of the core.

use super::{Excess, quote};
use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use url::{Host, Url};

/// Most methods in one scope.
pub const METHODS_MAX: usize = 16;
/// Longest method, in bytes; the longest registered one has 17.
/// Source: IANA, Hypertext Transfer Protocol (HTTP) Method Registry (`UPDATEREDIRECTREF`).
pub const METHOD_BYTES_MAX: usize = 17;
/// Most components of a path prefix.
pub const PATH_PREFIX_MAX: usize = 64;
/// Most secrets one scope names: a key, its identifier, and room.
pub const SECRETS_MAX: usize = 8;
/// Longest name of a secret, in bytes.
pub const SECRET_NAME_BYTES_MAX: usize = 64;
/// The method by which a client asks a proxy for a tunnel.
pub(super) const TUNNEL: &str = "CONNECT";

/// Whether a text can name a secret: a lower-case letter, then lower-case letters, digits and `_`, at most
/// [`SECRET_NAME_BYTES_MAX`] bytes.
#[must_use]
pub fn is_secret_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= SECRET_NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(inner)
}

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Out on the internet.
    Public,
    /// This machine or its own network: reached only by a grant that names it.
    Private,
    /// Link-local, unspecified, multicast or reserved: reached by no grant.
    Never,
}

impl Reach {
    /// What kind of place this address is. Addresses that carry an IPv4 address within are judged by that one.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    /// What kind of place a URL's host names, as far as its text says; a name that must be looked up counts as public.
    #[must_use]
    pub fn of_host(host: &str) -> Self {
        if is_localhost(host) {
            return Self::Private;
        }
        let bare = host.trim_end_matches('.');
        let literal = bare
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(bare);
        literal.parse().map_or(Self::Public, Self::of)
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        match (a, b, c, d) {
            (0 | 224..=255, ..) | (169, 254, ..) => Self::Never,
            // Cloud metadata outside link-local. Source: Alibaba Cloud and Oracle Cloud instance metadata pages.
            (100, 100, 100, 200) | (192, 0, 0, 192) => Self::Never,
            (10 | 127, ..) | (172, 16..=31, ..) | (192, 168, ..) => Self::Private,
            // Shared address space (RFC 6598), protocol assignments (RFC 6890), benchmarking (RFC 2544).
            (100, 64..=127, ..) | (192, 0, 0, _) | (198, 18 | 19, ..) => Self::Private,
            _ => Self::Public,
        }
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Private,
            // Mapped, compatible, translated (RFC 6145, RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address.
            [0, 0, 0, 0, 0, 0xffff, high, low]
            | [0, 0, 0, 0, 0, 0, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => Self::of_v4(v4(high, low)),
            // Local-use translation (RFC 8215): whose it is cannot be known.
            [0x64, 0xff9b, 1, ..] => Self::Private,
            // Amazon's IPv6 metadata address. Source: EC2 user guide, instance metadata.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Self::Never,
            [0xfc00..=0xfdff, ..] => Self::Private,
            // Link-local, the deprecated site-local, multicast.
            [0xfe80..=0xfeff, ..] | [0xff00..=0xffff, ..] => Self::Never,
            // Teredo (RFC 4380) hides its address; discard-only (RFC 6666) leads nowhere.
            [0x2001, 0, ..] | [0x100, 0, 0, 0, ..] => Self::Never,
            _ => Self::Public,
        }
    }
}

const fn v4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// Whether a name is kept for this machine: `localhost` or one beneath it, in any case, with a final dot or without.
/// Source: RFC 6761, section 6.3.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    let bare = name.trim_end_matches('.').to_ascii_lowercase();
    bare == "localhost" || bare.ends_with(".localhost")
}

/// Which schemes a scope reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Schemes {
    /// `http` only.
    Http,
    /// `https` only.
    Https,
    /// Both.
    Both,
}

impl Schemes {
    /// Whether this scheme, in lower case, is among them.
    #[must_use]
    pub fn includes(self, scheme: &str) -> bool {
        match scheme {
            "http" => self != Self::Https,
            "https" => self != Self::Http,
            _ => false,
        }
    }

    /// The port a URL of the one scheme means when it names none.
    pub(super) const fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Both => None,
        }
    }
}

impl fmt::Display for Schemes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Both => "http or https",
        })
    }
}

/// Which hosts a scope reaches. Texts are lower-case, in punycode, without trailing dot; IPv6 addresses in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostScope {
    /// Any host that resolves only to public addresses: `*`.
    Public,
    /// This host.
    Exact(String),
    /// Every host beneath this name, the name itself not included: `*.example.com`.
    Suffix(String),
}

/// Why a text is not a host that can be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Not a host name or address.
    #[error("`{}` is not a host name or address", quote::cut(.0))]
    Malformed(String),
    /// An address no grant reaches.
    #[error("`{}` is a link-local, unspecified, multicast or reserved address, which no grant reaches", quote::cut(.0))]
    Never(String),
}

impl HostScope {
    /// The scope of one host. The text is data: `*` in it is not a wildcard.
    ///
    /// # Errors
    /// Not a host, or an address no grant reaches.
    pub fn exact(host: &str) -> Result<Self, HostError> {
        let name = normal_host(host)?;
        if Reach::of_host(&name) == Reach::Never {
            Err(HostError::Never(name))
        } else {
            Ok(Self::Exact(name))
        }
    }

    /// The scope of every host beneath a domain name.
    ///
    /// # Errors
    /// Not a domain name.
    pub fn beneath(domain: &str) -> Result<Self, HostError> {
        match Host::parse(domain.trim_end_matches('.')) {
            Ok(Host::Domain(name)) if is_domain(&name) => Ok(Self::Suffix(name)),
            _ => Err(HostError::Malformed(domain.to_owned())),
        }
    }

    /// Whether every host `other` reaches, `self` reaches too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, Self::Public | Self::Suffix(_)) => true,
            (Self::Public | Self::Suffix(_), Self::Exact(host)) => self.reaches_name(host),
            (Self::Exact(held), Self::Exact(wanted)) => held == wanted,
            (Self::Suffix(held), Self::Suffix(wanted)) => {
                held == wanted || is_beneath(wanted, held)
            }
            (Self::Exact(_), _) | (Self::Suffix(_), Self::Public) => false,
        }
    }

    /// Whether the scope reaches a host whose text is already normal.
    fn reaches_name(&self, host: &str) -> bool {
        match (self, Reach::of_host(host)) {
            (_, Reach::Never) => false,
            (Self::Exact(held), _) => held == host,
            (_, Reach::Private) => false,
            (Self::Public, Reach::Public) => true,
            (Self::Suffix(held), Reach::Public) => is_beneath(host, held),
        }
    }

    /// Whether a host whose text is already normal is among those it names, be it public or not.
    fn names(&self, host: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Exact(own) => own == host,
            Self::Suffix(domain) => is_beneath(host, domain),
        }
    }

    /// Whether the scope may lead to private addresses: only where it names a private address or `localhost`.
    #[must_use]
    pub fn reaches_private(&self) -> bool {
        matches!(self, Self::Exact(host) if Reach::of_host(host) == Reach::Private)
    }
}

fn is_beneath(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Host names of letters, digits, `-` and `_`; the URL standard lets more through than resolvers do.
fn is_domain(name: &str) -> bool {
    let clean = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(clean)
}

fn normal_host(host: &str) -> Result<String, HostError> {
    let malformed = || HostError::Malformed(host.to_owned());
    match Host::parse(host.strip_suffix('.').unwrap_or(host)).map_err(|_| malformed())? {
        Host::Domain(name) if is_domain(&name) => Ok(name),
        Host::Domain(_) => Err(malformed()),
        Host::Ipv4(address) => Ok(address.to_string()),
        Host::Ipv6(address) => Ok(format!("[{address}]")),
    }
}

impl fmt::Display for HostScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => out.write_str("*"),
            Self::Exact(host) => out.write_str(host),
            Self::Suffix(domain) => write!(out, "*.{domain}"),
        }
    }
}

/// Which requests a capability allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpScope {
    /// Schemes.
    pub schemes: Schemes,
    /// Hosts.
    pub host: HostScope,
    /// The port; any if `None`.
    pub port: Option<u16>,
    /// Methods, in upper case.
    pub methods: BTreeSet<String>,
    /// The components a URL's path begins with, each percent-encoded in the form [`normal_segment`] gives.
    pub path_prefix: Vec<String>,
    /// Names of the secrets a request may carry, as [`is_secret_name`] has them; at most [`SECRETS_MAX`].
    pub secrets: BTreeSet<String>,
}

impl HttpScope {
    /// GET to every public host.
    #[must_use]
    pub fn public_get() -> Self {
        let methods = BTreeSet::from(["GET".to_owned()]);
        Self {
            schemes: Schemes::Both,
            host: HostScope::Public,
            port: None,
            methods,
            path_prefix: Vec::new(),
            secrets: BTreeSet::new(),
        }
    }

    /// The scope of one URL's scheme, host and port, with these methods and any path. The URL is data.
    ///
    /// # Errors
    /// The URL is not `http` or `https`, or its host cannot be granted.
    pub fn of_url(methods: BTreeSet<String>, url: &Url) -> Result<Self, HostError> {
        let schemes = match url.scheme() {
            "http" => Schemes::Http,
            "https" => Schemes::Https,
            _ => return Err(HostError::Malformed(url.to_string())),
        };
        let host = HostScope::exact(url.host_str().unwrap_or_default())?;
        Ok(Self {
            schemes,
            host,
            port: url.port_or_known_default(),
            methods,
            path_prefix: Vec::new(),
            secrets: BTreeSet::new(),
        })
    }

    /// Whether every request `other` allows, `self` allows too; the secrets they carry aside.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        self.reach_excess(other).is_none()
    }

    /// Whether a secret sent with a request stays with whom it is meant for: the scope names a host or a domain, and
    /// reaches it encrypted or on this machine's own network.
    #[must_use]
    pub fn keeps_secrets(&self) -> bool {
        self.host != HostScope::Public
            && (self.schemes == Schemes::Https || self.host.reaches_private())
    }

    /// Whether every request `other` allows, `self` allows too, with every secret `other` names.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.excess(other).is_none()
    }

    /// Whether this request is allowed, as far as its text says. Where the host's name must be looked up, the address
    /// found is judged by who connects. What goes through a tunnel (`CONNECT`) is not seen, so a scope with a path
    /// allows none.
    #[must_use]
    pub fn matches(&self, method: &str, url: &Url) -> bool {
        self.schemes.includes(url.scheme())
            && self.methods.contains(method)
            && self
                .port
                .is_none_or(|port| url.port_or_known_default() == Some(port))
            && url.host_str().is_some_and(|host| {
                self.host
                    .reaches_name(host.strip_suffix('.').unwrap_or(host))
            })
            && if method == TUNNEL {
                self.path_prefix.is_empty()
            } else {
                self.reaches_path(url)
            }
    }

    /// Whether the scope may lead to private addresses.
    #[must_use]
    pub fn reaches_private(&self) -> bool {
        self.host.reaches_private()
    }

    /// Whether this request may be one of those the scope names, for whoever asks a person about them: `*` is every host,
    /// a path is compared as a lenient server may read it, and a tunnel may carry anything to its host.
    #[must_use]
    pub fn touches(&self, method: &str, url: &Url) -> bool {
        let tunnel = method == TUNNEL;
        let port = url.port_or_known_default();
        (tunnel || self.methods.contains(method) && self.schemes.includes(url.scheme()))
            && self.port.is_none_or(|own| port == Some(own))
            && url
                .host_str()
                .is_none_or(|host| self.host.names(host.strip_suffix('.').unwrap_or(host)))
            && (tunnel || self.touches_path(url))
    }

    fn touches_path(&self, url: &Url) -> bool {
        let segments = url.path_segments().into_iter().flatten();
        let Some(normal) = segments.map(normal_segment).collect::<Option<Vec<_>>>() else {
            // What decodes to a slash or to dots may lead anywhere.
            return true;
        };
        let lenient = |segment: &String| {
            let bare = segment.split("%3B").next().unwrap_or_default();
            Some(bare.to_ascii_lowercase()).filter(|bare| !bare.is_empty())
        };
        let mut wanted = normal.iter().filter_map(lenient);
        let mut own = self.path_prefix.iter().filter_map(lenient);
        own.all(|own| wanted.next() == Some(own))
    }

    fn reaches_path(&self, url: &Url) -> bool {
        if self.path_prefix.is_empty() {
            return true;
        }
        // A component that decodes to a slash or to dots may be read by the server as a way out of the prefix.
        let Some(segments) = url.path_segments() else {
            return false;
        };
        let mut normal = segments.map(normal_segment);
        let begins = self
            .path_prefix
            .iter()
            .all(|held| normal.next().flatten().as_ref() == Some(held));
        begins && normal.all(|segment| segment.is_some())
    }

    pub(super) fn excess(&self, wanted: &Self) -> Option<Excess> {
        self.reach_excess(wanted).or_else(|| {
            (!self.secrets.is_superset(&wanted.secrets)).then(|| Excess::Secrets {
                held: secrets_text(&self.secrets),
                wanted: secrets_text(&wanted.secrets),
            })
        })
    }

    fn reach_excess(&self, wanted: &Self) -> Option<Excess> {
        let scheme = self.schemes == wanted.schemes || self.schemes == Schemes::Both;
        if !scheme {
            return Some(Excess::Scheme {
                held: self.schemes.to_string(),
                wanted: wanted.schemes.to_string(),
            });
        }
        if !self.host.covers(&wanted.host) {
            return Some(Excess::Host {
                held: self.host.to_string(),
                wanted: wanted.host.to_string(),
            });
        }
        if self.port.is_some() && self.port != wanted.port {
            return Some(Excess::Port {
                held: port_text(self.port),
                wanted: port_text(wanted.port),
            });
        }
        if !self.methods.is_superset(&wanted.methods) {
            return Some(Excess::Method {
                held: joined(&self.methods),
                wanted: joined(&wanted.methods),
            });
        }
        let begins = wanted.path_prefix.starts_with(&self.path_prefix);
        (!begins).then(|| Excess::PathPrefix {
            held: path_text(&self.path_prefix),
            wanted: path_text(&wanted.path_prefix),
        })
    }
}

fn port_text(port: Option<u16>) -> String {
    port.map_or_else(|| "any port".to_owned(), |port| port.to_string())
}

fn joined(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

fn secrets_text(secrets: &BTreeSet<String>) -> String {
    if secrets.is_empty() {
        return "no secrets".to_owned();
    }
    format!("the secrets [{}]", joined(secrets))
}

fn path_text(prefix: &[String]) -> String {
    format!("/{}", prefix.join("/"))
}

/// One component of a URL's path in the one encoding that is compared: decoded, then everything but unreserved
/// characters encoded. `None` if it decodes to a slash, backslash, NUL or to dots alone.
#[must_use]
pub fn normal_segment(segment: &str) -> Option<String> {
    let decoded = decode(segment.as_bytes());
    let hides = decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
        || matches!(decoded.as_slice(), b"." | b"..");
    if hides {
        return None;
    }
    let mut normal = String::with_capacity(segment.len());
    for byte in decoded {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(normal)
}

fn decode(encoded: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(byte) = encoded.get(at) {
        let value = digit(encoded.get(at + 1)).zip(digit(encoded.get(at + 2)));
        match (
            byte,
            value.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
        ) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

impl fmt::Display for HttpScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ", joined(&self.methods))?;
        match self.schemes {
            Schemes::Both => {}
            only => write!(out, "{only}://")?,
        }
        write!(out, "{}", self.host)?;
        match self.port {
            port if port == self.schemes.default_port() => {}
            Some(port) => write!(out, ":{port}")?,
            None => out.write_str(":*")?,
        }
        for segment in &self.path_prefix {
            write!(out, "/{segment}")?;
        }
        if let (Some(only), 1) = (self.secrets.first(), self.secrets.len()) {
            return write!(out, " using {only}");
        }
        if !self.secrets.is_empty() {
            out.write_str(" using [")?;
            quote::write_list(out, &self.secrets, |out, name| out.write_str(name))?;
            out.write_str("]")?;
        }
        Ok(())
    }
}

super::text_form!(HttpScope, super::grammar::parse_http);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn allows(scope: &str, method: &str, url: &str) -> bool {
        scope
            .parse::<HttpScope>()
            .unwrap()
            .matches(method, &Url::parse(url).unwrap())
    }

    #[test]
    fn a_host_is_what_its_text_says_and_a_name_to_look_up_is_out_on_the_internet() {
        for (host, reach) in [
            ("localhost", Reach::Private),
            ("LocalHost.", Reach::Private),
            ("models.localhost", Reach::Private),
            ("127.0.0.1", Reach::Private),
            ("10.0.0.1.", Reach::Private),
            ("172.31.255.255", Reach::Private),
            ("172.32.0.0", Reach::Public),
            ("100.63.255.255", Reach::Public),
            ("100.64.0.0", Reach::Private),
            ("100.127.255.255", Reach::Private),
            ("100.128.0.0", Reach::Public),
            ("[::1]", Reach::Private),
            ("[fc00::1]", Reach::Private),
            ("[fdff::1]", Reach::Private),
            ("fc00::1", Reach::Private),
            ("[::ffff:10.0.0.1]", Reach::Private),
            ("[::ffff:8.8.8.8]", Reach::Public),
            ("[2606:4700::1]", Reach::Public),
            ("[fe80::1]", Reach::Never),
            ("169.254.1.1", Reach::Never),
            ("0.0.0.0", Reach::Never),
            ("[::]", Reach::Never),
            ("notlocalhost", Reach::Public),
            ("localhost.example.com", Reach::Public),
            ("10.example.com", Reach::Public),
            ("", Reach::Public),
        ] {
            assert_eq!(Reach::of_host(host), reach, "{host}");
        }
    }

    #[test]
    fn public_means_no_private_address_in_any_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::a00:1]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://10.1.2.3/",
            "http://192.168.0.1/",
            "http://169.254.169.254/",
            "http://0.0.0.0/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
            "http://[2002:7f00:1::]/",
        ] {
            assert!(!allows("GET *", "GET", url), "{url}");
        }
        assert!(
            allows("GET *", "GET", "https://example.com:8443/x?y")
                && allows("GET *", "GET", "http://8.8.8.8/")
        );
    }

    #[test]
    fn a_private_host_is_reached_only_by_its_own_name() {
        assert!(allows(
            "GET http://127.0.0.1:8000",
            "GET",
            "http://127.1:8000/x"
        ));
        assert!(!allows(
            "GET http://127.0.0.1:8000",
            "GET",
            "http://127.0.0.1:8001/"
        ));
        assert!(!allows("GET http://127.0.0.1", "GET", "http://localhost/"));
        assert!(allows("GET localhost", "GET", "http://localhost:9/"));
        assert!(
            "GET localhost"
                .parse::<HttpScope>()
                .unwrap()
                .reaches_private()
        );
        assert!(
            !"GET example.com"
                .parse::<HttpScope>()
                .unwrap()
                .reaches_private()
        );
    }

    #[test]
    fn a_link_local_address_cannot_be_granted() {
        assert_eq!(
            HostScope::exact("169.254.169.254"),
            Err(HostError::Never("169.254.169.254".to_owned()))
        );
        assert!(!HostScope::Exact("169.254.169.254".to_owned()).reaches_name("169.254.169.254"));
    }

    #[test]
    fn a_suffix_reaches_what_is_beneath_and_not_the_name_itself() {
        assert!(allows(
            "GET *.example.com",
            "GET",
            "https://a.b.example.com/"
        ));
        for url in [
            "https://example.com/",
            "https://evilexample.com/",
            "https://example.com.evil.org/",
        ] {
            assert!(!allows("GET *.example.com", "GET", url), "{url}");
        }
    }

    #[test]
    fn a_path_prefix_is_left_by_no_spelling() {
        let scope = "GET https://h.example/v1/a";
        for url in [
            "https://h.example/v1/a",
            "https://h.example/v1/a/b?q=../x",
            "https://h.example/v1/%61/b",
        ] {
            assert!(allows(scope, "GET", url), "{url}");
        }
        for url in [
            "https://h.example/v1/ab",
            "https://h.example/v1",
            "https://h.example/v1/a/../b",
            "https://h.example/v1/a/%2e%2e/b",
            "https://h.example/v1/a/..%2Fb",
            "https://h.example/v1/a/%5c..",
            "https://h.example/v1%2Fa",
        ] {
            assert!(!allows(scope, "GET", url), "{url}");
        }
    }

    #[test]
    fn a_tunnel_needs_its_method_and_no_path() {
        let open = |scope| allows(scope, "CONNECT", "https://h.example:443/");
        assert!(open("CONNECT https://h.example") && open("GET,CONNECT h.example"));
        assert!(!open("GET https://h.example") && !open("CONNECT http://h.example:443"));
        assert!(!open("CONNECT https://h.example/v1"));
        assert!(!allows(
            "CONNECT https://h.example/v1",
            "CONNECT",
            "https://h.example/v1/x"
        ));
        assert!(!open("CONNECT https://h.example:8443"));
    }

    #[test]
    fn methods_and_schemes_are_held_to() {
        assert!(!allows(
            "GET,HEAD https://h.example",
            "POST",
            "https://h.example/"
        ));
        assert!(!allows("GET https://h.example", "GET", "http://h.example/"));
        assert!(
            allows("GET h.example", "GET", "http://h.example/")
                && allows("GET https://h.example:*", "GET", "https://h.example:9/")
        );
    }
}
