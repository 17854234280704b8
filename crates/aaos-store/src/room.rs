//! Room on the disk: whether there is enough to accept new work and still end what is under way.

use crate::{
    journal::fault,
    limits::{HEADROOM_BYTES_MIN, HEADROOM_PARTS},
};
use aaos_ports::JournalError;
use std::path::Path;

/// Looks at the file system that holds `dir`.
///
/// # Errors
/// `Storage` if it is read-only, has too little room, or cannot be asked.
pub(crate) fn headroom(dir: &Path) -> Result<(), JournalError> {
    let found = rustix::fs::statvfs(dir).map_err(|errno| fault::io(dir, &errno.into()))?;
    if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let step = "Make the state directory's file system writable, or choose another";
        return Err(fault::storage(dir, "its file system is read-only", step));
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let size = found.f_blocks.saturating_mul(found.f_frsize);
    let least = least(size);
    if free >= least {
        return Ok(());
    }
    let message = format!("only {free} bytes are free on its disk, and new work needs {least}");
    let step = "Make room on that disk; new work is accepted again once there is some";
    Err(fault::storage(dir, message, step))
}

fn least(size: u64) -> u64 {
    HEADROOM_BYTES_MIN.min(size.checked_div(HEADROOM_PARTS).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_needs_a_part_of_itself_and_a_large_one_no_more_than_the_bound() {
        assert_eq!(least(1 << 20), (1 << 20) / HEADROOM_PARTS);
        assert_eq!(least(1 << 40), HEADROOM_BYTES_MIN);
        assert_eq!(least(0), 0);
    }
}
