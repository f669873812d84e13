/* SPDX-License-Identifier: MIT */
/* A vhost-user back-end that says what it likes, when it likes: in the
 * greeting, while the rings run, and when they stop. What it is told must be
 * well-formed whatever it says. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vhost.h"
#include "net/list.h"
#include "tests/fuzz/fuzz.h"

#define MEM 65536

static struct machine *m;
static struct netdev *nd;
static struct vhost *v;
static struct vhost_ring rings[4];
static struct sockaddr_un sa = {.sun_family = AF_UNIX};
static int peer = -1, err = -1; /* the connection; the rings' error eventfd */
static uint32_t asked;          /* what waits for an answer */
static bool running;

static void call_in(void)
{
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(peer, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        poll(NULL, 0, 1);
}

static void answer(uint32_t request, uint64_t val)
{
    uint32_t out[5] = {request, 5, 8};
    memcpy(out + 3, &val, 8);
    send(peer, out, 20, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The first of all, while the front-end waits for it. */
static void *first(void *arg)
{
    uint32_t head[5];
    call_in();
    while (recv(peer, head, 12, MSG_WAITALL) == 12 && head[0] != 3) {
        if (head[2])
            recv(peer, head + 3, head[2], MSG_WAITALL);
        if (head[0] == 1)
            answer(1, 1ull << 32 | 1ull << 30 | 0xffff);
        else if (head[0] == 15 || head[0] == 17)
            answer(head[0], 3);
    }
    return arg;
}

static void make(void)
{
    struct opts o;
    pthread_t t;
    char text[160];
    int fd = memfd_create("guest", MFD_CLOEXEC);
    m = fake_new(4096);
    CHECK_EQ(ftruncate(fd, MEM), 0);
    uint8_t *p = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (int i = 0; i < 4; i++)
        rings[i] = (struct vhost_ring){.num = 8,
                                       .desc = p + i * 4096,
                                       .avail = p + i * 4096 + 256,
                                       .used = p + i * 4096 + 512,
                                       .kick = eventfd(1, EFD_NONBLOCK),
                                       .call = eventfd(0, EFD_NONBLOCK)};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/vmm-fuzz.%d",
             (int)getpid());
    snprintf(text, sizeof(text), "id=u,path=%s,server=on,queues=2",
             sa.sun_path);
    CHECK_EQ(opts_parse(&o, "fuzz", text, NULL), 0);
    CHECK_EQ(netdev_new(&vhost_user_class, &o, &nd), 0);
    pthread_create(&t, NULL, first, NULL);
    CHECK_EQ(vhost_user_class.open(nd, m->loop), 0);
    pthread_join(t, NULL);
    struct vhost_region r = {0x100000, MEM, p, fd, 0};
    CHECK_EQ(vhost_open(nd, m->loop, &r, 1, &v), 0);
    /* Reached by a descriptor from now on, so that no file stays. */
    int at = open(sa.sun_path, O_PATH | O_CLOEXEC);
    unlink(sa.sun_path);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", at);
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
    static const uint8_t size[19] = {
        [2] = 8,  [8] = 8,  [9] = 40, [10] = 8, [11] = 8, [12] = 8,
        [13] = 8, [14] = 8, [16] = 8, [18] = 8, [5] = 40};
    CHECK(head[0] && head[0] < sizeof(size));
    CHECK_EQ(head[1], 1);
    CHECK_EQ(head[2], size[head[0]]);
    if (head[2])
        CHECK_EQ(recv(peer, body, head[2], MSG_DONTWAIT), head[2]);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_type == SCM_RIGHTS) {
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        if (head[0] == 14 && err < 0)
            err = fd;
        else
            close(fd);
    }
    if (head[0] == 1 || head[0] == 15 || head[0] == 17 || head[0] == 11)
        asked = head[0];
    return true;
}

static void hear_all(void)
{
    while (hear())
        continue;
}

/* Waits for what has not been said, so the peer says that it is done. */
static void stop(void)
{
    uint32_t base[4];
    shutdown(peer, SHUT_WR);
    v->stop(v, base);
    running = false;
}

static void act(struct fuzz *f)
{
    uint8_t raw[44], b = fuzz_u8(f), n;
    switch (b & 7) {
    case 0:
        n = b >> 3;
        for (uint8_t i = 0; i < n; i++)
            raw[i] = fuzz_u8(f);
        send(peer, raw, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 1:
        answer(asked, fuzz_take(f, 8) | (b & 0x80 ? 1ull << 32 : 0) |
                          (b & 0x40 ? 1ull << 30 : 0));
        break;
    case 2:
        answer(asked, b >> 3);
        break;
    case 3:
        if (running || !netdev_link(nd))
            break;
        CHECK_EQ(v->start(v, fuzz_take(f, 8), rings, 2), 0);
        running = true;
        break;
    case 4:
        if (running)
            stop();
        break;
    case 5:
        if (running && b & 0x80)
            v->set_call(v, b >> 3 & 3, b & 0x40 ? -1 : rings[0].call);
        else if (running)
            v->set_pairs(v, b >> 3 & 3);
        break;
    case 6:
        if (err >= 0)
            eventfd_write(err, 1);
        fake_advance_ns((uint64_t)fuzz_u8(f) << 23);
        break;
    default:
        hear_all();
    }
    if (b & 0x20)
        hear_all();
    fake_run_loop(m);
    if (running && !netdev_link(nd)) /* as the NIC does */
        stop();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!m)
        make();
    if (running)
        stop();
    close(peer);
    if (err >= 0)
        close(err);
    err = -1;
    fake_run_loop(m);
    fake_advance_ns(4000000000); /* longer than any pause */
    fake_run_loop(m);
    REQUIRE(!netdev_link(nd));
    call_in();
    fake_run_loop(m);
    CHECK(hear());
    CHECK_EQ(asked, 1);
    for (int i = 0; i < 100 && f.n; i++)
        act(&f);
    return 0;
}
