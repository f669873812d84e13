/* SPDX-License-Identifier: MIT */
/* What both NIC models share: counters, MAC addresses, their netdev. */
#include "devices/nic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"

void nic_stats_add(struct nic_stats *sum, const struct nic_stats *s)
{
#define X(name, what)                                                          \
    nic_count(sum, name, atomic_load_explicit(&s->name, memory_order_relaxed));
    NIC_COUNTERS(X)
#undef X
}

const struct field nic_counters[] = {
#define X(field, what) COUNT(#field, struct nic_stats, field, what),
    NIC_COUNTERS(X)
#undef X
        {.name = ""},
};

/* FNV-1a: a MAC from the machine's name and the NIC's number, so that it stays
 * the same from run to run and differs between machines with names. */
static void nic_default_mac(uint8_t mac[6], const char *name, unsigned number)
{
    uint32_t h = 2166136261u;
    for (const char *p = name; *p; p++)
        h = (h ^ (uint8_t)*p) * 16777619u;
    h = (h ^ number) * 16777619u;
    const uint8_t out[6] = {0x52,
                            0x54,
                            0x00,
                            (uint8_t)(h >> 16),
                            (uint8_t)(h >> 8),
                            (uint8_t)(h + number)};
    memcpy(mac, out, 6);
}

static int nic_take_netdev(struct nic *nic, const char *what)
{
    struct netdev *nd = netdev_find(nic->netdev);
    if (!nd)
        return fail(-EINVAL, "%s: netdev=%s: there is no -netdev with that id",
                    what, nic->netdev);
    if (nd->taken)
        return fail(-EINVAL, "%s: netdev=%s: another NIC uses it", what,
                    nic->netdev);
    nd->taken = true;
    nic->nd = nd;
    return 0;
}

#define RATE(key, member, kind, text)                                          \
    FIELD(kind, key, struct nic, member, .help = text)
const struct field nic_fields[] = {
    FIELD(TEXT, "netdev", struct nic, netdev, .arg = "ID",
          .help = "the backend"),
    FIELD(MAC, "mac", struct nic, mac,
          .help = "its address (made of the VM's name)"),
    FIELD(FLAG, "new-mac", struct nic, new_mac,
          .help =
              "of one that is restored: it was another's (-restore mac.ID)"),
    RATE("rx-rate", rx_rate.rate, SIZE,
         "bytes a second to the guest (no limit)"),
    RATE("rx-burst", rx_rate.burst, SIZE, "of them, at once (a fifth of that)"),
    RATE("rx-ops", rx_rate.ops, NUMBER, "packets a second to the guest"),
    RATE("rx-ops-burst", rx_rate.ops_burst, NUMBER, "of them, at once"),
    RATE("tx-rate", tx_rate.rate, SIZE, "bytes a second from the guest"),
    RATE("tx-burst", tx_rate.burst, SIZE, "of them, at once"),
    RATE("tx-ops", tx_rate.ops, NUMBER, "packets a second from the guest"),
    RATE("tx-ops-burst", tx_rate.ops_burst, NUMBER, "of them, at once"),
    FIELDS_OF(pci_fields, "", struct nic, pci),
    {.name = ""},
};

int nic_check(struct nic *nic, struct device *dev, struct needs *needs,
              const char *model)
{
    static const uint8_t none[6];
    const char *what = dev->opts.what;
    unsigned number = needs->nics++;
    snprintf(nic->default_id, sizeof(nic->default_id), "%s.%u", model, number);
    if (!opts_str(&dev->opts, "id", NULL))
        dev->id = nic->default_id;
    nic->id = dev->id;
    if (!memcmp(nic->mac, none, 6))
        nic_default_mac(nic->mac, needs->name ? needs->name : "", number);
    int err = pci_check(&nic->pci, what, needs);
    if (!err)
        err = rate_check(&nic->rx_rate, what, "rx-");
    if (!err)
        err = rate_check(&nic->tx_rate, what, "tx-");
    if (!err && nic->netdev)
        err = nic_take_netdev(nic, what);
    return err;
}

/* As QEMU's announcements: five within a second. One that the backend does not
 * take now is lost. */
enum { TELLS = 5, TELL_FIRST_MS = 50, TELL_STEP_MS = 100 };

void nic_tell(struct timer *t)
{
    struct nic *nic = container_of(t, struct nic, tell);
    uint8_t p[NET_HDR_LEN + ETH_RARP_LEN] = {0};
    struct iovec iov = {p, sizeof(p)};
    struct netdev *nd = nic->nd;
    if (nd && nd->vhost != VHOST_USER && netdev_link(nd)) {
        eth_rarp(p + NET_HDR_LEN, nic->told);
        nd->q[0]->send(nd->q[0], &iov, 1);
    }
    uint64_t ms = TELL_FIRST_MS + TELL_STEP_MS * (uint64_t)nic->tells++;
    if (nic->tells < TELLS)
        timer_arm(t, now_ns() + ms * 1000000);
}

void nic_announce(struct nic *nic, const uint8_t mac[6])
{
    memcpy(nic->told, mac, sizeof(nic->told));
    nic->tells = 0;
    nic_tell(&nic->tell);
}

/* ---------------------------------------------------------- receive filter */

void nic_filter_changed(struct nic *nic, struct device *dev)
{
    if (!atomic_exchange(&nic->filter_told, true))
        machine_note(dev, NEWS_RX_FILTER);
}

void nic_filter_asked(struct nic *nic)
{
    atomic_store(&nic->filter_told, false);
}

static void nic_put_macs(struct text *out, const char *key,
                         const uint8_t (*mac)[6], unsigned n)
{
    text_put(out, ", \"%s\": [", key);
    for (unsigned i = 0; i < n; i++)
        text_put(out, "%s\"%02x:%02x:%02x:%02x:%02x:%02x\"", i ? ", " : "",
                 mac[i][0], mac[i][1], mac[i][2], mac[i][3], mac[i][4],
                 mac[i][5]);
    text_put(out, "]");
}

static const char *nic_bool(bool b)
{
    return b ? "true" : "false";
}

void nic_put_filter(const struct nic *nic, const struct nic_filter *f,
                    struct text *out)
{
    const uint8_t *m = f->mac;
    bool first = true;
    text_put(out, "{\"name\": ");
    text_quote(out, nic->id);
    text_put(out,
             ", \"promiscuous\": %s, \"multicast\": \"%s\", "
             "\"unicast\": \"%s\", \"vlan\": \"%s\", "
             "\"broadcast-allowed\": %s, \"multicast-overflow\": %s, "
             "\"unicast-overflow\": %s, "
             "\"main-mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\", "
             "\"vlan-table\": [",
             nic_bool(f->promiscuous), f->multi, f->uni, f->vlan,
             nic_bool(f->broadcast), nic_bool(f->multi_more),
             nic_bool(f->uni_more), m[0], m[1], m[2], m[3], m[4], m[5]);
    for (unsigned vid = 0; vid < 4096; vid++)
        if (f->vlans[vid / 32] >> vid % 32 & 1) {
            text_put(out, "%s%u", first ? "" : ", ", vid);
            first = false;
        }
    text_put(out, "]");
    nic_put_macs(out, "unicast-table", f->unis, f->nunis);
    nic_put_macs(out, "multicast-table", f->multis, f->nmultis);
    text_put(out, "}");
}

/* ------------------------------------------------------------- rate limits */

static uint64_t nic_gate_wait(struct nic *nic, const struct limit *l,
                              uint64_t bytes)
{
    uint64_t now = now_ns();
    pthread_mutex_lock(&nic->limit_lock);
    uint64_t wait = limit_wait(l, bytes, now);
    pthread_mutex_unlock(&nic->limit_lock);
    return wait ? now + wait : 0;
}

static void nic_gate_take(struct nic *nic, struct limit *l, uint64_t bytes)
{
    pthread_mutex_lock(&nic->limit_lock);
    limit_take(l, bytes, now_ns());
    pthread_mutex_unlock(&nic->limit_lock);
}

static ssize_t nic_gate_send(struct netbe *be, const struct iovec *iov, int n)
{
    struct nic_gate *g = be->gate;
    uint64_t bytes = iov_len(iov, n) - NET_HDR_LEN;
    g->tx_due = nic_gate_wait(g->nic, &g->nic->tx_limit, bytes);
    if (g->tx_due)
        return 0;
    ssize_t sent = g->send(be, iov, n);
    if (sent > 0)
        nic_gate_take(g->nic, &g->nic->tx_limit, bytes);
    return sent;
}

/* How long a packet is shows when it has been read: so one is read as soon as
 * there is a token, and the next one waits for it. */
static ssize_t nic_gate_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct nic_gate *g = be->gate;
    g->rx_due = nic_gate_wait(g->nic, &g->nic->rx_limit, 1);
    if (g->rx_due)
        return 0;
    ssize_t got = g->recv(be, iov, n);
    if (got > NET_HDR_LEN)
        nic_gate_take(g->nic, &g->nic->rx_limit, (uint64_t)got - NET_HDR_LEN);
    return got;
}

static int nic_gate_add(struct nic *nic, unsigned q)
{
    struct netbe *be = nic->nd->q[q];
    struct nic_gate *g = calloc(1, sizeof(*g));
    if (!g)
        return fail(-ENOMEM, "%s: out of memory", nic->id);
    *g = (struct nic_gate){.send = be->send, .recv = be->recv, .nic = nic};
    nic->gate[q] = g;
    be->gate = g;
    be->send = nic_gate_send;
    be->recv = nic_gate_recv;
    return 0;
}

static int nic_gates(struct nic *nic)
{
    int err = 0;
    if (!nic->nd)
        return fail(-EINVAL, "%s: a rate limit needs a netdev", nic->id);
    if (nic->elsewhere)
        return fail(-EINVAL,
                    "%s: netdev=%s: vhost moves its frames, and knows no rate "
                    "limit; vhost=off, or tc(8) on the host's interface",
                    nic->id, nic->nd->id);
    for (unsigned q = 0; q < nic->nd->nq && !err; q++)
        if (!nic->gate[q])
            err = nic_gate_add(nic, q);
    return err;
}

const struct field nic_limit_fields[] = {
    FIELDS_OF(limit_fields, "rx", struct nic_limit_told, rx),
    FIELDS_OF(limit_fields, "tx", struct nic_limit_told, tx),
    {.name = ""},
};

int nic_limit(struct nic *nic, const struct nic_limit_told *told)
{
    int err = limit_check(&told->rx);
    if (!err)
        err = limit_check(&told->tx);
    if (!err)
        err = nic_gates(nic);
    if (err)
        return err;
    pthread_mutex_lock(&nic->limit_lock);
    limit_set(&nic->rx_limit, &told->rx);
    limit_set(&nic->tx_limit, &told->tx);
    pthread_mutex_unlock(&nic->limit_lock);
    return 0;
}

int nic_limit_open(struct nic *nic)
{
    pthread_mutex_init(&nic->limit_lock, NULL);
    limit_rate(&nic->rx_limit, &nic->rx_rate);
    limit_rate(&nic->tx_limit, &nic->tx_rate);
    if (!limit_is_on(&nic->rx_limit) && !limit_is_on(&nic->tx_limit))
        return 0;
    return nic_gates(nic);
}

void nic_limit_free(struct nic *nic)
{
    for (unsigned q = 0; q < NET_QUEUES_MAX; q++) {
        if (!nic->gate[q])
            continue;
        nic->nd->q[q]->send = nic->gate[q]->send;
        nic->nd->q[q]->recv = nic->gate[q]->recv;
        nic->nd->q[q]->gate = NULL;
        free(nic->gate[q]);
        nic->gate[q] = NULL;
    }
}
