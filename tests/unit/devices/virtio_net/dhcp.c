/* SPDX-License-Identifier: MIT */
/* virtio-net: the checksum of DHCP answers that the host itself sends. */
#include "tests/unit/fakevirtio.h"

#define CSUM F(VIRTIO_NET_F_GUEST_CSUM)
#define FRAME 302 /* an offer */

static unsigned sum16(const uint8_t *p, unsigned len, unsigned sum)
{
    for (unsigned i = 0; i < len; i++)
        sum += i & 1 ? p[i] : (unsigned)p[i] << 8;
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/* What a tap gives for the host's own UDP: the sum of the pseudo-header in the
 * checksum's place, at `tag` bytes further behind a VLAN tag. */
static struct net_hdr offer(uint8_t *f, unsigned len, unsigned tag,
                            uint8_t port)
{
    uint8_t *ip = f + 14 + tag, *udp = ip + 20;
    unsigned bytes = len - 34 - tag;
    for (unsigned i = 0; i < len; i++)
        f[i] = (uint8_t)(i * 13 + 5);
    memset(f, 0xff, 6);
    memcpy(f + 12, "\x81\0\0\7", 4);
    memcpy(ip - 2, "\x08\0", 2);
    memcpy(ip, "\x45\0\0\0\0\0\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2", 20);
    ip[2] = (uint8_t)((20 + bytes) >> 8);
    ip[3] = (uint8_t)(20 + bytes);
    memcpy(udp, (uint8_t[]){0, port, 0, 68}, 4);
    udp[4] = (uint8_t)(bytes >> 8);
    udp[5] = (uint8_t)bytes;
    unsigned seed = sum16(ip + 12, 8, 17 + bytes);
    udp[6] = (uint8_t)(seed >> 8);
    udp[7] = (uint8_t)seed;
    return (struct net_hdr){.flags = NET_F_NEEDS_CSUM,
                            .csum_start = (uint16_t)(34 + tag),
                            .csum_offset = 6};
}

/* Over pseudo-header and datagram: ffff where the checksum is right. */
static unsigned udp_sum(const uint8_t *f, unsigned len, unsigned tag)
{
    const uint8_t *ip = f + 14 + tag;
    return sum16(ip + 20, len - 34 - tag,
                 sum16(ip + 12, 8, 17 + len - 34 - tag));
}

/* The packet as the driver gets it, header and all, in buffers of `each`. */
static void receive(struct vd *d, const struct net_hdr *h, const uint8_t *f,
                    unsigned len, uint32_t each, uint8_t *got)
{
    uint64_t first = 0;
    for (unsigned n = 0; n < len + 12; n += each) {
        uint64_t at = vd_post(d, RX0, each);
        first = first ? first : at; /* one behind the other */
    }
    vd_kick(d, RX0);
    fake_net_give(d->net, 0, h, f, len);
    fake_run_loop(d->m);
    CHECK(vd_reap(&d->q[RX0]) >= 1);
    memcpy(got, vd_ram(d, first, 12 + len), 12 + len);
}

static void completed(struct vd *d, unsigned len, unsigned tag, uint32_t each)
{
    static uint8_t f[2000], got[2100];
    struct net_hdr h = offer(f, len, tag, 67);
    receive(d, &h, f, len, each, got);
    CHECK_EQ(got[0], 0); /* flags: nothing to complete */
    CHECK_EQ(udp_sum(got + 12, len, tag), 0xffff);
    CHECK_MEM(got + 12, f, 40 + tag);
    CHECK_MEM(got + 54 + tag, f + 42 + tag, len - 42 - tag);
}

BOTH_RINGS(vnet_dhcp_answers_get_their_whole_checksum)
{
    struct vd d = {0};
    vd_up(&d, packed, CSUM | F(VIRTIO_NET_F_MRG_RXBUF));
    for (uint32_t each = 13; each < 400; each += each < 60 ? 1 : 97) {
        completed(&d, FRAME, 0, each);
        completed(&d, FRAME + 1, 0, each);
        completed(&d, FRAME, 4, each);
    }
    completed(&d, 42, 0, 60); /* no bytes at all */
    completed(&d, 1514, 0, 2000);
    vd_free(&d);
}

/* Window too small: the frame comes by the spill. */
BOTH_RINGS(vnet_dhcp_answer_that_waits_for_buffers)
{
    struct vd d = {0};
    uint8_t f[FRAME], got[FRAME + 12];
    vd_up(&d, packed, CSUM | F(VIRTIO_NET_F_MRG_RXBUF));
    for (uint32_t room = 50; room < 56; room++) {
        struct net_hdr h = offer(f, FRAME, 0, 67);
        uint64_t at = vd_post(&d, RX0, room);
        vd_kick(&d, RX0);
        fake_net_give(d.net, 0, &h, f, FRAME);
        fake_run_loop(d.m);
        vd_post(&d, RX0, FRAME);
        vd_kick(&d, RX0);
        CHECK_EQ(vd_reap(&d.q[RX0]), 2);
        memcpy(got, vd_ram(&d, at, FRAME + 12), FRAME + 12);
        CHECK_EQ(got[0], 0);
        CHECK_EQ(udp_sum(got + 12, FRAME, 0), 0xffff);
    }
    vd_free(&d);
}

/* What is none stays as it is, and so does the driver's part of the work. */
BOTH_RINGS(vnet_dhcp_other_packets_keep_their_half)
{
    struct vd d = {0};
    static uint8_t f[2000], got[2100];
    vd_up(&d, packed, CSUM);
    for (unsigned i = 0; i < 8; i++) {
        unsigned len = i == 7 ? 1519 : FRAME;
        struct net_hdr h = offer(f, len, 0, i == 0 ? 53 : 67);
        if (i == 1)
            f[23] = 6; /* TCP */
        if (i == 2)
            f[14] = 0x46; /* with options */
        if (i == 3)
            f[13] = 6; /* ARP */
        if (i == 4)
            h.csum_offset = 16;
        if (i == 5)
            h.csum_start = 36;
        if (i == 6)
            f[34] = 1; /* port 323 */
        receive(&d, &h, f, len, 2000, got);
        CHECK_EQ(got[0], NET_F_NEEDS_CSUM);
        CHECK_MEM(got + 12, f, len);
    }
    struct net_hdr h = offer(f, FRAME, 0, 67); /* done already */
    h.flags = NET_F_DATA_VALID;
    receive(&d, &h, f, FRAME, 2000, got);
    CHECK_EQ(got[0], NET_F_DATA_VALID);
    CHECK_MEM(got + 12, f, FRAME);
    vd_free(&d);
}

/* A sum that comes out as 0 is written as ffff (RFC 768). */
TEST(vnet_dhcp_sum_of_zero)
{
    uint8_t f[FRAME];
    struct net_hdr h = offer(f, FRAME, 0, 67);
    struct net_hdr first = h;
    uint8_t copy[FRAME];
    memcpy(copy, f, FRAME);
    REQUIRE(vnet_dhcp_complete(&first, copy, FRAME));
    /* The complement of the sum, added to the data, makes it ffff. */
    unsigned sum = (unsigned)copy[40] << 8 | copy[41],
             data = f[50] << 8 | f[51];
    data += sum;
    data = (data & 0xffff) + (data >> 16);
    f[50] = (uint8_t)(data >> 8);
    f[51] = (uint8_t)data;
    REQUIRE(vnet_dhcp_complete(&h, f, FRAME));
    CHECK_EQ(f[40], 0xff);
    CHECK_EQ(f[41], 0xff);
}
