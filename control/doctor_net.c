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
#include "host/child.h"
#include "host/iface.h"

enum { ECHO_PORT = 7, START_MS = 30000, DHCP_MS = 4000, MTU = 1500 };

static struct {
    const char *name; /* the TAP, or the bridge */
    bool bridge;
    char host[16], guest[16];
    int bits;
    char way[IFNAMSIZ]; /* who has the address: it, or the TAP's bridge */
} net;

/* ------------------------------------------------------------- the interface
 */

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
        /* The next, or the one before where that is the broadcast address. */
        struct in_addr host = {htonl(ip)},
                       guest = {htonl((ip + 1) & ~mask && (ip + 2) & ~mask
                                          ? ip + 1
                                          : ip - 1)};
        inet_ntop(AF_INET, &host, net.host, sizeof(net.host));
        inet_ntop(AF_INET, &guest, net.guest, sizeof(net.guest));
        net.bits = __builtin_popcount(mask);
        break;
    }
    freeifaddrs(all);
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
    if (slash && if_nametoindex(slash + 1))
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
    doctor_ok("address", "%s/%d", net.host, net.bits);
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

/* The first chain of a hook that may drop what it is given, and does not begin
 * with letting this interface's pass: the command that has it do so. */
static bool doctor_drops(const char *rules, const char *hook, const char *key,
                         char *mend, size_t size)
{
    char table[96] = "", chain[96] = "", pass[64], line[512];
    bool ours = false, passed = false, drops = false, policy = false;
    snprintf(pass, sizeof(pass), "%s \"%s\" accept", key, net.way);
    while (*rules) {
        size_t n = strcspn(rules, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)n, rules);
        rules += n + (rules[n] == '\n');
        char *p = line + strspn(line, "\t ");
        if (sscanf(p, "table %95[^{]", table) == 1)
            continue;
        if (sscanf(p, "chain %95[^ {]", chain) == 1) {
            ours = passed = drops = false;
        } else if (!strncmp(p, "type ", 5)) {
            char want[24];
            snprintf(want, sizeof(want), " hook %s ", hook);
            ours = strstr(p, want) != NULL;
            drops = policy = strstr(p, "policy drop") != NULL;
        } else if (*p == '}' && ours && drops && !passed) {
            snprintf(mend, size, "nft 'insert rule %s%s %s'", table, chain,
                     pass);
            return true;
        } else {
            passed |= (!drops || policy) && !strncmp(p, pass, strlen(pass));
            policy &= !strstr(p, "drop") && !strstr(p, "reject");
            drops |= strstr(p, "drop") || strstr(p, "reject");
        }
    }
    return false;
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

/* Has the guest's address been resolved? */
static bool doctor_arp(void)
{
    char line[256], ip[32];
    unsigned flags = 0;
    FILE *f = fopen("/proc/net/arp", "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%31s 0x%*x 0x%x", ip, &flags) == 2 &&
            !strcmp(ip, net.guest) && flags & 2)
            break;
        else
            flags = 0;
    if (f)
        fclose(f);
    return flags & 2;
}

static int doctor_silent(int err)
{
    char mend[320];
    char *rules = doctor_rules();
    bool in =
        rules && doctor_drops(rules, "input", "iifname", mend, sizeof(mend));
    bool out = !in && rules &&
               doctor_drops(rules, "output", "oifname", mend, sizeof(mend));
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
    if (!doctor_arp())
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

static int doctor_out(void)
{
    char mend[320];
    if (!doctor_forwards())
        return doctor_bad("route", "sysctl -w net.ipv4.ip_forward=1",
                          "this machine forwards nothing, so guests reach no "
                          "further than it");
    char *rules = doctor_rules();
    if (!rules)
        doctor_note("firewall", NULL,
                    "its rules cannot be read: nft is not there, or only for "
                    "root");
    else if (doctor_drops(rules, "forward", "iifname", mend, sizeof(mend)) ||
             doctor_drops(rules, "forward", "oifname", mend, sizeof(mend))) {
        free(rules);
        return doctor_bad("firewall", mend,
                          "a rule drops what is forwarded for %s", net.way);
    } else {
        doctor_ok("firewall", "nothing is dropped that is forwarded for %s",
                  net.way);
        if (!strstr(rules, "masquerade") && !strstr(rules, "snat"))
            doctor_note("nat", NULL,
                        "addresses are not translated: others need a route "
                        "to %s",
                        net.guest);
    }
    free(rules);
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
