/* Preloaded into a process under test: records of each file how many of its bytes were synced last, one line for each
 * event, so that a test can cut away what a power cut might. Files are named by device and inode, which outlive
 * renames; an unlinked file gives its inode back and is forgotten. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static void note(char event, const struct stat *file, long long bytes) {
    static int log_file = -1;
    char line[128];
    int length;
    if (log_file < 0) {
        const char *path = getenv("DONET_TEST_SYNC_LOG");
        if (path == NULL || (log_file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) abort();
    }
    length = snprintf(line, sizeof line, "%c %llu %llu %lld\n", event, (unsigned long long)file->st_dev,
                      (unsigned long long)file->st_ino, bytes);
    /* One short append is whole. */
    if (write(log_file, line, (size_t)length) != length) abort();
}

static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
    int result = real(fd);
    /* The length from before the call: what is written meanwhile may not be covered. */
    if (result == 0 && known) note('S', &before, (long long)before.st_size);
    return result;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

static int truncated(const char *name, int fd, off_t length) {
    int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, name);
    struct stat file;
    int result = real(fd, length);
    if (result == 0 && fstat(fd, &file) == 0) note('T', &file, (long long)length);
    return result;
}

int ftruncate(int fd, off_t length) { return truncated("ftruncate", fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated("ftruncate64", fd, (off_t)length); }

int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    struct stat file;
    int known = lstat(path, &file) == 0;
    int result = real(path);
    if (result == 0 && known && file.st_nlink == 1) note('U', &file, 0);
    return result;
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    struct stat file;
    int replaces = lstat(to, &file) == 0;
    int result = real(from, to);
    if (result == 0 && replaces && file.st_nlink == 1) note('U', &file, 0);
    return result;
}
