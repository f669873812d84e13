/* SPDX-License-Identifier: MIT */
/* vsock's connections and their bytes (virtio 1.2 §5.10.6), with a driver that
 * is the test and processes at real sockets. */
#include "tests/unit/devices/virtio_vsock/vs.h"

#define SECOND 1000000000ull
#define EVENT_IDX F(VIRTIO_F_EVENT_IDX)

static uint64_t count(struct vs *s, const char *name)
{
    return vd_count(&s->d, name);
}

/* ------------------------------------------------------- what it is */

TEST(vsock_5_10_identity_queues_configuration_features)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    struct vd *d = &s.d;
    CHECK_EQ(drv_cfg_read(d->m, d->slot, PCI_DEVICE_ID, 2), 0x1053);
    CHECK_EQ(drv_cfg_read(d->m, d->slot, PCI_CLASS, 3), 0x078000);
    CHECK(drv_cfg_read(d->m, d->slot, PCI_REVISION_ID, 1) >= 1);
    CHECK_EQ(d->nq, 3);
    CHECK_EQ(guest_read(d->m, false, d->config, 4), 3);
    CHECK_EQ(guest_read(d->m, false, d->config + 4, 4), 0);
    uint64_t f = vd_offered(d);
    CHECK(has(f, VIRTIO_F_VERSION_1) && has(f, VIRTIO_F_EVENT_IDX) &&
          has(f, VIRTIO_F_INDIRECT_DESC));
    CHECK_EQ(f & 7, 0); /* STREAM, SEQPACKET, NO_IMPLIED_STREAM */
    CHECK(!has(f, VIRTIO_F_IN_ORDER));
    vs_free(&s);
}

TEST(vsock_options_that_cannot_be)
{
    static const char *const bad[][2] = {
        {"uds_path=/tmp/x", "guest-cid=N is missing"},
        {"guest-cid=3", "uds_path=PATH is missing"},
        {"guest-cid=2,uds_path=/tmp/x", "guest-cid 2: must be"},
        {"guest-cid=4294967295,uds_path=/tmp/x", "guest-cid 4294967295: must"},
        {"guest-cid=3,uds_path=/tmp/x,disable-legacy=off",
         "disable-legacy=off"},
        {"guest-cid=3,uds_path=/tmp/x,disable-modern=on", "disable-modern=on"},
        {"guest-cid=3,uds_path=/tmp/x,connections=0", "connections 0: must"},
        {"guest-cid=3,uds_path=/nonexistent/x", "cannot listen: No such file"},
        /* it fits, with _PORT it does not */
        {"guest-cid=3,uds_path=/tmp/123456789012345678901234567890123456789012"
         "34567890123456789012345678901234567890123456789012",
         "with _4294967295 behind it has at most 107"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct machine *m = fake_pc(1 << 20);
        CHECK(fake_device(m, &virtio_vsock_class, "vsock", bad[i][0]) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
        fake_free(m);
    }
}

TEST(vsock_uds_path_that_is_live_is_refused_and_one_that_is_not_is_taken)
{
    struct vs s = {0}, other = {0};
    vs_up(&s, false, 0);
    struct machine *m = fake_pc(1 << 20);
    snprintf(other.text, sizeof(other.text), "guest-cid=4,uds_path=%s", s.path);
    CHECK_EQ(fake_device(m, &virtio_vsock_class, "vsock", other.text),
             -EADDRINUSE);
    CHECK_HAS(test_log(), "another process listens there; end it");
    int fd = vs_dial(&s); /* it still does */
    close(fd);
    fake_run_loop(s.m);
    vs_free(&s);
    int dead = vs_listen(&s, 1);
    char path[120];
    snprintf(path, sizeof(path), "%s_1", s.path);
    close(dead);
    CHECK_EQ(rename(path, s.path), 0);
    fake_free(m);
    struct vs again = {0};
    vs_up(&again, false, 0);
    vs_free(&again);
}

TEST(vsock_uds_path_that_is_no_socket_is_refused_with_what_to_do)
{
    char path[] = "/tmp/vmm-vsock-XXXXXX", text[64];
    struct machine *m = fake_pc(1 << 20);
    for (int dir = 0; dir < 2; dir++) {
        memcpy(path + strlen(path) - 6, "XXXXXX", 6);
        int fd = dir ? -1 : mkstemp(path);
        if (dir)
            REQUIRE(mkdtemp(path) != NULL);
        else
            REQUIRE_EQ(close(fd), 0);
        snprintf(text, sizeof(text), "guest-cid=4,uds_path=%s", path);
        CHECK_EQ(fake_device(m, &virtio_vsock_class, "vsock", text),
                 -EADDRINUSE);
        CHECK_HAS(test_log(), dir ? "is a directory; name a file in it"
                                  : "no socket; remove it, or name another");
        CHECK_EQ(dir ? rmdir(path) : unlink(path), 0); /* it is still there */
    }
    fake_free(m);
}

/* ------------------------------------------------------- host to guest */

BOTH_RINGS(vsock_connect_from_the_host_and_bytes_both_ways)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, packed, EVENT_IDX);
    int fd = vs_connect(&s, 52, &port);
    CHECK(port >= 1u << 30);
    CHECK_EQ(vd_irqs(&s.d, VSOCK_RX), 1);
    vs_say(fd, "hello");
    fake_run_loop(s.m);
    struct vs_packet *p = vs_want(&s, VSOCK_OP_RW, 52, port);
    CHECK_EQ(p->h.len, 5);
    CHECK_MEM(p->data, "hello", 5);
    CHECK_EQ(p->h.buf_alloc, 65536);
    CHECK_EQ(p->h.fwd_cnt, 0); /* "OK" is none of the guest's */
    vs_data(&s, 52, port, "world", 5);
    vs_hears(fd, "world");
    vs_say(fd, "!");
    fake_run_loop(s.m);
    CHECK_EQ(vs_want(&s, VSOCK_OP_RW, 52, port)->h.fwd_cnt, 5);
    vs_want_none(&s);
    CHECK_EQ(count(&s, "host_connects"), 1);
    CHECK_EQ(count(&s, "rx_bytes"), 6);
    CHECK_EQ(count(&s, "tx_bytes"), 5);
    close(fd);
    vs_free(&s);
}

TEST(vsock_connect_lines_as_clients_write_them)
{
    static const char *const good[] = {
        "CONNECT 52\n",   "connect 52\n",
        "Connect 52\r\n", "CONNECT   52  \n",
        "CONNECT\t52\n",  "CONNECT 00000000000000000000052\n"};
    static const char *const bad[] = {
        "\n",
        "CONNECT\n",
        "CONNECT \n",
        "CONNECT x\n",
        "CONNECT -1\n",
        "CONNECT 52x\n",
        "CONNECT 52 53\n",
        "CONNECT52\n",
        "HELLO 52\n",
        "GET / HTTP\n",
        "CONNECT 4294967296\n",
        "CONNECT 000000000000000000000052\n" /* longer than 32 */};
    struct vs s = {0};
    vs_up(&s, false, 0);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int fd = vs_dial(&s);
        vs_say(fd, good[i]);
        fake_run_loop(s.m);
        uint32_t port = vs_want(&s, VSOCK_OP_REQUEST, 52, 0)->h.src_port;
        vs_send(&s, VSOCK_OP_RST, 52, port, 0);
        vs_hears(fd, NULL); /* refused, and not a word */
        close(fd);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int fd = vs_dial(&s);
        vs_say(fd, bad[i]);
        fake_run_loop(s.m);
        vs_want_none(&s);
        vs_hears(fd, NULL);
        close(fd);
    }
    vs_free(&s);
}

/* In pieces, with others in between, and with bytes behind it. */
TEST(vsock_connect_line_in_pieces_and_glued_to_data)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int slow = vs_dial(&s);
    for (const char *p = "CONNECT 7"; *p; p++) {
        CHECK_EQ(send(slow, p, 1, 0), 1);
        fake_run_loop(s.m);
        vs_want_none(&s);
    }
    int fd = vs_connect(&s, 8, &port); /* which it does not hold up */
    vs_say(slow, "7\nbytes");
    fake_run_loop(s.m);
    uint32_t at = vs_want(&s, VSOCK_OP_REQUEST, 77, 0)->h.src_port;
    CHECK_NE(at, port);
    vs_want_none(&s); /* not before it has answered */
    vs_send(&s, VSOCK_OP_RESPONSE, 77, at, 0);
    struct vs_packet *p = vs_want(&s, VSOCK_OP_RW, 77, at);
    CHECK_EQ(p->h.len, 5);
    CHECK_MEM(p->data, "bytes", 5);
    close(slow);
    close(fd);
    vs_free(&s);
}

TEST(vsock_client_that_goes_before_its_line_is_whole)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    for (int i = 0; i < 3; i++) {
        int fd = vs_dial(&s);
        if (i)
            vs_say(fd, "CONNECT 5");
        if (i == 2)
            fake_run_loop(s.m);
        close(fd);
        fake_run_loop(s.m);
        vs_want_none(&s);
    }
    CHECK_EQ(count(&s, "refused"), 3);
    vs_free(&s);
}

TEST(vsock_client_before_the_driver_is_there_is_hung_up_on)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    vd_set(&s.d, C_STATUS, 1, 0);
    fake_run_loop(s.m);
    int fd = vs_dial(&s);
    vs_say(fd, "CONNECT 52\n");
    fake_run_loop(s.m);
    vs_hears(fd, NULL);
    close(fd);
    vs_again(&s, 0);
    uint32_t port;
    close(vs_connect(&s, 52, &port));
    vs_free(&s);
}

TEST(vsock_guest_that_does_not_answer_has_two_seconds)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    int fd = vs_dial(&s);
    vs_say(fd, "CONNECT 52\n");
    fake_run_loop(s.m);
    uint32_t port = vs_want(&s, VSOCK_OP_REQUEST, 52, 0)->h.src_port;
    fake_sleep_ns(s.m, 2 * SECOND - SECOND / 10);
    vs_hears(fd, "");
    fake_sleep_ns(s.m, SECOND / 5);
    vs_hears(fd, NULL);
    vs_want(&s, VSOCK_OP_RST, 52, port);
    vs_send(&s, VSOCK_OP_RESPONSE, 52, port, 0); /* too late */
    vs_want(&s, VSOCK_OP_RST, 52, port);
    close(fd);
    vs_free(&s);
}

/* ------------------------------------------------------- guest to host */

BOTH_RINGS(vsock_connect_from_the_guest_and_bytes_both_ways)
{
    struct vs s = {0};
    vs_up(&s, packed, 0);
    int fd = vs_connect_out(&s, 1024, 80);
    vs_data(&s, 1024, 80, "abc", 3);
    vs_hears(fd, "abc");
    vs_say(fd, "def");
    fake_run_loop(s.m);
    CHECK_MEM(vs_want(&s, VSOCK_OP_RW, 1024, 80)->data, "def", 3);
    vs_send(&s, VSOCK_OP_RST, 1024, 80, 0);
    vs_hears(fd, NULL);
    vs_want_none(&s);
    close(fd);
    vs_free(&s);
}

TEST(vsock_guest_to_a_port_where_nobody_listens)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    for (int i = 0; i < 3; i++) {
        struct vs_packet p = {.h.op = 0};
        if (i == 1)
            close(vs_listen(&s, 81)); /* a file that is left of one */
        vs_send(&s, VSOCK_OP_REQUEST, 1024, 81, 0);
        FAKE_SOON(s.m, vs_get(&s, &p));
        CHECK_EQ(p.h.op, VSOCK_OP_RST);
        CHECK_EQ(p.h.src_port, 81);
        CHECK_EQ(p.h.dst_port, 1024);
    }
    CHECK_EQ(count(&s, "refused"), 3);
    close(vs_connect_out(&s, 1024, 81));
    vs_free(&s);
}

/* Listeners of few places have more come than they have room for. */
TEST(vsock_guest_waits_for_a_place_at_a_listener)
{
    struct vs s = {0};
    struct vs_packet p = {.h.op = 0};
    vs_up(&s, false, 0);
    int l = vs_listen(&s, 82), got[4];
    REQUIRE_EQ(listen(l, 1), 0); /* which is two places */
    for (uint32_t i = 0; i < 4; i++)
        vs_send(&s, VSOCK_OP_REQUEST, 100 + i, 82, 0);
    for (int i = 0; i < 2; i++) {
        FAKE_SOON(s.m, vs_get(&s, &p));
        CHECK_EQ(p.h.op, VSOCK_OP_RESPONSE);
    }
    usleep(20000);
    fake_sleep_ns(s.m, SECOND / 10);
    vs_want_none(&s);
    for (int i = 0; i < 4; i++) {
        FAKE_SOON(s.m, (fake_sleep_ns(s.m, SECOND / 50),
                        (got[i] = accept4(l, NULL, NULL,
                                          SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0));
    }
    for (int i = 2; i < 4; i++) {
        FAKE_SOON(s.m, vs_get(&s, &p));
        CHECK_EQ(p.h.op, VSOCK_OP_RESPONSE);
        close(got[i]);
    }
    close(got[0]);
    close(got[1]);
    close(l);
    vs_free(&s);
}

TEST(vsock_5_10_6_packets_for_nobody_get_a_rst)
{
    struct vs s = {0};
    struct vs_packet p;
    vs_up(&s, false, 0);
    struct vsock_hdr h = {
        .src_cid = 3, .dst_cid = 2, .src_port = 9, .dst_port = 10, .type = 1};
    for (unsigned op = 0; op < 12; op++) {
        if (op == VSOCK_OP_REQUEST)
            continue;
        h.op = (le16)op;
        vs_send_raw(&s, &h, NULL, 0);
        if (op != VSOCK_OP_RST)
            vs_want(&s, VSOCK_OP_RST, 9, 10);
        vs_want_none(&s);
    }
    h.op = VSOCK_OP_REQUEST;
    h.dst_cid = 77; /* another guest */
    vs_send_raw(&s, &h, NULL, 0);
    REQUIRE(vs_get(&s, &p));
    CHECK_EQ(p.h.op, VSOCK_OP_RST);
    CHECK_EQ(p.h.src_cid, 77);
    h.dst_cid = 2;
    h.type = 2; /* SEQPACKET */
    vs_send_raw(&s, &h, NULL, 0);
    REQUIRE(vs_get(&s, &p));
    CHECK_EQ(p.h.op, VSOCK_OP_RST);
    CHECK_EQ(p.h.type, 2);
    h.type = 1;
    h.src_cid = 4; /* not this guest's own */
    vs_send_raw(&s, &h, NULL, 0);
    vs_want_none(&s);
    CHECK_EQ(count(&s, "tx_bad"), 1);
    vs_free(&s);
}

/* ---------------------------------------------------------------- credit */

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

/* Everything there is to read is what fill() made from byte `at` on. */
static size_t drain(int fd, size_t at)
{
    static uint8_t got[300000], want[300000];
    ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);
    if (n <= 0)
        return 0;
    fill(want, sizeof(want), 0);
    REQUIRE(at + (size_t)n <= sizeof(want));
    CHECK_MEM(got, want + at, (size_t)n);
    return (size_t)n;
}

/* The guest's counter is just before it wraps. */
TEST(vsock_5_10_6_3_never_more_to_the_guest_than_it_has_room_for)
{
    static uint8_t bytes[300000];
    struct vs s = {.alloc = 10000};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    fill(bytes, sizeof(bytes), 0);
    size_t said = 0, got = 0;
    for (int round = 0; round < 20; round++) {
        ssize_t n = send(fd, bytes + said, sizeof(bytes) - said, MSG_DONTWAIT);
        said += n > 0 ? (size_t)n : 0;
        fake_run_loop(s.m);
        static struct vs_packet p;
        size_t before = got;
        while (vs_get(&s, &p) && p.h.op == VSOCK_OP_RW) {
            CHECK_MEM(p.data, bytes + got, p.h.len);
            got += p.h.len;
        }
        CHECK_EQ(got - before, 10000);
        CHECK_EQ(p.h.op, VSOCK_OP_CREDIT_REQUEST); /* once */
        vs_want_none(&s);
        vs_send(&s, VSOCK_OP_CREDIT_UPDATE, 52, port, 0); /* no news */
        vs_want_none(&s);
        s.fwd = (uint32_t)got;
        vs_send(&s, VSOCK_OP_CREDIT_UPDATE, 52, port, 0);
    }
    /* What contradicts itself is no room at all. */
    static const uint32_t lies[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
    static struct vs_packet p;
    while (vs_get(&s, &p))
        got += p.h.len;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        s.fwd = (uint32_t)got + 1 + lies[i];
        s.alloc = 100;
        vs_send(&s, VSOCK_OP_CREDIT_UPDATE, 52, port, 0);
        while (vs_get(&s, &p))
            CHECK(p.h.len <= 100);
    }
    close(fd);
    vs_free(&s);
}

TEST(vsock_5_10_6_3_counters_wrap)
{
    struct vs s = {.alloc = 0x10000};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    struct vsock *v = container_of(s.d.dev, struct vsock, v.dev);
    struct vsock_conn *c = vsock_conn_find(v, 52, port);
    REQUIRE(c != NULL);
    c->sent = s.fwd = 0xfffffff0;
    c->taken = c->told = 0xffffff00;
    vs_send(&s, VSOCK_OP_CREDIT_UPDATE, 52, port, 0);
    vs_say(fd, "0123456789012345678901234567890123456789");
    fake_run_loop(s.m);
    CHECK_EQ(vs_want(&s, VSOCK_OP_RW, 52, port)->h.len, 40);
    CHECK_EQ(c->sent, 24);
    s.fwd = 24;
    char big[40000];
    memset(big, 'x', sizeof(big));
    vs_data(&s, 52, port, big, sizeof(big));
    CHECK_EQ(vs_want(&s, VSOCK_OP_CREDIT_UPDATE, 52, port)->h.fwd_cnt,
             sizeof(big) - 0x100);
    close(fd);
    vs_free(&s);
}

/* Half of what it may have on its way is through: it is told. */
TEST(vsock_5_10_6_3_the_guest_is_told_in_time_that_it_may_go_on)
{
    static char big[32768];
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    vs_data(&s, 52, port, big, sizeof(big) - 1);
    vs_want_none(&s);
    vs_data(&s, 52, port, big, 1);
    CHECK_EQ(vs_want(&s, VSOCK_OP_CREDIT_UPDATE, 52, port)->h.fwd_cnt, 32768);
    vs_send(&s, VSOCK_OP_CREDIT_REQUEST, 52, port, 0);
    CHECK_EQ(vs_want(&s, VSOCK_OP_CREDIT_UPDATE, 52, port)->h.fwd_cnt, 32768);
    vs_want_none(&s);
    close(fd);
    vs_free(&s);
}

/* A process that does not read: its socket, then 64 KiB here, then nothing any
 * more; and all of it comes when it does. */
TEST(vsock_host_process_that_does_not_read_holds_up_only_its_guest)
{
    static uint8_t bytes[300000];
    struct vs s = {0};
    uint32_t port, other;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port), fd2 = vs_connect(&s, 53, &other);
    int room = 4608;
    struct vsock *v = container_of(s.d.dev, struct vsock, v.dev);
    struct vsock_conn *c = vsock_conn_find(v, 52, port);
    setsockopt(c->ev.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    fill(bytes, sizeof(bytes), 0);
    uint32_t sent = 0, told = 0;
    static struct vs_packet p;
    while (sent - told < 65536) { /* as much as it may */
        uint32_t n =
            65536 - (sent - told) < 5000 ? 65536 - (sent - told) : 5000;
        vs_data(&s, 52, port, bytes + sent, n);
        sent += n;
        while (vs_get(&s, &p))
            told = p.h.fwd_cnt;
    }
    CHECK(c->fill > 0 && c->fill <= 65536);
    CHECK_EQ(fake_run_loop(s.m), 0); /* at rest */
    vs_data(&s, 53, other, "x", 1);
    vs_hears(fd2, "x");
    size_t got = 0, n;
    while ((n = drain(fd, got)) > 0) {
        got += n;
        fake_run_loop(s.m);
    }
    CHECK_EQ(got, sent);
    CHECK(!c->buf);
    while (vs_get(&s, &p))
        told = p.h.fwd_cnt;
    CHECK(sent - told < 32768);
    close(fd);
    close(fd2);
    vs_free(&s);
}

TEST(vsock_guest_that_sends_more_than_it_may_is_reset)
{
    static uint8_t bytes[70000];
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    vs_data(&s, 52, port, bytes, 65537);
    vs_want(&s, VSOCK_OP_RST, 52, port);
    vs_hears(fd, NULL);
    vs_data(&s, 52, port, bytes, 1);
    vs_want(&s, VSOCK_OP_RST, 52, port);
    CHECK_EQ(count(&s, "resets"), 1);
    close(fd);
    vs_free(&s);
}

/* ---------------------------------------------------------------- buffers */

/* Without a buffer of the guest's nothing is read, and nobody turns in circles;
 * with one the bytes come, cut to what it holds. */
BOTH_RINGS(vsock_bytes_wait_in_their_socket_for_a_buffer)
{
    struct vs s = {.rx_len = 200, .rx_count = 1};
    uint32_t port;
    vs_up(&s, packed, EVENT_IDX);
    int fd = vs_connect(&s, 52, &port);
    struct vd_queue *q = &s.d.q[VSOCK_RX];
    char text[500];
    memset(text, 'a', sizeof(text));
    CHECK_EQ(send(fd, text, sizeof(text), 0), sizeof(text));
    fake_run_loop(s.m);
    int id;
    uint32_t len;
    REQUIRE(vd_used(q, &id, &len));
    CHECK_EQ(len, 200);
    uint64_t room = s.at[id];
    CHECK(!vd_used(q, &id, &len));
    CHECK_EQ(fake_run_loop(s.m), 0);
    CHECK_EQ(send(fd, text, 1, 0), 1); /* more of it is no news for long */
    CHECK(fake_run_loop(s.m) <= 2);
    size_t got = 156;
    for (int i = 0; i < 3; i++) {
        struct vd_buf b = {room, 200, true};
        REQUIRE(vd_add(q, &b, 1) >= 0);
        CHECK(vd_kick_wanted(q, 1));
        vd_kick(&s.d, VSOCK_RX);
        REQUIRE(vd_used(q, &id, &len));
        got += len - VSOCK_HDR_LEN;
    }
    CHECK_EQ(got, 501);
    close(fd);
    vs_free(&s);
}

/* Header and data cut anywhere, direct and indirect, both ways. */
BOTH_RINGS(vsock_2_6_4_packets_in_pieces)
{
    struct vs s = {.no_rx = true};
    uint32_t port;
    vs_up(&s, packed, F(VIRTIO_F_INDIRECT_DESC));
    struct vd *d = &s.d;
    vs_post_all(&s);
    int fd = vs_connect(&s, 52, &port);
    vd_reap(&d->q[VSOCK_RX]);
    struct vsock_hdr h = {.src_cid = 3,
                          .dst_cid = 2,
                          .src_port = 52,
                          .dst_port = port,
                          .len = 100,
                          .type = 1,
                          .op = VSOCK_OP_RW,
                          .buf_alloc = 65536};
    uint8_t bytes[144], got[144];
    fill(bytes, sizeof(bytes), 0);
    memcpy(bytes, &h, VSOCK_HDR_LEN);
    for (uint32_t step = 1; step <= 144; step += step < 50 ? 1 : 47) {
        struct vd_buf b[144];
        unsigned n = 0;
        uint64_t at = vd_alloc(d, 145ull * 2, 1);
        for (uint32_t off = 0; off < 144; off += step, at += step + 1) {
            uint32_t len = 144 - off < step ? 144 - off : step;
            memcpy(vd_ram(d, at, len), bytes + off, len);
            b[n++] = (struct vd_buf){at, len, false};
        }
        if (n > 60 || step & 1)
            REQUIRE(vd_put_indirect(&d->q[VSOCK_TX], b, n) >= 0);
        else
            REQUIRE(vd_put(&d->q[VSOCK_TX], b, n) >= 0);
        vd_publish(&d->q[VSOCK_TX]);
        vd_kick(d, VSOCK_TX);
        CHECK_EQ(vd_reap(&d->q[VSOCK_TX]), 1);
        CHECK_EQ(recv(fd, got, sizeof(got), MSG_DONTWAIT), 100);
        CHECK_MEM(got, bytes + 44, 100);
    }
    close(fd);
    vs_free(&s);
}

BOTH_RINGS(vsock_2_6_4_receive_buffers_in_pieces_and_too_short_ones)
{
    struct vs s = {.no_rx = true, .rx_count = 1};
    uint32_t port;
    vs_up(&s, packed, F(VIRTIO_F_INDIRECT_DESC));
    struct vd_queue *q = &s.d.q[VSOCK_RX];
    vs_post_all(&s);
    int fd = vs_connect(&s, 52, &port), id;
    uint32_t len;
    /* The one that is there now is used up. */
    vs_say(fd, "x");
    fake_run_loop(s.m);
    CHECK(vd_used(q, &id, &len));
    vs_say(fd, "0123456789");
    fake_run_loop(s.m);
    uint64_t at = vd_alloc(&s.d, 200, 1);
    struct vd_buf shorter = {at, VSOCK_HDR_LEN, true};
    CHECK(vd_add(q, &shorter, 1) >= 0);
    struct vd_buf readable = {at, 100, false};
    CHECK(vd_add(q, &readable, 1) >= 0);
    vd_kick(&s.d, VSOCK_RX);
    for (int i = 0; i < 2; i++) {
        CHECK(vd_used(q, &id, &len));
        CHECK_EQ(len, 0);
    }
    CHECK_EQ(count(&s, "rx_short"), 2);
    struct vd_buf b[60];
    for (unsigned i = 0; i < 60; i++) /* 44 of the header, 10, and 6 */
        b[i] = (struct vd_buf){at + 3ull * i, 1, true};
    CHECK(vd_put_indirect(q, b, 60) >= 0);
    vd_publish(q);
    vd_kick(&s.d, VSOCK_RX);
    CHECK(vd_used(q, &id, &len));
    CHECK_EQ(len, 54);
    for (unsigned i = 44; i < 54; i++)
        CHECK_EQ(*(char *)vd_ram(&s.d, b[i].at, 1), "0123456789"[i - 44]);
    CHECK_EQ(*(char *)vd_ram(&s.d, b[54].at, 1), 0);
    close(fd);
    vs_free(&s);
}

/* Each has its turn: one packet, then the next one. */
TEST(vsock_streams_take_turns)
{
    struct vs s = {.rx_len = 100, .rx_count = 1};
    uint32_t port[3];
    int fd[3];
    char text[560];
    vs_up(&s, false, 0);
    memset(text, 'a', sizeof(text));
    for (unsigned i = 0; i < 3; i++)
        fd[i] = vs_connect(&s, i, &port[i]);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(send(fd[i], text, sizeof(text), 0), sizeof(text));
    fake_run_loop(s.m);
    unsigned n[3] = {0};
    static struct vs_packet p;
    for (unsigned i = 0; i < 30; i++) {
        REQUIRE(vs_get(&s, &p));
        CHECK_EQ(p.h.len, 56);
        n[p.h.dst_port]++;
        CHECK(n[0] + 2 >= n[1] && n[1] + 2 >= n[2] && n[2] + 2 >= n[0]);
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(n[i], 10);
        close(fd[i]);
    }
    vs_free(&s);
}

/* ---------------------------------------------------------------- the end */

/* `socat -u`: it sends and goes, and has never read its "OK". */
TEST(vsock_client_that_sends_and_goes_is_heard_to_the_end)
{
    struct vs s = {.rx_len = 100};
    vs_up(&s, false, 0);
    for (int late = 0; late < 2; late++) {
        int fd = vs_dial(&s);
        vs_say(fd, "CONNECT 52\n");
        char text[400];
        memset(text, 'a', sizeof(text));
        CHECK_EQ(send(fd, text, sizeof(text), 0), sizeof(text));
        if (!late)
            close(fd);
        fake_run_loop(s.m);
        uint32_t port = vs_want(&s, VSOCK_OP_REQUEST, 52, 0)->h.src_port;
        vs_send(&s, VSOCK_OP_RESPONSE, 52, port, 0);
        if (late)
            close(fd);
        fake_run_loop(s.m);
        size_t got = 0;
        while (got < sizeof(text))
            got += vs_want(&s, VSOCK_OP_RW, 52, port)->h.len;
        CHECK_EQ(got, sizeof(text));
        CHECK_EQ(vs_want(&s, VSOCK_OP_SHUTDOWN, 52, port)->h.flags,
                 VSOCK_SHUT_BOTH);
        vs_want_none(&s);
        if (late) /* a guest that agrees */
            vs_send(&s, VSOCK_OP_RST, 52, port, 0);
        else /* and one that does not, in two seconds */
            fake_sleep_ns(s.m, 2 * SECOND + 1);
        if (!late)
            vs_want(&s, VSOCK_OP_RST, 52, port);
        vs_want_none(&s);
    }
    vs_free(&s);
}

/* Its last bytes wait for credit: until they are through, the guest hears of no
 * end. */
TEST(vsock_client_that_goes_while_the_guest_has_no_room)
{
    struct vs s = {.alloc = 100};
    uint32_t port;
    char text[150];
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    memset(text, 'a', sizeof(text));
    CHECK_EQ(send(fd, text, sizeof(text), 0), sizeof(text));
    close(fd);
    fake_run_loop(s.m);
    CHECK_EQ(vs_want(&s, VSOCK_OP_RW, 52, port)->h.len, 100);
    vs_want(&s, VSOCK_OP_CREDIT_REQUEST, 52, port);
    fake_sleep_ns(s.m, 5 * SECOND);
    vs_want_none(&s);
    CHECK_EQ(fake_run_loop(s.m), 0);
    s.fwd = 100;
    vs_send(&s, VSOCK_OP_CREDIT_UPDATE, 52, port, 0);
    CHECK_EQ(vs_want(&s, VSOCK_OP_RW, 52, port)->h.len, 50);
    CHECK_EQ(vs_want(&s, VSOCK_OP_SHUTDOWN, 52, port)->h.flags,
             VSOCK_SHUT_BOTH);
    vs_want_none(&s);
    vs_free(&s);
}

TEST(vsock_half_closed_by_the_host_goes_on_the_other_way)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    vs_say(fd, "question");
    shutdown(fd, SHUT_WR);
    fake_run_loop(s.m);
    vs_want(&s, VSOCK_OP_RW, 52, port);
    CHECK_EQ(vs_want(&s, VSOCK_OP_SHUTDOWN, 52, port)->h.flags,
             VSOCK_SHUT_SEND);
    fake_sleep_ns(s.m, 5 * SECOND);
    vs_want_none(&s);
    vs_data(&s, 52, port, "answer", 6);
    vs_hears(fd, "answer");
    vs_send(&s, VSOCK_OP_SHUTDOWN, 52, port, VSOCK_SHUT_BOTH);
    vs_want(&s, VSOCK_OP_RST, 52, port);
    vs_hears(fd, NULL);
    close(fd);
    vs_free(&s);
}

TEST(vsock_half_closed_by_the_guest_goes_on_the_other_way)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    vs_data(&s, 52, port, "question", 8);
    vs_send(&s, VSOCK_OP_SHUTDOWN, 52, port, VSOCK_SHUT_SEND);
    vs_hears(fd, "question");
    vs_hears(fd, NULL); /* its end */
    vs_say(fd, "answer");
    fake_run_loop(s.m);
    vs_want(&s, VSOCK_OP_RW, 52, port);
    vs_want_none(&s);
    close(fd);
    fake_run_loop(s.m);
    CHECK_EQ(vs_want(&s, VSOCK_OP_SHUTDOWN, 52, port)->h.flags,
             VSOCK_SHUT_BOTH);
    vs_send(&s, VSOCK_OP_RST, 52, port, 0);
    int fd2 = vs_connect(&s, 53, &port); /* what it may not after that */
    vs_send(&s, VSOCK_OP_SHUTDOWN, 53, port, VSOCK_SHUT_SEND);
    vs_data(&s, 53, port, "more", 4);
    vs_want(&s, VSOCK_OP_RST, 53, port);
    close(fd2);
    int fd3 = vs_connect(&s, 54, &port); /* it will not listen */
    vs_send(&s, VSOCK_OP_SHUTDOWN, 54, port, VSOCK_SHUT_RCV);
    fake_run_loop(s.m);
    CHECK_EQ(send(fd3, "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
    vs_data(&s, 54, port, "talks", 5);
    vs_hears(fd3, "talks");
    close(fd3);
    vs_free(&s);
}

/* The guest closes while its last bytes still wait here; then it gives up. */
TEST(vsock_last_bytes_are_given_though_the_guest_has_gone)
{
    static uint8_t bytes[60000];
    for (int rst = 0; rst < 2; rst++) {
        struct vs s = {0};
        uint32_t port;
        vs_up(&s, false, 0);
        int fd = vs_connect(&s, 52, &port), room = 4608;
        struct vsock *v = container_of(s.d.dev, struct vsock, v.dev);
        struct vsock_conn *c = vsock_conn_find(v, 52, port);
        setsockopt(c->ev.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        fill(bytes, sizeof(bytes), 0);
        vs_data(&s, 52, port, bytes, sizeof(bytes));
        vs_send(&s, VSOCK_OP_SHUTDOWN, 52, port, VSOCK_SHUT_BOTH);
        vs_want_none(&s);
        if (rst)
            vs_send(&s, VSOCK_OP_RST, 52, port, 0);
        size_t got = 0, n;
        while ((n = drain(fd, got)) > 0) {
            got += n;
            fake_run_loop(s.m);
        }
        CHECK_EQ(got, sizeof(bytes));
        vs_hears(fd, NULL);
        if (!rst)
            vs_want(&s, VSOCK_OP_RST, 52, port);
        vs_want_none(&s);
        CHECK_EQ(v->nconn, 0);
        close(fd);
        vs_free(&s);
    }
}

/* The process is gone: the guest is told when it has heard all, and what it
 * sends until then does no harm. */
TEST(vsock_guest_sends_to_a_process_that_is_gone)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port);
    close(fd);
    vs_data(&s, 52, port, "lost", 4);
    CHECK_EQ(vs_want(&s, VSOCK_OP_SHUTDOWN, 52, port)->h.flags,
             VSOCK_SHUT_BOTH);
    vs_data(&s, 52, port, "lost", 4);
    vs_want_none(&s);
    vs_send(&s, VSOCK_OP_SHUTDOWN, 52, port, VSOCK_SHUT_BOTH);
    vs_want(&s, VSOCK_OP_RST, 52, port);
    fd = vs_connect(&s, 53, &port); /* one that only will not read */
    shutdown(fd, SHUT_RD);
    vs_data(&s, 53, port, "lost", 4);
    CHECK_EQ(vs_want(&s, VSOCK_OP_SHUTDOWN, 53, port)->h.flags, VSOCK_SHUT_RCV);
    vs_say(fd, "still here");
    fake_run_loop(s.m);
    vs_want(&s, VSOCK_OP_RW, 53, port);
    close(fd);
    vs_free(&s);
}
