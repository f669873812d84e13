/* SPDX-License-Identifier: MIT */
/* virtio-balloon: pages, ranges and statistics of any form and anywhere, with
 * an operator who changes his mind. */
#include <stdio.h>

#include "tests/fuzz/fuzz_small.h"

/* Page numbers near RAM and its end, in the place of buffers. */
static void pages(struct fv *v, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    unsigned n = 1u + how % 64;
    uint64_t at = fv_buffer(v, how, 4 * n);
    le32 *pfn = fake_ram(v->m, at, 4 * n);
    le32 next = 0xb + how % 16;
    for (unsigned i = 0; i < n; i++) {
        uint8_t b = fuzz_u8(f);
        next = b & 0xc0 ? next + 1 : b & 0x20 ? next - 1 : b & 0x1fu;
        pfn[i] = b == 0x3f ? fuzz_u32(f) : next;
    }
    fv_chain(v, how >> 7, at, 1, 4 * n, false);
}

static void operator(struct fv *v, struct fuzz *f)
{
    struct opts o;
    struct text out = {0};
    char arg[24];
    uint8_t how = fuzz_u8(f);
    const char *verb = how & 1 ? "balloon" : "balloon-stats";
    snprintf(arg, sizeof(arg), "%u", (unsigned)fuzz_u32(f) >> (how & 24));
    opts_init(&o, verb);
    opts_add(&o, how & 1 ? "size" : "seconds", arg);
    machine_do(v->m, NULL, verb, &o, &out);
    opts_free(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fv both[2];
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);
    struct fv *v = &both[how & 1];
    if (!v->m)
        fs_make(v, &virtio_balloon_class, 5, ",free-page-reporting=on",
                how & 1);
    fs_begin(v, how >> 1, fuzz_u8(&f));
    for (int i = 0; f.n && i < FV_ACTS; i++) {
        uint8_t b = fuzz_u8(&f);
        if (b < 0x40)
            pages(v, &f);
        else if (b < 0x50)
            operator(v, &f);
        else if (b < 0x60)
            drv_w32(v->m, v->config + 4 * (b & 3), fuzz_u32(&f));
        else
            fs_act(v, &f);
    }
    fake_run_loop(v->m);
    *(le32 *)fake_ram(v->m, FV_BUF, 4) = 0x12;
    fs_end(v, 0, 4, false);
    return 0;
}
