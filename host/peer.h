/* SPDX-License-Identifier: MIT */
/* One connection that comes back: a peer who is listened for or dialled, and
 * who may hang up at any time. */
#ifndef HOST_PEER_H
#define HOST_PEER_H

#include <stdatomic.h>

#include "base/loop.h"
#include "host/helper.h"

/* Embedded in its owner, or lent by it. Everything on the main loop's thread,
 * or before it runs. */
struct peer {
    /* The owner's, before peer_begin. */
    char id[64];    /* leads each line: a netdev's id */
    char name[128]; /* where the peer is: "unix:/run/x", "passt" */
    void *owner;    /* the callbacks', where it is not what embeds the peer */
    int listen_fd;  /* connections come from here, or -1 */
    /* Makes a connection: a descriptor, perhaps still connecting, or -errno
     * (not said; -ECANCELED: never again; -EINPROGRESS: peer_dialled will be
     * called with either). NULL: never. peer_dial_helper: has the helper
     * connect to `way` (host/helper.h). */
    int (*dial)(struct peer *p);
    int way;
    struct program *program; /* peer_dial_program's (host/program.h) */
    unsigned greet_ms;       /* for what follows opened(); 0: a second */
    unsigned redial_ms;      /* pause between attempts; 0: no further one */
    bool half;               /* who only ends their own side still reads */
    unsigned pause_most_ms;  /* after ones that did not stay; 0: 3.2 s */
    const char *alone; /* "the cable stays out", where nobody comes back */
    /* conn.fd is connected. The owner calls peer_up, now or, after words with
     * the peer, within a second. */
    void (*opened)(struct peer *p);
    /* conn.fd is about to be closed; `up` says whether it was up. */
    void (*closed)(struct peer *p);
    /* Ready for what the owner wanted with peer_want. */
    void (*ready)(struct peer *p, uint32_t got);

    struct event conn; /* fd -1: nobody */
    bool up;
    /* For another thread, before it shuts conn.fd down: why. */
    const char *_Atomic why;
    const char *lost;         /* why the last one was dropped */
    uint64_t connects, drops; /* how often it came up, and was lost */
    /* peer.c's own */
    struct helper_ask ask;
    struct loop *loop;
    struct event listen;
    struct timer timer;
    uint64_t since; /* up since */
    bool connecting, noted, quiet;
    unsigned pause_ms, brief;
};

/* Watches for the peer; `fd`: connected already, or -1. Dials at once, on the
 * loop. 0 or -errno (said). Takes over both descriptors, on failure too:
 * peer_end closes them. */
int peer_begin(struct peer *p, struct loop *l, int fd);
int peer_dial_helper(struct peer *p);
void peer_dialled(struct peer *p, int fd);
/* The peer is what it should be. */
void peer_up(struct peer *p);
/* What to wait for beside the peer's end: EPOLLIN | EPOLLOUT, or 0. Any thread,
 * one at a time. */
void peer_want(struct peer *p, uint32_t want);
/* Hangs up, and waits for the next one. `why` ends the line "the peer …". */
void peer_drop(struct peer *p, const char *why);
void peer_end(struct peer *p);

#endif
