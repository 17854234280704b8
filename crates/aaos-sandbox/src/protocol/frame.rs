//! Frames: one postcard value behind its length, four bytes little-endian.
//!
//! Refuses: a length beyond the bound, before anything is allocated; a value that does not fill its frame.

use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};

/// Bytes of a frame's length.
pub const HEADER_BYTES: usize = 4;

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than the line allows.
    #[error("a message of {found} bytes came; the limit is {limit}")]
    TooLong {
        /// Bytes announced.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// Not a value of the expected type.
    #[error("a message makes no sense: {0}")]
    Malformed(#[from] postcard::Error),
    /// The line broke, or ended within a frame.
    #[error("the line broke: {0}")]
    Io(#[from] io::Error),
}

/// A value as a packet.
///
/// # Errors
/// It is longer than `limit`.
pub fn packet<T: Serialize>(value: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let bytes = postcard::to_allocvec(value)?;
    if bytes.len() > limit {
        return Err(FrameError::TooLong {
            found: bytes.len(),
            limit,
        });
    }
    Ok(bytes)
}

/// A value as a frame, length and all.
///
/// # Errors
/// It is longer than `limit`.
pub fn encode<T: Serialize>(value: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = postcard::to_extend(value, vec![0; HEADER_BYTES])?;
    let found = bytes.len() - HEADER_BYTES;
    let header = u32::try_from(found).ok().filter(|_| found <= limit);
    let Some(header) = header else {
        return Err(FrameError::TooLong { found, limit });
    };
    if let Some(room) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        *room = header.to_le_bytes();
    }
    Ok(bytes)
}

/// The length a header announces.
///
/// # Errors
/// It is beyond `limit`.
pub fn length(header: [u8; HEADER_BYTES], limit: usize) -> Result<usize, FrameError> {
    let found = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if found > limit {
        return Err(FrameError::TooLong { found, limit });
    }
    Ok(found)
}

/// The value of a frame's or packet's bytes, all of them.
///
/// # Errors
/// They are no such value, or more than one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(FrameError::Malformed(
            postcard::Error::DeserializeBadEncoding,
        )),
    }
}

/// Writes one frame.
///
/// # Errors
/// It is too long, or the line broke.
pub fn write<T: Serialize>(to: &mut impl Write, value: &T, limit: usize) -> Result<(), FrameError> {
    Ok(to.write_all(&encode(value, limit)?)?)
}

/// Reads one frame; none if the line ended between two.
///
/// # Errors
/// It is too long or makes no sense, or the line broke.
pub fn read<T: DeserializeOwned>(
    from: &mut impl Read,
    limit: usize,
) -> Result<Option<T>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    if from.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..])?;
    let length = length(header, limit)?;
    // Grows with what comes, so that an announced length alone costs nothing.
    let mut bytes = Vec::with_capacity(length.min(64 * 1024));
    let read = from
        .take(u64::try_from(length).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    if read < length {
        return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    decode(&bytes).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_out_as_it_went_in() {
        let mut line = Vec::new();
        write(&mut line, &("words".to_owned(), 7_u64), 100).unwrap();
        let mut from = line.as_slice();
        assert_eq!(
            read(&mut from, 100).unwrap(),
            Some(("words".to_owned(), 7_u64))
        );
        assert_eq!(read::<(String, u64)>(&mut from, 100).unwrap(), None);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let line = u32::MAX.to_le_bytes();
        let refused = read::<String>(&mut line.as_slice(), 100);
        assert!(matches!(refused, Err(FrameError::TooLong { .. })));
        assert!(matches!(
            encode(&"x".repeat(200), 100),
            Err(FrameError::TooLong { .. })
        ));
    }

    #[test]
    fn half_a_frame_and_a_frame_and_a_half_are_refused() {
        let frame = encode(&"words", 100).unwrap();
        let half = frame.get(..frame.len() - 1).unwrap();
        assert!(matches!(
            read::<String>(&mut &*half, 100),
            Err(FrameError::Io(_))
        ));
        assert!(matches!(
            decode::<u8>(&[1, 2]),
            Err(FrameError::Malformed(_))
        ));
    }
}
