/* SPDX-License-Identifier: MIT */
/* A thread for calls that take their time. */
#include "base/worker.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static void worker_main(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->quit) {
        if (!w->job) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        w->job(w->arg);
        pthread_mutex_lock(&w->lock);
        w->job = NULL;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
}

int worker_start(struct worker *w, const char *name)
{
    *w = (struct worker){
        .thread = {.kind = THREAD_WORKER, .run = worker_main, .arg = w}};
    snprintf(w->thread.name, sizeof(w->thread.name), "%s", name);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    return thread_start(&w->thread);
}

void worker_do(struct worker *w, void (*job)(void *arg), void *arg)
{
    worker_wait(w, 0);
    pthread_mutex_lock(&w->lock);
    w->arg = arg;
    w->job = job;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

bool worker_wait(struct worker *w, uint64_t ns)
{
    struct timespec until;
    int err = 0;
    bool ever = !ns;
    clock_gettime(CLOCK_REALTIME, &until);
    ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&w->lock);
    while (w->job && !err)
        err = ever ? pthread_cond_wait(&w->changed, &w->lock)
                   : pthread_cond_timedwait(&w->changed, &w->lock, &until);
    bool done = !w->job;
    pthread_mutex_unlock(&w->lock);
    return done;
}

void worker_end(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    thread_join(&w->thread);
}
