/* SPDX-License-Identifier: MIT */
/* A backend behind a byte stream: UNIX or TCP, with QEMU's framing.
 *
 * Theory of operation. The NIC's queue reads and writes the socket itself. A
 * frame's length is in front of it, so each read takes one frame, straight into
 * the guest's buffers, and the 4 bytes that tell the length of the next; never
 * more, so that the socket is readable exactly while there is more to receive.
 * A frame that comes in pieces, or does not fit, goes through a buffer. When
 * only a part of a frame can be written, the rest is kept and written by the
 * main loop; send answers "would block" until it is gone.
 *
 * The main loop makes connections (host/peer.c), and watches the connected
 * socket (through the descriptor it got it by, the NIC's is a duplicate) for
 * the peer's end. A NIC's descriptor keeps its number: an idle timer is behind
 * it while nobody is connected. The lock keeps a queue's thread and the main
 * loop apart. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/iov.h"
#include "net/stream.h"

/* ------------------------------------------------------------- hot path */

/* An iovec for `len` bytes of a frame and the next one's length. Returns its
 * count, 0 when the frame does not fit. */
static int stream_target(struct stream *s, const struct iovec *iov, int n,
                         size_t len, struct iovec *out)
{
    int k = 0;
    for (int i = 0; i < n && len && k < IOV_COUNT_MAX - 1; i++, k++) {
        out[k] = iov[i];
        if (out[k].iov_len > len)
            out[k].iov_len = len;
        len -= out[k].iov_len;
    }
    if (len)
        return 0;
    out[k++] = (struct iovec){s->head, sizeof(s->head)};
    return k;
}

/* The length of the frame to come, 0: not known yet, <0: no stream of ours.
 *
 * syscalls loop pair if peer: read readv */
/* syscalls loop if peer: shutdown */
/* syscalls pair if peer: shutdown, a peer that breaks the stream of a pair that
 * has a loop of its own */
static ssize_t stream_head(struct stream *s)
{
    if (s->nhead < sizeof(s->head)) {
        ssize_t got =
            read(s->be.fd, s->head + s->nhead, sizeof(s->head) - s->nhead);
        if (got <= 0)
            return 0;
        s->nhead += (unsigned)got;
    }
    if (s->nhead < sizeof(s->head))
        return 0;
    uint32_t len = (uint32_t)s->head[0] << 24 | (uint32_t)s->head[1] << 16 |
                   (uint32_t)s->head[2] << 8 | s->head[3];
    if (len == 0 || len > NET_FRAME_MAX) {
        fault_note(&s->f_frame, "%s: %s sent a frame of %u bytes: hanging up",
                   s->nd.id, s->peer.name, len);
        shutdown(s->be.fd, SHUT_RDWR); /* the main loop sees it */
        return -EPROTO;
    }
    return (ssize_t)len;
}

/* Through the buffer. Bytes for the guest's iovec, 0: not all there yet. */
static ssize_t stream_recv_slow(struct stream *s, const struct iovec *iov,
                                int n, size_t len)
{
    struct iovec in[2] = {{s->rx + s->have, len - s->have},
                          {s->head, sizeof(s->head)}};
    ssize_t got = readv(s->be.fd, in, 2);
    if (got <= 0)
        return 0;
    s->have += (size_t)got;
    if (s->have < len)
        return 0;
    s->nhead = (unsigned)(s->have - len);
    s->have = 0;
    return (ssize_t)iov_write(iov, n, NET_HDR_LEN, s->rx, len);
}

static ssize_t stream_recv_locked(struct stream *s, const struct iovec *iov,
                                  int n)
{
    struct iovec tmp[IOV_COUNT_MAX], to[IOV_COUNT_MAX];
    const struct iovec *in;
    ssize_t len = s->up ? stream_head(s) : 0;
    if (len <= 0)
        return len;
    int k = s->have ? 0 : iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    if (k > 0)
        k = stream_target(s, in, k, (size_t)len, to);
    if (k <= 0)
        return stream_recv_slow(s, iov, n, (size_t)len);
    ssize_t got = readv(s->be.fd, to, k);
    if (got <= 0)
        return 0;
    if (got < len) { /* the NIC may offer other buffers next time */
        s->have = iov_read(in, k, 0, s->rx, (size_t)got);
        return 0;
    }
    s->nhead = (unsigned)(got - len);
    return len;
}

/* Errors show as EPOLLRDHUP on the main loop: here they are "nothing yet". */
static ssize_t stream_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct stream *s = container_of(be, struct stream, be);
    pthread_mutex_lock(&s->lock);
    ssize_t got = stream_recv_locked(s, iov, n);
    pthread_mutex_unlock(&s->lock);
    if (got <= 0)
        return got;
    iov_zero(iov, n, NET_HDR_LEN);
    return got + NET_HDR_LEN;
}

/* Writes the rest of a frame; true when nothing is left.
 *
 * syscalls loop pair if peer: sendto sendmsg */
static bool stream_flush(struct stream *s)
{
    if (s->txpos < s->txend) {
        ssize_t sent = send(s->be.fd, s->tx + s->txpos, s->txend - s->txpos,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            s->txpos += (size_t)sent;
    }
    return s->txpos == s->txend;
}

/* A short frame's length without the padding behind its IP packet. */
static size_t stream_unpadded(const struct iovec *iov, int n, size_t len)
{
    uint8_t h[ETH_HLEN + 6];
    size_t ip = len;
    if (len > 60 || iov_read(iov, n, 0, h, sizeof(h)) < sizeof(h))
        return len;
    if (h[12] == 0x08 && h[13] == 0x00) /* IPv4: total length */
        ip = ETH_HLEN + ((size_t)h[16] << 8 | h[17]);
    else if (h[12] == 0x86 && h[13] == 0xdd) /* IPv6: payload length */
        ip = ETH_HLEN + 40 + ((size_t)h[18] << 8 | h[19]);
    return ip >= ETH_HLEN + 20 && ip < len ? ip : len;
}

/* Makes an iovec of n entries len bytes long; its new count. */
static int stream_iov_cut(struct iovec *iov, int n, size_t len)
{
    int i = 0;
    for (; i < n && len; i++) {
        if (iov[i].iov_len > len)
            iov[i].iov_len = len;
        len -= iov[i].iov_len;
    }
    return i;
}

static ssize_t stream_send_locked(struct stream *s, const struct iovec *iov,
                                  int n)
{
    struct iovec out[IOV_COUNT_MAX], tmp[IOV_COUNT_MAX];
    const struct iovec *in;
    if (!s->up)
        return -ENOTCONN;
    if (!stream_flush(s))
        return 0;
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    size_t len = k > 0 ? iov_len(in, k) : 0;
    if (len == 0 || len > NET_FRAME_MAX || k >= IOV_COUNT_MAX)
        return -EMSGSIZE;
    size_t wire = s->c.passt ? stream_unpadded(in, k, len) : len;
    if (s->c.passt)
        iov_read(in, k, 6, s->mac, sizeof(s->mac));
    uint32_t head = htonl((uint32_t)wire);
    out[0] = (struct iovec){&head, sizeof(head)};
    memcpy(out + 1, in, (size_t)k * sizeof(*in));
    k = stream_iov_cut(out + 1, k, wire);
    struct msghdr m = {.msg_iov = out, .msg_iovlen = (size_t)k + 1};
    ssize_t sent = sendmsg(s->be.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    size_t all = wire + sizeof(head);
    if ((size_t)sent < all) {
        s->txpos = 0;
        s->txend =
            iov_read(out, k + 1, (size_t)sent, s->tx, all - (size_t)sent);
        peer_want(&s->peer, EPOLLOUT);
    }
    return (ssize_t)len + NET_HDR_LEN;
}

static ssize_t stream_send(struct netbe *be, const struct iovec *iov, int n)
{
    struct stream *s = container_of(be, struct stream, be);
    pthread_mutex_lock(&s->lock);
    ssize_t sent = stream_send_locked(s, iov, n);
    pthread_mutex_unlock(&s->lock);
    return sent;
}

/* ----------------------------------------------------------- connections */

/* Puts another file behind the NIC's descriptor; fd -1: one never ready, which
 * is there from the start: now there may be no descriptor to be had.
 *
 * syscalls loop if peer: dup3 close */
static void stream_plug(struct stream *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    dup3(fd < 0 ? s->idle : fd, s->be.fd, O_CLOEXEC);
    s->up = fd >= 0;
    s->nhead = 0;
    s->have = s->txpos = s->txend = 0;
    pthread_mutex_unlock(&s->lock);
}

/* Who is here. */
static void stream_announce(struct stream *s)
{
    uint8_t p[NET_HDR_LEN + ETH_RARP_LEN] = {0};
    static const uint8_t none[6];
    struct iovec iov = {p, sizeof(p)};
    uint8_t mac[6];
    pthread_mutex_lock(&s->lock);
    memcpy(mac, s->mac, 6);
    pthread_mutex_unlock(&s->lock);
    if (!memcmp(mac, none, 6))
        return;
    eth_rarp(p + NET_HDR_LEN, mac);
    stream_send(&s->be, &iov, 1);
}

static void stream_opened(struct peer *p)
{
    struct stream *s = container_of(p, struct stream, peer);
    stream_plug(s, p->conn.fd);
    stream_announce(s);
    peer_up(p);
    netdev_set_link(&s->nd, true);
}

static void stream_closed(struct peer *p)
{
    struct stream *s = container_of(p, struct stream, peer);
    stream_plug(s, -1);
    netdev_set_link(&s->nd, false);
}

/* There is room for a frame's rest. */
static void stream_room(struct peer *p, uint32_t got)
{
    struct stream *s = container_of(p, struct stream, peer);
    (void)got;
    pthread_mutex_lock(&s->lock);
    if (stream_flush(s))
        peer_want(p, 0);
    pthread_mutex_unlock(&s->lock);
}

static int stream_dial(struct peer *p)
{
    struct stream *s = container_of(p, struct stream, peer);
    return s->c.dial(s->c.arg);
}

static void stream_close(struct netdev *nd)
{
    struct stream *s = container_of(nd, struct stream, nd);
    peer_end(&s->peer);
    if (s->be.fd >= 0)
        close(s->be.fd);
    if (s->idle >= 0)
        close(s->idle);
    if (s->c.end)
        s->c.end(s->c.arg);
    pthread_mutex_destroy(&s->lock);
    free(s->rx);
    free(s->tx);
    free(s);
}

const struct field stream_counters[] = {
    COUNT("connects", struct stream, peer.connects, "connections made"),
    COUNT("hangups", struct stream, peer.drops, "connections lost"),
    COUNT("bad_frames", struct stream, f_frame,
          "frames of an impossible length"),
    {.help = NULL},
};

static int stream_begin(struct stream *s)
{
    s->idle = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    s->be.fd = fcntl(s->idle, F_DUPFD_CLOEXEC, 0);
    s->rx = malloc(NET_FRAME_MAX);
    s->tx = malloc(NET_FRAME_MAX + sizeof(s->head));
    if (s->be.fd < 0 || !s->rx || !s->tx)
        return fail(-ENOMEM, "%s: out of memory or descriptors", s->nd.id);
    int fd = s->c.fd;
    s->c.fd = -1;
    return peer_begin(&s->peer, s->loop, fd);
}

int stream_open(struct stream *s, struct loop *l,
                const struct stream_conf *conf)
{
    s->c = *conf;
    s->loop = l;
    s->peer = (struct peer){.listen_fd = conf->listen_fd,
                            .dial = conf->dial  ? stream_dial
                                    : conf->way ? peer_dial_helper
                                                : NULL,
                            .way = conf->way,
                            .redial_ms = conf->redial_ms,
                            .opened = stream_opened,
                            .closed = stream_closed,
                            .ready = stream_room,
                            .conn.fd = -1};
    snprintf(s->peer.id, sizeof(s->peer.id), "%s", s->nd.id);
    snprintf(s->peer.name, sizeof(s->peer.name), "%s", conf->peer);
    pthread_mutex_init(&s->lock, NULL);
    s->be.dev = &s->nd;
    s->be.send = stream_send;
    s->be.recv = stream_recv;
    s->nd.nq = 1;
    s->nd.q[0] = &s->be;
    s->nd.close = stream_close;
    return stream_begin(s);
}
