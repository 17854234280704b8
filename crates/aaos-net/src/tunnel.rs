//! Tunnels: a bare connection to a host and port, for programs that speak to it themselves.
//!
//! The same policy as for requests: the host is judged in its normal form, the gate is asked, the name is looked up
//! once, and only an address that was checked is connected to. What goes through is not looked at.

use crate::{
    attempt::Attempt,
    client::Client,
    fault::{failed, refusal},
    policy::{self, Named, Refused},
};
use aaos_core::{capability::Need, text};
use aaos_ports::{Gate, PowerError};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time,
};
use url::{Host, Url};

/// What the gate is asked for.
const METHOD: &str = "CONNECT";

impl Client {
    /// Connects to a host and port. The gate is asked for `CONNECT` of `https://HOST:PORT/`.
    ///
    /// # Errors
    /// `Denied` by the gate or the address check, `Io` if the host cannot be looked up or connected to in time.
    pub async fn tunnel(
        &self,
        host: &str,
        port: u16,
        gate: &dyn Gate,
    ) -> Result<TcpStream, PowerError> {
        let url = address(host, port)?;
        let mut attempt = Attempt::new(gate, METHOD, &url);
        let stream = self.try_tunnel(&url, port, gate, &mut attempt).await;
        attempt.end(stream.as_ref().map(|stream| stream.peer_addr().ok()));
        stream
    }

    async fn try_tunnel(
        &self,
        url: &Url,
        port: u16,
        gate: &dyn Gate,
        attempt: &mut Attempt<'_>,
    ) -> Result<TcpStream, PowerError> {
        let denied = |refused: Refused| refusal(METHOD, url, &refused);
        let named = policy::check_url(url).map_err(denied)?;
        gate.admit(&Need::Http {
            method: METHOD.to_owned(),
            url: url.clone(),
        })
        .await?;
        attempt.admitted();
        let limit = self.connect_timeout;
        let connected = time::timeout(limit.as_duration(), connect(url, port, named)).await;
        let shown = policy::shown(url);
        match connected {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(Fault::Refused(refused))) => Err(denied(refused)),
            Ok(Err(Fault::Io(error))) => Err(failed(&shown, &format!("cannot connect: {error}"))),
            Err(_) => {
                let message = format!("cannot connect: no answer within {} ms", limit.millis());
                Err(failed(&shown, &message))
            }
        }
    }
}

/// The address a tunnel is asked for by.
fn address(host: &str, port: u16) -> Result<Url, PowerError> {
    let refused = |reason: &str| PowerError::Denied {
        need: format!("{METHOD} {}:{port}", text::preview(host, 256)),
        axis: "url".to_owned(),
        reason: reason.to_owned(),
    };
    // Anything that ends a host would make the rest of it something else.
    let ends = |c: char| c.is_control() || c.is_whitespace() || "/\\?#@".contains(c);
    if host.is_empty() || host.contains(ends) {
        return Err(refused("it is no host name or address"));
    }
    let url = Url::parse(&format!("https://{host}:{port}/"))
        .map_err(|_| refused("it is no host name or address"))?;
    if url.port_or_known_default() != Some(port) || url.path() != "/" {
        return Err(refused("it is no host name or address"));
    }
    Ok(url)
}

enum Fault {
    Refused(Refused),
    Io(io::Error),
}

/// Looks the host up, keeps what may be connected to, and tries it in order.
async fn connect(url: &Url, port: u16, named: Named) -> Result<TcpStream, Fault> {
    let literal = |address: IpAddr| vec![SocketAddr::new(address, port)];
    let addresses = match (url.host(), named) {
        (Some(Host::Ipv4(v4)), Named::Literal) => literal(v4.into()),
        (Some(Host::Ipv6(v6)), Named::Literal) => literal(v6.into()),
        (Some(Host::Domain(name)), _) => {
            let found = lookup_host((name, port)).await.map_err(Fault::Io)?;
            policy::acceptable(name, found).map_err(Fault::Refused)?
        }
        _ => return Err(Fault::Refused(Refused::Host)),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(Fault::Io(last))
}
