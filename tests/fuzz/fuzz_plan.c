/* SPDX-License-Identifier: MIT */
/* What an operator, or a program for one, says of a backend or a device, as
 * text and as JSON: parsed, read by the tables, checked. Nothing is opened. */
#include "devices/list.h"
#include "base/json.h"
#include "block/list.h"
#include "control/disks.h"
#include "devices/nic.h"
#include "devices/vfio/state.h"
#include "net/dgram.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/fuzz/fuzz.h"

static const struct netdev_class *const nets[] = {NETDEV_ROWS};
static const struct device_class *const cards[] = {DEVICE_ROWS};
static const struct device_class *const models[] = {DEVICE_ROWS NULL};
static const struct blockdev_class *const disks[] = {BLOCKDEV_ROWS NULL};
static const struct plan_classes classes = {.devices = models,
                                            .blockdevs = disks};

/* One option a line; its first letter says which. */
static int fuzz_take_disk(char *line, struct asked_list *backs,
                          struct asked_list *on)
{
    struct opts o;
    const char *opt = *line == 'b' ? "-blockdev" : "-drive";
    if (!*line++)
        return -1;
    opts_init(&o, opt);
    int err = json_looks_like(line)
                  ? json_opts(&o, line, strlen(line))
                  : opts_parse(&o, opt, line, opt[1] == 'b' ? "driver" : NULL);
    if (!err)
        return disks_take(&classes, opt, &o, backs, on);
    opts_free(&o);
    return err;
}

/* -drive and -blockdev, which name each other. */
static void fuzz_disks(char *text)
{
    static struct asked_list backs, on;
    struct blockdev *b;
    char *save = NULL;
    int err = 0;
    for (char *line = strtok_r(text, "\n", &save); line && !err;
         line = strtok_r(NULL, "\n", &save))
        err = fuzz_take_disk(line, &backs, &on);
    if (!err)
        err = disks_tie(&classes, &backs);
    for (int i = 0; i < backs.n && !err; i++)
        if (backs.at[i]->block)
            err = blockdev_new(backs.at[i]->block, &backs.at[i]->o, &b);
    blockdev_close_all();
    asked_free(&backs);
    asked_free(&on);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[1 << 17];
    struct fuzz f = {data, size};
    uint8_t which = fuzz_u8(&f);
    struct needs needs = {0};
    struct netdev *nd;
    struct device *dev;
    struct opts o;
    if (f.n >= sizeof(text))
        return 0;
    memcpy(text, f.p, f.n);
    text[f.n] = '\0';
    if (which == 0x7f) {
        fuzz_disks(text);
        return 0;
    }
    opts_init(&o, "fuzz");
    int err = which & 0x80 ? json_opts(&o, text, f.n)
                           : opts_parse(&o, "fuzz", text, NULL);
    which &= 0x7f;
    if (err) {
        opts_free(&o);
    } else if (which % 16 < ARRAY_LEN(nets)) {
        if (!netdev_new(nets[which % 16], &o, &nd))
            netdev_close_all();
    } else {
        if (!device_new(cards[which % ARRAY_LEN(cards)], &o, &needs, &dev))
            device_free(dev);
    }
    opts_free(&o);
    return 0;
}
