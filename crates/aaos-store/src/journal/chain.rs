//! The hash chain: each event's hash covers the hash before it, so nothing can be changed, moved, put in or taken
//! out without every later hash being wrong.
//!
//! # Canonical bytes
//! BLAKE3 in key-derivation mode with the context [`CONTEXT`], over, in this order:
//! 1. the previous event's hash, 32 bytes; 32 zero bytes before the first event
//! 2. `seq`, then `time`: 8 bytes each, little-endian
//! 3. `run`, `agent`, `call`, `cause`: each one byte 0 if absent, else one byte 1 and 8 bytes little-endian
//! 4. `kind`: its length in bytes as 8 bytes little-endian, then its bytes as stored
//! 5. the BLAKE3 hash of `body` as it was recorded, 32 bytes, which the row keeps as its `digest`
//!
//! So a body can be erased and the chain holds without it. Rows without a `digest` are of version 1: the context is
//! [`CONTEXT_WHOLE`], and in place of the fifth part stands `body` itself in the form of the fourth.

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt, hash_derive_key_context},
};
use std::sync::LazyLock;

/// Keeps these hashes apart from every other use of BLAKE3.
const CONTEXT: &str = "aaos journal event, version 2";
/// The same for rows whose hash covers the body itself.
const CONTEXT_WHOLE: &str = "aaos journal event, version 1";

/// What every event's hash begins with, made once.
static KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(CONTEXT));
/// The same for rows whose hash covers the body itself.
static KEY_WHOLE: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(CONTEXT_WHOLE));

/// An event's hash.
pub(crate) type Hash = [u8; 32];

/// What stands before the first event.
pub(crate) const ORIGIN: Hash = [0; 32];

/// The last event's place and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its place; 0 in an empty journal.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: Hash,
}

/// An event as it is stored, without its hashes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link<'a> {
    /// Its place.
    pub(crate) seq: u64,
    /// Microseconds since 1970.
    pub(crate) time: u64,
    /// Run, agent, call and cause, as numbers.
    pub(crate) subject: [Option<u64>; 4],
    /// The body's tag.
    pub(crate) kind: &'a [u8],
    /// What stands for the body.
    pub(crate) content: Content<'a>,
}

/// What an event's hash covers of its body; says which version of the chain the row is of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    /// The body itself: version 1.
    Whole(&'a [u8]),
    /// The body's digest: version 2.
    Digest(Hash),
}

/// A body's digest.
pub(crate) fn digest(body: &[u8]) -> Hash {
    *blake3::hash(body).as_bytes()
}

impl Link<'_> {
    /// The hash of this event after one with the hash `previous`.
    pub(crate) fn hash(&self, previous: &Hash) -> Hash {
        let mut hasher = Hasher::new_from_context_key(match self.content {
            Content::Whole(_) => &KEY_WHOLE,
            Content::Digest(_) => &KEY,
        });
        hasher.update(previous);
        hasher.update(&self.seq.to_le_bytes());
        hasher.update(&self.time.to_le_bytes());
        for part in self.subject {
            match part {
                None => hasher.update(&[0]),
                Some(number) => hasher.update(&[1]).update(&number.to_le_bytes()),
            };
        }
        update_text(&mut hasher, self.kind);
        match self.content {
            Content::Whole(body) => update_text(&mut hasher, body),
            Content::Digest(digest) => {
                hasher.update(&digest);
            }
        }
        *hasher.finalize().as_bytes()
    }
}

fn update_text(hasher: &mut Hasher, text: &[u8]) {
    hasher
        .update(&(text.len() as u64).to_le_bytes())
        .update(text);
}

/// A hash as 64 lower-case hexadecimal digits.
pub(crate) fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link<'static> = Link {
        seq: 1,
        time: 2,
        subject: [Some(3), None, None, None],
        kind: b"a",
        content: Content::Whole(b"bc"),
    };
    const DIGESTED: Link<'static> = Link {
        content: Content::Digest([7; 32]),
        ..LINK
    };

    #[test]
    fn every_field_changes_the_hash() {
        let whole = LINK.hash(&ORIGIN);
        let others = [
            Link { seq: 2, ..LINK },
            Link { time: 3, ..LINK },
            Link {
                subject: [None, Some(3), None, None],
                ..LINK
            },
            Link {
                subject: [Some(3), None, None, Some(0)],
                ..LINK
            },
            Link {
                kind: b"ab",
                content: Content::Whole(b"c"),
                ..LINK
            },
            Link {
                kind: b"",
                content: Content::Whole(b"abc"),
                ..LINK
            },
            DIGESTED,
            Link {
                content: Content::Whole(&[7; 32]),
                ..LINK
            },
        ];
        for other in others {
            assert_ne!(other.hash(&ORIGIN), whole, "{other:?}");
        }
        assert_ne!(LINK.hash(&[1; 32]), whole);
    }

    #[test]
    fn the_canonical_bytes_do_not_change_by_accident() {
        assert_eq!(
            hex(&LINK.hash(&ORIGIN)),
            "9b801bce45e3c552a520455fc35804a2efbd9b4c9f3d97297837e9583053c11a"
        );
        assert_eq!(
            hex(&DIGESTED.hash(&ORIGIN)),
            "fe154a0333b95fe168c7664a3aa26a641c60d5b123cb66f4c1fb532ea8190286"
        );
    }
}
