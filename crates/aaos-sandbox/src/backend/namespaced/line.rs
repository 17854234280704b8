//! The daemon's end of a worker's line: what comes in, and what waits to go out.
//!
//! Refuses: descriptors, which the kernel closes because nobody here asks for them, and frames beyond the bound.

use super::limits::CHUNK_BYTES;
use crate::protocol::{
    FRAME_BYTES_MAX,
    frame::{self, FrameError, HEADER_BYTES},
    line,
};
use rustix::{
    fd::{AsFd, OwnedFd},
    net::SendFlags,
};
use serde::de::DeserializeOwned;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::{io::Interest, net::UnixStream};

/// What came and was not taken.
#[derive(Debug, Default)]
pub(super) struct Inbox(Vec<u8>);

impl Inbox {
    /// The next whole frame that is here.
    pub(super) fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.0.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let end = HEADER_BYTES + frame::length(*header, FRAME_BYTES_MAX)?;
        let Some(body) = self.0.get(HEADER_BYTES..end) else {
            return Ok(None);
        };
        let value = frame::decode(body)?;
        self.0.drain(..end);
        if self.0.is_empty() {
            self.0.shrink_to(CHUNK_BYTES);
        }
        Ok(Some(value))
    }

    /// Takes off the line what is there; false at its end.
    pub(super) fn fill(&mut self, line: &UnixStream) -> io::Result<bool> {
        self.0.reserve(CHUNK_BYTES);
        match line.try_read_buf(&mut self.0) {
            Ok(came) => Ok(came > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next frame; none if the line ended between two.
    pub(super) async fn next<T: DeserializeOwned>(
        &mut self,
        line: &UnixStream,
    ) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(value) = self.take()? {
                return Ok(Some(value));
            }
            line.readable().await?;
            if !self.fill(line)? {
                return match self.0.is_empty() {
                    true => Ok(None),
                    false => Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        }
    }
}

/// What waits to go out. What the line takes at once goes at once, from whoever sends it.
#[derive(Debug)]
pub(super) struct Outbox {
    line: Arc<UnixStream>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// When the line last took something, or the first of these was put here.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<OwnedFd>,
}

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Out, all of it.
    Out,
    /// Some of it waits.
    Waits,
    /// The line is broken, and nobody has the whole of it or ever will.
    Nowhere,
}

/// The line broke.
struct Broken;

/// What is waiting in an outbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// In bytes.
    pub(super) bytes: usize,
    /// When the line last took something; none if nothing waits.
    pub(super) since: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(line: Arc<UnixStream>) -> Self {
        Self {
            line,
            queue: Mutex::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a whole frame, with a descriptor if there is one. A line that broke is seen by whoever reads it.
    pub(super) fn push(&self, bytes: Vec<u8>, descriptor: Option<OwnedFd>) -> Pushed {
        let mut queue = self.queue();
        queue.frames.push_back(Frame {
            bytes,
            sent: 0,
            descriptor,
        });
        if queue.frames.len() > 1 {
            return Pushed::Waits;
        }
        queue.since = Some(Instant::now());
        match queue.flush(&self.line) {
            Err(Broken) => Pushed::Nowhere,
            Ok(()) if queue.frames.is_empty() => Pushed::Out,
            Ok(()) => Pushed::Waits,
        }
    }

    /// Sends what the line takes now.
    pub(super) fn flush(&self) {
        // The reading side sees the same end and says so.
        let _ = self.queue().flush(&self.line);
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Waiting {
        let queue = self.queue();
        Waiting {
            bytes: queue.frames.iter().map(Frame::left).sum(),
            since: queue.since,
        }
    }

    /// The line.
    pub(super) const fn line(&self) -> &Arc<UnixStream> {
        &self.line
    }
}

impl Queue {
    fn flush(&mut self, line: &UnixStream) -> Result<(), Broken> {
        while let Some(first) = self.frames.front_mut() {
            match first.send(line) {
                Ok(0) => return Ok(()),
                Ok(_) => self.since = Some(Instant::now()),
                Err(_) => {
                    // Nobody will read the rest.
                    self.clear();
                    return Err(Broken);
                }
            }
            if first.left() == 0 {
                self.frames.pop_front();
            }
        }
        self.since = None;
        Ok(())
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.since = None;
    }
}

impl Frame {
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Sends what the line takes; 0 if it takes nothing now.
    fn send(&mut self, line: &UnixStream) -> io::Result<usize> {
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        let descriptor = self.descriptor.as_ref().map(AsFd::as_fd);
        let went = line.try_io(Interest::WRITABLE, || {
            Ok(line::send(line, rest, descriptor, SendFlags::DONTWAIT)?)
        });
        match went {
            Ok(went) => {
                self.sent += went;
                self.descriptor = None;
                Ok(went)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Sends everything that waits, before there is anyone else to do so.
///
/// # Errors
/// The line broke.
pub(super) async fn drain(outbox: &Outbox) -> io::Result<()> {
    while outbox.waiting().bytes > 0 {
        outbox.line().writable().await?;
        outbox.flush();
    }
    Ok(())
}
