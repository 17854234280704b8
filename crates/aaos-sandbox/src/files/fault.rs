//! The kernel's refusals in words a model and a person can act on.

use aaos_core::text;
use aaos_ports::PowerError;
use rustix::io::Errno;

/// Most bytes of a path that an error shows.
const PATH_BYTES_SHOWN: usize = 512;

/// What is said of a symbolic link.
pub(super) const LINK: &str =
    "a symbolic link is on the way; links are never followed, use the real path";

/// A path for an error: one line, bounded.
pub(super) fn shown(path: &str) -> String {
    text::preview(path, PATH_BYTES_SHOWN)
}

/// What the kernel's answer means for this path.
pub(super) fn of(errno: Errno, doing: &str, path: &str) -> PowerError {
    let wrong = |problem: &str| PowerError::WrongKind {
        path: shown(path),
        problem: problem.to_owned(),
    };
    let io = |message: &str| PowerError::Io {
        what: format!("{doing} {}", shown(path)),
        message: message.to_owned(),
    };
    match errno {
        Errno::NOENT => PowerError::NotFound(shown(path)),
        Errno::LOOP => wrong(LINK),
        Errno::NOTDIR => wrong("a name on the way is not a directory"),
        Errno::ISDIR => wrong("it is a directory, not a file"),
        // What a FIFO without a reader, a socket or a missing device answers.
        Errno::NXIO | Errno::NODEV => wrong("it is not a regular file"),
        Errno::XDEV => PowerError::Denied {
            need: format!("{doing} {}", shown(path)),
            axis: "path".to_owned(),
            reason: "it leads out of the granted directory".to_owned(),
        },
        Errno::NAMETOOLONG => io("the path or a name in it is longer than the file system allows"),
        Errno::ACCESS | Errno::PERM => {
            io("the file system refuses this to the account the daemon runs as")
        }
        Errno::ROFS => io("the file system is mounted read-only"),
        Errno::NOSPC | Errno::DQUOT => {
            io("no space is left; nothing was changed. Free some and try again")
        }
        Errno::MFILE | Errno::NFILE => io("too many files are open; try again later"),
        Errno::NOSYS => io(NO_OPENAT2),
        Errno::AGAIN => io("names on the way kept changing; try again"),
        other => io(&std::io::Error::from(other).to_string()),
    }
}

/// What is said of a kernel, or a filter before it, without the one call that resolves safely.
pub(super) const NO_OPENAT2: &str = "this kernel has no openat2, without which no path can be opened safely; Linux 5.6 or later is needed";
