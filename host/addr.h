/* SPDX-License-Identifier: MIT */
/* Socket addresses as QEMU spells them. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/opts.h"

struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;  /* 0: none */
    int fd;         /* type=fd: this descriptor instead; else -1 */
    char text[128]; /* for messages: "unix:/run/x", "127.0.0.1:1234" */
};

/* KEY.type=unix|inet|fd with KEY.path=, KEY.host=/KEY.port=, KEY.str=. Absent:
 * len 0 and fd -1. 0 or -errno (said). */
int addr_opts(struct opts *o, const char *key, struct addr *a);
/* Numeric host or "localhost"; NULL or empty: `any` or loopback. */
int addr_inet(const char *what, const char *host, const char *port, bool any,
              struct addr *a);
/* "host:port", host may be empty (`any` or loopback) or "[v6]". */
int addr_host_port(const char *what, const char *text, bool any,
                   struct addr *a);
int addr_unix(const char *what, const char *path, bool abstract,
              struct addr *a);
/* An own descriptor: close-on-exec, non-blocking; -errno (said). */
int addr_take_fd(const char *what, const char *text);

/* bind, first removing a UNIX socket that nobody listens at any more. */
int addr_bind(int fd, const struct addr *a);
/* Removes what addr_bind made. */
void addr_unlink(const struct addr *a);

#endif
