//! Takes workers from the daemon and serves each until it is gone.

use crate::{
    daemon::Daemon,
    worker::{self, Parts},
};
use aaos_core::time::Span;
use aaos_net::{Client, ClientError, Config};
use aaos_sandbox::protocol::{EgressOrder, EgressReport, VERSION, packets::Packets};
use std::{collections::HashMap, io, os::fd::OwnedFd, sync::Arc};
use tokio::task::{AbortHandle, JoinSet};

/// What servers see.
const USER_AGENT: &str = concat!("aaos/", env!("CARGO_PKG_VERSION"));
/// Longest time to establish a connection. Source: curl gives up after 300 s, browsers after some tens.
const CONNECT_WITHIN: Span = Span::from_secs(15);
/// Most requests of all workers in flight.
const REQUESTS_MAX: usize = 512;

/// Makes the one client that connects out.
///
/// # Errors
/// As [`Client::new`].
pub(crate) fn client() -> Result<Client, ClientError> {
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(&Config {
        user_agent: USER_AGENT.to_owned(),
        connect_timeout: CONNECT_WITHIN,
        requests_max: REQUESTS_MAX,
    })
}

/// Serves until the daemon hangs up.
///
/// # Errors
/// The line to the daemon cannot be used.
pub(crate) async fn serve(control: OwnedFd, client: Client) -> io::Result<()> {
    let line = Packets::new(control)?;
    let hello = EgressReport::Hello { version: VERSION };
    line.send(&hello, None).await.map_err(io::Error::other)?;
    let (daemon, mut queue) = Daemon::new();
    let parts = Arc::new(Parts::new(client, Arc::clone(&daemon)));
    tokio::select! {
        () = read(&line, &parts) => {}
        () = Daemon::write(&line, &mut queue) => {}
        () = daemon.lost() => {}
    }
    Ok(())
}

/// Carries out orders to their end. What was started for workers ends when this returns.
async fn read(line: &Packets, parts: &Arc<Parts>) {
    let mut serving = JoinSet::new();
    let mut workers: HashMap<u64, AbortHandle> = HashMap::new();
    let mut held = None;
    while let Ok(Some((order, descriptor))) = line.next::<EgressOrder>().await {
        while serving.try_join_next().is_some() {}
        match order {
            EgressOrder::Hold => held = descriptor.or(held),
            EgressOrder::Worker { worker } => {
                // Without a doorbell (none may be left to have) the worker hears that nobody serves it.
                let Some(doorbell) = descriptor else { continue };
                let served = worker::serve(Arc::clone(parts), worker, doorbell);
                workers.insert(worker, serving.spawn(served));
            }
            EgressOrder::Gone { worker } => {
                if let Some(served) = workers.remove(&worker) {
                    served.abort();
                }
            }
            EgressOrder::Verdict { ask, verdict } => parts.daemon.verdict(ask, verdict),
            EgressOrder::Noted { note } => parts.daemon.noted(note),
        }
    }
}
