/* Preloaded into a daemon by a test: as long as the file named by DONET_TEST_READ_ONLY exists, nothing below the folder
 * DONET_TEST_FOLDER can be written, as if its disk had been mounted read-only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_read_only(void) {
    const char *flag = getenv("DONET_TEST_READ_ONLY");
    return flag && access(flag, F_OK) == 0;
}

static int is_below(const char *path) {
    const char *folder = getenv("DONET_TEST_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int refuses_path(const char *path) {
    if (!is_below(path) || !is_read_only()) return 0;
    errno = EROFS;
    return 1;
}

static int refuses(int fd) {
    char link[64], path[PATH_MAX];
    if (!is_read_only()) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return refuses_path(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) { return refuses(fd) ? -1 : REAL(write)(fd, bytes, count); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return refuses(fd) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return refuses(fd) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return refuses(fd) ? -1 : REAL(writev)(fd, parts, count); }
int ftruncate(int fd, off_t length) { return refuses(fd) ? -1 : REAL(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { return refuses(fd) ? -1 : REAL(ftruncate64)(fd, length); }
int rename(const char *from, const char *to) { return refuses_path(to) ? -1 : REAL(rename)(from, to); }
int unlink(const char *path) { return refuses_path(path) ? -1 : REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { return refuses_path(path) ? -1 : REAL(mkdir)(path, mode); }

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...) {                                       \
        va_list rest;                                                                  \
        va_start(rest, flags);                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;        \
        va_end(rest);                                                                  \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && refuses_path(path)) return -1;  \
        return REAL(name)(path, flags, mode);                                          \
    }
OPEN(open)
OPEN(open64)
