/* SPDX-License-Identifier: MIT */
/* The images a boot reads: files kept open across resets, or bytes inside this
 * binary. They are read straight into guest RAM, never mapped: a file that is
 * cut short meanwhile is an error, not a SIGBUS. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/boot/image.h"

int image_fail(const struct image *img, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return fail(-EINVAL, "%s %s: %s", img->opt, img->path, text);
}

/* Whoever reads waits as long as its file likes (a pipe nobody writes to, a
 * hung mount). Once the start is given up, it goes no further than that. */
static _Atomic bool given_up;

void image_give_up(void)
{
    atomic_store(&given_up, true);
}

/* syscalls worker: pause, a start that is given up just then */
static void image_go_on(void)
{
    while (atomic_load(&given_up))
        pause();
}

static ssize_t image_read_pipe(int fd, char *buf, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t got;
    do {
        poll(&p, 1, -1); /* a FIFO that nobody has opened yet is no end */
        image_go_on();
        got = read(fd, buf, n);
    } while (got < 0 && (errno == EINTR || errno == EAGAIN));
    return got < 0 ? -errno : got;
}

/* syscalls worker: poll read write memfd_create(MFD_CLOEXEC) close */
int image_fill(struct image *img, uint64_t max)
{
    static char buf[65536];
    uint64_t size = 0;
    ssize_t n = 0;
    if (!img->pipe)
        return 0;
    int mem = memfd_create("image", MFD_CLOEXEC);
    if (mem < 0)
        return fail(-errno, "%s %s: memfd: %s", img->opt, img->path,
                    strerror(errno));
    while (size <= max &&
           (n = image_read_pipe(img->fd, buf, sizeof(buf))) > 0) {
        size += (uint64_t)n;
        if (size <= max && write(mem, buf, (size_t)n) != n) {
            n = errno ? -errno : -ENOSPC;
            break;
        }
    }
    if (n < 0 || size > max) {
        close(mem);
        return n < 0 ? fail((int)n, "%s %s: %s", img->opt, img->path,
                            strerror((int)-n))
                     : image_fail(img, "more than %llu MiB came out of it",
                                  (unsigned long long)max >> 20);
    }
    close(img->fd);
    img->fd = mem;
    img->size = size;
    img->pipe = false;
    return 0;
}

int image_open(struct image *img, const char *opt, const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    struct stat st;
    char file[4096];
    int fd = open(path, flags);

    *img = (struct image){.opt = opt, .path = path, .fd = -1};
    /* "FILE ARGS", and those may be longer than a file's name */
    if (fd < 0 && (errno == ENOENT || errno == ENAMETOOLONG) &&
        strchr(path, ' ')) {
        snprintf(file, sizeof(file), "%.*s", (int)strcspn(path, " "), path);
        fd = open(file, flags);
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(-errno, "%s %s: %s", opt, path, strerror(errno));
    img->fd = fd;
    img->size = (uint64_t)st.st_size;
    img->pipe = S_ISFIFO(st.st_mode);
    if (S_ISREG(st.st_mode) || img->pipe)
        return 0;
    if (S_ISBLK(st.st_mode)) {
        img->size = (uint64_t)lseek(fd, 0, SEEK_END);
        return 0;
    }
    image_close(img);
    if (S_ISDIR(st.st_mode))
        return fail(-EISDIR, "%s %s: is a directory", opt, path);
    return fail(-EINVAL, "%s %s: is neither a file nor a pipe", opt, path);
}

void image_from_memory(struct image *img, const char *opt, const char *path,
                       const uint8_t *mem, uint64_t size)
{
    *img = (struct image){
        .opt = opt, .path = path, .fd = -1, .mem = mem, .size = size};
}

void image_close(struct image *img)
{
    if (img->fd >= 0)
        close(img->fd);
    *img = (struct image){.fd = -1};
}

/* syscalls worker: pread64 */
int image_read(const struct image *img, uint64_t off, void *dst, uint64_t len)
{
    uint8_t *p = dst;

    if (off > img->size || len > img->size - off)
        return image_fail(img,
                          "truncated: bytes %llu to %llu are wanted, the "
                          "file has %llu",
                          (unsigned long long)off,
                          (unsigned long long)(off + len),
                          (unsigned long long)img->size);
    if (img->fd < 0) {
        memcpy(p, img->mem + off, len);
        return 0;
    }
    while (len > 0) {
        ssize_t n = pread(img->fd, p, len, (off_t)off);
        image_go_on();
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(-errno, "%s %s: %s", img->opt, img->path,
                        strerror(errno));
        if (n == 0)
            return image_fail(img, "became shorter while it was being read");
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int image_load(const struct image *img, struct machine *m, uint64_t off,
               gpa_t to, uint64_t len)
{
    void *p = ram_ptr(&m->ram, to, len);

    if (!len)
        return 0;
    if (!p)
        return image_fail(img,
                          "is to be loaded at %#llx to %#llx, which is "
                          "not all RAM; -m is too small",
                          (unsigned long long)to.v,
                          (unsigned long long)(to.v + len));
    return image_read(img, off, p, len);
}
