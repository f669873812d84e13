/* SPDX-License-Identifier: MIT */
/* A vhost-user back-end in a thread of a test: is told everything, answers what
 * must be answered, and serves nothing. */
#ifndef VUBACKEND_H
#define VUBACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#define BACKEND_MEM (64 << 10) /* of the first region, which it maps */
#define BACKEND_BITS ((1ull << 32) | (1ull << 30) | (1ull << 34) | 1)

/* The back-end: keeps what it is told, answers what must be answered. */
struct backend {
    int fd;
    pthread_t thread;
    uint64_t features, acked, protocol, queues;
    uint32_t regions;
    uint64_t gpa, size, uva, offset, share; /* share: the last region's */
    uint8_t *mem;
    uint32_t num[4], base[4], enabled[4];
    uint64_t desc[4], used[4], avail[4];
    int kick[4], call[4];
    int hint; /* the channel for its own requests */
    int bases_asked;
    uint32_t answer_base;
    bool silent; /* does not answer */
    unsigned config_len, asked_len;
    uint8_t config[256];
};

/* On a connection, or a socket for backend_accept or backend_dial. */
struct backend *backend_new(int fd);
/* Hangs up, and is gone. */
void backend_end(struct backend *b);
/* One message; 0, or -1: the other end is closed. fd: what came along, or -1.
 */
int backend_read(struct backend *b, uint32_t head[3], uint8_t *body, int *fd);

/* Threads: it takes one front-end that calls at the socket b->fd; or calls at
 * backend_sa itself. */
void *backend_accept(void *arg);
void *backend_dial(void *arg);
extern struct sockaddr_un backend_sa;
/* A socket to be called at, there. */
int backend_listen(const char *path);

#endif
