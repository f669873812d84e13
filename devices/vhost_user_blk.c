/* SPDX-License-Identifier: MIT */
/* vhost-user-blk-pci: a disk that another process serves (virtio 1.2 §5.2). */
#include <stddef.h>
#include <string.h>

#include "devices/virtio/served.h"

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
    uint8_t config_wce;
    bool told;          /* the driver has chosen its cache mode: */
    uint8_t wce, first; /* wce; who comes after is told, too */
};

static struct vublk *vublk_of(struct virtio *v)
{
    return container_of(v, struct vublk, s.v);
}

/* As many queues as we have; and a back-end that comes has forgotten what the
 * driver wrote. */
static void vublk_fix_config(struct served *s, uint8_t *config)
{
    struct vublk *b = container_of(s, struct vublk, s);
    const le16 n = s->nq;
    memcpy(config + CONFIG_QUEUES, &n, sizeof(n));
    if (!b->told)
        b->first = config[CONFIG_WCE];
    if (b->told && config[CONFIG_WCE] != b->wce) {
        s->vhost->ops->set_config(s->vhost, CONFIG_WCE, &b->wce, 1);
        config[CONFIG_WCE] = b->wce;
    }
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
    b->told = true;
    vublk_set_wce(b, *(const uint8_t *)p & 1);
}

/* The next driver finds what the first one found. */
static void vublk_stop(struct virtio *v)
{
    struct vublk *b = vublk_of(v);
    served_stop(v);
    if (b->told)
        vublk_set_wce(b, b->first);
    b->told = false;
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

static int vublk_check(struct device *dev, struct needs *needs)
{
    struct vublk *b = container_of(dev, struct vublk, s.v.dev);
    b->s.mask = B(SIZE_MAX) | B(SEG_MAX) | B(GEOMETRY) | B(RO) | B(BLK_SIZE) |
                B(FLUSH) | B(TOPOLOGY) | B(DISCARD) | B(WRITE_ZEROES);
    if (b->config_wce)
        b->s.mask |= B(CONFIG_WCE);
    if (b->s.nq > 1)
        b->s.mask |= B(MQ);
    b->s.config_len = CONFIG_LEN;
    b->s.fix_config = vublk_fix_config;
    b->s.alone = "the guest's requests wait; reconnect-ms= of its -chardev "
                 "would have it come back";
    return served_check(&b->s, needs);
}

static int vublk_create(struct machine *m, struct device *dev)
{
    return served_create(&container_of(dev, struct vublk, s.v.dev)->s, m,
                         &vublk_type);
}

static const struct field vublk_fields[] = {
    FIELDS_OF(served_fields, "", struct vublk, s),
    FIELD(NUMBER, "num-queues", struct vublk, s.nq, .min = 1,
          .max = VIRTIO_QUEUES_MAX - 1, .def = 1, .help = "how many"),
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
