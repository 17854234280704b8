//! The key that signs: made at the first start, kept in a file that its owner alone can read.

use super::{hex, unhex};
use crate::{
    journal::{chain::Hash, fault},
    limits::NOTARY_FILE_BYTES_MAX,
};
use aaos_ports::JournalError;
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use rustix::fs::OFlags;
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Name of the key's file within the state directory: PKCS#8, mode 0600.
pub const KEY_FILE: &str = "audit.key";
/// Name of the public key's file beside it: 64 hexadecimal digits and a newline, mode 0644.
pub const PUBLIC_FILE: &str = "audit.pub";

/// Keeps these signatures apart from every other use of the key.
const CONTEXT: &[u8] = b"aaos journal head, version 1\0";

/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// An Ed25519 key pair. Prints its public half.
pub struct Key {
    pair: Ed25519KeyPair,
    public: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({})", self.public)
    }
}

impl Key {
    /// Takes the key of a state directory, making one if there is none. The public half is written beside it.
    ///
    /// # Errors
    /// Storage: the file is no key, others can read it, it belongs to someone else, or it cannot be read or made.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(KEY_FILE);
        let found = read(&path).map_err(|error| fault::io(&path, &error))?;
        let pkcs8 = match found {
            Some(bytes) => bytes,
            None => make(dir).map_err(|error| fault::io(&path, &error))?,
        };
        let unfit = |error| {
            let step = "Put the audit key back from a copy; without one, move the file away: the next start makes another";
            fault::storage(&path, format!("it is no Ed25519 key: {error}"), step)
        };
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(unfit)?;
        let public = hex(pair.public_key().as_ref());
        publish(dir, &public).map_err(|error| fault::io(&dir.join(PUBLIC_FILE), &error))?;
        Ok(Self { pair, public })
    }

    /// The public half, 64 hexadecimal digits.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The signature of a head, in hexadecimal digits.
    pub(crate) fn sign(&self, seq: u64, hash: &Hash) -> String {
        hex(self.pair.sign(&message(seq, hash)).as_ref())
    }
}

/// What is signed: the context, the place as 8 bytes little-endian, the hash.
fn message(seq: u64, hash: &Hash) -> Vec<u8> {
    [CONTEXT, &seq.to_le_bytes(), hash].concat()
}

/// Whether a signature of a head is by a key; all in hexadecimal digits.
pub(crate) fn verify(key: &str, seq: u64, hash: &str, signature: &str) -> bool {
    let (Some(key), Some(hash), Some(signature)) =
        (unhex::<32>(key), unhex::<32>(hash), unhex::<64>(signature))
    else {
        return false;
    };
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(&message(seq, &hash), &signature).is_ok()
}

/// The public key of a state directory; `None` if there is none.
pub(crate) fn load_public(dir: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(dir.join(PUBLIC_FILE)) {
        Ok(file) => file.take(NOTARY_FILE_BYTES_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(text.trim().to_owned()))
}

fn refused(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

/// The key's file; `None` if there is none. Looks at the opened file, so that nobody can swap it in between.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = File::options()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refused("the audit key is not a plain file"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(refused(
            "others can read the audit key: `chmod 600` it, and if they may have read it, move it away for another to be made",
        ));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("the audit key belongs to another account"));
    }
    let mut bytes = Vec::new();
    file.take(NOTARY_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn make(dir: &Path) -> io::Result<Vec<u8>> {
    let unfit = |_| io::Error::other("the machine gave no randomness for a key");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(unfit)?;
    super::head::replace(dir, KEY_FILE, pkcs8.as_ref(), 0o600)?;
    Ok(pkcs8.as_ref().to_vec())
}

/// Writes the public key if it is not what is there, and says so if there was another.
fn publish(dir: &Path, public: &str) -> io::Result<()> {
    match load_public(dir) {
        Ok(Some(there)) if there == public => return Ok(()),
        Ok(None) => {}
        Ok(Some(before)) => tracing::warn!(
            before,
            public,
            "the audit key is not the one there was; heads are signed with this one from now on. If nobody here changed it, compare with the public key kept elsewhere: `agentd audit verify --key KEY`"
        ),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "the public key beside the audit key was none; it is written anew");
        }
        Err(error) => return Err(error),
    }
    super::head::replace(dir, PUBLIC_FILE, format!("{public}\n").as_bytes(), 0o644)
}
