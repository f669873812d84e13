/* SPDX-License-Identifier: MIT */
/* -netdev none: no cable. Nothing comes, what is sent is lost. */
#include <errno.h>

#include "net/list.h"

struct none {
    struct netdev nd;
    struct netbe be;
};

static ssize_t none_send(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return -ENOTCONN;
}

static ssize_t none_recv(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return 0;
}

static int none_open(struct netdev *nd, struct loop *l)
{
    struct none *s = container_of(nd, struct none, nd);
    (void)l;
    s->be = (struct netbe){
        .dev = nd, .fd = -1, .send = none_send, .recv = none_recv};
    nd->nq = 1;
    nd->handed = true;
    nd->q[0] = &s->be;
    return 0;
}

const struct netdev_class none_class = {
    .name = "none",
    .help = "a NIC without a cable",
    .fields = netdev_fields,
    .size = sizeof(struct none),
    .open = none_open,
};
