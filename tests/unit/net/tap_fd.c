/* SPDX-License-Identifier: MIT */
/* How a tap comes by its descriptors, and what is said when it does not. */
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "host/iface.h"
#include "net/list.h"
#include "net/tap_fd.h"
#include "tests/unit/net/net_test.h"

static struct tap *tap_of(struct netdev *nd)
{
    return container_of(nd, struct tap, nd);
}

static int tun_open(const char *name, short flags)
{
    struct ifreq ifr = {.ifr_flags = flags};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    REQUIRE_EQ(ioctl(fd, TUNSETIFF, &ifr), 0);
    return fd;
}

/* Each thing that can be wrong with the host's tun is said with what to do. */
TEST(net_tap_fd_advice_when_the_kernel_says_no)
{
    static const struct {
        const char *text;
        int err; /* of TUNSETIFF */
        bool found;
        int wants;
        const char *part[2];
    } rows[] = {
        {"id=n,ifname=ts",
         EBUSY,
         true,
         -EBUSY,
         {"tap ts: in use by another process, or by another netdev", NULL}},
        {"id=n,ifname=ts,queues=2",
         EBUSY,
         true,
         -EBUSY,
         {"in use by another process", "or not made with multi_queue"}},
        {"id=n,ifname=ts",
         E2BIG,
         true,
         -E2BIG,
         {"tap ts: no more queues to be had", NULL}},
        {"id=n,ifname=ts",
         EPERM,
         true,
         -EPERM,
         {"tap ts: belongs to another user; run with sudo",
          "sudo ip tuntap del ts mode tap && sudo ip tuntap add ts mode tap "
          "user $USER && sudo ip link set ts up"}},
        {"id=n,ifname=new",
         EPERM,
         false,
         -EPERM,
         {"tap new: making it needs privileges; run with sudo",
          "or once: sudo ip tuntap add new mode tap user $USER && sudo ip "
          "link set new up"}},
        {"id=n,ifname=new",
         EACCES,
         false,
         -EACCES,
         {"tap new: making it needs privileges", NULL}},
        {"id=n,ifname=new",
         EINVAL,
         false,
         -EINVAL,
         {"tap new: not a name an interface can have", NULL}},
        {"id=n,ifname=new",
         ENOMEM,
         false,
         -ENOMEM,
         {"tap new: Cannot allocate memory", NULL}},
    };
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    nt_sh("ip tuntap add ts mode tap");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fake_ioctl(TUNSETIFF, 0, rows[i].err);
        CHECK_EQ(nt_open(m, &tap_class, rows[i].text, &nd), rows[i].wants);
        const char *log = test_log();
        for (int k = 0; k < 2; k++)
            if (rows[i].part[k])
                CHECK_HAS(log, rows[i].part[k]);
        CHECK_EQ(if_nametoindex("new"), 0);
    }
    nt_ns_leave(m);
}

/* The same from the kernel itself. */
TEST(net_tap_fd_without_privileges)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    nt_sh("ip tuntap add ts mode tap user 12345; ip link add br5 type bridge");
    nt_sh("ip tuntap add mine mode tap user 0");
    fake_net_admin(false);
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=new", &nd), -EPERM);
    CHECK_HAS(test_log(), "making it needs privileges");
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=ts", &nd), -EPERM);
    CHECK_HAS(test_log(), "belongs to another user");
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=mine,br=br5", &nd), -EPERM);
    CHECK_HAS(test_log(), "bridge br5: adding mine needs privileges");
    fake_path(TAP_HELPER, "/nonexistent");
    CHECK_EQ(nt_open(m, &tap_class, "id=n,br=br5", &nd), -EPERM);
    CHECK_HAS(test_log(), "bridge br5: needs privileges, or Debian's package "
                          "qemu-system-common");
    fake_host_real();
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=ts", &nd), 0);
    netdev_free(nd);
    nt_ns_leave(m);
}

TEST(net_tap_fd_no_tun_device)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    fake_path("/dev/net/tun", "/nonexistent");
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=t0", &nd), -ENOENT);
    CHECK_HAS(test_log(), "/dev/net/tun: No such file or directory; load the "
                          "kernel's tun module (sudo modprobe tun)");
    fake_host_real();
    fake_path("/dev/net/tun", "/proc/self/mem/x"); /* ENOTDIR */
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=t0", &nd), -ENOTDIR);
    CHECK_HAS(test_log(), "/dev/net/tun: Not a directory; run with sudo");
    fake_host_real();
    for (int n = 0; n < 3; n++) { /* the idle file, the tap's, rtnetlink's */
        fake_fds(n);
        int err = nt_open(m, &tap_class, "id=n,ifname=t0", &nd);
        fake_fds(-1);
        CHECK_EQ(err, n < 2 ? -EMFILE : 0);
        if (n < 2)
            CHECK_HAS(test_log(), "Too many open files");
        CHECK_EQ(if_nametoindex("t0") != 0, n == 2);
    }
    netdev_free(nd);
    nt_ns_leave(m);
}

/* drivers/net/tap.c: the interface is no tun's, its file is /dev/tapIFINDEX. */
TEST(net_tap_fd_macvtap_has_a_file_of_its_own)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char sys[200], dev[64], cmd[900];
    nt_sh("ip link add mv0 type veth peer name mv1; ip link set mv0 mtu 1400");
    unsigned idx = if_nametoindex("mv0");
    snprintf(sys, sizeof(sys), "%s", nt_path("sys"));
    snprintf(dev, sizeof(dev), "/dev/tap%u", idx);
    for (int older = 0; older < 2; older++) {
        snprintf(cmd, sizeof(cmd), "rm -rf %s; mkdir -p %s/mv0/%stap%u", sys,
                 sys, older ? "macvtap/" : "", idx);
        nt_sh(cmd);
        fake_path("/sys/class/net", sys);
        fake_path(dev, "/dev/null");
        /* tun refuses both ways of one queue; macvtap takes it */
        fake_ioctl(TUNSETIFF, 2, 0);
        fake_ioctl(TUNSETVNETHDRSZ, 0, 0);
        REQUIRE_EQ(nt_open(m, &tap_class, "id=n,ifname=mv0", &nd), 0);
        CHECK_STR(tap_of(nd)->ifname, "mv0");
        CHECK_EQ(nd->mtu, 1400);
        CHECK(nd->vnet_hdr);
        CHECK(!tap_of(nd)->named);
        netdev_free(nd);
        fake_host_real();
    }
    fake_path("/sys/class/net", sys);
    fake_path(dev, "/nonexistent"); /* no udev */
    CHECK_EQ(nt_open(m, &tap_class, "id=n,ifname=mv0", &nd), -ENOENT);
    CHECK_HAS(test_log(), "tap mv0: No such file or directory");
    nt_ns_leave(m);
    nt_clean();
}

TEST(net_tap_fd_lists_of_descriptors)
{
    static const char *const bad[][2] = {
        {"id=n,fd=3x", "fd=3x: not a list of descriptors"},
        {"id=n,fds=3;4", "fds=3;4: not a list of descriptors"},
        {"id=n,fds=99999999", "not a list of descriptors"},
        {"id=n,fds=-1", "not a list of descriptors"},
        {"id=n,fds=0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0", "more than 16"},
        {"id=n,fd=0:0", "fd=0:0: one descriptor; several go to fds="},
        {"id=n,ifname=t0,vhostfds=x", "vhostfds=x: not a list"},
        {"id=n,ifname=t0,vhostfd=9999", "descriptor 9999 is not open"},
        {"id=n,ifname=t0,vhostfd=0,vhostfds=0",
         "vhostfd= and vhostfds= exclude each other"},
    };
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(nt_open(m, &tap_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    nt_ns_leave(m);
}

TEST(net_tap_fd_each_given_descriptor_is_a_queue)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char text[100], sys[300];
    const char *dir = nt_path("sys");
    short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    int a = tun_open("tm", flags), b = tun_open("tm", flags);
    int bare = tun_open("tb", IFF_TAP | IFF_NO_PI);
    int pi = tun_open("tp", IFF_TAP), ip = tun_open("ti", IFF_TUN | IFF_NO_PI);
    snprintf(sys, sizeof(sys),
             "mkdir -p %s/tp %s/tm; echo 0x2 >%s/tp/tun_flags;"
             "echo 0x1002 >%s/tm/tun_flags",
             dir, dir, dir, dir);
    snprintf(text, sizeof(text), "id=n,fds=%d:%d", a, b);
    REQUIRE_EQ(nt_open(m, &tap_class, text, &nd), 0);
    CHECK_EQ(nd->nq, 2);
    CHECK(nd->vnet_hdr);
    CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(b, F_GETFL) & O_NONBLOCK);
    CHECK_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
    CHECK_STR(tap_of(nd)->ifname, "tm");
    netdev_free(nd);
    CHECK_EQ(fcntl(a, F_GETFD), -1);
    a = tun_open("tm", flags);
    snprintf(text, sizeof(text), "id=n,fds=%d:%d", a, bare);
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), -EINVAL);
    CHECK_HAS(test_log(), "some have IFF_VNET_HDR, some not");
    nt_sh(sys); /* as sysfs would have them */
    fake_path("/sys/class/net", nt_path("sys"));
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof(text), "id=n,fd=%d", i ? ip : pi);
        CHECK_EQ(nt_open(m, &tap_class, text, &nd), -EINVAL);
        CHECK_HAS(test_log(), "not opened with IFF_TAP and IFF_NO_PI");
    }
    snprintf(text, sizeof(text), "id=n,fd=%d", a);
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), 0);
    netdev_free(nd);
    /* one that is another, or none, between the look and the use */
    snprintf(text, sizeof(text), "id=n,fd=%d", bare);
    REQUIRE_EQ(nt_new(&tap_class, text, &nd), 0);
    dup2(open("/dev/null", O_RDWR), bare);
    CHECK_EQ(nt_open_new(m, nd), -ENOTTY);
    CHECK_HAS(test_log(), "Inappropriate ioctl");
    bare = fcntl(tun_open("tc", IFF_TAP | IFF_NO_PI), F_DUPFD, 200);
    snprintf(text, sizeof(text), "id=n,fd=%d", bare);
    REQUIRE_EQ(nt_new(&tap_class, text, &nd), 0);
    close(bare);
    CHECK_EQ(nt_open_new(m, nd), -EBADF);
    CHECK_HAS(test_log(), "is not open");
    nt_ns_leave(m);
    nt_clean();
}

TEST(net_tap_fd_a_vhost_descriptor_for_each_queue)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char text[100];
    int a = open("/dev/null", O_RDWR), b = open("/dev/null", O_RDWR);
    snprintf(text, sizeof(text), "id=n,ifname=t0,queues=2,vhostfds=%d:%d", a,
             b);
    REQUIRE_EQ(nt_open(m, &tap_class, text, &nd), 0);
    CHECK_EQ(nd->vhost, VHOST_KERNEL);
    CHECK(nd->vhost_forced);
    CHECK_EQ(nd->vhostfd[0], a);
    CHECK_EQ(nd->vhostfd[1], b);
    CHECK_EQ(nd->vhostfd[2], -1);
    CHECK_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
    netdev_free(nd);
    CHECK_EQ(fcntl(b, F_GETFD), -1);
    a = open("/dev/null", O_RDWR);
    snprintf(text, sizeof(text), "id=n,ifname=t0,queues=2,vhostfd=%d", a);
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), -EINVAL);
    CHECK_HAS(test_log(), "1 vhost descriptors for 2 queues");
    REQUIRE_EQ(nt_open(m, &tap_class, "id=n,ifname=t0,vhost=on", &nd), 0);
    CHECK_EQ(nd->vhost, VHOST_KERNEL);
    CHECK(!nd->vhost_forced);
    netdev_free(nd);
    REQUIRE_EQ(nt_open(m, &tap_class, "id=n,ifname=t0,vhostforce=on", &nd), 0);
    CHECK(nd->vhost_forced);
    netdev_free(nd);
    nt_ns_leave(m);
}

static void write_script(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    fputs(text, f);
    fclose(f);
    chmod(path, 0755);
}

TEST(net_tap_fd_helpers_that_do_not_help)
{
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char text[200];
    const char *path = nt_path("helper");
    snprintf(text, sizeof(text), "id=n,br=br7,helper=%s", path);
    write_script(path, "#!/nonexistent/interpreter\n");
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), -ENOENT);
    CHECK_HAS(test_log(), "helper: cannot run it: No such file");
    /* it leaves somebody behind with its socket: nobody waits for that one */
    write_script(path, "#!/bin/sh\nsleep 0.5 &\n");
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), -EIO);
    CHECK_HAS(test_log(), "failed with status 0");
    write_script(path, "#!/bin/sh\nkill -9 $$\n");
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), -EIO);
    CHECK_HAS(test_log(), "failed with status 137");
    fake_fds(2); /* one of the pair is missing */
    CHECK_EQ(nt_open(m, &tap_class, text, &nd), -EMFILE);
    fake_fds(-1);
    CHECK_HAS(test_log(), "socketpair: Too many open files");
    nt_ns_leave(m);
    nt_clean();
}

/* Without privileges, and with a bridge alone, Debian's helper is asked; it
 * hears of the header only when there is one. */
TEST(net_tap_fd_without_privileges_the_helper_is_asked)
{
    static const char *const args[][2] = {
        {"id=n,br=br5", "^--use-vnet --br=br5 --fd=[0-9]+$"},
        {"id=n,br=br5,vnet_hdr=off", "^--fd=[0-9]+ --br=br5$"},
    };
    struct machine *m = nt_ns_enter();
    struct netdev *nd = NULL;
    char cmd[200];
    const char *path = nt_path("helper"), *file = nt_path("args");
    nt_sh("ip link add br5 type bridge");
    write_script(path, "#!/bin/sh\necho \"$*\" >${0%helper}args\nexit 7\n");
    fake_path(TAP_HELPER, path);
    fake_net_admin(false);
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        CHECK_EQ(nt_open(m, &tap_class, args[i][0], &nd), -EIO);
        CHECK_HAS(test_log(), TAP_HELPER
                  ": failed with status 7; bridge br5 must exist and be "
                  "allowed in /etc/qemu/bridge.conf");
        snprintf(cmd, sizeof(cmd), "grep -qE -e '%s' %s", args[i][1], file);
        nt_sh(cmd);
    }
    fake_net_admin(true); /* who can do it alone asks nobody */
    REQUIRE_EQ(nt_open(m, &tap_class, args[0][0], &nd), 0);
    CHECK_STR(tap_of(nd)->ifname, "tap0");
    netdev_free(nd);
    nt_ns_leave(m);
    nt_clean();
}
