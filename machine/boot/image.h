/* SPDX-License-Identifier: MIT */
/* The images a boot reads: open files, or bytes inside this binary. */
#ifndef IMAGE_H
#define IMAGE_H

#include "machine/machine.h"

/* A kernel, initrd or ROM: an open file, or bytes inside this binary. */
struct image {
    const char *opt;  /* "-kernel": opens each error line, then the path */
    const char *path; /* may carry arguments after a blank (modules) */
    int fd;           /* -1: in memory */
    bool pipe;        /* to be read to its end first: image_fill */
    const uint8_t *mem;
    uint64_t size;
};

/* Opens a file, without waiting for a pipe's other end. 0 or -errno (said). */
int image_open(struct image *img, const char *opt, const char *path);
void image_from_memory(struct image *img, const char *opt, const char *path,
                       const uint8_t *mem, uint64_t size);
/* What cannot be seeked in is read to its end, `max` bytes at most, and kept.
 * May take as long as who writes there likes. 0 or -errno (said). */
int image_fill(struct image *img, uint64_t max);
void image_close(struct image *img);
/* Exactly `len` bytes at `off`, or -EINVAL ("truncated", said) / -errno. */
int image_read(const struct image *img, uint64_t off, void *dst, uint64_t len);
/* The same, straight into guest RAM; -EINVAL (said) where that is not RAM. */
int image_load(const struct image *img, struct machine *m, uint64_t off,
               gpa_t to, uint64_t len);
/* "vmm: -kernel FILE: …"; gives back -EINVAL. */
int image_fail(const struct image *img, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The start is given up: a boot_load that is under way on another thread does
 * nothing more, but may never return. */
void image_give_up(void);
#endif
