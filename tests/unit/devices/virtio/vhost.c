/* SPDX-License-Identifier: MIT */
/* vhost-net with a driver that is the test: a frame each way through the
 * kernel. Needs /dev/vhost-net, so the lab:
 *     tests/lab/lab -- build/unit/unit vhost_kernel */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "devices/virtio/vhost.h"
#include "net/list.h"
#include "tests/unit/net/net_test.h"

#include <linux/vhost.h>
#include <sys/ioctl.h>

#define MEM (64 << 10)
#define GPA 0x100000
#define NUM 8

static uint8_t *mem;

static struct vring ring_at(int i)
{
    struct vring r;
    vring_init(&r, NUM, mem + i * 8192, 256);
    return r;
}

static struct vhost_ring describe(int i, uint32_t base, int kick, int call)
{
    struct vring r = ring_at(i);
    return (struct vhost_ring){.num = NUM,
                               .desc = r.desc,
                               .avail = r.avail,
                               .used = r.used,
                               .kick = kick,
                               .call = call,
                               .base = base};
}

/* Offers buffer `slot` of a ring: 4 KiB of its own. */
static uint8_t *offer(int i, uint16_t slot, uint32_t len, uint16_t flags)
{
    struct vring r = ring_at(i);
    uint32_t off = 16384 + (uint32_t)(i * NUM + slot) * 2048;
    r.desc[slot] =
        (struct vring_desc){.addr = GPA + off, .len = len, .flags = flags};
    r.avail->ring[r.avail->idx % NUM] = slot;
    __atomic_store_n(&r.avail->idx, (uint16_t)(r.avail->idx + 1),
                     __ATOMIC_RELEASE);
    return mem + off;
}

static bool used_is(int i, uint16_t idx)
{
    struct vring r = ring_at(i);
    for (int k = 0; k < 200; k++) {
        if (__atomic_load_n(&r.used->idx, __ATOMIC_ACQUIRE) == idx)
            return true;
        usleep(10000);
    }
    return false;
}

static int host_socket(const char *ifname)
{
    struct sockaddr_ll sa = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(0x88b5),
                             .sll_ifindex = (int)if_nametoindex(ifname)};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(0x88b5));
    REQUIRE_EQ(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

/* What virtio-net would be. */
static int run_tap(void *dev, int fd, unsigned ring, bool on)
{
    struct netdev *nd = dev;
    struct vhost_vring_file f = {ring & 1, on ? nd->q[0]->fd : -1};
    return ioctl(fd, VHOST_NET_SET_BACKEND, &f) < 0 ? -errno : 0;
}

static ssize_t nt_drain(struct netdev *nd)
{
    uint8_t p[2000];
    struct iovec iov = {p, sizeof(p)};
    return nd->q[0]->recv(nd->q[0], &iov, 1);
}

TEST(vhost_kernel_moves_frames_and_gives_rings_back)
{
    if (access("/dev/vhost-net", R_OK | W_OK) < 0)
        SKIP("no /dev/vhost-net");
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) < 0)
        SKIP("no namespaces");
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    struct vhost *v = NULL;
    REQUIRE_EQ(nt_open(m, &tap_class, "id=n,ifname=t0,vhost=on", &nd), 0);
    CHECK_EQ(system("sysctl -qw net.ipv6.conf.t0.disable_ipv6=1"), 0);
    usleep(100000);
    while (nt_drain(nd) > 0)
        ; /* what the host said before IPv6 was off */
    mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
               -1, 0);
    struct ram own_ram = m->ram;
    m->ram = (struct ram){.region = {{GPA, MEM, mem, 0}}, .n = 1, .fd = -1};
    struct vhost_device dev = {.id = "n",
                               .rings = 2,
                               .mask = VHOST_RING_FEATURES | 1 << 15,
                               .errors = &nd->vhost_errors,
                               .refused = &nd->vhost_refused,
                               .dev = nd};
    struct vhost_kernel kernel = {
        .name = "vhost-net", .files = 1, .per_file = 2, .run = run_tap};
    REQUIRE_EQ(vhost_kernel_open(&dev, &kernel, m, &v), 0);
    CHECK(v->features & 1ull << 32);
    CHECK_EQ(v->features & ~dev.mask, 0);
    v->features &= ~(1ull << VHOST_NET_F_VIRTIO_NET_HDR);
    int kick[2] = {eventfd(0, 0), eventfd(0, 0)}, call[2];
    call[0] = eventfd(0, EFD_NONBLOCK);
    call[1] = eventfd(0, EFD_NONBLOCK);
    int host = host_socket("t0");
    uint8_t got[200];
    uint32_t base[2] = {0, 0};
    uint16_t n = 0, rx_used = 0;
    for (int round = 0; round < 3; round++) { /* start, stop, start … */
        struct vhost_ring rings[2] = {describe(0, base[0], kick[0], call[0]),
                                      describe(1, base[1], kick[1], call[1])};
        uint8_t *tx = offer(1, n % NUM, 12 + 60, 0);
        memset(tx, 0, 12);
        memset(tx + 12, 0xff, 6);
        memset(tx + 18, 2, 6);
        memcpy(tx + 24, "\x88\xb5", 2);
        tx[26] = (uint8_t)round;
        uint8_t *rx = offer(0, n % NUM, 2048, VRING_DESC_F_WRITE);
        REQUIRE_EQ(v->ops->start(v, v->features | 1 << 5, rings, 2), 0);
        n++;
        CHECK(used_is(1, n)); /* offered before the start: not forgotten */
        CHECK_EQ(read(host, got, sizeof(got)), 60);
        CHECK_EQ(got[14], round);
        eventfd_t e;
        CHECK_EQ(eventfd_read(call[1], &e), 0);
        memset(got + 6, 4, 6);
        CHECK_EQ(write(host, got, 60), 60);
        rx_used++;
        CHECK(used_is(0, rx_used));
        CHECK_EQ(rx[12 + 14], round);
        int other = eventfd(0, EFD_NONBLOCK);
        CHECK_EQ(v->ops->set_call(v, 1, other), 0);
        offer(1, n % NUM, 12 + 60, 0);
        memcpy(mem + 16384 + (NUM + n % NUM) * 2048, tx, 72);
        n++;
        eventfd_write(kick[1], 1);
        CHECK(used_is(1, n));
        usleep(20000);
        CHECK_EQ(eventfd_read(other, &e), 0);
        CHECK_EQ(read(host, got, sizeof(got)), 60);
        v->ops->stop(v, base);
        CHECK_EQ(base[0], rx_used);
        CHECK_EQ(base[1], n);
        offer(0, n % NUM, 2048, VRING_DESC_F_WRITE); /* not used: stopped */
        CHECK_EQ(write(host, got, 60), 60);
        usleep(50000);
        CHECK(used_is(0, rx_used));
        rx_used++; /* the frame waited in the tap */
        close(other);
        rings[0] = describe(0, base[0], kick[0], call[0]);
        rings[1] = describe(1, base[1], kick[1], call[1]);
        REQUIRE_EQ(v->ops->start(v, v->features, rings, 2), 0);
        CHECK(used_is(0, rx_used));
        v->ops->stop(v, base);
        CHECK_EQ(base[0], rx_used);
    }
    v->ops->close(v);
    netdev_free(nd);
    close(host);
    munmap(mem, MEM);
    m->ram = own_ram;
    fake_free(m);
    CHECK_EQ(setns(home, CLONE_NEWNET), 0);
    close(home);
}
