//! A packet socket on an event loop: one value per packet, at most one descriptor beside it.
//!
//! Refuses: a packet beyond the bound, and relying on the socket's own blocking mode, which the other end may share.

use super::{
    PACKET_BYTES_MAX,
    frame::{self, FrameError},
    line,
};
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::VecDeque, io};
use tokio::{io::Interest, net::UnixStream};

/// A packet socket. One reader and one writer may use it at once.
#[derive(Debug)]
pub struct Packets {
    // The type says stream; what is asked of it here is the same for packets.
    socket: UnixStream,
}

/// Two ends of a new packet line, closed when a program is executed.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

impl Packets {
    /// Puts one end on the event loop that this runs in.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
        })
    }

    /// Sends one value. Waits while the line is full.
    ///
    /// # Errors
    /// It is too long, or the line broke.
    pub async fn send<T: Serialize + Sync>(
        &self,
        value: &T,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), FrameError> {
        let bytes = frame::packet(value, PACKET_BYTES_MAX)?;
        self.socket
            .async_io(Interest::WRITABLE, || {
                Ok(line::send(
                    &self.socket,
                    &bytes,
                    descriptor,
                    SendFlags::DONTWAIT,
                )?)
            })
            .await?;
        Ok(())
    }

    /// The next value, with the descriptor that came along; none at the end of the line.
    ///
    /// # Errors
    /// It is too long or makes no sense, or the line broke.
    pub async fn next<T: DeserializeOwned>(
        &self,
    ) -> Result<Option<(T, Option<OwnedFd>)>, FrameError> {
        // One byte of room more than may come, so that a longer packet is seen and not cut.
        let mut bytes = vec![0; PACKET_BYTES_MAX + 1];
        let mut descriptors = VecDeque::new();
        let came = self
            .socket
            .async_io(Interest::READABLE, || {
                Ok(line::receive(
                    &self.socket,
                    &mut bytes,
                    &mut descriptors,
                    RecvFlags::DONTWAIT,
                )?)
            })
            .await?;
        if came > PACKET_BYTES_MAX {
            return Err(FrameError::TooLong {
                found: came,
                limit: PACKET_BYTES_MAX,
            });
        }
        match bytes.get(..came) {
            None | Some([]) => Ok(None),
            Some(packet) => Ok(Some((frame::decode(packet)?, descriptors.pop_front()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Read, os::fd::AsFd};

    #[tokio::test]
    async fn a_packet_arrives_whole_with_its_descriptor_and_the_end_is_seen() {
        let (here, there) = pair().unwrap();
        let (here, there) = (Packets::new(here).unwrap(), Packets::new(there).unwrap());
        let file = File::open("/proc/self/status").unwrap();
        here.send(&"words", None).await.unwrap();
        here.send(&"with a file", Some(file.as_fd())).await.unwrap();
        drop(here);
        let (first, nothing) = there.next::<String>().await.unwrap().unwrap();
        assert_eq!((first.as_str(), nothing.is_none()), ("words", true));
        let (_, file) = there.next::<String>().await.unwrap().unwrap();
        let mut text = String::new();
        File::from(file.unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with("Name:"));
        assert!(there.next::<String>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_packet_beyond_the_bound_is_refused_by_both_ends() {
        let (here, there) = pair().unwrap();
        let (there, bytes) = (
            Packets::new(there).unwrap(),
            vec![1; PACKET_BYTES_MAX + 100],
        );
        line::send(&here, &bytes, None, SendFlags::empty()).unwrap();
        assert!(matches!(
            there.next::<String>().await,
            Err(FrameError::TooLong { .. })
        ));
        let long = "x".repeat(PACKET_BYTES_MAX);
        assert!(matches!(
            there.send(&long, None).await,
            Err(FrameError::TooLong { .. })
        ));
    }
}
