/* SPDX-License-Identifier: MIT */
/* Clients of a listening socket, on the main loop: several at once, a request
 * of each at a time, nobody waited for. */
#ifndef SERVER_H
#define SERVER_H

#include "base/loop.h"
#include "base/text.h"
#include "control/http.h"

#define SERVER_CLIENTS 10 /* as Firecracker's server has it */

struct server;

struct client {
    struct server *server;
    struct event ev; /* fd -1: nobody */
    struct http in;
    struct text out;
    size_t sent;   /* of `out` */
    uint64_t when; /* ns, of its last sign of life */
    bool ended;    /* it sends no more */
    bool last;     /* hung up on when `out` is sent */
    bool asked;    /* its request is being done: server_answer comes */
};

/* Embedded in its owner. Everything on the main loop's thread, or before it
 * runs. */
struct server {
    /* The owner's. A client's request is in c->in; answered at once or later,
     * but once, by server_answer. */
    void (*request)(struct client *c);
    /* Optional: may this one, whose descriptor it is, be a client? */
    bool (*admit)(struct server *s, int fd);
    const char *name;     /* the "Server:" of its answers */
    uint64_t turned_away; /* connections, as there were too many */

    struct loop *loop;
    struct event listen;
    struct timer pause;
    struct client client[SERVER_CLIENTS];
};

/* Serves `fd`, which listens and does not block; it is taken over. 0 or -errno.
 */
int server_begin(struct server *s, struct loop *l, int fd);
/* `body`, of this type (empty: none), is taken over. */
void server_answer(struct client *c, int code, const char *type,
                   struct text *body);
void server_end(struct server *s);

#endif
