/* SPDX-License-Identifier: MIT */
/* What an operator, or a program for one, says of a backend or a device, as
 * text and as JSON: parsed, read by the tables, checked. Nothing is opened. */
#include "devices/list.h"
#include "base/json.h"
#include "devices/nic.h"
#include "devices/vfio/state.h"
#include "net/dgram.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/fuzz/fuzz.h"

static const struct netdev_class *const nets[] = {NETDEV_ROWS};
static const struct device_class *const cards[] = {DEVICE_ROWS};

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
