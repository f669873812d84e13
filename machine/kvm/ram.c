/* SPDX-License-Identifier: MIT */
/* Guest memory: anonymous, a memfd, or a file; of usual or of huge pages.
 *
 * What is not there is said before the guest runs: huge pages are reserved by
 * the mapping, room in a file system is looked at, and prealloc=on touches all
 * of it. */
#include "machine/kvm/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "machine/platform.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define THP (2u << 20)

static unsigned long long ram_mib(uint64_t size)
{
    return size >> 20;
}

/* KVM maps huge pages only where guest and host addresses agree modulo their
 * size (arch/x86/kvm/mmu: kvm_mmu_hugepage_adjust). NULL and errno. */
static uint8_t *ram_map_aligned(uint64_t size, uint64_t align, int flags,
                                int fd)
{
    uint8_t *all = mmap(NULL, size + align, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    uint64_t before = -(uintptr_t)all & (align - 1);
    uint8_t *p = mmap(all + before, size, PROT_READ | PROT_WRITE,
                      flags | MAP_FIXED, fd, 0);
    int err = errno;
    if (before)
        munmap(all, before);
    if (p == MAP_FAILED) {
        munmap(all + before, size + align - before);
        errno = err;
        return NULL;
    }
    munmap(p + size, align - before);
    return p;
}

/* ------------------------------------------------------------------- files */

/* How many huge pages of a size the host has left; -1: it has none of them. */
static long ram_free_pages(uint64_t page)
{
    char path[96], text[24] = "";
    snprintf(path, sizeof(path),
             "/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages",
             (unsigned long long)page >> 10);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 ? atol(text) : -1;
}

/* The host's usual huge page, as /proc/meminfo has it. */
static uint64_t ram_default_page(void)
{
    static char text[8192];
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    const char *at = n > 0 ? strstr(text, "Hugepagesize:") : NULL;
    if (fd >= 0)
        close(fd);
    uint64_t kib = at ? strtoull(at + 13, NULL, 10) : 0;
    return kib ? kib << 10 : THP;
}

static int ram_no_pages(uint64_t size, uint64_t page, int err)
{
    long free = ram_free_pages(page);
    if (free < 0)
        return fail(-EINVAL,
                    "guest memory: the host has no huge pages of "
                    "%llu KiB",
                    (unsigned long long)page >> 10);
    return fail(err,
                "guest memory: %llu MiB need %llu huge pages of %llu KiB, the "
                "host has %ld free: see /proc/sys/vm/nr_hugepages",
                ram_mib(size), (unsigned long long)(size / page),
                (unsigned long long)page >> 10, free);
}

static int ram_open_memfd(uint64_t size, uint64_t page)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (page)
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(page)
                                   << MFD_HUGE_SHIFT;
    int fd = memfd_create("guest-ram", flags);
    if (fd < 0 && page)
        return ram_no_pages(size, page, -errno);
    /* Who is given it could cut it short, and us with it. */
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int err = -errno;
        if (fd >= 0)
            close(fd);
        return fail(err, "-m: memfd of %llu MiB: %s", ram_mib(size),
                    strerror(-err));
    }
    return fd;
}

/* A new file takes the size; one that is there must have it. */
static int ram_size_file(int fd, const char *path, uint64_t size)
{
    struct stat st;
    struct statfs fs;
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return fail(-errno, "mem-path %s: %s", path, strerror(errno));
    if (st.st_size)
        return (uint64_t)st.st_size >= size
                   ? 0
                   : fail(-EINVAL, "mem-path %s: has %llu MiB, -m %llu", path,
                          ram_mib((uint64_t)st.st_size), ram_mib(size));
    uint64_t room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    if (fs.f_type != HUGETLBFS_MAGIC && room < size)
        return fail(-ENOSPC, "mem-path %s: room for %llu MiB, -m wants %llu",
                    path, ram_mib(room), ram_mib(size));
    if (ftruncate(fd, (off_t)size) < 0)
        return fail(-errno, "mem-path %s: %s", path, strerror(errno));
    return 0;
}

/* A directory: a file in it that has no name (and goes with the process). *page
 * becomes the file system's huge page. */
static int ram_open_path(const char *path, uint64_t size, uint64_t *page)
{
    char name[4096];
    struct stat st;
    struct statfs fs;
    int fd;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
        int n = snprintf(name, sizeof(name), "%s/vmm-ram-XXXXXX", path);
        errno = ENAMETOOLONG;
        fd = n < (int)sizeof(name) ? mkostemp(name, O_CLOEXEC) : -1;
        if (fd >= 0)
            unlink(name);
    } else {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    }
    if (fd < 0)
        return fail(-errno, "mem-path %s: %s", path, strerror(errno));
    int err = ram_size_file(fd, path, size);
    if (err) {
        close(fd);
        return err;
    }
    *page = !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC
                ? (uint64_t)fs.f_bsize
                : 0;
    return fd;
}

/* ------------------------------------------------------------------ making */

static int ram_fill(uint8_t *p, uint64_t size, uint64_t page)
{
    if (!madvise(p, size, MADV_POPULATE_WRITE))
        return 0;
    int err = -errno;
    if (err == -EINVAL) { /* Linux before 5.14 */
        for (uint64_t at = 0; at < size; at += 4096)
            *(volatile uint8_t *)(p + at) = 0;
        return 0;
    }
    if (page)
        return ram_no_pages(size, page, err);
    return fail(err, "guest memory: %llu MiB cannot be had now: %s",
                ram_mib(size), strerror(-err));
}

static void ram_lay_out(struct ram *ram, uint8_t *p, uint64_t size)
{
    uint64_t low = size < LOWRAM_MAX ? size : LOWRAM_MAX;
    ram->region[ram->n++] =
        (struct ram_region){.gpa = 0, .size = low, .hva = p};
    if (size > low)
        ram->region[ram->n++] = (struct ram_region){.gpa = HIGHRAM_BASE,
                                                    .size = size - low,
                                                    .hva = p + low,
                                                    .offset = low};
}

/* What a file has for it, holes left out. 0 or -errno (said). */
static int ram_copy(uint8_t *p, const struct ram_config *c)
{
    off_t from = 0;
    for (;;) {
        off_t data = lseek(c->fd, from, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(c->fd, data, SEEK_HOLE);
        if (data < 0 && errno == ENXIO)
            return 0;
        if (hole < 0)
            return fail(-errno, "%s: %s", c->image, strerror(errno));
        while (data < hole) {
            ssize_t n = pread(c->fd, p + data, (size_t)(hole - data), data);
            if (n <= 0)
                return fail(n < 0 ? -errno : -EIO, "%s: cannot be read",
                            c->image);
            data += n;
        }
        from = hole;
    }
}

/* Another process's, which must be as large as it says. */
static int ram_take(int fd, uint64_t size, uint64_t *page)
{
    struct stat st;
    struct statfs fs;
    if (fstat(fd, &st) || (uint64_t)st.st_size < size || fstatfs(fd, &fs))
        return fail(-EINVAL, "-m: the memory that is handed over is too small");
    *page = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
    return fd;
}

/* What memory is mapped from, or -1: nothing; -errno (said). */
static int ram_open(uint64_t size, const struct ram_config *c, bool file,
                    uint64_t *page)
{
    if (c->handed > 0)
        return ram_take(c->handed, size, page);
    if (!file)
        return c->image ? c->fd : -1;
    return c->path ? ram_open_path(c->path, size, page)
                   : ram_open_memfd(size, *page);
}

/* What a private page of a file is without us is the file's, no zeros; of a
 * huge page only the whole could go. */
static const char *ram_pinned(const struct ram_config *c, bool lies,
                              uint64_t page)
{
    if (page)
        return "a huge page";
    if (c->path && !c->shared)
        return "the file of mem-path";
    return lies ? "the file of the saved memory" : NULL;
}

int ram_make(struct ram *ram, uint64_t size, const struct ram_config *c,
             void **map, size_t *map_size, const char **pinned)
{
    uint64_t page = c->page == 1 ? ram_default_page() : c->page;
    bool file = c->path || c->shared || page;
    bool lies = c->image && !file; /* there, until it is written */
    int fd = ram_open(size, c, file, &page);
    ram->fd = -1;
    if (file && fd < 0)
        return fd;
    if (c->shared)
        ram->fd = fd;
    if (page && size % page) {
        if (!c->shared)
            close(fd);
        return fail(-EINVAL, "-m: must be a multiple of huge pages, %llu KiB",
                    (unsigned long long)page >> 10);
    }
    int flags = c->shared ? MAP_SHARED : MAP_PRIVATE;
    flags |= (fd >= 0 ? 0 : MAP_ANONYMOUS) | (page ? 0 : MAP_NORESERVE);
    uint8_t *p = ram_map_aligned(size, page > THP ? page : THP, flags, fd);
    int err = -errno;
    if (file && !c->shared)
        close(fd);
    if (!p && page)
        return ram_no_pages(size, page, err);
    if (!p)
        return fail(err, "-m: %llu MiB of guest memory: %s; try less",
                    ram_mib(size), strerror(-err));
    *map = p;
    *map_size = size;
    *pinned = ram_pinned(c, lies, page);
    madvise(p, size, c->sparse || c->server ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    /* A core dump is for whoever mends this program, not for the guest's
     * secrets. */
    madvise(p, size, MADV_DONTDUMP);
    ram_lay_out(ram, p, size);
    err = c->image && !lies ? ram_copy(p, c) : 0;
    return !err && c->prealloc ? ram_fill(p, size, page) : err;
}
