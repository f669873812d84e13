/* SPDX-License-Identifier: MIT */
/* What is the same on KVM and on the fake machine: the list of devices, and
 * raising interrupts through their eventfds. */
#include "machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/state.h"

const struct field device_fields[] = {
    FIELD(TEXT, "id", struct device, id, .arg = "ID", .help = "its name"),
    {.name = ""},
};

const struct field object_fields[] = {
    FIELD(TEXT, "qom-type", struct object, type, .arg = "TYPE",
          .help = "what it is"),
    FIELD(TEXT, "id", struct object, id, .arg = "ID", .help = "its name"),
    {.name = ""},
};

int object_new(const struct object_class *cls, struct opts *o,
               struct object **list)
{
    struct object *obj = calloc(1, cls->size);
    if (!obj) {
        opts_free(o);
        return fail(-ENOMEM, "-object: out of memory");
    }
    obj->cls = cls;
    obj->opts = opts_taken(o);
    int err = fields_read(cls->fields, obj, &obj->opts);
    if (!err && !obj->id)
        err = fail(-EINVAL, "%s: id= is missing", obj->opts.what);
    for (struct object *other = *list; !err && other; other = other->next)
        if (!strcmp(other->id, obj->id))
            err =
                fail(-EINVAL, "%s: id=%s: used twice", obj->opts.what, obj->id);
    obj->next = *list;
    *list = obj;
    return err;
}

struct object *object_take(struct object *list, const struct object_class *cls,
                           const char *id)
{
    while (list && (list->cls != cls || strcmp(list->id, id) != 0))
        list = list->next;
    if (list)
        list->taken = true;
    return list;
}

void objects_free(struct object **list)
{
    while (*list) {
        struct object *obj = *list;
        *list = obj->next;
        opts_free(&obj->opts);
        free(obj);
    }
}

int device_new(const struct device_class *cls, struct opts *o,
               struct needs *needs, struct device **out)
{
    struct device *dev = calloc(1, cls->size);
    if (!dev) {
        opts_free(o);
        return fail(-ENOMEM, "%s: out of memory", cls->name);
    }
    dev->cls = cls;
    dev->opts = opts_taken(o);
    int err = fields_read(cls->fields, dev, &dev->opts);
    if (!dev->id)
        dev->id = cls->name;
    if (!err && cls->check)
        err = cls->check(dev, needs);
    if (err)
        device_free(dev);
    else
        *out = dev;
    return err;
}

void device_free(struct device *dev)
{
    opts_free(&dev->opts);
    free(dev);
}

int device_create(struct machine *m, struct device *dev)
{
    dev->m = m;
    int err = dev->cls->create(m, dev);
    if (err) {
        dev->next = m->failed;
        m->failed = dev;
    }
    return err;
}

/* Of a file that all of the memory is (memfd), who maps it has the page until
 * it is cut out of the file; private memory is just forgotten.
 *
 * syscalls loop if balloon: madvise(MADV_DONTNEED), only the lab's guests have
 * a driver
 * syscalls loop if balloon: fallocate, as well */
int ram_discard(struct machine *m, void *p, uint64_t len)
{
    m->ram.cut = true;
    if (m->ram.fd < 0)
        return madvise(p, len, MADV_DONTNEED) < 0 ? -errno : 0;
    for (int i = 0; i < m->ram.n; i++) {
        const struct ram_region *r = &m->ram.region[i];
        uint64_t at = (uint64_t)((uint8_t *)p - r->hva);
        if (at >= r->size)
            continue;
        return fallocate(m->ram.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t)(r->offset + at), (off_t)len) < 0
                   ? -errno
                   : 0;
    }
    return -EINVAL;
}

void machine_hold(struct machine *m)
{
    m->holds++;
}

void machine_release(struct machine *m)
{
    if (--m->holds || !m->start)
        return;
    m->started = true;
    m->start(m);
}

void machine_pause(struct machine *m)
{
    if (m->paused)
        return;
    m->paused = true;
    machine_hold(m);
    if (m->ops->park)
        m->ops->park(m);
    for (struct device *d = m->devices; d; d = d->next)
        device_hold(d);
    TRACE(VM, "paused");
    machine_tell(m, NEWS_PAUSED, true, 0);
}

void machine_resume(struct machine *m)
{
    if (!m->paused)
        return;
    m->paused = false;
    TRACE(VM, "resumed");
    for (struct device *d = m->devices; d; d = d->next)
        device_resume(d);
    if (m->ops->unpark)
        m->ops->unpark(m);
    machine_tell(m, NEWS_RESUMED, true, 0);
    machine_release(m);
}

void machine_ask(struct machine *m, enum machine_stop why)
{
    m->asked = true;
    m->ops->request(m, why);
}

void machine_tell(struct machine *m, enum machine_news what, bool asked,
                  int why)
{
    const struct news n = {.what = what, .asked = asked, .why = why};
    if (m->tell)
        m->tell(m, &n);
}

void machine_note(struct device *dev, enum machine_news what)
{
    if (!dev->m->news_fd)
        return;
    if (!(atomic_fetch_or(&dev->news, 1u << what) & 1u << what))
        event_signal(dev->m->news_fd);
}

int machine_do(struct machine *m, const char *id, const char *verb,
               struct opts *o, struct text *out)
{
    bool known = !id;
    for (struct device *d = m->devices; d; d = d->next) {
        const struct verb *v = d->cls ? verb_find(d->cls->verbs, verb) : NULL;
        if (id && strcmp(d->id, id))
            continue;
        known = true;
        if (v)
            return verb_do(v, d, o, out);
    }
    if (!known)
        return fail(-ENOENT, "%s: there is no device %s", verb, id);
    return fail(-ENOENT, "%s: there is no such verb%s%s", verb,
                id ? " of " : "", id ? id : "");
}

void device_register(struct machine *m, struct device *dev)
{
    struct device **p = &m->devices;
    while (*p)
        p = &(*p)->next;
    dev->m = m;
    dev->next = NULL;
    *p = dev;
}

void device_hold(struct device *dev)
{
    if (dev->held)
        return;
    dev->held = true;
    if (dev->hold)
        dev->hold(dev);
}

void device_resume(struct device *dev)
{
    if (!dev->held)
        return;
    dev->held = false;
    if (dev->resume)
        dev->resume(dev);
    dev->fresh = false;
}

size_t device_save(struct device *dev, void *out, size_t room)
{
    const struct device_class *cls = dev->cls;
    return cls && !cls->stays ? state_save(cls->fields, dev, out, room) : 0;
}

int device_load(struct device *dev, const void *p, size_t len)
{
    const struct device_class *cls = dev->cls;
    if (!cls || cls->stays)
        return fail(-EOPNOTSUPP, "%s: %s", dev->id,
                    cls ? cls->stays : "has no state");
    int err = state_load(cls->fields, dev, dev->id, p, len);
    if (!err && cls->loaded)
        err = cls->loaded(dev);
    if (err)
        dev->reset(dev);
    else
        dev->fresh = true;
    return err;
}

void device_stats(struct device *dev, struct tally *t)
{
    if (dev->cls) /* a test's own devices have none */
        fields_count(dev->cls->fields, dev, dev->id, t);
    if (dev->stats)
        dev->stats(dev, t);
}

bool machine_sent(const struct machine *m)
{
    for (struct device *d = m->devices; d; d = d->next)
        if (d->sent && d->sent(d))
            return true;
    return false;
}

static void machine_destroy_from(struct device *d)
{
    if (!d)
        return;
    struct opts opts = d->opts; /* its texts outlive it */
    machine_destroy_from(d->next);
    if (d->destroy)
        d->destroy(d);
    opts_free(&opts);
}

void devices_destroy(struct machine *m)
{
    machine_destroy_from(m->devices);
    m->devices = NULL;
}

static int machine_new_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* syscalls loop vcpu if vhost: eventfd2 close */
int irq_msi(struct machine *m, struct irq *irq)
{
    int fd = machine_new_eventfd();
    if (fd < 0)
        return fd;
    *irq = (struct irq){.m = m, .fd = fd, .gsi = -1};
    irq->resample.fd = -1;
    return 0;
}

int irq_msi_attach(struct irq *irq, uint64_t addr, uint32_t data)
{
    TRACE(IRQ, "msi attach gsi %d addr %#llx data %#x", irq->gsi,
          (unsigned long long)addr, data);
    return irq->m->ops->irq_msi_attach(irq, addr, data);
}

void irq_detach(struct irq *irq)
{
    if (irq->attached)
        irq->m->ops->irq_detach(irq);
}

bool irq_pending(const struct irq *irq)
{
    struct pollfd p = {.fd = irq->fd, .events = POLLIN};
    return !irq->attached && poll(&p, 1, 0) == 1;
}

void irq_pulse(struct irq *irq)
{
    event_signal(irq->fd);
}

/* An EOI lowered the line; whoever still wants it up raises it again. A level
 * that changes while we look either is seen here or writes the fd itself. */
static void machine_resample(struct event *ev, uint32_t got)
{
    (void)got;
    struct irq *irq = container_of(ev, struct irq, resample);
    uint64_t n;
    if (read(ev->fd, &n, sizeof(n)) < 0)
        return;
    if (atomic_load(&irq->level))
        event_signal(irq->fd);
}

int irq_intx(struct machine *m, struct irq *irq, unsigned gsi)
{
    int err;
    *irq = (struct irq){.m = m, .fd = machine_new_eventfd(), .gsi = (int)gsi};
    irq->resample = (struct event){.fd = machine_new_eventfd(),
                                   .want = EPOLLIN,
                                   .ready = machine_resample};
    if (irq->fd < 0 || irq->resample.fd < 0) {
        err = irq->fd < 0 ? irq->fd : irq->resample.fd;
        goto undo;
    }
    err = m->ops->irq_intx(irq, gsi);
    if (err)
        goto undo;
    err = loop_add(m->loop, &irq->resample);
    if (err)
        goto undo;
    return 0;
undo:
    irq_free(irq);
    return err;
}

int irq_isa(struct machine *m, struct irq *irq, unsigned gsi)
{
    int err = irq_msi(m, irq);
    if (err)
        return err;
    irq->gsi = (int)gsi;
    err = m->ops->irq_intx(irq, gsi);
    if (err)
        irq_free(irq);
    return err;
}

void irq_set(struct irq *irq, bool level)
{
    if (atomic_exchange(&irq->level, level) == level || !level)
        return;
    event_signal(irq->fd);
}

void irq_free(struct irq *irq)
{
    if (irq->attached)
        irq->m->ops->irq_detach(irq);
    if (irq->m && irq->m->ops->irq_free)
        irq->m->ops->irq_free(irq);
    loop_del(&irq->resample);
    if (irq->fd >= 0)
        close(irq->fd);
    if (irq->resample.fd >= 0)
        close(irq->resample.fd);
    irq->fd = irq->resample.fd = -1;
    irq->attached = false;
}
