/* SPDX-License-Identifier: MIT */
/* vhost-user-fs-pci: what the guest sees of it, and that its requests reach the
 * back-end. The rest is vhost-user-blk's, too. */
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/list.h"
#include "host/chardev.h"
#include "tests/unit/fakevirtio.h"
#include "tests/unit/net/net_test.h"
#include "tests/unit/vubackend.h"

static int fs_new(const char *text, struct device **dev)
{
    struct opts o;
    struct needs needs = {0};
    REQUIRE_EQ(opts_parse(&o, "-device vhost-user-fs-pci", text, NULL), 0);
    int err = device_new(&vhost_user_fs_class, &o, &needs, dev);
    CHECK(err || needs.shared_ram);
    return err;
}

TEST(v5_11_vhost_user_fs_tag_queues_and_requests)
{
    struct vd d = {.cls = &vhost_user_fs_class, .type = 26, .qsize = 8};
    struct machine *m = d.m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    char text[256];
    REQUIRE_EQ(pci_bus_new(m), 0);
    m->ram.fd = memfd_create("guest", MFD_CLOEXEC);
    REQUIRE_EQ(ftruncate(m->ram.fd, BACKEND_MEM), 0);
    int l = backend_listen(nt_path("fs"));
    struct backend *b = backend_new(l);
    b->queues = 3;
    pthread_create(&b->thread, NULL, backend_accept, b);
    snprintf(text, sizeof(text), "socket,id=c,path=%s", backend_sa.sun_path);
    REQUIRE_EQ(chardev_add(text), 0);
    REQUIRE_EQ(fs_new("chardev=c,tag=share,num-request-queues=2", &d.dev), 0);
    REQUIRE_EQ(device_create(m, d.dev), 0);
    vd_find(&d);
    d.brk = 0x10000;
    CHECK_EQ(d.nq, 3);
    for (unsigned i = 0; i < 36; i++)
        CHECK_EQ(drv_r8(m, d.config + i), (uint8_t)(i < 5 ? "share"[i] : 0));
    CHECK_EQ(guest_read(m, false, d.config + 36, 4), 2);
    vd_again(&d, 0);
    for (int i = 0; i < 200 && !b->enabled[2]; i++)
        usleep(5000);
    REQUIRE(b->enabled[2]);
    struct vd_buf buf[2] = {{vd_alloc(&d, 64, 16), 64, false},
                            {vd_alloc(&d, 64, 16), 64, true}};
    int id = vd_add(&d.q[2], buf, 2), got = -1;
    uint32_t len = 0;
    vd_kick(&d, 2);
    uint16_t *avail = (uint16_t *)(uintptr_t)b->avail[2];
    uint16_t *used = (uint16_t *)(uintptr_t)b->used[2];
    CHECK_EQ(avail[1], 1);
    CHECK_EQ(avail[2], id);
    const uint32_t e[2] = {(uint32_t)id, 40};
    memcpy(used + 2, e, sizeof(e));
    __atomic_store_n(&used[1], 1, __ATOMIC_RELEASE);
    eventfd_write(b->call[2], 1);
    fake_run_loop(m);
    CHECK(vd_used(&d.q[2], &got, &len));
    CHECK_EQ(got, id);
    CHECK_EQ(len, 40);
    backend_end(b);
    fake_run_loop(m);
    CHECK_HAS(test_log(), "what the guest asks of its files waits for ever");
    int fd = m->ram.fd;
    m->ram.fd = -1;
    fake_free(m);
    chardev_free();
    close(fd);
    close(l);
    nt_clean();
}

TEST(vhost_user_fs_what_is_wrong_is_said)
{
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"chardev=c", "tag= is what the guest mounts"},
        {"chardev=c,tag=0123456789012345678901234567890123456",
         "36 characters"},
        {"chardev=c,tag=x,disable-legacy=off", "there is no older driver"},
        {"tag=x", "chardev= is missing"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct device *dev;
        CHECK_EQ(fs_new(bad[i].text, &dev), -EINVAL);
        CHECK_HAS(test_log(), bad[i].said);
    }
}
