/* SPDX-License-Identifier: MIT */
/* -netdev user: networking without privileges, by passt. The helper process
 * (host/helper.h) starts one passt per netdev on one end of a socket pair; it
 * ends when the other end closes, however this process dies. The addresses are
 * those QEMU's users know: the guest is 10.0.2.15, its gateway (the host's
 * loopback, too) 10.0.2.2, its name server 10.0.2.3.
 *
 * passt (Debian 12's, 2023-03) drops UDP datagrams in padded frames: it takes
 * the frame's end for the datagram's; short frames go to it unpadded. And it
 * sends to 00:00:00:00:00:00 until it has heard the guest: one that is started
 * again hears a RARP of the MAC the guest last used. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/eth.h"
#include "base/use.h"
#include "host/program.h"
#include "net/stream.h"

#define FWD_MAX 32
#define ARGS_MAX (32 + 2 * FWD_MAX)

struct user {
    struct stream s;
    const char *net, *host, *dns, *dhcpstart;
    uint16_t mtu;
    uint8_t ipv4, ipv6;
    char *argv[ARGS_MAX + 1]; /* NULL at the end */
    int argc;
    struct program passt;
};

static int user_arg(struct user *u, const char *arg)
{
    if (u->argc == ARGS_MAX)
        return fail(-E2BIG, "-netdev user: too many options");
    u->argv[u->argc] = strdup(arg);
    return u->argv[u->argc++] ? 0 : -ENOMEM;
}

/* The value of an argument, or `def`. */
static const char *user_option(const struct user *u, const char *opt,
                               const char *def)
{
    for (int i = 0; i + 1 < u->argc; i++)
        if (!strcmp(u->argv[i], opt))
            return u->argv[i + 1];
    return def;
}

static int user_arg2(struct user *u, const char *key, const char *val)
{
    int err = user_arg(u, key);
    return err ? err : user_arg(u, val);
}

/* passt binds what it can: of a port that somebody has for IPv4 it would serve
 * IPv6 alone, and say nothing. */
static int user_port_free(const char *text, bool udp, const char *host,
                          unsigned port)
{
    struct addr a;
    char num[8];
    snprintf(num, sizeof(num), "%u", port);
    int err = addr_inet("hostfwd=", host, num, true, &a);
    if (err)
        return err;
    int fd =
        socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    err = fd < 0 ? -errno : addr_bind(fd, &a);
    if (fd >= 0)
        close(fd);
    return err ? fail(err, "hostfwd=%s: port %u of the host: %s", text, port,
                      strerror(-err))
               : 0;
}

static bool user_is_ipv4(const char *text)
{
    struct in_addr a;
    return inet_pton(AF_INET, text, &a) == 1;
}

struct user_fwd {
    bool udp;
    char host[16], guest[16]; /* or "" */
    uint64_t hport, gport;
};

/* A port, with an address before it or not. */
static bool user_scan_end(const char **p, char addr[16], uint64_t *port)
{
    return scan_set(p, "0123456789.", addr, 16) && *(*p)++ == ':' &&
           scan_number(p, 65535, port) && *port &&
           (!*addr || user_is_ipv4(addr));
}

/* tcp|udp:[host]:port-[guest]:port; the protocol may be left out: tcp. */
static bool user_scan_fwd(const char *p, struct user_fwd *f)
{
    f->udp = !strncmp(p, "udp:", 4);
    if (f->udp || !strncmp(p, "tcp:", 4))
        p += 4;
    else if (*p++ != ':')
        return false;
    return user_scan_end(&p, f->host, &f->hport) && *p++ == '-' &&
           user_scan_end(&p, f->guest, &f->gport) && !*p;
}

/* Into -t or -u "[host/]port:port". The guest's address is passt's own affair.
 */
static int user_hostfwd(struct user *u, const char *text)
{
    struct user_fwd f;
    char spec[128];
    if (!user_scan_fwd(text, &f))
        return fail(-EINVAL,
                    "hostfwd=%s: must be tcp|udp:[host]:port-[guest]:port",
                    text);
    int err = user_port_free(text, f.udp, f.host, (unsigned)f.hport);
    if (err)
        return err;
    snprintf(spec, sizeof(spec), "%s%s%u:%u", f.host, *f.host ? "/" : "",
             (unsigned)f.hport, (unsigned)f.gport);
    return user_arg2(u, f.udp ? "-u" : "-t", spec);
}

/* net=10.0.2.0/24 (or with a netmask) into its base and prefix length. */
static int user_net(const char *text, uint32_t *base, int *bits)
{
    char ip[16];
    struct in_addr a, m;
    uint64_t n;
    if (!scan_set(&text, "0123456789.", ip, sizeof(ip)) ||
        inet_pton(AF_INET, ip, &a) != 1)
        return -EINVAL;
    const char *mask = *text == '/' ? text + 1 : *text ? text : "24";
    bool dotted = inet_pton(AF_INET, mask, &m) == 1;
    if (dotted)
        n = (unsigned)__builtin_popcount(m.s_addr);
    else if (!scan_number(&mask, 28, &n) || *mask)
        return -EINVAL;
    if (n < 8 || n > 28)
        return -EINVAL;
    *bits = (int)n;
    uint32_t ones = 0xffffffffu << (32 - n);
    if (dotted && ntohl(m.s_addr) != ones)
        return -EINVAL;
    *base = ntohl(a.s_addr) & ones;
    return 0;
}

static int user_addr(struct user *u, const char *opt, const char *key,
                     const char *text, uint32_t def)
{
    struct in_addr a = {htonl(def)};
    char buf[16];
    if (text && inet_pton(AF_INET, text, &a) != 1)
        return fail(-EINVAL, "%s: %s=%s: must be an IPv4 address",
                    u->s.nd.opts.what, key, text);
    inet_ntop(AF_INET, &a, buf, sizeof(buf));
    return user_arg2(u, opt, buf);
}

/* passt's command line. */
static int user_args(struct user *u)
{
    struct opts *o = &u->s.nd.opts;
    uint32_t base = 10u << 24 | 2 << 8;
    int bits = 24;
    char num[16], mtu[16];
    if (u->net && user_net(u->net, &base, &bits))
        return fail(-EINVAL, "%s: net=%s: must be like 10.0.2.0/24", o->what,
                    u->net);
    if (!u->ipv4 && !u->ipv6)
        return fail(-EINVAL, "%s: neither ipv4 nor ipv6 is left", o->what);
    snprintf(num, sizeof(num), "%d", bits);
    snprintf(mtu, sizeof(mtu), "%u", u->mtu);
    int err = user_arg(u, "passt") || user_arg(u, "-f") || user_arg(u, "-q");
    if (!u->ipv4 || !u->ipv6)
        err = err || user_arg(u, u->ipv4 ? "-4" : "-6");
    if (u->ipv4)
        err = err || user_addr(u, "-a", "dhcpstart", u->dhcpstart, base + 15) ||
              user_addr(u, "-g", "host", u->host, base + 2) ||
              user_addr(u, "--dns-forward", "dns", u->dns, base + 3) ||
              user_arg2(u, "-n", num);
    if (u->mtu)
        err = err || user_arg2(u, "-m", mtu);
    const char *fwd;
    for (int i = 0; !err && (fwd = opts_nth(o, "hostfwd", i)); i++)
        err = user_hostfwd(u, fwd);
    return err || user_arg2(u, "--fd", "") ? -EINVAL : 0;
}

static void user_free_args(struct user *u)
{
    while (u->argc)
        free(u->argv[--u->argc]);
}

static void user_close(struct netdev *nd)
{
    user_free_args(container_of(nd, struct user, s.nd));
    free(nd);
}

static int user_check(struct netdev *nd)
{
    struct user *u = container_of(nd, struct user, s.nd);
    nd->close = user_close;
    int err = user_args(u);
    if (err)
        return err;
    u->passt = (struct program){
        .id = nd->id, .package = "passt", .argv = u->argv, .peer = &u->s.peer};
    return program_check(&u->passt);
}

static int user_dial(void *arg)
{
    return program_dial(&((struct user *)arg)->passt);
}

/* Just so many bytes, which may come in pieces: the first within `ms`, the rest
 * in ten seconds each, as a stream goes on at a frame's beginning only. 1; 0:
 * nothing came; -1: the other end is closed, or stopped in the middle. */
static int user_read(int fd, uint8_t *to, size_t len, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (size_t have = 0; have < len;) {
        int ready = poll(&p, 1, have ? 10000 : ms);
        if (ready == 0)
            return have ? -1 : 0;
        ssize_t n =
            ready < 0 ? -1 : recv(fd, to + have, len - have, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return -1;
        have += n > 0 ? (size_t)n : 0;
    }
    return 1;
}

/* Who has the gateway's address? passt answers once it runs; an option it does
 * not like, or a port it cannot have, ends it before. 0: it runs, or says
 * nothing for a second; -errno, said. */
static int user_meet(struct user *u, int fd)
{
    uint8_t ask[4 + 42] = {0, 0, 0, 42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                           0, 0, 0, 0,  1,    8,    6,    0,    1,    8,    0,
                           6, 4, 0, 1,  2,    0,    0,    0,    0,    1},
                    got[2048];
    inet_pton(AF_INET, user_option(u, "-a", "10.0.2.15"), ask + 32);
    inet_pton(AF_INET, user_option(u, "-g", "10.0.2.2"), ask + 42);
    send(fd, ask, sizeof(ask), MSG_NOSIGNAL | MSG_DONTWAIT);
    int have = user_read(fd, got, 4, 1000);
    size_t len = have > 0 ? eth_get32(got) : 0;
    /* the answer is not the guest's */
    if (len > sizeof(got) || (len && user_read(fd, got, len, 10000) <= 0))
        have = -1;
    if (have >= 0)
        return 0;
    return program_failed(&u->passt, u->s.nd.id);
}

static void user_end(void *arg)
{
    struct user *u = arg;
    program_end(&u->passt);
    user_free_args(u);
}

static int user_open(struct netdev *nd, struct loop *l)
{
    struct user *u = container_of(nd, struct user, s.nd);
    int fd = program_open(&u->passt, nd->opts.what, l);
    if (fd < 0)
        return fd;
    int err = user_meet(u, fd);
    if (err) {
        close(fd);
        return err;
    }
    program_runs(&u->passt);
    struct stream_conf c = {.peer = "passt",
                            .fd = fd,
                            .listen_fd = -1,
                            .dial = user_dial,
                            .redial_ms = 1000,
                            .passt = true, /* see above */
                            .end = user_end,
                            .arg = u};
    return stream_open(&u->s, l, &c);
}

#define USER_TEXT(key, value, text)                                            \
    FIELD(TEXT, #key, struct user, key, .arg = value, .help = text)
static const struct field user_fields[] = {
    FIELDS_OF(netdev_fields, "", struct user, s.nd),
    {.name = "hostfwd",
     .type = FIELD_LIST,
     .use = OPTION,
     .arg = "FORWARD",
     .help = "tcp|udp:[IP]:PORT-[IP]:PORT, a port of the host's; repeat it"},
    USER_TEXT(net, "10.0.2.0/24", "the guest's network"),
    USER_TEXT(host, "IP", "the host in it (10.0.2.2)"),
    USER_TEXT(dns, "IP", "the name server in it (10.0.2.3)"),
    USER_TEXT(dhcpstart, "IP", "the guest's address (10.0.2.15)"),
    FIELD(FLAG, "ipv4", struct user, ipv4, .def = ON, .help = "with IPv4"),
    FIELD(FLAG, "ipv6", struct user, ipv6, .def = ON, .help = "with IPv6"),
    FIELD(NUMBER, "mtu", struct user, mtu, .min = 68, .max = 65520,
          .help = "told to the guest"),
    FIELDS_OF(stream_counters, "", struct user, s),
    {.help = NULL},
};

const struct netdev_class user_class = {
    .name = "user",
    .help = "networking without privileges, by passt",
    .fields = user_fields,
    .size = sizeof(struct user),
    .check = user_check,
    .open = user_open,
};
