/* SPDX-License-Identifier: MIT */
/* virtio-net: receive-side scaling and hash reports (virtio 1.2 §5.1.6.4.3).
 *
 * The hash is taken and the queue chosen here and not by a program in the tap
 * (TUNSETSTEERINGEBPF): loading one needs privileges a VMM should not have,
 * other backends have no such thing, and the header reports the hash anyway.
 * The price is one copy of each packet that is steered. */
#include <string.h>

#include "devices/virtio_net/state.h"

enum { /* §5.1.6.4.3.1 */
       HASH_IPV4 = 1,
       HASH_TCPV4 = 2,
       HASH_UDPV4 = 4,
       HASH_IPV6 = 8,
       HASH_TCPV6 = 16,
       HASH_UDPV6 = 32,
};
enum { /* §5.1.6.4.2 */
       REPORT_NONE,
       REPORT_IPV4,
       REPORT_TCPV4,
       REPORT_UDPV4,
       REPORT_IPV6,
       REPORT_TCPV6,
       REPORT_UDPV6,
};

/* Microsoft's Toeplitz hash: each bit of the data adds (xor) the 32 bits of the
 * key that begin at its place. */
uint32_t vnet_toeplitz(const uint8_t key[RSS_KEY_MAX], const uint8_t *data,
                       unsigned len)
{
    uint32_t hash = 0;
    uint32_t window = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 |
                      (uint32_t)key[2] << 8 | key[3];
    for (unsigned i = 0; i < len; i++) {
        uint8_t next = i + 4 < RSS_KEY_MAX ? key[i + 4] : 0;
        for (int b = 7; b >= 0; b--) {
            if (data[i] >> b & 1)
                hash ^= window;
            window = window << 1 | (next >> b & 1);
        }
    }
    return hash;
}

/* What is hashed: addresses, and ports where there are any. */
struct flow {
    uint8_t bytes[36];
    unsigned addr_len; /* 8, 32; 0: not IP */
    unsigned proto;    /* PROTO_*, 0: neither, or a fragment */
};

static void vnet_rss_take_ports(struct flow *f, unsigned proto,
                                const uint8_t *p, uint32_t left)
{
    if ((proto != PROTO_TCP && proto != PROTO_UDP) || left < 4)
        return;
    f->proto = proto;
    memcpy(f->bytes + f->addr_len, p, 4);
}

static void vnet_rss_parse_ipv4(struct flow *f, const uint8_t *ip,
                                uint32_t left)
{
    unsigned hlen = left ? (ip[0] & 0xf) * 4u : 0;
    if (left < 20 || hlen < 20 || ip[0] >> 4 != 4)
        return;
    memcpy(f->bytes, ip + 12, 8);
    f->addr_len = 8;
    if (eth_get16(ip + 6) & 0x3fff || hlen > left) /* MF, or an offset */
        return;
    vnet_rss_take_ports(f, ip[9], ip + hlen, left - hlen);
}

/* Steps over extension headers, a few of them (RFC 8200 §4). */
static void vnet_rss_parse_ipv6(struct flow *f, const uint8_t *ip,
                                uint32_t left)
{
    if (left < 40 || ip[0] >> 4 != 6)
        return;
    memcpy(f->bytes, ip + 8, 32);
    f->addr_len = 32;
    unsigned next = ip[6];
    uint32_t at = 40;
    for (int i = 0; i < 8; i++) {
        bool extension = next == 0 || next == 43 || next == 60 || next == 135;
        if (!extension) {
            vnet_rss_take_ports(f, next, ip + at, left - at);
            return;
        }
        if (left - at < 8)
            return;
        uint32_t step = 8u + 8u * ip[at + 1];
        next = ip[at];
        if (step > left - at)
            return;
        at += step;
    }
}

static void vnet_rss_parse(struct flow *f, const uint8_t *frame, uint32_t len)
{
    uint32_t at = ETH_HLEN;
    memset(f, 0, sizeof(*f));
    while (at + 4 <= len && eth_get16(frame + at - 2) == 0x8100)
        at += 4;
    if (at > len)
        return;
    if (eth_get16(frame + at - 2) == 0x0800)
        vnet_rss_parse_ipv4(f, frame + at, len - at);
    else if (eth_get16(frame + at - 2) == 0x86dd)
        vnet_rss_parse_ipv6(f, frame + at, len - at);
}

/* §5.1.6.4.3.2 and .3: the type of hash for this flow; 0: none. */
static unsigned vnet_rss_report_of(const struct flow *f, uint32_t types)
{
    bool v6 = f->addr_len == 32;
    if (!f->addr_len)
        return REPORT_NONE;
    if (f->proto == PROTO_TCP && types & (v6 ? HASH_TCPV6 : HASH_TCPV4))
        return v6 ? REPORT_TCPV6 : REPORT_TCPV4;
    if (f->proto == PROTO_UDP && types & (v6 ? HASH_UDPV6 : HASH_UDPV4))
        return v6 ? REPORT_UDPV6 : REPORT_UDPV4;
    if (types & (v6 ? HASH_IPV6 : HASH_IPV4))
        return v6 ? REPORT_IPV6 : REPORT_IPV4;
    return REPORT_NONE;
}

unsigned vnet_rss_hash(const struct vnet_rss *rss, const uint8_t *frame,
                       uint32_t len, struct vnet_hdr *h)
{
    struct flow f;
    vnet_rss_parse(&f, frame, len);
    unsigned report = vnet_rss_report_of(&f, rss->types);
    bool ports =
        report != REPORT_NONE && report != REPORT_IPV4 && report != REPORT_IPV6;
    h->hash_report = (le16)report;
    h->hash_value = 0;
    h->padding = 0;
    if (!report)
        return rss->unclassified;
    h->hash_value =
        vnet_toeplitz(rss->key, f.bytes, f.addr_len + (ports ? 4 : 0));
    return rss->table[h->hash_value & rss->mask];
}
