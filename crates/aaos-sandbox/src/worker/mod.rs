//! Serving calls inside the worker, once it is confined.
//!
//! There is no runtime here: threads take turns at reading the line, and whoever reads a call runs it. Nothing in this
//! module decides what is allowed; the kernel, the daemon and the egress broker hold the walls, and the powers made
//! here only spare a call the way to a refusal.
//!
//! Refuses: more calls at once than agreed, a message that makes no sense, and going on with a call that is over. Any
//! of the first two ends the worker.

mod calls;
mod capture;
mod crew;
mod exec;
mod files;
mod http;
mod inside;
mod line;
mod program;
mod walk;

use crate::{confine::Confined, protocol::frame::FrameError};
use aaos_ports::{AnyTool, LaunchError};
use std::{io, sync::Arc};

/// Why a worker does not go on serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The line broke, or what came over it is no message.
    #[error(transparent)]
    Line(#[from] FrameError),
    /// A message that is one, and cannot be meant.
    #[error("the daemon said what makes no sense: {0}")]
    Nonsense(&'static str),
    /// The file power could not be made.
    #[error(transparent)]
    Files(#[from] LaunchError),
    /// The system refused something serving needs.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

impl Confined {
    /// Answers calls with these tools until the daemon hangs up. Of two tools with one name the later is taken.
    ///
    /// # Errors
    /// The line broke, or the daemon said what makes no sense. The caller ends the process either way.
    pub fn serve(self, tools: &[Arc<dyn AnyTool>]) -> Result<(), ServeError> {
        let Self {
            line,
            policy,
            doorbell,
            proxy,
            trees,
        } = self;
        let out = line.socket().try_clone();
        let out = out.map_err(|source| ServeError::System {
            what: "taking a second handle of the line",
            source,
        })?;
        let inside = inside::Inside::new(inside::Parts {
            out,
            policy,
            doorbell,
            proxy,
            trees,
            tools,
        })?;
        crew::serve(&inside, line)
    }
}

#[cfg(test)]
mod tests;
