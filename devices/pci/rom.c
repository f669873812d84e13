/* SPDX-License-Identifier: MIT */
/* Expansion ROMs: a file behind a function's ROM BAR (PCI 3.0 §6.2.5.2), which
 * the BIOS copies and runs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/pci/pci.h"

#define ROM_MAX (16u << 20) /* what the BAR of any real card can hold */

static int rom_read_all(int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

/* The file in pages of its own, as a power of two, the rest ones as in an
 * erased chip. */
static int rom_load(struct pci_fn *fn, int fd, size_t n)
{
    size_t size = pci_bar_size(4096, n);
    uint8_t *p;
    int err;

    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
             -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    memset(p + n, 0xff, size - n);
    err = rom_read_all(fd, p, n);
    if (err) {
        munmap(p, size);
        return err;
    }
    pci_bar_init(fn, PCI_ROM_BAR, PCI_BAR_MEM32, size, NULL, NULL, NULL);
    fn->rom = (struct pci_map){.size = size, .hva = p, .readonly = true};
    fn->bar[PCI_ROM_BAR].map = &fn->rom;
    fn->bar[PCI_ROM_BAR].nmap = 1;
    return 0;
}

static int rom_open(const char *path, struct stat *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) < 0)
        return -errno;
    return fd;
}

/* PCI Firmware Specification 3.0 §5.2: a ROM begins with 55 AA. */
int pci_rom_check(const char *what, const char *path)
{
    uint8_t sign[2] = {0};
    struct stat st = {0};
    int fd = rom_open(path, &st), err = fd < 0 ? fd : 0;
    if (err)
        return fail(err, "%s: romfile=%s: %s", what, path, strerror(-err));
    if (!S_ISREG(st.st_mode) || !st.st_size || st.st_size > ROM_MAX)
        err = fail(-EINVAL, "%s: romfile=%s: not a file of 1 byte to 16 MiB",
                   what, path);
    else if (pread(fd, sign, 2, 0) != 2 || sign[0] != 0x55 || sign[1] != 0xaa)
        err = fail(-EINVAL,
                   "%s: romfile=%s: not an option ROM, which begins with the "
                   "bytes 55 aa",
                   what, path);
    close(fd);
    return err;
}

int pci_rom_load(struct pci_fn *fn)
{
    const char *path = fn->romfile;
    struct stat st = {0};
    int fd = path ? rom_open(path, &st) : 0, err = fd < 0 ? fd : 0;

    if (!path)
        return 0;
    if (!err && st.st_size > 0 && st.st_size <= ROM_MAX)
        err = rom_load(fn, fd, (size_t)st.st_size);
    else if (!err)
        err = -EFBIG;
    if (fd >= 0)
        close(fd);
    return err ? fail(err, "romfile=%s: %s", path, strerror(-err)) : 0;
}
