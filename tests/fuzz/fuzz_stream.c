/* SPDX-License-Identifier: MIT */
/* Streams: what the peer sends, in any pieces, and what the NIC offers and
 * sends, in any pieces, each in memory of just its size. What arrives at either
 * end is compared with what went in at the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/iov.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/kernel.h"
#include "tests/fuzz/pieces.h"

#define CLIENT 3       /* of the sides */
#define BUDGET 100000u /* bytes that an input may move, each way */

static struct machine *m;
static struct side {
    const struct netdev_class *cls; /* NULL: dial() makes its connections */
    const char *text;
    uint16_t port; /* 0: ours, the test's end listens */
    struct netdev *nd;
    int peer; /* the other end, or -1 */
} side[] = {
    {.peer = -1},
    {.peer = -1}, /* as passt wants it */
    {&stream_class,
     "id=s,addr.type=inet,addr.host=127.0.0.1,addr.port=1,server=on", 1, NULL,
     -1},
    {&stream_class,
     "id=c,addr.type=inet,addr.host=127.0.0.1,addr.port=2,reconnect-ms=1", 0,
     NULL, -1},
    {&socket_class, "id=o,listen=127.0.0.1:3", 3, NULL, -1},
};
static int listener; /* where CLIENT goes */

/* Sent by the peer and not yet received; sent by the NIC and not yet read. */
static struct queue {
    uint8_t b[BUDGET];
    size_t at, n; /* b[at..n) */
} in, out;
static bool bad; /* the peer has sent nonsense */

static int dial(void *arg)
{
    struct side *s = arg;
    int sv[2];
    if (s->peer >= 0)
        close(s->peer);
    s->peer = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) < 0)
        return -errno;
    s->peer = sv[1];
    return sv[0];
}

static void open_by_conf(struct side *s)
{
    struct stream_conf c = {.peer = "fuzz",
                            .fd = -1,
                            .listen_fd = -1,
                            .dial = dial,
                            .redial_ms = 1,
                            .passt = s == &side[1],
                            .arg = s};
    struct stream *stream = calloc(1, sizeof(*stream));
    REQUIRE(stream != NULL);
    stream->nd.id = "s";
    s->nd = &stream->nd;
    CHECK_EQ(stream_open(stream, m->loop, &c), 0);
}

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons(port)};
}

static void make(void)
{
    struct sockaddr_in at = local(2);
    m = fake_new(4096);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    CHECK_EQ(listen(listener, 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(side); i++) {
        struct side *s = &side[i];
        struct opts o;
        if (!s->cls) {
            open_by_conf(s);
            continue;
        }
        CHECK_EQ(opts_parse(&o, "fuzz", s->text, NULL), 0);
        CHECK_EQ(netdev_new(s->cls, &o, &s->nd), 0);
        CHECK_EQ(s->cls->open(s->nd, m->loop), 0);
    }
}

/* The peer goes; where it is the one who comes, it comes again. */
static void leave(struct side *s)
{
    bad = true; /* bytes under way are lost, at either end */
    if (s->peer >= 0)
        shutdown(s->peer, SHUT_RDWR);
    if (!s->port)
        return;
    if (s->peer >= 0)
        close(s->peer);
    s->peer = socket(AF_INET, SOCK_STREAM, 0);
}

/* Time passes; who is to call does (if it has not), who was called answers.
 * Before that the product may be short of descriptors: see kernel_full. */
static void wait_a_while(const struct side *s, uint64_t ns, unsigned full)
{
    struct sockaddr_in at = local(s->port);
    if (s->port)
        (void)connect(s->peer, (struct sockaddr *)&at, sizeof(at));
    fake_advance_ns(ns);
    kernel_full = full;
    fake_run_loop(m);
    kernel_full = 0;
    int fd = s == &side[CLIENT] ? accept4(listener, NULL, NULL, 0) : -1;
    if (fd >= 0) {
        close(side[CLIENT].peer);
        side[CLIENT].peer = fd;
    }
}

/* A connection of this input's own, nothing on it yet. */
static void join(struct side *s)
{
    static uint8_t hello[128];
    leave(s);
    for (int i = 0; i < 8 && (!i || !netdev_link(s->nd)); i++)
        wait_a_while(s, i * 4000000000, 0); /* longer than any pause */
    CHECK(netdev_link(s->nd));
    /* What it says to passt of itself is not the input's. */
    while (recv(s->peer, hello, sizeof(hello), MSG_DONTWAIT) > 0)
        continue;
    in.at = in.n = out.at = out.n = 0;
    bad = false;
}

static void push(struct queue *q, const void *p, size_t n)
{
    memcpy(q->b + q->n, p, n);
    q->n += n;
}

static size_t length(const uint8_t *b)
{
    return (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
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

/* The peer's bytes, as far as the socket takes them. */
static void peer_send(int fd, const void *p, size_t n)
{
    if (in.n + n > sizeof(in.b))
        return;
    ssize_t r = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (r > 0)
        push(&in, p, (size_t)r);
}

/* A frame, short or long, or as long as one may be, or nearly. */
static void peer_frame(struct fuzz *f, int fd)
{
    static uint8_t b[4 + NET_FRAME_MAX + 8];
    uint32_t len = fuzz_u16(f), how = fuzz_u8(f);
    if ((how & 7) == 7)
        len = NET_FRAME_MAX - 8 + len % 16;
    else
        len %= how & 1 ? 200 : 9000;
    uint32_t head = htonl(len);
    memcpy(b, &head, 4);
    memset(b + 4, fuzz_u8(f), len);
    peer_send(fd, b, 4 + len);
}

static void receive(struct fuzz *f, struct netbe *be)
{
    struct iovec iov[PIECES];
    int n = pieces_make(f, iov, NET_HDR_LEN + 1);
    size_t room = iov_len(iov, n) - NET_HDR_LEN, waits = in.n - in.at;
    size_t len = waits >= 4 ? length(in.b + in.at) : 0;
    ssize_t r = be->recv(be, iov, n);
    if (bad) {
        CHECK(r <= 0 || (r > NET_HDR_LEN && (size_t)r <= NET_HDR_LEN + room));
    } else if (r > 0) {
        static uint8_t got[NET_HDR_LEN + NET_FRAME_MAX];
        size_t want = len < room ? len : room;
        CHECK_EQ(r, NET_HDR_LEN + want);
        CHECK(waits >= 4 + len);
        flatten(iov, got, (size_t)r);
        CHECK_MEM(got + NET_HDR_LEN, in.b + in.at + 4, want);
        in.at += 4 + len;
    } else if (r < 0) {
        CHECK(waits >= 4);
        CHECK(len == 0 || len > NET_FRAME_MAX);
        bad = true;
    } else { /* all of a frame is there, or it is not */
        CHECK(waits < 4 + len);
    }
    pieces_end(iov, n);
}

static void transmit(struct fuzz *f, struct netbe *be)
{
    struct iovec iov[PIECES];
    static uint8_t all[NET_FRAME_MAX + NET_HDR_LEN];
    int n = pieces_make(f, iov, NET_HDR_LEN + 1);
    size_t len = iov_len(iov, n) - NET_HDR_LEN;
    if (len + 4 > sizeof(out.b) - out.n) {
        pieces_end(iov, n);
        return;
    }
    ssize_t r = be->send(be, iov, n);
    CHECK(r <= 0 || len <= NET_FRAME_MAX);
    if (r > 0 && !bad) {
        uint32_t head = htonl((uint32_t)len);
        CHECK_EQ(r, NET_HDR_LEN + len);
        flatten(iov, all, NET_HDR_LEN + len);
        push(&out, &head, 4);
        push(&out, all + NET_HDR_LEN, len);
    }
    pieces_end(iov, n);
}

static void peer_read(struct fuzz *f, const struct side *s)
{
    static uint8_t b[16384];
    size_t want = 1 + fuzz_u16(f) % sizeof(b);
    ssize_t r = recv(s->peer, b, want, MSG_DONTWAIT);
    if (r <= 0 || s == &side[1] || bad)
        return;
    REQUIRE(out.n - out.at >= (size_t)r);
    CHECK_MEM(b, out.b + out.at, (size_t)r);
    out.at += (size_t)r;
}

static void act(struct fuzz *f, struct side *s)
{
    uint8_t raw[32], b = fuzz_u8(f), n;
    struct netbe *be = s->nd->q[0];
    switch (b & 7) {
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
        if (b & 0x80)
            leave(s);
        wait_a_while(s, b & 0x40 ? 1000000000 : 0, b >> 4 & 3);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!m)
        make();
    uint8_t how = fuzz_u8(&f);
    struct side *s = &side[how % ARRAY_LEN(side)];
    kernel_room = KERNEL_ROOM;
    pieces_begin();
    join(s);
    kernel_room >>= how / ARRAY_LEN(side) % 8; /* how much fits at once */
    for (int i = 0; i < 100 && f.n; i++)
        act(&f, s);
    return 0;
}
