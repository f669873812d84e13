/* SPDX-License-Identifier: MIT */
/* Ethernet frames: where their headers are, sums, segment headers, the FCS.
 * Knows no device; every offset is checked against the bytes given. */
#include <cpuid.h>
#include <string.h>
#include <x86intrin.h>

#include "base/eth.h"

enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

uint16_t eth_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t eth_get32(const uint8_t *p)
{
    return (uint32_t)eth_get16(p) << 16 | eth_get16(p + 2);
}

void eth_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void eth_put32(uint8_t *p, uint32_t v)
{
    eth_put16(p, (uint16_t)(v >> 16));
    eth_put16(p + 2, (uint16_t)v);
}

static void eth_parse_v4(struct eth_info *i, const uint8_t *p, size_t n,
                         size_t len)
{
    const uint8_t *h = p + i->l3;
    uint32_t ihl, total;
    if (n < i->l3 + 20u || h[0] >> 4 != 4)
        return;
    ihl = (h[0] & 15u) * 4;
    total = eth_get16(h + 2);
    if (ihl < 20 || n < i->l3 + ihl || total < ihl || i->l3 + total > len)
        return;
    i->ip = 4;
    i->proto = h[9];
    i->whole = !(eth_get16(h + 6) & 0x3fff); /* MF, offset */
    i->l4 = (uint16_t)(i->l3 + ihl);
    i->end = i->l3 + total;
}

/* Extension headers are not followed: proto is the first one's number, and
 * the card checks no sum behind them. */
static void eth_parse_v6(struct eth_info *i, const uint8_t *p, size_t n,
                         size_t len)
{
    const uint8_t *h = p + i->l3;
    uint32_t payload;
    if (n < i->l3 + 40u || h[0] >> 4 != 6)
        return;
    payload = eth_get16(h + 4);
    if (i->l3 + 40u + payload > len)
        return;
    i->ip = 6;
    i->proto = h[6];
    i->whole = true;
    i->l4 = (uint16_t)(i->l3 + 40);
    i->end = i->l4 + payload;
}

void eth_parse(struct eth_info *i, const uint8_t *p, size_t n, size_t len,
               uint16_t vet)
{
    uint16_t type;
    memset(i, 0, sizeof(*i));
    if (n < ETH_HLEN)
        return;
    i->l3 = ETH_HLEN;
    type = eth_get16(p + 12);
    if (type == vet && n >= ETH_HLEN + VLAN_HLEN) {
        i->vlan = true;
        i->tci = eth_get16(p + 14);
        type = eth_get16(p + 16);
        i->l3 += VLAN_HLEN;
    }
    if (type == 0x0800)
        eth_parse_v4(i, p, n, len);
    else if (type == 0x86dd)
        eth_parse_v6(i, p, n, len);
}

uint32_t eth_pseudo(const struct eth_info *i, const uint8_t *p, uint32_t len)
{
    uint32_t sum = i->proto + (len >> 16) + (len & 0xffff);
    if (i->ip == 4)
        return csum_partial(p + i->l3 + 12, 8, sum, false);
    return csum_partial(p + i->l3 + 8, 32, sum, false);
}

/* ---------------------------------------------------------- RFC 1071 sums */

/* Carries are added back at once; four words a turn, for they can be added side
 * by side. */
static inline uint64_t eth_add_carry(uint64_t a, uint64_t b)
{
    a += b;
    return a + (a < b);
}

static inline uint64_t eth_load64(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

uint32_t csum_partial(const void *p, size_t len, uint32_t sum, bool odd)
{
    const uint8_t *b = p;
    uint64_t acc = 0, acc2 = 0, word = 0;
    if (odd && len) {
        acc = (uint64_t)*b++ << 8; /* the low byte of a big-endian word */
        len--;
    }
    for (; len >= 32; len -= 32, b += 32) {
        acc = eth_add_carry(acc, eth_load64(b));
        acc2 = eth_add_carry(acc2, eth_load64(b + 8));
        acc = eth_add_carry(acc, eth_load64(b + 16));
        acc2 = eth_add_carry(acc2, eth_load64(b + 24));
    }
    acc = eth_add_carry(acc, acc2);
    for (; len >= 8; len -= 8, b += 8)
        acc = eth_add_carry(acc, eth_load64(b));
    memcpy(&word, b, len);
    acc = eth_add_carry(acc, word);
    /* The sum is byte-order independent (RFC 1071 §2.B): fold, then swap. */
    while (acc >> 16)
        acc = (acc & 0xffff) + (acc >> 16);
    uint32_t be = (uint32_t)((acc & 0xff) << 8 | acc >> 8);
    uint64_t total = (uint64_t)sum + be;
    return (uint32_t)((total & 0xffffffff) + (total >> 32));
}

uint16_t csum_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* --------------------------------------------------------------- segments */

static void seg_ipv4(const struct seg *s, uint8_t *ip, uint16_t len)
{
    eth_put16(ip + 2, len);
    eth_put16(ip + 4, (uint16_t)(eth_get16(ip + 4) + s->k));
    eth_put16(ip + 10, 0);
    eth_put16(ip + 10, csum_fold(csum_partial(ip, s->l4 - s->l3, 0, false)));
}

static void seg_tcp(const struct seg *s, uint8_t *tcp, bool last)
{
    eth_put32(tcp + 4, eth_get32(tcp + 4) + s->off);
    if (!last)
        tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (s->k)
        tcp[13] &= (uint8_t)~TCP_CWR; /* RFC 3168 6.1.2: once */
}

static void seg_sum(const struct seg *s, uint8_t *h, const uint8_t *body,
                    uint32_t payload)
{
    uint32_t l4 = s->hlen - s->l4, sum;
    uint16_t v;
    sum = csum_partial(h + s->l4, l4, l4 + payload, false);
    sum = csum_partial(body, payload, sum, l4 & 1);
    v = csum_fold(sum);
    eth_put16(h + s->sum, s->udp && !v ? 0xffff : v);
}

/* SDM 3.5.9. For IPv6 it says that the length is MSS + HDRLEN - IPCSS, which
 * would count the fixed header; the later manuals (82583V 7.3.6.2.3) take its
 * 40 bytes off, and only that makes packets other hosts accept. */
uint32_t seg_headers(const struct seg *s, const uint8_t *body, uint8_t *h)
{
    uint32_t left = s->bytes - s->off;
    uint32_t payload = left < s->mss ? left : s->mss;
    uint32_t ip_len = s->hlen - s->l3 + payload;
    if (h != s->head)
        memcpy(h, s->head, s->hlen);
    if (s->v6)
        eth_put16(h + s->l3 + 4, (uint16_t)(ip_len - 40));
    else
        seg_ipv4(s, h + s->l3, (uint16_t)ip_len);
    if (s->udp)
        eth_put16(h + s->l4 + 4, (uint16_t)(s->hlen - s->l4 + payload));
    else
        seg_tcp(s, h + s->l4, payload == left);
    if (s->sum)
        seg_sum(s, h, body, payload);
    return payload;
}

/* -------------------------------------------------------------------- FCS */

#define CRC_POLY 0xedb88320u /* IEEE 802.3 3.2.9, bits reversed */

static uint32_t crc_table[256];
static bool crc_by_clmul; /* this CPU can */

void eth_crc_init(void)
{
    unsigned eax, ebx, ecx = 0, edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    crc_by_clmul = ecx & bit_PCLMUL && ecx & bit_SSE4_1;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ CRC_POLY : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t eth_crc_bytes(uint32_t c, const uint8_t *p, size_t len)
{
    while (len--)
        c = c >> 8 ^ crc_table[(c ^ *p++) & 0xff];
    return c;
}

#define CLMUL __attribute__((target("pclmul,sse4.1")))

/* x * (constant's half): 128 bits forward by what the constant stands for. */
CLMUL static inline __m128i eth_fold(__m128i x, __m128i k, __m128i next)
{
    __m128i lo = _mm_clmulepi64_si128(x, k, 0x00);
    __m128i hi = _mm_clmulepi64_si128(x, k, 0x11);
    return _mm_xor_si128(_mm_xor_si128(lo, hi), next);
}

CLMUL static inline __m128i eth_load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* 128 bits to 32: two folds and a Barrett reduction. */
CLMUL static uint32_t eth_crc_reduce(__m128i x)
{
    const __m128i k34 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i k5 = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i poly = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i mask = _mm_set_epi32(0, ~0, 0, ~0);
    __m128i t = _mm_clmulepi64_si128(x, k34, 0x10);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), t);
    t = _mm_srli_si128(x, 4);
    x = _mm_clmulepi64_si128(_mm_and_si128(x, mask), k5, 0x00);
    x = _mm_xor_si128(x, t);
    t = _mm_clmulepi64_si128(_mm_and_si128(x, mask), poly, 0x10);
    t = _mm_clmulepi64_si128(_mm_and_si128(t, mask), poly, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, t), 1);
}

/* Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
 * Instruction": four lanes of 128 bits. len is at least 64; a rest below 16
 * bytes is left. */
CLMUL static uint32_t eth_crc_clmul(uint32_t c, const uint8_t *p, size_t len)
{
    const __m128i k12 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i k34 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    __m128i x[4];
    size_t at = 64;
    for (int i = 0; i < 4; i++)
        x[i] = eth_load(p + 16 * i);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)c));
    for (; len - at >= 64; at += 64)
        for (int i = 0; i < 4; i++)
            x[i] = eth_fold(x[i], k12, eth_load(p + at + 16 * (size_t)i));
    for (int i = 1; i < 4; i++)
        x[0] = eth_fold(x[0], k34, x[i]);
    for (; len - at >= 16; at += 16)
        x[0] = eth_fold(x[0], k34, eth_load(p + at));
    return eth_crc_reduce(x[0]);
}

uint32_t eth_crc(uint32_t crc, const void *p, size_t len)
{
    const uint8_t *b = p;
    uint32_t c = ~crc;
    if (len >= 64 && crc_by_clmul) {
        c = eth_crc_clmul(c, b, len);
        b += len & ~(size_t)15;
        len &= 15;
    }
    return ~eth_crc_bytes(c, b, len);
}

/* ------------------------------------------------------------ announcement */

void eth_rarp(uint8_t frame[ETH_RARP_LEN], const uint8_t mac[6])
{
    static const uint8_t rarp[10] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
    memset(frame, 0, ETH_RARP_LEN);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    memcpy(frame + 12, rarp, sizeof(rarp));
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 32, mac, 6);
}
