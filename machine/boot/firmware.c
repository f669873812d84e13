/* SPDX-License-Identifier: MIT */
/* The firmware tables together: where they lie and who points to them. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "machine/boot/boot.h"
#include "machine/boot/firmware.h"
#include "machine/platform.h"

void *fw_alloc(struct fw *f, size_t size, size_t align, uint64_t *at)
{
    void *p;

    f->used = (f->used + align - 1) & -align;
    p = f->base + f->used;
    *at = TABLES_BASE + f->used;
    f->used += size;
    assert(f->used <= TABLES_SIZE);
    memset(p, 0, size);
    return p;
}

uint8_t fw_checksum(const void *p, size_t n)
{
    uint8_t sum = 0;

    while (n--)
        sum = (uint8_t)(sum + ((const uint8_t *)p)[n]);
    return (uint8_t)-sum;
}

uint32_t fw_pci_gsis(void)
{
    uint32_t mask = 0;

    for (unsigned slot = 1; slot < 32; slot++)
        mask |= 1u << pci_slot_gsi(slot);
    return mask;
}

/* The first KiB of the EBDA is where the MP floating pointer is looked for; the
 * ROM's POST leaves that alone. */
int firmware_build(struct machine *m, const struct boot *b, uint64_t *rsdp,
                   uint8_t smbios[32])
{
    struct fw f = {.base = ram_ptr(&m->ram, gpa(TABLES_BASE), TABLES_SIZE),
                   .serials = m->serials};
    uint8_t *ebda = ram_ptr(&m->ram, gpa(EBDA_BASE), 0x400);

    if (!f.base || !ebda)
        return fail(-EINVAL, "guest RAM is too small for firmware tables");
    *rsdp = b->no_acpi ? 0 : acpi_build(&f, m->ncpus);
    mptable_build(&f, m->ncpus, ebda + 16);
    smbios_build(&f, &b->who, smbios);
    return 0;
}
