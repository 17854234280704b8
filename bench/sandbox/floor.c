/* The yardstick of confinement: what the kernel itself takes for a confined launch and for a call, measured by a process
 * that does nothing else. It is driven over its standard input, one request a line, so that whoever compares can take
 * turns with it; each answer is one line of whole numbers, in nanoseconds unless said otherwise.
 *
 *   floor WORKSPACE SCRATCH WORKER
 *
 *   launch           MINIMUM: six namespaces, an own root of five binds, Landlock with eleven rules, a filter of sixty
 *                    system calls, exec of WORKER. Answers: until it is ready, then until it is gone.
 *   whole            as launch, with what a worker of ours has besides: a seventh namespace, /proc, five devices, /tmp
 *   handed           a worker that already has its namespaces and root is sent 200 bytes, and adds Landlock and the filter
 *   command PROGRAM  as launch, with a program in the worker's place; until it has ended
 *   echo BYTES N     N round trips to a resident confined worker, each answered by itself
 *   read FILE N      N reads of a file of the workspace through it
 *   together C MS    C processes launching over and over; answers launches per second, median, 99th percentile
 *   hold N, release  N resident workers; until the last was ready; until the last was gone
 *
 * MINIMUM is a limit, not a sandbox: no /proc, no /dev, no resource limits, no proof that any of it holds. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "name this machine's AUDIT_ARCH"
#endif

enum { SIX = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET };
enum { CALLS_ALLOWED = 60, POLICY_BYTES = 200, SAMPLES_MAX = 20000, HELD_MAX = 4096, STACK_BYTES = 256 * 1024 };

typedef struct { pid_t pid; int line; } Child;
typedef struct { int line; int worker; const char *program; int whole; } Plan;

static const char *workspace, *scratch;
static int worker_file;
static char identity_u[64], identity_g[64];
static _Alignas(16) char stack[STACK_BYTES];
static struct sock_filter filter[CALLS_ALLOWED + 6];

static void fail(const char *doing) {
    fprintf(stderr, "floor: %s: %s\n", doing, strerror(errno));
    _exit(1);
}

static long sure(long result, const char *doing) {
    if (result < 0) fail(doing);
    return result;
}

static uint64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* --- confinement, one step each --- */

static void put(const char *path, const char *text) {
    int file = (int)sure(open(path, O_WRONLY | O_CLOEXEC), path);
    sure(write(file, text, strlen(text)), path);
    close(file);
}

static void map_identity(void) {
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", identity_u);
    put("/proc/self/gid_map", identity_g);
}

static void bind_tree(const char *from, const char *to, int writable) {
    sure(mkdir(to, 0755), to);
    sure(mount(from, to, NULL, MS_BIND, NULL), from);
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (writable ? 0 : MS_RDONLY);
    if (!writable) sure(mount(NULL, to, NULL, flags, NULL), to);
}

/* What programs expect of a root. */
static void furnish(void) {
    static const char *const devices[] = {"null", "zero", "full", "random", "urandom"};
    sure(mkdir("proc", 0755), "proc");
    sure(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount proc");
    sure(mkdir("tmp", 0755), "tmp");
    sure(mount("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=16m"), "mount /tmp");
    sure(mkdir("dev", 0755), "dev");
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        char from[32], to[32];
        snprintf(from, sizeof from, "/dev/%s", devices[i]);
        snprintf(to, sizeof to, "dev/%s", devices[i]);
        close((int)sure(open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644), to));
        sure(mount(from, to, NULL, MS_BIND, NULL), from);
    }
}

static void build_root(int whole) {
    sure(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make mounts slave");
    sure(mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755"), "mount tmpfs");
    sure(chdir(scratch), scratch);
    bind_tree("/usr", "usr", 0);
    bind_tree("/etc", "etc", 0);
    bind_tree("/var", "var", 0);
    bind_tree("/opt", "opt", 0);
    bind_tree(workspace, "ws", 1);
    if (whole) furnish();
    static const char *const links[] = {"bin", "sbin", "lib", "lib64"};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char target[16];
        snprintf(target, sizeof target, "usr/%s", links[i]);
        sure(symlink(target, links[i]), links[i]);
    }
    sure(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    sure(umount2(".", MNT_DETACH), "detach the old root");
    sure(chdir("/"), "/");
}

static void rule(int rules, int beneath, uint64_t allowed) {
    struct { uint64_t allowed; int32_t beneath; } __attribute__((packed)) path = {allowed, beneath};
    sure(syscall(445, rules, 1, &path, 0), "landlock_add_rule");
}

static void landlock(int worker) {
    static const char *const trees[] = {"/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share",
                                        "/etc", "/var", "/var/lib", "/opt", "/ws"};
    enum { EXECUTE = 1, READ_FILE = 4, READ_DIR = 8 };
    long abi = sure(syscall(444, NULL, 0, 1), "Landlock");
    struct { uint64_t files, net, scoped; } handled = {abi >= 5 ? 0xffff : abi >= 3 ? 0x7fff : 0x1fff, 3, 3};
    size_t known = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    int rules = (int)sure(syscall(444, &handled, known, 0), "landlock_create_ruleset");
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        int tree = (int)sure(open(trees[i], O_PATH | O_CLOEXEC), trees[i]);
        rule(rules, tree, EXECUTE | READ_FILE | READ_DIR);
        close(tree);
    }
    if (worker >= 0) rule(rules, worker, EXECUTE | READ_FILE);
    sure(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    sure(syscall(446, rules, 0), "landlock_restrict_self");
    close(rules);
}

/* A list walked one by one, as generated filters are. */
static void make_filter(void) {
    static const uint32_t needed[] = {
        SYS_read, SYS_write, SYS_close, SYS_openat, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_mmap,
        SYS_munmap, SYS_mprotect, SYS_brk, SYS_fstat, SYS_newfstatat, SYS_lseek, SYS_pread64, SYS_readlinkat,
        SYS_faccessat, SYS_set_tid_address, SYS_set_robust_list, SYS_rseq, SYS_prlimit64, SYS_getrandom,
        SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_futex, SYS_getpid, SYS_ioctl, SYS_getdents64,
#if defined(__x86_64__)
        SYS_arch_prctl, SYS_access, SYS_open, SYS_readlink, SYS_poll,
#endif
    };
    size_t fill = sizeof needed / sizeof *needed, at = 0;
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < CALLS_ALLOWED; i++) {
        uint32_t call = i < fill ? needed[i] : (uint32_t)(900 + i);
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, (uint8_t)(CALLS_ALLOWED - i), 0);
    }
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

static void install_filter(void) {
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    sure(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    sure(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

/* --- launching --- */

static int confined(void *argument) {
    const Plan *plan = argument;
    char *const nothing[] = {NULL};
    if (plan->line >= 0) sure(dup2(plan->line, 0), "dup2");
    map_identity();
    build_root(plan->whole);
    landlock(plan->worker);
    install_filter();
    if (plan->program) {
        char *const words[] = {(char *)plan->program, NULL};
        execve(plan->program, words, nothing);
    } else {
        char *const words[] = {"worker", NULL};
        syscall(SYS_execveat, plan->worker, "", words, nothing, AT_EMPTY_PATH);
    }
    fail("exec");
    return 1;
}

static pid_t start(const Plan *plan) {
    int flags = SIX | CLONE_VM | CLONE_VFORK | SIGCHLD | (plan->whole ? CLONE_NEWCGROUP : 0);
    return (pid_t)sure(clone(confined, stack + STACK_BYTES - 64, flags, (void *)plan), "clone");
}

static void pair(int ends[2]) {
    sure(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
}

static void await_byte(int line) {
    char byte;
    if (read(line, &byte, 1) != 1) fail("the worker ended before it was ready");
}

static void reap(pid_t pid) {
    while (waitpid(pid, NULL, __WALL) < 0)
        if (errno != EINTR) fail("waitpid");
}

static Child launch(int whole) {
    int ends[2];
    pair(ends);
    Plan plan = {ends[1], worker_file, NULL, whole};
    pid_t pid = start(&plan);
    close(ends[1]);
    await_byte(ends[0]);
    return (Child){pid, ends[0]};
}

static void finish(Child child) {
    close(child.line);
    reap(child.pid);
}

/* --- requests --- */

static void say_launch(int whole) {
    uint64_t from = now();
    Child child = launch(whole);
    uint64_t ready = now();
    finish(child);
    printf("%lu %lu\n", ready - from, now() - ready);
}

static void say_command(const char *program) {
    Plan plan = {-1, -1, program, 0};
    uint64_t from = now();
    pid_t pid = start(&plan);
    reap(pid);
    printf("%lu\n", now() - from);
}

static void say_handed(void) {
    int ends[2];
    char policy[POLICY_BYTES] = {0};
    pair(ends);
    pid_t pid = (pid_t)sure(syscall(SYS_clone, SIX | SIGCHLD, 0, 0, 0, 0), "clone");
    if (pid == 0) {
        close(ends[0]);
        map_identity();
        build_root(0);
        sure(write(ends[1], "S", 1), "staged");
        sure(read(ends[1], policy, sizeof policy), "policy");
        landlock(-1);
        install_filter();
        sure(write(ends[1], "R", 1), "ready");
        _exit(read(ends[1], policy, 1) != 0);
    }
    close(ends[1]);
    await_byte(ends[0]);
    /* Until it waits for its policy, which it does at once. */
    struct timespec moment = {0, 300000};
    nanosleep(&moment, NULL);
    uint64_t from = now();
    sure(write(ends[0], policy, sizeof policy), "hand over");
    await_byte(ends[0]);
    uint64_t ready = now();
    finish((Child){pid, ends[0]});
    printf("%lu\n", ready - from);
}

static Child resident(void) {
    static Child child = {0, -1};
    if (child.line < 0) child = launch(0);
    return child;
}

static void say_trips(const char *message, size_t sent, size_t expected, long count) {
    static char answer[65536];
    Child child = resident();
    for (long i = 0; i < count; i++) {
        uint64_t from = now();
        sure(write(child.line, message, sent), "ask");
        for (size_t got = 0; got < expected;) {
            long more = sure(read(child.line, answer, sizeof answer), "answer");
            if (more == 0) fail("the worker ended");
            got += (size_t)more;
        }
        printf("%lu ", now() - from);
    }
    printf("\n");
}

static void say_echo(size_t bytes, long count) {
    static char message[65536];
    if (bytes > sizeof message) bytes = sizeof message;
    memset(message, 'E', bytes);
    say_trips(message, bytes, bytes, count);
}

static void say_read(const char *name, long count) {
    char message[512], outside[4096];
    struct stat about;
    snprintf(outside, sizeof outside, "%s/%s", workspace, name);
    sure(stat(outside, &about), outside);
    int length = snprintf(message, sizeof message, "F/ws/%s", name);
    say_trips(message, (size_t)length, (size_t)about.st_size, count);
}

static int by_size(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void loop(uint64_t until, uint64_t *count, uint64_t *taken) {
    for (*count = 0; now() < until && *count < SAMPLES_MAX; ++*count) {
        uint64_t from = now();
        Child child = launch(0);
        taken[*count] = now() - from;
        finish(child);
    }
    _exit(0);
}

static void say_together(size_t processes, uint64_t milliseconds) {
    size_t each = SAMPLES_MAX + 1, bytes = processes * each * sizeof(uint64_t);
    uint64_t *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) fail("mmap");
    uint64_t from = now();
    pid_t pids[64];
    if (processes > 64) processes = 64;
    fflush(stdout);
    for (size_t i = 0; i < processes; i++) {
        pids[i] = (pid_t)sure(fork(), "fork");
        if (pids[i] == 0) loop(from + milliseconds * 1000000u, shared + i * each, shared + i * each + 1);
    }
    for (size_t i = 0; i < processes; i++) reap(pids[i]);
    double seconds = (double)(now() - from) / 1e9;
    size_t total = 0;
    for (size_t i = 0; i < processes; i++) {
        size_t count = (size_t)shared[i * each];
        memmove(shared + total, shared + i * each + 1, count * sizeof *shared);
        total += count;
    }
    if (total == 0) fail("nothing was launched");
    qsort(shared, total, sizeof *shared, by_size);
    printf("%.0f %lu %lu\n", (double)total / seconds, shared[total / 2], shared[(total - 1) * 99 / 100]);
    munmap(shared, bytes);
}

static Child held[HELD_MAX];
static size_t held_count;

static void say_hold(size_t count) {
    uint64_t from = now();
    while (held_count < HELD_MAX && count-- > 0) held[held_count++] = launch(0);
    printf("%lu\n", now() - from);
}

static void say_release(void) {
    uint64_t from = now();
    for (size_t i = 0; i < held_count; i++) close(held[i].line);
    for (size_t i = 0; i < held_count; i++) reap(held[i].pid);
    held_count = 0;
    printf("%lu\n", now() - from);
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: floor WORKSPACE SCRATCH WORKER\n");
        return 2;
    }
    workspace = words[1];
    scratch = words[2];
    /* Kept clear of the low numbers, which a worker uses. */
    int file = (int)sure(open(words[3], O_RDONLY | O_CLOEXEC), words[3]);
    worker_file = (int)sure(fcntl(file, F_DUPFD_CLOEXEC, 10), words[3]);
    close(file);
    snprintf(identity_u, sizeof identity_u, "0 %u 1\n", geteuid());
    snprintf(identity_g, sizeof identity_g, "0 %u 1\n", getegid());
    make_filter();
    char line[512], text[400];
    unsigned long a, b;
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "launch\n") == 0) say_launch(0);
        else if (strcmp(line, "whole\n") == 0) say_launch(1);
        else if (strcmp(line, "handed\n") == 0) say_handed();
        else if (sscanf(line, "command %399s", text) == 1) say_command(text);
        else if (sscanf(line, "echo %lu %lu", &a, &b) == 2) say_echo(a, (long)b);
        else if (sscanf(line, "read %399s %lu", text, &b) == 2) say_read(text, (long)b);
        else if (sscanf(line, "together %lu %lu", &a, &b) == 2) say_together(a, b);
        else if (sscanf(line, "hold %lu", &a) == 1) say_hold(a);
        else if (strcmp(line, "release\n") == 0) say_release();
        else printf("?\n");
        fflush(stdout);
    }
    return 0;
}
