/* SPDX-License-Identifier: MIT */
/* Bytes on their way to a reader who may be slow, gone, or not there yet. */
#ifndef BACKLOG_H
#define BACKLOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKLOG 65536 /* bytes kept; power of two */

struct counts {
    uint64_t in, out; /* bytes */
    uint64_t dropped; /* for want of a reader */
};

struct backlog {
    pthread_mutex_t lock; /* all that follows */
    bool reader;          /* somebody reads */
    bool sink;            /* nobody will ever read: drop at once */
    bool woken;           /* the loop knows that there is something */
    bool held;            /* backlog_over() said yes */
    bool stalled;         /* the reader was given up on */
    uint64_t head, tail;  /* bytes put, bytes taken */
    struct counts n;
    uint8_t ring[BACKLOG];
};

/* On zeros. */
void backlog_init(struct backlog *b);

/* Any thread. One run of bytes, which nothing of another thread's comes
 * between. When there is no room, a reader who is waited for costs the guest
 * these bytes, one who is not the oldest ones. True: the loop is to be woken.
 */
bool backlog_put(struct backlog *b, const void *run, size_t n);
/* So many bytes wait, and the reader may still come back for them. Any thread.
 */
bool backlog_over(struct backlog *b, size_t n);
struct counts backlog_counts(struct backlog *b);
/* `n` bytes that were taken reached nobody. */
void backlog_lost(struct backlog *b, uint64_t n);
/* `n` bytes came the other way. */
void backlog_came(struct backlog *b, unsigned n);

/* The loop's thread. Copies out what waits, `max` bytes at most, without taking
 * it; 0: nothing does, and the next byte wakes the loop again. */
unsigned backlog_peek(struct backlog *b, uint8_t *buf, unsigned max,
                      uint64_t *at);

/* The loop's thread, too. These give back whether backlog_over() had said yes,
 * which is no longer so: the guest may go on. */
/* The reader took `got` bytes, everything up to `upto`. */
bool backlog_taken(struct backlog *b, uint64_t upto, uint64_t got);
/* The reader is given up on until it takes something. */
bool backlog_stall(struct backlog *b);
/* The reader is no more; `for_good`: nor will there be another. */
bool backlog_left(struct backlog *b, bool for_good);

/* A reader is there. */
void backlog_read(struct backlog *b);
/* What is left will not be taken any more. */
void backlog_end(struct backlog *b);

#endif
