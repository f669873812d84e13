/* SPDX-License-Identifier: MIT */
/* INT 13h: virtio-blk disks, by CHS and by LBA (EDD-3, T13 1572D).
 *
 * Theory of operation. POST looks at each PCI slot once: a virtio-blk function
 * with the modern interface (virtio 1.2 §4.1) and sectors of 512 bytes is a
 * disk; those with a bootindex= come first, so that one is 80h. A request takes
 * the device from reset to DRIVER_OK, has it do one chain by a ring that lies
 * in this segment, waits for it, and resets it. So nothing is left of us for
 * the guest's driver to find, whenever that comes, and nothing that somebody
 * else did to the device in between matters. Registers and rings are reached in
 * protected mode (flat_call), where GS is all memory; data goes straight to
 * where the caller wants it. */
#include "bios/pcibios.h"

#define DISKS_MAX 31
#define SECTOR 512u
#define SECTORS_PER_TRACK 63u
#define QUEUE_SIZE 4             /* of three descriptors: a power of two */
#define PATIENCE (30000000 / 15) /* 30 s, in changes of the refresh bit */

enum { /* AH when it returns */
       DISK_OK = 0x00,
       DISK_INVALID = 0x01,
       DISK_FAILED = 0x20,
       DISK_TIMEOUT = 0x80,
       DISK_NOT_REMOVABLE = 0xb2,
};
enum { READ, WRITE, VERIFY };

struct disk {
    u32 common, notify; /* where they are in memory */
    u32 sectors;        /* so many as can be counted */
    u32 sectors_high;
    u16 cylinders;
    u8 heads, slot;
};
static struct disk disks[DISKS_MAX];
static u8 ndisks;

struct disk_io {
    const struct disk *disk;
    u32 lba, lba_high, addr, addr_high;
    u16 count;
    u8 what;
};

/* A fixed disk's parameter table, for INT 41h and 46h to point to. */
static u8 parameters[2][16];

/* ------------------------------------------------------------- the device */

#define mem8(at) (*(volatile u8 GS *)(u32)(at))
#define mem16(at) (*(volatile u16 GS *)(u32)(at))
#define mem32(at) (*(volatile u32 GS *)(u32)(at))

enum { /* virtio 1.2 §4.1.4.3: the common configuration */
       DRIVER_FEATURE_SELECT = 0x08,
       DRIVER_FEATURE = 0x0c,
       STATUS = 0x14,
       QUEUE_SELECT = 0x16,
       QUEUE_NUM = 0x18,
       QUEUE_ENABLE = 0x1c,
       QUEUE_NOTIFY_OFF = 0x1e,
       QUEUE_DESC = 0x20,
       QUEUE_DRIVER = 0x28,
       QUEUE_DEVICE = 0x30,
};
enum { /* §4.1.4 */
       CAP_VENDOR = 0x09,
       CAP_COMMON = 1,
       CAP_NOTIFY = 2,
       CAP_DEVICE = 4,
};
enum { CONFIG_CAPACITY = 0, CONFIG_BLK_SIZE = 20 }; /* §5.2.4 */
enum { DESC_NEXT = 1, DESC_WRITE = 2 };

/* The ring and what of a request is not the caller's (§2.7, §5.2.6). */
static struct {
    struct {
        u32 addr, addr_high, len;
        u16 flags, next;
    } desc[QUEUE_SIZE];
    u16 avail_flags, avail_index, avail[QUEUE_SIZE];
    u16 used_flags;
    volatile u16 used_index;
    u32 used[2 * QUEUE_SIZE];
    u32 type, ioprio, sector, sector_high;
    volatile u8 status;
} ring __attribute__((aligned(16)));

#define here(p) (BIOS_BASE + (u32)(p))

static void ring_fill(const struct disk_io *io)
{
    for (unsigned i = 0; i < 3; i++) {
        ring.desc[i].addr_high = 0;
        ring.desc[i].flags = i < 2 ? DESC_NEXT : DESC_WRITE;
        ring.desc[i].next = (u16)(i + 1);
    }
    ring.desc[0].addr = here(&ring.type);
    ring.desc[0].len = 16;
    ring.desc[1].addr = io->addr;
    ring.desc[1].addr_high = io->addr_high;
    ring.desc[1].len = io->count * SECTOR;
    if (io->what == READ)
        ring.desc[1].flags |= DESC_WRITE;
    ring.desc[2].addr = here(&ring.status);
    ring.desc[2].len = 1;
    ring.avail_flags = 1; /* no interrupts */
    ring.avail_index = 1;
    ring.avail[0] = 0;
    ring.used_index = 0;
    ring.type = io->what == WRITE;
    ring.ioprio = 0;
    ring.sector = io->lba;
    ring.sector_high = io->lba_high;
    ring.status = 0xff;
}

/* Bounded: the disk of a process that is gone answers when that is back. */
static u32 ring_wait(void)
{
    u8 last = 0;

    for (u32 n = 0; n < PATIENCE;) {
        u8 now = inb(0x61) & 0x10;
        if (ring.used_index)
            return ring.status ? DISK_FAILED : DISK_OK;
        n += now != last;
        last = now;
    }
    return DISK_TIMEOUT;
}

/* §3.1.1, and §2.7.13; in protected mode. */
static u32 disk_request(const void *arg)
{
    const struct disk_io *io = arg;
    u32 c = io->disk->common, status;

    mem8(c + STATUS) = 0;
    while (mem8(c + STATUS))
        ;
    mem8(c + STATUS) = 3; /* ACKNOWLEDGE, DRIVER */
    mem32(c + DRIVER_FEATURE_SELECT) = 1;
    mem32(c + DRIVER_FEATURE) = 1; /* VERSION_1 */
    mem8(c + STATUS) = 11;         /* FEATURES_OK */
    mem16(c + QUEUE_SELECT) = 0;
    mem16(c + QUEUE_NUM) = QUEUE_SIZE;
    mem32(c + QUEUE_DESC) = here(&ring.desc);
    mem32(c + QUEUE_DRIVER) = here(&ring.avail_flags);
    mem32(c + QUEUE_DEVICE) = here(&ring.used_flags);
    mem16(c + QUEUE_ENABLE) = 1;
    mem8(c + STATUS) = 15; /* DRIVER_OK */
    mem16(io->disk->notify) = 0;
    status = ring_wait();
    mem8(c + STATUS) = 0;
    return status;
}

static void bus_master(const struct disk *d, int on)
{
    pci_select((u16)(d->slot << 3), 4);
    outw(PCI_DATA, (u16)((inw(PCI_DATA) & ~4) | on << 2));
}

/* What AH is to be. */
static u8 disk_do(const struct disk_io *io)
{
    const struct disk *d = io->disk;
    u64 end = (u64)io->lba_high << 32 | io->lba;
    u8 status;

    end += io->count;
    if (io->lba_high == 0xffffffff ||
        end > ((u64)d->sectors_high << 32 | d->sectors))
        return DISK_INVALID;
    if (io->what == VERIFY || !io->count)
        return DISK_OK;
    ring_fill(io);
    bus_master(d, 1);
    status = (u8)flat_call(disk_request, io);
    bus_master(d, 0);
    return status;
}

/* ----------------------------------------------------------------- finding */

/* Where a capability's structure lies; 0: not in memory below 4 GiB. */
static u32 cap_address(u16 bdf, u8 cap)
{
    unsigned reg = 0x10 + 4 * (pci_read32(bdf, cap + 4u) & 7);
    u32 bar = pci_read32(bdf, reg);

    if (bar & 1 || ((bar & 4) && pci_read32(bdf, reg + 4)))
        return 0;
    return (bar & ~15u) + pci_read32(bdf, cap + 8u);
}

struct found {
    struct disk *disk;
    u32 config, multiplier;
};

/* What only the device knows; in protected mode. The size of its blocks. */
static u32 disk_look(const void *arg)
{
    const struct found *f = arg;
    struct disk *d = f->disk;

    mem16(d->common + QUEUE_SELECT) = 0;
    d->notify += mem16(d->common + QUEUE_NOTIFY_OFF) * f->multiplier;
    d->sectors = mem32(f->config + CONFIG_CAPACITY);
    d->sectors_high = mem32(f->config + CONFIG_CAPACITY + 4);
    return mem32(f->config + CONFIG_BLK_SIZE);
}

/* So many heads that there are no more than 1024 cylinders, as PCs' BIOSes
 * choose them for a disk that has none. */
static void disk_shape(struct disk *d)
{
    u32 tracks = (d->sectors_high ? ~0u : d->sectors) / SECTORS_PER_TRACK;
    u32 heads = 16, cylinders;

    while (heads < 128 && tracks / heads > 1024)
        heads *= 2;
    if (tracks / heads > 1024)
        heads = 255;
    cylinders = tracks / heads;
    d->heads = (u8)heads;
    d->cylinders = (u16)(cylinders > 1024 ? 1024 : cylinders ? cylinders : 1);
}

static void disk_add(u8 slot)
{
    u16 bdf = (u16)(slot << 3);
    struct disk *d = &disks[ndisks];
    struct found f = {.disk = d};
    u32 ids;

    if (disk_slot(slot) >= 0)
        return;
    ids = pci_read32(bdf, 0);
    if (ids != 0x10011af4 && ids != 0x10421af4)
        return;
    d->common = d->notify = 0;
    d->slot = slot;
    for (u8 cap = (u8)pci_read32(bdf, 0x34); cap;) {
        u32 head = pci_read32(bdf, cap);
        if ((head & 0xff) == CAP_VENDOR) {
            u32 at = cap_address(bdf, cap);
            u8 type = (u8)(head >> 24);
            if (type == CAP_COMMON)
                d->common = at;
            else if (type == CAP_DEVICE)
                f.config = at;
            else if (type == CAP_NOTIFY && at) {
                d->notify = at;
                f.multiplier = pci_read32(bdf, cap + 16u);
            }
        }
        cap = (u8)(head >> 8);
    }
    if (!d->common || !d->notify || !f.config ||
        flat_call(disk_look, &f) > SECTOR)
        return;
    disk_shape(d);
    ndisks++;
}

static void write_parameters(unsigned i)
{
    const struct disk *d = &disks[i];
    u8 *p = parameters[i];

    *(u16 *)p = *(u16 *)(p + 12) = d->cylinders;
    p[2] = d->heads;
    *(u16 *)(p + 5) = 0xffff;
    p[8] = d->heads > 8 ? 8 : 0;
    p[14] = SECTORS_PER_TRACK;
    set_vector(i ? 0x46 : 0x41, p);
}

void disks_init(void)
{
    for (const u8 *slot = handoff.order; *slot; slot++)
        disk_add(*slot);
    for (u8 slot = 1; slot < 32; slot++)
        disk_add(slot);
    for (unsigned i = 0; i < 2 && i < ndisks; i++)
        write_parameters(i);
    set_gs(BDA_SEG);
    bda8(BDA_DISKS) = ndisks;
}

int disk_slot(u8 slot)
{
    for (int i = 0; i < ndisks; i++)
        if (disks[i].slot == slot)
            return i;
    return -1;
}

void disk_boot(u8 slot)
{
    int n = disk_slot(slot);
    struct disk_io io = {.addr = BOOT_SECTOR, .count = 1};

    if (n < 0)
        return;
    io.disk = &disks[n];
    if (disk_do(&io))
        return;
    set_gs(BOOT_SECTOR >> 4);
    if (*(volatile u16 GS *)510 == 0xaa55)
        enter_boot_sector((u8)(0x80 + n));
}

/* --------------------------------------------------------------- INT 13h */

/* AH = 02h, 03h, 04h. */
static u8 chs(regs r, const struct disk *d)
{
    u8 sector = r->cl & 63;
    struct disk_io io = {
        .disk = d,
        .what = (u8)(r->ah - 2),
        .count = r->al,
        .addr = ((u32)r->es << 4) + r->bx,
        .lba = (((u32)(r->cl & 0xc0) << 2 | r->ch) * d->heads + r->dh) *
                   SECTORS_PER_TRACK +
               sector - 1,
    };

    if (!io.count || !sector || r->dh >= d->heads)
        return DISK_INVALID;
    return disk_do(&io);
}

/* AH = 42h, 43h, 44h, with a disk address packet at DS:SI. */
static u8 lba(regs r, const struct disk *d)
{
    struct disk_io io = {.disk = d, .what = (u8)(r->ah - 0x42)};
    u32 at = r->si;
    u8 status;

    set_gs(r->ds);
    if (mem8(at) < 16)
        return DISK_INVALID;
    io.count = mem16(at + 2);
    io.addr = ((u32)mem16(at + 6) << 4) + mem16(at + 4);
    io.lba = mem32(at + 8);
    io.lba_high = mem32(at + 12);
    if (mem32(at + 4) == 0xffffffff && mem8(at) >= 24) { /* a flat address */
        io.addr = mem32(at + 16);
        io.addr_high = mem32(at + 20);
    }
    status = disk_do(&io);
    if (status) {
        set_gs(r->ds);
        mem16(at + 2) = 0;
    }
    return status;
}

/* AH = 08h, 15h. */
static u8 shape(regs r, const struct disk *d)
{
    u16 last = (u16)(d->cylinders - 1);

    r->ch = (u8)last;
    r->cl = (u8)(last >> 2 & 0xc0) | SECTORS_PER_TRACK;
    r->dh = (u8)(d->heads - 1);
    r->dl = ndisks;
    r->al = 0;
    return DISK_OK;
}

static void kind(regs r, const struct disk *d)
{
    u32 n = d->sectors_high ? ~0u : d->sectors;

    r->ah = 3; /* a fixed disk */
    r->cx = (u16)(n >> 16);
    r->dx = (u16)n;
    set_carry(r, 0);
}

/* AH = 48h: as much of it as the caller has room for; with the device path of 8
 * bytes that EDD-3.0 has, or the 16 of T13's, which Linux wants. */
struct edd {
    u16 size, flags;
    u32 cylinders, heads, per_track, sectors, sectors_high;
    u16 bytes;
    u32 dpte;
    u16 key;
    u8 path_len, reserved[3];
    u32 bus, type[2];
    u8 path[8], device[18]; /* the last one is a sum */
} __attribute__((packed));
_Static_assert(sizeof(struct edd) == 0x4a, "EDD-3");

static u8 edd(regs r, const struct disk *d)
{
    struct edd e = {
        .flags = 1 /* any memory can be had */ | 2 /* CHS is valid */,
        .cylinders = d->cylinders,
        .heads = d->heads,
        .per_track = SECTORS_PER_TRACK,
        .sectors = d->sectors,
        .sectors_high = d->sectors_high,
        .bytes = SECTOR,
        .dpte = 0xffffffff, /* there are no ports */
        .key = 0xbedd,
        .bus = 0x20494350,                /* "PCI " */
        .type = {0x49534353, 0x20202020}, /* "SCSI", the nearest */
        .path = {0, d->slot},
    };
    u16 room;

    set_gs(r->ds);
    room = mem16(r->si);
    if (room < 0x1a)
        return DISK_INVALID;
    e.size = room < 0x1e   ? 0x1a
             : room < 0x42 ? 0x1e
             : room < 0x4a ? 0x42
                           : 0x4a;
    e.path_len = (u8)(e.size - 30);
    for (unsigned i = 30; i < 57 && e.size > 30; i++) /* all else is 0 */
        ((u8 *)&e)[e.size - 1] -= ((u8 *)&e)[i];
    for (unsigned i = 0; i < e.size; i++)
        mem8(r->si + i) = ((u8 *)&e)[i];
    return DISK_OK;
}

static u8 serve(regs r, const struct disk *d)
{
    switch (r->ah) {
    case 0x00: /* nothing to reset, seek, recalibrate, diagnose */
    case 0x09:
    case 0x0c:
    case 0x0d:
    case 0x10:
    case 0x11:
    case 0x14:
    case 0x47:
        return DISK_OK;
    case 0x02:
    case 0x03:
    case 0x04:
        return chs(r, d);
    case 0x08:
        return shape(r, d);
    case 0x41:
        if (r->bx != 0x55aa)
            return DISK_INVALID;
        r->bx = 0xaa55;
        r->cx = 5; /* 42h to 44h and 47h, 48h */
        return DISK_OK;
    case 0x42:
    case 0x43:
    case 0x44:
        return lba(r, d);
    case 0x45:
    case 0x46:
        return DISK_NOT_REMOVABLE;
    case 0x48:
        return edd(r, d);
    default:
        return DISK_INVALID;
    }
}

void int_13(regs r)
{
    unsigned n = r->dl - 0x80u, function = r->ah;
    u8 status;

    if (function == 0x15) {
        r->ah = 0; /* no such drive */
        set_carry(r, 0);
        if (n < ndisks)
            kind(r, &disks[n]);
        return;
    }
    set_gs(BDA_SEG);
    if (function == 0x01)
        status = bda8(BDA_DISK_STATUS);
    else
        status = n < ndisks ? serve(r, &disks[n]) : DISK_INVALID;
    set_gs(BDA_SEG);
    bda8(BDA_DISK_STATUS) = status;
    r->ah = status;
    if (function == 0x41 && !status)
        r->ah = 0x30; /* EDD-3 */
    set_carry(r, status != DISK_OK);
}
