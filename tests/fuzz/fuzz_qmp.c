/* SPDX-License-Identifier: MIT */
/* What a client of a monitor sends, in pieces of any size: QMP, or HMP. It is
 * cut into the same commands however it comes, each has one answer, and what
 * QMP says is JSON. */
#include <assert.h>
#include <stdlib.h>

#include "control/qmp.h"
#include "devices/list.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fakeblk.h"

static const struct device_class *const devices[] = {DEVICE_ROWS NULL};
static const struct plan_classes known = {.devices = devices};
static struct config config;
static struct netdev *cable;

static void fuzz_said(struct monitor *mo)
{
    (void)mo;
}

static void fuzz_drop(struct netdev *nd)
{
    nd->away = true;
}

static int fuzz_swap(struct netdev *nd, const int *fd, const char *ifname)
{
    (void)fd, (void)ifname;
    nd->away = false;
    return 0;
}

static struct machine *fuzz_machine(void)
{
    struct machine *m = fake_pc(1 << 20);
    cable = fake_net_dev(fake_net_new("n0", 1));
    cable->swap = fuzz_swap;
    cable->drop = fuzz_drop;
    if (fake_device(m, &acpi_pm_class, "acpi-pm", "") ||
        fake_device(m, &e1000_class, "e1000", "id=net0,netdev=n0") ||
        fake_device(m, &virtio_net_class, "virtio", "id=net1") ||
        fake_device(m, &virtio_balloon_class, "balloon", "id=mem"))
        abort();
    fake_blk_new(NULL);
    monitors.ctl = (struct control){.m = m, .config = &config};
    monitors.known = &known;
    return m;
}

/* Each line, which ends with CR LF, is one value. */
static unsigned fuzz_count(struct text *out)
{
    unsigned n = 0;
    for (const char *p = out->p, *end; p && *p; p = end + 2, n++) {
        struct text plain = {0};
        end = strstr(p, "\r\n");
        assert(end);
        assert(!json_compact("answer", p, (size_t)(end - p), &plain));
        text_free(&plain);
    }
    return n;
}

/* How many answers, or of HMP how many bytes. */
static size_t fuzz_talk(const struct fuzz *f, bool qmp, bool keys, size_t step)
{
    struct text out = {0};
    struct monitor *mo = calloc(1, sizeof(*mo));
    assert(mo);
    mo->qmp = qmp;
    mo->echo = keys;
    mo->ready = qmp;
    mo->out = &out;
    mo->said = fuzz_said;
    for (size_t at = 0, n; at < f->n && !mo->last && !out.cut; at += n) {
        size_t room;
        char *to = monitor_room(mo, &room);
        assert(room);
        n = room < step ? room : step;
        n = n < f->n - at ? n : f->n - at;
        memcpy(to, f->p + at, n);
        mo->n += n;
        while (qmp ? qmp_next(mo) : hmp_next(mo))
            ;
    }
    size_t said = qmp && !out.cut ? fuzz_count(&out) : out.n;
    text_free(&out);
    text_free(&mo->id);
    free(mo);
    return said;
}

static void fuzz_again(struct machine *m)
{
    machine_resume(m);
    m->started = cable->away = false;
    netdev_plug(cable, true);
    qmp_drop_fds();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);
    bool qmp = how & 1, keys = how & 2;
    if (!m)
        m = fuzz_machine();
    fuzz_again(m);
    size_t some = fuzz_talk(&f, qmp, keys, (how >> 2) + 1u);
    fuzz_again(m);
    size_t all = fuzz_talk(&f, qmp, keys, size);
    assert(some == all);
    return 0;
}
