/* SPDX-License-Identifier: MIT */
/* virtio-net with a vhost that is the test: what is handed over, when, and that
 * userspace goes on where it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/list.h"
#include "net/list.h"
#include "tests/unit/fakevirtio.h"
#include "tests/unit/net/net_test.h"
#include "tests/unit/records.h"

static struct {
    struct vhost v;
    bool on;
    unsigned starts, stops, rings, in_use;
    uint64_t features;
    struct vhost_ring ring[2 * NET_QUEUES_MAX];
    int call[2 * NET_QUEUES_MAX];
    uint32_t stop_at[2 * NET_QUEUES_MAX];
    int fail;
} w;

static int w_start(struct vhost *v, uint64_t features,
                   const struct vhost_ring *rings, unsigned n)
{
    CHECK(v == &w.v);
    if (w.fail)
        return w.fail;
    CHECK(!w.on);
    w.on = true;
    w.starts++;
    w.rings = n;
    w.features = features;
    for (unsigned q = 0; q < n; q++) {
        w.ring[q] = rings[q];
        w.call[q] = rings[q].call;
        w.stop_at[q] = rings[q].base;
    }
    return 0;
}

static void w_stop(struct vhost *v, uint32_t *base)
{
    (void)v;
    CHECK(w.on);
    w.on = false;
    w.stops++;
    memcpy(base, w.stop_at, 4 * w.rings);
}

static int w_call(struct vhost *v, unsigned ring, int fd)
{
    (void)v;
    w.call[ring] = fd;
    return 0;
}

static int w_rings(struct vhost *v, unsigned n)
{
    (void)v;
    w.in_use = n;
    return 0;
}

static void w_close(struct vhost *v)
{
    (void)v;
    CHECK(!w.on);
}

static struct vnet *lend_to_test(struct vd *d)
{
    static const struct vhost_ops ops = {.start = w_start,
                                         .stop = w_stop,
                                         .set_call = w_call,
                                         .set_rings = w_rings,
                                         .close = w_close};
    memset(&w, 0, sizeof(w));
    vd_new(d);
    struct vnet *n = container_of(d->dev, struct vnet, v.dev);
    w.v = (struct vhost){.ops = &ops, .dev = vnet_vhost_device(n)};
    n->vhost = &w.v;
    return n;
}

/* What is in an eventfd; it is empty afterwards. */
static uint64_t counter(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t n = 0;
    if (poll(&p, 1, 0) == 1)
        CHECK_EQ(read(fd, &n, sizeof(n)), sizeof(n));
    return n;
}

BOTH_RINGS(vnet_vhost_gets_rings_doorbells_and_vectors)
{
    struct vd d = {.packed = packed};
    struct vnet *n = lend_to_test(&d);
    vd_again(&d, 0);
    CHECK_EQ(w.starts, 1);
    for (unsigned q = 0; q < 2; q++) {
        CHECK_EQ(w.ring[q].num, d.q[q].size);
        CHECK(w.ring[q].desc == vd_ram(&d, d.q[q].desc, 16));
        CHECK(w.ring[q].avail == vd_ram(&d, d.q[q].avail, 4));
        CHECK(w.ring[q].used == vd_ram(&d, d.q[q].used, 4));
        CHECK_EQ(w.ring[q].base, packed ? 0x80008000u : 0);
        /* Descriptors of their own: who has one can make it block. */
        CHECK_NE(w.ring[q].kick, n->v.kick[q].ev.fd);
        CHECK_NE(w.call[q], pci_msix_fd(&n->v.fn, q + 1));
        CHECK_EQ(counter(w.ring[q].kick), 1); /* look once */
    }
    /* The device keeps its hands off. */
    uint8_t f[60] = {0xff};
    vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 0);
    CHECK_EQ(counter(w.ring[TX0].kick), 1);
    vd_irqs(&d, TX0);
    REQUIRE_EQ(write(w.call[TX0], &(uint64_t){1}, 8), 8);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    /* A vector that changes is told. */
    vd_set(&d, C_QUEUE_SEL, 2, 0);
    vd_set(&d, C_QUEUE_VECTOR, 2, 0xffff);
    CHECK_EQ(w.call[0], -1);
    /* INTx goes by an eventfd of the loop's. */
    unsigned cap = drv_cap(d.m, d.slot, PCI_CAP_MSIX, 0);
    drv_cfg_write(d.m, d.slot, cap + 2, 2, 0);
    drv_cfg_write(d.m, d.slot, PCI_COMMAND, 2, 7);
    CHECK(w.call[1] >= 0);
    CHECK_NE(w.call[1], pci_msix_fd(&n->v.fn, 2));
    REQUIRE_EQ(write(w.call[1], &(uint64_t){1}, 8), 8);
    fake_run_loop(d.m);
    CHECK_EQ(drv_r8(d.m, d.isr), 1);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK(!w.on);
    vd_free(&d);
}

/* O_NONBLOCK belongs to the file, which who is sent a descriptor shares: a read
 * of an empty one, or a write to a full one, would then wait for ever. */
BOTH_RINGS(vnet_vhost_borrower_makes_nobody_wait)
{
    struct vd d = {.packed = packed};
    struct vnet *n = lend_to_test(&d);
    int kick[2], call[2];
    const uint64_t full = 0xfffffffffffffffe;
    vd_again(&d, 0);
    for (int round = 0; round < 2; round++) {
        for (unsigned q = 0; q < 2; q++) {
            kick[q] = dup(w.ring[q].kick);
            call[q] = dup(w.call[q]);
            fcntl(kick[q], F_SETFL, 0);
            fcntl(call[q], F_SETFL, 0);
            CHECK_EQ(counter(kick[q]), 1);
        }
        if (round) { /* full ones */
            REQUIRE_EQ(write(kick[0], &full, 8), 8);
            REQUIRE_EQ(write(call[0], &full, 8), 8);
            virtio_poke(&n->v, 0);
            vd_set(&d, C_CONFIG_VECTOR, 2, 1); /* the vector of queue 0 */
            virtio_config_changed(&n->v);
        }
        vd_set(&d, C_STATUS, 1, 0);
        CHECK(!w.on);
        /* An old borrower has no part in the next life. */
        vd_again(&d, 0);
        vd_irqs(&d, RX0);
        for (unsigned q = 0; q < 2; q++) {
            if (!round) {
                REQUIRE_EQ(write(call[q], &(uint64_t){1}, 8), 8);
                vd_kick(&d, q);
                CHECK_EQ(counter(kick[q]), 0);
            }
            CHECK_EQ(counter(w.ring[q].kick), round ? 1 : 2);
            REQUIRE_EQ(write(w.ring[q].kick, &(uint64_t){1}, 8), 8);
            close(kick[q]);
            close(call[q]);
        }
        CHECK_EQ(vd_irqs(&d, RX0), 0);
    }
    /* Without MSI-X, too. */
    unsigned cap = drv_cap(d.m, d.slot, PCI_CAP_MSIX, 0);
    drv_cfg_write(d.m, d.slot, cap + 2, 2, 0);
    drv_cfg_write(d.m, d.slot, PCI_COMMAND, 2, 7);
    call[0] = dup(w.call[0]);
    fcntl(call[0], F_SETFL, 0);
    REQUIRE_EQ(write(call[0], &(uint64_t){1}, 8), 8);
    CHECK_EQ(counter(call[0]), 1); /* stolen back before the loop looks */
    fake_run_loop(d.m);
    vd_set(&d, C_STATUS, 1, 0);
    drv_r8(d.m, d.isr);
    REQUIRE_EQ(write(call[0], &(uint64_t){1}, 8), 8);
    fake_run_loop(d.m);
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    close(call[0]);
    vd_free(&d);
}

/* A masked vector: what the borrower raised is pending, and stays so. */
BOTH_RINGS(vnet_vhost_pending_bit_of_a_lent_vector)
{
    struct vd d = {.packed = packed};
    struct vnet *n = lend_to_test(&d);
    vd_again(&d, 0);
    vd_irqs(&d, RX0);
    pci_msix_write(&n->v.fn, 16 + 12, 4, 1); /* mask vector 1 */
    REQUIRE_EQ(write(w.call[RX0], &(uint64_t){1}, 8), 8);
    CHECK_EQ(vd_irqs(&d, RX0), 0);
    CHECK_EQ(pci_msix_pba(&n->v.fn, 0, 4), 2);
    netdev_set_link(fake_net_dev(d.net), false);
    CHECK(!w.on);
    CHECK_EQ(pci_msix_pba(&n->v.fn, 0, 4) & 2, 2);
    pci_msix_write(&n->v.fn, 16 + 12, 4, 0);
    CHECK(vd_irqs(&d, RX0) > 0);
    CHECK_EQ(pci_msix_pba(&n->v.fn, 0, 4), 0);
    vd_free(&d);
}

/* Link down: the rings come back at their position; link up: they go again. */
BOTH_RINGS(vnet_vhost_position_survives_link_changes)
{
    struct vd d = {.packed = packed};
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, got[64];
    lend_to_test(&d);
    vd_again(&d, 0);
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK_EQ(w.stops, 1);
    /* Now transmit drops, and says why; buffers come back all the same. */
    vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    CHECK_EQ(vd_count(&d, "tx_drop_link"), 1);
    vd_post(&d, RX0, 2000); /* taken into the window, not used */
    vd_kick(&d, RX0);
    w.fail = -EIO;
    netdev_set_link(fake_net_dev(d.net), true);
    fake_run_loop(d.m);
    CHECK_EQ(w.starts, 1); /* it would not: userspace does the work */
    vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    netdev_set_link(fake_net_dev(d.net), false);
    w.fail = 0;
    netdev_set_link(fake_net_dev(d.net), true);
    fake_run_loop(d.m);
    CHECK_EQ(w.starts, 2);
    CHECK_EQ(w.ring[RX0].base, packed ? 0x80008000u : 0); /* given back */
    CHECK_EQ(w.ring[TX0].base, packed ? 0x80028002u : 2);
    vd_free(&d);
}

/* Where vhost cannot start, frames go on here, and into the buffers that were
 * popped before it was asked again. */
/* Held, its rings come back and are saved as they stand; then it has them
 * again, from there. */
BOTH_RINGS(vnet_vhost_position_survives_a_rest)
{
    struct vd d = {.packed = packed};
    lend_to_test(&d);
    vd_again(&d, 0);
    CHECK(w.on && w.starts == 1);
    w.stop_at[TX0] = packed ? 0x80038003u : 3;
    device_hold(d.dev);
    CHECK(!w.on && w.stops == 1);
    struct records r = records_of(d.dev);
    CHECK_EQ(records_get(&r, "queue.1.position", 0), 3);
    CHECK_EQ(records_load(d.dev, &r), 0);
    records_free(&r);
    netdev_set_link(fake_net_dev(d.net), false); /* it is not asked yet */
    netdev_set_link(fake_net_dev(d.net), true);
    CHECK(!w.on);
    device_resume(d.dev);
    CHECK(w.on && w.starts == 2);
    CHECK_EQ(w.ring[TX0].base, packed ? 0x80038003u : 3);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK(!w.on);
    vd_free(&d);
}

BOTH_RINGS(vnet_vhost_that_fails_leaves_no_buffer_behind)
{
    struct vd d = {.packed = packed};
    uint8_t f[60];
    uint64_t at[4];
    lend_to_test(&d);
    w.fail = -EIO;
    vd_again(&d, F(VIRTIO_NET_F_MRG_RXBUF));
    for (unsigned i = 0; i < 4; i++)
        at[i] = vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    for (unsigned i = 0; i < 4; i++) {
        netdev_set_link(fake_net_dev(d.net), false);
        netdev_set_link(fake_net_dev(d.net), true);
        vd_frame(f, sizeof(f), i);
        fake_net_give(d.net, 0, NULL, f, sizeof(f));
        fake_run_loop(d.m);
        CHECK_EQ(vd_reap(&d.q[RX0]), 1);
        CHECK_MEM((uint8_t *)vd_ram(&d, at[i], 72) + 12, f, sizeof(f));
    }
    CHECK_EQ(w.starts, 0);
    vd_free(&d);
}

BOTH_RINGS(vnet_vhost_queue_reset)
{
    struct vd d = {.packed = packed};
    lend_to_test(&d);
    vd_again(&d, F(VIRTIO_F_RING_RESET));
    vd_set(&d, C_QUEUE_SEL, 2, RX0);
    vd_set(&d, C_QUEUE_RESET, 2, 1);
    CHECK(w.on);
    CHECK_EQ(w.ring[RX0].num, 0);
    CHECK_EQ(w.ring[TX0].num, d.q[TX0].size);
    vd_queue_make(&d, RX0, 16);
    CHECK(w.on);
    CHECK_EQ(w.ring[RX0].num, 16);
    vd_free(&d);
}

TEST(vnet_vhost_broken_ring_needs_reset)
{
    struct vd d = {0};
    struct vnet *n = lend_to_test(&d);
    vd_again(&d, 0);
    unsigned life = n->v.life;
    virtio_needs_reset(&n->v, life, "test");
    CHECK(vd_status(&d) & VIRTIO_NEEDS_RESET);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK(!w.on);
    vd_again(&d, 0);
    CHECK(w.on);
    /* A fault of the driver before, that was late. */
    virtio_needs_reset(&n->v, life, "test");
    CHECK(!(vd_status(&d) & VIRTIO_NEEDS_RESET));
    w.v.dev.broken(n);
    CHECK(vd_status(&d) & VIRTIO_NEEDS_RESET);
    /* Told only when the rings were back, and another driver is there. */
    netdev_set_link(fake_net_dev(d.net), false);
    vd_again(&d, 0);
    CHECK(!w.on);
    w.v.dev.broken(n);
    CHECK(!(vd_status(&d) & VIRTIO_NEEDS_RESET));
    vd_free(&d);
}

/* §5.1.6.5.5: of the pairs that are lent only those in use carry packets. */
BOTH_RINGS(vnet_vhost_serves_the_pairs_in_use)
{
    struct vd d = {.packed = packed, .pairs = 2};
    struct vnet *n = lend_to_test(&d);
    vd_again(&d, F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_CTRL_VQ));
    CHECK_EQ(w.rings, 4);
    CHECK_EQ(w.in_use, 2);
    pthread_mutex_lock(&n->v.lock);
    vnet_set_pairs(n, 2);
    pthread_mutex_unlock(&n->v.lock);
    CHECK_EQ(w.in_use, 4);
    CHECK_EQ(w.starts, 1);
    vd_free(&d);
}

/* ------------------------------------------------------------- vhost-user */

/* A back-end without protocol features; gives its connection. */
static void *greet(void *listening)
{
    uint32_t in[3], out[5] = {1, 5, 8, 1u << VIRTIO_NET_F_MRG_RXBUF, 1};
    int fd = accept(*(int *)listening, NULL, NULL);
    REQUIRE_EQ(recv(fd, in, 12, MSG_WAITALL), 12);
    REQUIRE_EQ(in[0], 1);
    REQUIRE_EQ(send(fd, out, 20, 0), 20);
    REQUIRE_EQ(recv(fd, in, 12, MSG_WAITALL), 12);
    REQUIRE_EQ(in[0], 3);
    return (void *)(intptr_t)fd;
}

/* -netdev vhost-user: the cable is in while the back-end is there, and features
 * about packets are those it has. */
TEST(vnet_vhost_user_back_end_is_the_cable)
{
    struct machine *m = fake_pc(4096);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct netdev *nd = NULL;
    struct opts o;
    pthread_t t;
    void *fd;
    netdev_close_all();
    strcpy(sa.sun_path, nt_path("vu"));
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE_EQ(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    REQUIRE_EQ(listen(l, 1), 0);
    opts_init(&o, "test");
    REQUIRE_EQ(opts_add(&o, "id", "u"), 0);
    REQUIRE_EQ(opts_add(&o, "path", sa.sun_path), 0);
    REQUIRE_EQ(netdev_new(&vhost_user_class, &o, &nd), 0);
    REQUIRE_EQ(vhost_user_class.open(nd, m->loop), 0);
    CHECK(!netdev_link(nd));
    m->ram.fd = l; /* some descriptor: its other end maps nothing */
    pthread_create(&t, NULL, greet, &l);
    REQUIRE_EQ(fake_device(m, &virtio_net_class, "virtio", "netdev=u"), 0);
    pthread_join(t, &fd);
    struct device *dev = m->devices;
    while (dev->cls != &virtio_net_class)
        dev = dev->next;
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    CHECK(netdev_link(nd));
    CHECK_EQ(n->config.status, VNET_S_LINK_UP);
    CHECK(n->v.offered & F(VIRTIO_NET_F_MRG_RXBUF));
    CHECK(n->v.offered & F(VIRTIO_NET_F_STATUS)); /* the device's own */
    CHECK(!(n->v.offered & F(VIRTIO_F_EVENT_IDX)));
    CHECK(!(n->v.offered & F(VIRTIO_F_INDIRECT_DESC)));
    close((int)(intptr_t)fd);
    fake_run_loop(m);
    CHECK(!netdev_link(nd));
    CHECK_EQ(n->config.status, 0);
    CHECK_HAS(test_log(), "u: unix:");
    close(l);
    m->ram.fd = -1;
    fake_free(m);
    netdev_close_all();
    nt_clean();
}
