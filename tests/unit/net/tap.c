/* SPDX-License-Identifier: MIT */
/* -netdev tap and bridge, on interfaces of a network namespace of the test's.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "host/iface.h"
#include "net/list.h"
#include "net/tap_fd.h"
#include "tests/unit/net/net_test.h"

static struct netdev *open_tap(struct machine *m, const char *text)
{
    struct netdev *nd = NULL;
    REQUIRE_EQ(nt_open(m, &tap_class, text, &nd), 0);
    netdev_register(nd);
    return nd;
}

/* The host's end: a packet socket on the interface. */
static int host_socket(const char *ifname)
{
    struct sockaddr_ll sa = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(0x88b5),
                             .sll_ifindex = (int)if_nametoindex(ifname)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x88b5));
    REQUIRE(fd >= 0);
    REQUIRE_EQ(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void fill(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)i;
    memset(p, 0xff, 6);
    memset(p + 6, 2, 6);
    p[12] = 0x88;
    p[13] = 0xb5;
}

/* A frame each way; what else the host sends is passed over. */
static void both_ways(struct netdev *nd, const char *ifname)
{
    uint8_t p[NET_HDR_LEN + 300] = {0}, got[2000];
    struct iovec iov[2] = {{p, 20}, {p + 20, sizeof(p) - 20}};
    struct iovec in[2] = {{got, 7}, {got + 7, sizeof(got) - 7}};
    int fd = host_socket(ifname);
    fill(p + NET_HDR_LEN, 300);
    CHECK_EQ(nd->q[0]->send(nd->q[0], iov, 2), sizeof(p));
    CHECK_EQ(read(fd, got, sizeof(got)), 300);
    CHECK_MEM(got, p + NET_HDR_LEN, 300);
    CHECK_EQ(write(fd, p + NET_HDR_LEN, 200), 200);
    ssize_t r = 1;
    int tries = 100; /* the kernel may still drop what comes too early */
    do {
        if (r == 0) {
            usleep(10000);
            CHECK_EQ(write(fd, p + NET_HDR_LEN, 200), 200);
        }
        memset(got, 0xee, sizeof(got));
        r = nd->q[0]->recv(nd->q[0], in, 2);
        if (r > 0)
            CHECK_EQ(got[0] & ~NET_F_DATA_VALID, 0);
    } while ((r > 0 && (got[24] != 0x88 || got[25] != 0xb5)) ||
             (r == 0 && tries--));
    CHECK_EQ(r, 212);
    CHECK_MEM(got + NET_HDR_LEN, p + NET_HDR_LEN, 200);
    close(fd);
}

TEST(net_tap_new_interface_is_up_and_goes_with_us)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0");
    CHECK_EQ(if_is_up("t0"), 1);
    CHECK(nd->vnet_hdr);
    CHECK(nd->offload & NETBE_TSO4);
    CHECK_EQ(nd->mtu, 1500);
    CHECK_EQ(nd->set_offload(nd, nd->offload), 0);
    CHECK_EQ(nd->set_offload(nd, 0), 0);
    both_ways(nd, "t0");
    nt_close_all();
    CHECK_EQ(if_nametoindex("t0"), 0);
    nt_ns_leave(m);
}

TEST(net_tap_without_vnet_hdr)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,vnet_hdr=off");
    CHECK(!nd->vnet_hdr);
    CHECK_EQ(nd->offload, 0);
    both_ways(nd, "t0");
    nt_ns_leave(m);
}

TEST(net_tap_segments_what_the_header_says)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0");
    uint8_t p[NET_HDR_LEN + 60] = {0};
    struct iovec iov = {p, sizeof(p)};
    fill(p + NET_HDR_LEN, 60);
    /* tun_get_user: a checksum beyond the frame, an unknown GSO type */
    p[0] = NET_F_NEEDS_CSUM;
    p[6] = 200;
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EINVAL);
    CHECK_HAS(test_log(), "write: Invalid argument");
    p[0] = 0;
    p[1] = 0x3f;
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EINVAL);
    p[1] = 0;
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), sizeof(p));
    nt_ns_leave(m);
}

TEST(net_tap_existing_interfaces_and_queues)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    nt_sh("ip tuntap add ts mode tap; ip tuntap add tm mode tap multi_queue;"
          "ip link set tm up");
    nd = open_tap(m, "id=a,ifname=ts");
    CHECK_HAS(test_log(), "ts is down");
    CHECK_EQ(nt_send(nd, 60, 1), -EIO);
    CHECK_HAS(test_log(), "ip link set ts up");
    CHECK_EQ(nt_open(m, &tap_class, "id=x,ifname=ts", &nd), -EBUSY);
    CHECK_HAS(test_log(), "in use");
    nt_close_all();
    CHECK(nt_open(m, &tap_class, "id=x,ifname=ts,queues=2", &nd) < 0);
    CHECK_HAS(test_log(), "single queue");
    nd = open_tap(m, "id=b,ifname=tm"); /* one queue of a multi-queue tap */
    CHECK_EQ(nd->nq, 1);
    both_ways(nd, "tm");
    nt_close_all();
    nd = open_tap(m, "id=c,ifname=tm,queues=4");
    CHECK_EQ(nd->nq, 4);
    CHECK_EQ(nd->set_queues(nd, 1), 0);
    both_ways(nd, "tm"); /* the host may use queue 0 only */
    CHECK_EQ(nd->set_queues(nd, 4), 0);
    CHECK_EQ(nd->set_queues(nd, 2), 0);
    CHECK_EQ(nd->set_queues(nd, 2), 0);
    nt_close_all();
    CHECK_NE(if_nametoindex("ts"), 0);
    CHECK_NE(if_nametoindex("tm"), 0);
    nt_ns_leave(m);
}

TEST(net_tap_sndbuf_pushes_back)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,sndbuf=64k");
    /* a token bucket on the way in holds the frames, which count as ours */
    nt_sh("ip link add br0 type bridge; ip link set br0 up;"
          "ip link add v0 type veth peer name v1; ip link set v0 up;"
          "ip link set v1 up; ip link set t0 master br0;"
          "ip link set v0 master br0;"
          "tc qdisc add dev v0 root tbf rate 1mbit burst 2000 limit 10000000");
    ssize_t r = 1;
    int sent = 0;
    uint8_t p[NET_HDR_LEN + 1000] = {0};
    struct iovec iov = {p, sizeof(p)};
    fill(p + NET_HDR_LEN, 1000);
    memset(p + NET_HDR_LEN, 4, 6); /* to one: a clone would not count */
    for (; sent < 2000 && r > 0; sent++)
        r = nd->q[0]->send(nd->q[0], &iov, 1);
    CHECK_EQ(r, 0);
    CHECK(sent > 10 && sent < 200);
    nt_ns_leave(m);
}

static int link_seen;
static void link_changed(void *nic, bool up)
{
    (void)nic;
    link_seen = up ? 1 : 2;
}

static int woken;
static void count_ready(struct event *ev, uint32_t got)
{
    (void)ev;
    (void)got;
    woken++;
}

TEST(net_tap_deleted_under_us_pulls_the_cable_and_does_not_spin)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,queues=2");
    struct event ev = {.fd = nd->q[1]->fd, .ready = count_ready};
    link_seen = woken = 0;
    nd->link_changed = link_changed;
    REQUIRE_EQ(loop_add(m->loop, &ev), 0);
    nt_sh("ip link del t0");
    fake_run_loop(m); /* fails when it does not end */
    CHECK_EQ(link_seen, 2);
    CHECK(!netdev_link(nd));
    CHECK(woken < 3);
    CHECK_HAS(test_log(), "n: interface t0 was deleted");
    CHECK_EQ(nt_send(nd, 60, 1), -ENODEV);
    CHECK_EQ(nt_recv(nd, 60, 1), 0);
    loop_del(&ev);
    nt_ns_leave(m);
}

TEST(net_tap_made_again_is_taken_up_again)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,queues=2,sndbuf=60000");
    nd->link_changed = link_changed;
    nd->set_offload(nd, NETBE_CSUM);
    nd->set_queues(nd, 1); /* that, too, is so again */
    for (int i = 0; i < 2; i++) {
        link_seen = 0;
        nt_sh("ip link del t0");
        fake_run_loop(m);
        CHECK_EQ(link_seen, 2);
        CHECK_HAS(test_log(), "until there is one of this name again");
        nt_sh("ip link add other type bridge");
        fake_run_loop(m);
        CHECK_EQ(link_seen, 2);
        /* one queue is too few: said, and the next one looked at */
        nt_sh("ip link del other; ip tuntap add t0 mode tap");
        fake_run_loop(m);
        CHECK_EQ(link_seen, 2);
        CHECK_HAS(test_log(),
                  i ? ""
                    : "cannot be used again: Invalid argument; it was "
                      "made with other settings (multi_queue)");
        nt_sh("ip tuntap del t0 mode tap");
        fake_run_loop(m);
        nt_sh("ip tuntap add t0 mode tap multi_queue; ip link set t0 up");
        fake_sleep_ns(m, 1000000000); /* after that one, a pause */
        CHECK_EQ(link_seen, 1);
        CHECK_HAS(test_log(), "n: interface t0 is there again");
        both_ways(nd, "t0");
    }
    nt_ns_leave(m);
}

TEST(net_tap_bridge_port)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    nt_sh("ip link add br5 type bridge; ip link set br5 up mtu 1400");
    nd = open_tap(m, "id=n,ifname=t0,br=br5");
    CHECK_EQ(nd->mtu, 1400);
    nt_sh("bridge link show dev t0 | grep -q 'master br5'");
    both_ways(nd, "br5");
    nt_close_all();
    nt_sh("ip tuntap add t1 mode tap");
    nd = open_tap(m, "id=n,ifname=t1,br=br5");
    CHECK_EQ(if_is_up("t1"), 1);
    nt_close_all(); /* as it was: no port, down */
    nt_sh("! bridge link show dev t1 | grep -q .");
    CHECK_EQ(if_is_up("t1"), 0);
    nt_sh("ip link set t1 master br5"); /* a port already: stays one */
    nd = open_tap(m, "id=n,ifname=t1,br=br5");
    nt_close_all();
    nt_sh("bridge link show dev t1 | grep -q 'master br5'");
    nt_sh("ip link add br6 type bridge; ip link set t1 master br6");
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=t1,br=br5", &nd), -EBUSY);
    CHECK_HAS(test_log(), "cannot add t1");
    REQUIRE_EQ(nt_open(m, &bridge_class, "id=n,br=br5", &nd), 0);
    netdev_free(nd);
    CHECK(nt_open(m, &bridge_class, "id=n", &nd) < 0);
    CHECK_HAS(test_log(), "bridge br0: ");
    nt_ns_leave(m);
}

TEST(net_tap_scripts)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char text[300];
    const char *s = nt_path("up"), *log = nt_path("log");
    FILE *f = fopen(s, "w");
    fprintf(f, "#!/bin/sh\necho \"$1\" $# >>%s\nip link show \"$1\" >>%s\n",
            log, log);
    fclose(f);
    chmod(s, 0755);
    snprintf(text, sizeof(text), "id=n,ifname=t0,script=%s,downscript=%s", s,
             s);
    nd = open_tap(m, text);
    CHECK_EQ(if_is_up("t0"), 1);
    nt_close_all();
    snprintf(text, sizeof(text), "[ \"$(grep -c '^t0 1$' %s)\" = 2 ]", log);
    nt_sh(text);
    snprintf(text, sizeof(text), "[ \"$(grep -c 'mtu 1500' %s)\" = 2 ]", log);
    nt_sh(text); /* the interface was still there */
    CHECK(nt_open(m, &tap_class, "id=n,ifname=t0,script=/bin/false", &nd) < 0);
    CHECK_HAS(test_log(), "failed with status 1");
    CHECK_EQ(if_nametoindex("t0"), 0);
    CHECK(nt_open(m, &tap_class, "id=n,ifname=t0,script=/no", &nd) < 0);
    CHECK_HAS(test_log(), "script=/no: cannot run it: No such file");
    CHECK(nt_open(m, &tap_class, "id=n,ifname=t0,downscript=/no", &nd) < 0);
    CHECK_HAS(test_log(), "downscript=/no: cannot run it");
    nt_ns_leave(m);
    nt_clean();
}

/* A helper as QEMU's: makes a tap and sends it over the descriptor it is told.
 */
static void make_helper(const char *path, const char *body)
{
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    fprintf(f,
            "#!/usr/bin/python3\n"
            "import array, fcntl, os, socket, struct, sys\n"
            "fd = int(sys.argv[-1][5:])\n"
            "peer = socket.socket(fileno=fd)\n"
            "def give(fd): peer.sendmsg([b'x'], [(socket.SOL_SOCKET,"
            " socket.SCM_RIGHTS, array.array('i', [fd]))])\n"
            "tun = os.open('/dev/net/tun', os.O_RDWR)\n"
            "fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'hlp0',"
            " 0x1002 | (0x4000 if '--use-vnet' in sys.argv else 0)))\n"
            "os.system('ip link set hlp0 up')\n"
            "%s\n",
            body);
    fclose(f);
    chmod(path, 0755);
}

TEST(net_tap_from_a_bridge_helper)
{
    static const char *const bad[][2] = {
        {"sys.exit(3)", "failed with status 3; bridge br7 must exist"},
        {"give(0)", "did not send a tap"},
        {"peer.send(b'x')", "failed with status 0"},
    };
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char text[200];
    const char *path = nt_path("helper");
    snprintf(text, sizeof(text), "id=n,br=br7,helper=%s", path);
    CHECK(nt_open(m, &bridge_class, text, &nd) < 0);
    CHECK_HAS(test_log(), "cannot run it");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        make_helper(path, bad[i][0]);
        CHECK(nt_open(m, &bridge_class, text, &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    make_helper(path, "give(tun)");
    nd = NULL;
    REQUIRE_EQ(nt_open(m, &bridge_class, text, &nd), 0);
    netdev_register(nd);
    CHECK(nd->vnet_hdr);
    both_ways(nd, "hlp0");
    nt_ns_leave(m);
    nt_clean();
}

TEST(net_tap_bad_options_are_said)
{
    static const char *const bad[][2] = {
        {"id=n,ifname=lo", "not a tap interface"},
        {"id=n,ifname=abcdefghijklmnop", "longer than 15"},
        {"id=n,ifname=a/b", "not a name"},
        {"id=n,fd=0,ifname=x", "means nothing together with fd="},
        {"id=n,fd=0,fds=1:2", "exclude each other"},
        {"id=n,fd=900", "not open"},
        {"id=n,fd=a", "not a list"},
        {"id=n,fds=", "empty"},
        {"id=n,helper=/x,queues=2",
         "queues= means nothing together with helper="},
        {"id=n,helper=/nonexistent", "cannot run it"},
        {"id=n,queues=17", "1 to 16"},
        {"id=n,queues=0", "1 to 16"},
        {"id=n,vhost=perhaps", "on or off"},
        {"id=n,vhostfd=1,vhostfds=1", "exclude each other"},
        {"id=n,sndbuf=lots", "sndbuf"},
        {"id=n,tap0", "tap0"},
    };
    struct machine *m = nt_ns_enter();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct netdev *nd = NULL;
        if (!CHECK(nt_open(m, &tap_class, bad[i][0], &nd) < 0))
            netdev_free(nd);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    nt_ns_leave(m);
}

TEST(net_tap_descriptor_from_a_parent)
{
    struct machine *m = nt_ns_enter();
    struct netdev *first = open_tap(m, "id=a,ifname=t0"), *nd;
    char text[64];
    int file = open("/dev/null", O_RDWR);
    int fd = dup(first->q[0]->fd);
    snprintf(text, sizeof(text), "id=b,fd=%d", fd);
    nd = open_tap(m, text);
    CHECK(nd->vnet_hdr);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    both_ways(nd, "t0");
    snprintf(text, sizeof(text), "id=c,fd=%d", file);
    CHECK(nt_open(m, &tap_class, text, &nd) < 0);
    CHECK_HAS(test_log(), "not a tap's");
    close(file);
    nt_ns_leave(m);
}

static struct tap *tap_of(struct netdev *nd)
{
    return container_of(nd, struct tap, nd);
}

TEST(net_tap_bare_frames_without_a_frame)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,vnet_hdr=off");
    uint8_t p[NET_HDR_LEN] = {0};
    struct iovec iov = {p, sizeof(p)};
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EINVAL);
    CHECK_EQ(nd->q[0]->recv(nd->q[0], &iov, 1), -EINVAL);
    CHECK_EQ(nd->set_offload(nd, 0), 0);
    CHECK_EQ(nd->set_offload(nd, NETBE_CSUM), -EOPNOTSUPP);
    CHECK_EQ(nd->set_queues(nd, 1), 0);
    nt_sh("ip link set t0 down");
    CHECK_EQ(nt_send(nd, 60, 1), -EIO);
    CHECK_HAS(test_log(), "ip link set t0 up");
    nt_ns_leave(m);
}

/* Between its end and the word of it: no line for each frame, no other error.
 */
TEST(net_tap_deleted_and_not_heard_of_yet)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,queues=2");
    CHECK_EQ(nd->set_queues(nd, 2), 0);
    nt_sh("ip link del t0");
    CHECK_EQ(nt_send(nd, 60, 1), -ENODEV);
    CHECK(nt_recv(nd, 60, 1) <= 0);
    CHECK(nd->set_offload(nd, NETBE_CSUM) < 0);
    CHECK_STR(test_log(), "");
    CHECK_EQ(tap_of(nd)->f_send.count, 0);
    nt_ns_leave(m);
}

/* The file's own errors are said once, and counted. */
TEST(net_tap_errors_of_its_file)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0");
    int p[2];
    REQUIRE_EQ(pipe(p), 0);
    dup2(p[1], nd->q[0]->fd);
    trace_mask = TRACE_NET;
    CHECK_EQ(nt_recv(nd, 60, 1), -EBADF);
    trace_mask = 0;
    CHECK_HAS(test_log(), "n recv: Bad file descriptor\n");
    tap_of(nd)->f_recv = (struct fault){0};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(nt_recv(nd, 60, 1), -EBADF);
    CHECK_HAS(test_log(), "n: tap t0: read: Bad file descriptor");
    CHECK_STR(test_log(), "");
    CHECK_EQ(tap_of(nd)->f_recv.count, 3);
    dup2(p[0], nd->q[0]->fd);
    close(p[1]);
    CHECK_EQ(nt_send(nd, 60, 1), -EBADF);
    CHECK_HAS(test_log(), "n: tap t0: write: Bad file descriptor");
    CHECK_EQ(nt_recv(nd, 60, 1), -EIO); /* its end */
    CHECK_EQ(tap_of(nd)->f_send.count, 1);
    nt_ns_leave(m);
}

/* No descriptors are left: nothing spins, nothing leaks, and once there are
 * some the interface is taken up. */
TEST(net_tap_deleted_and_made_again_with_no_descriptors_left)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,queues=3");
    struct event ev = {.fd = nd->q[0]->fd, .ready = count_ready};
    link_seen = woken = 0;
    nd->link_changed = link_changed;
    REQUIRE_EQ(loop_add(m->loop, &ev), 0);
    int next = dup(0);
    close(next);
    fake_fds(0);
    nt_sh("ip link del t0");
    fake_run_loop(m); /* fails when it does not end */
    CHECK_EQ(link_seen, 2);
    CHECK(woken < 3);
    nt_sh("ip tuntap add t0 mode tap multi_queue; ip link set t0 up");
    for (int few = 0; few < 3; few++) {
        fake_fds(few);
        fake_sleep_ns(m, 1000000000);
        CHECK_EQ(link_seen, 2);
        fake_fds(-1);
        CHECK_EQ(dup(0), next);
        close(next);
    }
    CHECK_HAS(test_log(), "cannot be used again: Too many open files\n");
    CHECK(tap_of(nd)->f_again.count < 5);
    loop_del(&ev);
    fake_sleep_ns(m, 1000000000);
    CHECK_EQ(link_seen, 1);
    both_ways(nd, "t0");
    nt_ns_leave(m);
}

/* It is there again, but the kernel does not take a setting: said, and the
 * cable stays out. */
TEST(net_tap_made_again_with_what_the_kernel_refuses)
{
    static const unsigned long req[] = {TUNSETIFF, TUNSETVNETHDRSZ,
                                        TUNSETSNDBUF};
    struct machine *m = nt_ns_enter();
    struct netdev *nd = open_tap(m, "id=n,ifname=t0,sndbuf=60000");
    int before = dup(0);
    close(before);
    nd->link_changed = link_changed;
    nt_sh("ip link del t0");
    fake_run_loop(m);
    nt_sh("ip tuntap add t0 mode tap");
    fake_run_loop(m);
    nt_sh("ip link del t0");
    fake_run_loop(m);
    for (size_t i = 0; i < ARRAY_LEN(req); i++) {
        fake_sleep_ns(m, 1000000000);
        link_seen = 0;
        fake_ioctl(req[i], 0, EINVAL);
        nt_sh("ip tuntap add t0 mode tap");
        fake_run_loop(m);
        CHECK_EQ(link_seen, 0);
        CHECK_EQ(tap_of(nd)->f_again.count, i + 1);
        CHECK_EQ(dup(0), before);
        close(before);
        nt_sh("ip link del t0");
        fake_run_loop(m);
    }
    nt_ns_leave(m);
}

/* A parent's descriptor cannot be opened again: the cable is out for good. */
TEST(net_tap_of_a_parent_deleted)
{
    struct machine *m = nt_ns_enter();
    struct netdev *first = open_tap(m, "id=a,ifname=t0");
    char text[64];
    snprintf(text, sizeof(text), "id=b,fd=%d", dup(first->q[0]->fd));
    struct netdev *nd = open_tap(m, text);
    CHECK_HAS(test_log(), "");
    nt_sh("ip link del t0");
    fake_run_loop(m);
    const char *log = test_log();
    CHECK_HAS(log, "b: interface t0 was deleted; the cable is out\n");
    nt_sh("ip tuntap add t0 mode tap; ip link set t0 up");
    fake_run_loop(m);
    CHECK(netdev_link(first));
    CHECK(!netdev_link(nd));
    nt_ns_leave(m);
}

/* drivers/net/tun.c: a bit that the kernel does not know fails them all. */
TEST(net_tap_offers_what_this_kernel_can_segment)
{
    static const struct {
        unsigned refused, has, has_not;
    } rows[] = {
        {0, NETBE_CSUM | NETBE_TSO4 | NETBE_USO4, 0},
        {1, NETBE_CSUM | NETBE_TSO6 | NETBE_UFO, NETBE_USO4 | NETBE_USO6},
        {2, NETBE_CSUM | NETBE_TSO4 | NETBE_ECN, NETBE_UFO | NETBE_USO4},
        {3, NETBE_CSUM, NETBE_TSO4 | NETBE_TSO6},
        {4, 0, ~0u},
    };
    struct machine *m = nt_ns_enter();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (unsigned k = 0; k < rows[i].refused; k++)
            fake_ioctl(TUNSETOFFLOAD, 0, EINVAL);
        struct netdev *nd = open_tap(m, "id=n,ifname=t0");
        CHECK_EQ(nd->offload & rows[i].has, rows[i].has);
        CHECK_EQ(nd->offload & rows[i].has_not, 0);
        nt_close_all();
        fake_host_real();
    }
    struct netdev *nd = NULL;
    fake_ioctl(TUNSETVNETHDRSZ, 0, EINVAL);
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=t0", &nd), -EINVAL);
    CHECK_HAS(test_log(), "no 12-byte header: Invalid argument; say "
                          "vnet_hdr=off");
    fake_ioctl(TUNSETSNDBUF, 0, EINVAL);
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=t0,sndbuf=4096", &nd),
             -EINVAL);
    CHECK_HAS(test_log(), "tap t0: sndbuf: Invalid argument");
    nt_ns_leave(m);
}

/* What was right when it was checked need not be when it is used. */
TEST(net_tap_host_that_changes_before_it_is_opened)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char text[200];
    const char *s = nt_path("s");
    nt_sh("ip link add br5 type bridge");
    REQUIRE_EQ(nt_new(&tap_class, "id=n,ifname=t0,br=br5", &nd), 0);
    nt_sh("ip link del br5");
    CHECK_EQ(nt_open_new(m, nd), -ENODEV);
    CHECK_HAS(test_log(), "bridge br5: No such device; sudo ip link add br5 "
                          "type bridge");
    CHECK_EQ(if_nametoindex("t0"), 0);
    close(open(s, O_CREAT | O_WRONLY, 0755));
    snprintf(text, sizeof(text), "id=n,ifname=t0,script=,downscript=%s", s);
    REQUIRE_EQ(nt_new(&tap_class, text, &nd), 0);
    unlink(s);
    CHECK_EQ(nt_open_new(m, nd), -ENOENT);
    CHECK_HAS(test_log(), "downscript");
    CHECK_EQ(if_nametoindex("t0"), 0);
    CHECK_EQ(nt_new(&tap_class, "id=n,br=br5", &nd), -ENODEV);
    CHECK_HAS(test_log(), "bridge br5: No such device; sudo ip link add br5 "
                          "type bridge");
    REQUIRE_EQ(nt_open(m, &tap_class, "id=n,script=no,downscript=", &nd), 0);
    CHECK_STR(tap_of(nd)->ifname, "tap0");
    netdev_free(nd);
    nt_ns_leave(m);
    nt_clean();
}
