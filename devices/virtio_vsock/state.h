/* SPDX-License-Identifier: MIT */
/* The vsock device: what it is, and what its files do for each other. */
#ifndef VIRTIO_VSOCK_STATE_H
#define VIRTIO_VSOCK_STATE_H

#include "devices/virtio/pci.h"
#include "devices/virtio/vhost.h"
#include "host/addr.h"
#include "host/helper.h"

#define VSOCK_HOST_CID 2
#define VSOCK_BUFFER 65536u /* bytes of a connection's guest that wait here */
#define VSOCK_BUCKETS 256
#define VSOCK_HELLOS 64              /* of host processes that say nothing */
#define VSOCK_LIMIT_NS 2000000000ull /* for an answer */
#define VSOCK_RSTS 64
#define VSOCK_PIECES 64 /* of a buffer, for one system call */
#define VSOCK_QUEUE_SIZE 128

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };
enum { /* virtio 1.2 §5.10.6 */
       VSOCK_TYPE_STREAM = 1,
};
enum vsock_op {
    VSOCK_OP_NONE,
    VSOCK_OP_REQUEST,
    VSOCK_OP_RESPONSE,
    VSOCK_OP_RST,
    VSOCK_OP_SHUTDOWN,
    VSOCK_OP_RW,
    VSOCK_OP_CREDIT_UPDATE,
    VSOCK_OP_CREDIT_REQUEST,
};
/* SHUTDOWN's flags: who sends it will not receive, will not send. */
enum { VSOCK_SHUT_RCV = 1, VSOCK_SHUT_SEND = 2, VSOCK_SHUT_BOTH = 3 };

struct vsock_hdr {
    le64 src_cid, dst_cid;
    le32 src_port, dst_port;
    le32 len;
    le16 type, op;
    le32 flags;
    le32 buf_alloc, fwd_cnt;
};
#define VSOCK_HDR_LEN 44
_Static_assert(offsetof(struct vsock_hdr, fwd_cnt) == VSOCK_HDR_LEN - 4,
               "virtio 1.2 §5.10.6");

/* One of a list's; next NULL: of none. A list is one, too, that is in itself.
 */
struct vsock_link {
    struct vsock_link *prev, *next;
};

enum vsock_state {
    VSOCK_HELLO,    /* a host's process has not yet said where to */
    VSOCK_ASKED,    /* it has; the guest has not answered */
    VSOCK_DIALLING, /* the guest wants one; the helper has not connected it */
    VSOCK_OPEN,
    VSOCK_DRAINING, /* the guest is done, the process has not read it all */
    VSOCK_DEAD,     /* the guest is to be told so */
};

/* A connection. `guest` and `host` are ports; of the fields that count bytes
 * all wrap (§5.10.6.3). */
struct vsock_conn {
    struct event ev; /* the host's process, or fd -1 */
    struct helper_ask ask;
    struct vsock *s;
    struct vsock_link all, rx, wait; /* of s; wait: which list says the state */
    struct vsock_conn *hash_next;
    uint64_t deadline;
    uint8_t *buf;      /* VSOCK_BUFFER; NULL: nothing waits */
    uint32_t at, fill; /* of buf: the first byte, bytes */
    /* From here on another process gets it as it lies here (streams.c): what
     * is changed there has another name. */
    uint32_t guest, host;
    uint32_t alloc, forwarded; /* the guest's, as it said last */
    uint32_t sent;             /* to the guest */
    uint32_t taken, told;      /* taken from it and given on; as it was told */
    uint32_t late;             /* ev.fd's number there */
    uint8_t state;
    uint8_t owed;       /* to the guest: 1 << VSOCK_OP_* */
    uint8_t guest_shut; /* VSOCK_SHUT_* of the guest's */
    uint8_t shut_told;  /* of the process's, as the guest was told */
    bool readable : 1;  /* there may be something to read */
    bool eof : 1, deaf : 1, hup : 1;    /* sends, reads no more, is gone */
    bool credit_asked : 1, shut_wr : 1; /* once each */
};

/* A RST for nobody here. */
struct vsock_rst {
    uint64_t cid; /* whom it comes from */
    uint32_t guest, host;
    uint16_t type;
};

#define VSOCK_COUNTERS(X)                                                      \
    X(host_connects, "connections that host processes made to the guest")      \
    X(guest_connects, "connections that the guest made to the host")           \
    X(refused, "connections that came to nothing: nobody listens, too many, "  \
               "no answer")                                                    \
    X(resets, "connections ended because of what the guest sent")              \
    X(tx_bad, "packets of the guest that are none")                            \
    X(rx_packets, "packets given to the guest")                                \
    X(rx_bytes, "their bytes, without headers")                                \
    X(tx_packets, "packets taken from the guest")                              \
    X(tx_bytes, "their bytes")                                                 \
    X(rx_short, "receive buffers too short for a header")

struct vsock {
    struct virtio v; /* its lock is this device's */
    struct pci_place pci;
    /* as told */
    uint64_t cid;
    const char *uds_path, *vhostfd;
    uint32_t most; /* connections */
    /* with vhost */
    struct vhost *vhost;
    int vhost_fd;
    bool vhost_on;
    bool cid_owed; /* another process has it */
    struct fault vhost_errors, vhost_refused;
    /* without */
    struct addr addr;
    int way; /* the helper's */
    int dialling;
    bool reset_owed; /* an event: connections are gone */
    bool loaded;     /* its state, and no connection came with it */
    bool broken;     /* a ring was; until the next start */
    bool tx_waits;   /* for room in rst[] */
    unsigned life;   /* the driver's that connections belong to */
    uint32_t next_port;
    unsigned nconn, nhello;
    uint64_t held_at;
    struct event listen;
    struct event wake;  /* the driver is another one */
    struct timer due;   /* for the first of `dues` */
    struct timer later; /* for what did not go just now */
    /* Of connections: all; with something for the guest; and, by their states:
     * those that have not said where to, wait for a connection to be made, for
     * an answer, for a reader. */
    struct vsock_link all, rx, hellos, dials, dues, drains;
    struct vsock_conn *bucket[VSOCK_BUCKETS];
    struct vsock_rst rst[VSOCK_RSTS];
    unsigned rst_at, nrst;
#define X(name, what) _Atomic uint64_t name;
    VSOCK_COUNTERS(X)
#undef X
};

static inline struct vsock *vsock_of(struct virtio *v)
{
    return container_of(v, struct vsock, v);
}

/* Read by any thread, written by one. */
#define vsock_count(s, name, n)                                                \
    atomic_store_explicit(                                                     \
        &(s)->name,                                                            \
        atomic_load_explicit(&(s)->name, memory_order_relaxed) + (n),          \
        memory_order_relaxed)

/* Everything below on the main loop, with the device's lock held. */

/* virtio_vsock.c: may rings be touched? */
bool vsock_serves(const struct vsock *s);

/* conn.c: lists, */
void vsock_list_init(struct vsock_link *list);
void vsock_list_add(struct vsock_link *list, struct vsock_link *l);
void vsock_list_del(struct vsock_link *l);
#define vsock_first(list, link)                                                \
    ((list)->next == (list)                                                    \
         ? NULL                                                                \
         : container_of((list)->next, struct vsock_conn, link))
/* and connections. One, of the descriptor `fd` (-1: none yet), which is taken
 * over; NULL: there are too many, counted. */
struct vsock_conn *vsock_conn_new(struct vsock *s, enum vsock_state state,
                                  int fd);
void vsock_conn_free(struct vsock_conn *c);
/* Its process is at the other end of this. 0 or -errno. */
int vsock_conn_watch(struct vsock_conn *c, int fd);
struct vsock_conn *vsock_conn_find(struct vsock *s, uint32_t guest,
                                   uint32_t host);
/* It has its ports now. */
void vsock_conn_add(struct vsock_conn *c);
/* Waits in a list, and no longer in another. NULL: in none. */
void vsock_conn_wait(struct vsock_conn *c, struct vsock_link *list);
/* Two seconds from now it is dead. */
void vsock_conn_limit(struct vsock_conn *c);
/* Ends it: the process is hung up on, the guest gets a RST. */
void vsock_conn_kill(struct vsock_conn *c);
/* The guest knows nothing of it any more. What it has sent is still given. */
void vsock_conn_part(struct vsock_conn *c);
/* All of a driver that is no more. */
void vsock_conn_part_all(struct vsock *s);
/* Everything that is open is watched, or not. */
void vsock_conn_watch_all(struct vsock *s, bool on);
/* Gives the process what waits for it. It may be gone after that. */
void vsock_conn_flush(struct vsock_conn *c);
/* Bytes of the guest. False: more than it may send. */
bool vsock_conn_take(struct vsock_conn *c, const struct iovec *iov, unsigned n,
                     uint32_t len);
/* The guest will not receive, or send, any more. The same as flush. */
void vsock_conn_shut(struct vsock_conn *c, uint32_t flags);
void vsock_conn_due(struct timer *t); /* no lock held */
/* Its time stands still, and goes on. */
void vsock_conn_rest(struct vsock *s);
void vsock_conn_go_on(struct vsock *s);

/* host.c: the host's side. Watches uds_path. 0 or -errno (said). */
int vsock_host_open(struct vsock *s);
void vsock_host_close(struct vsock *s);
/* Says to the process that the guest has taken it. */
void vsock_host_accepted(struct vsock_conn *c);
/* Has connections made for those that wait for one. */
void vsock_host_dial(struct vsock *s);
void vsock_host_later(struct timer *t); /* no lock held */
void vsock_host_ready(struct event *ev, uint32_t got);

/* streams.c: they go on in another process. */
int vsock_streams_leave(struct device *dev, struct parts *out);
int vsock_streams_arrive(struct device *dev, const struct part *part);

/* rx.c: has it something for the guest? Then it waits its turn. */
void vsock_rx_want(struct vsock_conn *c);
/* A RST in answer to a packet of the guest that is nobody's. */
void vsock_rx_refuse(struct vsock *s, const struct vsock_hdr *h);
/* Bounded bursts; NULL, or what is wrong with a ring. */
const char *vsock_rx_run(struct vsock *s);
const char *vsock_rx_event(struct vsock *s);
/* tx.c */
const char *vsock_tx_run(struct vsock *s);
/* iov[0..n) from byte `skip` on, `len` bytes of it or as much as so many pieces
 * have: how many pieces, and in *len how many bytes. */
int vsock_iov_cut(const struct iovec *iov, unsigned n, size_t skip, size_t *len,
                  struct iovec out[VSOCK_PIECES]);

/* vhost.c */
int vsock_vhost_open(struct vsock *s, struct machine *m);
int vsock_vhost_check(struct vsock *s, const char *what);
void vsock_vhost_start(struct vsock *s);
void vsock_vhost_stop(struct vsock *s);
/* Main loop: the CID is had as soon as it can be; then that starts. */
void vsock_vhost_wait(struct vsock *s);
void vsock_vhost_call(struct virtio *v, unsigned q);

/* virtio_vsock.c: to be called around what the loop does (enter locks, leave
 * serves the rings and unlocks). */
void vsock_enter(struct vsock *s);
void vsock_leave(struct vsock *s);

#endif
