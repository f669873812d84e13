/* SPDX-License-Identifier: MIT */
/* virtio-rng (virtio 1.2 §5.4): requests, bounds, rate, sources, moving. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "devices/list.h"
#include "tests/unit/fakevirtio.h"
#include "tests/unit/records.h"

#define SECOND 1000000000ull

static struct vd d;

static struct machine *rng_up(bool packed, const char *opts)
{
    memset(&d, 0, sizeof(d));
    d.cls = &virtio_rng_class;
    d.type = 4;
    d.opts = opts;
    return vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX) | F(VIRTIO_F_INDIRECT_DESC));
}

/* A request for `len` bytes; where they come. */
static uint64_t ask(uint32_t len)
{
    struct vd_buf b = {vd_alloc(&d, len, 1), len, true};
    REQUIRE(vd_add(&d.q[0], &b, 1) >= 0);
    vd_kick(&d, 0);
    return b.at;
}

/* How many bytes of it came; -1: it is not answered. */
static int64_t answer(void)
{
    int id;
    uint32_t len;
    return vd_used(&d.q[0], &id, &len) ? (int64_t)len : -1;
}

static unsigned zeros(uint64_t at, uint32_t len)
{
    const uint8_t *p = vd_ram(&d, at, len);
    unsigned n = 0;
    for (uint32_t i = 0; i < len; i++)
        n += !p[i];
    return n;
}

TEST(virtio_rng_5_4_what_a_driver_finds)
{
    struct machine *m = rng_up(false, NULL);
    CHECK_EQ(drv_cfg_read(m, d.slot, PCI_REVISION_ID, 4), 0x00ff0001);
    CHECK_EQ(d.nq, 1);
    CHECK_EQ(d.config, 0); /* there is no device configuration */
    CHECK_EQ(vd_offered(&d) & 0xffffff, 0);
    CHECK_EQ(vd_get(&d, 0x2000, 4), 0);
    vd_free(&d);
}

BOTH_RINGS(virtio_rng_5_4_6_a_buffer_is_filled_and_its_length_told)
{
    rng_up(packed, NULL);
    uint64_t at = ask(4096);
    CHECK_EQ(answer(), 4096);
    CHECK(zeros(at, 4096) < 64); /* 16 are expected */
    CHECK_EQ(vd_irqs(&d, 0), 1);
    uint64_t other = ask(64);
    CHECK_EQ(answer(), 64);
    CHECK(memcmp(vd_ram(&d, at, 64), vd_ram(&d, other, 64), 64) != 0);
    CHECK_EQ(vd_count(&d, "requests"), 2);
    CHECK_EQ(vd_count(&d, "bytes"), 4160);
    vd_free(&d);
}

/* Pieces of any size, and nothing before or behind them. */
BOTH_RINGS(virtio_rng_5_4_6_pieces)
{
    rng_up(packed, NULL);
    uint64_t at = vd_alloc(&d, 8192, 1);
    struct vd_buf b[] = {
        {at + 1, 1, true}, {at + 64, 300, true}, {at + 4096, 77, true}};
    REQUIRE(vd_put_indirect(&d.q[0], b, 3) >= 0);
    vd_publish(&d.q[0]);
    vd_kick(&d, 0);
    CHECK_EQ(answer(), 378);
    CHECK(zeros(at + 64, 300) < 30);
    CHECK(zeros(at + 4096, 77) < 20);
    CHECK_EQ(zeros(at + 2, 62), 62);
    CHECK_EQ(zeros(at + 364, 3000), 3000);
    CHECK_EQ(zeros(at + 4096 + 77, 1000), 1000);
    vd_free(&d);
}

/* The same megabyte many times over is a short chain and a long request. */
BOTH_RINGS(virtio_rng_gives_64_kib_a_request_at_most)
{
    rng_up(packed, NULL);
    uint64_t at = vd_alloc(&d, 1 << 20, 4096);
    struct vd_buf b[64];
    for (unsigned i = 0; i < 64; i++)
        b[i] = (struct vd_buf){at, 1 << 20, true};
    REQUIRE(vd_put_indirect(&d.q[0], b, 64) >= 0);
    vd_publish(&d.q[0]);
    vd_kick(&d, 0);
    CHECK_EQ(answer(), 65536);
    CHECK_EQ(zeros(at + 65536, 65536), 65536);
    vd_free(&d);
}

/* A turn ends after one request (and the loop's second look, after the others'
 * events, after another): others have theirs between. */
BOTH_RINGS(virtio_rng_serves_one_request_a_turn)
{
    struct machine *m = rng_up(packed, NULL);
    struct vd_buf b = {vd_alloc(&d, 64, 1), 64, true};
    for (unsigned i = 0; i < 8; i++)
        REQUIRE(vd_add(&d.q[0], &b, 1) >= 0);
    guest_write(m, false, d.notify, 2, 0);
    loop_poll(m->loop, 0);
    CHECK(vd_count(&d, "requests") <= 2);
    fake_run_loop(m);
    CHECK_EQ(vd_reap(&d.q[0]), 8);
    vd_free(&d);
}

/* Nothing to write to, and a readable piece in front. */
BOTH_RINGS(virtio_rng_5_4_6_1_readable_buffers_get_nothing)
{
    rng_up(packed, NULL);
    uint64_t at = vd_alloc(&d, 256, 1);
    struct vd_buf only = {at, 64, false};
    REQUIRE(vd_add(&d.q[0], &only, 1) >= 0);
    vd_kick(&d, 0);
    CHECK_EQ(answer(), 0);
    struct vd_buf both[] = {{at, 64, false}, {at + 128, 64, true}};
    REQUIRE(vd_add(&d.q[0], both, 2) >= 0);
    vd_kick(&d, 0);
    CHECK_EQ(answer(), 64);
    CHECK_EQ(zeros(at, 128), 128);
    CHECK(zeros(at + 128, 64) < 20);
    vd_free(&d);
}

BOTH_RINGS(virtio_rng_2_1_2_a_broken_ring_waits_for_a_reset)
{
    rng_up(packed, NULL);
    struct vd_raw r = {VD_LOW_RAM - 8, 64, D_WRITE, 0};
    vd_raw(&d.q[0], &r, 1);
    vd_kick(&d, 0);
    CHECK_EQ(vd_count(&d, "requests"), 0);
    vd_check_broken(&d);
    ask(64);
    CHECK_EQ(answer(), 64);
    vd_free(&d);
}

/* What is asked for while the function may not write to memory is done when it
 * may. */
TEST(virtio_rng_waits_for_bus_mastering)
{
    struct machine *m = rng_up(false, NULL);
    uint32_t cmd = drv_cfg_read(m, d.slot, PCI_COMMAND, 2);
    drv_cfg_write(m, d.slot, PCI_COMMAND, 2, cmd & ~(uint32_t)PCI_CMD_MASTER);
    uint64_t at = ask(64);
    CHECK_EQ(answer(), -1);
    CHECK_EQ(zeros(at, 64), 64);
    drv_cfg_write(m, d.slot, PCI_COMMAND, 2, cmd);
    fake_run_loop(m);
    CHECK_EQ(answer(), 64);
    vd_free(&d);
}

/* -------------------------------------------------------------------- rate */

/* A period begins with the first bytes; what does not fit waits for its end,
 * and no reset is a way round. */
BOTH_RINGS(virtio_rng_max_bytes_a_period)
{
    struct machine *m = rng_up(packed, "max-bytes=1000,period=2000");
    ask(600);
    CHECK_EQ(answer(), 600);
    ask(600);
    CHECK_EQ(answer(), 400); /* §5.4.6: it may be less */
    ask(600);
    CHECK_EQ(answer(), -1);
    CHECK_EQ(vd_count(&d, "limited"), 1);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(answer(), -1);
    vd_again(&d, 0);
    ask(600);
    CHECK_EQ(answer(), -1);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(answer(), 600);
    fake_sleep_ns(m, 10 * SECOND);
    ask(5000);
    CHECK_EQ(answer(), 1000);
    vd_free(&d);
}

static void make(struct machine *m, void *ctx)
{
    REQUIRE_EQ(fake_device(m, &virtio_rng_class, "-device virtio-rng-pci", ctx),
               0);
}

/* In the middle of a period with a request waiting: what is left of it is
 * left, wherever it is. */
BOTH_RINGS(virtio_rng_moves_with_its_rate_and_what_was_asked)
{
    char opts[64];
    struct machine *m = rng_up(packed, "max-bytes=1000,period=4000");
    snprintf(opts, sizeof(opts), "%smax-bytes=1000,period=4000",
             packed ? "packed=on," : "");
    ask(1000);
    CHECK_EQ(answer(), 1000);
    uint64_t at = ask(100);
    CHECK_EQ(answer(), -1);
    fake_sleep_ns(m, SECOND);
    d.m = records_move(m, make, NULL, opts);
    for (struct device *dev = d.m->devices; dev; dev = dev->next)
        if (dev->cls == &virtio_rng_class)
            d.dev = dev;
    fake_sleep_ns(d.m, 2 * SECOND);
    CHECK_EQ(answer(), -1);
    fake_sleep_ns(d.m, 2 * SECOND);
    CHECK_EQ(answer(), 100);
    CHECK(zeros(at, 100) < 20);
    vd_free(&d);
}

TEST(virtio_rng_state_of_anybody)
{
    struct machine *m = rng_up(false, "max-bytes=1000,period=4000");
    ask(1000);
    fake_run_loop(m);
    device_hold(d.dev);
    struct records r = records_of(d.dev);
    static const struct bend bad = {"left", 0, 4000000001ull,
                                    "left: longer than period="};
    records_bend(d.dev, &r, &bad);
    records_try_all(d.dev, 31);
    /* A period that is not under way is over. */
    records_set(&r, "left", 0, 0);
    CHECK_EQ(device_load(d.dev, r.p, r.len), 0);
    records_free(&r);
    device_resume(d.dev);
    CHECK_EQ(answer(), 1000);
    ask(10);
    CHECK_EQ(answer(), 10);
    vd_free(&d);
}

/* ----------------------------------------------------------------- sources */

static struct object *objects;

/* A device with rng=r of such an object. 0 or as said. */
static int with(struct machine *m, const char *object, struct device **out)
{
    struct opts o;
    struct needs needs = {0};
    REQUIRE_EQ(opts_parse(&o, "-object", object, "qom-type"), 0);
    int err = object_new(virtio_rng_class.object, &o, &objects);
    needs.objects = objects;
    if (err)
        return err;
    REQUIRE_EQ(opts_parse(&o, "-device virtio-rng-pci", "rng=r", NULL), 0);
    err = device_new(&virtio_rng_class, &o, &needs, out);
    return err ? err : device_create(m, *out);
}

TEST(virtio_rng_sources_that_cannot_be)
{
    char file[] = "/tmp/rng-test-XXXXXX", text[80];
    struct machine *m = fake_pc(1 << 20);
    struct device *dev;
    close(mkstemp(file));
    snprintf(text, sizeof(text), "rng-random,id=r,filename=%s", file);
    struct {
        const char *object, *said;
    } bad[] = {
        {"rng-random,id=x", "rng=r: there is no -object rng-random"},
        {"rng-random", "id= is missing"},
        {"rng-random,id=r,filename=/nonexistent", "No such file"},
        {"rng-builtin,id=r,filename=/dev/zero", "is for rng-random"},
        {text, "must be a device or a pipe"},
        {"rng-random,id=r,file=x", "no key \"file\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(with(m, bad[i].object, &dev), -EINVAL);
        CHECK_HAS(test_log(), bad[i].said);
        objects_free(&objects);
    }
    unlink(file);
    fake_free(m);
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    REQUIRE(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* The kernel's own by any of its names: no descriptor, no thread. */
TEST(virtio_rng_the_kernels_source_is_not_opened)
{
    static const char *const names[] = {
        "rng-random,id=r", "rng-random,id=r,filename=/dev/urandom",
        "rng-random,id=r,filename=/dev/random", "rng-builtin,id=r"};
    struct machine *m = fake_pc(1 << 20);
    struct device *dev = NULL;
    unsigned before = descriptors();
    REQUIRE_EQ(fake_device(m, &virtio_rng_class, "rng", ""), 0);
    unsigned without = descriptors() - before;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        before = descriptors();
        CHECK_EQ(with(m, names[i], &dev), 0);
        CHECK_EQ(descriptors() - before, without);
        objects_free(&objects);
    }
    fake_free(m);
}

/* A pipe: its bytes, in order; while it has none the request waits and nobody
 * else does. */
TEST(virtio_rng_another_file_is_read_by_a_thread)
{
    char dir[] = "/tmp/rng-test-XXXXXX", path[64], text[96];
    REQUIRE(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/fifo", dir);
    REQUIRE_EQ(mkfifo(path, 0600), 0);
    snprintf(text, sizeof(text), "rng-random,id=r,filename=%s", path);
    memset(&d, 0, sizeof(d));
    d.cls = &virtio_rng_class;
    d.type = 4;
    d.m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    REQUIRE_EQ(pci_bus_new(d.m), 0);
    CHECK_EQ(with(d.m, text, &d.dev), 0);
    int w = open(path, O_WRONLY | O_CLOEXEC);
    REQUIRE(w >= 0);
    vd_find(&d);
    vd_forget(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    uint64_t at = ask(40);
    CHECK_EQ(answer(), -1);
    REQUIRE(write(w, "0123456789", 10) == 10);
    int64_t got = -1;
    FAKE_SOON(d.m, (got = answer()) >= 0);
    CHECK_EQ(got, 10);
    CHECK_MEM(vd_ram(&d, at, 11), "0123456789\0", 11);
    at = ask(4);
    device_hold(d.dev); /* with a read under way, and bytes for it */
    REQUIRE(write(w, "abcdefgh", 8) == 8);
    usleep(20000);
    fake_run_loop(d.m);
    CHECK_EQ(answer(), -1);
    device_resume(d.dev);
    FAKE_SOON(d.m, (got = answer()) >= 0);
    CHECK_EQ(got, 4);
    CHECK_MEM(vd_ram(&d, at, 4), "abcd", 4);
    at = ask(40);
    CHECK_EQ(answer(), 4);
    CHECK_MEM(vd_ram(&d, at, 4), "efgh", 4);
    ask(4);
    close(w); /* nobody writes any more: it asks again each second */
    usleep(20000);
    fake_run_loop(d.m);
    CHECK_EQ(answer(), -1);
    w = open(path, O_WRONLY | O_CLOEXEC);
    REQUIRE(write(w, "end!", 4) == 4);
    fake_advance_ns(2 * SECOND);
    FAKE_SOON(d.m, (got = answer()) >= 0);
    CHECK_EQ(got, 4);
    close(w);
    objects_free(&objects);
    vd_free(&d);
    unlink(path);
    rmdir(dir);
}
