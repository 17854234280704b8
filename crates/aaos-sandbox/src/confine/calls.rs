//! Numbers of the system calls that profiles name.
//!
//! Refuses: names of other architectures, by telling them from names that do not exist at all.

/// Names and numbers, out of `libc`'s constants.
macro_rules! table {
    ($($name:ident $constant:ident,)*) => {
        &[$((stringify!($name), libc::$constant)),*]
    };
}

/// Calls that every architecture in use has.
const COMMON: &[(&str, i64)] = table![
    accept SYS_accept, accept4 SYS_accept4, bind SYS_bind, brk SYS_brk, capget SYS_capget, chdir SYS_chdir,
    clock_getres SYS_clock_getres, clock_gettime SYS_clock_gettime, clock_nanosleep SYS_clock_nanosleep,
    clone SYS_clone, clone3 SYS_clone3, close SYS_close, close_range SYS_close_range, connect SYS_connect,
    copy_file_range SYS_copy_file_range, dup SYS_dup, dup3 SYS_dup3, epoll_create1 SYS_epoll_create1,
    epoll_ctl SYS_epoll_ctl, epoll_pwait SYS_epoll_pwait, epoll_pwait2 SYS_epoll_pwait2, eventfd2 SYS_eventfd2,
    execve SYS_execve, execveat SYS_execveat, exit SYS_exit, exit_group SYS_exit_group,
    faccessat SYS_faccessat, faccessat2 SYS_faccessat2, fadvise64 SYS_fadvise64, fallocate SYS_fallocate,
    fchdir SYS_fchdir, fchmod SYS_fchmod, fchmodat SYS_fchmodat, fchmodat2 SYS_fchmodat2, fchown SYS_fchown,
    fchownat SYS_fchownat, fcntl SYS_fcntl, fdatasync SYS_fdatasync, fgetxattr SYS_fgetxattr,
    flistxattr SYS_flistxattr, flock SYS_flock, fremovexattr SYS_fremovexattr, fsetxattr SYS_fsetxattr,
    fstat SYS_fstat, fstatfs SYS_fstatfs, fsync SYS_fsync, ftruncate SYS_ftruncate, futex SYS_futex,
    get_mempolicy SYS_get_mempolicy, get_robust_list SYS_get_robust_list, getcpu SYS_getcpu, getcwd SYS_getcwd,
    getdents64 SYS_getdents64, getegid SYS_getegid, geteuid SYS_geteuid, getgid SYS_getgid,
    getgroups SYS_getgroups, getitimer SYS_getitimer, getpeername SYS_getpeername, getpgid SYS_getpgid,
    getpid SYS_getpid, getppid SYS_getppid, getpriority SYS_getpriority, getrandom SYS_getrandom,
    getresgid SYS_getresgid, getresuid SYS_getresuid, getrlimit SYS_getrlimit, getrusage SYS_getrusage,
    getsid SYS_getsid, getsockname SYS_getsockname, getsockopt SYS_getsockopt, gettid SYS_gettid,
    gettimeofday SYS_gettimeofday, getuid SYS_getuid, getxattr SYS_getxattr,
    inotify_add_watch SYS_inotify_add_watch, inotify_init1 SYS_inotify_init1, inotify_rm_watch SYS_inotify_rm_watch,
    io_uring_enter SYS_io_uring_enter, io_uring_register SYS_io_uring_register, io_uring_setup SYS_io_uring_setup,
    ioctl SYS_ioctl, kill SYS_kill, lgetxattr SYS_lgetxattr, linkat SYS_linkat, listen SYS_listen,
    listxattr SYS_listxattr, llistxattr SYS_llistxattr, lseek SYS_lseek, madvise SYS_madvise,
    membarrier SYS_membarrier, memfd_create SYS_memfd_create, memfd_secret SYS_memfd_secret, mincore SYS_mincore,
    mkdirat SYS_mkdirat, mknodat SYS_mknodat, mlock SYS_mlock, mlock2 SYS_mlock2, mmap SYS_mmap,
    mprotect SYS_mprotect, mremap SYS_mremap, msync SYS_msync, munlock SYS_munlock, munmap SYS_munmap,
    name_to_handle_at SYS_name_to_handle_at, nanosleep SYS_nanosleep, newfstatat SYS_newfstatat, openat SYS_openat,
    openat2 SYS_openat2, pidfd_open SYS_pidfd_open, pidfd_send_signal SYS_pidfd_send_signal, pipe2 SYS_pipe2,
    ppoll SYS_ppoll, prctl SYS_prctl, pread64 SYS_pread64, preadv SYS_preadv, preadv2 SYS_preadv2,
    prlimit64 SYS_prlimit64, pselect6 SYS_pselect6, pwrite64 SYS_pwrite64, pwritev SYS_pwritev,
    pwritev2 SYS_pwritev2, read SYS_read, readahead SYS_readahead, readlinkat SYS_readlinkat, readv SYS_readv,
    recvfrom SYS_recvfrom, recvmmsg SYS_recvmmsg, recvmsg SYS_recvmsg, renameat SYS_renameat,
    renameat2 SYS_renameat2, restart_syscall SYS_restart_syscall, rseq SYS_rseq, rt_sigaction SYS_rt_sigaction,
    rt_sigpending SYS_rt_sigpending, rt_sigprocmask SYS_rt_sigprocmask, rt_sigqueueinfo SYS_rt_sigqueueinfo,
    rt_sigreturn SYS_rt_sigreturn, rt_sigsuspend SYS_rt_sigsuspend, rt_sigtimedwait SYS_rt_sigtimedwait,
    sched_getaffinity SYS_sched_getaffinity, sched_getparam SYS_sched_getparam,
    sched_getscheduler SYS_sched_getscheduler, sched_get_priority_max SYS_sched_get_priority_max,
    sched_get_priority_min SYS_sched_get_priority_min, sched_setaffinity SYS_sched_setaffinity,
    sched_yield SYS_sched_yield, seccomp SYS_seccomp, sendfile SYS_sendfile, sendmmsg SYS_sendmmsg,
    sendmsg SYS_sendmsg, sendto SYS_sendto, set_robust_list SYS_set_robust_list,
    set_tid_address SYS_set_tid_address, setitimer SYS_setitimer, setpgid SYS_setpgid,
    setpriority SYS_setpriority, setrlimit SYS_setrlimit, setsid SYS_setsid, setsockopt SYS_setsockopt,
    setxattr SYS_setxattr, shutdown SYS_shutdown, sigaltstack SYS_sigaltstack, socket SYS_socket,
    socketpair SYS_socketpair, splice SYS_splice, statfs SYS_statfs, statx SYS_statx, symlinkat SYS_symlinkat,
    sync_file_range SYS_sync_file_range, sysinfo SYS_sysinfo, tee SYS_tee, tgkill SYS_tgkill,
    timer_create SYS_timer_create, timer_delete SYS_timer_delete, timer_getoverrun SYS_timer_getoverrun,
    timer_gettime SYS_timer_gettime, timer_settime SYS_timer_settime, timerfd_create SYS_timerfd_create,
    timerfd_gettime SYS_timerfd_gettime, timerfd_settime SYS_timerfd_settime, times SYS_times, tkill SYS_tkill,
    truncate SYS_truncate, umask SYS_umask, uname SYS_uname, unlinkat SYS_unlinkat,
    userfaultfd SYS_userfaultfd, utimensat SYS_utimensat, vmsplice SYS_vmsplice, wait4 SYS_wait4,
    waitid SYS_waitid, write SYS_write, writev SYS_writev,
];

/// Calls that x86-64 alone has; later architectures came without them.
#[cfg(target_arch = "x86_64")]
const OWN: &[(&str, i64)] = table![
    access SYS_access, alarm SYS_alarm, arch_prctl SYS_arch_prctl, chmod SYS_chmod, chown SYS_chown,
    creat SYS_creat, dup2 SYS_dup2, epoll_create SYS_epoll_create, epoll_wait SYS_epoll_wait,
    eventfd SYS_eventfd, fork SYS_fork, getdents SYS_getdents, getpgrp SYS_getpgrp,
    inotify_init SYS_inotify_init, lchown SYS_lchown, link SYS_link, lstat SYS_lstat, mkdir SYS_mkdir,
    mknod SYS_mknod, open SYS_open, pause SYS_pause, personality SYS_personality, pipe SYS_pipe, poll SYS_poll,
    readlink SYS_readlink, rename SYS_rename, rmdir SYS_rmdir, select SYS_select, stat SYS_stat,
    symlink SYS_symlink, time SYS_time, unlink SYS_unlink, utime SYS_utime, utimes SYS_utimes, vfork SYS_vfork,
];
/// Calls that only other architectures name so.
#[cfg(not(target_arch = "x86_64"))]
const OWN: &[(&str, i64)] = table![personality SYS_personality,];

/// Names that some architecture has and others have not.
const SOMEWHERE: &[&str] = &[
    "access",
    "alarm",
    "arch_prctl",
    "chmod",
    "chown",
    "creat",
    "dup2",
    "epoll_create",
    "epoll_wait",
    "eventfd",
    "fork",
    "getdents",
    "getpgrp",
    "inotify_init",
    "lchown",
    "link",
    "lstat",
    "mkdir",
    "mknod",
    "open",
    "pause",
    "pipe",
    "poll",
    "readlink",
    "rename",
    "rmdir",
    "select",
    "stat",
    "symlink",
    "time",
    "unlink",
    "utime",
    "utimes",
    "vfork",
];

/// The number of a call here.
pub(super) fn number(name: &str) -> Option<u32> {
    let mut known = COMMON.iter().chain(OWN);
    let (_, number) = known.find(|(known, _)| *known == name)?;
    u32::try_from(*number).ok()
}

/// Whether a call that has no number here has one on another architecture.
pub(super) fn is_foreign(name: &str) -> bool {
    SOMEWHERE.contains(&name)
}
