/* SPDX-License-Identifier: MIT */
/* What a disk's file is: its size, what transfers to it must be like, and who
 * else has it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/bytes.h"
#include "block/file.h"

#define PAGE 4096u

/* struct statx of <linux/stat.h>, which no file can include beside the C
 * library's. */
struct look {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare;
    uint64_t ino, size, blocks, attributes_mask;
    uint64_t times[8];
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mnt_id;
    uint32_t dio_mem_align, dio_offset_align;
    uint64_t spares[12];
};
_Static_assert(sizeof(struct look) == 256, "struct statx");
#define LOOK_BASIC 0x7ffu     /* STATX_BASIC_STATS */
#define LOOK_DIOALIGN 0x2000u /* Linux 6.1 */
#define LOOK_EMPTY_PATH 0x1000

/* syscalls loop if disk: statx, of a size that is looked at again */
static int backing_statx(int fd, struct look *l)
{
    memset(l, 0, sizeof(*l));
    return syscall(SYS_statx, fd, "", LOOK_EMPTY_PATH,
                   LOOK_BASIC | LOOK_DIOALIGN, l)
               ? -errno
               : 0;
}

/* -------------------------------------------------------------------- sizes */

/* syscalls loop if disk_device: ioctl(BLKGETSIZE64), of a size that is looked
 * at again */
int backing_size(struct backing *at, const char *who)
{
    struct look l;
    int err = 0;
    if (at->device)
        err = ioctl(at->fd, BLKGETSIZE64, &at->size) ? -errno : 0;
    else if (!(err = backing_statx(at->fd, &l)))
        at->size = l.size;
    if (err)
        return fail(err, "%s: its size: %s", who, strerror(-err));
    return 0;
}

/* syscalls loop if disk_device: ioctl(BLKSSZGET|BLKPBSZGET|BLKIOOPT), of a
 * device that is put in another's place */
static void backing_device_blocks(struct backing *at)
{
    int logical = 0;
    unsigned physical = 0, optimal = 0;
    if (!ioctl(at->fd, BLKSSZGET, &logical) && logical >= BLK_SECTOR)
        at->block = (uint32_t)logical;
    if (!ioctl(at->fd, BLKPBSZGET, &physical) && physical >= BLK_SECTOR)
        at->physical = physical;
    if (!ioctl(at->fd, BLKIOOPT, &optimal))
        at->optimal = optimal;
}

/* ---------------------------------------------------------------- alignment */

/* Does a direct read go, of so many bytes at so much behind a page's start?
 * syscalls loop if disk: pread64, where the host is too old to say */
static bool backing_reads(const struct backing *at, unsigned char *page,
                          uint32_t len, uint32_t shift)
{
    return pread(at->fd, page + shift, len, 0) >= 0 || errno != EINVAL;
}

static int backing_probe_align(struct backing *at)
{
    unsigned char *page = NULL;
    if (posix_memalign((void **)&page, PAGE, 2 * (size_t)PAGE))
        return -ENOMEM;
    at->align = at->device ? at->block : BLK_SECTOR;
    while (at->align < PAGE && !backing_reads(at, page, at->align, 0))
        at->align *= 2;
    /* An empty file takes everything. */
    if (!at->size)
        at->align = PAGE;
    at->mem_align = BLK_SECTOR;
    while (at->mem_align < PAGE &&
           !backing_reads(at, page, at->align, at->mem_align))
        at->mem_align *= 2;
    if (at->mem_align > at->align)
        at->align = at->mem_align;
    free(page);
    return 0;
}

/* syscalls loop if disk: fcntl(F_GETFL|F_SETFL), of a file that is put in
 * another's place */
static int backing_go_direct(struct backing *at, const struct look *l,
                             const char *who)
{
    int flags = fcntl(at->fd, F_GETFL);
    if (flags < 0 || fcntl(at->fd, F_SETFL, flags | O_DIRECT))
        return fail(-EINVAL,
                    "%s: its file system cannot go past the page cache; "
                    "cache=writeback",
                    who);
    if (l->mask & LOOK_DIOALIGN && l->dio_offset_align) {
        at->align = l->dio_offset_align;
        at->mem_align = l->dio_mem_align;
    } else if (backing_probe_align(at)) {
        return fail(-ENOMEM, "%s: out of memory", who);
    }
    if (at->align < BLK_SECTOR)
        at->align = BLK_SECTOR;
    if (at->align > FILE_BOUNCE / 2)
        return fail(-EINVAL, "%s: blocks of %u bytes are too large", who,
                    at->align);
    if (at->size % at->align == 0)
        return 0;
    /* Its last block cannot be written without making it longer. */
    log_line("warning: %s: %llu bytes are no multiple of %u: it is used "
             "through the page cache",
             who, (unsigned long long)at->size, at->align);
    at->align = at->mem_align = 1;
    return fcntl(at->fd, F_SETFL, flags) ? -errno : 0;
}

/* ------------------------------------------------------------ what it can do
 */

/* Nothing is there behind its end, nor afterwards. A range that is no whole
 * sector is refused by a device that discards, as something else than one that
 * does not. BLKZEROOUT is done by the kernel where the device cannot. A file is
 * zeroed by what makes holes, at the least.
 *
 * syscalls loop if disk: fallocate, of a file that is put in another's place
 * syscalls loop if disk_device: ioctl(BLKDISCARD), of a device that is put in
 * another's place */
static void backing_probe_holes(struct backing *at)
{
    uint64_t range[2] = {1, BLK_SECTOR}, end = (at->size | (PAGE - 1)) + 1;
    if (at->device) {
        at->can_zero = true;
        at->can_discard =
            ioctl(at->fd, BLKDISCARD, range) && errno != EOPNOTSUPP;
        return;
    }
    at->can_discard = !fallocate(
        at->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)end, PAGE);
    at->can_zero = at->can_discard;
}

static void backing_identify(struct backing *at, const struct look *l)
{
    at->device = (l->mode & 0170000) == 0060000;
    at->dev = at->device ? (uint64_t)l->rdev_major << 32 | l->rdev_minor
                         : (uint64_t)l->dev_major << 32 | l->dev_minor;
    at->ino = at->device ? 0 : l->ino;
}

bool backing_is(const struct backing *at, int fd)
{
    struct backing other;
    struct look l;
    if (backing_statx(fd, &l))
        return false;
    backing_identify(&other, &l);
    return other.device == at->device && other.dev == at->dev &&
           other.ino == at->ino;
}

int backing_look(struct backing *at, const char *who, bool direct, bool write)
{
    struct look l;
    int err = backing_statx(at->fd, &l);
    if (err)
        return fail(err, "%s: %s", who, strerror(-err));
    backing_identify(at, &l);
    if (!at->device && (l.mode & 0170000) != 0100000)
        return fail(-EINVAL, "%s: neither a file nor a block device", who);
    at->block = at->device ? BLK_SECTOR : 1;
    at->physical = l.blksize < BLK_SECTOR ? BLK_SECTOR
                   : l.blksize < PAGE     ? l.blksize
                                          : PAGE;
    at->align = at->mem_align = 1;
    err = backing_size(at, who);
    if (!err && at->device)
        backing_device_blocks(at);
    if (!err && direct)
        err = backing_go_direct(at, &l, who);
    if (!err && at->align > at->physical)
        at->physical = at->align;
    if (!err && write)
        backing_probe_holes(at);
    return err;
}

/* --------------------------------------------------------------------- locks
 */

/* QEMU's, of its file-posix.c: one byte a permission that somebody has,
 * and one that somebody does not want others to have, locked for reading by
 * whom it concerns; whether another has the opposite is asked of the kernel.
 * Here: a disk reads, and writes unless it is read-only; nobody else may write
 * or change its size. */
#define HAVE 100
#define DENY 200
enum { TO_READ = 0, TO_WRITE = 1, TO_RESIZE = 3 };

/* syscalls loop if disk: fcntl(F_OFD_SETLK|F_OFD_GETLK), of a file that is put
 * in another's place */
static int backing_lock_byte(int fd, int how, short type, off_t byte)
{
    struct flock fl = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(fd, how, &fl))
        return -errno;
    return how == F_OFD_GETLK && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

static int backing_lock_all(int fd, int how, short type, int have, int deny,
                            bool write)
{
    int err = backing_lock_byte(fd, how, type, have + TO_READ);
    if (!err && write)
        err = backing_lock_byte(fd, how, type, have + TO_WRITE);
    if (!err)
        err = backing_lock_byte(fd, how, type, deny + TO_WRITE);
    if (!err)
        err = backing_lock_byte(fd, how, type, deny + TO_RESIZE);
    return err;
}

/* What we have, does another deny? And the other way round. */
static int backing_lock_try(int fd, bool write)
{
    int err = backing_lock_all(fd, F_OFD_SETLK, F_RDLCK, HAVE, DENY, write);
    return err ? err
               : backing_lock_all(fd, F_OFD_GETLK, F_WRLCK, DENY, HAVE, write);
}

/* A process that has just ended may have left a ring, which the kernel takes
 * apart, and closes the file of, a little later. */
#define LOCK_TRIES 20
#define LOCK_PAUSE_US 10000

int backing_lock(const struct backing *at, const char *who, bool write,
                 bool must, bool wait)
{
    int err = backing_lock_try(at->fd, write);
    for (int i = 0; err == -EAGAIN && wait && i < LOCK_TRIES; i++) {
        usleep(LOCK_PAUSE_US);
        err = backing_lock_try(at->fd, write);
    }
    if (err == -EAGAIN || err == -EACCES)
        return fail(-EBUSY,
                    "%s: another process uses it%s; locking=off opens it all "
                    "the same",
                    who, write ? "" : " for writing");
    if (err && must)
        return fail(err, "%s: locking=on: %s", who, strerror(-err));
    if (err)
        log_line("warning: %s: no locks on this file system (%s): nothing "
                 "keeps another process from it",
                 who, strerror(-err));
    return 0;
}
