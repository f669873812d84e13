/* SPDX-License-Identifier: MIT */
/* The MP table (MultiProcessor Specification 1.4), for guests without ACPI. */
#include <assert.h>
#include <string.h>

#include "machine/boot/aml.h"
#include "machine/boot/firmware.h"
#include "machine/machine.h"
#include "machine/platform.h"

struct mp_header { /* §4.2 */
    char signature[4];
    le16 length;
    uint8_t revision, checksum;
    char oem[8], product[12];
    le32 oem_table;
    le16 oem_size, entries;
    le32 lapic;
    le16 ext_length;
    uint8_t ext_checksum, reserved;
};
_Static_assert(sizeof(struct mp_header) == 44, "");

struct mp_cpu { /* §4.3.1 */
    uint8_t type, apic_id, apic_version, flags;
    le32 signature, features, reserved[2];
};
_Static_assert(sizeof(struct mp_cpu) == 20, "");

struct mp_irq { /* §4.3.4, §4.3.5 */
    uint8_t type, kind;
    le16 flags;
    uint8_t bus, irq, apic, pin;
};
_Static_assert(sizeof(struct mp_irq) == 8, "");

enum { MP_CPU, MP_BUS, MP_IOAPIC, MP_IOINT, MP_LINT };
enum { MP_INT = 0, MP_NMI = 1, MP_EXTINT = 3 };
enum { BUS_PCI = 0, BUS_ISA = 1, IOAPIC_ID = 0 };
#define LEVEL_LOW 0x0f
#define LEVEL_HIGH 0x0d

/* What grows: the table, and how many entries it has. */
struct mp {
    struct aml out;
    unsigned entries;
};

static void mptable_add(struct mp *mp, const void *entry, size_t size)
{
    aml_bytes(&mp->out, entry, size);
    mp->entries++;
}

static void mptable_int(struct mp *mp, uint8_t type, uint8_t kind,
                        uint16_t flags, uint8_t bus, unsigned irq, uint8_t apic,
                        unsigned pin)
{
    struct mp_irq e = {type,         kind, flags,       bus,
                       (uint8_t)irq, apic, (uint8_t)pin};

    mptable_add(mp, &e, sizeof(e));
}

static void mptable_cpus(struct mp *mp, unsigned ncpus)
{
    for (unsigned i = 0; i < ncpus; i++) {
        struct mp_cpu cpu = {
            .type = MP_CPU,
            .apic_id = (uint8_t)i,
            .apic_version = 0x14,
            .flags = i ? 1 : 3, /* enabled; the first one boots */
            .signature = 0x600,
            .features = 0x201, /* FPU, APIC */
        };
        mptable_add(mp, &cpu, sizeof(cpu));
    }
}

/* ISA interrupts on pins of their own numbers, but the timer on pin 2; PCI's
 * source is "device << 2 | pin" (§D.3). */
static void mptable_ints(struct mp *mp)
{
    uint32_t pci = fw_pci_gsis();

    for (unsigned irq = 0; irq < 16; irq++)
        if (irq != 2 && !(pci >> irq & 1))
            mptable_int(mp, MP_IOINT, MP_INT, irq == IRQ_SCI ? LEVEL_HIGH : 0,
                        BUS_ISA, irq, IOAPIC_ID, irq ? irq : 2);
    for (unsigned slot = 1; slot < 32; slot++)
        mptable_int(mp, MP_IOINT, MP_INT, LEVEL_LOW, BUS_PCI, slot << 2,
                    IOAPIC_ID, pci_slot_gsi(slot));
    mptable_int(mp, MP_LINT, MP_EXTINT, 0, BUS_ISA, 0, 0xff, 0);
    mptable_int(mp, MP_LINT, MP_NMI, 0, BUS_ISA, 0, 0xff, 1);
}

/* At most: header, CPUs, buses and IOAPIC, interrupts. */
#define MP_SIZE_MAX (44 + CPUS_MAX * 20 + 3 * 8 + (16 + 31 + 2) * 8)

void mptable_build(struct fw *f, unsigned ncpus, uint8_t pointer[16])
{
    uint64_t at;
    uint8_t *p = fw_alloc(f, MP_SIZE_MAX, 16, &at);
    struct mp_header *h = (void *)p;
    struct mp mp = {.out = {p, sizeof(*h), MP_SIZE_MAX}};
    uint32_t table = (uint32_t)at;

    mptable_cpus(&mp, ncpus);
    mptable_add(&mp, "\1\0PCI   ", 8);
    mptable_add(&mp, "\1\1ISA   ", 8);
    mptable_add(
        &mp, (uint8_t[]){MP_IOAPIC, IOAPIC_ID, 0x11, 1, 0, 0, 0xc0, 0xfe}, 8);
    mptable_ints(&mp);
    assert(mp.out.n <= MP_SIZE_MAX);
    memcpy(h->signature, "PCMP", 4);
    h->length = (le16)mp.out.n;
    h->revision = 4;
    memcpy(h->oem, "TINY    ", 8);
    memcpy(h->product, "VMM         ", 12);
    h->entries = (le16)mp.entries;
    h->lapic = LAPIC_BASE;
    h->checksum = fw_checksum(p, mp.out.n);

    memset(pointer, 0, 16); /* §4.1 */
    memcpy(pointer, "_MP_", 4);
    memcpy(pointer + 4, &table, 4);
    pointer[8] = 1; /* of 16 bytes */
    pointer[9] = 4; /* 1.4 */
    pointer[10] = fw_checksum(pointer, 16);
}
