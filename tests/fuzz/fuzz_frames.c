/* SPDX-License-Identifier: MIT */
/* Frames by datagrams, hubs and captures: one port of a learning hub leads to
 * datagrams, two are NICs', one of them captured to a FIFO whose reader is
 * slow. Every buffer is in memory of just its size, and what the FIFO gives
 * must be a capture, whatever was left out. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/iov.h"
#include "net/dgram.h"
#include "net/list.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/pieces.h"

#define MAXLEN 96 /* of a captured frame */

static struct machine *m;
static struct netdev *nic[2];
static int peer;               /* the datagrams' other end */
static int fifo;               /* the capture's */
static uint8_t pcap[1u << 20]; /* read of it and not yet looked at */
static size_t npcap;
static bool header; /* the file's has been seen */

static struct netdev *open_one(const struct netdev_class *c, const char *text)
{
    struct opts o;
    struct netdev *nd = NULL;
    CHECK_EQ(opts_parse(&o, "fuzz", text, NULL), 0);
    CHECK_EQ(netdev_new(c, &o, &nd), 0);
    CHECK_EQ(c->open(nd, m->loop), 0);
    return nd;
}

static struct sockaddr_in port(uint16_t n)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons(n)};
}

static void make(void)
{
    char text[128], dump[192];
    struct opts o;
    struct dump *d = NULL;
    struct sockaddr_in at = port(2);
    m = fake_new(4096);
    peer = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQ(bind(peer, (struct sockaddr *)&at, sizeof(at)), 0);
    open_one(&dgram_class,
             "id=d,local.type=inet,local.host=127.0.0.1,local.port=1,"
             "remote.type=inet,remote.host=127.0.0.1,remote.port=2");
    open_one(&hubport_class, "id=p,hubid=1,netdev=d,learn=on");
    nic[0] = open_one(&hubport_class, "id=n0,hubid=1");
    nic[1] = open_one(&hubport_class, "id=n1,hubid=1");
    snprintf(text, sizeof(text), "/tmp/vmm-fuzz.%d", (int)getpid());
    CHECK_EQ(mkfifo(text, 0600), 0);
    snprintf(dump, sizeof(dump), "netdev=n0,file=%s,maxlen=%d", text, MAXLEN);
    CHECK_EQ(opts_parse(&o, "fuzz", dump, NULL), 0);
    CHECK_EQ(dump_new(&o, &d), 0);
    CHECK_EQ(dump_open(d), 0);
    fifo = open(text, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK(fifo >= 0);
    unlink(text);
}

/* Pieces with addresses that ports know where a frame may begin: in the first,
 * or, behind a header of its own, in the second. */
static int pieces(struct fuzz *f, struct iovec *iov)
{
    int n = pieces_make(f, iov, 0);
    for (int i = 0; i < n && i < 2; i++)
        for (size_t k = 0; iov[i].iov_len > 26 && k < 26; k++)
            piece[i][k] = fuzz_u8(f) & 3;
    return n;
}

static void nic_does(struct fuzz *f, bool send)
{
    struct iovec iov[PIECES];
    struct netbe *be = nic[fuzz_u8(f) & 1]->q[0];
    int n = pieces(f, iov);
    size_t len = iov_len(iov, n);
    ssize_t r = send ? be->send(be, iov, n) : be->recv(be, iov, n);
    if (r > 0) {
        CHECK(r > NET_HDR_LEN);
        CHECK((size_t)r <= len);
        CHECK(!send || (size_t)r == len);
    }
    pieces_end(iov, n);
}

/* A datagram from the wire, of any length. */
static void wire(struct fuzz *f)
{
    struct iovec iov[PIECES];
    int n = pieces(f, iov);
    struct sockaddr_in to = port(1);
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = (size_t)n,
                         .msg_name = &to,
                         .msg_namelen = sizeof(to)};
    sendmsg(peer, &msg, MSG_DONTWAIT);
    pieces_end(iov, n);
    fake_run_loop(m);
}

static uint32_t word(size_t at)
{
    uint32_t w;
    memcpy(&w, pcap + at, sizeof(w));
    return w;
}

/* Whole records, one behind the other. */
static void look_at_capture(void)
{
    size_t at = 0;
    if (!header && npcap >= 24) {
        CHECK_EQ(word(0), 0xa1b2c3d4);
        CHECK_EQ(word(16), MAXLEN);
        header = true;
        at = 24;
    }
    while (header && npcap - at >= 16) {
        uint32_t kept = word(at + 8), len = word(at + 12);
        CHECK(word(at + 4) < 1000000);
        CHECK(len > 0 && len <= NET_FRAME_MAX);
        REQUIRE(kept == (len < MAXLEN ? len : MAXLEN));
        if (npcap - at - 16 < kept)
            break;
        at += 16 + kept;
    }
    npcap -= at;
    memmove(pcap, pcap + at, npcap);
}

static void read_capture(size_t want)
{
    if (want > sizeof(pcap) - npcap)
        want = sizeof(pcap) - npcap;
    ssize_t r = read(fifo, pcap + npcap, want);
    if (r > 0)
        npcap += (size_t)r;
    look_at_capture();
}

static void drain(void)
{
    static uint8_t b[70000];
    while (recv(peer, b, sizeof(b), MSG_DONTWAIT) >= 0)
        continue;
}

/* Nothing under way, nobody known to the hub. */
static void begin(void)
{
    static uint8_t b[NET_HDR_LEN + NET_FRAME_MAX];
    struct iovec iov = {b, sizeof(b)};
    pieces_begin();
    drain();
    fake_run_loop(m);
    for (int i = 0; i < 2; i++)
        while (nic[i]->q[0]->recv(nic[i]->q[0], &iov, 1) > 0)
            continue;
    fake_advance_ns(301000000000); /* longer than a hub remembers */
    read_capture(sizeof(pcap));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!m)
        make();
    begin();
    for (int i = 0; i < 100 && f.n; i++) {
        uint8_t b = fuzz_u8(&f);
        switch (b & 7) {
        case 0:
        case 1:
            nic_does(&f, true);
            break;
        case 2:
        case 3:
            nic_does(&f, false);
            break;
        case 4:
            wire(&f);
            break;
        case 5:
            read_capture(fuzz_u16(&f));
            break;
        case 6:
            fake_advance_ns((uint64_t)b << 34);
            break;
        default:
            drain();
        }
    }
    return 0;
}
