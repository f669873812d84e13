/* SPDX-License-Identifier: MIT */
/* What a disk can be told, and what it tells its driver (virtio 1.2 §5.2.3,
 * §5.2.4). */
#include <errno.h>
#include <stdio.h>

#include "devices/list.h"
#include "tests/unit/fakedisk.h"

#define B(x) F(VIRTIO_BLK_F_##x)

/* Every field at its place. */
TEST(vblk_5_2_4_configuration)
{
    struct bd b = {.d.opts = "num-queues=3,queue-size=64"};
    bd_new(&b);
    const struct {
        unsigned off, width;
        uint64_t want;
    } rows[] = {
        {0, 8, FB_SECTORS}, {8, 4, 0}, /* size_max: none */
        {12, 4, 62},        {16, 4, 0},       {20, 4, 512},     {24, 1, 0},
        {25, 1, 0},         {26, 2, 1},       {28, 4, 0},       {32, 1, 1},
        {33, 1, 0},         {34, 2, 3},       {36, 4, 2097152}, {40, 4, 1},
        {44, 4, 8},         {48, 4, 2097152}, {52, 4, 1},       {56, 1, 1},
        {57, 1, 0},         {58, 2, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_EQ(bd_config(&b, rows[i].off, rows[i].width), rows[i].want);
    CHECK_EQ(drv_cfg_read(b.d.m, b.d.slot, PCI_CLASS, 3), 0x010000);
    bd_free(&b);
}

TEST(vblk_5_2_3_features)
{
    const uint64_t always = F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_EVENT_IDX) |
                            F(VIRTIO_F_INDIRECT_DESC) | F(VIRTIO_F_RING_RESET) |
                            B(SEG_MAX) | B(BLK_SIZE) | B(TOPOLOGY);
    const uint64_t cached = always | B(FLUSH) | B(CONFIG_WCE);
    const uint64_t all = cached | B(DISCARD) | B(WRITE_ZEROES);
    const struct {
        const char *disk, *drive;
        uint64_t want;
    } rows[] = {
        {NULL, NULL, all},
        {"num-queues=2", NULL, all | B(MQ)},
        {"discard=off", NULL, all & ~B(DISCARD)},
        {"write-zeroes=off", NULL, all & ~B(WRITE_ZEROES)},
        {"config-wce=off", NULL, all & ~B(CONFIG_WCE)},
        {"write-cache=off", NULL, all},
        {"config-wce=off,write-cache=off", NULL,
         all & ~(B(CONFIG_WCE) | B(FLUSH))},
        {"event_idx=off", NULL, all & ~F(VIRTIO_F_EVENT_IDX)},
        {"packed=on", NULL, all | F(VIRTIO_F_RING_PACKED)},
        {NULL, "read-only=on", cached | B(RO)},
        {NULL, "cache.no-flush=on", all & ~(B(FLUSH) | B(CONFIG_WCE))},
        {NULL, "cache.writeback=off", all},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bd b = {.d.opts = rows[i].disk, .drive = rows[i].drive};
        bd_new(&b);
        CHECK_EQ(vd_offered(&b.d), rows[i].want);
        bd_free(&b);
    }
}

/* §5.2.4: no limit of what is offered is 0, however little the drive says. */
static void says_little(struct fake_blk *f)
{
    f->b.discard_align = 0;
    f->b.max_discard = 512;
    f->b.max_zero = UINT64_MAX & ~511ull;
    f->b.physical = 4096;
    f->b.optimal = 65536;
}

static void says_nothing(struct fake_blk *f)
{
    says_little(f);
    f->b.max_discard = f->b.max_zero = 0;
}

TEST(vblk_5_2_4_no_limit_is_zero)
{
    struct bd b = {.bend = says_little};
    bd_new(&b);
    CHECK_EQ(bd_config(&b, 36, 4), 1);
    CHECK_EQ(bd_config(&b, 44, 4), 1);
    CHECK_EQ(bd_config(&b, 48, 4), UINT32_MAX);
    bd_free(&b);
    b = (struct bd){.bend = says_nothing};
    bd_new(&b);
    CHECK_EQ(vd_offered(&b.d) & (B(DISCARD) | B(WRITE_ZEROES)), 0);
    bd_free(&b);
}

/* 512-byte blocks whatever lies below; what that is, is in the topology. */
TEST(vblk_5_2_4_blocks_and_topology)
{
    static const struct {
        const char *disk;
        uint32_t blk, exp, min_io, opt_io, align;
    } rows[] = {
        {NULL, 512, 3, 8, 128, 1},
        {"physical_block_size=512", 512, 0, 1, 128, 1},
        {"physical_block_size=16k", 512, 5, 32, 128, 1},
        {"logical_block_size=4k", 4096, 0, 1, 16, 8},
        {"logical_block_size=8192", 8192, 0, 1, 8, 16},
        {"min_io_size=64k,opt_io_size=1M", 512, 3, 128, 2048, 1},
        {"discard_granularity=4096", 512, 3, 8, 128, 8},
        {"discard_granularity=0", 512, 3, 8, 128, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bd b = {.d.opts = rows[i].disk, .bend = says_little};
        bd_new(&b);
        CHECK_EQ(bd_config(&b, 20, 4), rows[i].blk);
        CHECK_EQ(bd_config(&b, 24, 1), rows[i].exp);
        CHECK_EQ(bd_config(&b, 26, 2), rows[i].min_io);
        CHECK_EQ(bd_config(&b, 28, 4), rows[i].opt_io);
        CHECK_EQ(bd_config(&b, 44, 4), rows[i].align);
        CHECK_EQ(bd_config(&b, 0, 8), FB_SECTORS); /* in 512 bytes always */
        bd_free(&b);
    }
}

static void odd_size(struct fake_blk *f)
{
    f->b.size = FB_SIZE - 512;
}

/* With larger blocks requests are multiples of them, and so is the disk. */
TEST(vblk_logical_blocks_of_4096_bytes)
{
    struct bd b = {.d.opts = "logical_block_size=4096", .bend = odd_size};
    bd_up(&b, false, B(FLUSH));
    CHECK_EQ(bd_config(&b, 0, 8), FB_SECTORS - 8);
    CHECK_EQ(bd_do(&b, BLK_IN, 0, 4096), ST_OK);
    CHECK_EQ(bd_do(&b, BLK_IN, 0, 512), ST_IOERR);
    CHECK_EQ(bd_do(&b, BLK_IN, 1, 4096), ST_IOERR);
    CHECK_EQ(bd_do(&b, BLK_IN, FB_SECTORS - 8, 4096), ST_IOERR);
    CHECK_EQ(bd_do(&b, BLK_IN, FB_SECTORS - 16, 4096), ST_OK);
    bd_free(&b);
}

/* One queue for each CPU, unless told otherwise. */
TEST(vblk_5_2_2_queues_by_default)
{
    for (unsigned cpus = 1; cpus < 40; cpus += 6) {
        struct machine *m = fake_pc(1 << 20);
        blockdev_close_all();
        fake_blk_new(NULL);
        m->ncpus = cpus;
        REQUIRE_EQ(fake_device(m, &virtio_blk_class, "-device", "drive=d0"), 0);
        struct device *dev = m->devices;
        while (dev->next)
            dev = dev->next;
        CHECK_EQ(container_of(dev, struct vblk, v.dev)->nq,
                 cpus < 8 ? cpus : 8);
        fake_free(m);
        blockdev_close_all();
    }
}

TEST(vblk_options_that_are_refused)
{
    static const char *const rows[][2] = {
        {"", "a disk needs drive=ID of a -drive or -blockdev"},
        {"drive=d1", "drive=d1: there is no -drive or -blockdev"},
        {"drive=d0,queue-size=100", "queue-size=100: must be a power of two"},
        {"drive=d0,queue-size=2048", "queue-size"},
        {"drive=d0,num-queues=33", "num-queues"},
        {"drive=d0,num-queues=0", "num-queues"},
        {"drive=d0,logical_block_size=1000", "must be a power of two"},
        {"drive=d0,logical_block_size=64k", "logical_block_size"},
        {"drive=d0,physical_block_size=1000", "must be a power of two"},
        {"drive=d0,logical_block_size=4096,physical_block_size=512",
         "is less than logical_block_size=4096"},
        {"drive=d0,min_io_size=100", "min_io_size=100: must be a multiple"},
        {"drive=d0,opt_io_size=513", "opt_io_size=513: must be a multiple"},
        {"drive=d0,discard_granularity=3000", "must be a power of two"},
        {"drive=d0,in_order=on", "in_order=on: requests are done in"},
        {"drive=d0,scsi=on", "scsi=on"},
        {"drive=d0,werror=stop", "werror=stop"},
        {"drive=d0,disable-modern=on", "needs disable-legacy=off"},
        {"drive=d0,addr=99", "addr=99"},
    };
    struct machine *m = fake_pc(1 << 20);
    blockdev_close_all();
    struct fake_blk *f = fake_blk_new(NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_EQ(fake_device(m, &virtio_blk_class, "-device virtio-blk-pci",
                             rows[i][0]),
                 -EINVAL);
        CHECK_HAS(test_log(), rows[i][1]);
        CHECK(!f->b.taken);
    }
    const char *good = "drive=d0,bootindex=1,scsi=off,share-rw=on,"
                       "werror=report,rerror=report,serial=x";
    CHECK_EQ(fake_device(m, &virtio_blk_class, "-device", good), 0);
    CHECK_EQ(fake_device(m, &virtio_blk_class, "-device", "drive=d0"), -EINVAL);
    CHECK_HAS(test_log(), "drive=d0: another disk uses it");
    fake_free(m);
    blockdev_close_all();
}
