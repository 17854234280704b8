/* A disk that fails beneath the program this is loaded into: what it does to files beneath the directory SICK_DIR is refused
 * while the file SICK_NOW says how. `r`: nothing can be written, as on a disk that has become read-only. `s`: what is
 * written cannot be synced. `d`: the same, of the journal's database alone and not of its log. The program is the real one, and so is everything of the disk that is not refused. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_refused(int fd, char how)
{
    const char *dir = getenv("SICK_DIR"), *now = getenv("SICK_NOW");
    char link[64], path[PATH_MAX], found = 0;
    int file = dir && now ? open(now, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t length = read(file, &found, 1);
    close(file);
    char database = found == 'd' && how == 's';
    if (length != 1 || (found != how && !database))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path);
    if (length <= (ssize_t)strlen(dir) || strncmp(path, dir, strlen(dir)) != 0)
        return 0;
    return !database || strncmp(path + length - 3, ".db", 3) == 0;
}

#define REFUSED(how, error, type, name, plain, given)    \
    type name plain                                      \
    {                                                    \
        static type (*real) plain;                       \
        if (is_refused(fd, how)) {                       \
            errno = error;                               \
            return -1;                                   \
        }                                                \
        if (!real)                                       \
            *(void **)&real = dlsym(RTLD_NEXT, #name);   \
        return real given;                               \
    }

REFUSED('r', EROFS, ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
REFUSED('r', EROFS, ssize_t, pwrite64, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
REFUSED('r', EROFS, int, ftruncate64, (int fd, off_t size), (fd, size))
REFUSED('s', EIO, int, fdatasync, (int fd), (fd))
REFUSED('s', EIO, int, fsync, (int fd), (fd))
