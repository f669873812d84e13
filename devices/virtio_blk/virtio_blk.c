/* SPDX-License-Identifier: MIT */
/* virtio-blk-pci: the disk (virtio 1.2 §5.2): what it can be told, what it
 * offers, its configuration, and making it.
 *
 * Theory of operation
 * -------------------
 * A disk has one to 32 queues and one drive (block/block.h), and all of it is
 * the main loop's: a kick takes requests from the ring and hands them to the
 * drive, which does them elsewhere and calls back on the same loop. So rings
 * and requests need no lock; what vCPUs do to queues is done on the loop, too
 * (hold.c has who waits for whom).
 *
 * The driver sees 512-byte blocks unless told otherwise, whatever the drive is
 * made of: an image's partition table counts in them. What the drive would
 * rather have is in the topology.
 *
 * What is written is volatile until it is flushed, if the driver knows of a
 * cache (it accepted FLUSH, or left `writeback` on); else each write is
 * followed by a flush before the driver hears of it (§5.2.6.2). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio_blk/state.h"

#define QUEUES_MAX (VIRTIO_QUEUES_MAX - 1)
/* Unless told otherwise: one loop serves all of them, so that more would only
 * cost vectors, of which a machine with many disks has not enough. */
#define QUEUES_AUTO 8
#define BLOCK_MAX 32768u

/* ----------------------------------------------------------------- options */

/* QEMU's, which need nothing with these values. */
static const struct opts_quiet vblk_quiet[] = {
    {"backend_defaults", NULL, NULL},
    {"report-discard-granularity", NULL, NULL},
    {"request-merging", NULL, NULL}, /* the kernel's, at both ends */
    {"rerror", "report auto", "the guest is told, and decides"},
    {"scsi", "off", "SCSI commands are not passed through"},
    {"seg-max-adjust", NULL, NULL},
    {"share-rw", NULL, NULL}, /* the drive's locking= decides */
    {"werror", "report auto", "the guest is told, and decides"},
    {"x-enable-wce-if-config-wce", NULL, NULL},
    {0},
};

#define RATE(key, member, kind, text)                                          \
    FIELD(kind, key, struct vblk, rate.member, .help = text)
const struct field vblk_fields[] = {
    FIELDS_QUIET(vblk_quiet),
    FIELDS_OF(device_fields, "", struct vblk, v.dev),
    FIELDS_OF(pci_fields, "", struct vblk, pci),
    FIELDS_OF(virtio_fields, "", struct vblk, v),
    FIELDS_OF(vblk_state_fields, "", struct vblk, v.dev), /* of all of it */
#define X(name, what) COUNT(#name, struct vblk, stats.name, what),
    VBLK_COUNTERS(X)
#undef X
        FIELD(TEXT, "drive", struct vblk, drive, .arg = "ID",
              .help = "the -drive or -blockdev it is"),
    FIELD(TEXT, "serial", struct vblk, serial, .arg = "TEXT",
          .help = "told to the guest, 20 bytes of it (the drive's)"),
    FIELD(NUMBER, "num-queues", struct vblk, num_queues, .min = 1,
          .max = QUEUES_MAX, .def = 0, .help = "(one for each CPU, 8 at most)"),
    FIELD(NUMBER, "queue-size", struct vblk, queue_size, .min = 4,
          .max = VQ_SIZE_MAX, .def = 256,
          .help = "entries of a ring, a power of two"),
    FIELD(SIZE, "logical_block_size", struct vblk, logical, .min = BLK_SECTOR,
          .max = BLOCK_MAX, .def = BLK_SECTOR,
          .help = "what the guest's requests are multiples of"),
    FIELD(SIZE, "physical_block_size", struct vblk, physical, .min = BLK_SECTOR,
          .max = BLOCK_MAX, .def = 0,
          .help = "told to the guest (the drive's)"),
    FIELD(SIZE, "min_io_size", struct vblk, min_io, .max = 32 << 20,
          .help = "told to the guest (a physical block)"),
    FIELD(SIZE, "opt_io_size", struct vblk, opt_io, .max = 1 << 30,
          .help = "told to the guest (the drive's)"),
    FIELD(SIZE, "discard_granularity", struct vblk, discard_granularity,
          .max = 1 << 30, .help = "told to the guest (the drive's)"),
    FIELD(FLAG, "discard", struct vblk, discard, .def = ON,
          .help = "where the drive can give room back"),
    FIELD(FLAG, "write-zeroes", struct vblk, write_zeroes, .def = ON,
          .help = "where the drive can"),
    FIELD(FLAG, "write-cache", struct vblk, write_cache, .def = AUTO,
          .max = AUTO,
          .help = "writes are done once flushed; auto: by the drive's cache="),
    FIELD(FLAG, "config-wce", struct vblk, config_wce, .def = ON,
          .help = "the guest may switch that"),
    RATE("rate", rate, SIZE, "bytes a second, read and written (no limit)"),
    RATE("burst", burst, SIZE, "of them, at once (a fifth of that)"),
    RATE("ops", ops, NUMBER, "requests a second"),
    RATE("ops-burst", ops_burst, NUMBER, "of them, at once"),
    FIELDS_OF(virtio_options, "", struct vblk, v),
    {.name = ""},
};

static bool vblk_pow2(uint32_t n)
{
    return !(n & (n - 1));
}

static int vblk_check_sizes(const struct vblk *d, const char *what)
{
    const struct {
        const char *key;
        uint32_t n;
    } all[] = {{"queue-size", d->queue_size},
               {"logical_block_size", d->logical},
               {"physical_block_size", d->physical},
               {"discard_granularity", d->discard_granularity}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!vblk_pow2(all[i].n))
            return fail(-EINVAL, "%s: %s=%u: must be a power of two", what,
                        all[i].key, all[i].n);
    if (d->physical && d->physical < d->logical)
        return fail(-EINVAL,
                    "%s: physical_block_size=%u: is less than "
                    "logical_block_size=%u",
                    what, d->physical, d->logical);
    if ((d->min_io | d->opt_io) & (d->logical - 1))
        return fail(-EINVAL,
                    "%s: %s_io_size=%u: must be a multiple of "
                    "logical_block_size=%u",
                    what, d->min_io & (d->logical - 1) ? "min" : "opt",
                    d->min_io & (d->logical - 1) ? d->min_io : d->opt_io,
                    d->logical);
    return 0;
}

static int vblk_take_drive(struct vblk *d, const char *what)
{
    if (!d->drive)
        return fail(-EINVAL,
                    "%s: a disk needs drive=ID of a -drive or -blockdev", what);
    struct blockdev *b = blockdev_find(d->drive);
    if (!b)
        return fail(-EINVAL,
                    "%s: drive=%s: there is no -drive or -blockdev with that "
                    "id",
                    what, d->drive);
    if (b->taken)
        return fail(-EINVAL, "%s: drive=%s: another disk uses it", what,
                    d->drive);
    b->taken = true;
    d->b = b;
    return 0;
}

static int vblk_check(struct device *dev, struct needs *needs)
{
    struct vblk *d = container_of(dev, struct vblk, v.dev);
    const char *what = dev->opts.what;
    int err = virtio_check(&d->v, what);
    if (!err && has(d->v.asked, VIRTIO_F_IN_ORDER))
        err = fail(-EINVAL,
                   "%s: in_order=on: requests are done in the drive's order",
                   what);
    if (!err)
        err = vblk_check_sizes(d, what);
    if (!err)
        err = rate_check(&d->rate, what, "");
    if (!err)
        err = pci_check(&d->pci, what, needs);
    needs->disks++;
    return err ? err : vblk_take_drive(d, what);
}

/* ----------------------------------------------------------- configuration */

uint64_t vblk_capacity(const struct vblk *d)
{
    return (d->b->size & ~(d->logical - 1ull)) / BLK_SECTOR;
}

bool vblk_starts_cached(const struct vblk *d)
{
    if (d->write_cache != AUTO)
        return d->write_cache;
    return d->b->cache != BLK_WRITETHROUGH && d->b->cache != BLK_DIRECTSYNC;
}

/* So many as the register holds. */
static le32 vblk_sectors(uint64_t bytes)
{
    uint64_t n = bytes / BLK_SECTOR;
    return n < UINT32_MAX ? (le32)n : UINT32_MAX;
}

/* §5.2.5.2: FLUSH is offered where it does something, and whenever CONFIG_WCE
 * is. None of a field's limits is 0 where its feature is offered. */
static void vblk_choose_features(struct vblk *d)
{
    const struct blockdev *b = d->b;
    struct vblk_config *c = &d->config;
    uint64_t f = d->v.asked | bit(VIRTIO_F_VERSION_1) |
                 bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) |
                 bit(VIRTIO_BLK_F_TOPOLOGY);
    bool flush = b->can_flush && b->cache != BLK_UNSAFE;
    if (flush && (d->config_wce || vblk_starts_cached(d)))
        f |= bit(VIRTIO_BLK_F_FLUSH);
    if (flush && d->config_wce)
        f |= bit(VIRTIO_BLK_F_CONFIG_WCE);
    if (d->nq > 1)
        f |= bit(VIRTIO_BLK_F_MQ);
    if (b->readonly)
        f |= bit(VIRTIO_BLK_F_RO);
    if (d->discard && b->can_discard && !b->readonly && c->max_discard_sectors)
        f |= bit(VIRTIO_BLK_F_DISCARD);
    if (d->write_zeroes && b->can_zero && !b->readonly &&
        c->max_write_zeroes_sectors)
        f |= bit(VIRTIO_BLK_F_WRITE_ZEROES);
    d->v.offered = f;
}

static void vblk_fill_config(struct vblk *d)
{
    const struct blockdev *b = d->b;
    struct vblk_config *c = &d->config;
    uint32_t physical = d->physical ? d->physical : b->physical;
    uint32_t align =
        d->discard_granularity ? d->discard_granularity : b->discard_align;
    if (physical < d->logical)
        physical = d->logical;
    if (align < d->logical)
        align = d->logical;
    c->capacity = vblk_capacity(d);
    c->seg_max = d->queue_size - 2;
    c->blk_size = d->logical;
    while (d->logical << c->physical_block_exp < physical)
        c->physical_block_exp++;
    uint32_t least = (d->min_io ? d->min_io : physical) / d->logical;
    c->min_io_size = (le16)(least < UINT16_MAX ? least : UINT16_MAX);
    c->opt_io_size = (d->opt_io ? d->opt_io : b->optimal) / d->logical;
    c->writeback = vblk_starts_cached(d);
    c->num_queues = (le16)d->nq;
    c->max_discard_sectors = vblk_sectors(b->max_discard);
    c->max_write_zeroes_sectors = vblk_sectors(b->max_zero);
    c->max_discard_seg = c->max_write_zeroes_seg = 1;
    c->discard_sector_alignment = align / BLK_SECTOR;
    c->write_zeroes_may_unmap = b->zero_may_unmap;
}

static void vblk_config_read(struct virtio *v, unsigned off, void *p,
                             unsigned len)
{
    memcpy(p, (const uint8_t *)&vblk_of(v)->config + off, len);
}

/* §5.2.5: only `writeback` is the driver's, if that was negotiated. */
static void vblk_config_write(struct virtio *v, unsigned off, const void *p,
                              unsigned len)
{
    struct vblk *d = vblk_of(v);
    const unsigned at = offsetof(struct vblk_config, writeback);
    if (off > at || off + len <= at ||
        !has(v->features, VIRTIO_BLK_F_CONFIG_WCE))
        return;
    d->config.writeback = ((const uint8_t *)p)[at - off] & 1;
    vblk_follow_cache(d);
}

static const struct virtio_type vblk_type = {
    .name = "virtio-blk",
    .id = 2,
    .class24 = 0x010000,
    .config_len = sizeof(struct vblk_config),
    .start = vblk_start,
    .stop = vblk_stop,
    .queue_stop = vblk_queue_stop,
    .queue_start = vblk_queue_start,
    .config_read = vblk_config_read,
    .config_write = vblk_config_write,
    .kick = vblk_kick,
};

/* ------------------------------------------------------------------ making */

static void vblk_destroy(struct device *dev)
{
    struct vblk *d = container_of(dev, struct vblk, v.dev);
    vblk_stop(&d->v);
    d->b->resized = NULL;
    virtio_pci_destroy(&d->v);
    loop_del(&d->later);
    timer_cancel(&d->gate);
    for (unsigned i = 0; i < d->nq; i++)
        vblk_queue_free(&d->q[i]);
    free(d->q);
    free(d);
}

static int vblk_make_queues(struct vblk *d, struct machine *m)
{
    unsigned cpus = m->ncpus < QUEUES_AUTO ? m->ncpus : QUEUES_AUTO;
    d->nq = d->num_queues ? d->num_queues : cpus ? cpus : 1;
    d->v.nvq = d->nq;
    d->q = calloc(d->nq, sizeof(*d->q));
    int err = d->q ? 0 : -ENOMEM;
    for (unsigned i = 0; !err && i < d->nq; i++) {
        d->v.vq[i].size_max = (uint16_t)d->queue_size;
        err = vblk_queue_init(d, i);
    }
    return err ? fail(err, "%s: out of memory", d->v.dev.id) : 0;
}

static int vblk_create(struct machine *m, struct device *dev)
{
    struct vblk *d = container_of(dev, struct vblk, v.dev);
    dev->hold = vblk_hold;
    dev->resume = vblk_resume;
    dev->destroy = vblk_destroy;
    d->later = (struct event){.fd = -1, .ready = vblk_later, .loop = m->loop};
    timer_init(&d->gate, m->loop, vblk_limit_over);
    limit_rate(&d->limit, &d->rate);
    d->limited = limit_is_on(&d->limit);
    int err = vblk_make_queues(d, m);
    if (err)
        return err;
    vblk_fill_config(d);
    vblk_choose_features(d);
    err = virtio_pci_init(&d->v, m, &vblk_type, &d->pci);
    if (err)
        return err;
    d->b->disk = d;
    d->b->resized = vblk_resized;
    device_register(m, dev);
    return 0;
}

static const struct device_alias vblk_aliases[] = {
    {"virtio-blk", {0}, {0}},
    {"virtio-blk-pci-non-transitional",
     {"disable-legacy", "disable-modern"},
     {"on", "off"}},
    {"virtio-blk-pci-transitional",
     {"disable-legacy", "disable-modern"},
     {"off", "off"}},
    {0},
};

static const struct verb vblk_verbs[] = {
    {"limit", "another rate limit", limit_fields, sizeof(struct limit_told),
     vblk_limit},
    {.name = NULL},
};

const struct device_class virtio_blk_class = {
    .name = "virtio-blk-pci",
    .help = "virtio disk",
    .fields = vblk_fields,
    .size = sizeof(struct vblk),
    .aliases = vblk_aliases,
    .kinds = "virtio-pci virtio-blk-device",
    .check = vblk_check,
    .create = vblk_create,
    .loaded = vblk_loaded,
    .verbs = vblk_verbs,
};
