/* SPDX-License-Identifier: MIT */
/* Socket addresses as QEMU spells them. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/field.h"

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

/* What an address is told by: KEY.type=unix|inet|fd with KEY.path=, KEY.host=
 * and KEY.port=, or KEY.str=. */
struct addr_told {
    const char *path, *host, *str;
    uint16_t port;
    uint8_t type, abstract, tight, ipv4, ipv6;
};
extern const struct field addr_fields[];
/* Makes an address of it; nothing told: len 0 and fd -1. `what` and `key` open
 * the message. A descriptor must be a socket of `type` (SOCK_STREAM …). 0 or
 * -errno (said). */
int addr_check(const struct addr_told *told, const char *what, const char *key,
               int type, struct addr *a);
/* Numeric host or "localhost"; NULL or empty: `any` or loopback. */
int addr_inet(const char *what, const char *host, const char *port, bool any,
              struct addr *a);
/* "host:port", host may be empty (`any` or loopback) or "[v6]". */
int addr_host_port(const char *what, const char *text, bool any,
                   struct addr *a);
int addr_unix(const char *what, const char *path, bool abstract,
              struct addr *a);
/* The number of an open socket of `type`, or -errno (said). */
int addr_fd(const char *what, const char *text, int type);
/* Makes it an own descriptor: close-on-exec, non-blocking. */
void addr_own_fd(int fd);

/* bind, first removing a UNIX socket that nobody listens at any more. Its file
 * is the caller's to have removed (host/helper.h). */
int addr_bind(int fd, const struct addr *a);
/* Why it failed with `err`, and what to do. */
const char *addr_bind_why(const struct addr *a, int err);
/* The socket whose path is that of `a`, "_" and `n`. 0 or -ENAMETOOLONG. */
int addr_beside(const struct addr *a, uint32_t n, struct addr *out);
/* Is it a file? */
bool addr_is_file(const struct addr *a);
/* A stream socket that does not wait, connected to it or connecting still;
 * -errno, not said. */
int addr_dial(const struct addr *a);

#endif
