/* SPDX-License-Identifier: MIT */
/* Bytes on their way to a reader who may be slow, gone, or not there yet. The
 * lock is held for a few instructions, whatever the reader does. */
#include "host/backlog.h"

void backlog_init(struct backlog *b)
{
    pthread_mutex_init(&b->lock, NULL);
}

/* Is there no point in waiting for the reader? Under the lock. */
static bool backlog_gone(const struct backlog *b)
{
    return b->stalled || !b->reader;
}

bool backlog_put(struct backlog *b, const void *run, size_t n)
{
    const uint8_t *p = run;
    pthread_mutex_lock(&b->lock);
    uint64_t before = b->head;
    for (size_t i = 0; i < n && !b->sink; i++) {
        if (b->head - b->tail == BACKLOG) {
            b->n.dropped++;
            if (!backlog_gone(b))
                continue; /* the guest did not wait: its loss */
            b->tail++;
        }
        b->ring[b->head++ & (BACKLOG - 1)] = p[i];
    }
    bool wake = b->head != before && !b->woken && !backlog_gone(b);
    b->woken |= wake;
    pthread_mutex_unlock(&b->lock);
    return wake;
}

bool backlog_over(struct backlog *b, size_t n)
{
    pthread_mutex_lock(&b->lock);
    bool full = !b->sink && !backlog_gone(b) && b->head - b->tail >= n;
    b->held |= full;
    pthread_mutex_unlock(&b->lock);
    return full;
}

struct counts backlog_counts(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    struct counts n = b->n;
    pthread_mutex_unlock(&b->lock);
    return n;
}

void backlog_came(struct backlog *b, unsigned n)
{
    pthread_mutex_lock(&b->lock);
    b->n.in += n;
    pthread_mutex_unlock(&b->lock);
}

void backlog_lost(struct backlog *b, uint64_t n)
{
    pthread_mutex_lock(&b->lock);
    b->n.dropped += n;
    pthread_mutex_unlock(&b->lock);
}

unsigned backlog_peek(struct backlog *b, uint8_t *buf, unsigned max,
                      uint64_t *at)
{
    pthread_mutex_lock(&b->lock);
    unsigned n = 0;
    *at = b->tail;
    while (n < max && *at + n != b->head) {
        buf[n] = b->ring[(*at + n) & (BACKLOG - 1)];
        n++;
    }
    if (!n)
        b->woken = false;
    pthread_mutex_unlock(&b->lock);
    return n;
}

/* Nobody is held back any more. Under the lock. */
static bool backlog_let_go(struct backlog *b)
{
    bool held = b->held;
    b->held = false;
    return held;
}

bool backlog_taken(struct backlog *b, uint64_t upto, uint64_t got)
{
    pthread_mutex_lock(&b->lock);
    b->n.out += got;
    if (b->tail < upto) /* backlog_put() may have overwritten some meanwhile */
        b->tail = upto;
    b->stalled = false;
    bool held = backlog_let_go(b);
    pthread_mutex_unlock(&b->lock);
    return held;
}

bool backlog_stall(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    b->stalled = true;
    bool held = backlog_let_go(b);
    pthread_mutex_unlock(&b->lock);
    return held;
}

bool backlog_left(struct backlog *b, bool for_good)
{
    pthread_mutex_lock(&b->lock);
    b->reader = b->woken = false;
    b->sink |= for_good;
    bool held = backlog_let_go(b);
    pthread_mutex_unlock(&b->lock);
    return held;
}

void backlog_read(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    b->reader = true;
    b->stalled = false;
    pthread_mutex_unlock(&b->lock);
}

void backlog_end(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    if (!b->sink)
        b->n.dropped += b->head - b->tail;
    b->tail = b->head;
    pthread_mutex_unlock(&b->lock);
}
