//! `agentd`: the daemon and the operator's command line, in one program. It composes the rooms and decides nothing.
#![forbid(unsafe_code)]

mod authority;
mod bell;
mod cli;
mod compose;
mod config;
mod confine;
mod daemon;
mod limits;
mod report;
mod retention;
mod room;
mod rpc;
mod socket;
mod world;

fn main() -> std::process::ExitCode {
    cli::main()
}
