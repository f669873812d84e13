/* SPDX-License-Identifier: MIT */
/* Packed rings of a hostile driver, with frames coming and going meanwhile. */
#include "tests/fuzz/fuzz_virtio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fv v = {.packed = true};
    struct fuzz f = {data, size};
    if (!v.m)
        fv_make(&v, "netdev=n0,mac=52:54:00:12:34:56,rss=on,hash=on,packed=on",
                2);
    fv_begin(&v);
    fv_layout(&v, fuzz_u8(&f));
    fv_start(&v, fv_features(fuzz_u8(&f)));
    for (int i = 0; f.n && i < FV_ACTS; i++)
        fv_act(&v, &f);
    fv_end(&v, false);
    return 0;
}
