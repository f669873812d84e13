/* SPDX-License-Identifier: MIT */
/* -netdev none: no cable. Nothing comes, what is sent is lost. */
#include <errno.h>
#include <stdlib.h>

#include "net/none.h"

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

static void none_close(struct netdev *nd)
{
    free(nd);
}

static int none_open(struct loop *l, struct opts *o, struct netdev **out)
{
    struct none *s = calloc(1, sizeof(*s));
    (void)l;
    if (!s)
        return -ENOMEM;
    if (netdev_read_id(&s->nd, o) || opts_done(o)) {
        free(s);
        return -EINVAL;
    }
    s->be = (struct netbe){
        .dev = &s->nd, .fd = -1, .send = none_send, .recv = none_recv};
    s->nd.nq = 1;
    s->nd.q[0] = &s->be;
    s->nd.close = none_close;
    *out = &s->nd;
    return 0;
}

const struct netdev_class none_class = {
    .name = "none",
    .help = "a NIC without a cable\n",
    .open = none_open,
};
