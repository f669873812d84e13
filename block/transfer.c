/* SPDX-License-Identifier: MIT */
/* One request to a file or a block device, from its first byte to its last.
 *
 * Theory of operation. Transfers may be cut short by the kernel, and go on
 * where they were; the end of the file is an error, as nobody but us shortens
 * it. Past the page cache (direct) offset, length and memory must be multiples
 * of what the file's device takes. A request of other memory goes through the
 * thread's bounce buffer; one of other offsets, too, in whole blocks: before it
 * writes a part of one it reads the rest, for which it must be alone. So a
 * guest has sectors of 512 bytes whatever lies below. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/iov.h"
#include "block/file.h"

#ifndef FALLOC_FL_ZERO_RANGE
#define FALLOC_FL_ZERO_RANGE 0x10 /* <linux/falloc.h> */
#endif

static uint64_t transfer_down(uint64_t v, uint32_t unit)
{
    return v - v % unit;
}

static uint64_t transfer_up(uint64_t v, uint32_t unit)
{
    return transfer_down(v + unit - 1, unit);
}

/* Each write is on stable storage when it is done. */
static bool transfer_through(const struct file *f)
{
    return f->b.cache == BLK_WRITETHROUGH || f->b.cache == BLK_DIRECTSYNC;
}

/* Instead of an open file's O_DSYNC, which no fcntl(2) can set: a descriptor
 * may come from elsewhere. */
int transfer_flags(const struct file *f, bool write)
{
    return write && transfer_through(f) ? RWF_DSYNC : 0;
}

/* syscalls disk: preadv2 pwritev2, by guests that have a disk */
static ssize_t transfer_call(const struct file *f, bool write,
                             const struct iovec *iov, int n, uint64_t off)
{
    long got;
    do {
        got = syscall(write ? SYS_pwritev2 : SYS_preadv2, f->at.fd, iov, n,
                      (unsigned long)off, 0ul, transfer_flags(f, write));
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* syscalls loop if disk: preadv2, by guests that have a disk */
int transfer_now(const struct file *f, const struct blk_req *r)
{
    if (r->niov > IOV_COUNT_MAX)
        return 0;
    long got = syscall(SYS_preadv2, f->at.fd, r->iov, r->niov,
                       (unsigned long)r->offset, 0ul, RWF_NOWAIT);
    if (got < 0 && errno == EOPNOTSUPP)
        return -EOPNOTSUPP;
    return got == (long)r->len;
}

/* All of `len` bytes. What is left of an entry after a short transfer goes by
 * itself. */
static int transfer_all(const struct file *f, bool write,
                        const struct iovec *iov, int n, uint64_t off,
                        uint64_t len)
{
    size_t skip = 0;
    for (uint64_t done = 0; done < len;) {
        while (n > 1 && skip >= iov->iov_len) {
            skip -= iov->iov_len;
            iov++;
            n--;
        }
        struct iovec rest = {(char *)iov->iov_base + skip, iov->iov_len - skip};
        int most = n < IOV_COUNT_MAX ? n : IOV_COUNT_MAX;
        ssize_t got = skip ? transfer_call(f, write, &rest, 1, off + done)
                           : transfer_call(f, write, iov, most, off + done);
        if (got <= 0)
            return got ? (int)got : -EIO;
        done += (uint64_t)got;
        skip += (size_t)got;
    }
    return 0;
}

/* ------------------------------------------------------------------ bounce */

bool transfer_fits(const struct file *f, const struct blk_req *r)
{
    const struct backing *at = &f->at;
    if (at->align == 1)
        return true;
    if (r->offset % at->align || r->len % at->align)
        return false;
    for (int i = 0; i < r->niov; i++)
        if ((uintptr_t)r->iov[i].iov_base % at->mem_align ||
            r->iov[i].iov_len % at->align)
            return false;
    return true;
}

/* Whole blocks to or from the bounce buffer. */
static int transfer_blocks(const struct file *f, bool write,
                           unsigned char *bounce, uint64_t off, uint64_t len)
{
    struct iovec iov = {bounce, len};
    return transfer_all(f, write, &iov, 1, off, len);
}

/* The blocks lo..hi, of which only off..end is written. */
static int transfer_read_edges(const struct file *f, unsigned char *bounce,
                               uint64_t lo, uint64_t off, uint64_t end,
                               uint64_t hi)
{
    uint32_t block = f->at.align;
    uint64_t last = hi - block;
    int err = 0;
    if (lo != off)
        err = transfer_blocks(f, false, bounce, lo, block);
    if (!err && hi != end && (last != lo || lo == off))
        err = transfer_blocks(f, false, bounce + (last - lo), last, block);
    return err;
}

/* The bytes off..end of a request, not more than the buffer takes; without
 * memory, zeroes are written. */
static int transfer_piece(const struct file *f, const struct blk_req *r,
                          unsigned char *bounce, uint64_t off, uint64_t end)
{
    uint64_t lo = transfer_down(off, f->at.align),
             hi = transfer_up(end, f->at.align), at = off - r->offset;
    unsigned char *mine = bounce + (off - lo);
    bool write = r->op != BLK_READ;
    int err = write ? transfer_read_edges(f, bounce, lo, off, end, hi)
                    : transfer_blocks(f, false, bounce, lo, hi - lo);
    if (err)
        return err;
    if (!write)
        iov_write(r->iov, (unsigned)r->niov, at, mine, end - off);
    else if (r->op == BLK_WRITE)
        iov_read(r->iov, (unsigned)r->niov, at, mine, end - off);
    else
        memset(mine, 0, end - off);
    return write ? transfer_blocks(f, true, bounce, lo, hi - lo) : 0;
}

static int transfer_bounced(const struct file *f, const struct blk_req *r,
                            unsigned char *bounce, uint64_t off, uint64_t end)
{
    int err = 0;
    while (!err && off < end) {
        uint64_t next = transfer_down(off, f->at.align) + FILE_BOUNCE;
        if (next > end)
            next = end;
        err = transfer_piece(f, r, bounce, off, next);
        off = next;
    }
    return err;
}

/* ----------------------------------------------------- flush, holes, zeroes */

/* What one that failed had to write is not dirty any more: the next would
 * succeed, and the data is lost (but where it went past the page cache). It is
 * told every time.
 *
 * syscalls disk: fdatasync fsync, by guests that have a disk */
static int transfer_flush(struct file *f)
{
    if (f->b.readonly)
        return 0;
    if (f->lost)
        return -EIO;
    bool all = atomic_exchange(&f->resized, false);
    if (!(all ? fsync(f->at.fd) : fdatasync(f->at.fd)))
        return 0;
    int err = -errno;
    if (all)
        f->resized = true;
    if (!f->b.direct)
        f->lost = true;
    return err;
}

/* syscalls disk: fallocate, by guests that have a disk */
static int transfer_allocate(const struct file *f, int mode, uint64_t off,
                             uint64_t len)
{
    int err;
    do {
        err = fallocate(f->at.fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off,
                        (off_t)len);
    } while (err && errno == EINTR);
    return err ? -errno : 0;
}

/* syscalls disk if disk_device: ioctl(BLKDISCARD|BLKZEROOUT), by guests that
 * have a disk */
static int transfer_ioctl(const struct file *f, unsigned long what,
                          uint64_t off, uint64_t len)
{
    uint64_t range[2] = {off, len};
    return ioctl(f->at.fd, what, range) ? -errno : 0;
}

/* Only whole blocks: for the rest of it nothing is promised. */
static int transfer_discard(const struct file *f, const struct blk_req *r)
{
    uint64_t from = transfer_up(r->offset, f->at.block),
             to = transfer_down(r->offset + r->len, f->at.block);
    if (from >= to)
        return 0;
    return f->at.device
               ? transfer_ioctl(f, BLKDISCARD, from, to - from)
               : transfer_allocate(f, FALLOC_FL_PUNCH_HOLE, from, to - from);
}

/* Whole blocks. Room that is to stay is there afterwards, whatever way the file
 * system takes. */
static int transfer_zero_blocks(const struct file *f, bool unmap, uint64_t off,
                                uint64_t len)
{
    int err = unmap ? transfer_allocate(f, FALLOC_FL_PUNCH_HOLE, off, len)
                    : -EOPNOTSUPP;
    if (err != -EOPNOTSUPP)
        return err;
    if (f->at.device)
        return transfer_ioctl(f, BLKZEROOUT, off, len);
    err = transfer_allocate(f, FALLOC_FL_ZERO_RANGE, off, len);
    if (err != -EOPNOTSUPP)
        return err;
    err = transfer_allocate(f, FALLOC_FL_PUNCH_HOLE, off, len);
    return err ? err : transfer_allocate(f, 0, off, len);
}

static int transfer_zero(const struct file *f, const struct blk_req *r,
                         unsigned char *bounce)
{
    uint64_t end = r->offset + r->len,
             from = transfer_up(r->offset, f->at.block),
             to = transfer_down(end, f->at.block);
    if (from >= to) /* inside one block, or across two of them */
        return transfer_bounced(f, r, bounce, r->offset, end);
    int err = transfer_bounced(f, r, bounce, r->offset, from);
    if (!err)
        err = transfer_bounced(f, r, bounce, to, end);
    if (!err)
        err = transfer_zero_blocks(f, r->unmap, from, to - from);
    if (!err && transfer_through(f) && fdatasync(f->at.fd))
        err = -errno;
    return err;
}

bool transfer_alone(const struct file *f, const struct blk_req *r)
{
    if (r->op == BLK_WRITE)
        return r->offset % f->at.align || r->len % f->at.align;
    return r->op == BLK_DISCARD || r->op == BLK_WRITE_ZEROES;
}

int transfer_do(void *ctx, const struct blk_req *r, unsigned char *bounce)
{
    struct file *f = ctx;
    switch (r->op) {
    case BLK_FLUSH:
        return transfer_flush(f);
    case BLK_DISCARD:
        return transfer_discard(f, r);
    case BLK_WRITE_ZEROES:
        return transfer_zero(f, r, bounce);
    default:
        return transfer_fits(f, r) ? transfer_all(f, r->op == BLK_WRITE, r->iov,
                                                  r->niov, r->offset, r->len)
                                   : transfer_bounced(f, r, bounce, r->offset,
                                                      r->offset + r->len);
    }
}
