/* SPDX-License-Identifier: MIT */
/* Ethernet hubs inside the process: every port hears every other.
 *
 * Theory of operation. A port is a netdev. Frames for the NIC behind it wait in
 * a socket pair (SEQPACKET: whole frames, bounded by its send buffer), so a NIC
 * reads its port like any other backend and the hub needs no queue of its own.
 * A port with netdev= has another backend behind it instead; the main loop
 * reads that one.
 *
 * Sending is done by whoever has the frame, under the hub's lock: into the
 * pairs of the other ports, or into the backends behind them. A port that has
 * no room loses the frame, as on a wire. Learning makes the hub a switch. There
 * are no rings of hubs (a hub port cannot be behind a hub port); a ring outside
 * (two taps of one bridge) is held to a rate of group-addressed frames.
 * Headers cannot be carried to every kind of port, so offload is 0. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/use.h"
#include "net/list.h"

#define PORTS_MAX 256
#define MAC_SETS 256
#define MAC_WAYS 4                   /* addresses that may fall into one set */
#define AGE_NS (300 * 1000000000ull) /* as IEEE 802.1D has it */
#define STORM_NS 10000000ull         /* in 10 ms … */
#define STORM_FRAMES 256             /* … so many group frames from outside */
#define BURST 64                     /* frames read from a backend in turn */

struct hubport {
    struct netdev nd;
    const char *netdev;
    uint32_t hubid;
    uint8_t learn;
    struct netbe be;
    struct hub *hub;
    int in;              /* the hub's end of the pair */
    struct netdev *back; /* the backend behind it, or NULL: a NIC */
    struct event ready;  /* the backend has frames */
    uint8_t *buf;        /* one packet of the backend's */
    struct fault full, storm;
};

struct hub {
    uint32_t id;
    bool learn;
    pthread_mutex_t lock;
    struct hubport *port[PORTS_MAX];
    int n;
    struct hubmac {
        uint8_t mac[6];
        struct hubport *port;
        uint64_t seen;
    } mac[MAC_SETS][MAC_WAYS];
    uint64_t storm_start;
    unsigned storm_frames;
    struct hub *next;
};

static struct hub *hubs;

/* What is kept of an address, or else what has been silent for longest of those
 * that fall into the same set: of one way only, each of two neighbours there
 * would put the other out, and all that goes to them went to every port. */
static struct hubmac *hub_mac(struct hub *h, const uint8_t *mac)
{
    uint32_t low = (uint32_t)mac[2] << 24 | (uint32_t)mac[3] << 16 |
                   (uint32_t)mac[4] << 8 | mac[5];
    struct hubmac *set = h->mac[(low * 2654435761u) >> 24], *oldest = set;
    for (struct hubmac *m = set; m < set + MAC_WAYS; m++) {
        if (m->port && !memcmp(m->mac, mac, 6))
            return m;
        if (!m->port || (oldest->port && m->seen < oldest->seen))
            oldest = m;
    }
    return oldest;
}

/* Where the destination was last heard; NULL: send to all. */
static struct hubport *hub_lookup(struct hub *h, const uint8_t *dst,
                                  uint64_t now)
{
    const struct hubmac *m = hub_mac(h, dst);
    bool known = !(dst[0] & 1) && m->port && !memcmp(m->mac, dst, 6);
    return known && now - m->seen <= AGE_NS ? m->port : NULL;
}

static void hub_learn(struct hub *h, const uint8_t *src, struct hubport *from,
                      uint64_t now)
{
    if (src[0] & 1)
        return;
    struct hubmac *m = hub_mac(h, src);
    memcpy(m->mac, src, 6);
    m->port = from;
    m->seen = now;
}

/* One packet, header first (of zeroes), to one port.
 *
 * syscalls loop pair if socket: sendmsg */
static void hub_deliver(struct hubport *p, const struct iovec *iov, int n,
                        const struct iovec *frame, int nframe)
{
    ssize_t sent;
    if (p->back) {
        sent = p->back->q[0]->send(p->back->q[0], iov, n);
    } else {
        struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)frame,
                           .msg_iovlen = (size_t)nframe};
        sent = sendmsg(p->in, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            sent = 0;
    }
    if (sent <= 0)
        TRACE(NET, "%s hub port takes no frame: %d", p->nd.id, (int)sent);
    if (sent == 0)
        fault_note(&p->full, "%s: hub port full, frames are dropped", p->nd.id);
}

static ssize_t hub_forward(struct hubport *from, const struct iovec *iov, int n)
{
    struct hub *h = from->hub;
    struct iovec tmp[IOV_COUNT_MAX];
    const struct iovec *frame;
    uint8_t eth[12];
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &frame);
    size_t len = k > 0 ? iov_len(frame, k) : 0;
    if (len < ETH_HLEN || len > NET_FRAME_MAX)
        return -EMSGSIZE;
    iov_read(frame, k, 0, eth, sizeof(eth));
    uint64_t now = h->learn ? now_ns() : 0;
    pthread_mutex_lock(&h->lock);
    struct hubport *to = h->learn ? hub_lookup(h, eth, now) : NULL;
    if (h->learn)
        hub_learn(h, eth + 6, from, now);
    if (to && to != from)
        hub_deliver(to, iov, n, frame, k);
    for (int i = 0; i < h->n && !to; i++)
        if (h->port[i] != from)
            hub_deliver(h->port[i], iov, n, frame, k);
    pthread_mutex_unlock(&h->lock);
    return (ssize_t)len + NET_HDR_LEN;
}

static ssize_t hubport_send(struct netbe *be, const struct iovec *iov, int n)
{
    return hub_forward(container_of(be, struct hubport, be), iov, n);
}

/* syscalls loop pair if socket: readv */
static ssize_t hubport_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct iovec tmp[IOV_COUNT_MAX];
    const struct iovec *in;
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    if (k <= 0)
        return -EINVAL;
    ssize_t got = readv(be->fd, in, k);
    if (got <= 0)
        return 0;
    iov_zero(iov, n, NET_HDR_LEN);
    return got + NET_HDR_LEN;
}

/* ------------------------------------------------- backends behind ports */

/* Too many group-addressed frames of late? */
static bool hub_storm(struct hubport *p, const uint8_t *eth)
{
    struct hub *h = p->hub;
    if (!(eth[0] & 1))
        return false;
    uint64_t now = now_ns();
    if (now - h->storm_start > STORM_NS) {
        h->storm_start = now;
        h->storm_frames = 0;
    }
    if (++h->storm_frames <= STORM_FRAMES)
        return false;
    fault_note(&p->storm, "%s: broadcast storm from %s, frames are dropped",
               p->nd.id, p->back->id);
    return true;
}

static void hub_back_ready(struct event *ev, uint32_t got)
{
    struct hubport *p = container_of(ev, struct hubport, ready);
    struct netbe *be = p->back->q[0];
    (void)got;
    for (int i = 0; i < BURST; i++) {
        struct iovec iov = {p->buf, NET_HDR_LEN + NET_FRAME_MAX};
        ssize_t len = be->recv(be, &iov, 1);
        if (len <= 0)
            return;
        if (len < NET_HDR_LEN + ETH_HLEN || hub_storm(p, p->buf + NET_HDR_LEN))
            continue;
        memset(p->buf, 0, NET_HDR_LEN);
        iov.iov_len = (size_t)len;
        hub_forward(p, &iov, 1);
    }
}

/* A new connection is another file for epoll. */
static void hub_back_link(void *nic, bool up)
{
    struct hubport *p = nic;
    struct loop *l = p->ready.loop;
    if (!up || !l)
        return;
    loop_del(&p->ready);
    loop_add(l, &p->ready);
}

static int hub_take_back(struct hubport *p, struct loop *l)
{
    struct netdev *nd = p->back;
    p->buf = malloc(NET_HDR_LEN + NET_FRAME_MAX);
    if (!p->buf)
        return fail(-ENOMEM, "%s: out of memory", p->nd.id);
    if (nd->set_offload)
        nd->set_offload(nd, 0);
    if (nd->set_queues)
        nd->set_queues(nd, 1);
    p->ready = (struct event){
        .fd = nd->q[0]->fd, .want = EPOLLIN, .ready = hub_back_ready};
    int err = nd->q[0]->fd >= 0 ? loop_add(l, &p->ready) : 0;
    if (err < 0)
        return fail(err, "%s: %s: %s", p->nd.id, nd->id, strerror(-err));
    nd->nic = p;
    nd->link_changed = hub_back_link;
    return 0;
}

/* --------------------------------------------------------- open and close */

static struct hub *hub_get(uint32_t id)
{
    struct hub *h = hubs;
    while (h && h->id != id)
        h = h->next;
    if (h)
        return h;
    h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->id = id;
    pthread_mutex_init(&h->lock, NULL);
    h->next = hubs;
    hubs = h;
    return h;
}

static void hub_leave(struct hub *h, struct hubport *p)
{
    int i = 0;
    while (i < h->n && h->port[i] != p)
        i++;
    if (i < h->n)
        h->port[i] = h->port[--h->n];
    for (i = 0; i < MAC_SETS * MAC_WAYS; i++)
        if (h->mac[i / MAC_WAYS][i % MAC_WAYS].port == p)
            h->mac[i / MAC_WAYS][i % MAC_WAYS].port = NULL;
    if (h->n)
        return;
    struct hub **pp = &hubs;
    while (*pp != h)
        pp = &(*pp)->next;
    *pp = h->next;
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void hubport_close(struct netdev *nd)
{
    struct hubport *p = container_of(nd, struct hubport, nd);
    loop_del(&p->ready);
    if (p->hub)
        hub_leave(p->hub, p);
    if (p->back) {
        p->back->link_changed = NULL;
        p->back->taken = false;
    }
    if (p->be.fd >= 0)
        close(p->be.fd);
    if (p->in >= 0)
        close(p->in);
    free(p->buf);
    free(p);
}

/* Where frames for a NIC wait. */
static int hubport_wire(struct hubport *p)
{
    int sv[2], size = 4 << 20;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   sv) < 0)
        return fail(-errno, "socketpair: %s", strerror(errno));
    p->be.fd = sv[0];
    p->in = sv[1];
    setsockopt(p->in, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(p->in, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    return 0;
}

static int hubport_join(struct hubport *p)
{
    struct hub *h = hub_get(p->hubid);
    if (!h)
        return -ENOMEM;
    thread_uses(USE_SOCKET);
    p->hub = h;
    if (h->n == PORTS_MAX)
        return fail(-ENOSPC, "-netdev hubport: hub %u has %d ports already",
                    p->hubid, PORTS_MAX);
    int err = p->back ? 0 : hubport_wire(p);
    if (err)
        return err;
    h->learn |= p->learn;
    h->port[h->n++] = p;
    return 0;
}

static int hubport_open(struct netdev *nd, struct loop *l)
{
    struct hubport *p = container_of(nd, struct hubport, nd);
    p->in = p->be.fd = -1;
    nd->close = hubport_close;
    p->be.dev = nd;
    p->be.send = hubport_send;
    p->be.recv = hubport_recv;
    nd->nq = 1;
    nd->q[0] = &p->be;
    nd->link_up = true;
    int err = p->back ? hub_take_back(p, l) : 0;
    return err < 0 ? err : hubport_join(p);
}

static int hubport_check(struct netdev *nd)
{
    struct hubport *p = container_of(nd, struct hubport, nd);
    const char *what = nd->opts.what;
    if (!p->netdev)
        return 0;
    struct netdev *back = netdev_find(p->netdev);
    if (!back)
        return fail(-EINVAL, "%s: no netdev %s (it must come first)", what,
                    p->netdev);
    if (back->taken)
        return fail(-EINVAL, "%s: netdev %s is in use", what, back->id);
    if (back->cls == nd->cls)
        return fail(-EINVAL,
                    "%s: netdev %s is a hub port itself; give both one hubid=",
                    what, back->id);
    if (back->vhost != VHOST_NONE)
        return fail(-EINVAL,
                    "%s: netdev %s is vhost; a hub needs its frames in this "
                    "process",
                    what, back->id);
    p->back = back;
    back->taken = true;
    nd->taken = true; /* the cable leads to the backend */
    return 0;
}

static const struct field hubport_fields[] = {
    FIELDS_OF(netdev_fields, "", struct hubport, nd),
    FIELD(NUMBER, "hubid", struct hubport, hubid, .help = "which hub",
          .max = UINT32_MAX),
    FIELD(TEXT, "netdev", struct hubport, netdev, .arg = "ID",
          .help = "a backend behind the port, else it is for a NIC"),
    FIELD(FLAG, "learn", struct hubport, learn,
          .help = "send frames only where they belong"),
    COUNT("drop_full", struct hubport, full, "frames a full port lost"),
    COUNT("drop_storm", struct hubport, storm,
          "frames dropped in a broadcast storm"),
    {.help = NULL},
};

const struct netdev_class hubport_class = {
    .name = "hubport",
    .help = "a port of an Ethernet hub inside this process",
    .fields = hubport_fields,
    .size = sizeof(struct hubport),
    .check = hubport_check,
    .open = hubport_open,
};
