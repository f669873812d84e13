/* SPDX-License-Identifier: MIT */
/* vhost-user-fs-pci: a directory that virtiofsd shares with the guest (virtio
 * 1.2 §5.11). One that comes after another knows nothing of the files that are
 * open in the guest: what it is asked again, it answers with errors. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/served.h"

#define TAG_MAX 36 /* §5.11.4, then num_request_queues */

struct vufs {
    struct served s; /* first */
    const char *tag;
    uint16_t queues; /* for requests, beside the first one */
    uint8_t config[TAG_MAX + sizeof(le32)];
};

static void vufs_config_read(struct virtio *v, unsigned off, void *p,
                             unsigned len)
{
    memcpy(p, container_of(v, struct vufs, s.v)->config + off, len);
}

static const struct virtio_type vufs_type = {
    .name = "vhost-user-fs",
    .id = 26,
    .class24 = 0x018000,
    .config_len = sizeof(((struct vufs *)0)->config),
    .stop = served_stop,
    .start = served_start,
    .queue_start = served_queue_start,
    .queue_stop = served_queue_stop,
    .config_read = vufs_config_read,
    .kick = served_kick,
};

static int vufs_check(struct device *dev, struct needs *needs)
{
    struct vufs *f = container_of(dev, struct vufs, s.v.dev);
    const char *what = dev->opts.what;
    const le32 n = f->queues;
    if (!f->tag || !*f->tag || strlen(f->tag) > TAG_MAX)
        return fail(-EINVAL,
                    "%s: tag= is what the guest mounts: 1 to %d characters",
                    what, TAG_MAX);
    if (f->s.v.disable_legacy == OFF)
        return fail(-EINVAL, "%s: disable-legacy=off: there is no older driver",
                    what);
    memcpy(f->config, f->tag, strlen(f->tag));
    memcpy(f->config + TAG_MAX, &n, sizeof(n));
    f->s.nq = f->queues + 1;
    f->s.alone = "what the guest asks of its files waits for ever";
    return served_check(&f->s, needs);
}

static int vufs_create(struct machine *m, struct device *dev)
{
    return served_create(&container_of(dev, struct vufs, s.v.dev)->s, m,
                         &vufs_type);
}

static const struct field vufs_fields[] = {
    FIELDS_OF(served_fields, "", struct vufs, s),
    FIELD(TEXT, "tag", struct vufs, tag, .arg = "TAG",
          .help = "what the guest mounts it by"),
    FIELD(NUMBER, "num-request-queues", struct vufs, queues, .min = 1,
          .max = VIRTIO_QUEUES_MAX - 2, .def = 1, .help = "how many"),
    {.name = ""},
};

static const struct device_alias vufs_aliases[] = {
    {"vhost-user-fs", {0}, {0}},
    {0},
};

const struct device_class vhost_user_fs_class = {
    .name = "vhost-user-fs-pci",
    .help = "directory that another process shares",
    .fields = vufs_fields,
    .size = sizeof(struct vufs),
    .aliases = vufs_aliases,
    .kinds = "virtio-pci",
    .check = vufs_check,
    .create = vufs_create,
    .stays = "its open files are with the process that shares it",
};
