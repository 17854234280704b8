//! What the tests of the HTTP power have in common: a client, a server on loopback, a request.

use aaos_core::time::Span;
use aaos_net::{Client, Config};
use aaos_ports::power::HttpRequest;
use axum::Router;
use tokio::net::TcpListener;
use url::Url;

pub(crate) fn client() -> Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let config = Config {
        user_agent: "aaos-test".into(),
        connect_timeout: Span::from_secs(2),
        requests_max: 8,
    };
    Client::new(&config).unwrap()
}

/// A GET whose answer may have so many bytes.
pub(crate) fn request(url: &str, bytes_max: u64) -> HttpRequest {
    HttpRequest {
        method: "GET".into(),
        url: Url::parse(url).unwrap(),
        headers: Vec::new(),
        body: Vec::new(),
        bytes_max,
        deadline: Span::from_secs(5),
    }
}

/// Where a server with these routes answers.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}
