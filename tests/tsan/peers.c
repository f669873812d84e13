/* SPDX-License-Identifier: MIT */
/* Wires, and who is at their other ends. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "host/helper.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/tsan/rig.h"

/* ------------------------------------------------------------------- wires */

struct wire {
    struct netdev nd;
    struct {
        struct netbe be;
        int peer;
    } q[NET_QUEUES_MAX];
};
static struct wire wire;

static ssize_t wire_send(struct netbe *be, const struct iovec *iov, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                       .msg_iovlen = (size_t)n};
    ssize_t r = sendmsg(be->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    return r < 0 ? (errno == EAGAIN ? 0 : -errno) : r;
}

static ssize_t wire_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                       .msg_iovlen = (size_t)n};
    ssize_t r = recvmsg(be->fd, &m, MSG_DONTWAIT);
    return r < 0 ? (errno == EAGAIN ? 0 : -errno) : r;
}

static int wire_set(struct netdev *nd, unsigned val)
{
    (void)nd, (void)val;
    return 0;
}

static void wire_close(struct netdev *nd)
{
    for (unsigned i = 0; i < nd->nq; i++) {
        close(wire.q[i].be.fd);
        close(wire.q[i].peer);
    }
}

static void wire_new(unsigned nq)
{
    wire.nd.id = "n0";
    wire.nd.offload = NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6;
    wire.nd.vnet_hdr = true;
    wire.nd.link_up = true;
    wire.nd.nq = nq;
    wire.nd.set_offload = wire_set;
    wire.nd.set_queues = wire_set;
    wire.nd.close = wire_close;
    for (unsigned i = 0; i < nq; i++) {
        int fd[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
            rig_fail("socketpair: %s", strerror(errno));
        wire.q[i].be = (struct netbe){
            .dev = &wire.nd, .fd = fd[0], .send = wire_send, .recv = wire_recv};
        wire.q[i].peer = fd[1];
        wire.nd.q[i] = &wire.q[i].be;
    }
    netdev_register(&wire.nd);
}

/* A netdev of the VMM's own. */
static void open_netdev(const struct netdev_class *cls, const char *text)
{
    struct netdev *nd;
    struct opts o;
    if (opts_parse(&o, "-netdev", text, NULL) || netdev_new(cls, &o, &nd) ||
        helper_begin(geteuid(), getegid()) || cls->open(nd, rig.m.loop))
        rig_fail("-netdev %s", text);
}

/* ------------------------------------------------------------------- peers */

/* UDP or TCP over IPv4 to everybody, from here and there. Bytes of frame. */
static size_t make_frame(uint8_t *f, uint64_t *random)
{
    uint64_t r = next_random(random);
    size_t len = 60 + (r & 3 ? r >> 8 & 0x7f : (r >> 8) % 1400);
    memset(f, 0, len);
    memset(f, 0xff, 6);
    f[6] = 2;
    f[12] = 8;
    f[14] = 0x45;
    f[16] = (uint8_t)((len - 14) >> 8);
    f[17] = (uint8_t)(len - 14);
    f[23] = r & 4 ? 6 : 17;
    memcpy(f + 26, &r, 8);
    r = next_random(random);
    memcpy(f + 34, &r, 4);
    return len;
}

static void *wire_peer(void *arg)
{
    unsigned i = (unsigned)(uintptr_t)arg;
    uint64_t random = seed_for(100 + i);
    uint8_t p[NET_HDR_LEN + 2048] = {0}, junk[4096];
    while (!atomic_load(&rig.stop)) {
        size_t len = make_frame(p + NET_HDR_LEN, &random);
        send(wire.q[i].peer, p, NET_HDR_LEN + len, MSG_DONTWAIT);
        while (recv(wire.q[i].peer, junk, sizeof(junk), MSG_DONTWAIT) > 0)
            continue;
        if (!(next_random(&random) & 3))
            usleep(next_random(&random) >> 40 & 255);
    }
    return NULL;
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
        return fd;
    close(fd);
    return -1;
}

/* Reads slowly, in pieces, so that frames are written in pieces too. */
static void *stream_peer(void *arg)
{
    uint64_t random = seed_for(100);
    uint8_t p[4 + 2048], junk[2048];
    int fd = -1;
    (void)arg;
    while (!atomic_load(&rig.stop)) {
        if (fd < 0)
            fd = connect_to(STREAM_PATH);
        size_t len = make_frame(p + 4, &random);
        p[0] = p[1] = 0;
        p[2] = (uint8_t)(len >> 8);
        p[3] = (uint8_t)len;
        struct pollfd w = {.fd = fd, .events = POLLOUT};
        if (fd >= 0 && poll(&w, 1, 1) == 1)
            send(fd, p, 4 + len, MSG_NOSIGNAL);
        uint64_t r = next_random(&random);
        if (fd >= 0)
            recv(fd, junk, 1 + (r & 2047), MSG_DONTWAIT);
        if (r >> 52 == 0 && fd >= 0) { /* one in 4096 */
            close(fd);
            fd = -1;
        }
        if (!(r >> 20 & 3))
            usleep(r >> 24 & 127);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* Types, reads a part, goes. */
static void *serial_peer(void *arg)
{
    uint64_t random = seed_for(100);
    char junk[4096];
    (void)arg;
    while (!atomic_load(&rig.stop)) {
        int fd = connect_to(SERIAL_PATH);
        for (int i = 0; i < 300 && fd >= 0 && !atomic_load(&rig.stop); i++) {
            uint64_t r = next_random(&random);
            send(fd, "keys", 1 + (r & 3), MSG_DONTWAIT | MSG_NOSIGNAL);
            recv(fd, junk, 1 + (r >> 8 & 4095), MSG_DONTWAIT);
            usleep(r >> 24 & 1023);
        }
        if (fd >= 0)
            close(fd);
        usleep(10000);
    }
    return NULL;
}

void wires_make(void)
{
    const struct scenario *sc = rig.sc;
    if (sc->flags & SC_STREAM) {
        open_netdev(&stream_class,
                    "id=n0,server=on,addr.type=unix,addr.path=" STREAM_PATH);
    } else if (sc->flags & SC_HUB) {
        open_netdev(&hubport_class, "id=n0,hubid=1,learn=on");
        open_netdev(&hubport_class, "id=n1,hubid=1,learn=on");
    } else if (sc->pairs) {
        wire_new(sc->pairs);
    }
}

void peers_start(void)
{
    const struct scenario *sc = rig.sc;
    if (sc->flags & SC_STREAM)
        rig_start(stream_peer, NULL);
    if (sc->flags & SC_BOARD)
        rig_start(serial_peer, NULL);
    for (unsigned i = 0; i < wire.nd.nq; i++)
        rig_start(wire_peer, (void *)(uintptr_t)i);
}
