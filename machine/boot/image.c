/* SPDX-License-Identifier: MIT */
/* The images a boot reads: files kept open across resets, or bytes inside this
 * binary. They are read straight into guest RAM, never mapped: a file that is
 * cut short meanwhile is an error, not a SIGBUS. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
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

/* A pipe's bytes in a memfd. The new fd or -errno. */
static int slurp(int fd)
{
    static char buf[65536];
    ssize_t n = 0;
    int mem = memfd_create("image", MFD_CLOEXEC);

    if (mem < 0)
        return -errno;
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        if (write(mem, buf, (size_t)n) != n) {
            n = -1;
            break;
        }
    if (n == 0)
        return mem;
    n = -errno;
    close(mem);
    return (int)n;
}

int image_open(struct image *img, const char *opt, const char *path)
{
    struct stat st;
    char file[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *img = (struct image){.opt = opt, .path = path, .fd = -1};
    if (fd < 0 && errno == ENOENT && strchr(path, ' ')) { /* "FILE ARGS" */
        snprintf(file, sizeof(file), "%.*s", (int)strcspn(path, " "), path);
        fd = open(file, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(-errno, "%s %s: %s", opt, path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        close(fd);
        return fail(-EISDIR, "%s %s: is a directory", opt, path);
    }
    if (!S_ISREG(st.st_mode)) {
        int mem = slurp(fd);
        close(fd);
        if (mem < 0 || fstat(mem, &st) < 0)
            return fail(mem, "%s %s: cannot be read", opt, path);
        fd = mem;
    }
    img->fd = fd;
    img->size = (uint64_t)st.st_size;
    return 0;
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
