/* SPDX-License-Identifier: MIT */
/* vmm doctor -tap, -bridge: from the interface to the way out.
 *
 * Theory of operation. What can be asked is asked (is the interface there, up,
 * with an address?); then the bundled guest is booted on it at a free address
 * and spoken to at its UDP echo port, which needs no privilege: a datagram with
 * a checksum, one without, one that fills a frame. Which of them comes back
 * tells a firewall from an offload and from an MTU. The firewall's rules are
 * read with nft(8), which has iptables' as well. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/doctor.h"
#include "control/ruleset.h"
#include "host/child.h"
#include "host/iface.h"

enum { ECHO_PORT = 7, DISCARD_PORT = 9, TRIES = 16 };
enum { START_MS = 30000, DHCP_MS = 4000, MTU = 1500 };

static struct {
    const char *name; /* the TAP, or the bridge */
    bool bridge;
    char host[16], guest[16];
    uint32_t ip, mask; /* the host's */
    int bits;
    char way[IFNAMSIZ]; /* who has the address: it, or the TAP's bridge */
} net;

/* ------------------------------------------------------------- the interface
 */

bool doctor_is_name(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@:+-";
    size_t n = strspn(name, plain);
    return n && !name[n] && n < IFNAMSIZ && *name != '-' &&
           strspn(name, ".") != n;
}

static void doctor_find_address(void)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all))
        return;
    for (struct ifaddrs *a = all; a; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET ||
            strcmp(a->ifa_name, net.way) != 0)
            continue;
        uint32_t ip =
            ntohl(((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr.s_addr);
        uint32_t mask = ntohl(
            ((struct sockaddr_in *)(void *)a->ifa_netmask)->sin_addr.s_addr);
        struct in_addr host = {htonl(ip)};
        inet_ntop(AF_INET, &host, net.host, sizeof(net.host));
        net.ip = ip;
        net.mask = mask;
        net.bits = __builtin_popcount(mask);
        break;
    }
    freeifaddrs(all);
}

/* Does the kernel know who has an address? */
static bool doctor_arp(const char *address)
{
    char line[256], ip[32];
    unsigned flags = 0;
    FILE *f = fopen("/proc/net/arp", "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%31s 0x%*x 0x%x", ip, &flags) == 2 &&
            !strcmp(ip, address) && flags & 2)
            break;
        else
            flags = 0;
    if (f)
        fclose(f);
    return flags & 2;
}

/* The kernel asks for who is to be sent something. */
static bool doctor_is_taken(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(DISCARD_PORT)};
    bool taken = doctor_arp(address);
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = taken ? -1 : socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && sendto(fd, "", 1, 0, (void *)&to, sizeof(to)) == 1)
        for (int i = 0; i < 6 && !taken; i++) {
            poll(NULL, 0, 100);
            taken = doctor_arp(address);
        }
    if (fd >= 0)
        close(fd);
    return taken;
}

/* An address near the host's; on a bridge, where others may be, one that nobody
 * has. -1: there is none. */
static int doctor_find_guest(void)
{
    bool others = strcmp(net.way, net.name) != 0 || net.bridge;
    for (uint32_t i = 1; i <= TRIES; i++) {
        uint32_t at = (net.ip + i) & ~net.mask;
        struct in_addr guest = {htonl((net.ip & net.mask) | at)};
        inet_ntop(AF_INET, &guest, net.guest, sizeof(net.guest));
        if (at && at != ~net.mask && at != (net.ip & ~net.mask) &&
            !(others && doctor_is_taken(net.guest)))
            return 0;
    }
    return -1;
}

/* A TAP that is a bridge's port: the address is the bridge's. */
static void doctor_find_way(void)
{
    char path[64], to[256];
    snprintf(net.way, sizeof(net.way), "%s", net.name);
    snprintf(path, sizeof(path), "/sys/class/net/%s/master", net.name);
    ssize_t n = net.bridge ? -1 : readlink(path, to, sizeof(to) - 1);
    to[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(to, '/');
    if (slash && doctor_is_name(slash + 1) && if_nametoindex(slash + 1))
        snprintf(net.way, sizeof(net.way), "%s", slash + 1);
    doctor_find_address();
}

/* Attached for a moment, as the VMM does it. */
static int doctor_try_tap(void)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", net.name);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    int err = fd < 0 || ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

static int doctor_is_there(void)
{
    char mend[256];
    if (!net.bridge)
        snprintf(mend, sizeof(mend), "ip tuntap add dev %s mode tap user %u",
                 net.name, (unsigned)geteuid());
    else
        snprintf(mend, sizeof(mend), "ip link add %s type bridge", net.name);
    if (!if_nametoindex(net.name))
        return doctor_bad("interface", mend, "there is no %s", net.name);
    int err = net.bridge ? 0 : doctor_try_tap();
    if (err == EINVAL)
        return doctor_bad("interface", NULL,
                          "%s is no TAP, or one of several queues; choose "
                          "another",
                          net.name);
    if (err == EBUSY)
        return doctor_bad("interface", NULL, "%s: another process has it",
                          net.name);
    if (!err)
        return 0;
    int n = snprintf(mend, sizeof(mend),
                     "ip tuntap del dev %s mode tap && ip tuntap add dev %s "
                     "mode tap user %u && ip link set %s up",
                     net.name, net.name, (unsigned)geteuid(), net.name);
    if (net.bits && !strcmp(net.way, net.name))
        snprintf(mend + n, sizeof(mend) - (size_t)n,
                 " && ip addr add %s/%d dev %s", net.host, net.bits, net.name);
    return doctor_bad("interface", mend, "%s: %s: it is another user's",
                      net.name, strerror(err));
}

static int doctor_interface(void)
{
    char mend[96];
    if (doctor_is_there())
        return -1;
    const char *const two[] = {net.name, net.way};
    for (int i = 0; i < 2; i++) {
        snprintf(mend, sizeof(mend), "ip link set %s up", two[i]);
        if (if_is_up(two[i]) != 1)
            return doctor_bad("interface", mend, "%s is down", two[i]);
    }
    doctor_ok("interface", "%s is there, may be used, and is up", net.name);
    snprintf(mend, sizeof(mend), "ip addr add 10.0.0.1/24 dev %s", net.way);
    if (!net.bits)
        return doctor_bad("address", mend,
                          "%s has none, so nobody answers the guest", net.way);
    if (net.bits > 30)
        return doctor_bad("address", mend,
                          "%s/%d of %s leaves no room for a guest", net.host,
                          net.bits, net.way);
    if (doctor_find_guest())
        return doctor_bad("address", NULL,
                          "of the addresses after %s/%d of %s all are others'",
                          net.host, net.bits, net.way);
    doctor_ok("address", "%s/%d, the guest gets %s", net.host, net.bits,
              net.guest);
    int mtu = if_mtu(net.name);
    snprintf(mend, sizeof(mend), "ip link set %s mtu %d", net.name, MTU);
    if (mtu < MTU)
        return doctor_bad("mtu", mend, "%s: %d; a guest's frames are of %d",
                          net.name, mtu, MTU);
    return 0;
}

/* ------------------------------------------------------------------- firewall
 */

/* Reads `nft list ruleset`. malloc'ed; NULL: it cannot be. */
static char *doctor_rules(void)
{
    /* NOLINTNEXTLINE(cert-env33-c): these very words */
    FILE *f = popen("nft list ruleset 2>/dev/null", "re");
    enum { MOST = 1 << 20 };
    char *text = calloc(1, MOST);
    size_t n = f && text ? fread(text, 1, MOST - 1, f) : 0;
    if ((f && pclose(f)) || !text) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

/* ------------------------------------------------------------------ the guest
 */

/* Does this many bytes come back? -errno; 0: they do. */
static int doctor_echo(size_t bytes, bool sum)
{
    char out[2048], in[2048];
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(ECHO_PORT)};
    int no = !sum, whole = IP_PMTUDISC_PROBE, err = -ETIMEDOUT;
    inet_pton(AF_INET, net.guest, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &no, sizeof(no));
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof(whole));
    memset(out, 'v', sizeof(out));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
        err = -errno;
    for (int i = 0; i < 5 && err == -ETIMEDOUT; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (send(fd, out, bytes, 0) < 0)
            err = -errno;
        else if (poll(&p, 1, 500) == 1)
            err = recv(fd, in, sizeof(in), 0) == (ssize_t)bytes ? 0 : -errno;
    }
    close(fd);
    return err;
}

static int doctor_silent(int err)
{
    char mend[320];
    char *rules = doctor_rules();
    bool in = rules && ruleset_for(rules, "input", net.way, false, mend,
                                   sizeof(mend)) != RULES_PASS;
    bool out = !in && rules &&
               ruleset_for(rules, "output", net.way, true, mend,
                           sizeof(mend)) != RULES_PASS;
    free(rules);
    if (in || out)
        return doctor_bad("ping", mend,
                          "the guest's answers do not arrive: a firewall rule "
                          "drops them");
    snprintf(mend, sizeof(mend), "ethtool -K %s tx off", net.way);
    if (!doctor_echo(64, false))
        return doctor_bad("checksum", mend,
                          "what the guest is sent arrives with a wrong "
                          "checksum");
    return doctor_bad("ping", NULL, "%s does not answer: %s", net.guest,
                      strerror(-err));
}

static int doctor_speak(void)
{
    char mend[96];
    int err = doctor_echo(64, true);
    if (!doctor_arp(net.guest))
        return doctor_bad("arp", NULL, "%s does not say which MAC it has (%s)",
                          net.guest, err ? strerror(-err) : "no entry");
    doctor_ok("arp", "%s has a MAC", net.guest);
    if (err)
        return doctor_silent(err);
    doctor_ok("ping", "%s answers", net.guest);
    snprintf(mend, sizeof(mend), "ip link set %s mtu %d", net.way, MTU);
    err = doctor_echo(MTU - 28, true);
    if (err)
        return doctor_bad("mtu", mend, "a frame of %d does not come back: %s",
                          MTU, strerror(-err));
    doctor_ok("mtu", "%d", if_mtu(net.way));
    doctor_ok("checksum", "the kernel's are right when they arrive");
    return 0;
}

static int doctor_boot(struct doctor_guest *g, const char *words,
                       const char *wait, int ms)
{
    char nic[64];
    snprintf(nic, sizeof(nic),
             net.bridge ? "bridge,br=%s"
                        : "tap,script=no,downscript=no,"
                          "ifname=%s",
             net.name);
    const char *const args[] = {"-serial", "stdio", "-nic", nic,
                                "-append", words,   NULL};
    return doctor_guest(g, args, wait, ms);
}

static int doctor_guest_answers(void)
{
    struct doctor_guest g = {0};
    char words[80];
    snprintf(words, sizeof(words), "ip=%s/%d,gw=%s", net.guest, net.bits,
             net.host);
    if (doctor_boot(&g, words, "guest: net up", START_MS))
        return doctor_bad("nic", NULL, "the guest does not run on %s: %s",
                          net.name, g.said);
    int err = doctor_speak();
    doctor_guest_end(&g);
    return err;
}

static void doctor_dhcp(void)
{
    struct doctor_guest g = {0};
    if (doctor_boot(&g, "ip=dhcp", "guest: net up", DHCP_MS)) {
        doctor_note("dhcp", NULL,
                    "no server answers on %s: guests need addresses of their "
                    "own",
                    net.way);
        return;
    }
    doctor_guest_end(&g);
    doctor_ok("dhcp", "a server gives the guest an address");
}

/* ----------------------------------------------------------------- the way out
 */

static bool doctor_forwards(void)
{
    int c = '1';
    FILE *f = fopen("/proc/sys/net/ipv4/ip_forward", "re");
    if (f) {
        c = fgetc(f);
        fclose(f);
    }
    return c == '1';
}

static bool doctor_has_route(void)
{
    char line[256];
    unsigned to = 1, mask = 1;
    FILE *f = fopen("/proc/net/route", "re");
    while (f && (to || mask) && fgets(line, sizeof(line), f))
        if (sscanf(line, "%*s %x %*x %*x %*x %*x %*x %x", &to, &mask) != 2)
            to = 1;
    if (f)
        fclose(f);
    return !to && !mask;
}

/* Both ways through this machine. 0; -1: one is closed (said). */
static int doctor_firewall(const char *rules)
{
    char mend[2][320];
    bool may = false;
    for (int i = 0; i < 2; i++) {
        enum ruleset_says says =
            ruleset_for(rules, "forward", net.way, i, mend[i], sizeof(mend[i]));
        if (says == RULES_DROP)
            return doctor_bad("firewall", mend[i],
                              "what is forwarded %s %s is dropped",
                              i ? "to" : "from", net.way);
        may |= says == RULES_MAY_DROP;
    }
    if (may)
        doctor_note("firewall", NULL,
                    "rules drop some of what is forwarded: nft list ruleset");
    else
        doctor_ok("firewall", "nothing is dropped that is forwarded for %s",
                  net.way);
    return 0;
}

static int doctor_out(void)
{
    if (!doctor_forwards())
        return doctor_bad("route", "sysctl -w net.ipv4.ip_forward=1",
                          "this machine forwards nothing, so guests reach no "
                          "further than it");
    char *rules = doctor_rules();
    if (!rules)
        doctor_note("firewall", NULL,
                    "its rules cannot be read: nft is not there, or only for "
                    "root");
    int err = rules ? doctor_firewall(rules) : 0;
    if (!err && rules && !strstr(rules, "masquerade") && !strstr(rules, "snat"))
        doctor_note("nat", NULL,
                    "addresses are not translated: others need a route to %s",
                    net.guest);
    free(rules);
    if (err)
        return err;
    if (doctor_has_route())
        doctor_ok("route", "this machine forwards, and has a way out");
    else
        doctor_note("route", NULL,
                    "this machine forwards, but has no default route itself");
    return 0;
}

int doctor_tap(const char *name, bool bridge)
{
    net.name = name;
    net.bridge = bridge;
    doctor_find_way();
    if (doctor_interface() || doctor_guest_answers() || doctor_out())
        return -1;
    doctor_dhcp(); /* last: a server that is not there is waited for */
    return 0;
}
