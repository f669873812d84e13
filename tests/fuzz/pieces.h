/* SPDX-License-Identifier: MIT */
/* Buffers as a NIC offers them: an iovec of pieces, each in memory of just its
 * size. They are parts of one array whose every other byte is poisoned, which
 * costs a quarter of what malloc does. */
#ifndef FUZZ_PIECES_H
#define FUZZ_PIECES_H

#include <sanitizer/asan_interface.h>
#include <sys/uio.h>

#include "tests/fuzz/fuzz.h"

#define PIECES 6
#define PIECE 16384         /* bytes of one, and room behind it */
#define PIECES_LEFT 100000u /* bytes of an input's, then they are small */

static _Alignas(8) uint8_t piece[PIECES][PIECE];
static size_t pieces_left;

/* At the beginning of an input. */
static inline void pieces_begin(void)
{
    ASAN_POISON_MEMORY_REGION(piece, sizeof(piece));
    pieces_left = PIECES_LEFT;
}

/* 1 to PIECES of them, `least` bytes or more in all; their count. What each
 * begins with is the same whatever was in it before. */
static inline int pieces_make(struct fuzz *f, struct iovec *iov, size_t least)
{
    int n = 1 + fuzz_u8(f) % PIECES;
    size_t all = 0;
    for (int i = 0; i < n; i++) {
        size_t len = fuzz_u8(f);
        if (len > 200)
            len = (len - 200) << 8;
        if (len > pieces_left)
            len %= 64;
        if (i == n - 1 && all + len < least)
            len = least - all;
        all += len;
        pieces_left -= len < pieces_left ? len : pieces_left;
        ASAN_UNPOISON_MEMORY_REGION(piece[i], len);
        memset(piece[i], 0x45 + i, len < 64 ? len : 64);
        iov[i] = (struct iovec){piece[i], len};
    }
    return n;
}

static inline void pieces_end(const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++)
        ASAN_POISON_MEMORY_REGION(iov[i].iov_base, iov[i].iov_len);
}

#endif
