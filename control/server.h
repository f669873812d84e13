/* SPDX-License-Identifier: MIT */
/* Clients of a listening socket, on the main loop: several at once, a request
 * of each at a time, nobody waited for; in HTTP or what else the owner speaks.
 */
#ifndef SERVER_H
#define SERVER_H

#include "base/loop.h"
#include "base/text.h"
#include "control/http.h"

#define SERVER_CLIENTS 10 /* as Firecracker's server has it */

struct server;
struct client;

/* How bytes become requests, and who says what. */
struct talk {
    /* One has come; what is first said goes to c->out. False: no memory. */
    bool (*begin)(struct client *c);
    /* Where what it sends is put, and how much; it has: `n` bytes. */
    char *(*room)(struct client *c, size_t *room);
    void (*came)(struct client *c, size_t n);
    /* Takes up one request, if there is one: c->out, or c->asked and
     * server_done later. */
    void (*next)(struct client *c);
    void (*end)(struct client *c);
    /* What is said to one too many. */
    void (*refuse)(const struct server *s, struct text *out);
    /* Optional: a descriptor came along, which is the callee's. */
    void (*passed)(struct client *c, int fd);
    /* Optional. Another process may go on with it if nothing is begun but what
     * `who` has asked: what has come and is not begun is put to `left`, and
     * comes there again. Gives what else that is to know (the server's
     * goes_on), 0: it cannot. */
    uint8_t (*rests)(const struct client *c, const void *who,
                     struct text *left);
};

struct client {
    struct server *server;
    const struct talk *talk; /* the server's, or what it has become */
    struct event ev;         /* fd -1: nobody */
    struct http in;          /* HTTP's */
    void *owner;             /* another talk's */
    struct text out;
    size_t sent;   /* of `out` */
    uint64_t when; /* ns, of its last sign of life */
    bool ended;    /* it sends no more */
    bool last;     /* hung up on when `out` is sent */
    bool full;     /* no more can be taken of it now: it is not read from */
    bool asked;    /* its request is being done: server_answer comes, or
                      server_done */
};

/* Embedded in its owner. Everything on the main loop's thread, or before it
 * runs. */
struct server {
    const struct talk *talk; /* the owner's; NULL: HTTP, with the next row */
    /* A client's request is in c->in; answered at once or later, but once, by
     * server_answer. */
    void (*request)(struct client *c);
    /* Optional: may this one, whose descriptor it is, be a client? */
    bool (*admit)(struct server *s, int fd);
    /* Optional: another process had this client, which has begun here; `known`
     * is what its talk's rests() gave there. */
    void (*goes_on)(struct client *c, uint8_t known);
    const char *name;     /* the "Server:" of its answers */
    size_t body_max;      /* of a request's body; 0: HTTP_BODY_MAX bytes */
    uint64_t turned_away; /* connections, as there were too many */

    struct server *next;
    unsigned number;
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
/* Another talk's: what was asked is done, and c->out has the answer. False: the
 * client is no more. */
bool server_done(struct client *c);
/* Instead of server_answer: from now on the client speaks `talk`, whose
 * begin() is not called; end() is, before that of the server's own. c->out has
 * the answer, c->in what came behind the request. */
void server_become(struct client *c, const struct talk *talk, void *owner);
/* c->out has something unasked for. */
void server_say(struct client *c);
void server_end(struct server *s);

/* Another process takes over what all servers do. They do nothing from here on;
 * parts of its state say who is connected, with `who` among them, whose request
 * that is. */
struct part;
struct parts;
void servers_leave(const void *who, struct parts *out);
void servers_stay(void); /* it does not */
/* And there: one of these parts. */
void servers_arrive(const struct part *part);

#endif
