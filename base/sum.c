/* SPDX-License-Identifier: MIT */
/* A sum of bytes: four lanes of eight bytes at a time, each multiplied by an
 * odd number and turned, so that no bit and no order is lost on the way. */
#include "base/sum.h"

#include <string.h>

#define ODD 0x9e3779b97f4a7c15ull /* 2^64 by the golden ratio */

static uint64_t sum_turn(uint64_t v)
{
    v *= ODD;
    return v ^ v >> 32;
}

uint64_t sum_of(const void *p, size_t n)
{
    const uint8_t *at = p;
    uint64_t lane[4] = {1, 2, 3, 4}, word[4];
    size_t left = n;
    for (; left >= sizeof(word); left -= sizeof(word), at += sizeof(word)) {
        memcpy(word, at, sizeof(word));
        for (int i = 0; i < 4; i++)
            lane[i] = sum_turn(lane[i] ^ word[i]);
    }
    memset(word, 0, sizeof(word));
    memcpy(word, at, left);
    uint64_t sum = n;
    for (int i = 0; i < 4; i++)
        sum = sum_turn(sum ^ sum_turn(lane[i] ^ word[i])) + (uint64_t)i;
    return sum ? sum : 1;
}
