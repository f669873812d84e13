/* SPDX-License-Identifier: MIT */
/* Ethernet frames: where their headers are, sums, segment headers, the FCS.
 * Knows no device; every offset is checked against the bytes given. */
#ifndef ETH_H
#define ETH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETH_HLEN 14
#define ETH_FCS 4
#define ETH_MIN 60 /* without FCS */
#define VLAN_HLEN 4

/* IP protocol numbers. */
enum { PROTO_TCP = 6, PROTO_UDP = 17 };

/* Where a frame's headers are. Offsets from the frame's start. */
struct eth_info {
    bool vlan;    /* a tag of type `vet` */
    uint16_t tci; /* its contents */
    uint8_t ip;   /* 4, 6 or 0: something else, or cut off */
    uint8_t proto;
    bool whole; /* a whole IP packet, not a fragment */
    uint16_t l3, l4;
    uint32_t end; /* of the IP packet, by its length field; <= frame length */
};
/* Looks at the first n bytes of a frame of len bytes. */
void eth_parse(struct eth_info *i, const uint8_t *p, size_t n, size_t len,
               uint16_t vet);
/* Sum over the TCP or UDP pseudo header of an L4 part of `len` bytes. */
uint32_t eth_pseudo(const struct eth_info *i, const uint8_t *p, uint32_t len);
void eth_put16(uint8_t *p, uint16_t v); /* network order */
void eth_put32(uint8_t *p, uint32_t v);
uint16_t eth_get16(const uint8_t *p);
uint32_t eth_get32(const uint8_t *p);
/* Frees a partial sum of its carries, so that more can be added. */
static inline uint32_t sum_fold(uint32_t s)
{
    return (s & 0xffff) + (s >> 16);
}
static inline bool is_broadcast(const uint8_t *da)
{
    return (da[0] & da[1] & da[2] & da[3] & da[4] & da[5]) == 0xff;
}
/* Internet checksums (RFC 1071): host-order 32-bit partial sums of big-endian
 * 16-bit words, so that pieces can be added up. `odd`: the piece starts at an
 * odd offset of the whole. */
uint32_t csum_partial(const void *p, size_t len, uint32_t sum, bool odd);
uint16_t csum_fold(uint32_t sum); /* complemented, host order */
void eth_crc_init(void);
/* CRC-32 of IEEE 802.3; begin with 0, pieces may follow each other. */
uint32_t eth_crc(uint32_t crc, const void *p, size_t len);

/* A TCP or UDP packet cut into pieces of `mss` bytes (SDM 3.5.9). Its headers'
 * L4 checksum holds the sum of the pseudo header without the length. */
struct seg {
    const uint8_t *head;   /* the packet's headers, hlen bytes */
    uint16_t l3, l4, hlen; /* offsets of IP, of TCP or UDP, of the payload */
    uint16_t sum;          /* offset of the L4 checksum; 0: leave it */
    bool v6, udp;
    uint32_t mss, bytes; /* bytes: payload of all segments */
    uint32_t k, off;     /* the segment at hand, and where its payload begins */
};
/* Headers of segment k, whose payload is at `body`, to h (which may be `head`).
 * How much payload it has. */
uint32_t seg_headers(const struct seg *s, const uint8_t *body, uint8_t *h);

/* A RARP request (RFC 903) of `mac`: says who is here, asks nobody. */
#define ETH_RARP_LEN 60
void eth_rarp(uint8_t frame[ETH_RARP_LEN], const uint8_t mac[6]);

#endif
