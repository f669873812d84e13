/* SPDX-License-Identifier: MIT */
/* A vsock driver that is the test (virtio 1.2 §5.10), and processes of the host
 * at real UNIX sockets. */
#ifndef VS_H
#define VS_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "devices/list.h"
#include "devices/virtio_vsock/state.h"
#include "tests/unit/fakesys.h"
#include "tests/unit/fakevirtio.h"

#define VS_CID 3
#define VS_ALLOC 100000u

struct vs {
    const char *opts;  /* more of them, or NULL */
    uint32_t rx_len;   /* of receive buffers; 0: 4 KiB */
    unsigned rx_count; /* of them; 0: 32 */
    bool no_rx;        /* none at first */
    struct vd d;
    struct machine *m;
    char path[100], text[300];
    uint64_t at[VD_RING_MAX]; /* of receive buffers, by id */
    uint32_t alloc, fwd;      /* what the guest says of itself */
    uint64_t tx;              /* room for packets to send */
};

#define VS_SAID 300
/* A packet for the guest. */
struct vs_packet {
    struct vsock_hdr h;
    uint8_t data[70000];
};

/* The device with a driver that is ready. */
void vs_up(struct vs *s, bool packed, uint64_t want);
/* The driver again, after a reset: receive buffers and all. */
void vs_again(struct vs *s, uint64_t want);
/* The device once more, in the machine that another process has of it; `ctx` is
 * the struct vs (records_move). */
void vs_make(struct machine *m, void *ctx);
void vs_free(struct vs *s);
/* One more receive buffer of s->rx_len bytes; the kick is the caller's. */
void vs_post(struct vs *s);
void vs_post_all(struct vs *s);
/* The next packet; false: there is none. Its buffer is given back. */
bool vs_get(struct vs *s, struct vs_packet *p);
/* The next one is of this operation and these ports. */
struct vs_packet *vs_want(struct vs *s, enum vsock_op op, uint32_t guest,
                          uint32_t host);
void vs_want_none(struct vs *s);
/* A packet of the guest; the header as it is. */
void vs_send_raw(struct vs *s, const struct vsock_hdr *h, const void *data,
                 uint32_t len);
void vs_send(struct vs *s, enum vsock_op op, uint32_t guest, uint32_t host,
             uint32_t flags);
void vs_data(struct vs *s, uint32_t guest, uint32_t host, const void *data,
             uint32_t len);

/* A process of the host: connected to uds_path, not waiting. */
int vs_dial(struct vs *s);
/* Listens at uds_path_PORT. */
int vs_listen(struct vs *s, uint32_t port);
void vs_say(int fd, const char *text);
/* What there is to read is this; "": nothing, but it is open; NULL: its end. */
void vs_hears(int fd, const char *text);
/* A connection each way; the host's process, and the host's port in *port. */
int vs_connect(struct vs *s, uint32_t guest, uint32_t *port);
int vs_connect_out(struct vs *s, uint32_t guest, uint32_t host);

#endif
