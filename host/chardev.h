/* SPDX-License-Identifier: MIT */
/* -chardev, and what -serial says instead of one: where bytes go. */
#ifndef HOST_CHARDEV_H
#define HOST_CHARDEV_H

#include "base/loop.h"
#include "base/opts.h"
#include "host/addr.h"

struct peer;
struct program;

enum chardev_type {
    CHARDEV_NULL,
    CHARDEV_STDIO,
    CHARDEV_FILE,
    CHARDEV_PTY,
    CHARDEV_SOCKET,
};

/* The device whose serial port it is (host/console.h). Called on the loop's
 * thread, with no lock held. */
struct console_user {
    void *owner;
    unsigned (*room)(void *owner); /* bytes it can take now */
    void (*input)(void *owner, const uint8_t *p, unsigned n); /* n <= room */
    void (*drained)(void *owner); /* console_full() is false again */
    void (*quit)(void *owner);    /* Ctrl-A x */
    void (*came)(void *owner);    /* whom console_waits() waits for */
    void (*entered)(void *owner); /* optional: has the keys by Ctrl-A c */
};

/* Says where; opens nothing. Lives until chardev_free. */
struct chardev {
    struct opts o;  /* the texts below */
    char label[80]; /* "-serial file:log": opens each error line */
    const char *id; /* NULL: -serial's own */
    enum chardev_type type;
    const char *path; /* file */
    char pty[32];     /* the other side of one that is open */
    bool append;
    struct addr addr;      /* socket */
    bool server, wait;     /* listens; and its user waits for somebody */
    uint32_t reconnect_ms; /* dials again after so long; 0: never */
    int way;               /* the helper does (host/helper.h) */
    int listens;           /* where it is listened for already; 0: not yet */
    const char *logfile;   /* a copy of the output, or NULL */
    bool logappend;
    bool mux;                /* a serial port's and a monitor's in one, */
    bool monitor;            /* which no -mon names */
    bool handed;             /* can be, to another process (-upgrade) */
    bool taken;              /* by the one user it may have */
    struct peer *peer;       /* of chardev_meet(); that user's */
    struct program *program; /* who is met, where it is one of ours */
    struct chardev *next;
};

/* -chardev TYPE,id=ID,…. 0, -errno (said), or 1: help is out on stdout. */
int chardev_add(const char *arg);
/* NULL: there is none of that id. */
struct chardev *chardev_find(const char *id);
/* What -serial names: chardev:ID, stdio, null, none, pty, file:PATH,
 * unix:PATH, tcp:HOST:PORT, the latter with keys; taken at
 * once, until chardev_release. 0 or -errno (said). */
int chardev_serial(const char *to, struct chardev **out);
/* The same for a monitor's option: an id, where it is -mon, or a TO. What it is
 * cannot wait for somebody to take its bytes: stdio, pty, or a socket that is
 * listened at. */
int chardev_monitor(const char *opt, const char *to, struct chardev **out);
/* The one after it (NULL: the first), or NULL. */
struct chardev *chardev_next(const struct chardev *c);
/* Its name and what it is, as QEMU shows them: "pty:/dev/pts/3". */
void chardev_describe(const struct chardev *c, char *out, size_t size);
/* For who speaks over a UNIX socket: the chardev `id`, or one without an id
 * that connects to `path`; taken. `peer` is what the connection will be, and
 * counts. 0 or -errno (said, beginning with `what`). */
int chardev_take(const char *what, const char *id, struct peer *peer,
                 struct chardev **out);
int chardev_to(const char *what, const char *path, struct peer *peer,
               struct chardev **out);
/* For the owner of a checked program (host/program.h), which is who is met. 0
 * or -ENOMEM (said). */
int chardev_of(struct program *p, struct peer *peer, struct chardev **out);
/* What it says is final: has the helper (host/helper.h) know it, too. 0 or
 * -errno (said). */
int chardev_need_helper(struct chardev *c);
/* Ends its connection, too. */
void chardev_release(struct chardev *c);
/* Those of devices that were not made. */
void chardev_release_all(void);
void chardev_free(void);

/* meet.c: connects before the machine runs, and waits for it: a server, or a
 * client that would dial again, without end, else not at all; then a second for
 * the peer's callbacks to say peer_up. They are set by its user, as are its id
 * and owner. `whom` is what it should be: "vhost-user back-end". 0 or -errno
 * (said): -EINTR where somebody wants the VMM to end. */
int chardev_meet(struct chardev *c, struct loop *l, const char *whom);
/* Hangs up, and nobody comes any more. */
void chardev_part(struct chardev *c);

#endif
