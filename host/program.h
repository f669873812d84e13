/* SPDX-License-Identifier: MIT */
/* A program that serves this process over a socket: the helper starts it, and
 * again when it has ended (passt, qemu-storage-daemon). */
#ifndef HOST_PROGRAM_H
#define HOST_PROGRAM_H

#include "base/loop.h"
#include "host/helper.h"

struct peer;

/* Embedded in its owner. All on the main loop's thread, or before it runs. */
struct program {
    /* The owner's, before program_check. */
    const char *id;      /* leads each line */
    const char *package; /* of Debian's, that has it */
    char **argv;         /* NULL at the end; the socket's number goes behind
                            the last one */
    bool listens;        /* the socket is one to accept a connection from */
    bool forever;        /* it is started again however often it ends */
    const char *about;   /* what it serves, where that can be wrong */
    bool terse;          /* of a start that fails only the first line is said */
    struct peer *peer;   /* whom further connections are for */
    /* program.c's own */
    int way;
    char who[96];
    struct helper_ask ask;
    int first;   /* the first one's socket, or -errno */
    bool opened; /* further ones are the peer's */
    uint64_t born;
    int quick; /* deaths soon after birth, in a row */
    struct loop *loop;
    struct event says; /* what it writes to stderr */
    char line[512];    /* the beginning of a line of it */
    size_t nline;
    bool kept;      /* it is whole, and is to stay */
    unsigned lines; /* said of this one */
};

/* While options are looked at: tells the helper. 0 or -errno (said). */
int program_check(struct program *p);
/* Starts it, and waits for that: its socket, or -errno (said, beginning with
 * `what`). */
int program_open(struct program *p, const char *what, struct loop *l);
/* It is what it should be: what it says goes to the log from now on, and
 * further connections to the peer. */
void program_runs(struct program *p);
/* It is not, says the line; gives -EIO (said). */
int program_failed(struct program *p, const char *what);
/* For struct peer's dial, of a peer whose program it is. */
int peer_dial_program(struct peer *peer);
/* Starts it anew: -EINPROGRESS, or -errno, as that wants it. */
int program_dial(struct program *p);
/* It is not heard any more; the helper ends it. */
void program_end(struct program *p);

#endif
