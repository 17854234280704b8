/* Tries to get out. One attempt per run: `probe ATTEMPT [ARGUMENTS]`. Prints `held NAME ERRNO` and exits with 0 if the
 * attempt failed, `OUT DETAIL` and 42 if it got anywhere. Built by the test with the system's C compiler. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/memfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int held(const char *what) {
    printf("held %s %s\n", what, strerrorname_np(errno));
    return 0;
}

static int out(const char *detail) {
    printf("OUT %s\n", detail);
    return 42;
}

/* The verdict on a call that has to fail. */
static int must_fail(const char *what, long result) {
    return result < 0 ? held(what) : out(what);
}

static int open_path(const char *path, int flags) {
    int fd = open(path, flags);
    return must_fail("open", fd);
}

static int read_path(const char *path) {
    char text[256];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return held("open");
    ssize_t got = read(fd, text, sizeof text);
    if (got < 0) return held("read");
    return got == 0 ? held("empty") : out("read something");
}

static int connect_inet(const char *address, const char *port, int type, int flags) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, type, 0);
    if (fd < 0) return held("socket");
    if (flags & MSG_FASTOPEN) return must_fail("fastopen", sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&to, sizeof to));
    if (type == SOCK_DGRAM) return must_fail("sendto", sendto(fd, "x", 1, 0, (void *)&to, sizeof to));
    return must_fail("connect", connect(fd, (void *)&to, sizeof to));
}

static int connect_unix(const char *path, int abstract) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    memcpy(to.sun_path + abstract, path, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return held("socket");
    return must_fail("connect", connect(fd, (void *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + length)));
}

static int run(const char *path, char *const args[]) {
    pid_t pid = fork();
    if (pid < 0) return held("fork");
    if (pid == 0) {
        execv(path, args);
        _exit(errno == ENOENT ? 201 : errno == EACCES ? 202 : errno == EPERM ? 203 : 204);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) { errno = EFAULT; return held("killed"); }
    switch (WEXITSTATUS(status)) {
    case 201: errno = ENOENT; return held("exec");
    case 202: errno = EACCES; return held("exec");
    case 203: errno = EPERM; return held("exec");
    case 204: errno = ENOEXEC; return held("exec");
    case 126: case 127: errno = EACCES; return held("loader");
    default: return out("it ran");
    }
}

static int copy_and_run(const char *from, const char *to, const char *loader) {
    char block[65536];
    ssize_t got;
    int in = open(from, O_RDONLY), to_fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    if (in < 0) return held("open");
    if (to_fd < 0) return held("create");
    while ((got = read(in, block, sizeof block)) > 0)
        if (write(to_fd, block, (size_t)got) != got) return held("write");
    close(in);
    close(to_fd);
    if (loader) return run(loader, (char *[]){(char *)loader, (char *)to, NULL});
    return run(to, (char *[]){(char *)to, NULL});
}

static int memfd_run(const char *from) {
    char block[65536];
    ssize_t got;
    int fd = (int)syscall(SYS_memfd_create, "x", 0);
    if (fd < 0) return held("memfd_create");
    int in = open(from, O_RDONLY);
    while (in >= 0 && (got = read(in, block, sizeof block)) > 0)
        if (write(fd, block, (size_t)got) != got) break;
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", (char *[]){"x", NULL}, (char *[]){NULL}, AT_EMPTY_PATH);
        _exit(99);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    errno = EACCES;
    return WIFEXITED(status) && WEXITSTATUS(status) == 99 ? held("execveat") : out("memfd ran");
}

static int list_processes(void) {
    DIR *proc = opendir("/proc");
    if (!proc) return held("opendir");
    int foreign = 0;
    struct dirent *entry;
    while ((entry = readdir(proc)))
        if (atoi(entry->d_name) > 3000) foreign++;
    errno = ESRCH;
    return foreign ? out("foreign processes") : held("list");
}

static int fork_bomb(void) {
    int made = 0;
    for (; made < 100000; made++) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0) for (;;) pause();
    }
    return made < 100000 ? held("fork") : out("100000 processes");
}

static int memory_hog(void) {
    size_t step = 1UL << 30, total = 0;
    for (; total < 256; total++)
        if (mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED) break;
    return total < 256 ? held("mmap") : out("256 GiB");
}

static int disk_fill(const char *path) {
    static char block[1 << 20];
    memset(block, 7, sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return held("open");
    signal(SIGXFSZ, SIG_IGN);
    long written = 0;
    while (written < 8192) {
        ssize_t went = write(fd, block, sizeof block);
        if (went < 0) break;
        written++;
    }
    unlink(path);
    return written < 8192 ? held("write") : out("8 GiB");
}

static int files_fill(const char *directory) {
    char name[256];
    int made = 0, failed = 0;
    for (; made < 1000000; made++) {
        snprintf(name, sizeof name, "%s/f%d", directory, made);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd < 0) { failed = errno; break; }
        close(fd);
    }
    for (int at = 0; at < made; at++) { snprintf(name, sizeof name, "%s/f%d", directory, at); unlink(name); }
    errno = failed;
    return made < 1000000 ? held("create") : out("1000000 files");
}

static int watchers(void) {
    int made = 0;
    while (made < 100 && inotify_init1(0) >= 0) made++;
    return made < 100 ? held("inotify_init1") : out("100 queues");
}

/* Every descriptor that was inherited, opened once more by name. */
static int reopen_for_writing(void) {
    errno = EBADF;
    for (int pid = 0; pid < 2; pid++)
        for (int fd = pid ? 0 : 3; fd < 1024; fd++) {
            char path[64];
            snprintf(path, sizeof path, pid ? "/proc/1/fd/%d" : "/proc/self/fd/%d", fd);
            int got = open(path, O_WRONLY | O_NONBLOCK);
            if (got >= 0) return out(path);
        }
    return held("reopen");
}

static int descriptors(void) {
    int made = 0;
    while (made < 1000000 && open("/dev/null", O_RDONLY) >= 0) made++;
    return made < 1000000 ? held("open") : out("1000000 descriptors");
}

static int flood(void) {
    static char block[1 << 16];
    memset(block, 'f', sizeof block);
    for (int count = 0; count < 4096; count++)
        if (write(1, block, sizeof block) < 0) break;
    return 0;
}

/* Sends a request as it stands to the proxy the environment names, and prints the status of the answer. */
static int proxy(const char *request) {
    const char *at = getenv("http_proxy");
    unsigned port = 0;
    char text[4096] = {0};
    if (!at || sscanf(at, "http://127.0.0.1:%u", &port) != 1) { errno = ENOENT; return held("proxy"); }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (void *)&to, sizeof to) < 0) return held("connect");
    if (write(fd, request, strlen(request)) < 0) return held("write");
    ssize_t had = 0, got;
    while (had < (ssize_t)sizeof text - 1 && (got = read(fd, text + had, sizeof text - 1 - (size_t)had)) > 0) had += got;
    printf("proxy %s\n", had ? text : "closed");
    return 0;
}

static int kill_others(void) {
    errno = ESRCH;
    /* PID 1 is the worker; a signal it does not handle, from inside, does not reach it. Negative: everyone we may signal. */
    kill(1, SIGKILL);
    kill(1, SIGTERM);
    return held("kill");
}

static int environment(const char *needle) {
    extern char **environ;
    for (char **entry = environ; *entry; entry++)
        if (strstr(*entry, needle)) return out(*entry);
    char text[8192];
    int fd = open("/proc/1/environ", O_RDONLY);
    if (fd >= 0) {
        ssize_t got = read(fd, text, sizeof text - 1);
        for (ssize_t at = 0; at < got; at++) if (!text[at]) text[at] = '\n';
        text[got > 0 ? got : 0] = 0;
        if (got > 0 && strstr(text, needle)) return out("in /proc/1/environ");
    }
    errno = ENOENT;
    return held("environment");
}

static int descriptors_beyond_standard(void) {
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            char link[64], to[256] = {0};
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, to, sizeof to - 1) < 0) strcpy(to, "?");
            return out(to);
        }
    errno = EBADF;
    return held("fds");
}

static int proc_fds(const char *needle) {
    /* Through every descriptor of every process to be seen, up and out. */
    for (int pid = 1; pid < 64; pid++)
        for (int fd = 0; fd < 64; fd++) {
            char path[128], text[64];
            snprintf(path, sizeof path, "/proc/%d/fd/%d/../../../../../../%s", pid, fd, needle);
            int got = open(path, O_RDONLY);
            if (got >= 0 && read(got, text, sizeof text) > 0) return out(path);
            snprintf(path, sizeof path, "/proc/%d/root/%s", pid, needle);
            got = open(path, O_RDONLY);
            if (got >= 0 && read(got, text, sizeof text) > 0) return out(path);
            snprintf(path, sizeof path, "/proc/%d/cwd/../../../../../../%s", pid, needle);
            got = open(path, O_RDONLY);
            if (got >= 0 && read(got, text, sizeof text) > 0) return out(path);
        }
    errno = ENOENT;
    return held("proc fds");
}

static int swap_while_opening(const char *inside, const char *outside) {
    char name[] = "/tmp/swapped";
    pid_t pid = fork();
    if (pid == 0)
        for (;;) {
            unlink(name); if (symlink(inside, name)) {}
            unlink(name); if (symlink(outside, name)) {}
        }
    char text[64];
    int reached = 0;
    for (int round = 0; round < 20000 && !reached; round++) {
        int fd = open(name, O_RDONLY);
        if (fd < 0) continue;
        if (read(fd, text, 6) == 6 && !memcmp(text, "secret", 6)) reached = 1;
        close(fd);
    }
    kill(pid, SIGKILL);
    errno = ENOENT;
    return reached ? out("outside through a swapped link") : held("swap");
}

int main(int count, char **args) {
    const char *what = count > 1 ? args[1] : "";
    const char *a = count > 2 ? args[2] : "", *b = count > 3 ? args[3] : "";
#define IS(name) (!strcmp(what, name))
    if (IS("hello")) { puts("hello"); return 0; }
    if (IS("read")) return read_path(a);
    if (IS("write")) return open_path(a, O_WRONLY | O_CREAT);
    if (IS("link")) { if (link(a, b) == 0) return read_path(b); return held("link"); }
    if (IS("symlink")) { if (symlink(a, b)) return held("symlink"); return read_path(b); }
    if (IS("rename")) return must_fail("rename", rename(a, b));
    if (IS("chmod")) { struct stat now; return stat(a, &now) ? held("stat") : must_fail("chmod", chmod(a, now.st_mode & 07777)); }
    if (IS("limit-worker")) { struct rlimit limit; return must_fail("prlimit", prlimit(1, RLIMIT_NOFILE, NULL, &limit)); }
    if (IS("mknod-file")) return must_fail("mknod", syscall(SYS_mknod, a, S_IFREG | 0600, 0x1000));
    if (IS("files")) return files_fill(a);
    if (IS("watchers")) return watchers();
    if (IS("reopen")) return reopen_for_writing();
    if (IS("swap")) return swap_while_opening(a, b);
    if (IS("proc-fds")) return proc_fds(a);
    if (IS("fds")) return descriptors_beyond_standard();
    if (IS("processes")) return list_processes();
    if (IS("mknod")) return must_fail("mknod", mknod("/tmp/device", S_IFBLK | 0600, (8 << 8)));
    if (IS("mkfifo-open-device")) return must_fail("open", open("/dev/mem", O_RDONLY));
    if (IS("bind-parent")) return must_fail("mount", mount(a, "/tmp", NULL, MS_BIND, NULL));
    if (IS("unshare")) return must_fail("unshare", unshare(atoi(a)));
    if (IS("clone")) { long pid = syscall(SYS_clone, (long)strtol(a, NULL, 0) | SIGCHLD, 0, 0, 0, 0); if (pid == 0) _exit(0); return must_fail("clone", pid); }
    if (IS("clone3")) { struct { uint64_t flags, rest[10]; } how = {CLONE_NEWUSER, {0}}; long pid = syscall(SYS_clone3, &how, 88); if (pid == 0) _exit(0); return must_fail("clone3", pid); }
    if (IS("setns")) { int fd = open("/proc/self/ns/user", O_RDONLY); return must_fail("setns", syscall(SYS_setns, fd, 0)); }
    if (IS("ptrace")) return must_fail("ptrace", ptrace(PTRACE_ATTACH, 1, 0, 0));
    if (IS("ptrace-me")) return must_fail("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
    if (IS("process-vm")) { char x; struct iovec here = {&x, 1}, there = {(void *)main, 1}; return must_fail("process_vm_readv", process_vm_readv(getppid(), &here, 1, &there, 1, 0)); }
    if (IS("proc-mem")) return open_path("/proc/1/mem", O_RDONLY);
    if (IS("mount")) return must_fail("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    if (IS("fsopen")) return must_fail("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    if (IS("open-tree")) return must_fail("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    if (IS("umount")) return must_fail("umount", umount2(a, MNT_DETACH));
    if (IS("pivot")) return must_fail("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
    if (IS("chroot")) return must_fail("chroot", chroot("/tmp"));
    if (IS("keyctl")) return must_fail("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    if (IS("add-key")) return must_fail("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    if (IS("bpf")) return must_fail("bpf", syscall(SYS_bpf, 0, NULL, 0));
    if (IS("perf")) { char attr[128] = {0}; return must_fail("perf_event_open", syscall(SYS_perf_event_open, attr, 0, -1, -1, 0)); }
    if (IS("userfaultfd")) return must_fail("userfaultfd", syscall(SYS_userfaultfd, 0));
    if (IS("io-uring")) { char params[256] = {0}; return must_fail("io_uring_setup", syscall(SYS_io_uring_setup, 4, params)); }
    if (IS("tiocsti")) return must_fail("ioctl", ioctl(0, TIOCSTI, "x"));
    if (IS("personality")) return must_fail("personality", personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC));
    if (IS("modify-ldt")) return must_fail("modify_ldt", syscall(SYS_modify_ldt, 0, NULL, 0));
    if (IS("open-by-handle")) { struct { struct file_handle head; char rest[128]; } handle = {{.handle_bytes = 128}, {0}}; return must_fail("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY)); }
    if (IS("kexec")) return must_fail("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    if (IS("init-module")) return must_fail("init_module", syscall(SYS_init_module, NULL, 0, ""));
    if (IS("reboot")) return must_fail("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    if (IS("settime")) { struct timespec now = {0, 0}; return must_fail("clock_settime", syscall(SYS_clock_settime, 0, &now)); }
    if (IS("hostname")) return must_fail("sethostname", sethostname("x", 1));
    if (IS("setuid")) return must_fail("setuid", setuid(0));
    if (IS("capset")) { struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0}; struct __user_cap_data_struct data[2] = {{1 << CAP_SYS_ADMIN, 1 << CAP_SYS_ADMIN, 0}, {0, 0, 0}}; return must_fail("capset", syscall(SYS_capset, &head, data)); }
    if (IS("dumpable")) return must_fail("prctl", prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0));
    if (IS("raise-limit")) { struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY}; return must_fail("setrlimit", setrlimit(RLIMIT_CORE, &limit)); }
    if (IS("core")) { struct rlimit limit; getrlimit(RLIMIT_CORE, &limit); errno = EPERM; return limit.rlim_max == 0 ? held("core") : out("core dumps"); }
    if (IS("run")) return run(a, (char *[]){(char *)a, (char *)b, NULL});
    if (IS("run-by")) return run(a, (char *[]){(char *)a, (char *)b, NULL});
    if (IS("copy-run")) return copy_and_run(a, b, NULL);
    if (IS("copy-loader")) return copy_and_run(a, b, count > 4 ? args[4] : "/lib64/ld-linux-x86-64.so.2");
    if (IS("memfd")) return memfd_run(a);
    if (IS("script")) { FILE *file = fopen(b, "w"); if (!file) return held("create"); fprintf(file, "#!%s\n", a); fclose(file); chmod(b, 0755); return run(b, (char *[]){(char *)b, NULL}); }
    if (IS("mmap-exec")) { int fd = open(a, O_RDWR | O_CREAT, 0700); if (fd < 0) return held("open"); if (ftruncate(fd, 4096)) return held("truncate"); return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? held("mmap") : out("executable mapping"); }
    if (IS("tcp")) return connect_inet(a, b, SOCK_STREAM, 0);
    if (IS("udp")) return connect_inet(a, b, SOCK_DGRAM, 0);
    if (IS("fastopen")) return connect_inet(a, b, SOCK_STREAM, MSG_FASTOPEN);
    if (IS("raw")) return must_fail("socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    if (IS("packet")) return must_fail("socket", socket(AF_PACKET, SOCK_RAW, 0));
    if (IS("netlink")) return must_fail("socket", socket(AF_NETLINK, SOCK_RAW, 0));
    if (IS("vsock")) return must_fail("socket", socket(AF_VSOCK, SOCK_STREAM, 0));
    if (IS("alg")) return must_fail("socket", socket(AF_ALG, SOCK_SEQPACKET, 0));
    if (IS("unix-path")) return connect_unix(a, 0);
    if (IS("unix-abstract")) return connect_unix(a, 1);
    if (IS("proxy")) return proxy(a);
    if (IS("fork-bomb")) return fork_bomb();
    if (IS("memory")) return memory_hog();
    if (IS("disk")) return disk_fill(a);
    if (IS("descriptors")) return descriptors();
    if (IS("flood")) return flood();
    if (IS("kill")) return kill_others();
    if (IS("environment")) return environment(a);
    if (IS("daemonize")) { if (fork() == 0) { setsid(); if (fork() == 0) for (;;) pause(); _exit(0); } return 0; }
    if (IS("hang")) for (;;) pause();
    fprintf(stderr, "no such attempt: %s\n", what);
    return 2;
}
