/* SPDX-License-Identifier: MIT */
/* What a serial port's bytes go to and come from: the descriptors behind stdio,
 * a file, a pseudo-terminal, a socket. */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <stdbool.h>

#include "host/addr.h"

struct endpoint {
    int in, out; /* -1: none */
    bool in_socket, out_socket;
    bool keys;         /* in is a terminal: Ctrl-A is ours */
    int pty;           /* our own end of its other side, or -1 */
    const char *path;  /* of a file */
    bool regular;      /* it is one */
    bool append, made; /* not to be emptied; was not there before */
};

/* No descriptors. */
void endpoint_init(struct endpoint *e);

/* Each opens one (`pts` becomes the name of a pty); `label` begins an error's
 * line. A file is neither emptied nor kept before endpoint_begin(). 0 or -errno
 * (said). */
int endpoint_stdio(struct endpoint *e);
int endpoint_file(struct endpoint *e, const char *label, const char *path,
                  bool append);
int endpoint_pty(struct endpoint *e, const char *label, char *pts, size_t size);
/* A socket, not waiting, with so many who may wait at it; or -errno. */
int endpoint_listen(const struct addr *a, int backlog);

/* The same for a chardev's server, who may be given one; and where that is
 * kept, for who may take over (base/handed.h). */
struct chardev;
int endpoint_serve(struct chardev *c, int backlog);
void endpoint_keep(struct chardev *c, const int *fd);

/* Now it is used: a file is emptied, if it is to be. 0 or -errno. */
int endpoint_begin(const struct endpoint *e, int out);
/* What is in a pseudo-terminal goes with our end of it: whoever is reading gets
 * the time to take it. */
void endpoint_drain(const struct endpoint *e);
/* Closes what in and out do not. `begun` as it says; a file that was made for
 * nothing goes. */
void endpoint_end(struct endpoint *e, bool begun);

#endif
