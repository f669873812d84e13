/* SPDX-License-Identifier: MIT */
/* Streams: what the peer sends, in any pieces, and what the NIC offers and
 * sends, in any pieces, each in memory of just its size. What arrives at either
 * end is compared with what went in at the other. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stream.h"
#include "tests/fuzz/fuzz.h"

#define PIECES 6
#define WIRE (256u << 10)

static struct machine *m;
static struct side {
    struct netdev *nd;
    int peer; /* the other end, or -1 */
} side[2];    /* the second as passt wants it */

/* Sent by the peer and not yet received; sent by the NIC and not yet read. */
static struct queue {
    uint8_t b[WIRE];
    size_t n;
} in, out;
static bool bad; /* the peer has sent nonsense */

static int dial(void *arg)
{
    struct side *s = arg;
    int sv[2];
    if (s->peer >= 0)
        close(s->peer);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
    s->peer = sv[1];
    return sv[0];
}

static void make(void)
{
    m = fake_new(4096);
    for (int i = 0; i < 2; i++) {
        struct stream_conf c = {.peer = "fuzz",
                                .fd = -1,
                                .listen_fd = -1,
                                .dial = dial,
                                .redial_ms = 1,
                                .passt = i,
                                .arg = &side[i]};
        struct stream *s = calloc(1, sizeof(*s));
        CHECK(s != NULL);
        s->nd.id = "s";
        side[i].peer = -1;
        side[i].nd = &s->nd;
        CHECK_EQ(stream_open(s, m->loop, &c), 0);
    }
}

static void push(struct queue *q, const void *p, size_t n)
{
    memcpy(q->b + q->n, p, n);
    q->n += n;
}

static void pop(struct queue *q, size_t n)
{
    q->n -= n;
    memmove(q->b, q->b + n, q->n);
}

static size_t length(const uint8_t *b)
{
    return (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
}

/* An iovec of `n` pieces, and the bytes behind the header in it. */
static size_t pieces(struct fuzz *f, struct iovec *iov, int n)
{
    size_t room = 0;
    for (int i = 0; i < n; i++) {
        size_t len = fuzz_u8(f);
        if (len > 200)
            len = (len - 200) << 8;
        if (i == n - 1 && room + len < NET_HDR_LEN + 1)
            len = NET_HDR_LEN + 1;
        iov[i] = (struct iovec){malloc(len ? len : 1), len};
        memset(iov[i].iov_base, 0x45 + i, len);
        room += len;
    }
    return room - NET_HDR_LEN;
}

/* Its first `len` bytes, in one piece. */
static void flatten(const struct iovec *iov, uint8_t *to, size_t len)
{
    for (; len; iov++) {
        size_t k = iov->iov_len < len ? iov->iov_len : len;
        memcpy(to, iov->iov_base, k);
        to += k;
        len -= k;
    }
}

static void unpieces(struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++)
        free(iov[i].iov_base);
}

/* The peer's bytes, as far as the socket takes them. */
static void peer_send(int fd, const void *p, size_t n)
{
    if (in.n + n > WIRE)
        return;
    ssize_t r = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (r > 0)
        push(&in, p, (size_t)r);
}

static void peer_frame(struct fuzz *f, int fd)
{
    static uint8_t b[4 + NET_FRAME_MAX];
    uint32_t len = fuzz_u16(f) % (fuzz_u8(f) & 1 ? 200 : 9000);
    b[0] = b[1] = 0;
    b[2] = (uint8_t)(len >> 8);
    b[3] = (uint8_t)len;
    memset(b + 4, fuzz_u8(f), len);
    peer_send(fd, b, 4 + len);
}

static void receive(struct fuzz *f, struct netbe *be)
{
    struct iovec iov[PIECES];
    int n = 1 + fuzz_u8(f) % PIECES;
    size_t room = pieces(f, iov, n), len = in.n >= 4 ? length(in.b) : 0;
    ssize_t r = be->recv(be, iov, n);
    if (r > 0) {
        static uint8_t got[NET_HDR_LEN + NET_FRAME_MAX];
        size_t want = len < room ? len : room;
        CHECK_EQ(r, NET_HDR_LEN + want);
        CHECK(in.n >= 4 + len);
        flatten(iov, got, (size_t)r);
        CHECK_MEM(got + NET_HDR_LEN, in.b + 4, want);
        pop(&in, 4 + len);
    } else if (r < 0) {
        CHECK(in.n >= 4);
        CHECK(len == 0 || len > NET_FRAME_MAX);
        bad = true;
    } else if (!bad) { /* all of a frame is there, or it is not */
        CHECK(in.n < 4 || in.n < 4 + len);
    }
    unpieces(iov, n);
}

static void transmit(struct fuzz *f, struct netbe *be)
{
    struct iovec iov[PIECES];
    static uint8_t all[NET_FRAME_MAX + NET_HDR_LEN];
    int n = 1 + fuzz_u8(f) % PIECES;
    size_t len = pieces(f, iov, n);
    if (len > NET_FRAME_MAX || out.n + 4 + len > WIRE) {
        unpieces(iov, n);
        return;
    }
    ssize_t r = be->send(be, iov, n);
    if (r > 0 && !bad) {
        uint32_t head = htonl((uint32_t)len);
        CHECK_EQ(r, NET_HDR_LEN + len);
        flatten(iov, all, NET_HDR_LEN + len);
        push(&out, &head, 4);
        push(&out, all + NET_HDR_LEN, len);
    }
    unpieces(iov, n);
}

static void peer_read(struct fuzz *f, const struct side *s)
{
    static uint8_t b[16384];
    size_t want = 1 + fuzz_u16(f) % sizeof(b);
    ssize_t r = recv(s->peer, b, want, MSG_DONTWAIT);
    if (r <= 0 || s == &side[1] || bad)
        return;
    REQUIRE(out.n >= (size_t)r);
    CHECK_MEM(b, out.b, (size_t)r);
    pop(&out, (size_t)r);
}

static void act(struct fuzz *f, struct side *s)
{
    uint8_t raw[32], n;
    struct netbe *be = s->nd->q[0];
    switch (fuzz_u8(f) & 7) {
    case 0:
        n = fuzz_u8(f) & 31;
        for (uint8_t i = 0; i < n; i++)
            raw[i] = fuzz_u8(f);
        peer_send(s->peer, raw, n);
        break;
    case 1:
        peer_frame(f, s->peer);
        break;
    case 2:
    case 3:
        receive(f, be);
        break;
    case 4:
    case 5:
        transmit(f, be);
        break;
    case 6:
        peer_read(f, s);
        break;
    default:
        fake_run_loop(m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!m)
        make();
    struct side *s = &side[fuzz_u8(&f) & 1];
    if (s->peer >= 0)
        shutdown(s->peer, SHUT_RDWR);
    fake_run_loop(m);
    fake_advance_ns(4000000000); /* longer than any pause */
    fake_run_loop(m);
    CHECK(netdev_link(s->nd));
    in.n = out.n = 0;
    bad = false;
    /* What it says to passt of itself is not the input's. */
    while (recv(s->peer, out.b, WIRE, MSG_DONTWAIT) > 0)
        continue;
    for (int i = 0; i < 200 && f.n; i++)
        act(&f, s);
    return 0;
}
