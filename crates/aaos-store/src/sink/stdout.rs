//! Lines of JSON on standard output, for containers and pipes.

use super::{Opened, Start, Target, lines};
use aaos_core::event::Event;
use aaos_ports::Sink;
use async_trait::async_trait;
use std::{
    io::{self, Write},
    sync::Arc,
};

/// Its name in configuration.
pub(crate) const NAME: &str = "stdout";

/// Opens it. Whoever reads standard output has seen the past already, so it starts with what happens now.
pub(crate) fn open(_target: &Target) -> io::Result<Opened> {
    Ok(Opened::forgetful(Arc::new(Stdout), Start::Now))
}

struct Stdout;

#[async_trait]
impl Sink for Stdout {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn deliver(&self, events: &[Event]) -> io::Result<()> {
        let text = lines(events)?;
        // A reader that has stopped reading must not hold up anything else.
        let written = tokio::task::spawn_blocking(move || {
            let mut out = io::stdout().lock();
            out.write_all(&text)?;
            out.flush()
        });
        written.await.map_err(io::Error::other)?
    }
}
