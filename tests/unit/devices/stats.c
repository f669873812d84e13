/* SPDX-License-Identifier: MIT */
/* -stats: each device's counters show, those that are zero, too, and the man
 * page says what they count. */
#include <stdio.h>
#include <stdlib.h>

#include "devices/list.h"
#include "devices/nic.h"
#include "devices/pc/pc.h"
#include "devices/vfio/state.h"
#include "tests/unit/fakevirtio.h"

static const struct device_class *const classes[] = {
    &virtio_net_class, &virtio_blk_class,     &e1000_class,
    &vfio_pci_class,   &acpi_pm_class,        &pvpanic_class,
    &serial_class,     &vhost_user_blk_class, &virtio_vsock_class,
    &vhost_vsock_class};

static char *man_page(void)
{
    static char text[1 << 20];
    FILE *f = fopen("vmm.1", "r");
    REQUIRE(f != NULL);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

/* How many counters, each of them in the man page. */
static unsigned documented(const struct field *f, const char *page)
{
    unsigned n = 0;
    char row[256];
    for (; f && (f->type == FIELD_PART || f->name[0]); f++) {
        if (f->type == FIELD_PART) {
            n += documented(f->part, page);
        } else if (f->use & COUNTER) {
            snprintf(row, sizeof(row), "\n%s@%s\n", f->name, f->help);
            CHECK_HAS(page, row);
            n++;
        }
    }
    return n;
}

TEST(devices_stats_every_counter_is_in_the_man_page)
{
    const char *page = man_page();
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        CHECK(classes[i] == &serial_class ||
              documented(classes[i]->fields, page) > 0);
    CHECK_EQ(documented(nic_counters, page), 28);
}

static const char *stats_of(struct device *dev)
{
    static char got[1 << 16];
    struct tally_lines lines;
    struct text text = {0};
    device_stats(dev, tally_lines(&lines, &text));
    snprintf(got, sizeof(got), "%s", text.p ? text.p : "");
    text_free(&text);
    return got;
}

static void shows(const struct field *f, const char *id, const char *text)
{
    char line[128];
    for (; f && (f->type == FIELD_PART || f->name[0]); f++) {
        if (f->type == FIELD_PART) {
            shows(f->part, id, text);
        } else if (f->use & COUNTER) {
            snprintf(line, sizeof(line), "%s.%s 0\n", id, f->name);
            CHECK_HAS(text, line);
        }
    }
}

TEST(devices_stats_zeroes_show)
{
    struct vd d = {.pairs = 2};
    vd_new(&d);
    const char *text = stats_of(d.dev);
    shows(virtio_net_class.fields, "virtio-net.0", text);
    shows(nic_counters, "virtio-net.0", text);
    shows(nic_counters, "virtio-net.0.pair0", text);
    shows(nic_counters, "virtio-net.0.pair1", text);
    vd_free(&d);
}

BOTH_RINGS(devices_stats_faults_are_counted)
{
    struct vd d = {0};
    const struct vd_raw bad = {~0ull, 100, 0, 0};
    vd_up(&d, packed, 0);
    CHECK_HAS(stats_of(d.dev), "virtio-net.0.guest_faults 0\n");
    vd_raw(&d.q[TX0], &bad, 1);
    vd_kick(&d, TX0);
    CHECK_HAS(stats_of(d.dev), "virtio-net.0.guest_faults 1\n");
    vd_free(&d);
}
