/* SPDX-License-Identifier: MIT */
/* vsock through resets, rest and moves; with more connections than it takes;
 * with guests and processes that mean it harm. */
#include "base/handed.h"
#include "base/parts.h"
#include "tests/unit/devices/virtio_vsock/vs.h"
#include "tests/unit/records.h"

#include <linux/vhost.h>

#define SECOND 1000000000ull

static struct vsock *dev_of(struct vs *s)
{
    return container_of(s->d.dev, struct vsock, v.dev);
}

/* ------------------------------------------------------------------ resets */

TEST(vsock_2_4_reset_in_mid_traffic_ends_all_streams)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port), out = vs_connect_out(&s, 1000, 80);
    int asked = vs_dial(&s);
    vs_say(asked, "CONNECT 1\n");
    vs_say(fd, "on its way");
    vd_set(&s.d, C_STATUS, 1, 0);
    fake_run_loop(s.m);
    vs_hears(fd, NULL);
    vs_hears(out, NULL);
    vs_hears(asked, NULL);
    CHECK_EQ(dev_of(&s)->nconn, 0);
    vs_again(&s, 0);
    vs_want_none(&s); /* and the next driver hears nothing of them */
    vs_data(&s, 52, port, "x", 1);
    vs_want(&s, VSOCK_OP_RST, 52, port);
    close(fd), close(out), close(asked);
    fd = vs_connect(&s, 52, &port);
    close(fd);
    vs_free(&s);
}

/* What the guest had sent before it was reset is delivered. */
TEST(vsock_reset_with_bytes_that_wait_for_their_reader)
{
    static uint8_t bytes[50000];
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    int fd = vs_connect(&s, 52, &port), room = 4608;
    struct vsock_conn *c = vsock_conn_find(dev_of(&s), 52, port);
    setsockopt(c->ev.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    vs_data(&s, 52, port, bytes, sizeof(bytes));
    vd_set(&s.d, C_STATUS, 1, 0);
    fake_run_loop(s.m);
    vs_again(&s, 0);
    size_t got = 0;
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        got += (size_t)n;
        fake_run_loop(s.m);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, sizeof(bytes));
    CHECK_EQ(dev_of(&s)->nconn, 0);
    close(fd);
    vs_free(&s);
}

/* A helper's answer for a driver that is gone. */
TEST(vsock_reset_while_the_helper_connects)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    int l = vs_listen(&s, 80), fd = -1;
    for (uint32_t i = 0; i < 20; i++)
        vs_send(&s, VSOCK_OP_REQUEST, i, 80, 0);
    vd_set(&s.d, C_STATUS, 1, 0);
    usleep(50000);
    fake_run_loop(s.m);
    CHECK_EQ(dev_of(&s)->nconn, 0);
    CHECK_EQ(dev_of(&s)->dialling, 0);
    while ((fd = accept(l, NULL, NULL)) >= 0) {
        vs_hears(fd, NULL);
        close(fd);
    }
    close(l);
    vs_again(&s, 0);
    close(vs_connect_out(&s, 7, 80));
    vs_free(&s);
}

TEST(vsock_2_6_1_queue_reset_and_back)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, F(VIRTIO_F_RING_RESET));
    int fd = vs_connect(&s, 52, &port);
    vd_set(&s.d, C_QUEUE_SEL, 2, VSOCK_RX);
    vd_set(&s.d, C_QUEUE_RESET, 2, 1);
    vs_say(fd, "waits");
    CHECK(fake_run_loop(s.m) < 10);
    vd_queue_make(&s.d, VSOCK_RX, 0);
    fake_run_loop(s.m);
    vs_post_all(&s);
    CHECK_EQ(vs_want(&s, VSOCK_OP_RW, 52, port)->h.len, 5);
    close(fd);
    vs_free(&s);
}

/* ------------------------------------------------------ rest, save, move */

static unsigned events(struct vs *s)
{
    uint32_t len;
    int id;
    unsigned n = 0;
    while (vd_used(&s->d.q[VSOCK_EVENT], &id, &len)) {
        CHECK_EQ(len, 4);
        CHECK_EQ(*(le32 *)vd_ram(&s->d, s->at[VD_RING_MAX - 1], 4), 0);
        n++;
    }
    return n;
}

static void post_event(struct vs *s)
{
    uint64_t at = vd_alloc(&s->d, 4, 4);
    struct vd_buf b = {at, 4, true};
    memset(vd_ram(&s->d, at, 4), 0xee, 4);
    REQUIRE(vd_add(&s->d.q[VSOCK_EVENT], &b, 1) >= 0);
    s->at[VD_RING_MAX - 1] = at;
    vd_kick(&s->d, VSOCK_EVENT);
}

/* The guest goes on in another process: it is told that its connections are
 * gone, and its rings are looked at whatever they say of kicks. */
BOTH_RINGS(vsock_5_10_6_7_moved_the_guest_is_told_and_all_works)
{
    for (int late = 0; late < 2; late++) {
        struct vs s = {0};
        uint32_t port, again;
        vs_up(&s, packed, F(VIRTIO_F_EVENT_IDX));
        for (int i = 0; i < 40; i++) { /* event words are not zero */
            int one = vs_connect(&s, 52, &port);
            vs_send(&s, VSOCK_OP_RST, 52, port, 0);
            close(one);
        }
        int fd = vs_connect(&s, 52, &port);
        if (!late)
            post_event(&s);
        struct vd_buf b = {s.tx, VSOCK_HDR_LEN, false};
        struct vsock_hdr h = {.src_cid = 3,
                              .dst_cid = 2,
                              .src_port = 52,
                              .dst_port = port,
                              .type = 1,
                              .op = VSOCK_OP_CREDIT_REQUEST};
        memcpy(vd_ram(&s.d, b.at, b.len), &h, VSOCK_HDR_LEN);
        /* put just before, its kick is lost */
        REQUIRE(vd_add(&s.d.q[VSOCK_TX], &b, 1) >= 0);
        vs_want_none(&s);
        records_move(s.m, vs_make, NULL, &s);
        vs_hears(fd, NULL);
        close(fd);
        fake_run_loop(s.m);
        CHECK_EQ(vd_reap(&s.d.q[VSOCK_TX]), 1);
        vs_want(&s, VSOCK_OP_RST, 52, port);
        if (late) {
            CHECK_EQ(events(&s), 0);
            post_event(&s);
        }
        CHECK_EQ(events(&s), 1);
        post_event(&s);
        CHECK_EQ(events(&s), 0);
        close(vs_connect(&s, 52, &again));
        CHECK_EQ(again, port + 1); /* no port of before */
        vs_free(&s);
    }
}

static void fill_up(struct vs *s, uint32_t port, uint8_t *bytes, uint32_t *sent)
{
    struct vsock *v = container_of(s->d.dev, struct vsock, v.dev);
    struct vsock_conn *c = vsock_conn_find(v, 52, port);
    int room = 4608;
    setsockopt(c->ev.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    while (c->fill < 60000) { /* then on, round the buffer's end */
        vs_data(s, 52, port, bytes + *sent, 1000);
        *sent += 1000;
    }
}

/* Another process takes over: streams go on, whatever is under way in them. */
BOTH_RINGS(vsock_streams_go_on_in_another_process)
{
    static uint8_t bytes[400000], got[400000];
    struct vs s = {0};
    uint32_t port, sent = 0, n = 0, other, ended;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    vs_up(&s, packed, F(VIRTIO_F_EVENT_IDX));
    post_event(&s);
    int fd = vs_connect(&s, 52, &port), out = vs_connect_out(&s, 1024, 80);
    fill_up(&s, port, bytes, &sent);
    while (n < 30000) {
        n += (uint32_t)read(fd, got + n, 3000);
        fake_run_loop(s.m);
    }
    fill_up(&s, port, bytes, &sent);
    int shut = vs_connect(&s, 53, &ended);
    int asked = vs_dial(&s), partial = vs_dial(&s);
    vs_say(asked, "CONNECT 1\n");
    vs_say(partial, "CONN");
    shutdown(shut, SHUT_WR);
    fake_run_loop(s.m);
    static struct vs_packet p;
    for (other = 0; vs_get(&s, &p);)
        if (p.h.op == VSOCK_OP_REQUEST)
            other = p.h.src_port;
    int l = vs_listen(&s, 81); /* asked for, and maybe not connected yet */
    vs_send(&s, VSOCK_OP_REQUEST, 1025, 81, 0);
    vs_send(&s, VSOCK_OP_REQUEST, 1026, 99, 0); /* nobody's */
    vs_say(out, "waits");
    s.m->leaving = true;
    records_move(s.m, vs_make, NULL, &s);
    vs_say(partial, "ECT 3\n");
    fake_run_loop(s.m);
    CHECK_EQ(events(&s), 0);
    unsigned seen[5] = {0};
    FAKE_SOON(s.m, ({
                  while (vs_get(&s, &p)) {
                      seen[0] += p.h.dst_port == 1024 && p.h.len == 5;
                      seen[1] +=
                          p.h.dst_port == 1025 && p.h.op == VSOCK_OP_RESPONSE;
                      seen[2] += p.h.dst_port == 1026 && p.h.op == VSOCK_OP_RST;
                      seen[3] +=
                          p.h.dst_port == 3 && p.h.op == VSOCK_OP_REQUEST;
                      seen[4] += p.h.dst_port == 53;
                  }
                  seen[0] && seen[1] && seen[2] && seen[3];
              }));
    CHECK(seen[0] == 1 && seen[1] == 1 && seen[2] == 1 && seen[3] == 1);
    CHECK_EQ(seen[4], 0); /* it was told of before */
    vs_send(&s, VSOCK_OP_RESPONSE, 1, other, 0);
    vs_data(&s, 53, ended, "half", 4);
    vs_hears(shut, "half");
    for (ssize_t more; n < sent && (more = read(fd, got + n, 3000)) > 0;) {
        n += (uint32_t)more;
        fake_run_loop(s.m);
    }
    CHECK_EQ(n, sent);
    CHECK(!memcmp(got, bytes, sent));
    while (vs_get(&s, &p))
        ;
    vs_say(fd, "back");
    fake_run_loop(s.m);
    CHECK_EQ(vs_want(&s, VSOCK_OP_RW, 52, port)->h.fwd_cnt, sent);
    close(fd), close(asked), close(partial), close(shut), close(out), close(l);
    vs_free(&s);
}

/* What another process says of them is believed no more than a guest. */
TEST(vsock_streams_that_cannot_be_are_refused)
{
    struct vs s = {0};
    uint32_t port;
    struct parts out = {0};
    struct part part;
    size_t at = 0;
    vs_up(&s, false, 0);
    close(vs_connect(&s, 52, &port));
    device_hold(s.d.dev);
    s.m->leaving = true;
    const struct device_class *cls = s.d.dev->cls;
    REQUIRE_EQ(cls->leave(s.d.dev, &out), 0);
    REQUIRE_EQ(parts_end(&out), 0);
    handed_late_begin();
    while (parts_next(out.p, out.n, &at, &part)) {
        if (strcmp(part.name, "of.stream") != 0)
            continue;
        REQUIRE_EQ(cls->arrive(s.d.dev, &part), -EINVAL); /* it is there */
        CHECK(strstr(test_log(), "a connection in a state that cannot be"));
        uint8_t *p = memcpy(malloc(part.len), part.p, part.len);
        struct part bent = {.name = "of.stream", .p = p, .len = part.len};
        p[0]++; /* another's port */
        CHECK_EQ(cls->arrive(s.d.dev, &bent), -EINVAL);
        CHECK(strstr(test_log(), "a connection without a socket"));
        bent.len--;
        CHECK_EQ(cls->arrive(s.d.dev, &bent), -EINVAL);
        CHECK(strstr(test_log(), "a connection of another length"));
        bent.len++;
        for (unsigned i = 0; i < 8 * part.len; i++) {
            int fd[2];
            REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
            memcpy(p, part.p, part.len);
            p[i / 8] ^= (uint8_t)(1 << i % 8);
            handed_late(fd[0]);
            cls->arrive(s.d.dev, &bent);
            cls->arrive(s.d.dev, &(struct part){.name = "of.bytes",
                                                .p = out.p,
                                                .len = (uint32_t)out.n});
            test_log();
            handed_mine();
            close(fd[1]);
        }
        free(p);
    }
    static const uint8_t much[VSOCK_BUFFER + 1];
    const struct part bytes = {
        .name = "of.bytes", .p = much, .len = sizeof(much)};
    CHECK_EQ(cls->arrive(s.d.dev, &bytes), -EINVAL);
    const struct part no = {.name = "of.none"};
    CHECK_EQ(cls->arrive(s.d.dev, &no), -EINVAL);
    test_log();
    device_resume(s.d.dev);
    fake_run_loop(s.m);
    parts_free(&out);
    vs_free(&s);
}

/* vhost-vsock: the CID is another process's until that has ended. */
TEST(vsock_vhost_that_takes_over_waits_for_the_cid)
{
    for (int waits = 0; waits < 2; waits++) {
        struct machine *m = fake_pc(1 << 20);
        if (waits)
            REQUIRE(handed_come("", &(int){-1}, 0));
        fake_path("/dev/vhost-vsock", "/dev/null");
        fake_ioctl(VHOST_SET_OWNER, 0, 0);
        fake_ioctl(VHOST_GET_FEATURES, 0, 0);
        fake_ioctl(VHOST_SET_MEM_TABLE, 0, 0);
        fake_ioctl(VHOST_VSOCK_SET_GUEST_CID, 0, EADDRINUSE);
        int err = fake_device(m, &vhost_vsock_class, "vhost", "guest-cid=5");
        CHECK_EQ(err, waits ? 0 : -EADDRINUSE);
        struct device *dev = m->devices;
        while (waits && dev->cls != &vhost_vsock_class)
            dev = dev->next;
        struct vsock *s = container_of(dev, struct vsock, v.dev);
        if (waits) {
            CHECK_STR(test_log(), "");
            device_hold(&s->v.dev);
            handed_mine();
            device_resume(&s->v.dev);
            fake_sleep_ns(m, SECOND / 20);
            CHECK(s->cid_owed);
            fake_sleep_ns(m, SECOND / 10); /* not yet */
            CHECK(s->cid_owed);
            fake_ioctl(VHOST_VSOCK_SET_GUEST_CID, 0, 0);
            fake_sleep_ns(m, SECOND / 10);
            CHECK(!s->cid_owed);
            CHECK_STR(test_log(), "");
        } else {
            CHECK(strstr(test_log(), "another VM of this host has it"));
        }
        fake_host_real();
        handed_end();
        fake_free(m);
    }
}

/* A pause alone: nobody hears of it, and time stands still. */
TEST(vsock_held_and_resumed_streams_go_on)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, false, 0);
    post_event(&s);
    int fd = vs_connect(&s, 52, &port), asked = vs_dial(&s);
    vs_say(asked, "CONNECT 1\n");
    fake_run_loop(s.m);
    uint32_t other = vs_want(&s, VSOCK_OP_REQUEST, 1, 0)->h.src_port;
    int partial = vs_dial(&s);
    vs_say(partial, "CONN");
    fake_run_loop(s.m);
    device_hold(s.d.dev);
    int waits = vs_dial(&s), gone = vs_dial(&s);
    vs_say(fd, "waits");
    vs_say(waits, "CONNECT 2\n");
    vs_say(partial, "ECT 3\n");
    vs_say(gone, "CONNECT 4\n");
    close(gone);
    fake_sleep_ns(s.m, 5 * SECOND);
    CHECK_EQ(fake_run_loop(s.m), 0);
    vs_want_none(&s);
    device_resume(s.d.dev);
    fake_run_loop(s.m);
    CHECK_EQ(events(&s), 0);
    unsigned seen[8] = {0};
    static struct vs_packet p;
    while (vs_get(&s, &p))
        if (p.h.dst_port < 5)
            seen[p.h.dst_port]++;
        else
            CHECK_EQ(p.h.dst_port, 52);
    CHECK(seen[2] == 1 && seen[3] == 1 && seen[4] == 1 && !seen[1]);
    vs_send(&s, VSOCK_OP_RESPONSE, 1, other, 0); /* in time */
    vs_data(&s, 52, port, "back", 4);
    vs_hears(fd, "back");
    close(fd), close(asked), close(waits), close(partial);
    vs_free(&s);
}

/* ------------------------------------------------------- limits, floods */

TEST(vsock_more_connections_than_it_takes)
{
    struct vs s = {.opts = "connections=4"};
    uint32_t port;
    int fd[4];
    vs_up(&s, false, 0);
    for (unsigned i = 0; i < 4; i++)
        fd[i] = vs_connect(&s, i, &port);
    int more = vs_dial(&s);
    vs_say(more, "CONNECT 9\n");
    fake_run_loop(s.m);
    vs_hears(more, NULL);
    vs_send(&s, VSOCK_OP_REQUEST, 99, 80, 0);
    vs_want(&s, VSOCK_OP_RST, 99, 80);
    close(more);
    vs_send(&s, VSOCK_OP_RST, 3, port, 0);
    int again = vs_connect(&s, 9, &port);
    close(again);
    for (unsigned i = 0; i < 4; i++)
        close(fd[i]);
    vs_free(&s);
}

TEST(vsock_a_thousand_connections_at_once)
{
    struct vs s = {0};
    static int fd[1023];
    static uint32_t port[1023];
    uint32_t sum = 0;
    test_timeout(120);
    vs_up(&s, false, 0);
    for (unsigned i = 0; i < ARRAY_LEN(fd); i++) {
        fd[i] = vs_connect(&s, i % 100, &port[i]);
        sum += port[i] - (1u << 30);
    }
    CHECK_EQ(sum, 1023 * 1022 / 2); /* each its own */
    CHECK_EQ(dev_of(&s)->nconn, 1023);
    for (unsigned i = 0; i < ARRAY_LEN(fd); i++) {
        vs_data(&s, i % 100, port[i], &i, 4);
        unsigned got = 0;
        CHECK_EQ(recv(fd[i], &got, 4, MSG_DONTWAIT), 4);
        CHECK_EQ(got, i);
        CHECK(!vsock_conn_find(dev_of(&s), i % 100, port[i])->buf);
        vs_send(&s, VSOCK_OP_RST, i % 100, port[i], 0);
        close(fd[i]);
    }
    CHECK_EQ(dev_of(&s)->nconn, 0);
    vs_free(&s);
}

/* Ten thousand that say nothing keep out nobody, and take no more than their
 * share. */
TEST(vsock_ten_thousand_silent_clients)
{
    struct vs s = {0};
    uint32_t port;
    static int silent[500];
    test_timeout(120);
    vs_up(&s, false, 0);
    for (unsigned i = 0; i < 10000; i++) {
        unsigned k = i % ARRAY_LEN(silent);
        if (i >= ARRAY_LEN(silent))
            close(silent[k]);
        silent[k] = vs_dial(&s);
        if (i % 3 == 0)
            vs_say(silent[k], "CONN");
        if (i % 50 == 0)
            fake_run_loop(s.m);
        CHECK(dev_of(&s)->nconn <= 65);
        if (i % 1000)
            continue;
        int one = vs_connect(&s, 52, &port);
        vs_send(&s, VSOCK_OP_RST, 52, port, 0);
        close(one);
    }
    for (unsigned i = 0; i < ARRAY_LEN(silent); i++)
        close(silent[i]);
    fake_run_loop(s.m);
    CHECK_EQ(dev_of(&s)->nconn, 0);
    CHECK_EQ(dev_of(&s)->nhello, 0);
    vs_free(&s);
}

/* Readers who never read of guests that are done make room last of all. */
TEST(vsock_connections_that_drain_make_room_for_new_ones)
{
    static uint8_t bytes[60000];
    struct vs s = {.opts = "connections=2"};
    uint32_t port;
    int fd[3], room = 4608;
    vs_up(&s, false, 0);
    for (unsigned i = 0; i < 3; i++) {
        fd[i] = vs_connect(&s, i, &port);
        struct vsock_conn *c = vsock_conn_find(dev_of(&s), i, port);
        setsockopt(c->ev.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        vs_data(&s, i, port, bytes, sizeof(bytes));
        vs_send(&s, VSOCK_OP_RST, i, port, 0);
    }
    CHECK_EQ(dev_of(&s)->nconn, 2);
    for (unsigned i = 0; i < 3; i++)
        close(fd[i]);
    fake_run_loop(s.m);
    CHECK_EQ(dev_of(&s)->nconn, 0);
    vs_free(&s);
}

/* Without a descriptor more, who waits goes on waiting, and nobody spins. */
TEST(vsock_without_descriptors_clients_wait)
{
    struct vs s = {0};
    vs_up(&s, false, 0);
    int fd = vs_dial(&s);
    vs_say(fd, "CONNECT 52\n");
    fake_fds(0);
    fake_run_loop(s.m);
    for (int i = 0; i < 5; i++) {
        fake_advance_ns(SECOND);
        CHECK(fake_run_loop(s.m) < 10);
    }
    fake_fds(-1);
    vs_want_none(&s);
    fake_sleep_ns(s.m, SECOND);
    vs_want(&s, VSOCK_OP_REQUEST, 52, 0);
    close(fd);
    vs_free(&s);
}

/* More packets that are answered by RST than are kept: the rest waits in the
 * guest's ring, and comes when it takes the answers. */
BOTH_RINGS(vsock_flood_of_packets_for_nobody_waits_in_the_ring)
{
    struct vs s = {.no_rx = true};
    vs_up(&s, packed, 0);
    struct vsock_hdr h = {
        .src_cid = 3, .dst_cid = 2, .dst_port = 10, .type = 1, .op = 5};
    uint64_t at = vd_alloc(&s.d, 120 * 64, 64);
    for (unsigned i = 0; i < 120; i++) {
        h.src_port = i;
        struct vd_buf b = {at + 64ull * i, VSOCK_HDR_LEN, false};
        memcpy(vd_ram(&s.d, b.at, b.len), &h, VSOCK_HDR_LEN);
        REQUIRE(vd_add(&s.d.q[VSOCK_TX], &b, 1) >= 0);
    }
    vd_kick(&s.d, VSOCK_TX);
    CHECK_EQ(vd_reap(&s.d.q[VSOCK_TX]), VSOCK_RSTS);
    CHECK_EQ(fake_run_loop(s.m), 0);
    vs_post_all(&s);
    for (unsigned i = 0; i < 120; i++)
        vs_want(&s, VSOCK_OP_RST, i, 10);
    vs_want_none(&s);
    CHECK_EQ(vd_reap(&s.d.q[VSOCK_TX]), 120 - VSOCK_RSTS);
    vs_free(&s);
}

/* Each field as wrong as it can be, on a connection in each state: at the end
 * the device works, and nothing is left over. */
TEST(vsock_headers_of_any_kind)
{
    static const uint32_t odd[] = {0,          1,          2,     3,
                                   4096,       65536,      65537, 0x7fffffff,
                                   0x80000000, 0xffffffff, 52,    80};
    struct vs s = {0};
    uint32_t port = 0;
    vs_up(&s, false, 0);
    int l = vs_listen(&s, 80), fd = -1, got;
    static struct vs_packet p;
    static uint8_t data[70000];
    for (unsigned i = 0; i < 20000; i++) {
        if (i % 100 == 0) {
            if (fd >= 0)
                close(fd);
            fd = vs_dial(&s);
            vs_say(fd, i % 200 ? "CONNECT 52\n" : "CONNECT 52\nbytes");
            fake_run_loop(s.m);
        }
        uint32_t r = test_random();
        struct vsock_hdr h = {
            .src_cid = r % 16 ? 3 : odd[r >> 4 & 7],
            .dst_cid = r >> 8 & 15 ? 2 : (uint64_t)odd[r >> 12 & 7] << 31,
            .src_port = r >> 15 & 7 ? 52 : odd[(r >> 18 & 15) % 12],
            .dst_port = r >> 22 & 1   ? port
                        : r >> 23 & 1 ? 80
                                      : odd[(r >> 24 & 15) % 12],
            .type = r >> 28 ? 1 : (le16)test_random(),
            .op = (le16)(test_random() % 9),
        };
        r = test_random();
        h.flags = odd[(r & 15) % 12];
        h.buf_alloc = odd[(r >> 4 & 15) % 12];
        h.fwd_cnt = odd[(r >> 8 & 15) % 12];
        uint32_t len = r >> 12 & 7 ? r >> 15 & 255 : odd[(r >> 15 & 7) % 7];
        h.len = r >> 24 & 7 ? len : odd[(r >> 27) % 12];
        vs_send_raw(&s, &h, data, len);
        while (vs_get(&s, &p))
            if (p.h.op == VSOCK_OP_REQUEST || p.h.op == VSOCK_OP_RW)
                port = p.h.src_port;
        while ((got = accept4(l, NULL, NULL, SOCK_CLOEXEC)) >= 0)
            close(got);
        if (i % 500 == 0)
            fake_sleep_ns(s.m, SECOND);
    }
    close(fd);
    close(l);
    vs_again(&s, 0);
    close(vs_connect(&s, 52, &port));
    vs_send(&s, VSOCK_OP_RST, 52, port, 0);
    fake_run_loop(s.m);
    fake_sleep_ns(s.m, 3 * SECOND);
    CHECK_EQ(dev_of(&s)->nconn, dev_of(&s)->nhello);
    vs_free(&s);
}

/* The ring itself is broken: streams end, a reset brings it back. */
BOTH_RINGS(vsock_2_1_2_broken_ring_needs_a_reset)
{
    struct vs s = {0};
    uint32_t port;
    vs_up(&s, packed, 0);
    int fd = vs_connect(&s, 52, &port);
    vd_irqs(&s.d, 0);
    struct vd_raw bad = {VD_LOW_RAM - 10, 4096, 0, 0};
    vd_raw(&s.d.q[VSOCK_TX], &bad, 1);
    vd_kick(&s.d, VSOCK_TX);
    CHECK_EQ(vd_status(&s.d), 0x0f | VIRTIO_NEEDS_RESET);
    vs_hears(fd, NULL);
    close(fd);
    vs_again(&s, 0);
    close(vs_connect(&s, 52, &port));
    vs_free(&s);
}
