/* SPDX-License-Identifier: MIT */
/* What the tests of net/ share: packets, and opening netdevs by their text. */
#ifndef NET_TEST_H
#define NET_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/helper.h"
#include "net/net.h"
#include "tests/unit/fake.h"
#include "tests/unit/fakesys.h"

static int nt_home = -1;

/* A network namespace for this test, or skips it. */
static inline struct machine *nt_ns_enter(void)
{
    nt_home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (geteuid() != 0)
        SKIP("needs root");
    if (access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0)
        SKIP("no /dev/net/tun or no namespaces");
    return fake_new(4096);
}

/* As main() does at the end. */
static inline void nt_close_all(void)
{
    helper_end();
    netdev_close_all();
}

static inline void nt_free(struct netdev *nd)
{
    helper_end();
    netdev_free(nd);
}

static inline void nt_ns_leave(struct machine *m)
{
    fake_host_real();
    nt_close_all();
    fake_free(m);
    CHECK_EQ(setns(nt_home, CLONE_NEWNET), 0);
    close(nt_home);
}

static inline void nt_sh(const char *cmd)
{
    if (system(cmd) != 0)
        FAIL("%s", cmd);
}

/* Read and checked, not opened: the caller's, not listed. */
static inline int nt_new(const struct netdev_class *c, const char *text,
                         struct netdev **out)
{
    struct opts o;
    struct netdev *nd = NULL, **p = &netdevs;
    int r = opts_parse(&o, c->name, text, NULL);
    if (r == 0)
        r = netdev_new(c, &o, &nd);
    if (r < 0)
        return r;
    while (*p != nd)
        p = &(*p)->next;
    *p = NULL;
    *out = nd;
    return 0;
}

/* That one opened; it is gone when it cannot be. */
static inline int nt_open_new(struct machine *m, struct netdev *nd)
{
    int r = helper_begin(geteuid(), getegid());
    if (r == 0)
        r = helper_watch(m->loop);
    if (r == 0)
        r = nd->cls->open(nd, m->loop);
    if (r < 0)
        netdev_free(nd);
    return r;
}

static inline int nt_open(struct machine *m, const struct netdev_class *c,
                          const char *text, struct netdev **out)
{
    struct netdev *nd = NULL;
    int r = nt_new(c, text, &nd);
    if (r == 0)
        r = nt_open_new(m, nd);
    if (r == 0)
        *out = nd;
    return r;
}

/* A capture, by the text behind -object filter-dump. */
static inline int nt_dump(const char *text)
{
    struct opts o;
    struct dump *d;
    int r = opts_parse(&o, "-object filter-dump", text, NULL);
    if (r == 0)
        r = dump_new(&o, &d);
    if (r < 0)
        return r;
    r = dump_open(d);
    if (r < 0)
        dump_free(d);
    return r;
}

/* All of a netdev's frames to a file. */
static inline int nt_capture(struct netdev *nd, const char *file)
{
    char text[300];
    snprintf(text, sizeof(text), "netdev=%s,file=%s", nd->id, file);
    return nt_dump(text);
}

/* Sends a frame of `len` bytes, each (seed + index); what send gives. */
static inline ssize_t nt_send(struct netdev *nd, size_t len, uint8_t seed)
{
    static uint8_t p[NET_HDR_LEN + NET_FRAME_MAX];
    struct iovec iov = {p, NET_HDR_LEN + len};
    memset(p, 0, NET_HDR_LEN);
    for (size_t i = 0; i < len; i++)
        p[NET_HDR_LEN + i] = (uint8_t)(seed + i);
    return nd->q[0]->send(nd->q[0], &iov, 1);
}

/* Receives into `max` bytes of room and checks the frame; its length, or what
 * recv gave. */
static inline ssize_t nt_recv(struct netdev *nd, size_t max, uint8_t seed)
{
    static uint8_t p[NET_HDR_LEN + NET_FRAME_MAX];
    struct iovec iov = {p, NET_HDR_LEN + max};
    memset(p, 0xee, sizeof(p));
    ssize_t r = nd->q[0]->recv(nd->q[0], &iov, 1);
    if (r <= 0)
        return r;
    CHECK(r > NET_HDR_LEN);
    for (int i = 0; i < NET_HDR_LEN - 2; i++)
        CHECK_EQ(p[i], 0);
    for (ssize_t i = NET_HDR_LEN; i < r; i++)
        if (p[i] != (uint8_t)(seed + i - NET_HDR_LEN)) {
            FAIL("byte %zd of a frame of %zd is wrong", i, r);
            break;
        }
    return r - NET_HDR_LEN;
}

/* A path of its own in a directory removed by nt_clean. */
static inline const char *nt_path(const char *name)
{
    static char dir[64], path[4][128];
    static int k;
    k = (k + 1) % 4;
    snprintf(dir, sizeof(dir), "/tmp/vmm-unit.%d", (int)getpid());
    mkdir(dir, 0700);
    snprintf(path[k], sizeof(path[k]), "%s/%s", dir, name);
    return path[k];
}
static inline void nt_clean(void)
{
    char cmd[64];
    snprintf(cmd, sizeof(cmd), "rm -rf /tmp/vmm-unit.%d", (int)getpid());
    CHECK_EQ(system(cmd), 0);
}

#endif
