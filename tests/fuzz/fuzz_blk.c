/* SPDX-License-Identifier: MIT */
/* A disk with two queues, split or packed, and a hostile driver; a drive that
 * ends what it was asked late, in any order, well or not, and checks what it is
 * asked (tests/unit/fakeblk.c); sizes, rest and resets in between. */
#include <errno.h>

#include "devices/virtio_blk/state.h"
#include "tests/fuzz/fuzz_virtio.h"
#include "tests/unit/fakeblk.h"

#define QUEUES 2

static struct fv v;
static struct fake_blk *drive;
static struct device *disk;
static uint8_t places; /* of the rings */
static unsigned rests; /* that are still made: they take long */
#define RESTS 2

/* Packed rings are offered, too; an input chooses. */
static void make(void)
{
    v.m = fake_pc(FV_RAM);
    v.type = 2;
    drive = fake_blk_new(NULL);
    drive->ev.loop = v.m->loop;
    CHECK_EQ(fake_device(v.m, &virtio_blk_class, "fuzz",
                         "drive=d0,num-queues=2,queue-size=32,packed=on"),
             0);
    for (disk = v.m->devices; disk->cls != &virtio_blk_class;)
        disk = disk->next;
}

static uint64_t features(uint8_t bits)
{
    static const uint64_t set[8] = {
        1ull << VIRTIO_F_EVENT_IDX,
        1ull << VIRTIO_F_INDIRECT_DESC,
        1ull << VIRTIO_BLK_F_FLUSH,
        1ull << VIRTIO_BLK_F_CONFIG_WCE,
        1ull << VIRTIO_F_RING_RESET,
        1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES,
        1ull << VIRTIO_BLK_F_MQ | 1ull << VIRTIO_BLK_F_SEG_MAX,
        1ull << VIRTIO_F_RING_PACKED, /* if offered */
    };
    uint64_t f = 1ull << VIRTIO_F_VERSION_1;
    for (unsigned i = 0; i < 8; i++)
        f |= bits >> i & 1 ? set[i] : 0;
    return f;
}

static void start(uint64_t want)
{
    uint64_t c = v.common, offered = 0;
    if (!v.starts)
        return;
    v.starts--;
    drv_w8(v.m, c + 0x14, 0);
    CHECK_EQ(drive->n, 0); /* nothing is under way after a reset */
    drv_w8(v.m, c + 0x14, 3);
    for (unsigned i = 0; i < 2; i++) {
        drv_w32(v.m, c, i);
        uint32_t bits = drv_r32(v.m, c + 4);
        offered |= (uint64_t)bits << 32 * i;
        drv_w32(v.m, c + 8, i);
        drv_w32(v.m, c + 12, bits & (uint32_t)(want >> 32 * i));
    }
    v.packed = has(want & offered, VIRTIO_F_RING_PACKED);
    fv_layout(&v, places);
    drv_w8(v.m, c + 0x14, 11);
    for (unsigned q = 0; q < QUEUES; q++)
        fv_queue(&v, q, FV_SIZE);
    drv_w8(v.m, c + 0x14, 15);
}

static void begin(void)
{
    device_resume(disk);
    drive->b.size = FB_SIZE;
    drive->self = false;
    fake_reset(v.m);
    CHECK_EQ(drive->n, 0);
    fake_run_loop(v.m);
    v.starts = FV_STARTS;
    rests = RESTS;
    fv_find(&v);
    places = 0;
}

static void finish(struct fuzz *f)
{
    static const int errors[] = {0, 0, -EIO, -EOPNOTSUPP};
    uint8_t how = fuzz_u8(f);
    if (!drive->n)
        return;
    unsigned i = (how >> 2) % drive->n;
    if (how & 1)
        drive->begun[i] = true;
    fake_blk_end(drive, i, errors[how & 3]);
}

/* A request as drivers make them, or nearly; against RAM's end as often as
 * not. */
static void request(struct fuzz *f, unsigned q)
{
    static const uint8_t types[] = {0, 1, 4, 8, 11, 13, 0, 1};
    uint8_t how = fuzz_u8(f), cut = fuzz_u8(f);
    bool writes = (how & 7) == 0 || (how & 7) == 3 || (how & 7) == 6;
    uint8_t *p = fake_ram(v.m, FV_DATA, 64);
    uint64_t sector = how & 0x10 ? FB_SECTORS - (cut & 31) : fuzz_u16(f);
    uint32_t data = how & 0x20 ? 16 : 512u * (cut >> 5) + (how >> 7);
    memset(p, 0, 64);
    p[0] = types[how & 7];
    memcpy(p + 8, &sector, 8);
    memcpy(p + 16, &sector, 8);
    p[24] = cut;
    p[28] = how >> 6 & 1;
    uint16_t head = v.q[q].add % FV_SIZE;
    if ((how & 7) == 4 || (how & 7) == 5) {
        fv_desc(&v, q, FV_DATA, 32, FV_NEXT);
    } else {
        fv_desc(&v, q, FV_DATA, 16, FV_NEXT);
        if (data)
            fv_desc(&v, q, fv_buffer(&v, cut, data), data,
                    FV_NEXT | (writes ? FV_WRITE : 0));
    }
    fv_desc(&v, q, how & 8 ? FV_RAM - 1 : FV_ACK, 1, FV_WRITE);
    fv_show(&v, q, head);
    fv_kick(&v, q);
}

static void rest(struct fuzz *f)
{
    static uint8_t state[1 << 16];
    uint8_t how = fuzz_u8(f);
    if (!rests)
        return;
    rests--;
    device_hold(disk);
    CHECK_EQ(drive->n, 0);
    size_t n = device_save(disk, state, sizeof(state));
    CHECK(n && n <= sizeof(state));
    if (how & 1)
        CHECK_EQ(device_load(disk, state, n), 0);
    device_resume(disk);
}

static void registers(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    switch (how & 3) {
    case 0:
        drv_w8(v.m, v.config + 32, how >> 2);
        break;
    case 1:
        guest_write(v.m, false, v.config + (how >> 2), fuzz_width(f),
                    fuzz_u32(f));
        break;
    case 2:
        guest_read(v.m, false, v.config + (how >> 2), fuzz_width(f));
        break;
    default:
        drv_cfg_write(v.m, v.slot, PCI_COMMAND, 2,
                      how & 4 ? PCI_CMD_MEM : PCI_CMD_MEM | PCI_CMD_MASTER);
    }
}

static void resize(struct fuzz *f)
{
    static const uint64_t sizes[] = {0, 512, FB_SIZE / 2, FB_SIZE};
    drive->b.size = sizes[fuzz_u8(f) & 3];
    drive->b.resized(drive->b.disk);
}

static void events(struct fuzz *f, unsigned q)
{
    uint32_t val = fuzz_u32(f);
    uint64_t at = v.q[q].avail + (v.packed ? 0 : 4 + 2 * FV_SIZE);
    memcpy(fake_ram(v.m, at, v.packed ? 4 : 2), &val, v.packed ? 4 : 2);
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    unsigned q = b >> 4 & 1;
    switch (b & 15) {
    case 0:
        fv_one_desc(&v, f, q);
        break;
    case 1:
        fv_kick(&v, q);
        break;
    case 2:
        fv_poke(&v, f);
        break;
    case 3:
        fv_table(&v, f);
        break;
    case 4:
        registers(f);
        break;
    case 5: /* a queue's reset, if negotiated */
        drv_w16(v.m, v.common + 0x16, (uint16_t)q);
        drv_w16(v.m, v.common + 0x3a, 1);
        fv_queue(&v, q, 1u << (fuzz_u8(f) % 6));
        break;
    case 6:
        start(features(fuzz_u8(f)));
        break;
    case 7:
        events(f, q);
        break;
    case 8:
        rest(f);
        break;
    case 9:
        resize(f);
        break;
    case 10:
        drive->self = b & 0x20;
        fake_run_loop(v.m);
        break;
    case 11:
    case 12:
        finish(f);
        break;
    default:
        request(f, q);
    }
}

/* A driver that starts anew can write and read. */
static void end(void)
{
    fake_run_loop(v.m);
    fake_blk_end_all(drive, 0);
    begin();
    start(features(0x84));
    *(uint8_t *)fake_ram(v.m, FV_ACK, 1) = ST_NONE;
    memset(fake_ram(v.m, FV_DATA, 16), 0, 16);
    drive->bytes[0] = 0x5a;
    fv_desc(&v, 1, FV_DATA, 16, FV_NEXT);
    fv_desc(&v, 1, FV_RAM - 512, 512, FV_NEXT | FV_WRITE);
    fv_desc(&v, 1, FV_ACK, 1, FV_WRITE);
    fv_show(&v, 1, 0);
    fv_kick(&v, 1);
    fake_run_loop(v.m);
    CHECK_EQ(drive->n, 1);
    fake_blk_end_all(drive, 0);
    CHECK_EQ(*(uint8_t *)fake_ram(v.m, FV_ACK, 1), ST_OK);
    CHECK_EQ(*(uint8_t *)fake_ram(v.m, FV_RAM - 512, 1), 0x5a);
    CHECK_EQ(drv_r8(v.m, v.common + 0x14), 15);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!v.m)
        make();
    begin();
    places = fuzz_u8(&f);
    start(features(fuzz_u8(&f)));
    for (int i = 0; f.n && i < FV_ACTS; i++)
        act(&f);
    end();
    return 0;
}
