/* SPDX-License-Identifier: MIT */
/* -stats: each backend's counters show, those that are zero, too. */
#include <stdio.h>
#include <sys/socket.h>

#include "net/dgram.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/net/net_test.h"

static const char *stats(void)
{
    static char got[4096];
    struct tally_lines lines;
    struct text text = {0};
    netdev_stats(tally_lines(&lines, &text));
    snprintf(got, sizeof(got), "%s", text.p ? text.p : "");
    text_free(&text);
    return got;
}

static struct netdev *open_one(struct machine *m, const struct netdev_class *c,
                               const char *text)
{
    struct netdev *nd = NULL;
    REQUIRE_EQ(nt_open(m, c, text, &nd), 0);
    netdev_register(nd);
    return nd;
}

TEST(net_stats_each_backend_shows_its_counters)
{
    struct machine *m = fake_new(4096);
    char text[64];
    int sv[2], dg[2];
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, dg), 0);
    snprintf(text, sizeof(text), "id=s,addr.type=fd,addr.str=%d", sv[0]);
    struct netdev *s = open_one(m, &stream_class, text);
    snprintf(text, sizeof(text), "id=d,local.type=fd,local.str=%d", dg[0]);
    struct netdev *d = open_one(m, &dgram_class, text);
    open_one(m, &hubport_class, "id=h");
    struct netdev *n = open_one(m, &none_class, "id=n");
    REQUIRE_EQ(nt_capture(d, nt_path("d.pcap")), 0);
    n->vhost = VHOST_KERNEL;
    const char *got = stats();
    CHECK_HAS(got, "s.link 1\ns.connects 1\ns.hangups 0\ns.bad_frames 0\n");
    CHECK_HAS(got, "d.link 1\nd.send_errors 0\nd.recv_errors 0\n"
                   "d.pcap_records 0\nd.pcap_missed 0\n");
    CHECK_HAS(got, "h.link 1\nh.drop_full 0\nh.drop_storm 0\n");
    CHECK_HAS(got, "n.link 0\nn.vhost_errors 0\n");
    /* and they count */
    uint32_t nonsense = 0;
    CHECK_EQ(write(sv[1], &nonsense, 4), 4);
    CHECK_EQ(nt_recv(s, 100, 0), -EPROTO);
    fake_run_loop(m);
    CHECK_EQ(nt_send(d, 60, 0), 72);
    close(dg[1]);
    CHECK_EQ(nt_send(d, 60, 0), -ECONNREFUSED);
    CHECK_EQ(write(dg[0], "", 0), -1);
    got = stats();
    CHECK_HAS(got, "s.link 0\ns.connects 1\ns.hangups 1\ns.bad_frames 1\n");
    CHECK_HAS(got, "d.send_errors 1\n");
    CHECK_HAS(got, "d.pcap_records 1\n");
    netdev_close_all();
    CHECK_STR(stats(), "");
    close(sv[1]);
    fake_free(m);
    nt_clean();
}

/* -trace net: each event has its line, under the netdev's name. */
TEST(net_events_are_traced)
{
    struct machine *m = fake_new(4096);
    char text[64];
    int sv[2], dg[2];
    trace_mask = TRACE_NET;
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, dg), 0);
    snprintf(text, sizeof(text), "id=s,addr.type=fd,addr.str=%d", sv[0]);
    open_one(m, &stream_class, text);
    const char *log = test_log();
    CHECK_HAS(log, "s up: fd:");
    CHECK_HAS(log, "s link up\n");
    close(sv[1]);
    fake_run_loop(m);
    log = test_log();
    CHECK_HAS(log, "s down: hung up\n");
    CHECK_HAS(log, "s link down\n");
    snprintf(text, sizeof(text), "id=d,local.type=fd,local.str=%d", dg[0]);
    struct netdev *d = open_one(m, &dgram_class, text);
    close(dg[1]);
    for (int i = 0; i < 2; i++) { /* each, not each kind */
        CHECK_EQ(nt_send(d, 60, 0), i ? -ENOTCONN : -ECONNREFUSED);
        CHECK_HAS(test_log(), i ? "d send: Transport endpoint is not "
                                  "connected\n"
                                : "d send: Connection refused\n");
    }
    struct netdev *h = open_one(m, &hubport_class, "id=h");
    open_one(m, &hubport_class, "id=i");
    for (int i = 0; i < 30000 && !strstr(test_log(), "i hub port"); i++)
        nt_send(h, 60000, 0);
    nt_send(h, 60000, 0);
    CHECK_HAS(test_log(), "i hub port takes no frame: 0\n");
    trace_mask = 0;
    nt_send(h, 60000, 0);
    CHECK_STR(test_log(), "");
    netdev_close_all();
    fake_free(m);
}
