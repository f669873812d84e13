/* SPDX-License-Identifier: MIT */
/* vhost-user-blk-pci: a disk that another process serves (virtio 1.2 §5.2).
 *
 * qemu-storage-daemon keeps tables of an image in its memory until the guest
 * flushes. If it is killed, writes that it has said are done are lost with
 * them, and the next one knows nothing of that: its flushes would succeed. So
 * writes that are done and flushes that are, too, are counted, and where some
 * of the former were lost the latter fail, until the guest begins anew. A
 * write-through cache loses nothing. */
#include <errno.h>
#include <string.h>

#include "block/block.h"
#include "devices/virtio/served.h"
#include "devices/virtio/walk.h"

enum { /* feature bits, §5.2.3 */
       VBLK_F_SIZE_MAX = 1,
       VBLK_F_SEG_MAX = 2,
       VBLK_F_GEOMETRY = 4,
       VBLK_F_RO = 5,
       VBLK_F_BLK_SIZE = 6,
       VBLK_F_FLUSH = 9,
       VBLK_F_TOPOLOGY = 10,
       VBLK_F_CONFIG_WCE = 11,
       VBLK_F_MQ = 12,
       VBLK_F_DISCARD = 13,
       VBLK_F_WRITE_ZEROES = 14,
};
#define B(name) (1ull << VBLK_F_##name)

/* §5.2.4, up to write_zeroes_may_unmap: what every back-end has. */
#define CONFIG_LEN 60
#define CONFIG_WCE 32
#define CONFIG_QUEUES 34

struct vublk {
    struct served s; /* first */
    const char *drive;
    bool caches;            /* it has a cache of its own, to be flushed */
    bool lost;              /* and died with something in it */
    uint64_t written, safe; /* writes done; of these, flushed */
    struct fault losses;
    uint8_t config_wce;
    uint8_t wce, first; /* the cache is one of write-back; before a driver */
};

static struct vublk *vublk_of(struct virtio *v)
{
    return container_of(v, struct vublk, s.v);
}

/* As many queues as we have; and the cache that we say. A back-end's own word
 * is not taken for it: qemu-storage-daemon, which caches, begins with 0, and a
 * guest that believes that flushes nothing. */
static void vublk_fix_config(struct served *s, uint8_t *config)
{
    struct vublk *b = container_of(s, struct vublk, s);
    const le16 n = s->nq;
    memcpy(config + CONFIG_QUEUES, &n, sizeof(n));
    if (config[CONFIG_WCE] != b->wce &&
        has(s->vhost->features, VBLK_F_CONFIG_WCE))
        s->vhost->ops->set_config(s->vhost, CONFIG_WCE, &b->wce, 1);
    config[CONFIG_WCE] = b->wce;
}

static void vublk_set_wce(struct vublk *b, uint8_t wce)
{
    b->wce = b->s.config[CONFIG_WCE] = wce;
    b->s.vhost->ops->set_config(b->s.vhost, CONFIG_WCE, &wce, 1);
}

/* §5.2.5: writeback is all that there is to write. */
static void vublk_config_write(struct virtio *v, unsigned off, const void *p,
                               unsigned len)
{
    struct vublk *b = vublk_of(v);
    if (off != CONFIG_WCE || len != 1 || !has(v->features, VBLK_F_CONFIG_WCE))
        return;
    vublk_set_wce(b, *(const uint8_t *)p & 1);
}

/* The next driver finds what the first one found. */
static void vublk_stop(struct virtio *v)
{
    struct vublk *b = vublk_of(v);
    served_stop(v);
    if (b->wce != b->first)
        vublk_set_wce(b, b->first);
    b->lost = false;
    b->written = b->safe = 0;
}

/* ---------------------------------------------------------------- flushes */

enum { VBLK_OUT = 1, VBLK_FLUSH = 4, VBLK_DISCARD = 11, VBLK_ZEROES = 13 };
enum { VBLK_IOERR = 1 };
enum { MARK_NONE, MARK_WRITE, MARK_FLUSH }; /* flush: and b->written */

/* The first (or `last`) byte of a chain that is in the driver's hands as much
 * as ours: NULL, where it is none. What it lies about, it is told wrong. */
static uint8_t *vublk_byte(const struct virtqueue *vq, unsigned i, bool last)
{
    const struct vring_desc *table = vq->desc;
    unsigned n = vq->size;
    for (unsigned steps = 0; steps <= 2 * VQ_SIZE_MAX && i < n; steps++) {
        struct vring_desc d;
        memcpy(&d, &table[i], sizeof(d));
        if (d.flags & VRING_DESC_INDIRECT) {
            if (table != vq->desc)
                return NULL;
            table = ram_ptr(vq->ram, gpa(d.addr), d.len);
            n = table ? d.len / sizeof(d) : 0;
            i = 0;
        } else if (!last) {
            return ram_ptr(vq->ram, gpa(d.addr), sizeof(le32));
        } else if (!(d.flags & VRING_DESC_NEXT)) {
            return d.flags & VRING_DESC_WRITE && d.len
                       ? ram_ptr(vq->ram, gpa(d.addr + d.len - 1), 1)
                       : NULL;
        } else {
            i = d.next;
        }
    }
    return NULL;
}

static uint64_t vublk_mark(const struct vublk *b, const struct virtqueue *vq,
                           uint16_t head)
{
    const uint8_t *p = vublk_byte(vq, head, false);
    le32 type = 0;
    if (p)
        memcpy(&type, p, sizeof(type));
    if (type == VBLK_FLUSH)
        return MARK_FLUSH + b->written;
    return type == VBLK_OUT || type == VBLK_DISCARD || type == VBLK_ZEROES
               ? MARK_WRITE
               : MARK_NONE;
}

static bool vublk_answers(struct served *s, unsigned q, uint16_t head)
{
    struct vublk *b = container_of(s, struct vublk, s);
    struct virtqueue *vq = &s->v.vq[q];
    uint64_t mark = s->q[q].mark[head] = vublk_mark(b, vq, head);
    uint8_t *status =
        b->lost && mark >= MARK_FLUSH ? vublk_byte(vq, head, true) : NULL;
    if (!status)
        return false;
    *status = VBLK_IOERR;
    vq_push(vq, &(struct vq_chain){.id = head}, 1);
    return true;
}

static void vublk_returned(struct served *s, unsigned q, uint16_t head)
{
    struct vublk *b = container_of(s, struct vublk, s);
    uint64_t mark = s->q[q].mark[head];
    if (mark == MARK_WRITE && b->wce)
        b->written++;
    else if (mark >= MARK_FLUSH && mark - MARK_FLUSH > b->safe)
        b->safe = mark - MARK_FLUSH;
}

static void vublk_gone(struct served *s)
{
    struct vublk *b = container_of(s, struct vublk, s);
    if (b->lost || b->written == b->safe)
        return;
    b->lost = true;
    fault_note(&b->losses,
               "%s: what the guest had written and not flushed may be lost; "
               "its flushes fail until it restarts (cache=writethrough loses "
               "nothing)",
               s->v.dev.id);
}

static const struct virtio_type vublk_type = {
    .name = "vhost-user-blk",
    .id = 2,
    .class24 = 0x010000,
    .config_len = CONFIG_LEN,
    .config_write = vublk_config_write,
    .stop = vublk_stop,
    SERVED_CALLBACKS,
};

/* What a program of ours serves. */
static int vublk_take_drive(struct vublk *b, struct device *dev)
{
    const char *what = dev->opts.what;
    struct blockdev *d = blockdev_find(b->drive);
    if (!d || !d->serve || d->taken || b->s.chardev_id)
        return fail(-EINVAL, "%s: drive=%s: %s", what, b->drive,
                    b->s.chardev_id ? "chardev= says another disk"
                    : d && d->taken
                        ? "another disk uses it"
                        : "no image of a format of its own; -device "
                          "virtio-blk-pci has the others");
    d->taken = true;
    b->caches = d->writeback && !d->no_flush;
    b->wce = b->first = d->writeback;
    if (!opts_str(&dev->opts, "id", NULL))
        dev->id = d->id;
    return d->serve(d, b->s.nq, &b->s.peer, &b->s.chardev);
}

static int vublk_check(struct device *dev, struct needs *needs)
{
    struct vublk *b = container_of(dev, struct vublk, s.v.dev);
    b->wce = b->first = ON;
    needs->disks++;
    int err = b->drive ? vublk_take_drive(b, dev) : 0;
    if (err)
        return err;
    b->s.mask = B(SIZE_MAX) | B(SEG_MAX) | B(GEOMETRY) | B(RO) | B(BLK_SIZE) |
                B(FLUSH) | B(TOPOLOGY) | B(DISCARD) | B(WRITE_ZEROES);
    if (b->config_wce)
        b->s.mask |= B(CONFIG_WCE);
    if (b->s.nq > 1)
        b->s.mask |= B(MQ);
    b->s.config_len = CONFIG_LEN;
    b->s.fix_config = vublk_fix_config;
    if (b->caches) {
        b->s.answers = vublk_answers;
        b->s.returned = vublk_returned;
        b->s.gone = vublk_gone;
    }
    b->s.alone = "the guest's requests wait; reconnect-ms= of its -chardev "
                 "would have it come back";
    return served_check(&b->s, needs);
}

static int vublk_create(struct machine *m, struct device *dev)
{
    return served_create(&container_of(dev, struct vublk, s.v.dev)->s, m,
                         &vublk_type);
}

/* virtio-blk-pci's: the process that serves it decides. */
static const struct opts_quiet vublk_quiet[] = {
    {"backend_defaults", NULL, NULL},
    {"discard", "on", "discard= of the drive decides"},
    {"discard_granularity", "0 4294967295", "the image decides"},
    {"logical_block_size", "512", "the guest sees 512"},
    {"min_io_size", "0", "the image decides"},
    {"opt_io_size", "0", "the image decides"},
    {"physical_block_size", "0 512", "the image decides"},
    {"report-discard-granularity", NULL, NULL},
    {"request-merging", NULL, NULL},
    {"rerror", "report auto", "the guest is told, and decides"},
    {"scsi", "off", "SCSI commands are not passed through"},
    {"seg-max-adjust", NULL, NULL},
    {"serial", "-", "such a disk has none that can be chosen"},
    {"share-rw", NULL, NULL},
    {"werror", "report auto", "the guest is told, and decides"},
    {"write-cache", "on auto", "cache= of the drive decides"},
    {"write-zeroes", "on", "the image decides"},
    {"x-enable-wce-if-config-wce", NULL, NULL},
    {0},
};

static const struct field vublk_fields[] = {
    FIELDS_QUIET(vublk_quiet),
    FIELDS_OF(served_fields, "", struct vublk, s),
    FIELD(NUMBER, "num-queues", struct vublk, s.nq, .min = 1,
          .max = VIRTIO_QUEUES_MAX - 1, .def = 1, .help = "how many"),
    COUNT("losses", struct vublk, losses,
          "back-ends that died with writes not flushed"),
    FIELD(TEXT, "drive", struct vublk, drive, .arg = "ID",
          .help = "instead: the -drive or -blockdev, an image"),
    FIELD(FLAG, "config-wce", struct vublk, config_wce, .def = ON,
          .help = "the driver may choose between cache modes"),
    {.name = ""},
};

static const struct device_alias vublk_aliases[] = {
    {"vhost-user-blk", {0}, {0}},
    {"vhost-user-blk-pci-non-transitional",
     {"disable-legacy", "disable-modern"},
     {"on", "off"}},
    {"vhost-user-blk-pci-transitional",
     {"disable-legacy", "disable-modern"},
     {"off", "off"}},
    {0},
};

const struct device_class vhost_user_blk_class = {
    .name = "vhost-user-blk-pci",
    .help = "disk that another process serves",
    .fields = vublk_fields,
    .size = sizeof(struct vublk),
    .aliases = vublk_aliases,
    .kinds = "virtio-pci",
    .check = vublk_check,
    .create = vublk_create,
    .stays = "what it has written is with the process that serves it",
};
