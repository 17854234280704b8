//! The rows: what is tried, and the reasons it may fail for.

use crate::stage::Said;

/// One attempt.
pub(crate) struct Row {
    /// What it is.
    pub(crate) name: &'static str,
    /// The probe's arguments. `{outside}`, `{ws}`, `{ro}`, `{probe}`, `{port}` and such are filled in by the stage.
    pub(crate) run: &'static [&'static str],
    /// How it may end: names of errors, or beginnings of what the proxy answers.
    pub(crate) stopped_by: &'static [&'static str],
}

impl Row {
    /// Whether it ended as it has to.
    pub(crate) fn judge(&self, said: &Said) -> Result<(), String> {
        let held = said.text.contains("held ") || said.text.contains("proxy ");
        let reason = self
            .stopped_by
            .iter()
            .any(|reason| said.text.contains(reason));
        if held && reason && !said.text.contains("OUT ") {
            return Ok(());
        }
        Err(format!(
            "wanted one of {:?}, found {:?} (code {:?})",
            self.stopped_by, said.text, said.code
        ))
    }
}

const fn row(
    name: &'static str,
    run: &'static [&'static str],
    stopped_by: &'static [&'static str],
) -> Row {
    Row {
        name,
        run,
        stopped_by,
    }
}

/// Nothing is there, or it may not be opened.
const ABSENT: &[&str] = &["ENOENT", "EACCES"];
/// The filter or the missing capability says no.
const REFUSED: &[&str] = &["EPERM"];

pub(crate) const PATHS: &[Row] = &[
    row("a file outside", &["read", "{outside}/secret"], ABSENT),
    row("the password file", &["read", "/etc/shadow"], ABSENT),
    row("a file of the host", &["read", "/etc/hostname"], ABSENT),
    row(
        "climbing by dots",
        &["read", "{ws}/../outside/secret"],
        ABSENT,
    ),
    row(
        "a symbolic link to a file",
        &["symlink", "{outside}/secret", "{ws}/to-file"],
        ABSENT,
    ),
    row(
        "a symbolic link on the way",
        &["read", "{ws}/linked/secret"],
        ABSENT,
    ),
    row(
        "a chain of links",
        &["symlink", "{ws}/linked/secret", "{ws}/chain"],
        ABSENT,
    ),
    row(
        "a link swapped while it is opened",
        &["swap", "{ws}/inside", "{outside}/secret"],
        &["ENOENT"],
    ),
    row(
        "a hard link to a file outside",
        &["link", "{outside}/secret", "{ws}/hard"],
        &["ENOENT", "EACCES", "EXDEV", "EPERM"],
    ),
    row(
        "a hard link that makes a read grant writable",
        &["link", "{ro}/kept", "{ws}/hard-kept"],
        &["EXDEV", "EPERM", "EACCES"],
    ),
    row(
        "writing into a read grant",
        &["write", "{ro}/kept"],
        &["EROFS", "EACCES"],
    ),
    row(
        "creating in a read grant",
        &["write", "{ro}/new"],
        &["EROFS", "EACCES"],
    ),
    row(
        "the root of this process",
        &["read", "/proc/self/root/{outside}/secret"],
        ABSENT,
    ),
    row(
        "the root of the worker",
        &["read", "/proc/1/root/{outside}/secret"],
        ABSENT,
    ),
    row(
        "up from every descriptor there is",
        &["proc-fds", "{outside}/secret"],
        &["ENOENT"],
    ),
    row(
        "a bind mount of the parent",
        &["bind-parent", "{ws}/.."],
        REFUSED,
    ),
    row(
        "an overlong name",
        &["read", "{ws}/{long}"],
        &["ENAMETOOLONG"],
    ),
    row(
        "an overlong path",
        &["read", "{longer}"],
        &["ENAMETOOLONG", "ENOENT"],
    ),
    row("making a device", &["mknod"], REFUSED),
    row("the machine's memory", &["read", "/dev/mem"], ABSENT),
    row("the kernel's log", &["read", "/dev/kmsg"], ABSENT),
    row("a disk", &["read", "/dev/vda"], ABSENT),
    row(
        "the kernel's settings",
        &["write", "/proc/sys/kernel/core_pattern"],
        &["EROFS", "EACCES", "ENOENT", "EPERM"],
    ),
    row(
        "the system's devices",
        &["read", "/sys/kernel/notes"],
        ABSENT,
    ),
    row(
        "the hooks of a repository",
        &["write", "{ws}/.git/hooks/pre-commit"],
        &["EROFS", "EACCES"],
    ),
    row(
        "the configuration of a repository",
        &["write", "{ws}/.git/config"],
        &["EROFS", "EACCES"],
    ),
    row(
        "the runtime's own files beneath a grant",
        &["read", "{ws}/own/journal"],
        ABSENT,
    ),
    row(
        "making the runtime's own files anew",
        &["write", "{ws}/own/planted"],
        &["EROFS", "EACCES", "ENOENT", "EPERM"],
    ),
    row(
        "the directory above the runtime's own files moved out of the way",
        &["rename", "{ws}/above", "{ws}/elsewhere"],
        &["EBUSY"],
    ),
    row("opening by handle", &["open-by-handle"], REFUSED),
    row(
        "a repository moved out of the way",
        &["rename", "{ws}/.git", "{ws}/x"],
        &["EBUSY"],
    ),
    row(
        "the hooks of a repository that had none",
        &["write", "{bare}/.git/hooks/pre-commit"],
        &["EROFS"],
    ),
    row(
        "the mode of the machine's null device",
        &["chmod", "/dev/null"],
        &["EROFS", "EPERM"],
    ),
    row(
        "the mode of a file under a read grant",
        &["chmod", "{ro}/kept"],
        &["EROFS"],
    ),
    row(
        "inherited descriptors, opened for writing",
        &["reopen"],
        &["ENOENT", "EACCES"],
    ),
    row(
        "a node that is no pipe",
        &["mknod-file", "{ws}/node"],
        REFUSED,
    ),
];

pub(crate) const NAMESPACES: &[Row] = &[
    row("a user namespace", &["unshare", "268435456"], REFUSED),
    row("a mount namespace", &["unshare", "131072"], REFUSED),
    row("a network namespace", &["unshare", "1073741824"], REFUSED),
    row(
        "a clone into a user namespace",
        &["clone", "0x10000000"],
        REFUSED,
    ),
    row(
        "a clone into a PID namespace",
        &["clone", "0x20000000"],
        REFUSED,
    ),
    row(
        "clone3, whose flags no filter sees",
        &["clone3"],
        &["ENOSYS"],
    ),
    row("joining a namespace", &["setns"], REFUSED),
    row("tracing the worker", &["ptrace"], REFUSED),
    row("being traced", &["ptrace-me"], REFUSED),
    row("another process's memory", &["process-vm"], REFUSED),
    row(
        "the worker's memory as a file",
        &["proc-mem"],
        &["EACCES", "EPERM", "ENOENT"],
    ),
    row("a mount", &["mount"], REFUSED),
    row("a mount by the new calls", &["fsopen"], REFUSED),
    row("a detached copy of the root", &["open-tree"], REFUSED),
    row("taking a mount away", &["umount", "{ro}"], REFUSED),
    row("another root", &["pivot"], REFUSED),
    row("chroot", &["chroot"], REFUSED),
    row("keys", &["keyctl"], REFUSED),
    row("a new key", &["add-key"], REFUSED),
    row("BPF", &["bpf"], REFUSED),
    row("performance counters", &["perf"], REFUSED),
    row("userfaultfd", &["userfaultfd"], &["ENOSYS"]),
    row("io_uring", &["io-uring"], &["ENOSYS"]),
    row(
        "typing into the terminal",
        &["tiocsti"],
        &["EPERM", "ENOTTY"],
    ),
    row(
        "a personality without address randomisation",
        &["personality"],
        REFUSED,
    ),
    row("a local descriptor table", &["modify-ldt"], REFUSED),
    row("another kernel", &["kexec"], REFUSED),
    row("a kernel module", &["init-module"], REFUSED),
    row("restarting the machine", &["reboot"], REFUSED),
    row("the clock", &["settime"], REFUSED),
    row("the host name", &["hostname"], REFUSED),
    row("another user number", &["setuid"], &["EPERM", "EINVAL"]),
    row("capabilities again", &["capset"], REFUSED),
    row("letting anyone trace", &["dumpable"], &["EPERM", "EINVAL"]),
    row("a limit raised again", &["raise-limit"], REFUSED),
    row("ending the worker", &["kill"], &["ESRCH"]),
    row("the worker's limits", &["limit-worker"], REFUSED),
];

pub(crate) const EXECUTION: &[Row] = &[
    row("a program nobody granted", &["run", "/bin/ls"], ABSENT),
    row("a shell nobody granted", &["run", "/bin/sh"], ABSENT),
    row(
        "an interpreter nobody granted",
        &["run", "/usr/bin/perl"],
        ABSENT,
    ),
    row(
        "a copy in the workspace",
        &["copy-run", "{probe}", "{ws}/copy"],
        &["EACCES"],
    ),
    row(
        "a copy in /tmp",
        &["copy-run", "{probe}", "/tmp/copy"],
        &["EACCES"],
    ),
    row(
        "a copy in shared memory",
        &["copy-run", "{probe}", "/dev/shm/copy"],
        &["EACCES", "ENOENT", "EROFS"],
    ),
    row(
        "the loader, on a copy",
        &["copy-loader", "{probe}", "{ws}/copy-for-loader", "{loader}"],
        &["EACCES", "ENOENT"],
    ),
    row(
        "the loader, on a program nobody granted",
        &["run-by", "{loader}", "/bin/ls"],
        ABSENT,
    ),
    row(
        "a file in memory",
        &["memfd", "{probe}"],
        &["ENOSYS", "EACCES"],
    ),
    row(
        "a script for an interpreter nobody granted",
        &["script", "/bin/sh", "{ws}/script"],
        ABSENT,
    ),
    row(
        "a script for the probe",
        &["script", "{probe}", "{ws}/script-2"],
        &["EACCES"],
    ),
    row(
        "an executable mapping of a written file",
        &["mmap-exec", "{ws}/code"],
        &["EPERM", "EACCES"],
    ),
    row(
        "an executable mapping of a file in /tmp",
        &["mmap-exec", "/tmp/code"],
        &["EPERM", "EACCES"],
    ),
];

/// A network without anyone, or a rule against it.
const NOBODY: &[&str] = &["ENETUNREACH", "ECONNREFUSED", "EACCES", "EPERM"];

pub(crate) const NETWORK: &[Row] = &[
    row(
        "the daemon's machine over TCP",
        &["tcp", "127.0.0.1", "{port}"],
        NOBODY,
    ),
    row(
        "a public address over TCP",
        &["tcp", "1.1.1.1", "80"],
        NOBODY,
    ),
    row(
        "the metadata address",
        &["tcp", "169.254.169.254", "80"],
        NOBODY,
    ),
    row(
        "TCP Fast Open, which passes Landlock",
        &["fastopen", "127.0.0.1", "{port}"],
        NOBODY,
    ),
    row(
        "TCP Fast Open to a public address",
        &["fastopen", "1.1.1.1", "80"],
        NOBODY,
    ),
    row("UDP", &["udp", "1.1.1.1", "53"], REFUSED),
    row(
        "the machine's resolver",
        &["udp", "127.0.0.53", "53"],
        REFUSED,
    ),
    row("raw packets", &["raw"], REFUSED),
    row("link-layer packets", &["packet"], REFUSED),
    row("netlink", &["netlink"], REFUSED),
    row(
        "virtual-machine sockets",
        &["vsock"],
        &["EPERM", "EAFNOSUPPORT"],
    ),
    row(
        "the kernel's cryptography sockets",
        &["alg"],
        &["EPERM", "EAFNOSUPPORT"],
    ),
    row(
        "a Unix socket outside",
        &["unix-path", "{outside}/socket"],
        &["ENOENT", "EACCES", "EPERM"],
    ),
    row(
        "a Unix socket inside a grant",
        &["unix-path", "{ws}/socket"],
        &["EACCES", "EPERM"],
    ),
    row(
        "an abstract Unix socket",
        &["unix-abstract", "{abstract}"],
        &["ECONNREFUSED", "EPERM"],
    ),
    row(
        "the system bus",
        &["unix-path", "/run/dbus/system_bus_socket"],
        &["ENOENT", "EACCES", "EPERM"],
    ),
];

/// The proxy says no, or hangs up.
const NO: &[&str] = &[
    "HTTP/1.1 400",
    "HTTP/1.1 403",
    "HTTP/1.1 405",
    "HTTP/1.1 502",
    "closed",
];

pub(crate) const SMUGGLING: &[Row] = &[
    row(
        "a host nobody granted",
        &[
            "proxy",
            "GET http://127.0.0.2:{port}/ HTTP/1.1\r\nHost: 127.0.0.2:{port}\r\nConnection: close\r\n\r\n",
        ],
        &["HTTP/1.1 403"],
    ),
    row(
        "a tunnel nobody granted",
        &[
            "proxy",
            "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n",
        ],
        &["HTTP/1.1 403"],
    ),
    row(
        "a user name in the address",
        &[
            "proxy",
            "GET http://allowed@127.0.0.2:{port}/ HTTP/1.1\r\nHost: allowed\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "a host header that says otherwise",
        &[
            "proxy",
            "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "an address in one number",
        &[
            "proxy",
            "GET http://2130706434:{port}/ HTTP/1.1\r\nHost: 2130706434:{port}\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "an address in octal",
        &[
            "proxy",
            "GET http://0177.0.0.2:{port}/ HTTP/1.1\r\nHost: 0177.0.0.2:{port}\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "an IPv4 address in IPv6",
        &[
            "proxy",
            "GET http://[::ffff:127.0.0.1]:{port}/ HTTP/1.1\r\nHost: [::ffff:127.0.0.1]:{port}\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "metadata",
        &[
            "proxy",
            "GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "a line break in the address",
        &[
            "proxy",
            "GET http://127.0.0.1:{port}/\r\nX: y HTTP/1.1\r\nHost: 127.0.0.2\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
    row(
        "two lengths",
        &[
            "proxy",
            "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET http://127.0.0.2/ HTTP/1.1\r\n\r\n",
        ],
        NO,
    ),
    row(
        "a method nobody granted",
        &[
            "proxy",
            "DELETE http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n",
        ],
        &["HTTP/1.1 403"],
    ),
    row(
        "the proxy as a server",
        &[
            "proxy",
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n",
        ],
        NO,
    ),
];

pub(crate) const RESOURCES: &[Row] = &[
    row("a fork bomb", &["fork-bomb"], &["EAGAIN", "ENOMEM"]),
    row("memory", &["memory"], &["ENOMEM"]),
    row(
        "the private disk",
        &["disk", "/tmp/full"],
        &["ENOSPC", "EFBIG", "ENOMEM"],
    ),
    row(
        "one file of the workspace",
        &["disk", "{ws}/full"],
        &["EFBIG", "ENOSPC"],
    ),
    row("descriptors", &["descriptors"], &["EMFILE"]),
    row(
        "the private disk, by number of files",
        &["files", "/tmp"],
        &["ENOSPC"],
    ),
    row(
        "queues of file changes, counted for the whole account",
        &["watchers"],
        &["EMFILE"],
    ),
];

pub(crate) const SECRETS: &[Row] = &[
    row(
        "the daemon's environment",
        &["environment", "{needle}"],
        &["ENOENT"],
    ),
    row("descriptors of the daemon", &["fds"], &["EBADF"]),
    row("processes of the machine", &["processes"], &["ESRCH"]),
    row("core dumps", &["core"], &["EPERM"]),
    row(
        "credentials of services",
        &["read", "/run/credentials"],
        &["ENOENT", "EACCES", "EISDIR"],
    ),
    row(
        "the worker's environment",
        &["read", "/proc/1/environ"],
        &["EACCES", "EPERM", "ENOENT", "empty"],
    ),
    row(
        "the worker's memory map",
        &["read", "/proc/1/maps"],
        &["EACCES", "EPERM", "ENOENT", "empty"],
    ),
    row(
        "the machine's command line",
        &["read", "/proc/cmdline"],
        ABSENT,
    ),
    row(
        "the machine's memory image",
        &["read", "/proc/kcore"],
        &["EACCES", "EPERM", "ENOENT"],
    ),
];
