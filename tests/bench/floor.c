/* SPDX-License-Identifier: MIT */
/* The floor: what moving the same frames over a TAP costs without any guest. */

/*
 * usage: floor bridge TAP TAP         copies frames both ways until killed
 *        floor send TAP SIZE MS       what a guest's flood costs: write(2)
 *        floor recv TAP MS            what a guest's sink costs: read(2)
 *
 * send and recv print "frames=N ns=N cpu_ns=N syscalls=N waits=N".
 * bridge prints "ready" once both TAPs are there. All TAPs carry a virtio-net
 * header and take super-frames, as a monitor's would.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define VNET_HDR 12
#define BURST 64

static uint8_t buf[VNET_HDR + 65536 + 64];

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int tap_open(const char *name)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    int len = VNET_HDR;

    if (fd < 0)
        die("/dev/net/tun");
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &ifr) || ioctl(fd, TUNSETVNETHDRSZ, &len))
        die(name);
    if (ioctl(fd, TUNSETOFFLOAD,
              TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN))
        die("TUNSETOFFLOAD");
    return fd;
}

/* Moves up to a burst; true if there may be more. */
static int move(int from, int to)
{
    for (int i = 0; i < BURST; i++) {
        ssize_t n = read(from, buf, sizeof(buf));
        if (n < 0)
            return 0;
        if (write(to, buf, (size_t)n) < 0)
            continue; /* the other side is down or full: lost */
    }
    return 1;
}

static void bridge(int a, int b)
{
    struct pollfd p[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};

    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int more = move(a, b);
        more |= move(b, a);
        if (!more)
            poll(p, 2, -1);
    }
}

struct count {
    int64_t frames, syscalls, waits;
};

static void report(const struct count *c, int64_t ns)
{
    printf("frames=%lld ns=%lld cpu_ns=%lld syscalls=%lld waits=%lld\n",
           (long long)c->frames, (long long)ns,
           (long long)clock_ns(CLOCK_PROCESS_CPUTIME_ID),
           (long long)c->syscalls, (long long)c->waits);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* The frame the bundled guest's flood sends: broadcast UDP to port 9. */
static void make_frame(uint8_t *f, unsigned size)
{
    static const uint8_t eth[14] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52,
                                    0x54, 0,    0,    0,    2,    0x08, 0};
    uint8_t *ip = f + 14;
    uint32_t sum = 0;

    memcpy(f, eth, sizeof(eth));
    ip[0] = 0x45;
    put16(ip + 2, size - 14);
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, "\x0a\x00\x00\x02\xff\xff\xff\xff", 8);
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~sum & 0xffff);
    put16(ip + 20, 9);
    put16(ip + 22, 9);
    put16(ip + 24, size - 34);
}

static void send_frames(int fd, unsigned size, int64_t ns)
{
    struct count c = {0};
    int64_t begin = clock_ns(CLOCK_MONOTONIC), end = begin + ns, t;

    make_frame(buf + VNET_HDR, size);
    do {
        for (int i = 0; i < BURST; i++) {
            c.syscalls++;
            if (write(fd, buf, VNET_HDR + size) < 0)
                die("write");
            c.frames++;
        }
        t = clock_ns(CLOCK_MONOTONIC);
    } while (t < end);
    report(&c, t - begin);
}

static void receive_frames(int fd, int64_t ns)
{
    struct count c = {0};
    struct pollfd p = {fd, POLLIN, 0};
    int64_t begin = clock_ns(CLOCK_MONOTONIC), end = begin + ns, t;

    printf("ready\n");
    fflush(stdout);
    do {
        for (int i = 0; i < BURST; i++) {
            c.syscalls++;
            if (read(fd, buf, sizeof(buf)) < 0) {
                c.waits++;
                c.syscalls++;
                poll(&p, 1, 100);
                break;
            }
            c.frames++;
        }
        t = clock_ns(CLOCK_MONOTONIC);
    } while (t < end);
    report(&c, t - begin);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "bridge"))
        bridge(tap_open(argv[2]), tap_open(argv[3]));
    else if (argc == 5 && !strcmp(argv[1], "send"))
        send_frames(tap_open(argv[2]), (unsigned)atoi(argv[3]),
                    atoll(argv[4]) * 1000000);
    else if (argc == 4 && !strcmp(argv[1], "recv"))
        receive_frames(tap_open(argv[2]), atoll(argv[3]) * 1000000);
    else
        return fprintf(stderr, "floor: see the head of floor.c\n"), 2;
    return 0;
}
