/* SPDX-License-Identifier: MIT */
/* SMBIOS: who made this machine, as DMTF DSP0134 2.8 wants it; the least. */
#include <assert.h>
#include <string.h>

#include "machine/boot/aml.h"
#include "machine/boot/boot.h"
#include "machine/boot/firmware.h"
#include "machine/machine.h"

struct smbios_entry { /* §5.2.1 */
    char anchor[4];
    uint8_t checksum, length, major, minor;
    le16 max_size;
    uint8_t revision, formatted[5];
    char dmi_anchor[5];
    uint8_t dmi_checksum;
    le16 table_length;
    le32 table;
    le16 count;
    uint8_t bcd;
} __attribute__((packed));
_Static_assert(sizeof(struct smbios_entry) == 31, "");

struct smbios_bios { /* §7.1 */
    uint8_t type, length;
    le16 handle;
    uint8_t vendor, version;
    le16 segment;
    uint8_t date, rom_size;
    le64 characteristics;
    uint8_t extension[2], major, minor, ec_major, ec_minor;
} __attribute__((packed));
_Static_assert(sizeof(struct smbios_bios) == 24, "");

struct smbios_system { /* §7.2 */
    uint8_t type, length;
    le16 handle;
    uint8_t manufacturer, product, version, serial, uuid[16], wakeup, sku,
        family;
} __attribute__((packed));
_Static_assert(sizeof(struct smbios_system) == 27, "");

/* The year makes Linux believe MCFG and configuration mechanism #1. */
static const struct smbios_bios bios = {
    .type = 0,
    .length = 24,
    .vendor = 1,
    .version = 2,
    .segment = 0xf000,
    .date = 3,
    .characteristics = 1 << 3 /* none known */,
    .extension = {1 /* ACPI */, 0x10 /* virtual machine */},
    .major = 0xff,
    .minor = 0xff,
    .ec_major = 0xff,
    .ec_minor = 0xff,
};
static const char bios_strings[] = "vmm\0" VERSION "\0"
                                   "11/21/2026\0";
static const struct smbios_system system_base = {
    .type = 1,
    .length = 27,
    .handle = 1,
    .wakeup = 6 /* power switch */,
};
static const uint8_t end_of_table[] = {127, 4, 2, 0, 0, 0};

/* Type 1. Strings are numbered from 1 in the order in which they follow
 * (§6.1.3). The UUID's first three fields are little-endian (§7.2.1). */
static void smbios_add_system(struct aml *out, const struct identity *who)
{
    static const char *const defaults[IDENTITY_TEXTS] = {"vmm", "tiny PC"};
    struct smbios_system sys = system_base;
    uint8_t *const number[IDENTITY_TEXTS] = {&sys.manufacturer, &sys.product,
                                             &sys.version,      &sys.serial,
                                             &sys.sku,          &sys.family};
    static const uint8_t order[16] = {3, 2, 1,  0,  5,  4,  7,  6,
                                      8, 9, 10, 11, 12, 13, 14, 15};
    const char *text[IDENTITY_TEXTS];
    uint8_t n = 0;

    for (int i = 0; i < 16; i++)
        sys.uuid[i] = who->uuid[order[i]];
    for (int i = 0; i < IDENTITY_TEXTS; i++) {
        const char *s = who->text[i][0] ? who->text[i] : defaults[i];
        if (!s)
            continue;
        text[n++] = s;
        *number[i] = n;
    }
    aml_bytes(out, &sys, sizeof(sys));
    for (int i = 0; i < n; i++)
        aml_bytes(out, text[i], strlen(text[i]) + 1);
    aml_bytes(out, "", 1);
}

void smbios_build(struct fw *f, const struct identity *who, uint8_t entry[32])
{
    enum { MAX = 256 + sizeof(who->text) };
    struct smbios_entry e = {
        .major = 2, .minor = 8, .count = 3, .bcd = 0x28, .length = sizeof(e)};
    uint64_t at;
    size_t first;
    struct aml out = {fw_alloc(f, MAX, 16, &at), 0, MAX};

    aml_bytes(&out, &bios, sizeof(bios));
    aml_bytes(&out, bios_strings, sizeof(bios_strings));
    first = out.n;
    smbios_add_system(&out, who);
    e.max_size = (le16)(first > out.n - first ? first : out.n - first);
    aml_bytes(&out, end_of_table, sizeof(end_of_table));
    assert(out.n <= MAX);
    memcpy(e.anchor, "_SM_", 4);
    memcpy(e.dmi_anchor, "_DMI_", 5);
    e.table_length = (le16)out.n;
    e.table = (le32)at;
    e.dmi_checksum = fw_checksum(&e.dmi_anchor, 15);
    e.checksum = fw_checksum(&e, sizeof(e));
    memset(entry, 0, 32);
    memcpy(entry, &e, sizeof(e));
}
