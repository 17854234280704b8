//! The egress broker: the only process that connects out for agents.
//!
//! It is started by the daemon with their line as its standard input, gives up everything but the network before it
//! has a second thread, and then serves workers: requests of tools, and a proxy for programs. It asks the daemon
//! before each connection. Refuses: deciding who may go where, and living on without the daemon.
#![forbid(unsafe_code)]

mod broker;
mod confine;
mod daemon;
mod fetch;
mod head;
mod proxy;
mod pump;
mod worker;

use aaos_sandbox::protocol::{EgressReport, PACKET_BYTES_MAX, frame, line};
use rustix::net::SendFlags;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

/// Threads that carry bytes. Looking names up has threads of its own.
const THREADS: usize = 2;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // There is no line to a daemon, and nobody else to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn start() -> io::Result<()> {
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let unfit = |control: OwnedFd, why: confine::Unfit| {
        let report = EgressReport::Unfit {
            missing: why.missing,
            next_step: why.next_step.to_owned(),
        };
        let packet = frame::packet(&report, PACKET_BYTES_MAX).map_err(io::Error::other)?;
        line::send(control, &packet, None, SendFlags::empty())?;
        Err(io::Error::other("unfit"))
    };
    if let Err(why) = confine::confine() {
        return unfit(control, why);
    }
    let client = match broker::client() {
        Ok(client) => client,
        Err(error) => {
            let why = confine::Unfit {
                missing: error.to_string(),
                next_step: "install the system's certificates (package `ca-certificates`)",
            };
            return unfit(control, why);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_io()
        .enable_time()
        .build()?;
    let served = runtime.block_on(broker::serve(control, client));
    // A name that is just being looked up is not waited for.
    runtime.shutdown_background();
    served
}
