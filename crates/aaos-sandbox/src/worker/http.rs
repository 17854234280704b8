//! The HTTP power in a worker: each request is a fresh stream, handed to the egress broker through the doorbell.
//!
//! Nothing is judged here. The broker asks the daemon for every hop, so that each attempt, the refused ones too, is an
//! event.

use super::{calls::Ticket, line::stopped};
use crate::protocol::{
    FRAME_BYTES_MAX, Fetch, Fetched, PACKET_BYTES_MAX, Ring,
    frame::{self, FrameError, HEADER_BYTES},
    line::send,
};
use aaos_core::text;
use aaos_ports::{
    Gate, Http, PowerError,
    power::{HttpAnswer, HttpRequest},
};
use async_trait::async_trait;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::SendFlags,
};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

/// Longest wait before looking again whether the call is still wanted: short beside a person's patience, long beside
/// what looking costs.
const LOOK: Duration = Duration::from_millis(50);
/// Room in a frame for all of an answer but its body.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The HTTP power of one call.
pub(super) struct Doorbell {
    /// None if the agent holds nothing that reaches out.
    pub(super) bell: Option<Arc<OwnedFd>>,
    pub(super) ticket: Ticket,
}

#[async_trait]
impl Http for Doorbell {
    async fn send(
        &self,
        request: HttpRequest,
        _asked_by_the_broker: &dyn Gate,
    ) -> Result<HttpAnswer, PowerError> {
        let what = format!(
            "{} {}",
            text::preview(&request.method, 16),
            text::preview(request.url.as_str(), 512)
        );
        let Some(bell) = &self.bell else {
            return Err(PowerError::Denied {
                need: what,
                axis: "host".to_owned(),
                reason:
                    "this agent holds no capability that reaches out; work with what is at hand"
                        .to_owned(),
            });
        };
        let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX) - HEAD_BYTES_MAX;
        let left = self.ticket.left().min(request.deadline.as_duration());
        let fetch = Fetch {
            method: request.method,
            url: request.url.into(),
            headers: request.headers,
            body: request.body,
            bytes_max: request.bytes_max.min(limit),
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        let Fetched(fetched) = self
            .fetch(bell, &fetch)
            .map_err(|fault| fault.told(&what))?;
        let answer = fetched?;
        let url = answer.url.parse();
        let url =
            url.map_err(|error: url::ParseError| Fault::Broken(error.to_string()).told(&what))?;
        Ok(HttpAnswer {
            status: answer.status,
            url,
            content_type: answer.content_type,
            headers: answer.headers,
            body: answer.body,
            truncated: answer.truncated,
        })
    }
}

/// Why there is no answer.
enum Fault {
    /// The call is over, and nothing was handed over.
    Over,
    /// The request fits no frame.
    TooLong(usize),
    /// The system refused what a request takes; nothing was handed over.
    System(io::Error),
    /// The broker is gone, and the request with it unread: it was not handed over whole.
    Unserved,
    /// The request was handed over and no answer came, or none that makes sense.
    Broken(String),
}

impl Fault {
    fn told(self, what: &str) -> PowerError {
        let what = what.to_owned();
        match self {
            Self::Over => stopped(&what),
            Self::TooLong(limit) => PowerError::TooLarge {
                what,
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            },
            Self::System(error) => PowerError::Io {
                what,
                message: error.to_string(),
            },
            Self::Unserved => PowerError::Unserved { what },
            Self::Broken(message) => PowerError::Lost { what, message },
        }
    }
}

/// How handing a request over went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handed {
    /// All of it went; whether it was read is not known.
    Whole,
    /// The broker hung up before: either it refused, and says why, or it is gone. It acts on nothing but a whole one.
    Partly,
}

/// What an answer that does not come means. A stream that is reset was closed with some of the request unread.
/// Source: Linux, net/unix/af_unix.c, `unix_release_sock`.
fn unanswered(handed: Handed, error: &FrameError) -> Fault {
    let unread =
        matches!(error, FrameError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset);
    match handed {
        Handed::Whole if !unread => Fault::Broken(format!("no answer came: {error}")),
        Handed::Whole | Handed::Partly => Fault::Unserved,
    }
}

impl Doorbell {
    fn fetch(&self, bell: &OwnedFd, fetch: &Fetch) -> Result<Fetched, Fault> {
        let fits = |error: FrameError| match error {
            FrameError::TooLong { limit, .. } => Fault::TooLong(limit),
            other => Fault::System(io::Error::other(other)),
        };
        let frame = frame::encode(fetch, FRAME_BYTES_MAX).map_err(fits)?;
        let call = self.ticket.call;
        let ring = frame::packet(&Ring::Fetch { call }, PACKET_BYTES_MAX).map_err(fits)?;
        let (mut here, there) = UnixStream::pair().map_err(Fault::System)?;
        here.set_nonblocking(true).map_err(Fault::System)?;
        loop {
            match send(bell, &ring, Some(there.as_fd()), SendFlags::DONTWAIT) {
                Ok(_) => break,
                Err(Errno::AGAIN) => self.wait(bell, PollFlags::OUT)?,
                // Nobody holds the other end.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED) => {
                    return Err(Fault::Unserved);
                }
                Err(errno) => return Err(Fault::System(errno.into())),
            }
        }
        drop(there);
        let handed = self.write(&mut here, &frame)?;
        let answer = self.answer(&mut here);
        answer.map_err(|error| unanswered(handed, &error))
    }

    fn answer(&self, from: &mut UnixStream) -> Result<Fetched, FrameError> {
        let header = self.read(from, HEADER_BYTES)?.try_into();
        let header = header.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let length = frame::length(header, FRAME_BYTES_MAX)?;
        frame::decode(&self.read(from, length)?)
    }

    /// Hands a request over.
    fn write(&self, to: &mut UnixStream, mut bytes: &[u8]) -> Result<Handed, Fault> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(went) => bytes = bytes.get(went..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(&*to, PollFlags::OUT)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Handed::Partly),
            }
        }
        Ok(Handed::Whole)
    }

    /// Reads exactly so many bytes, growing with what comes.
    fn read(&self, from: &mut UnixStream, wanted: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            let before = bytes.len();
            bytes.resize(wanted.min(before + CHUNK_BYTES), 0);
            let came = from.read(bytes.get_mut(before..).unwrap_or_default());
            bytes.truncate(before + came.as_ref().copied().unwrap_or(0));
            match came {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = self.wait(&*from, PollFlags::IN);
                    waited.map_err(|_| io::Error::other("the call was stopped"))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// Waits until a socket is ready or the call is over.
    fn wait(&self, socket: impl AsFd, flags: PollFlags) -> Result<(), Fault> {
        loop {
            if self.ticket.is_over() {
                return Err(Fault::Over);
            }
            let pause = self.ticket.left().min(LOOK);
            let pause = Timespec::try_from(pause).ok();
            match poll(&mut [PollFd::new(&socket, flags)], pause.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(Fault::System(errno.into())),
            }
        }
    }
}
