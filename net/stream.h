/* SPDX-License-Identifier: MIT */
/* A backend behind a byte stream: each frame led by its length, 32 bits, big-
 * endian, as QEMU and passt do it. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "host/addr.h"
#include "net/net.h"

extern const struct netdev_class stream_class, socket_class, user_class;

struct stream_conf {
    const char *peer;         /* for messages; copied */
    int fd;                   /* connected already, or -1 */
    int listen_fd;            /* connections come from here, or -1 */
    const struct addr *bound; /* what listen_fd is bound to: removed at close */
    /* Makes a new connection: a descriptor (perhaps still connecting), or
     * -errno, not said; -ECANCELED: never again. NULL: never.
     */
    int (*dial)(void *arg);
    unsigned redial_ms; /* pause between attempts; 0: no further one */
    /* What passt needs: no Ethernet padding behind short IP packets, and a
     * frame of the guest's at the beginning, to know its MAC. */
    bool passt;
    void (*end)(void *arg); /* at close; frees arg */
    void *arg;
};
/* Takes over conf's descriptors and arg, on failure too. */
int stream_new(struct loop *l, const char *id, const struct stream_conf *conf,
               struct netdev **out);

#endif
