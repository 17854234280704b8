//! One request of a tool: a frame in, a frame out, over a stream of its own.
//!
//! Refuses: a frame that is too long, comes too slowly or makes no sense. The request is dropped when the worker hangs
//! up. The stream's blocking mode is the worker's to change, so it is not relied on.

use crate::{
    daemon::FarGate,
    worker::{Worker, kib},
};
use aaos_core::{id::CallId, time::Span};
use aaos_ports::{Http, PowerError, power::HttpRequest};
use aaos_sandbox::protocol::{
    FRAME_BYTES_MAX, Fetch, Fetched, FetchedAnswer,
    frame::{self, FrameError, HEADER_BYTES},
};
use rustix::{
    fd::OwnedFd,
    net::{RecvFlags, SendFlags},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{io::Interest, net::UnixStream, time};
use url::Url;

/// Longest time a request takes to come, and an answer to be taken.
const FRAME_WITHIN: Duration = Duration::from_secs(30);
/// Longest deadline: as long as the longest tool.
const DEADLINE_MAX: Span = Span::from_secs(900);
/// Most bytes of an answer's body: a frame, and room for what stands beside it.
const BODY_BYTES_MAX: u64 = (FRAME_BYTES_MAX - 64 * 1024) as u64;
/// Bytes asked of the stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Serves one request.
pub(crate) async fn serve(worker: &Worker, call: CallId, stream: OwnedFd) {
    let Ok(line) = Line::new(stream) else { return };
    let Ok(Ok((fetch, _held))) = time::timeout(FRAME_WITHIN, line.request(worker)).await else {
        return;
    };
    let bytes_max = fetch.bytes_max.min(BODY_BYTES_MAX);
    let mut more = [0];
    let answered = tokio::select! {
        answered = answer(worker, call, fetch, bytes_max) => answered,
        // Whoever asked does not want it any longer, or sends what was not asked for.
        _ = line.read(&mut more) => return,
    };
    let frame = frame::encode(&Fetched(answered), FRAME_BYTES_MAX);
    if let Ok(frame) = frame {
        // The worker may be gone; then there is nobody to tell.
        let _ = time::timeout(FRAME_WITHIN, line.write(&frame)).await;
    }
}

async fn answer(
    worker: &Worker,
    call: CallId,
    fetch: Fetch,
    bytes_max: u64,
) -> Result<FetchedAnswer, PowerError> {
    let url = Url::parse(&fetch.url).map_err(|error| PowerError::Denied {
        need: aaos_core::text::preview(&fetch.url, 256),
        axis: "url".to_owned(),
        reason: error.to_string(),
    })?;
    let _held = worker.answers.acquire_many(kib(bytes_max)).await;
    let request = HttpRequest {
        method: fetch.method,
        url,
        headers: fetch.headers,
        body: fetch.body,
        bytes_max,
        deadline: Span::from_millis(fetch.deadline_ms).min(DEADLINE_MAX),
    };
    let gate = FarGate::new(Arc::clone(&worker.parts.daemon), worker.worker, Some(call));
    let answer = worker.parts.client.send(request, &gate).await;
    gate.settled().await;
    answer.map(|answer| FetchedAnswer {
        status: answer.status,
        url: answer.url.into(),
        content_type: answer.content_type,
        headers: answer.headers,
        body: answer.body,
        truncated: answer.truncated,
    })
}

/// The stream of one request.
struct Line {
    socket: UnixStream,
}

impl Line {
    fn new(stream: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(stream);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
        })
    }

    /// The request, and the memory it takes.
    async fn request<'a>(
        &self,
        worker: &'a Worker,
    ) -> Result<(Fetch, tokio::sync::SemaphorePermit<'a>), FrameError> {
        let mut header = [0; HEADER_BYTES];
        let mut came = 0;
        while let Some(room) = header.get_mut(came..).filter(|room| !room.is_empty()) {
            came += self.some(room).await?;
        }
        let length = frame::length(header, FRAME_BYTES_MAX)?;
        let room = kib(u64::try_from(length).unwrap_or(u64::MAX));
        let held = worker.requests.acquire_many(room).await;
        let held = held.map_err(io::Error::other)?;
        let mut body = Vec::new();
        while body.len() < length {
            let before = body.len();
            body.resize(length.min(before + CHUNK_BYTES), 0);
            let came = self
                .some(body.get_mut(before..).unwrap_or_default())
                .await?;
            body.truncate(before + came);
        }
        Ok((frame::decode(&body)?, held))
    }

    async fn some(&self, room: &mut [u8]) -> io::Result<usize> {
        match self.read(room).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            came => Ok(came),
        }
    }

    async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        self.socket
            .async_io(Interest::READABLE, || {
                let came = rustix::net::recv(&self.socket, &mut *room, RecvFlags::DONTWAIT)?;
                Ok(came.1)
            })
            .await
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while !bytes.is_empty() {
            let went = self
                .socket
                .async_io(Interest::WRITABLE, || {
                    Ok(rustix::net::send(&self.socket, bytes, flags)?)
                })
                .await?;
            bytes = bytes.get(went..).unwrap_or_default();
        }
        Ok(())
    }
}
