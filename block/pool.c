/* SPDX-License-Identifier: MIT */
/* Threads that do a disk's requests, one blocking call after the other. */
#include "block/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The first that is done wakes the loop, which then takes all there are. */
static void pool_put_done(struct pool *p, struct blk_req *r)
{
    bool first = !p->done;
    r->next = NULL;
    *p->done_last = r;
    p->done_last = &r->next;
    if (first)
        event_signal(p->fd);
}

/* syscalls disk: write, by guests that have a disk */
static void pool_run(void *arg)
{
    struct pool_thread *t = arg;
    struct pool *p = t->pool;
    pthread_mutex_lock(&p->lock);
    while (!p->quit) {
        struct blk_req *r = p->first;
        if (!r) {
            p->idle++;
            pthread_cond_wait(&p->some, &p->lock);
            p->idle--;
            continue;
        }
        p->first = r->next;
        if (!p->first)
            p->last = &p->first;
        pthread_mutex_unlock(&p->lock);
        r->err = p->work(p->ctx, r, t->bounce);
        pthread_mutex_lock(&p->lock);
        pool_put_done(p, r);
    }
    pthread_mutex_unlock(&p->lock);
}

static int pool_begin_one(struct pool *p, size_t bounce, const char *name)
{
    struct pool_thread *t = &p->thread[p->n];
    t->pool = p;
    t->thread = (struct thread){.kind = THREAD_DISK, .run = pool_run, .arg = t};
    snprintf(t->thread.name, sizeof(t->thread.name), "%s", name);
    t->bounce = mmap(NULL, bounce, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->bounce == MAP_FAILED)
        return fail(-ENOMEM, "%s: out of memory", name);
    p->n++;
    return thread_start(&t->thread);
}

int pool_begin(struct pool *p, unsigned n, size_t bounce, const char *name)
{
    int err = 0;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->some, NULL);
    p->last = &p->first;
    p->done_last = &p->done;
    p->thread = calloc(n, sizeof(*p->thread));
    if (!p->thread)
        return fail(-ENOMEM, "%s: out of memory", name);
    while (!err && p->n < n)
        err = pool_begin_one(p, bounce, name);
    return err;
}

void pool_give(struct pool *p, struct blk_req *list, unsigned n)
{
    if (!list)
        return;
    struct blk_req **last = &list->next;
    while (*last)
        last = &(*last)->next;
    pthread_mutex_lock(&p->lock);
    *p->last = list;
    p->last = last;
    if (n > p->idle)
        n = p->idle;
    while (n--)
        pthread_cond_signal(&p->some);
    pthread_mutex_unlock(&p->lock);
}

struct blk_req *pool_done(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct blk_req *list = p->done;
    p->done = NULL;
    p->done_last = &p->done;
    pthread_mutex_unlock(&p->lock);
    return list;
}

struct blk_req *pool_cancel(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct blk_req *list = p->first;
    p->first = NULL;
    p->last = &p->first;
    pthread_mutex_unlock(&p->lock);
    return list;
}

void pool_end(struct pool *p, size_t bounce)
{
    if (!p->thread)
        return;
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_broadcast(&p->some);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n; i++) {
        thread_join(&p->thread[i].thread);
        munmap(p->thread[i].bounce, bounce);
    }
    free(p->thread);
    p->thread = NULL;
    p->n = 0;
}
