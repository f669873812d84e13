/* SPDX-License-Identifier: MIT */
/* Scattered bytes (iovecs): counted, skipped, zeroed, copied in and out. */
#ifndef IOV_H
#define IOV_H

#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

/* writev(2) takes no more (UIO_MAXIOV). */
#define IOV_COUNT_MAX 1024

static inline size_t iov_len(const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

/* The iovec without its first `skip` bytes: *out is its tail where the cut
 * falls between two entries (the usual case, nothing is copied), else `tmp`,
 * which has room for IOV_COUNT_MAX. Returns the count of *out; 0 when nothing
 * is left, -1 when it has more than IOV_COUNT_MAX entries. */
static inline int iov_skip(const struct iovec *iov, int n, size_t skip,
                           struct iovec *tmp, const struct iovec **out)
{
    while (n > 0 && skip >= iov->iov_len) {
        skip -= iov->iov_len;
        iov++;
        n--;
    }
    *out = iov;
    if (n > IOV_COUNT_MAX)
        return -1;
    if (n <= 0 || skip == 0)
        return n < 0 ? 0 : n;
    memcpy(tmp, iov, (size_t)n * sizeof(*iov));
    tmp[0].iov_base = (char *)tmp[0].iov_base + skip;
    tmp[0].iov_len -= skip;
    *out = tmp;
    return n;
}

/* Zeroes the first `len` bytes. */
static inline void iov_zero(const struct iovec *iov, int n, size_t len)
{
    for (int i = 0; i < n && len; i++) {
        size_t k = iov[i].iov_len < len ? iov[i].iov_len : len;
        memset(iov[i].iov_base, 0, k);
        len -= k;
    }
}

/* Copies up to `len` bytes out of, or into, an iovec from byte `off` on;
 * returns the bytes copied. */
static inline size_t iov_read(const struct iovec *iov, unsigned n, size_t off,
                              void *buf, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        size_t k = iov[i].iov_len - off;
        if (k > len - done)
            k = len - done;
        memcpy((char *)buf + done, (char *)iov[i].iov_base + off, k);
        done += k;
        off = 0;
    }
    return done;
}

static inline size_t iov_write(const struct iovec *iov, unsigned n, size_t off,
                               const void *buf, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        size_t k = iov[i].iov_len - off;
        if (k > len - done)
            k = len - done;
        memcpy((char *)iov[i].iov_base + off, (const char *)buf + done, k);
        done += k;
        off = 0;
    }
    return done;
}

#endif
