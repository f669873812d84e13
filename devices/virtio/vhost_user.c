/* SPDX-License-Identifier: MIT */
/* vhost-user: another process moves the packets, told how over a UNIX socket.
 *
 * Theory of operation. The other process is the back-end of the vhost-user
 * protocol (QEMU's docs/interop/vhost-user.rst), this the front-end: it sends
 * the memory as a memfd, the rings' addresses, and their eventfds, and is out
 * of the way. What the back-end can do must be known before a NIC offers
 * features, so opening waits for it.
 *
 * When the back-end goes the cable is out, and the NIC takes its rings back;
 * when it (or another one) comes, it is told everything again and goes on where
 * the used rings stand: what it had taken and not given back is taken again.
 * That needs split rings: a packed ring does not show where its device is, so
 * it is not offered.
 *
 * The back-end is as hostile as a guest. Nothing waits for it but the start of
 * the VM, and for a moment who stops the rings (STOP_MS): it greets on the main
 * loop in a second (host/peer.c), and is hung up on when it leaves what it is
 * sent unread. The eventfds it gets are fresh for each start, and nobody here
 * reads or writes them: with the file behind a descriptor goes the power to
 * make it block. The memory is sealed against being cut (machine/kvm/vm.c).
 *
 * start and stop come from the NIC, connections from the main loop; the lock is
 * for both. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "host/peer.h"
#include "host/addr.h"
#include "base/iov.h"
#include "host/chardev.h"
#include "devices/virtio/vhost.h"
#include "net/list.h"

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
    const char *path, *chardev;
    uint32_t reconnect, reconnect_ms;
    uint8_t queues, server, vhostforce;
    struct vhost v;
    struct netbe be[NET_QUEUES_MAX];
    struct addr addr;
    struct loop *loop;
    struct peer peer;
    struct event err; /* the rings' errors: a fresh file for each start */
    bool attached;

    /* The greeting; main loop. */
    uint32_t asked;    /* the request whose answer is awaited */
    struct message in; /* the first `have` bytes of it */
    size_t have;
    uint64_t served; /* queues */
    char few[48];    /* too few queues, in words */

    pthread_mutex_t lock; /* what is below */
    int fd;               /* -1: nobody there, or not greeted yet */
    uint64_t can, protocol;
    struct vhost_region mem[MSG_REGIONS];
    int nmem;
    bool running;
    uint64_t acked;
    unsigned pairs;
    struct vhost_ring ring[2 * NET_QUEUES_MAX];
};

static const char lacks_features[] = "lacks features that the guest uses";

/* -------------------------------------------------------------- messages */

/* The back-end is no good any more: the main loop will see it hang up. */
static int give_up(struct vuser *u, int err, const char *why)
{
    if (u->fd >= 0) {
        atomic_store(&u->peer.why, why);
        shutdown(u->fd, SHUT_RDWR);
    }
    return err;
}

/* Does not wait: a back-end that leaves so much unread has gone astray. */
static int send_msg(int sock, struct message *msg, uint32_t request,
                    uint32_t size, const int *fds, int nfds)
{
    char ctl[CMSG_SPACE(MSG_REGIONS * sizeof(int))] = {0};
    struct iovec iov = {msg, MSG_HEAD + size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
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
    ssize_t r = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return r == (ssize_t)iov.iov_len ? 0 : r < 0 ? -errno : -EIO;
}

static int put_msg(struct vuser *u, struct message *msg, uint32_t request,
                   uint32_t size, const int *fds, int nfds)
{
    if (u->fd < 0)
        return -ENOTCONN;
    int err = send_msg(u->fd, msg, request, size, fds, nfds);
    return err ? give_up(u, err, "does not read") : 0;
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

/* Is this an answer to `request`, with so much payload? */
static bool is_answer(const struct message *m, uint32_t request, uint32_t size)
{
    return m->request == request && m->flags & 4 && m->size == size;
}

/* Time that passes, whatever the tests' clock says. */
static int64_t real_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Reads an answer of `size` bytes of payload, until `end` (real_ms). */
static int get_msg(struct vuser *u, struct message *m, uint32_t request,
                   uint32_t size, int64_t end)
{
    size_t want = MSG_HEAD + size, have = 0;
    struct pollfd p = {.fd = u->fd, .events = POLLIN};
    while (u->fd >= 0 && have < want) {
        ssize_t r = recv(u->fd, (char *)m + have, want - have, MSG_DONTWAIT);
        if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
            return give_up(u, -EPIPE, "hung up");
        if (r > 0)
            have += (size_t)r;
        int64_t left = end - real_ms();
        if (left <= 0)
            return give_up(u, -ETIMEDOUT, "does not answer");
        if (have < want)
            poll(&p, 1, (int)left);
    }
    if (u->fd < 0)
        return -ENOTCONN;
    return is_answer(m, request, size)
               ? 0
               : give_up(u, -EPROTO, "broke the protocol");
}

/* ------------------------------------------------------------ the session */

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
        r = put_state(u, SET_VRING_ENABLE, i, 1);
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
    memcpy(u->ring, rings, 2 * pairs * sizeof(*rings));
    u->running = true;
    int err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (err >= 0)
        loop_refile(&u->err, err);
    if (u->acked & ~u->can)
        give_up(u, -EPROTO, lacks_features);
    else if (u->fd >= 0)
        put_all(u);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

/* All questions, then all answers, so that slowness counts once; and who needs
 * longer than this is taken for dead. */
#define STOP_MS 250

static void user_stop(struct vhost *v, uint32_t *base)
{
    struct vuser *u = of(v);
    int64_t end = real_ms() + STOP_MS;
    pthread_mutex_lock(&u->lock);
    unsigned n = u->running ? 2 * u->pairs : 0;
    int err = 0;
    for (uint32_t i = 0; i < n && !err; i++) {
        if (!u->ring[i].num)
            continue;
        if (u->can & BIT(F_PROTOCOL))
            err = put_state(u, SET_VRING_ENABLE, i, 0);
        if (!err)
            err = put_state(u, GET_VRING_BASE, i, 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct message m = {0};
        if (!u->ring[i].num)
            continue;
        if (!err)
            err = get_msg(u, &m, GET_VRING_BASE, sizeof(m.state), end);
        if (!err && m.state.index != i)
            err = give_up(u, -EPROTO, "broke the protocol");
        if (base)
            base[i] = err ? ring_position(&u->ring[i]) : m.state.num;
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

static int dial(struct peer *p)
{
    struct vuser *u = container_of(p, struct vuser, peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, &u->addr.sa, u->addr.len) == 0)
        return fd;
    int err = -errno;
    if (fd >= 0)
        close(fd);
    return err;
}

/* What comes after the answer to `u->asked` (0: the beginning). 0: another
 * question was sent; 1: the greeting is over; -errno. */
static int greet_next(struct vuser *u)
{
    int fd = u->peer.conn.fd;
    struct message m = {0};
    switch (u->asked) {
    case 0:
        u->asked = GET_FEATURES;
        break;
    case GET_FEATURES:
        u->can = u->in.u64;
        u->protocol = 0;
        u->asked = u->can & BIT(F_PROTOCOL) ? GET_PROTOCOL_FEATURES : SET_OWNER;
        break;
    case GET_PROTOCOL_FEATURES:
        m.u64 = u->protocol = u->in.u64 & BIT(PF_MQ);
        if (send_msg(fd, &m, SET_PROTOCOL_FEATURES, sizeof(m.u64), NULL, 0))
            return -EPIPE;
        u->asked = u->protocol ? GET_QUEUE_NUM : SET_OWNER;
        break;
    default:
        u->served = u->in.u64;
        u->asked = SET_OWNER;
    }
    int err = send_msg(fd, &m, u->asked, 0, NULL, 0);
    return err ? err : u->asked == SET_OWNER;
}

static void greeted(struct vuser *u)
{
    if (u->served < u->nd.nq) {
        snprintf(u->few, sizeof(u->few), "serves %u queues, not %u",
                 (unsigned)u->served, u->nd.nq);
        peer_drop(&u->peer, u->few);
        return;
    }
    if (u->acked & ~u->can) {
        peer_drop(&u->peer, lacks_features);
        return;
    }
    pthread_mutex_lock(&u->lock);
    u->fd = u->peer.conn.fd;
    pthread_mutex_unlock(&u->lock);
    peer_want(&u->peer, 0);
    peer_up(&u->peer);
    netdev_set_link(&u->nd, true);
}

/* The next answer of the greeting, as far as it has come. */
static void user_ready(struct peer *p, uint32_t got)
{
    struct vuser *u = container_of(p, struct vuser, peer);
    const size_t want = MSG_HEAD + sizeof(u->in.u64);
    (void)got;
    if (p->up)
        return;
    ssize_t r = recv(p->conn.fd, (char *)&u->in + u->have, want - u->have,
                     MSG_DONTWAIT);
    if (r == 0)
        peer_drop(p, "hung up");
    if (r <= 0)
        return;
    u->have += (size_t)r;
    if (u->have < want)
        return;
    u->have = 0;
    int more = is_answer(&u->in, u->asked, sizeof(u->in.u64)) ? greet_next(u)
                                                              : -EPROTO;
    if (more < 0)
        peer_drop(p, "broke the protocol");
    else if (more)
        greeted(u);
}

static void user_opened(struct peer *p)
{
    struct vuser *u = container_of(p, struct vuser, peer);
    u->have = 0;
    u->asked = 0;
    u->served = 1;
    if (greet_next(u) < 0)
        peer_drop(p, "hung up");
    else
        peer_want(p, EPOLLIN);
}

static void user_closed(struct peer *p)
{
    struct vuser *u = container_of(p, struct vuser, peer);
    pthread_mutex_lock(&u->lock);
    u->fd = -1;
    pthread_mutex_unlock(&u->lock);
    netdev_set_link(&u->nd, false);
}

/* One of the rings is broken. Told once for each start: the eventfd is the
 * back-end's, too, and is not read. */
static void user_err(struct event *ev, uint32_t got)
{
    struct vuser *u = container_of(ev, struct vuser, err);
    (void)got;
    loop_refile(ev, -1);
    fault_note(&u->nd.vhost_errors, "%s: %s found a broken ring", u->nd.id,
               u->addr.text);
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
    if (u->peer.listen_fd >= 0)
        addr_unlink(&u->addr);
    peer_end(&u->peer);
    loop_del(&u->err);
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
        return fail(r, "%s: %s: cannot listen: %s", u->nd.id, u->addr.text,
                    strerror(-r));
    }
    u->peer.listen_fd = fd;
    return 0;
}

/* Up to MS milliseconds for FD (-1: none) to be readable. 0, or -EINTR once
 * somebody wants the VMM to end: before its loop runs, the signals are blocked
 * and nobody else looks. */
static int wait_unless_told(int fd, unsigned ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t end = real_ms() + ms;
    sigset_t told;
    do {
        sigpending(&told);
        if (sigismember(&told, SIGINT) || sigismember(&told, SIGTERM) ||
            sigismember(&told, SIGHUP))
            return -EINTR;
        if (poll(&p, 1, ms < 100 ? (int)ms : 100) > 0)
            break;
    } while (real_ms() < end);
    return 0;
}

/* The first back-end's connection; a server, or a client that would reconnect,
 * waits for it. -errno: said. */
static int vuser_first(struct vuser *u)
{
    static const char told[] = "%s: ended while waiting for a back-end at %s";
    if (u->server) {
        int err = vuser_listen(u);
        if (err)
            return err;
        log_line("%s: waiting for a vhost-user back-end at %s", u->nd.id,
                 u->addr.text);
        if (wait_unless_told(u->peer.listen_fd, UINT32_MAX))
            return fail(-EINTR, told, u->nd.id, u->addr.text);
        int fd = accept4(u->peer.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        return fd >= 0 ? fd
                       : fail(-errno, "%s: %s: accept: %s", u->nd.id,
                              u->addr.text, strerror(errno));
    }
    for (;;) {
        int fd = dial(&u->peer);
        if (fd >= 0)
            return fd;
        if (!u->peer.redial_ms)
            return fail(fd,
                        "%s: no vhost-user back-end at %s: %s; start it "
                        "first, or say reconnect-ms=1000",
                        u->nd.id, u->addr.text, strerror(-fd));
        if (wait_unless_told(-1, u->peer.redial_ms))
            return fail(-EINTR, told, u->nd.id, u->addr.text);
    }
}

/* What the back-end can do is to be known before there is a NIC: its greeting
 * is waited for. -errno: said. */
static int vuser_meet(struct vuser *u, int fd)
{
    int64_t end = real_ms() + 1000, left;
    u->peer.noted = true; /* one line is enough, and it is below */
    int err = peer_begin(&u->peer, u->loop, fd);
    while (!err && u->peer.conn.fd >= 0 && !u->peer.up &&
           (left = end - real_ms()) > 0) {
        err = wait_unless_told(u->peer.conn.fd, (unsigned)left);
        user_ready(&u->peer, 0);
    }
    if (err || u->peer.up)
        return err;
    return fail(-EPROTO, "%s: %s is no vhost-user back-end for this: it %s",
                u->nd.id, u->addr.text,
                u->peer.lost ? u->peer.lost : "does not answer");
}

static int vuser_check(struct netdev *nd)
{
    struct vuser *u = container_of(nd, struct vuser, nd);
    const char *what = nd->opts.what;
    struct chardev *c = u->chardev ? chardev_find(u->chardev) : NULL;
    nd->nq = u->queues;
    u->peer.redial_ms = u->reconnect_ms ? u->reconnect_ms : u->reconnect * 1000;
    if (u->chardev && !c)
        return fail(-EINVAL, "%s: no -chardev %s", what, u->chardev);
    if (!u->chardev == !u->path)
        return fail(-EINVAL, "%s: either path= or chardev= is needed", what);
    if (!u->chardev)
        return addr_unix(what, u->path, false, &u->addr);
    if (c->type != CHARDEV_SOCKET || c->addr.sa.sa_family != AF_UNIX ||
        c->taken)
        return fail(-EINVAL,
                    "%s: chardev=%s: must be socket,path=PATH, and no one "
                    "else's",
                    what, u->chardev);
    c->taken = true;
    u->addr = c->addr;
    u->server |= c->server;
    u->peer.redial_ms = c->reconnect_ms;
    return 0;
}

static int vuser_open(struct netdev *nd, struct loop *l)
{
    struct vuser *u = container_of(nd, struct vuser, nd);
    u->loop = l;
    u->fd = -1;
    u->peer = (struct peer){.listen_fd = -1,
                            .dial = dial,
                            .redial_ms = u->peer.redial_ms,
                            .opened = user_opened,
                            .closed = user_closed,
                            .ready = user_ready,
                            .conn.fd = -1};
    snprintf(u->peer.id, sizeof(u->peer.id), "%s", nd->id);
    memcpy(u->peer.name, u->addr.text, sizeof(u->peer.name));
    u->err = (struct event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                            .want = EPOLLIN | EPOLLET,
                            .ready = user_err,
                            .name = "vhost-user error"};
    pthread_mutex_init(&u->lock, NULL);
    nd->close = vuser_close;
    u->v = (struct vhost){.mask = USER_MASK,
                          .start = user_start,
                          .stop = user_stop,
                          .set_call = user_set_call,
                          .set_pairs = user_set_pairs,
                          .close = user_detach};
    int r = u->err.fd < 0 ? -errno : loop_add(l, &u->err);
    if (r < 0)
        return fail(r, "%s: %s", nd->id, strerror(-r));
    r = vuser_first(u);
    if (r >= 0)
        r = vuser_meet(u, r);
    if (r < 0)
        return r;
    u->v.features = u->can & USER_MASK & ~BIT(F_RING_PACKED);
    u->v.pairs = nd->nq;
    for (unsigned i = 0; i < nd->nq; i++) {
        u->be[i] = (struct netbe){
            .dev = nd, .fd = -1, .send = user_no_send, .recv = user_no_recv};
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
