/* SPDX-License-Identifier: MIT */
/* ARP, IPv4, ICMP echo, UDP: as much as a test partner needs. */

/*
 * Theory of operation
 *
 * Everything starts in net_rx(), called by a driver with a frame that lies in
 * its receive buffer. Each layer checks its lengths against what is left and
 * passes on a pointer and a length. An answer goes to the MAC address that the
 * question came from: right for neighbours and for routers alike, and no ARP
 * cache is needed for it.
 *
 * All checksums of received packets are verified, since finding a VMM's damaged
 * packets is what this guest is for. Echo replies change the type and adjust
 * the checksum (RFC 1624) without another pass over the data.
 *
 * Fragments are put together in a few slots (RFC 815 in spirit, with a bitmap
 * of 8-byte blocks in place of the hole list); a datagram that overlaps itself
 * is dropped (RFC 5722 does so for IPv6), and the oldest slot is reused, so
 * that memory and time are bounded.
 */

#include "net.h"
#include "power.h"
#include "ring.h"

#define MTU 1500
#define IP_MF 0x2000 /* RFC 791 §3.1 */
#define IP_OFFSET 0x1fff

#define ARP_LEN 28
#define ICMP_HDR 8
#define ICMP_ECHO 8

#define PORT_ECHO 7
#define PORT_DHCP_CLIENT 68

#define SLOTS 4
#define DATAGRAM_MAX (65535 - IP_HDR)
#define BLOCKS (DATAGRAM_MAX / 8 + 1)

struct slot {
    u32 src;
    u16 id;
    u8 proto;
    bool used;
    u32 total;  /* payload bytes, 0 until the last one was seen */
    u32 end;    /* behind the farthest byte present */
    u32 blocks; /* 8-byte blocks present */
    u64 map[(BLOCKS + 63) / 64];
    u8 data[DATAGRAM_MAX];
};

/* Where a packet came from; answers go there. */
struct origin {
    const u8 *mac;
    u32 ip;
    bool to_us; /* not a broadcast */
};

const u8 mac_broadcast[6] = {255, 255, 255, 255, 255, 255};
struct net net;
static NOINIT struct slot slots[SLOTS];
static bool slots_ready;
static unsigned next_slot;
static u16 ip_id;
static u32 resolving; /* address asked for by net_resolve(), 0: none */

static u16 get16(const u8 *p)
{
    return be16(*(const u16_unaligned *)p);
}

static u32 get_ip(const u8 *p)
{
    return *(const u32_unaligned *)p;
}

static void put16(u8 *p, u16 v)
{
    *(u16_unaligned *)p = be16(v);
}

static void put_ip(u8 *p, u32 v)
{
    *(u32_unaligned *)p = v;
}

/* Ones' complement sum (RFC 1071) of len bytes on top of sum, not inverted, in
 * memory order. Words of any width do, the sum is the same mod 65535; loads of
 * 8 bytes because loads are dear where ring 0 is interpreted. */
static u16 checksum(u64 sum, const u8 *p, u32 len)
{
    const u64_unaligned *q = (const u64_unaligned *)p;

    for (; len >= 8; len -= 8) {
        u64 v = *q++;

        sum += (v & 0xffffffff) + (v >> 32);
    }
    const u32_unaligned *w = (const u32_unaligned *)q;

    if (len >= 4) {
        sum += *w++;
        len -= 4;
    }
    p = (const u8 *)w;
    if (len >= 2)
        sum += *(const u16_unaligned *)p;
    if (len & 1)
        sum += p[len & 2];
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

u8 *net_frame(const u8 *mac, u16 type)
{
    u8 *frame = nif.driver->tx_buf();

    if (!frame)
        return NULL;
    memcpy(frame, mac, 6);
    memcpy(frame + 6, nif.mac, 6);
    put16(frame + 12, type);
    *flood_tag(frame) = 0;
    return frame + ETH_HDR;
}

void net_frame_send(u32 len)
{
    u8 *frame = nif.driver->tx_buf();

    len += ETH_HDR;
    if (len < ETH_FRAME_MIN) {
        memset(frame + len, 0, ETH_FRAME_MIN - len);
        len = ETH_FRAME_MIN;
    }
    nif.driver->tx(len);
    nif.tx_frames++;
    nif.tx_bytes += len;
}

void net_ip_header(u8 *ip, u32 src, u32 dst, u8 proto, u32 len, u16 frag)
{
    ip[0] = 0x45;
    ip[1] = 0;
    put16(ip + 2, (u16)(IP_HDR + len));
    put16(ip + 4, ip_id);
    put16(ip + 6, frag);
    ip[8] = 64;
    ip[9] = proto;
    put16(ip + 10, 0);
    put_ip(ip + 12, src);
    put_ip(ip + 16, dst);
    *(u16_unaligned *)(ip + 10) = (u16)~checksum(0, ip, IP_HDR);
}

void net_udp_header(u8 *udp, u16 sport, u16 dport, u32 len)
{
    put16(udp, sport);
    put16(udp + 2, dport);
    put16(udp + 4, (u16)(UDP_HDR + len));
    put16(udp + 6, 0);
}

/* Sends a datagram from our address, in fragments if it must. */
static void ip_send(const struct origin *to, u8 proto, const u8 *data, u32 len)
{
    const u32 most = (MTU - IP_HDR) & ~7u;
    u32 at = 0;

    ip_id++;
    do {
        u32 part = len - at;
        bool more = len > MTU - IP_HDR && part > most;

        if (more)
            part = most;
        u8 *ip = net_frame(to->mac, ETH_IP);

        if (!ip)
            return; /* ring full: drop, as any router would */
        net_ip_header(ip, net.ip, to->ip, proto, part,
                      (u16)(at / 8) | (more ? IP_MF : 0));
        memcpy(ip + IP_HDR, data + at, part);
        net_frame_send(IP_HDR + part);
        at += part;
    } while (at < len);
}

/* RFC 826. */
static void arp_send(const u8 *mac, u16 op, u32 target)
{
    u8 *arp = net_frame(mac, ETH_ARP);

    if (!arp)
        return;
    put16(arp, 1); /* Ethernet */
    put16(arp + 2, ETH_IP);
    put16(arp + 4, 0x0604);
    put16(arp + 6, op);
    memcpy(arp + 8, nif.mac, 6);
    put_ip(arp + 14, net.ip);
    memcpy(arp + 18, op == 1 ? (const u8 *)"\0\0\0\0\0\0" : mac, 6);
    put_ip(arp + 24, target);
    net_frame_send(ARP_LEN);
}

static void arp_rx(const u8 *arp, u32 len)
{
    if (len < ARP_LEN || get16(arp + 2) != ETH_IP || get16(arp + 4) != 0x0604)
        return;
    u32 sender = get_ip(arp + 14);

    if (resolving && sender == resolving) {
        resolving = 0;
        flood_resolved(arp + 8);
    }
    if (get16(arp + 6) == 1 && net.ip && get_ip(arp + 24) == net.ip)
        arp_send(arp + 8, 2, sender);
}

void net_resolve(u32 ip)
{
    bool local = !((ip ^ net.ip) & net.mask) || !net.gw;

    resolving = local ? ip : net.gw;
    arp_send(mac_broadcast, 1, resolving);
}

void net_address(u32 ip, u32 mask, u32 gw)
{
    net.ip = ip;
    net.mask = mask;
    net.gw = gw;
    arp_send(mac_broadcast, 1, ip);
}

static void icmp_rx(const struct origin *from, u8 *icmp, u32 len)
{
    if (len < ICMP_HDR || icmp[0] != ICMP_ECHO || !from->to_us ||
        checksum(0, icmp, len) != 0xffff)
        return;
    vectors_count();
    icmp[0] = 0;
    /* RFC 1624: the type's 8 is gone from the sum, so its complement gains. */
    u32 sum = get16(icmp + 2) + (ICMP_ECHO << 8);

    put16(icmp + 2, (u16)(sum + (sum >> 16)));
    ip_send(from, IP_PROTO_ICMP, icmp, len);
    if (!net.pings++)
        power_event(EVENT_PING);
}

/* RFC 768: no checksum is 0; the pseudo header's length is the UDP length. */
static bool udp_sum_ok(u32 src, u32 dst, const u8 *udp, u32 len)
{
    u64 pseudo = (u64)src + dst + be16(IP_PROTO_UDP) + be16((u16)len);

    return !get16(udp + 6) || checksum(pseudo, udp, len) == 0xffff;
}

static void udp_rx(const struct origin *from, u32 dst, u8 *udp, u32 left)
{
    if (left < UDP_HDR)
        return;
    u32 len = get16(udp + 4);
    u16 sport = get16(udp), dport = get16(udp + 2);

    if (len < UDP_HDR || len > left)
        return;
    if (dport != PORT_ECHO && dport != PORT_DHCP_CLIENT)
        return; /* floods end here, before their checksum is worked out */
    if (!udp_sum_ok(from->ip, dst, udp, len))
        return;
    if (dport == PORT_DHCP_CLIENT) {
        dhcp_rx(udp + UDP_HDR, len - UDP_HDR);
    } else if (from->to_us && sport != PORT_ECHO) {
        /* Swapping addresses and ports leaves the checksum right. */
        put16(udp, dport);
        put16(udp + 2, sport);
        ip_send(from, IP_PROTO_UDP, udp, len);
    }
}

static void deliver(const struct origin *from, u32 dst, u8 proto, u8 *data,
                    u32 len)
{
    if (proto == IP_PROTO_ICMP)
        icmp_rx(from, data, len);
    else if (proto == IP_PROTO_UDP)
        udp_rx(from, dst, data, len);
}

static struct slot *find_slot(u32 src, u16 id, u8 proto)
{
    struct slot *s;

    if (!slots_ready) /* slots are in memory that nobody cleared */
        for (unsigned i = 0; i < SLOTS; i++)
            slots[i].used = false;
    slots_ready = true;
    for (unsigned i = 0; i < SLOTS; i++) {
        s = &slots[i];
        if (s->used && s->src == src && s->id == id && s->proto == proto)
            return s;
    }
    s = &slots[next_slot++ % SLOTS];
    s->used = true;
    s->src = src;
    s->id = id;
    s->proto = proto;
    s->total = s->end = s->blocks = 0;
    memset(s->map, 0, sizeof(s->map));
    return s;
}

/* Marks blocks [first, first + n), up to 64 at a time; false if one was there
 * already. */
static bool mark_blocks(struct slot *s, u32 first, u32 n)
{
    s->blocks += n;
    while (n) {
        u32 low = first % 64, run = n < 64 - low ? n : 64 - low;
        u64 bits = ~0ull >> (64 - run) << low;

        if (s->map[first / 64] & bits)
            return false;
        s->map[first / 64] |= bits;
        first += run;
        n -= run;
    }
    return true;
}

/* RFC 791 §3.2. frag is the fragment word of ip, whose payload is given. */
static void fragment_rx(const struct origin *from, const u8 *ip, u16 frag,
                        const u8 *data, u32 len)
{
    u32 at = (frag & IP_OFFSET) * 8u;
    bool more = frag & IP_MF;

    if (!len || at + len > DATAGRAM_MAX || (more && len % 8))
        return;
    struct slot *s = find_slot(from->ip, get16(ip + 4), ip[9]);
    u32 end = at + len;

    /* One last fragment, and nothing behind it: a hole would be missed. */
    bool bad = more ? s->total && end > s->total : s->total || end < s->end;

    if (bad || !mark_blocks(s, at / 8, (len + 7) / 8)) {
        s->used = false;
        return;
    }
    if (end > s->end)
        s->end = end;
    memcpy(s->data + at, data, len);
    if (!more)
        s->total = end;
    if (s->total && s->blocks == (s->total + 7) / 8) {
        s->used = false;
        deliver(from, get_ip(ip + 16), ip[9], s->data, s->total);
    }
}

static void ip_rx(const u8 *mac, u8 *ip, u32 left)
{
    if (left < IP_HDR || ip[0] >> 4 != 4)
        return;
    u32 hdr = (ip[0] & 15) * 4u, total = get16(ip + 2);
    u32 dst = get_ip(ip + 16);
    struct origin from = {mac, get_ip(ip + 12), net.ip && dst == net.ip};

    if (hdr < IP_HDR || total < hdr || total > left)
        return;
    /* Without an address all are for us: DHCP may answer to the offered one */
    if (net.ip && !from.to_us && dst != 0xffffffff &&
        dst != (net.ip | ~net.mask))
        return;
    if (checksum(0, ip, hdr) != 0xffff)
        return;
    u16 frag = get16(ip + 6);

    if (frag & (IP_MF | IP_OFFSET))
        fragment_rx(&from, ip, frag, ip + hdr, total - hdr);
    else
        deliver(&from, dst, ip[9], ip + hdr, total - hdr);
}

void net_rx(u8 *frame, u32 len)
{
    nif.rx_frames++;
    nif.rx_bytes += len;
    if (len < ETH_HDR)
        return;
    if (!(frame[0] & 1) && memcmp(frame, nif.mac, 6))
        return;
    u16 type = get16(frame + 12);

    if (type == ETH_IP)
        ip_rx(frame + 6, frame + ETH_HDR, len - ETH_HDR);
    else if (type == ETH_ARP)
        arp_rx(frame + ETH_HDR, len - ETH_HDR);
}
