//! The made-up `/etc`: one account, one host name, nobody else.
//!
//! Refuses: anything of the host's `/etc`. What programs need of it beside is mounted read-only, by name.

use super::{
    identity::{HOST_NAME, INSIDE},
    root,
};
use rustix::{fd::OwnedFd, io::Errno};

/// The files and what is in them.
fn files() -> [(&'static str, String); 4] {
    [
        (
            "etc/passwd",
            format!("agent:x:{INSIDE}:{INSIDE}:agent:/tmp:/bin/sh\n"),
        ),
        ("etc/group", format!("agent:x:{INSIDE}:\n")),
        (
            "etc/hosts",
            format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n"),
        ),
        (
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n".to_owned(),
        ),
    ]
}

/// Writes them.
pub(super) fn write(top: &OwnedFd) -> Result<(), Errno> {
    for (path, text) in files() {
        let file = root::make_file(top, path, 0o644)?;
        let went = rustix::io::write(&file, text.as_bytes())?;
        if went != text.len() {
            return Err(Errno::NOSPC);
        }
    }
    Ok(())
}
