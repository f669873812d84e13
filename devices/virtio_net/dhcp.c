/* SPDX-License-Identifier: MIT */
/* virtio-net: answers of a DHCP server on the host get their whole checksum.
 *
 * What a program of the host sends over a tap carries half a checksum and asks
 * the receiver to complete it (NEEDS_CSUM), which drivers leave to their stack.
 * DHCP clients that read raw sockets (BPF) never get there: they see a wrong
 * sum and drop the offer. QEMU has completed these since 2009, so clients rely
 * on it. */
#include "devices/virtio_net/state.h"

#define IP_LEN 20
#define UDP_LEN 8
#define SUM_AT 6 /* in the UDP header */

bool vnet_dhcp_maybe(const struct net_hdr *h, uint32_t len)
{
    unsigned start = h->csum_start;
    bool plain = start == ETH_HLEN + IP_LEN,
         tagged = start == ETH_HLEN + VLAN_HLEN + IP_LEN;
    return h->flags & NET_F_NEEDS_CSUM && h->gso_type == NET_GSO_NONE &&
           h->csum_offset == SUM_AT && (plain || tagged) &&
           len >= start + UDP_LEN && len <= DHCP_FRAME_MAX;
}

bool vnet_dhcp_complete(struct net_hdr *h, uint8_t *frame, uint32_t len)
{
    const uint8_t *ip = frame + h->csum_start - IP_LEN;
    uint8_t *udp = frame + h->csum_start;
    uint16_t sum;
    /* IPv4 without options, UDP, from port 67 */
    if (eth_get16(ip - 2) != 0x0800 || ip[0] != 0x45 || ip[9] != PROTO_UDP ||
        eth_get16(udp) != 67)
        return false;
    sum = csum_fold(csum_partial(udp, len - h->csum_start, 0, false));
    /* 0 says that there is none (RFC 768) */
    eth_put16(udp + SUM_AT, sum ? sum : 0xffff);
    h->flags &= (uint8_t)~NET_F_NEEDS_CSUM;
    return true;
}
