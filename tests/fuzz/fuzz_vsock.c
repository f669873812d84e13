/* SPDX-License-Identifier: MIT */
/* vsock: a guest whose packets and rings are anything, and host processes that
 * connect, talk, stop reading and go at any moment; sockets hold little, so
 * that bytes wait. After each input the device works. */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio_vsock/state.h"
#include "tests/fuzz/fuzz_virtio.h"
#include "tests/fuzz/kernel.h"

#define CLIENTS 5
#define PATH "/v"
#define OUT_PORT 80

static struct fv both[2], *v;
static int client[CLIENTS], taken[CLIENTS], listener;

static int unix_socket(const char *path, bool listens)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) /* kernel_full */
        return -1;
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    socklen_t len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    if (listens) {
        REQUIRE_EQ(bind(fd, (struct sockaddr *)&a, len), 0);
        REQUIRE_EQ(listen(fd, 1), 0);
    } else if (connect(fd, (struct sockaddr *)&a, len)) {
        close(fd);
        return -1;
    }
    return fd;
}

static struct vsock *vsock_dev(void)
{
    struct device *dev = v->m->devices;
    while (dev->cls != &virtio_vsock_class)
        dev = dev->next;
    return container_of(dev, struct vsock, v.dev);
}

static void settle(void)
{
    do
        fake_run_loop(v->m);
    while (kernel_helped());
}

static void start(uint64_t want)
{
    uint64_t c = v->common;
    drv_w8(v->m, c + 0x14, 0);
    want |= 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_RESET;
    if (v->packed)
        want |= 1ull << VIRTIO_F_RING_PACKED;
    drv_w8(v->m, c + 0x14, 3);
    for (unsigned i = 0; i < 2; i++) {
        drv_w32(v->m, c, i);
        uint32_t bits = drv_r32(v->m, c + 4);
        drv_w32(v->m, c + 8, i);
        drv_w32(v->m, c + 12, bits & (uint32_t)(want >> 32 * i));
    }
    drv_w8(v->m, c + 0x14, 11);
    for (unsigned q = 0; q < VSOCK_QUEUES; q++)
        fv_queue(v, q, FV_SIZE);
    drv_w8(v->m, c + 0x14, 15);
    settle();
}

static void hang_up(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void begin(bool packed)
{
    v = &both[packed];
    if (!v->m) {
        char text[80];
        v->type = 19;
        v->packed = packed;
        v->m = fake_pc(FV_RAM);
        snprintf(text, sizeof(text),
                 "guest-cid=3,uds_path=" PATH "%d,connections=6,packed=%s",
                 packed, packed ? "on" : "off");
        REQUIRE_EQ(fake_device(v->m, &virtio_vsock_class, "vsock", text), 0);
        snprintf(text, sizeof(text), PATH "%d_%d", packed, OUT_PORT);
        v->ctrl = (unsigned)unix_socket(text, true); /* nobody else's here */
    }
    listener = (int)v->ctrl;
    for (int i = 0; i < CLIENTS; i++)
        client[i] = taken[i] = -1;
    kernel_room = 3000;
    fake_reset(v->m);
    settle();
    v->budget = FV_BUDGET;
    fv_find(v);
    fv_layout(v, 0);
}

/* ------------------------------------------------------------- the guest */

/* A port of a connection there is, or of none. */
static uint32_t some_port(struct fuzz *f, bool hosts)
{
    uint8_t how = fuzz_u8(f);
    struct vsock *s = vsock_dev();
    struct vsock_link *l = s->all.next;
    for (int i = how >> 4; i && l != &s->all; i--)
        l = l->next;
    if (how & 1 || l == &s->all)
        return how & 2 ? OUT_PORT : how >> 2 & 3;
    struct vsock_conn *c = container_of(l, struct vsock_conn, all);
    return hosts ? c->host : c->guest;
}

static void packet(struct fuzz *f)
{
    static const uint32_t odd[] = {0,     1,     100,      4096,
                                   65536, 65537, 1u << 31, ~0u};
    uint8_t how = fuzz_u8(f), more = fuzz_u8(f);
    uint32_t len = how & 0x80 ? fuzz_u16(f) % 0x4000 : fuzz_u8(f);
    struct vsock_hdr h = {.src_cid = 3,
                          .dst_cid = 2,
                          .src_port = some_port(f, false),
                          .dst_port = some_port(f, true),
                          .len = len,
                          .type = 1,
                          .op = how & 7,
                          .flags = how >> 3 & 3,
                          .buf_alloc = odd[more & 7],
                          .fwd_cnt = odd[more >> 3 & 7]};
    if (how & 0x40) {
        uint8_t *p = (uint8_t *)&h;
        p[fuzz_u8(f) % VSOCK_HDR_LEN] = fuzz_u8(f);
    }
    uint32_t all = VSOCK_HDR_LEN + (h.op == VSOCK_OP_RW ? len : 0);
    uint32_t each = more & 0x40 ? 1u + all / (1u + (more & 15)) : all;
    if (all > v->budget)
        return;
    v->budget -= all;
    uint64_t at = fv_buffer(v, more >> 7, all);
    memcpy(fake_ram(v->m, at, all), &h, VSOCK_HDR_LEN);
    uint16_t head = v->q[VSOCK_TX].add % FV_SIZE;
    for (uint32_t off = 0; off < all; off += each)
        fv_desc(v, VSOCK_TX, at + off, all - off < each ? all - off : each,
                off + each < all ? FV_NEXT : 0);
    fv_show(v, VSOCK_TX, head);
    fv_kick(v, VSOCK_TX);
}

static void post(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    uint32_t each = how & 1 ? 4096 : 16u + fuzz_u8(f);
    unsigned n = 1 + (how >> 1 & 3);
    for (int i = 0; i <= how >> 5; i++)
        fv_chain(v, how & 0x10 ? VSOCK_EVENT : VSOCK_RX,
                 fv_buffer(v, how >> 3, n * each), n, each, true);
}

/* --------------------------------------------------------- the processes */

static void talk(struct fuzz *f, int *fds)
{
    static const char *const lines[] = {
        "CONNECT 1\n",       "connect 2\n", "CONNECT ",    "80\n",
        "CONNECT 3\nmore\n", "\n",          "CONNECT x\n", "bytes"};
    static uint8_t bytes[4096];
    uint8_t how = fuzz_u8(f);
    int *fd = &fds[(how & 15) % CLIENTS];
    switch (how >> 4 & 7) {
    case 0:
    case 1:
        if (fds == taken) {
            hang_up(fd);
            *fd = accept4(listener, NULL, NULL, 0);
        } else if (*fd < 0) {
            *fd = unix_socket(v->packed ? PATH "1" : PATH "0", false);
        }
        break;
    case 2:
        hang_up(fd);
        break;
    case 3:
        if (*fd >= 0)
            shutdown(*fd, fuzz_u8(f) % 3);
        break;
    case 4:
    case 5: {
        const char *line = lines[fuzz_u8(f) & 7];
        if (*fd >= 0)
            send(*fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    }
    case 6:
        if (*fd >= 0)
            send(*fd, bytes, 1u + fuzz_u8(f) * 16u,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    default:
        if (*fd >= 0)
            while (recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                continue;
    }
}

static void world(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    struct device *dev = &vsock_dev()->v.dev;
    if (how & 1)
        kernel_full = how >> 5;
    else if (how & 2)
        dev->held ? device_resume(dev) : device_hold(dev);
    else
        fake_advance_ns(1ull << (how >> 2));
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    unsigned q = (b >> 4) % VSOCK_QUEUES;
    switch (b & 15) {
    case 0:
        fv_one_desc(v, f, q);
        break;
    case 1:
        fv_kick(v, q);
        break;
    case 2:
        fv_poke(v, f);
        break;
    case 3:
        fv_table(v, f);
        break;
    case 4:
        drv_w16(v->m, v->common + 0x16, (uint16_t)q);
        drv_w16(v->m, v->common + 0x3a, 1);
        fv_queue(v, q, 1u << (fuzz_u8(f) % 6));
        break;
    case 5:
        if (v->starts)
            start((uint64_t)fuzz_u8(f) << 28);
        v->starts = v->starts ? v->starts - 1 : 0;
        break;
    case 6:
    case 7:
        world(f);
        break;
    case 8:
    case 9:
        post(f);
        break;
    case 10:
    case 11:
        talk(f, b & 16 ? taken : client);
        break;
    default:
        packet(f);
        break;
    }
    settle();
    CHECK(vsock_dev()->nconn <= 6);
}

/* A driver that starts anew takes a client, and hears it. */
static void end(void)
{
    char got[40];
    kernel_full = 0;
    device_resume(&vsock_dev()->v.dev);
    for (int i = 0; i < CLIENTS; i++) {
        hang_up(&client[i]);
        hang_up(&taken[i]);
    }
    int fd;
    while ((fd = accept4(listener, NULL, NULL, 0)) >= 0)
        close(fd);
    settle();
    fake_advance_ns(3000000000);
    settle();
    fv_layout(v, 0);
    start(0);
    CHECK_EQ(vsock_dev()->nconn, 0);
    fd = unix_socket(v->packed ? PATH "1" : PATH "0", false);
    REQUIRE(fd >= 0);
    CHECK_EQ(send(fd, "CONNECT 9\nhello", 15, 0), 15);
    for (int i = 0; i < 2; i++)
        fv_chain(v, VSOCK_RX, FV_BUF + 4096u * (unsigned)i, 1, 4096, true);
    settle();
    struct vsock_hdr h = {0};
    memcpy(&h, fake_ram(v->m, FV_BUF, VSOCK_HDR_LEN), VSOCK_HDR_LEN);
    CHECK_EQ(h.op, VSOCK_OP_REQUEST);
    h = (struct vsock_hdr){.src_cid = 3,
                           .dst_cid = 2,
                           .src_port = 9,
                           .dst_port = h.src_port,
                           .type = 1,
                           .op = VSOCK_OP_RESPONSE,
                           .buf_alloc = 100};
    memcpy(fake_ram(v->m, FV_DATA, VSOCK_HDR_LEN), &h, VSOCK_HDR_LEN);
    fv_chain(v, VSOCK_TX, FV_DATA, 1, VSOCK_HDR_LEN, false);
    settle();
    CHECK(recv(fd, got, sizeof(got), MSG_DONTWAIT) > 3 && got[0] == 'O');
    CHECK_EQ(
        memcmp(fake_ram(v->m, FV_BUF + 4096 + VSOCK_HDR_LEN, 5), "hello", 5),
        0);
    close(fd);
    settle();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);
    begin(how & 1);
    fv_layout(v, how >> 1);
    v->starts = FV_STARTS;
    start((uint64_t)fuzz_u8(&f) << 28);
    for (int i = 0; f.n && i < FV_ACTS; i++)
        act(&f);
    end();
    return 0;
}
