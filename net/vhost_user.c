/* SPDX-License-Identifier: MIT */
/* -netdev vhost-user: a cable whose other end is a process that serves the
 * NIC's rings itself. No frame comes here: this says only where that process
 * is met; a virtio device does so (devices/virtio/vhost_user.c). */
#include <errno.h>
#include <stdlib.h>

#include "host/chardev.h"
#include "host/peer.h"
#include "net/list.h"

struct vuser {
    struct netdev nd;
    const char *path, *chardev;
    uint32_t reconnect, reconnect_ms;
    uint8_t queues, server, vhostforce;
    struct peer peer; /* nd.chardev's */
    struct netbe be[NET_QUEUES_MAX];
};

static ssize_t vuser_send(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return -ENOTCONN;
}

static ssize_t vuser_recv(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return 0;
}

static void vuser_close(struct netdev *nd)
{
    if (nd->chardev)
        chardev_release(nd->chardev);
    free(nd);
}

static int vuser_find(struct vuser *u)
{
    const char *what = u->nd.opts.what;
    if (!u->chardev == !u->path)
        return fail(-EINVAL, "%s: either path= or chardev= is needed", what);
    if (u->chardev)
        return chardev_take(what, u->chardev, &u->peer, &u->nd.chardev);
    int err = chardev_to(what, u->path, &u->peer, &u->nd.chardev);
    if (!err)
        u->nd.chardev->reconnect_ms =
            u->reconnect_ms ? u->reconnect_ms : u->reconnect * 1000;
    return err;
}

static int vuser_check(struct netdev *nd)
{
    struct vuser *u = container_of(nd, struct vuser, nd);
    nd->close = vuser_close;
    nd->nq = u->queues;
    int err = vuser_find(u);
    if (err)
        return err;
    nd->chardev->server |= u->server;
    return chardev_need_helper(nd->chardev);
}

static int vuser_open(struct netdev *nd, struct loop *l)
{
    struct vuser *u = container_of(nd, struct vuser, nd);
    (void)l;
    for (unsigned i = 0; i < nd->nq; i++) {
        u->be[i] = (struct netbe){
            .dev = nd, .fd = -1, .send = vuser_send, .recv = vuser_recv};
        nd->q[i] = &u->be[i];
    }
    return 0;
}

static const struct field vuser_fields[] = {
    FIELDS_OF(netdev_fields, "", struct vuser, nd),
    FIELD(TEXT, "path", struct vuser, path, .arg = "PATH",
          .help = "the back-end's UNIX socket"),
    FIELD(TEXT, "chardev", struct vuser, chardev, .arg = "ID",
          .help = "or a -chardev socket,id=ID,path=PATH"),
    FIELD(FLAG, "server", struct vuser, server,
          .help = "wait for the back-end, or go to it"),
    FIELD(NUMBER, "reconnect-ms", struct vuser, reconnect_ms, .max = 3600000,
          .help = "go to it again and again, with this pause"),
    FIELD(NUMBER, "reconnect", struct vuser, reconnect, .max = 3600,
          .help = "the same in seconds"),
    FIELD(NUMBER, "queues", struct vuser, queues, .min = 1,
          .max = NET_QUEUES_MAX, .def = 1, .help = "how many"),
    FIELD(FLAG, "vhostforce", struct vuser, vhostforce,
          .help = "taken; it is always so"),
    COUNT("connects", struct vuser, peer.connects, "connections made"),
    COUNT("hangups", struct vuser, peer.drops, "connections lost"),
    {.help = NULL},
};

const struct netdev_class vhost_user_class = {
    .name = "vhost-user",
    .help = "another process serves the rings",
    .fields = vuser_fields,
    .size = sizeof(struct vuser),
    .vhost = VHOST_USER,
    .check = vuser_check,
    .open = vuser_open,
};
