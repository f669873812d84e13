/* SPDX-License-Identifier: MIT */
/* An echo by vsock while another process takes the device over, once and at
 * every step of it, whatever is full, empty, owed or half closed then. The
 * guest looks at a ring only when an interrupt says so, and kicks only when it
 * is asked to: what is forgotten on the way stands still for good. */
#include "tests/unit/devices/virtio_vsock/vs.h"
#include "tests/unit/records.h"

#define GUEST 52
#define TOTAL 250000u
#define ROOMS 8        /* for packets that the guest sends */
#define ROOM_LEN 20000 /* each */
#define KEEPS 20000u   /* bytes that the guest has read and not sent back */
#define STEPS_MAX 2000

/* What there is to do, one at a time. */
enum { SAYS = 1, HEARS = 2, TAKES = 4, POSTS = 8, SENDS = 16, ALL = 31 };

struct echo {
    struct vs s;
    int fd;                            /* the process's */
    uint32_t port, said, heard, limit; /* of what it says */
    bool closes, said_all, heard_end;  /* when it has said that */
    unsigned may, was; /* who does anything now; what was under way */
    /* the guest's */
    uint32_t got, read, told, back, their_fwd;
    bool asked, shut, shuts, reset, unseen;
    bool looks[2], irq[2]; /* at its rings: VSOCK_RX, VSOCK_TX */
    unsigned posted, sending, turn;
    uint64_t spare[32]; /* receive buffers that are not posted */
    uint64_t room[ROOMS];
    uint8_t kept[TOTAL];
};

static uint8_t byte_at(uint32_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static uint32_t some(uint32_t most)
{
    return 1 + test_random() % most;
}

/* ---------------------------------------------------------- the process */

static void host_says(struct echo *e)
{
    uint8_t p[30000];
    uint32_t n = some(sizeof(p));
    n = n < e->limit - e->said ? n : e->limit - e->said;
    for (uint32_t i = 0; i < n; i++)
        p[i] = byte_at(e->said + i);
    ssize_t went = n ? send(e->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    CHECK(went >= 0 || errno == EAGAIN);
    e->said += went > 0 ? (uint32_t)went : 0;
    if (e->closes && e->said == e->limit && !e->said_all)
        CHECK_EQ(shutdown(e->fd, SHUT_WR), 0);
    e->said_all = e->said == e->limit;
}

static void host_hears(struct echo *e)
{
    uint8_t p[30000];
    ssize_t n = recv(e->fd, p, some(sizeof(p)), MSG_DONTWAIT);
    CHECK(n >= 0 || errno == EAGAIN);
    for (ssize_t i = 0; i < n; i++)
        if (p[i] != byte_at(e->heard++))
            FAIL("byte %u is another one", e->heard - 1);
    e->heard_end = n == 0;
}

/* ------------------------------------------------------------ the guest */

static void ring(struct echo *e, unsigned q, unsigned added)
{
    struct vd *d = &e->s.d;
    if (!vd_kick_wanted(&d->q[q], added))
        return;
    vd_set(d, C_QUEUE_SEL, 2, q);
    guest_write(d->m, d->ports,
                d->notify + (uint64_t)d->mult * vd_get(d, C_NOTIFY_OFF, 2), 2,
                q);
}

/* The next one that is used, in a ring that it has been told to look at. */
static bool guest_used(struct echo *e, unsigned q, int *id, uint32_t *len)
{
    struct vd_queue *vq = &e->s.d.q[q];
    e->irq[q] |= vd_irqs(&e->s.d, q) != 0;
    e->looks[q] |= e->irq[q];
    e->irq[q] = false;
    if (!e->looks[q])
        return false;
    if (vd_used(vq, id, len))
        return true;
    vd_irq_after(vq, 1);
    e->looks[q] = vd_used(vq, id, len);
    return e->looks[q];
}

static void guest_reads(struct echo *e)
{
    uint32_t room = KEEPS - (e->read - e->back), n = e->got - e->read;
    e->read += n < room ? n : room;
    e->s.fwd = e->read;
}

static void guest_hears(struct echo *e, const struct vsock_hdr *h,
                        const uint8_t *p)
{
    CHECK_EQ(h->src_port, e->port);
    CHECK_EQ(h->dst_port, GUEST);
    e->their_fwd = h->fwd_cnt;
    e->asked |= h->op == VSOCK_OP_CREDIT_REQUEST;
    e->reset |= h->op == VSOCK_OP_RST;
    e->shut |= h->op == VSOCK_OP_SHUTDOWN;
    CHECK(!h->len || !e->shut);
    REQUIRE(e->got + h->len <= TOTAL);
    memcpy(e->kept + e->got, p, h->len);
    e->got += h->len;
    CHECK(e->got - e->told <= e->s.alloc);
    guest_reads(e);
}

static void guest_takes(struct echo *e)
{
    uint32_t len;
    int id;
    for (uint32_t n = some(8); n && guest_used(e, VSOCK_RX, &id, &len); n--) {
        uint8_t *p = vd_ram(&e->s.d, e->s.at[id], e->s.rx_len);
        struct vsock_hdr h;
        memcpy(&h, p, VSOCK_HDR_LEN);
        CHECK_EQ(len, VSOCK_HDR_LEN + h.len);
        guest_hears(e, &h, p + VSOCK_HDR_LEN);
        e->spare[--e->posted] = e->s.at[id];
    }
}

static void guest_posts(struct echo *e)
{
    uint32_t n = 0;
    for (uint32_t most = some(8); n < most && e->posted < e->s.rx_count; n++) {
        struct vd_buf b = {e->spare[e->posted++], e->s.rx_len, true};
        int id = vd_add(&e->s.d.q[VSOCK_RX], &b, 1);
        REQUIRE(id >= 0);
        e->s.at[id] = b.at;
    }
    if (n)
        ring(e, VSOCK_RX, n);
}

static void guest_says(struct echo *e, enum vsock_op op, uint32_t len)
{
    const struct vsock_hdr h = {
        .src_cid = VS_CID,
        .dst_cid = VSOCK_HOST_CID,
        .src_port = GUEST,
        .dst_port = e->port,
        .len = len,
        .type = VSOCK_TYPE_STREAM,
        .op = (le16)op,
        .flags = op == VSOCK_OP_SHUTDOWN ? VSOCK_SHUT_BOTH : 0,
        .buf_alloc = e->s.alloc,
        .fwd_cnt = e->s.fwd};
    struct vd_buf b = {e->room[e->turn++ % ROOMS], VSOCK_HDR_LEN + len, false};
    uint8_t *p = vd_ram(&e->s.d, b.at, b.len);
    memcpy(p, &h, VSOCK_HDR_LEN);
    memcpy(p + VSOCK_HDR_LEN, e->kept + e->back, len);
    REQUIRE(vd_add(&e->s.d.q[VSOCK_TX], &b, 1) >= 0);
    e->sending++;
    e->unseen = true;
    e->told = e->s.fwd;
    e->back += len;
    e->asked = false;
    e->shuts = op == VSOCK_OP_SHUTDOWN;
    ring(e, VSOCK_TX, 1);
}

static uint32_t guest_credit(const struct echo *e)
{
    return VSOCK_BUFFER - (e->back - e->their_fwd);
}

/* One packet, if there is one to send and room for it. */
static void guest_sends(struct echo *e)
{
    uint32_t len, n = some(ROOM_LEN - VSOCK_HDR_LEN);
    int id;
    while (guest_used(e, VSOCK_TX, &id, &len))
        e->sending--;
    if (e->sending == ROOMS || e->shuts)
        return;
    guest_reads(e);
    n = n < e->read - e->back ? n : e->read - e->back;
    n = n < guest_credit(e) ? n : guest_credit(e);
    if (n)
        guest_says(e, VSOCK_OP_RW, n);
    else if (e->asked || e->read - e->told >= e->s.alloc / 2)
        guest_says(e, VSOCK_OP_CREDIT_UPDATE, 0);
    else if (e->shut && e->back == e->got)
        guest_says(e, VSOCK_OP_SHUTDOWN, 0);
}

/* ---------------------------------------------------------- step by step */

static void turn(struct echo *e)
{
    fake_run_loop(e->s.m);
    e->unseen = false;
}

static void step(struct echo *e, unsigned what)
{
    if (what & SAYS)
        host_says(e);
    if (what & HEARS && !e->heard_end)
        host_hears(e);
    if (what & TAKES)
        guest_takes(e);
    if (what & POSTS)
        guest_posts(e);
    if (what & SENDS)
        guest_sends(e);
}

/* What is under way as it is moved. */
enum {
    WAITS = 1,        /* the guest's bytes for the process */
    WRAPPED = 2,      /* the same, round the buffer's end */
    NO_CREDIT = 4,    /* of the guest's, for what the process says */
    NO_BUFFER = 8,    /* of the guest's, for the same */
    GUEST_STOPS = 16, /* it has no credit */
    OWES = 32,        /* something that the guest is to be told */
    UNSEEN = 64,      /* the guest's packets that were not looked at */
    HALF = 128,       /* the process has said all, and has not heard it */
    CLOSED = 256,     /* the guest as well */
    ALL_OF_IT = 511,
    NEAR_END = 512, /* the guest can send the rest without credit */
    GOT_ALL = 1024, /* the guest; nothing more is said to it */
};

static unsigned state_of(struct echo *e)
{
    struct vsock *v = container_of(e->s.d.dev, struct vsock, v.dev);
    const struct vsock_conn *c = vsock_conn_find(v, GUEST, e->port);
    unsigned is = e->unseen ? UNSEEN : 0;
    is |= e->limit - e->heard < VSOCK_BUFFER ? NEAR_END : 0;
    is |= e->got == e->limit ? GOT_ALL : 0;
    if (!c)
        return is;
    is |= c->fill ? WAITS : 0;
    is |= c->at + c->fill > VSOCK_BUFFER ? WRAPPED : 0;
    is |= c->readable && c->sent - c->forwarded == c->alloc ? NO_CREDIT : 0;
    is |= c->rx.next && !e->posted ? NO_BUFFER : 0;
    is |= !guest_credit(e) ? GUEST_STOPS : 0;
    is |= c->owed ? OWES : 0;
    is |= c->eof && c->fill ? HALF : 0;
    is |= c->guest_shut && c->fill ? CLOSED : 0;
    return is;
}

/* All stand still; only the process knows nothing of it. */
static void between(struct machine *m, void *ctx)
{
    struct echo *e = ctx;
    (void)m;
    for (unsigned q = 0; q < ARRAY_LEN(e->irq); q++)
        e->irq[q] |= vd_irqs(&e->s.d, q) != 0;
    step(e, e->may & (SAYS | HEARS) & test_random());
}

static void move(struct echo *e)
{
    e->s.m->leaving = true;
    records_move(e->s.m, vs_make, between, e);
}

static void begin(struct echo *e, bool packed, uint32_t limit, bool closes)
{
    int room = 4608;
    memset(e, 0, sizeof(*e));
    e->limit = limit;
    e->closes = closes;
    e->s = (struct vs){.rx_len = 2000, .rx_count = 8, .alloc = 20000};
    vs_up(&e->s, packed, F(VIRTIO_F_EVENT_IDX));
    e->fd = vs_connect(&e->s, GUEST, &e->port);
    struct vsock *v = container_of(e->s.d.dev, struct vsock, v.dev);
    struct vsock_conn *c = vsock_conn_find(v, GUEST, e->port);
    setsockopt(c->ev.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    for (unsigned i = 0; i < ROOMS; i++)
        e->room[i] = vd_alloc(&e->s.d, ROOM_LEN, 4);
    e->posted = e->s.rx_count;
    e->looks[VSOCK_RX] = e->looks[VSOCK_TX] = true;
}

/* Differs where anything has been done. */
static uint64_t done_so_far(const struct echo *e)
{
    struct vsock *v = container_of(e->s.d.dev, struct vsock, v.dev);
    const struct vsock_conn *c = vsock_conn_find(v, GUEST, e->port);
    uint64_t sum = e->said + e->heard + e->got + e->back + e->told;
    sum = sum << 8 | e->posted << 4 | e->sending;
    return c ? sum * 31 + c->taken + c->sent + c->told + c->owed + c->state : 0;
}

/* One to three things; after each the loop has had its turn, or has not. */
static void some_steps(struct echo *e)
{
    for (uint32_t n = some(3); n; n--) {
        step(e, e->may & 1u << test_random() % 5);
        if (test_random() % 2)
            turn(e);
    }
}

/* One of them does nothing at all for a while, until that shows. */
BOTH_RINGS(vsock_echo_goes_on_moved_at_every_step)
{
    static const struct {
        unsigned may, until;
    } part[] = {{ALL & ~HEARS, GUEST_STOPS},
                {ALL, WRAPPED},
                {ALL & ~POSTS, OWES},
                {ALL & ~SENDS, NO_CREDIT},
                {ALL, NEAR_END},
                {ALL & ~HEARS, CLOSED},
                {ALL, 0}};
    static struct echo e;
    test_timeout(120);
    begin(&e, packed, TOTAL, true);
    for (unsigned n = 0, i = 0; n < STEPS_MAX && !e.heard_end; n++) {
        uint64_t before = done_so_far(&e);
        e.may = part[i].may;
        some_steps(&e);
        unsigned state = state_of(&e), until = part[i].until;
        i += (state & until) != 0;
        /* A buffer that is moved begins anew. */
        if (done_so_far(&e) == before || (until & ~state & WRAPPED))
            continue;
        e.was |= state;
        move(&e);
    }
    CHECK_EQ(e.heard, TOTAL);
    CHECK(e.heard_end);
    CHECK_EQ(e.was & ALL_OF_IT, ALL_OF_IT);
    for (int k = 0; k < 9 && !e.reset; k++) {
        turn(&e);
        step(&e, TAKES | POSTS);
    }
    CHECK(e.reset); /* which is how its close is answered */
    close(e.fd);
    vs_free(&e.s);
}

static void until(struct echo *e, unsigned may, unsigned state)
{
    e->may = may;
    for (int n = 0; (state_of(e) & state) != state; n++) {
        REQUIRE(n < STEPS_MAX);
        some_steps(e);
    }
}

/* Moved once, and then left alone: no later move makes up for anything, nor
 * does the process, which says nothing more where it has said all. */
BOTH_RINGS(vsock_echo_ends_well_moved_once)
{
    static const struct {
        unsigned may, until, then; /* with all at work, until that */
        uint32_t limit;
        bool closes;
    } part[] = {{ALL & ~HEARS, WAITS | GOT_ALL, 0, 60000, false},
                {ALL & ~HEARS, GUEST_STOPS, WRAPPED, 150000, false},
                {ALL & ~SENDS, NO_CREDIT, 0, 100000, false},
                {ALL & ~POSTS, NO_BUFFER, 0, 60000, true},
                {ALL & ~HEARS, GUEST_STOPS, 0, 80000, false},
                {ALL & ~HEARS, GUEST_STOPS | GOT_ALL, 0, 80000, false},
                {ALL, UNSEEN, 0, 60000, false},
                {ALL & ~HEARS & ~SENDS, GOT_ALL, 0, 15000, false},
                {ALL & ~HEARS, HALF, 0, 60000, true},
                {ALL & ~HEARS, CLOSED, 0, 60000, true}};
    static struct echo e;
    test_timeout(120);
    for (size_t i = 0; i < ARRAY_LEN(part); i++) {
        begin(&e, packed, part[i].limit, part[i].closes);
        until(&e, part[i].may, part[i].until);
        until(&e, ALL, part[i].then);
        if (!(part[i].may & SENDS))
            step(&e, SENDS); /* and its kick is not heard any more */
        e.may = 0;
        move(&e);
        for (int n = 0; n < 500 && e.heard < e.limit; n++) {
            turn(&e);
            step(&e, ALL);
        }
        if (e.heard != e.limit)
            FAIL("part %zu: %u bytes of %u", i, e.heard, e.limit);
        close(e.fd);
        vs_free(&e.s);
    }
}

/* The guest has asked what it may send, and has no buffer for the answer. */
BOTH_RINGS(vsock_what_is_owed_is_told_by_who_takes_over)
{
    struct vs s = {.rx_len = 200, .rx_count = 1};
    uint32_t port, len;
    int id;
    vs_up(&s, packed, F(VIRTIO_F_EVENT_IDX));
    int fd = vs_connect(&s, GUEST, &port);
    struct vd_queue *q = &s.d.q[VSOCK_RX];
    vs_send(&s, VSOCK_OP_CREDIT_REQUEST, GUEST, port, 0);
    REQUIRE(vd_used(q, &id, &len));
    vs_send(&s, VSOCK_OP_CREDIT_REQUEST, GUEST, port, 0);
    REQUIRE(!vd_used(q, &id, &len));
    s.m->leaving = true;
    records_move(s.m, vs_make, NULL, &s);
    fake_run_loop(s.m);
    vs_post(&s);
    if (CHECK(vd_kick_wanted(q, 1)))
        vd_kick(&s.d, VSOCK_RX);
    vs_want(&s, VSOCK_OP_CREDIT_UPDATE, GUEST, port);
    vs_want_none(&s);
    close(fd);
    vs_free(&s);
}
