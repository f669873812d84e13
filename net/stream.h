/* SPDX-License-Identifier: MIT */
/* A backend behind a byte stream: each frame led by its length, 32 bits, big-
 * endian, as QEMU and passt do it. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <pthread.h>

#include "host/addr.h"
#include "host/peer.h"
#include "net/net.h"

struct stream_conf {
    const char *peer; /* for messages; copied */
    int fd;           /* connected already, or -1 */
    int listen_fd;    /* connections come from here, or -1 */
    /* Makes a new connection, as a peer's dial (host/peer.h); or the helper
     * does, to `way`. NULL and 0: nobody. */
    int (*dial)(void *arg);
    int way;
    unsigned redial_ms; /* pause between attempts; 0: no further one */
    /* What passt needs: no Ethernet padding behind short IP packets, and a
     * frame of the guest's at the beginning, to know its MAC. */
    bool passt;
    void (*end)(void *arg); /* at close; frees arg */
    void *arg;
};
struct stream {
    struct netdev nd;
    struct netbe be;
    int idle; /* behind be.fd while nobody is connected */
    struct stream_conf c;
    struct peer peer;
    struct loop *loop;

    pthread_mutex_t lock; /* all below, and what be.fd is */
    bool up;
    uint8_t head[4]; /* length of the frame that comes next */
    unsigned nhead;
    uint8_t *rx; /* NET_FRAME_MAX: the first `have` bytes of it */
    size_t have;
    uint8_t *tx; /* a frame's rest, [txpos, txend) */
    size_t txpos, txend;
    uint8_t mac[6]; /* the guest's, from its frames (passt only) */
    struct fault f_frame;
};
extern const struct field stream_counters[];
/* Takes over conf's descriptors and arg, on failure too. 0 or -errno (said). */
int stream_open(struct stream *s, struct loop *l,
                const struct stream_conf *conf);

#endif
