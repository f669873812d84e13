/* SPDX-License-Identifier: MIT */
/* The vsock driver and the host's processes: see vs.h. */
#include "tests/unit/devices/virtio_vsock/vs.h"

#include <fcntl.h>
#include <unistd.h>

void vs_post(struct vs *s)
{
    struct vd_buf b = {vd_alloc(&s->d, s->rx_len, 1), s->rx_len, true};
    int id = vd_add(&s->d.q[VSOCK_RX], &b, 1);
    REQUIRE(id >= 0);
    s->at[id] = b.at;
}

void vs_post_all(struct vs *s)
{
    for (unsigned i = 0; i < s->rx_count; i++)
        vs_post(s);
    vd_kick(&s->d, VSOCK_RX);
}

void vs_again(struct vs *s, uint64_t want)
{
    s->d.brk = 0x10000;
    vd_again(&s->d, want);
    s->tx = vd_alloc(&s->d, 70000, 64);
    s->fwd = 0;
    if (!s->no_rx)
        vs_post_all(s);
}

void vs_up(struct vs *s, bool packed, uint64_t want)
{
    s->rx_len = s->rx_len ? s->rx_len : 4096;
    s->rx_count = s->rx_count ? s->rx_count : 32;
    s->alloc = s->alloc ? s->alloc : VS_ALLOC;
    snprintf(s->path, sizeof(s->path), "/tmp/vmm-vsock.%d", (int)getpid());
    snprintf(s->text, sizeof(s->text), "id=vs,guest-cid=3,uds_path=%s%s%s",
             s->path, s->opts ? "," : "", s->opts ? s->opts : "");
    s->d.cls = &virtio_vsock_class;
    s->d.type = 19;
    s->d.opts = s->text;
    s->d.packed = packed;
    s->m = vd_new(&s->d);
    vs_again(s, want);
}

void vs_make(struct machine *m, void *ctx)
{
    struct vs *s = ctx;
    char text[400];
    snprintf(text, sizeof(text), "packed=%s,%s", s->d.packed ? "on" : "off",
             s->text);
    REQUIRE_EQ(fake_device(m, &virtio_vsock_class, "vsock", text), 0);
    s->m = s->d.m = m;
    for (struct device *dev = m->devices; dev; dev = dev->next)
        if (dev->cls == &virtio_vsock_class)
            s->d.dev = dev;
}

void vs_free(struct vs *s)
{
    static const unsigned listened[] = {1, 80, 81, 82};
    char path[120];
    vd_free(&s->d);
    CHECK_EQ(access(s->path, F_OK), -1);
    for (size_t i = 0; i < ARRAY_LEN(listened); i++) {
        snprintf(path, sizeof(path), "%s_%u", s->path, listened[i]);
        unlink(path);
    }
}

bool vs_get(struct vs *s, struct vs_packet *p)
{
    struct vd_queue *q = &s->d.q[VSOCK_RX];
    uint32_t len;
    int id;
    if (!vd_used(q, &id, &len))
        return false;
    REQUIRE(len >= VSOCK_HDR_LEN && len <= s->rx_len);
    memset(p, 0, sizeof(p->h));
    uint8_t *at = vd_ram(&s->d, s->at[id], s->rx_len);
    memcpy(&p->h, at, VSOCK_HDR_LEN);
    REQUIRE_EQ(p->h.len, len - VSOCK_HDR_LEN);
    memcpy(p->data, at + VSOCK_HDR_LEN, p->h.len);
    struct vd_buf b = {s->at[id], s->rx_len, true};
    int again = vd_add(q, &b, 1);
    REQUIRE(again >= 0);
    s->at[again] = b.at;
    vd_kick(&s->d, VSOCK_RX);
    return true;
}

struct vs_packet *vs_want(struct vs *s, enum vsock_op op, uint32_t guest,
                          uint32_t host)
{
    static struct vs_packet p;
    memset(&p.h, 0, sizeof(p.h));
    if (!CHECK(vs_get(s, &p)))
        test_end();
    CHECK_EQ(p.h.op, op);
    CHECK_EQ(p.h.src_cid, VSOCK_HOST_CID);
    CHECK_EQ(p.h.dst_cid, VS_CID);
    CHECK_EQ(p.h.dst_port, guest);
    if (host)
        CHECK_EQ(p.h.src_port, host);
    CHECK_EQ(p.h.type, VSOCK_TYPE_STREAM);
    CHECK_EQ(p.h.len != 0, op == VSOCK_OP_RW);
    if (op != VSOCK_OP_SHUTDOWN)
        CHECK_EQ(p.h.flags, 0);
    return &p;
}

void vs_want_none(struct vs *s)
{
    static struct vs_packet p;
    if (vs_get(s, &p))
        FAIL("a packet of operation %u", p.h.op);
}

void vs_send_raw(struct vs *s, const struct vsock_hdr *h, const void *data,
                 uint32_t len)
{
    struct vd_buf b = {s->tx, VSOCK_HDR_LEN + len, false};
    memcpy(vd_ram(&s->d, b.at, b.len), h, VSOCK_HDR_LEN);
    if (len)
        memcpy((uint8_t *)vd_ram(&s->d, b.at, b.len) + VSOCK_HDR_LEN, data,
               len);
    REQUIRE(vd_add(&s->d.q[VSOCK_TX], &b, 1) >= 0);
    vd_kick(&s->d, VSOCK_TX);
    CHECK_EQ(vd_reap(&s->d.q[VSOCK_TX]), 1);
}

static struct vsock_hdr header(struct vs *s, enum vsock_op op, uint32_t guest,
                               uint32_t host)
{
    return (struct vsock_hdr){.src_cid = VS_CID,
                              .dst_cid = VSOCK_HOST_CID,
                              .src_port = guest,
                              .dst_port = host,
                              .type = VSOCK_TYPE_STREAM,
                              .op = (le16)op,
                              .buf_alloc = s->alloc,
                              .fwd_cnt = s->fwd};
}

void vs_send(struct vs *s, enum vsock_op op, uint32_t guest, uint32_t host,
             uint32_t flags)
{
    struct vsock_hdr h = header(s, op, guest, host);
    h.flags = flags;
    vs_send_raw(s, &h, NULL, 0);
}

void vs_data(struct vs *s, uint32_t guest, uint32_t host, const void *data,
             uint32_t len)
{
    struct vsock_hdr h = header(s, VSOCK_OP_RW, guest, host);
    h.len = len;
    vs_send_raw(s, &h, data, len);
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    return a;
}

int vs_dial(struct vs *s)
{
    struct sockaddr_un a = address(s->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(fd >= 0);
    REQUIRE_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

int vs_listen(struct vs *s, uint32_t port)
{
    char path[120];
    snprintf(path, sizeof(path), "%s_%u", s->path, port);
    struct sockaddr_un a = address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    REQUIRE_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    REQUIRE_EQ(listen(fd, 64), 0); /* for all that ask at once */
    return fd;
}

void vs_say(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void vs_hears(int fd, const char *text)
{
    char got[VS_SAID] = "";
    ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);
    if (!text) {
        CHECK(n == 0 || (n < 0 && errno == ECONNRESET));
    } else if (!*text) {
        CHECK(n < 0 && errno == EAGAIN);
    } else if (CHECK(n > 0)) {
        CHECK_STR(got, text);
    }
}

int vs_connect(struct vs *s, uint32_t guest, uint32_t *port)
{
    char text[40];
    int fd = vs_dial(s);
    snprintf(text, sizeof(text), "CONNECT %u\n", guest);
    vs_say(fd, text);
    fake_run_loop(s->m);
    *port = vs_want(s, VSOCK_OP_REQUEST, guest, 0)->h.src_port;
    vs_hears(fd, "");
    vs_send(s, VSOCK_OP_RESPONSE, guest, *port, 0);
    snprintf(text, sizeof(text), "OK %u\n", *port);
    vs_hears(fd, text);
    return fd;
}

int vs_connect_out(struct vs *s, uint32_t guest, uint32_t host)
{
    int l = vs_listen(s, host), fd = -1;
    vs_send(s, VSOCK_OP_REQUEST, guest, host, 0);
    FAKE_SOON(s->m,
              (fd = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
    struct vs_packet p = {.h.op = 0};
    FAKE_SOON(s->m, vs_get(s, &p));
    CHECK_EQ(p.h.op, VSOCK_OP_RESPONSE);
    CHECK_EQ(p.h.src_port, host);
    CHECK_EQ(p.h.dst_port, guest);
    close(l);
    return fd;
}
