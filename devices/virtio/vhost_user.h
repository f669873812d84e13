/* SPDX-License-Identifier: MIT */
/* vhost-user inside: vhost_talk.c speaks with the back-end and greets it,
 * vhost_user.c lends it rings. */
#ifndef VIRTIO_VHOST_USER_H
#define VIRTIO_VHOST_USER_H

#include "devices/virtio/vhost.h"
#include "host/chardev.h"
#include "host/peer.h"

enum { /* requests */
       VU_GET_FEATURES = 1,
       VU_SET_FEATURES = 2,
       VU_SET_OWNER = 3,
       VU_SET_MEM_TABLE = 5,
       VU_SET_VRING_NUM = 8,
       VU_SET_VRING_ADDR = 9,
       VU_SET_VRING_BASE = 10,
       VU_GET_VRING_BASE = 11,
       VU_SET_VRING_KICK = 12,
       VU_SET_VRING_CALL = 13,
       VU_SET_VRING_ERR = 14,
       VU_GET_PROTOCOL_FEATURES = 15,
       VU_SET_PROTOCOL_FEATURES = 16,
       VU_GET_QUEUE_NUM = 17,
       VU_SET_VRING_ENABLE = 18,
       VU_SET_BACKEND_REQ_FD = 21,
       VU_GET_CONFIG = 24,
       VU_SET_CONFIG = 25,
};
#define VU_F_PROTOCOL (1ull << 30) /* VHOST_USER_F_PROTOCOL_FEATURES */
#define VU_PF_MQ (1ull << 0)
#define VU_PF_BACKEND_REQ (1ull << 5)
#define VU_PF_CONFIG (1ull << 9)

#define VU_REGIONS (RAM_REGIONS + 1) /* and the device's own memory */

struct vu_message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t n, pad;
            struct {
                uint64_t gpa, size, uva, offset;
            } region[VU_REGIONS];
        } mem;
        struct {
            uint32_t off, size, flags;
            uint8_t bytes[VHOST_CONFIG_MAX];
        } config;
    };
} __attribute__((packed)); /* 12 bytes, then the payload */
#define VU_HEAD offsetof(struct vu_message, u64)
_Static_assert(VU_HEAD == 12, "vhost-user message header");
#define VU_CONFIG_HEAD                                                         \
    (offsetof(struct vu_message, config.bytes) - VU_HEAD) /* of the payload */

struct vuser {
    struct vhost v;
    struct chardev *c;
    struct peer *peer; /* c's */
    struct ram ram;    /* the machine's */
    struct event err;  /* the rings' errors: a fresh file for each start */

    /* The channel for what the back-end asks for: one for all that come, since
     * nobody makes sockets later. hint_fd is their end. */
    struct event hint;
    int hint_fd;

    /* The greeting; main loop. */
    uint32_t asked;       /* the request whose answer is awaited */
    struct vu_message in; /* the first `have` bytes of it */
    size_t have;
    uint64_t offers, protocol; /* what was answered so far */
    uint64_t served;           /* queues */
    char few[48];              /* too few queues, in words */

    pthread_mutex_t lock; /* what is below */
    int fd;               /* -1: nobody there, or not greeted yet */
    uint64_t can;         /* feature bits of who is there */
    bool running;
    uint64_t acked;
    unsigned n; /* rings, running */
    struct vhost_ring ring[VIRTIO_QUEUES_MAX];
    uint8_t config[VHOST_CONFIG_MAX];
    bool looking; /* config was asked for again: its answer comes first */
};

/* vhost_talk.c. All with the lock held: 0, or -errno, when the back-end is no
 * good any more. Nothing waits for it to read. */
int vu_put(struct vuser *u, struct vu_message *msg, uint32_t request,
           size_t size, const int *fds, int nfds);
int vu_put_u64(struct vuser *u, uint32_t request, uint64_t val);
int vu_put_state(struct vuser *u, uint32_t request, uint32_t index,
                 uint32_t num);
/* A ring's eventfd; -1: none. */
int vu_put_fd(struct vuser *u, uint32_t request, uint32_t index, int fd);
/* Reads an answer of `size` bytes of payload, until `end` (real_ms). */
int vu_get(struct vuser *u, struct vu_message *m, uint32_t request, size_t size,
           int64_t end);
/* The main loop will see the back-end hang up. Gives `err`. */
int vu_give_up(struct vuser *u, int err, const char *why);

/* Asks for the configuration space again; the answer comes on the main loop.
 */
void vu_look(struct vuser *u);
/* Who connects is greeted, and said to be here. */
void vu_greet(struct vuser *u);
extern const char vu_lacks_features[];

#endif
