//! Sockets that carry descriptors beside bytes: packets, and streams of frames. Blocking unless told otherwise.

use super::frame::{self, FrameError, HEADER_BYTES};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::de::DeserializeOwned;
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
};

/// Most descriptors of one message; the lines use one.
const DESCRIPTORS_MAX: usize = 2;
/// Most bytes asked of a stream at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes asked of a stream at once while nothing says that more come: most messages, whole. An idle worker keeps no
/// more than this.
const FIRST_BYTES: usize = 4 * 1024;

/// Sends bytes with at most one descriptor, in one call; answers with how many went.
///
/// # Errors
/// The system's, `WouldBlock` among them if `flags` ask for it.
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let one = descriptor.map(|one| [one]);
    if let Some(one) = &one {
        control.push(SendAncillaryMessage::ScmRights(one));
    }
    let flags = flags | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Receives bytes into `buffer` and the descriptors that came with them, which close when a program is executed.
/// Answers with how many bytes came; zero at the end of the line.
///
/// # Errors
/// The system's, `WouldBlock` among them if `flags` ask for it.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
    flags: RecvFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let came = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            descriptors.extend(found);
        }
    }
    Ok(came.bytes)
}

/// Sends all bytes over a stream; the descriptor goes with the first of them.
///
/// # Errors
/// The line broke.
pub fn send_all(
    socket: impl AsFd,
    mut bytes: &[u8],
    mut descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let went = send(&socket, bytes, descriptor.take(), SendFlags::empty())?;
        bytes = bytes.get(went..).unwrap_or_default();
    }
    Ok(())
}

/// Takes frames, and the descriptors that come with them, off a stream. Blocks.
pub struct Frames<S> {
    socket: S,
    limit: usize,
    held: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl<S: AsFd> Frames<S> {
    /// Reads from a stream; no frame is longer than `limit`.
    pub const fn new(socket: S, limit: usize) -> Self {
        Self {
            socket,
            limit,
            held: Vec::new(),
            descriptors: VecDeque::new(),
        }
    }

    /// The next frame; none if the line ended between two.
    ///
    /// # Errors
    /// It is too long or makes no sense, or the line broke.
    pub fn take_next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let mut wanted = FIRST_BYTES;
        loop {
            if let Some(header) = self.held.first_chunk::<HEADER_BYTES>() {
                let end = HEADER_BYTES + frame::length(*header, self.limit)?;
                if let Some(body) = self.held.get(HEADER_BYTES..end) {
                    let value = frame::decode(body)?;
                    self.held.drain(..end);
                    if self.held.is_empty() && self.held.capacity() > CHUNK_BYTES {
                        self.held = Vec::new();
                    }
                    return Ok(Some(value));
                }
                wanted = (end - self.held.len()).clamp(FIRST_BYTES, CHUNK_BYTES);
            }
            let before = self.held.len();
            self.held.resize(before + wanted, 0);
            let room = self.held.get_mut(before..).unwrap_or_default();
            let came = receive(
                &self.socket,
                room,
                &mut self.descriptors,
                RecvFlags::empty(),
            );
            let came = came.inspect_err(|_| self.held.truncate(before));
            let came = came.map_err(io::Error::from)?;
            self.held.truncate(before + came);
            match (came, before) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
                _ => {}
            }
        }
    }

    /// Whether a further message has come whole already, so that the socket need not be waited for.
    pub fn holds_message(&self) -> bool {
        let Some(header) = self.held.first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        // A length beyond the bound is for `next` to refuse.
        frame::length(*header, self.limit)
            .map_or(true, |length| self.held.len() - HEADER_BYTES >= length)
    }

    /// The oldest descriptor that has come and was not taken.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// The socket.
    pub const fn socket(&self) -> &S {
        &self.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Read, os::unix::net::UnixStream};

    #[test]
    fn a_descriptor_arrives_with_its_frame() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = File::open("/proc/self/status").unwrap();
        let first = frame::encode(&"plain", 100).unwrap();
        let second = frame::encode(&"with a file", 100).unwrap();
        send_all(&here, &first, None).unwrap();
        send_all(&here, &second, Some(file.as_fd())).unwrap();
        drop(here);
        let mut frames = Frames::new(there, 100);
        assert_eq!(
            frames.take_next::<String>().unwrap().as_deref(),
            Some("plain")
        );
        assert_eq!(
            frames.take_next::<String>().unwrap().as_deref(),
            Some("with a file")
        );
        let mut text = String::new();
        let file = frames.descriptor().unwrap();
        File::from(file).read_to_string(&mut text).unwrap();
        assert!(text.starts_with("Name:"));
        assert_eq!(frames.take_next::<String>().unwrap(), None);
    }
}
