/* SPDX-License-Identifier: MIT */
/* The fake virtio driver: see fakevirtio.h. */
#include "devices/list.h"
#include "tests/unit/fakevirtio.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(sizeof(struct vd_desc) == 16, "§2.7.5, §2.8.13");

/* ------------------------------------------------------------- registers */

uint32_t vd_get(struct vd *d, unsigned reg, unsigned width)
{
    return (uint32_t)guest_read(d->m, false, d->common + reg, width);
}

void vd_set(struct vd *d, unsigned reg, unsigned width, uint64_t val)
{
    guest_write(d->m, false, d->common + reg, width, val);
}

uint8_t vd_status(struct vd *d)
{
    return (uint8_t)vd_get(d, C_STATUS, 1);
}

void vd_status_or(struct vd *d, uint8_t bits)
{
    vd_set(d, C_STATUS, 1, vd_status(d) | bits);
}

uint64_t vd_offered(struct vd *d)
{
    uint64_t f;
    vd_set(d, C_DEV_SEL, 4, 0);
    f = vd_get(d, C_DEV_FEATURE, 4);
    vd_set(d, C_DEV_SEL, 4, 1);
    return f | (uint64_t)vd_get(d, C_DEV_FEATURE, 4) << 32;
}

void vd_write_features(struct vd *d, uint64_t f)
{
    for (unsigned i = 0; i < 2; i++) {
        vd_set(d, C_DRV_SEL, 4, i);
        vd_set(d, C_DRV_FEATURE, 4, (uint32_t)(f >> 32 * i));
    }
}

/* Each structure from the first capability of its type (§4.1.4). */
void vd_find(struct vd *d)
{
    uint16_t id = (uint16_t)(0x1040 + (d->cls ? d->type : 1));
    int slot = drv_find(d->m, 0x1af4, id, 0);
    REQUIRE(slot >= 0);
    d->slot = (unsigned)slot;
    drv_enable(d->m, d->slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    uint64_t *const where[] = {NULL, &d->common, &d->notify, &d->isr,
                               &d->config};
    unsigned at;
    d->common = d->notify = d->isr = d->config = 0;
    for (int i = 0; (at = drv_cap(d->m, d->slot, PCI_CAP_VENDOR, i)); i++) {
        unsigned type = drv_cfg_read(d->m, d->slot, at + 3, 1);
        unsigned bar = drv_cfg_read(d->m, d->slot, at + 4, 1);
        if (type < 1 || type > 4 || bar > 5 || *where[type])
            continue;
        uint64_t base = drv_bar(d->m, d->slot, bar);
        *where[type] = base + drv_cfg_read(d->m, d->slot, at + 8, 4);
        if (type == 1)
            d->bar = base;
        if (type != 2)
            continue;
        d->ports = drv_cfg_read(d->m, d->slot, PCI_BAR0 + 4 * bar, 4) & 1;
        d->mult = drv_cfg_read(d->m, d->slot, at + 16, 4);
    }
    REQUIRE(d->common && d->notify && d->isr && (d->config || d->cls));
    d->nq = vd_get(d, C_NUM_QUEUES, 2);
    REQUIRE(d->nq >= 1 && d->nq <= VD_QUEUES);
}

struct machine *vd_new(struct vd *d)
{
    const struct device_class *cls = d->cls ? d->cls : &virtio_net_class;
    char text[512], what[64];
    netdev_close_all(); /* of a test that ended early */
    d->m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    REQUIRE_EQ(pci_bus_new(d->m), 0);
    if (!d->cls)
        d->net = fake_net_new("n0", d->pairs ? d->pairs : 1);
    snprintf(text, sizeof(text), "%spacked=%s%s%s",
             d->cls ? "" : "netdev=n0,mac=52:54:00:12:34:56,",
             d->packed ? "on" : "off", d->opts ? "," : "",
             d->opts ? d->opts : "");
    snprintf(what, sizeof(what), "-device %s", cls->name);
    REQUIRE_EQ(fake_device(d->m, cls, what, text), 0);
    for (struct device *dev = d->m->devices; dev; dev = dev->next)
        if (dev->cls == cls)
            d->dev = dev;
    REQUIRE(d->dev != NULL);
    vd_find(d);
    vd_forget(d);
    d->brk = 0x10000;
    return d->m;
}

void vd_free(struct vd *d)
{
    fake_run_loop(d->m);
    fake_free(d->m);
    netdev_close_all();
}

void vd_forget(struct vd *d)
{
    memset(d->q, 0, sizeof(d->q));
    for (unsigned i = 0; i < VD_QUEUES; i++) {
        d->q[i].d = d;
        d->q[i].index = i;
    }
}

bool vd_negotiate(struct vd *d, uint64_t f)
{
    vd_set(d, C_STATUS, 1, 0);
    CHECK_EQ(vd_status(d), 0);
    vd_forget(d);
    vd_status_or(d, VIRTIO_ACKNOWLEDGE);
    vd_status_or(d, VIRTIO_DRIVER);
    vd_write_features(d, f);
    vd_status_or(d, VIRTIO_FEATURES_OK);
    d->features = f;
    return vd_status(d) & VIRTIO_FEATURES_OK;
}

uint64_t vd_alloc(struct vd *d, uint64_t len, uint64_t align)
{
    uint64_t at = (d->brk + align - 1) & ~(align - 1);
    d->brk = at + len;
    memset(vd_ram(d, at, len), 0, len);
    return at;
}

/* Tells the device what struct vd_queue says. */
void vd_queue_write(struct vd_queue *q)
{
    struct vd *d = q->d;
    vd_set(d, C_QUEUE_SEL, 2, q->index);
    vd_set(d, C_QUEUE_SIZE, 2, q->size);
    vd_set(d, C_DESC, 4, (uint32_t)q->desc);
    vd_set(d, C_DESC + 4, 4, q->desc >> 32);
    vd_set(d, C_DRIVER, 4, (uint32_t)q->avail);
    vd_set(d, C_DRIVER + 4, 4, q->avail >> 32);
    vd_set(d, C_DEVICE, 4, (uint32_t)q->used);
    vd_set(d, C_DEVICE + 4, 4, q->used >> 32);
}

void vd_queue_make(struct vd *d, unsigned n, uint16_t size)
{
    struct vd_queue *q = &d->q[n];
    vd_set(d, C_QUEUE_SEL, 2, n);
    if (!size)
        size = (uint16_t)vd_get(d, C_QUEUE_SIZE, 2);
    REQUIRE(size > 0 && size <= VD_RING_MAX);
    *q = (struct vd_queue){.d = d, .index = n, .size = size};
    q->packed = d->features >> VIRTIO_F_RING_PACKED & 1;
    q->add_wrap = q->seen_wrap = true;
    /* Not beside each other, so that a device which mixes them up shows. */
    q->desc = vd_alloc(d, 16ull * size, 16);
    q->avail = vd_alloc(d, q->packed ? 4 : 6 + 2ull * size, 64) + 0;
    q->used = vd_alloc(d, q->packed ? 4 : 6 + 8ull * size, 64);
    for (q->nfree = 0; q->nfree < size; q->nfree++)
        q->free[q->nfree] = (uint16_t)(size - 1 - q->nfree);
    vd_queue_write(q);
    if (!d->intx)
        vd_set(d, C_QUEUE_VECTOR, 2, n + 1);
    vd_set(d, C_QUEUE_ENABLE, 2, 1);
    REQUIRE_EQ(vd_get(d, C_QUEUE_ENABLE, 2), 1);
}

void vd_irqs_on(struct vd *d)
{
    if (d->intx)
        return;
    drv_msix_on(d->m, d->slot, d->nq + 1);
    vd_set(d, C_CONFIG_VECTOR, 2, 0);
}

void vd_again(struct vd *d, uint64_t want)
{
    uint64_t f = want | F(VIRTIO_F_VERSION_1);
    if (d->packed)
        f |= F(VIRTIO_F_RING_PACKED);
    REQUIRE_EQ(f & ~vd_offered(d), 0);
    REQUIRE(vd_negotiate(d, f));
    vd_irqs_on(d);
    for (unsigned q = 0; q < d->nq; q++)
        vd_queue_make(d, q, d->qsize);
    vd_status_or(d, VIRTIO_DRIVER_OK);
    CHECK_EQ(vd_status(d), 0x0f);
    fake_run_loop(d->m);
    fake_msis(d->m, DRV_MSI_ADDR, FAKE_ANY);
}

struct machine *vd_up(struct vd *d, bool packed, uint64_t want)
{
    d->packed = packed;
    vd_new(d);
    vd_again(d, want);
    return d->m;
}

/* ----------------------------------------------------------------- rings */

struct vd_desc *vd_desc(struct vd_queue *q, unsigned i)
{
    return vd_ram(q->d, q->desc + 16ull * i, 16);
}

le16 *vd_avail_word(struct vd_queue *q, unsigned i)
{
    return vd_ram(q->d, q->avail + 2ull * i, 2);
}

le16 *vd_used_word(struct vd_queue *q, unsigned i)
{
    return vd_ram(q->d, q->used + 2ull * i, 2);
}

static uint16_t buf_flags(const struct vd_buf *b, unsigned i, unsigned n)
{
    return (uint16_t)((b[i].write ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0));
}

static int split_put(struct vd_queue *q, const struct vd_buf *b, unsigned n,
                     uint16_t extra)
{
    uint16_t head = 0, at = 0;
    if (q->nfree < n)
        return -1;
    for (unsigned i = 0; i < n; i++) {
        uint16_t prev = at;
        at = q->free[--q->nfree];
        if (i) {
            vd_desc(q, prev)->split.next = at;
            q->next[prev] = at;
        } else {
            head = at;
        }
        *vd_desc(q, at) = (struct vd_desc){b[i].at, b[i].len, {{0, 0}}};
        vd_desc(q, at)->split.flags = buf_flags(b, i, n) | extra;
    }
    q->used_desc[head] = (uint16_t)n;
    *vd_avail_word(q, 2 + (q->add++ & (q->size - 1u))) = head;
    q->pending++;
    return head;
}

static void place_next(const struct vd_queue *q, uint16_t *at, bool *wrap,
                       unsigned n)
{
    for (; n; n--) {
        if (++*at == q->size) {
            *at = 0;
            *wrap = !*wrap;
        }
    }
}

/* Writes one packed descriptor; the first since the last publish keeps its
 * flags back. */
static void packed_write(struct vd_queue *q, uint64_t at, uint32_t len,
                         uint16_t id, uint16_t flags)
{
    struct vd_desc *p = vd_desc(q, q->add);
    flags = (uint16_t)(flags & ~(D_AVAIL | D_USED)) |
            (q->add_wrap ? D_AVAIL : D_USED);
    p->addr = at;
    p->len = len;
    p->packed.id = id;
    if (q->pending++) {
        p->packed.flags = flags;
    } else {
        q->held = q->add;
        q->held_flags = flags;
    }
    place_next(q, &q->add, &q->add_wrap, 1);
}

static int packed_put(struct vd_queue *q, const struct vd_buf *b, unsigned n,
                      uint16_t extra)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < q->size; i++)
        taken += q->used_desc[i];
    if (q->nfree < 1 || taken + n > q->size)
        return -1;
    uint16_t id = q->free[--q->nfree];
    q->used_desc[id] = (uint16_t)n;
    for (unsigned i = 0; i < n; i++)
        packed_write(q, b[i].at, b[i].len, id, buf_flags(b, i, n) | extra);
    return id;
}

static int put(struct vd_queue *q, const struct vd_buf *b, unsigned n,
               uint16_t extra)
{
    return q->packed ? packed_put(q, b, n, extra) : split_put(q, b, n, extra);
}

int vd_put(struct vd_queue *q, const struct vd_buf *b, unsigned n)
{
    return put(q, b, n, 0);
}

int vd_put_indirect(struct vd_queue *q, const struct vd_buf *b, unsigned n)
{
    uint64_t table = vd_alloc(q->d, 16ull * n, 16);
    for (unsigned i = 0; i < n; i++) {
        struct vd_desc *p = vd_ram(q->d, table + 16ull * i, 16);
        p->addr = b[i].at;
        p->len = b[i].len;
        if (q->packed) {
            p->packed.flags = b[i].write ? D_WRITE : 0;
            continue;
        }
        p->split.flags = buf_flags(b, i, n);
        p->split.next = i + 1 < n ? (uint16_t)(i + 1) : 0;
    }
    struct vd_buf one = {table, 16 * n, false};
    return put(q, &one, 1, D_INDIRECT);
}

void vd_publish(struct vd_queue *q)
{
    if (!q->pending)
        return;
    q->pending = 0;
    if (q->packed)
        vd_desc(q, q->held)->packed.flags = q->held_flags;
    else
        *vd_avail_word(q, 1) = q->add;
}

int vd_add(struct vd_queue *q, const struct vd_buf *b, unsigned n)
{
    int id = vd_put(q, b, n);
    vd_publish(q);
    return id;
}

void vd_raw(struct vd_queue *q, const struct vd_raw *r, unsigned n)
{
    for (unsigned i = 0; i < n && q->packed; i++)
        packed_write(q, r[i].at, r[i].len, 0, r[i].flags);
    for (unsigned i = 0; i < n && !q->packed; i++)
        *vd_desc(q, i) =
            (struct vd_desc){r[i].at, r[i].len, {{r[i].flags, r[i].next}}};
    if (!q->packed) {
        *vd_avail_word(q, 2 + (q->add++ & (q->size - 1u))) = 0;
        q->pending = 1;
    }
    q->used_desc[0] = (uint16_t)n;
    vd_publish(q);
}

void vd_kick(struct vd *d, unsigned q)
{
    vd_set(d, C_QUEUE_SEL, 2, q);
    uint64_t at = d->notify + (uint64_t)d->mult * vd_get(d, C_NOTIFY_OFF, 2);
    guest_write(d->m, d->ports, at, 2, q);
    fake_run_loop(d->m);
}

static void chain_done(struct vd_queue *q, uint16_t id)
{
    unsigned n = q->used_desc[id];
    q->used_desc[id] = 0;
    if (q->packed) {
        q->free[q->nfree++] = id;
        return;
    }
    for (uint16_t at = id; n; n--, at = q->next[at])
        q->free[q->nfree++] = at;
}

static bool split_used(struct vd_queue *q, int *id, uint32_t *len)
{
    if (*vd_used_word(q, 1) == q->seen)
        return false;
    unsigned at = q->seen++ & (q->size - 1u);
    const le32 *e = vd_ram(q->d, q->used + 4 + 8ull * at, 8);
    *len = e[1];
    *id = (int)e[0];
    REQUIRE(e[0] < q->size);
    return true;
}

static bool packed_used(struct vd_queue *q, int *id, uint32_t *len)
{
    const struct vd_desc *p = vd_desc(q, q->seen);
    bool avail = p->packed.flags & D_AVAIL, used = p->packed.flags & D_USED;
    if (avail != used || used != q->seen_wrap)
        return false;
    *id = p->packed.id;
    REQUIRE(p->packed.id < q->size);
    /* §2.8.5: the length means something only with WRITE. */
    *len = p->packed.flags & D_WRITE ? p->len : 0;
    place_next(q, &q->seen, &q->seen_wrap, q->used_desc[*id]);
    return true;
}

bool vd_used(struct vd_queue *q, int *id, uint32_t *len)
{
    bool any = q->packed ? packed_used(q, id, len) : split_used(q, id, len);
    if (!any)
        return false;
    REQUIRE(q->used_desc[*id] != 0); /* it was in flight */
    chain_done(q, (uint16_t)*id);
    return true;
}

unsigned vd_reap(struct vd_queue *q)
{
    unsigned n = 0;
    int id;
    uint32_t len;
    while (vd_used(q, &id, &len))
        n++;
    return n;
}

/* -------------------------------------------------- interrupts and kicks */

unsigned vd_irqs(struct vd *d, unsigned q)
{
    if (!d->intx)
        return drv_msis(d->m, d->slot, q + 1);
    bool level = fake_level(d->m, pci_slot_gsi(d->slot));
    bool isr = drv_r8(d->m, d->isr) & 1;
    return level && isr;
}

unsigned vd_config_irqs(struct vd *d)
{
    if (!d->intx)
        return drv_msis(d->m, d->slot, 0);
    bool level = fake_level(d->m, pci_slot_gsi(d->slot));
    return level && drv_r8(d->m, d->isr) & 2;
}

static bool has_event_idx(const struct vd_queue *q)
{
    return q->d->features >> VIRTIO_F_EVENT_IDX & 1;
}

/* The event word: split: used_event, packed: off_wrap. */
static void set_event(struct vd_queue *q, unsigned k)
{
    if (!q->packed) {
        *vd_avail_word(q, 2u + q->size) = (uint16_t)(q->seen + k - 1);
        return;
    }
    uint16_t at = q->seen;
    bool wrap = q->seen_wrap;
    place_next(q, &at, &wrap, k - 1);
    *vd_avail_word(q, 0) = (uint16_t)(at | wrap << 15);
    *vd_avail_word(q, 1) = 2;
}

void vd_irq_never(struct vd_queue *q)
{
    if (q->packed)
        *vd_avail_word(q, 1) = 1;
    else if (has_event_idx(q))
        *vd_avail_word(q, 2u + q->size) = (uint16_t)(q->seen - 1);
    else
        *vd_avail_word(q, 0) = 1;
}

void vd_irq_always(struct vd_queue *q)
{
    if (q->packed)
        *vd_avail_word(q, 1) = 0;
    else if (has_event_idx(q))
        *vd_avail_word(q, 2u + q->size) = q->seen;
    else
        *vd_avail_word(q, 0) = 0;
}

void vd_irq_after(struct vd_queue *q, unsigned k)
{
    set_event(q, k);
}

bool vd_kick_wanted(struct vd_queue *q, unsigned n)
{
    if (!q->packed) {
        uint16_t event = *vd_used_word(q, 2u + 4u * q->size);
        if (!has_event_idx(q))
            return !(*vd_used_word(q, 0) & 1);
        return (uint16_t)(q->add - event - 1) < n;
    }
    uint16_t off = *vd_used_word(q, 0), flags = *vd_used_word(q, 1);
    CHECK(flags <= (has_event_idx(q) ? 2 : 1));
    if (flags != 2)
        return flags == 0;
    int at = off & 0x7fff;
    if ((off >> 15 & 1) != q->add_wrap)
        at -= q->size;
    int lag = q->add - at;
    return lag > 0 && lag <= (int)n;
}

/* ---------------------------------------------------------------- packets */

void vd_frame(uint8_t *p, size_t len, unsigned i)
{
    static const uint8_t head[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2,
                                   0,    0,    0,    0,    1,    0x88, 0xb5};
    for (size_t k = 0; k < len; k++)
        p[k] = k < sizeof(head) ? head[k] : (uint8_t)(k * 7 + i * 31 + k / 251);
}

int vd_send(struct vd *d, unsigned q, const struct net_hdr *h,
            const uint8_t *frame, size_t len)
{
    struct vd_buf b = {vd_alloc(d, NET_HDR_LEN + len, 1),
                       (uint32_t)(NET_HDR_LEN + len), false};
    uint8_t *p = vd_ram(d, b.at, b.len);
    if (h)
        memcpy(p, h, NET_HDR_LEN);
    memcpy(p + NET_HDR_LEN, frame, len);
    return vd_add(&d->q[q], &b, 1);
}

uint64_t vd_post(struct vd *d, unsigned q, uint32_t len)
{
    struct vd_buf b = {vd_alloc(d, len, 1), len, true};
    REQUIRE(vd_add(&d->q[q], &b, 1) >= 0);
    return b.at;
}

void vd_check_tx(struct vd *d, unsigned i, size_t len)
{
    static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
    int id;
    uint32_t written;
    vd_frame(frame, len, i);
    int sent = vd_send(d, TX0, NULL, frame, len);
    CHECK(sent >= 0);
    vd_kick(d, TX0);
    CHECK_EQ(fake_net_take(d->net, 0, NULL, got, sizeof(got)), len);
    CHECK_MEM(got, frame, len);
    CHECK(vd_used(&d->q[TX0], &id, &written));
    CHECK_EQ(id, sent);
    CHECK_EQ(written, 0);
}

void vd_check_rx(struct vd *d, unsigned i, size_t len)
{
    static uint8_t frame[NET_FRAME_MAX];
    int id;
    uint32_t written;
    uint32_t room = (uint32_t)(len > 1526 ? len + 12 : 1526);
    uint64_t at = vd_post(d, RX0, room);
    vd_kick(d, RX0);
    vd_frame(frame, len, i);
    fake_net_give(d->net, 0, NULL, frame, len);
    fake_run_loop(d->m);
    REQUIRE(vd_used(&d->q[RX0], &id, &written));
    CHECK_EQ(written, NET_HDR_LEN + len);
    CHECK_MEM((uint8_t *)vd_ram(d, at, room) + NET_HDR_LEN, frame, len);
}

void vd_check_alive(struct vd *d)
{
    vd_check_tx(d, 77, 100);
    vd_check_rx(d, 78, 100);
}

void vd_drain(struct vd *d)
{
    uint8_t junk[16];
    while (fake_net_take(d->net, 0, NULL, junk, sizeof(junk)) >= 0)
        continue;
    while (recv(fake_net_dev(d->net)->q[0]->fd, junk, 1, MSG_DONTWAIT) > 0)
        continue;
}

void vd_check_broken(struct vd *d)
{
    CHECK_EQ(vd_status(d), 0x0f | VIRTIO_NEEDS_RESET);
    CHECK_EQ(vd_config_irqs(d), 1);
    if (!d->cls)
        vd_drain(d);
    d->brk = 0x10000;
    d->qsize = 0;
    vd_again(d, d->features & ~F(VIRTIO_F_RING_PACKED));
    if (!d->cls)
        vd_check_alive(d);
}

struct vd_sum {
    struct tally t;
    const char *name;
    uint64_t sum;
};

static void vd_take(struct tally *t, const struct count *c)
{
    struct vd_sum *s = container_of(t, struct vd_sum, t);
    char line[256];
    int n = snprintf(line, sizeof(line), "%s.%s", c->id, c->name);
    int before = n - (int)strlen(s->name);
    if (before > 0 && line[before - 1] == '.' &&
        !strcmp(line + before, s->name))
        s->sum += c->val;
}

/* There may be one for each queue pair. */
uint64_t vd_count(struct vd *d, const char *name)
{
    struct vd_sum s = {.t.take = vd_take, .name = name};
    device_stats(d->dev, &s.t);
    return s.sum;
}
