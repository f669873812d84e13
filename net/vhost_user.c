/* SPDX-License-Identifier: MIT */
/* vhost-user: another process moves the packets, told how over a UNIX socket.
 *
 * Theory of operation. The other process is the back-end of the vhost-user
 * protocol (QEMU's docs/interop/vhost-user.rst), this the front-end: it sends
 * the memory as a memfd, the rings' addresses, and their eventfds, and is out
 * of the way. What the back-end can do must be known before a NIC offers
 * features, so opening waits for it.
 *
 * When the back-end goes the cable is out; when it (or another one) comes, it
 * is told everything again and goes on where the used rings stand: what it had
 * taken and not given back is taken again. That needs split rings: a packed
 * ring does not show where its device is, so it is not offered. A back-end that
 * does not answer within a second is gone, too.
 *
 * start and stop come from the NIC, reconnections from the main loop; the lock
 * is for both. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "host/addr.h"
#include "host/chardev.h"
#include "net/frame.h"
#include "net/vhost.h"
#include "net/vhost_user.h"

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
};
#define BIT(n) (1ull << (n))
#define F_PROTOCOL 30 /* VHOST_USER_F_PROTOCOL_FEATURES */
#define PF_MQ 0
#define F_RING_PACKED 34
/* Bits that are about packets and rings: CSUM, GUEST_CSUM, the offloads,
 * MRG_RXBUF; 24 to 36 with EVENT_IDX and VERSION_1; USO, HASH_REPORT,
 * GUEST_HDRLEN. The rest (MAC, STATUS, the control queue) is the NIC's own. */
#define USER_MASK                                                              \
    (BIT(0) | BIT(1) | 0xff80ull | BIT(24) | BIT(27) | BIT(28) | BIT(29) |     \
     BIT(32) | BIT(F_RING_PACKED) | BIT(35) | BIT(36) | BIT(54) | BIT(55) |    \
     BIT(56) | BIT(57) | BIT(59))

#define MSG_REGIONS 8

struct message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t n, pad;
            struct {
                uint64_t gpa, size, uva, offset;
            } region[MSG_REGIONS];
        } mem;
    };
} __attribute__((packed)); /* 12 bytes, then the payload */
#define MSG_HEAD offsetof(struct message, u64)
_Static_assert(MSG_HEAD == 12, "vhost-user message header");

struct vuser {
    struct netdev nd;
    struct vhost v;
    struct netbe be[NET_QUEUES_MAX];
    struct addr addr;
    struct loop *loop;
    struct event conn, listen, err;
    struct timer redial;
    unsigned redial_ms;
    bool server, attached;
    struct fault f_err;

    pthread_mutex_t lock; /* what is below */
    int fd;               /* -1: nobody there */
    uint64_t can, protocol;
    struct vhost_region mem[MSG_REGIONS];
    int nmem;
    bool running;
    uint64_t acked;
    unsigned pairs, active;
    struct vhost_ring ring[2 * NET_QUEUES_MAX];
};

/* -------------------------------------------------------------- messages */

/* The back-end is no good any more: the main loop will see it hang up. */
static int give_up(struct vuser *u, int err)
{
    if (u->fd >= 0)
        shutdown(u->fd, SHUT_RDWR);
    return err;
}

static int put_msg(struct vuser *u, struct message *msg, uint32_t request,
                   uint32_t size, const int *fds, int nfds)
{
    char ctl[CMSG_SPACE(MSG_REGIONS * sizeof(int))] = {0};
    struct iovec iov = {msg, MSG_HEAD + size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (u->fd < 0)
        return -ENOTCONN;
    msg->request = request;
    msg->flags = 1; /* the protocol's version */
    msg->size = size;
    if (nfds) {
        m.msg_control = ctl;
        m.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
    }
    ssize_t r = sendmsg(u->fd, &m, MSG_NOSIGNAL);
    return r == (ssize_t)iov.iov_len ? 0 : give_up(u, r < 0 ? -errno : -EIO);
}

static int put_u64(struct vuser *u, uint32_t request, uint64_t val)
{
    struct message m = {.u64 = val};
    return put_msg(u, &m, request, sizeof(m.u64), NULL, 0);
}

static int put_state(struct vuser *u, uint32_t request, uint32_t index,
                     uint32_t num)
{
    struct message m = {.state = {index, num}};
    return put_msg(u, &m, request, sizeof(m.state), NULL, 0);
}

/* A ring's eventfd; -1: none (bit 8 of the payload). */
static int put_fd(struct vuser *u, uint32_t request, uint32_t index, int fd)
{
    struct message m = {.u64 = index | (fd < 0 ? 0x100u : 0)};
    return put_msg(u, &m, request, sizeof(m.u64), &fd, fd >= 0);
}

/* The answer to `request`, of exactly `size` bytes of payload. */
static int get_msg(struct vuser *u, struct message *m, uint32_t request,
                   uint32_t size)
{
    size_t want = MSG_HEAD + size;
    ssize_t r = u->fd < 0 ? -1 : recv(u->fd, m, want, MSG_WAITALL);
    if (r != (ssize_t)want || m->request != request || !(m->flags & 4) ||
        m->size != size)
        return give_up(u, r < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPROTO);
    return 0;
}

static int ask_u64(struct vuser *u, uint32_t request, uint64_t *val)
{
    struct message m = {0};
    int r = put_msg(u, &m, request, 0, NULL, 0);
    if (r == 0)
        r = get_msg(u, &m, request, sizeof(m.u64));
    if (r == 0)
        *val = m.u64;
    return r;
}

/* ------------------------------------------------------------ the session */

/* First words on a new connection. */
static int greet(struct vuser *u)
{
    uint64_t pf = 0, queues = 1;
    u->protocol = 0;
    int r = ask_u64(u, GET_FEATURES, &u->can);
    if (r == 0 && u->can & BIT(F_PROTOCOL)) {
        r = ask_u64(u, GET_PROTOCOL_FEATURES, &pf);
        u->protocol = pf & BIT(PF_MQ);
        if (r == 0)
            r = put_u64(u, SET_PROTOCOL_FEATURES, u->protocol);
        if (r == 0 && u->protocol & BIT(PF_MQ))
            r = ask_u64(u, GET_QUEUE_NUM, &queues);
    }
    if (r == 0) {
        struct message m = {0};
        r = put_msg(u, &m, SET_OWNER, 0, NULL, 0);
    }
    if (r == 0 && queues < u->nd.nq)
        r = fail(give_up(u, -EINVAL), "%s: %s serves %u queues, not %u",
                 u->nd.id, u->addr.text, (unsigned)queues, u->nd.nq);
    return r;
}

static int put_memory(struct vuser *u)
{
    struct message m = {.mem = {.n = (uint32_t)u->nmem}};
    int fd[MSG_REGIONS];
    for (int i = 0; i < u->nmem; i++) {
        m.mem.region[i].gpa = u->mem[i].gpa;
        m.mem.region[i].size = u->mem[i].size;
        m.mem.region[i].uva = (uintptr_t)u->mem[i].hva;
        m.mem.region[i].offset = u->mem[i].offset;
        fd[i] = u->mem[i].fd;
    }
    uint32_t size = (uint32_t)(8 + (size_t)u->nmem * sizeof(m.mem.region[0]));
    return put_msg(u, &m, SET_MEM_TABLE, size, fd, u->nmem);
}

static int put_ring(struct vuser *u, uint32_t i)
{
    const struct vhost_ring *g = &u->ring[i];
    struct message m = {.addr = {.index = i,
                                 .desc = (uintptr_t)g->desc,
                                 .used = (uintptr_t)g->used,
                                 .avail = (uintptr_t)g->avail,
                                 .log = g->used_gpa}};
    int r = put_state(u, SET_VRING_NUM, i, g->num);
    if (r == 0)
        r = put_state(u, SET_VRING_BASE, i, g->base);
    if (r == 0)
        r = put_msg(u, &m, SET_VRING_ADDR, sizeof(m.addr), NULL, 0);
    if (r == 0)
        r = put_fd(u, SET_VRING_ERR, i, u->err.fd);
    if (r == 0)
        r = put_fd(u, SET_VRING_CALL, i, g->call);
    if (r == 0)
        r = put_fd(u, SET_VRING_KICK, i, g->kick);
    if (r == 0 && u->can & BIT(F_PROTOCOL))
        r = put_state(u, SET_VRING_ENABLE, i, i / 2 < u->active);
    return r;
}

/* Everything the NIC has asked for, to whoever is there. */
static int put_all(struct vuser *u)
{
    int r = put_u64(u, SET_FEATURES, u->acked | (u->can & BIT(F_PROTOCOL)));
    if (r == 0)
        r = put_memory(u);
    for (uint32_t i = 0; i < 2 * u->pairs && r == 0; i++)
        if (u->ring[i].num)
            r = put_ring(u, i);
    for (uint32_t i = 0; i < 2 * u->pairs && r == 0; i++)
        if (u->ring[i].num && u->ring[i].kick >= 0)
            eventfd_write(u->ring[i].kick, 1);
    return r;
}

/* Where a split ring stands: virtio 1.2 §2.7.8, used.idx. */
static uint32_t ring_position(const struct vhost_ring *g)
{
    return __atomic_load_n((uint16_t *)g->used + 1, __ATOMIC_ACQUIRE);
}

/* ---------------------------------------------------------- struct vhost */

static struct vuser *of(struct vhost *v)
{
    return container_of(v, struct vuser, v);
}

/* A back-end that fails now is like one that is away: the VM lives. */
static int user_start(struct vhost *v, uint64_t features,
                      const struct vhost_ring *rings, unsigned pairs)
{
    struct vuser *u = of(v);
    pthread_mutex_lock(&u->lock);
    u->acked = features & u->v.mask;
    u->pairs = pairs;
    u->active = pairs;
    memcpy(u->ring, rings, 2 * pairs * sizeof(*rings));
    u->running = true;
    if (u->fd >= 0)
        put_all(u);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static void user_stop(struct vhost *v, uint32_t *base)
{
    struct vuser *u = of(v);
    pthread_mutex_lock(&u->lock);
    for (uint32_t i = 0; u->running && i < 2 * u->pairs; i++) {
        struct message m;
        if (!u->ring[i].num)
            continue;
        int r =
            u->can & BIT(F_PROTOCOL) ? put_state(u, SET_VRING_ENABLE, i, 0) : 0;
        if (r == 0)
            r = put_state(u, GET_VRING_BASE, i, 0);
        if (r == 0)
            r = get_msg(u, &m, GET_VRING_BASE, sizeof(m.state));
        if (base)
            base[i] = r == 0 ? m.state.num : ring_position(&u->ring[i]);
    }
    u->running = false;
    pthread_mutex_unlock(&u->lock);
}

static int user_set_call(struct vhost *v, unsigned ring, int fd)
{
    struct vuser *u = of(v);
    pthread_mutex_lock(&u->lock);
    u->ring[ring].call = fd;
    if (u->running && u->fd >= 0)
        put_fd(u, SET_VRING_CALL, ring, fd);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static int user_set_pairs(struct vhost *v, unsigned n)
{
    struct vuser *u = of(v);
    pthread_mutex_lock(&u->lock);
    u->active = n;
    for (uint32_t i = 0; u->running && u->fd >= 0 && i < 2 * u->pairs; i++)
        if (u->ring[i].num && u->can & BIT(F_PROTOCOL))
            put_state(u, SET_VRING_ENABLE, i, i / 2 < n);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static void user_detach(struct vhost *v)
{
    user_stop(v, NULL);
    of(v)->attached = false;
}

int vhost_user_attach(struct netdev *nd, const struct vhost_region *mem,
                      int nmem, struct vhost **out)
{
    struct vuser *u = container_of(nd, struct vuser, nd);
    if (nmem > MSG_REGIONS)
        return fail(-E2BIG, "%s: %d memory regions are too many", nd->id, nmem);
    for (int i = 0; i < nmem; i++)
        if (mem[i].fd < 0)
            return fail(-EINVAL, "%s: guest memory is not shared", nd->id);
    memcpy(u->mem, mem, (size_t)nmem * sizeof(*mem));
    u->nmem = nmem;
    u->attached = true;
    *out = &u->v;
    return 0;
}

/* ------------------------------------------------------------ connections */

static int dial(struct vuser *u)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, &u->addr.sa, u->addr.len) == 0)
        return fd;
    int err = -errno;
    if (fd >= 0)
        close(fd);
    return err;
}

/* Greets a new peer; with the lock held, or before there are threads. */
static int take(struct vuser *u, int fd)
{
    struct timeval one = {.tv_sec = 1};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &one, sizeof(one));
    u->fd = fd;
    int r = greet(u);
    if (r == 0 && (u->acked & ~u->can)) {
        r = -EPROTO;
        log_line("%s: %s came back with fewer features", u->nd.id,
                 u->addr.text);
    }
    if (r == 0)
        return 0;
    close(fd);
    u->fd = -1;
    return r;
}

static void watch(struct vuser *u)
{
    u->conn.fd = u->fd;
    u->conn.want = EPOLLRDHUP;
    loop_add(u->loop, &u->conn);
    loop_want(&u->listen, 0);
}

static void reconnected(struct vuser *u, int fd)
{
    pthread_mutex_lock(&u->lock);
    int r = take(u, fd);
    if (r == 0 && u->running) {
        for (unsigned i = 0; i < 2 * u->pairs; i++)
            if (u->ring[i].num)
                u->ring[i].base = ring_position(&u->ring[i]);
        put_all(u);
    }
    pthread_mutex_unlock(&u->lock);
    if (r < 0) {
        if (!u->server)
            timer_arm(&u->redial, now_ns() + u->redial_ms * 1000000ull);
        return;
    }
    watch(u);
    log_line("%s: %s is back", u->nd.id, u->addr.text);
    netdev_set_link(&u->nd, true);
}

static void user_ready(struct event *ev, uint32_t got)
{
    struct vuser *u = container_of(ev, struct vuser, conn);
    if (!(got & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    loop_del(ev);
    pthread_mutex_lock(&u->lock);
    close(u->fd);
    u->fd = -1;
    pthread_mutex_unlock(&u->lock);
    log_line("%s: %s hung up; %s", u->nd.id, u->addr.text,
             u->server || u->redial_ms ? "waiting for it to come back"
                                       : "the cable stays out");
    netdev_set_link(&u->nd, false);
    loop_want(&u->listen, EPOLLIN);
    if (u->redial_ms)
        timer_arm(&u->redial, now_ns() + u->redial_ms * 1000000ull);
}

static void user_accept(struct event *ev, uint32_t got)
{
    struct vuser *u = container_of(ev, struct vuser, listen);
    (void)got;
    int fd = u->fd < 0 ? accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (fd >= 0)
        reconnected(u, fd);
}

static void user_redial(struct timer *t)
{
    struct vuser *u = container_of(t, struct vuser, redial);
    int fd = dial(u);
    if (fd >= 0)
        reconnected(u, fd);
    else
        timer_arm(t, now_ns() + u->redial_ms * 1000000ull);
}

/* One of the rings' error eventfds. */
static void user_err(struct event *ev, uint32_t got)
{
    struct vuser *u = container_of(ev, struct vuser, err);
    eventfd_t n;
    (void)got;
    eventfd_read(ev->fd, &n);
    fault_note(&u->f_err, "%s: the back-end found a broken ring", u->nd.id);
    if (u->attached && u->v.broken)
        u->v.broken(u->v.nic, 0);
}

/* ---------------------------------------------------------- open and close */

static ssize_t user_no_send(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return -ENOTCONN;
}

static ssize_t user_no_recv(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return 0;
}

static void vuser_close(struct netdev *nd)
{
    struct vuser *u = container_of(nd, struct vuser, nd);
    timer_cancel(&u->redial);
    loop_del(&u->conn);
    loop_del(&u->listen);
    loop_del(&u->err);
    if (u->fd >= 0)
        close(u->fd);
    if (u->listen.fd >= 0) {
        close(u->listen.fd);
        addr_unlink(&u->addr);
    }
    if (u->err.fd >= 0)
        close(u->err.fd);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

static int vuser_listen(struct vuser *u)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = fd < 0 ? -errno : addr_bind(fd, &u->addr);
    if (r == 0 && listen(fd, 1) < 0)
        r = -errno;
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return fail(r, "%s: cannot listen: %s", u->addr.text, strerror(-r));
    }
    u->listen.fd = fd;
    u->listen.want = 0;
    return loop_add(u->loop, &u->listen);
}

/* Up to MS milliseconds for FD (-1: none) to be readable. 0, or -EINTR once
 * somebody wants the VMM to end: before its loop runs, the signals are blocked
 * and nobody else looks. */
static int wait_unless_told(int fd, unsigned ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t end = now_ns() + ms * 1000000ull;
    sigset_t told;
    do {
        sigpending(&told);
        if (sigismember(&told, SIGINT) || sigismember(&told, SIGTERM) ||
            sigismember(&told, SIGHUP))
            return -EINTR;
        if (poll(&p, 1, 100) > 0)
            break;
    } while (now_ns() < end);
    return 0;
}

/* The first back-end. A server, or a client that would reconnect, waits. */
static int vuser_first(struct vuser *u)
{
    int fd, r;
    if (u->server) {
        r = vuser_listen(u);
        if (r < 0)
            return r;
        log_line("%s: waiting for a vhost-user back-end at %s", u->nd.id,
                 u->addr.text);
        fd = wait_unless_told(u->listen.fd, UINT32_MAX);
        if (fd == 0) {
            fd = accept4(u->listen.fd, NULL, NULL, SOCK_CLOEXEC);
            fd = fd < 0 ? -errno : fd;
        }
    } else {
        while ((fd = dial(u)) < 0 && u->redial_ms)
            if ((r = wait_unless_told(-1, u->redial_ms)) < 0)
                return fail(r, "%s: ended while waiting", u->addr.text);
    }
    if (fd < 0)
        return fail(fd, "%s: no vhost-user back-end: %s", u->addr.text,
                    strerror(-fd));
    r = take(u, fd);
    if (r == -EINVAL) /* said */
        return r;
    if (r < 0)
        return fail(r, "%s: not a vhost-user back-end: %s", u->addr.text,
                    strerror(-r));
    u->v.features = u->can & USER_MASK & ~BIT(F_RING_PACKED);
    u->nd.link_up = true;
    watch(u);
    return 0;
}

static int vuser_opts(struct vuser *u, struct opts *o)
{
    uint64_t queues = 1, s = 0, ms = 0;
    bool force;
    const char *name = opts_str(o, "chardev", NULL);
    const char *path = opts_str(o, "path", NULL);
    int r = netdev_read_id(&u->nd, o);
    r |= opts_bool(o, "server", &u->server);
    r |= opts_bool(o, "vhostforce", &force);
    r |= opts_u64(o, "queues", 1, NET_QUEUES_MAX, &queues);
    r |= opts_u64(o, "reconnect", 0, 3600, &s);
    r |= opts_u64(o, "reconnect-ms", 0, 3600000, &ms);
    if (r || opts_done(o))
        return -EINVAL;
    u->nd.nq = (unsigned)queues;
    u->redial_ms = (unsigned)(ms ? ms : s * 1000);
    struct chardev *c = name ? chardev_find(name) : NULL;
    if (name && !c)
        return fail(-ENODEV, "%s: no -chardev %s", o->what, name);
    if (!name == !path)
        return fail(-EINVAL, "%s: either path= or chardev= is needed", o->what);
    if (!name)
        return addr_unix(o->what, path, false, &u->addr);
    if (c->type != CHARDEV_SOCKET || c->addr.sa.sa_family != AF_UNIX ||
        c->taken)
        return fail(-EINVAL,
                    "%s: chardev=%s: must be socket,path=PATH, and no one "
                    "else's",
                    o->what, name);
    c->taken = true;
    u->addr = c->addr;
    u->server |= c->server;
    u->redial_ms = c->reconnect_ms;
    return 0;
}

static int vuser_open(struct loop *l, struct opts *o, struct netdev **out)
{
    struct vuser *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->loop = l;
    u->fd = -1;
    u->conn =
        (struct event){.fd = -1, .ready = user_ready, .name = "vhost-user"};
    u->listen = (struct event){
        .fd = -1, .ready = user_accept, .name = "vhost-user listen"};
    u->err = (struct event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                            .want = EPOLLIN,
                            .ready = user_err,
                            .name = "vhost-user error"};
    timer_init(&u->redial, l, user_redial, "vhost-user redial");
    pthread_mutex_init(&u->lock, NULL);
    u->nd.close = vuser_close;
    u->nd.vhost = VHOST_USER;
    u->v = (struct vhost){.mask = USER_MASK,
                          .start = user_start,
                          .stop = user_stop,
                          .set_call = user_set_call,
                          .set_pairs = user_set_pairs,
                          .close = user_detach};
    int r = u->err.fd < 0 ? -errno : vuser_opts(u, o);
    if (r == 0)
        r = loop_add(l, &u->err);
    if (r == 0)
        r = vuser_first(u);
    if (r < 0) {
        vuser_close(&u->nd);
        return r;
    }
    u->v.pairs = u->nd.nq;
    for (unsigned i = 0; i < u->nd.nq; i++) {
        u->be[i] = (struct netbe){.dev = &u->nd,
                                  .fd = -1,
                                  .send = user_no_send,
                                  .recv = user_no_recv};
        u->nd.q[i] = &u->be[i];
    }
    *out = &u->nd;
    return 0;
}

const struct netdev_class vhost_user_class = {
    .name = "vhost-user",
    .help = "path=PATH         the back-end's UNIX socket\n"
            "chardev=ID        or a -chardev socket,id=ID,path=PATH\n"
            "server=on|off     wait for the back-end, or go to it (off)\n"
            "reconnect-ms=N    go to it again and again\n"
            "queues=N          1 to 16\n",
    .open = vuser_open,
};
