//! Names: looked up by the broker, and judged by where they lead.
//!
//! The broker is started in a mount namespace of its own, in which `/etc/hosts` says what the test wants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests, and a helper module that not every file uses whole"
)]

mod support;

use aaos_ports::PowerError;
use aaos_sandbox::{backend::namespaced::egress::Egress, protocol::Fetched};
use axum::{Router, routing};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};
use support::{Gates, attach, get, raw, serve};

const HOSTS: &str = "127.0.0.1 localhost home.example\n\
    10.1.2.3 inner.example\n\
    169.254.169.254 metadata.example\n\
    ::1 home6.example\n\
    ::ffff:127.0.0.1 mapped.example\n";

/// A program that starts the broker where `/etc/hosts` is this.
fn with_hosts(folder: &Path) -> Egress {
    let (hosts, program) = (folder.join("hosts"), folder.join("egress"));
    fs::write(&hosts, HOSTS).unwrap();
    fs::set_permissions(&hosts, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let own = if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-Umc --keep-caps"
    };
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin exec unshare {own} /bin/sh -c 'mount --bind {} /etc/hosts && exec {}'\n",
        hosts.display(),
        env!("CARGO_BIN_EXE_aaos-egress")
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Egress::new(program, Arc::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_is_refused_though_the_name_is_granted() {
    let base = serve(Router::new().route("/", routing::get(|| async { "here" }))).await;
    let port = url::Url::parse(&base).unwrap().port().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gates = Gates::new(|_, _| true);
    let inside = attach(&with_hosts(folder.path()), &gates).await;
    let proxy = inside.proxy();
    for name in ["home", "inner", "metadata", "home6", "mapped"] {
        let host = format!("{name}.example:{port}");
        let Fetched(refused) = inside.fetch(get(&format!("http://{host}/"))).await;
        assert!(
            matches!(&refused, Err(PowerError::Denied { axis, .. }) if axis == "address"),
            "{name}: {refused:?}"
        );
        for asked in [
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ] {
            let answer = raw(proxy, asked).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{name}: {answer}");
            assert!(answer.contains("(address)"), "{name}: {answer}");
        }
    }
    let refused = ["GET address", "GET address", "CONNECT address"].repeat(5);
    assert_eq!(gates.outcomes(), refused);
    // The control: the same server, by the one name that may lead there.
    let Fetched(here) = inside
        .fetch(get(&format!("http://localhost:{port}/")))
        .await;
    assert_eq!(here.unwrap().body, b"here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_nobody_knows_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let gates = Gates::new(|_, _| true);
    let inside = attach(&with_hosts(folder.path()), &gates).await;
    let Fetched(unknown) = inside.fetch(get("http://nobody.invalid/")).await;
    assert!(
        matches!(&unknown, Err(PowerError::Io { what, message }) if what.contains("nobody.invalid") && message.contains("cannot connect")),
        "{unknown:?}"
    );
    assert_eq!(gates.outcomes(), ["GET -"]);
}
