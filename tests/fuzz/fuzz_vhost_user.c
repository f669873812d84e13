/* SPDX-License-Identifier: MIT */
/* A vhost-user back-end that says what it likes, when it likes: in the
 * greeting, while the rings run, and when they stop. What it is told must be
 * well-formed whatever it says. */
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vhost.h"
#include "net/list.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/kernel.h"

#define MEM 65536
#define NAME_LEN (offsetof(struct sockaddr_un, sun_path) + 18)

static const struct sockaddr_un name = {.sun_family = AF_UNIX,
                                        .sun_path = "/nonexistent/fuzz"};

static struct machine *m;
static struct netdev *nd;
static struct vhost *v;
static struct vhost_ring rings[4];
static int listener = -1;       /* where the front-end dials, or -1 */
static int peer = -1, err = -1; /* the connection; the rings' error eventfd */
static int hint = -1;           /* the channel for the back-end's requests */
static uint32_t asked;          /* what waits for an answer */
static bool running, willing;   /* willing: answers as it should */
static struct fuzz input;
static bool up;
static struct fault faults;
static struct vhost_device device = {.id = "u",
                                     .mask = VHOST_RING_FEATURES | 0xffff,
                                     .errors = &faults,
                                     .refused = &faults};

static void here(void *dev, bool is)
{
    REQUIRE(dev == m && up != is);
    up = is;
}

static void ring_broken(void *dev)
{
    REQUIRE(dev == m);
}

static void config_changed(void *dev)
{
    REQUIRE(dev == m && device.config_len);
}

static void hang_up(void)
{
    if (peer >= 0)
        close(peer);
    if (err >= 0)
        close(err);
    if (hint >= 0)
        close(hint);
    peer = err = hint = -1;
    asked = 0;
}

/* A connection, whoever makes it. */
static void meet(void)
{
    if (peer < 0 && listener >= 0)
        peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (peer >= 0 || listener >= 0)
        return;
    peer = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(peer, (const struct sockaddr *)&name, NAME_LEN) < 0)
        hang_up();
}

#define CONFIG 24 /* bytes of configuration space, of some inputs' device */

static void answer(uint32_t request, uint64_t val)
{
    uint32_t out[3 + 3 + CONFIG / 4] = {request, 5, 8};
    if (request == 24)
        out[2] = 12 + CONFIG;
    memcpy(out + 3, &val, 8);
    send(peer, out, 12 + out[2], MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void make(void)
{
    m = fake_new(4096);
    m->ram.fd = memfd_create("guest", MFD_CLOEXEC);
    m->ram.n = 1;
    CHECK_EQ(ftruncate(m->ram.fd, MEM), 0);
    m->ram.region[0] =
        (struct ram_region){.gpa = 0x100000,
                            .size = MEM,
                            .hva = mmap(NULL, MEM, PROT_READ | PROT_WRITE,
                                        MAP_SHARED, m->ram.fd, 0)};
    device.here = here;
    device.broken = ring_broken;
    device.config_changed = config_changed;
    device.dev = m;
    for (int i = 0; i < 4; i++) {
        uint8_t *p = m->ram.region[0].hva + i * 4096;
        rings[i] = (struct vhost_ring){.num = 8,
                                       .desc = p,
                                       .avail = p + 256,
                                       .used = p + 512,
                                       .kick = eventfd(1, EFD_NONBLOCK),
                                       .call = eventfd(0, EFD_NONBLOCK)};
    }
}

/* One message of the front-end's: is it one? */
static bool hear(void)
{
    uint32_t head[3];
    uint8_t body[512];
    char ctl[CMSG_SPACE(8 * sizeof(int))];
    struct iovec iov = {head, sizeof(head)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = ctl,
                         .msg_controllen = sizeof(ctl)};
    if (recvmsg(peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 12)
        return false;
    static const uint8_t size[26] = {
        [2] = 8,      [8] = 8,  [9] = 40, [10] = 8,
        [11] = 8,     [12] = 8, [13] = 8, [14] = 8,
        [16] = 8,     [18] = 8, [5] = 40, [24] = 12 + CONFIG,
        [25] = 12 + 4};
    CHECK(head[0] && head[0] < sizeof(size));
    CHECK_EQ(head[1], 1);
    CHECK_EQ(head[2], size[head[0]]);
    if (head[2])
        CHECK_EQ(recv(peer, body, head[2], MSG_DONTWAIT), head[2]);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_type == SCM_RIGHTS) {
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        if (head[0] == 14) { /* each start has another one */
            int old = err;
            err = fd;
            fd = old;
        } else if (head[0] == 21) {
            int old = hint;
            hint = fd;
            fd = old;
        }
        if (fd >= 0)
            close(fd);
    }
    if (head[0] == 1 || head[0] == 15 || head[0] == 17 || head[0] == 11 ||
        head[0] == 24)
        asked = head[0];
    return true;
}

static void hear_all(void)
{
    while (hear())
        continue;
}

static void behave(void)
{
    static const uint64_t can = 1ull << 32 | 1ull << 30 | 0xffff;
    asked = 0;
    hear_all();
    if (asked == 11)
        for (uint32_t i = 0; i < device.rings; i++)
            answer(11, i);
    else if (asked)
        answer(asked, asked == 1 ? can : asked == 15 ? 1 | 1 << 5 | 1 << 9 : 3);
}

/* What the peer does next. */
static void peer_act(struct fuzz *f)
{
    uint8_t raw[32] = {0}, b = fuzz_u8(f), n = b >> 3;
    switch (b & 7) {
    case 0:
        for (uint8_t i = 0; i < n; i++)
            raw[i] = fuzz_u8(f);
        send(peer, raw, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 1:
        answer(asked, fuzz_take(f, 8) | (b & 0x80 ? 1ull << 32 : 0) |
                          (b & 0x40 ? 1ull << 30 : 0));
        break;
    case 2:
        answer(asked, n);
        break;
    case 3:
        behave();
        break;
    case 4:
        shutdown(peer, n & 1 ? SHUT_WR : SHUT_RDWR);
        break;
    case 5:
        if (n & 1 && err >= 0)
            event_signal(err);
        else if (hint >= 0)
            send(hint, raw, sizeof(raw), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 6: /* gone, and another one comes */
        hang_up();
        meet();
        break;
    default:
        hear_all();
    }
}

/* The front-end waits: for somebody to come, for the greeting, or, when it
 * stops, for where the rings are. */
static void idle(void)
{
    meet();
    if (peer >= 0 && willing)
        behave();
    else if (peer >= 0 && input.n)
        peer_act(&input);
}

static void stop(void)
{
    uint32_t base[4];
    running = false; /* nobody stops it once more meanwhile */
    v->ops->stop(v, base);
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 7) {
    case 0:
        if (running || !up)
            break;
        CHECK_EQ(v->ops->start(v, fuzz_take(f, 8), rings, device.rings), 0);
        running = true;
        break;
    case 1:
        if (running)
            stop();
        break;
    case 2:
        if (running && b & 0x80)
            v->ops->set_call(v, (b >> 3 & 3) % device.rings,
                             b & 0x40 ? -1 : rings[0].call);
        else if (running)
            v->ops->set_rings(v, 2 * (b >> 3 & 3));
        else if (device.config_len)
            v->ops->set_config(v, b >> 3 & 16, rings, 4);
        break;
    case 3:
        fake_advance_ns((uint64_t)fuzz_u8(f) << 23);
        break;
    default:
        meet();
        if (peer >= 0)
            peer_act(f);
    }
    if (b & 0x20)
        hear_all();
    kernel_full = b >> 6;
    fake_run_loop(m);
    kernel_full = 0;
    if (running && !up) /* as a device does */
        stop();
}

/* False: this one does not begin. */
static bool begin(uint8_t how)
{
    struct opts o;
    char text[96];
    willing = how & 1;
    if (how & 2) {
        listener = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_EQ(bind(listener, (const struct sockaddr *)&name, NAME_LEN), 0);
        CHECK_EQ(listen(listener, 1), 0);
    }
    snprintf(text, sizeof(text), "id=u,path=%s,queues=%d%s", name.sun_path,
             how & 4 ? 2 : 1,
             !(how & 2) ? ",server=on"
             : how & 8  ? ",reconnect-ms=1"
                        : "");
    CHECK_EQ(opts_parse(&o, "fuzz", text, NULL), 0);
    CHECK_EQ(netdev_new(&vhost_user_class, &o, &nd), 0);
    device.queues = how & 4 ? 2 : 1;
    device.rings = 2 * device.queues;
    device.config_len = how & 16 ? CONFIG : 0;
    return !vhost_user_open(&device, nd->chardev, m, &v);
}

static void end(void)
{
    if (v)
        v->ops->close(v);
    v = NULL;
    running = up = false;
    netdev_close_all();
    hang_up();
    if (listener >= 0)
        close(listener);
    listener = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = (struct fuzz){data, size};
    if (!m)
        make();
    kernel_idle = idle;
    if (begin(fuzz_u8(&input)))
        for (int i = 0; i < 100 && input.n; i++)
            act(&input);
    willing = false;
    input.n = 0;
    end();
    return 0;
}
