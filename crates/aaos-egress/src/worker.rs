//! One worker: its doorbell, and what it has under way, within limits of its own.
//!
//! Refuses: anything on the doorbell that is not what the protocol says. A worker is hostile; its descriptors are
//! looked at before they are used, and nothing it does can keep another worker waiting.

use crate::{daemon::Daemon, fetch, proxy};
use aaos_net::Client;
use aaos_sandbox::protocol::{Ring, packets::Packets};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::{os::fd::OwnedFd, sync::Arc};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

/// Most fetches of one worker at once. More wait at its doorbell.
const FETCHES_MAX: usize = 16;
/// Most connections of one worker's programs at once.
const CONNECTIONS_MAX: usize = 64;
/// Most connections of all programs at once: two descriptors each, of the process's 4096.
const CONNECTIONS_ALL_MAX: usize = 512;
/// Kibibytes of requests, and of answers, held for one worker at once.
const HELD_KIB_MAX: usize = 64 * 1024;

/// What serving any worker takes.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) connections: Arc<Semaphore>,
}

impl Parts {
    pub(crate) fn new(client: Client, daemon: Arc<Daemon>) -> Self {
        Self {
            client,
            daemon,
            connections: Arc::new(Semaphore::new(CONNECTIONS_ALL_MAX)),
        }
    }
}

/// One worker and its share.
pub(crate) struct Worker {
    pub(crate) parts: Arc<Parts>,
    pub(crate) worker: u64,
    /// Connections of its programs.
    pub(crate) connections: Arc<Semaphore>,
    /// Memory for requests, in KiB.
    pub(crate) requests: Semaphore,
    /// Memory for answers, in KiB. Apart from the former, so that what holds a request can always wait for this.
    pub(crate) answers: Semaphore,
}

/// How many permits of a [`Worker`]'s memory so many bytes take.
pub(crate) fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Serves one worker until it hangs up or makes no sense. What it has under way ends with this.
pub(crate) async fn serve(parts: Arc<Parts>, worker: u64, doorbell: OwnedFd) {
    let Ok(line) = Packets::new(doorbell) else {
        return;
    };
    let worker = Arc::new(Worker {
        parts,
        worker,
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        requests: Semaphore::new(HELD_KIB_MAX),
        answers: Semaphore::new(HELD_KIB_MAX),
    });
    let fetches = Arc::new(Semaphore::new(FETCHES_MAX));
    let mut under_way = JoinSet::new();
    let mut proxy = None;
    while let Ok(turn) = Arc::clone(&fetches).acquire_owned().await {
        let Ok(Some((ring, Some(descriptor)))) = line.next::<Ring>().await else {
            return;
        };
        while under_way.try_join_next().is_some() {}
        match ring {
            Ring::Fetch { call } if is_stream(&descriptor) => {
                let worker = Arc::clone(&worker);
                under_way.spawn(async move {
                    fetch::serve(&worker, call, descriptor).await;
                    drop(turn);
                });
            }
            Ring::Proxy if proxy.is_none() => {
                let Some(listener) = listener(descriptor) else {
                    return;
                };
                proxy = Some(under_way.spawn(proxy::serve(Arc::clone(&worker), listener)));
            }
            _ => return,
        }
    }
}

fn is_stream(descriptor: &OwnedFd) -> bool {
    sockopt::socket_domain(descriptor) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(descriptor) == Ok(SocketType::STREAM)
}

/// The listening socket in the worker's own network. It comes before the worker has run anything for an agent.
fn listener(descriptor: OwnedFd) -> Option<TcpListener> {
    let internet = matches!(
        sockopt::socket_domain(&descriptor),
        Ok(AddressFamily::INET | AddressFamily::INET6)
    );
    if !internet
        || sockopt::socket_type(&descriptor) != Ok(SocketType::STREAM)
        || sockopt::socket_acceptconn(&descriptor) != Ok(true)
    {
        return None;
    }
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true).ok()?;
    TcpListener::from_std(listener).ok()
}
