/* SPDX-License-Identifier: MIT */
/* -chardev, and what -serial says instead of one: where bytes go. */
#ifndef HOST_CHARDEV_H
#define HOST_CHARDEV_H

#include "base/opts.h"
#include "host/addr.h"

enum chardev_type {
    CHARDEV_NULL,
    CHARDEV_STDIO,
    CHARDEV_FILE,
    CHARDEV_PTY,
    CHARDEV_SOCKET,
};

/* Says where; opens nothing. Lives until chardev_free. */
struct chardev {
    struct opts o;  /* the texts below */
    char label[80]; /* "-serial file:log": opens each error line */
    const char *id; /* NULL: -serial's own */
    enum chardev_type type;
    const char *path; /* file */
    bool append;
    struct addr addr;      /* socket */
    bool server, wait;     /* listens; and its user waits for somebody */
    uint32_t reconnect_ms; /* dials again after so long; 0: never */
    const char *logfile;   /* a copy of the output, or NULL */
    bool logappend;
    bool taken; /* by the one user it may have */
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
void chardev_release(struct chardev *c);
void chardev_free(void);

#endif
