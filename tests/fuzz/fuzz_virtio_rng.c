/* SPDX-License-Identifier: MIT */
/* virtio-rng: requests of any form, with a rate limit that is reached. */
#include "tests/fuzz/fuzz_small.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fv both[2];
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);
    struct fv *v = &both[how & 1];
    if (!v->m)
        fs_make(v, &virtio_rng_class, 4, ",max-bytes=10000,period=100",
                how & 1);
    fs_begin(v, how >> 1, (uint64_t)fuzz_u8(&f) << 24);
    for (int i = 0; f.n && i < FV_ACTS; i++)
        fs_act(v, &f);
    fs_end(v, 0, 64, true);
    return 0;
}
