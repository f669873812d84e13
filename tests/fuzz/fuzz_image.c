/* SPDX-License-Identifier: MIT */
/* Files that an image names: its header is whatever somebody wrote, and so is
 * that of the one behind it, which lies where it may be opened. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/names.h"
#include "host/helper.h"
#include "tests/fuzz/fuzz.h"

static char dir[] = "/tmp/fuzz-image-XXXXXX";
static int file[2] = {-1, -1};

static const char *path(int i)
{
    static char text[sizeof(dir) + 2];
    snprintf(text, sizeof(text), "%s/%c", dir, 'a' + i);
    return text;
}

static void end(void)
{
    unlink(path(0));
    unlink(path(1));
    rmdir(dir);
}

static void make(void)
{
    CHECK(mkdtemp(dir) != NULL);
    CHECK_EQ(helper_allow(dir), 0);
    for (int i = 0; i < 2; i++)
        file[i] = open(path(i), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    atexit(end);
}

static void fill(int fd, const uint8_t *p, size_t n)
{
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(pwrite(fd, p, n, 0), (ssize_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const format[] = {"qcow2", "qcow", "qed", "vmdk"};
    struct fuzz f = {data, size};
    if (file[0] < 0)
        make();
    uint8_t how = fuzz_u8(&f);
    size_t first = how & 4 ? f.n / 2 : f.n;
    fill(file[0], f.p, first);
    fill(file[1], f.p + first, f.n - first);
    names_check("fuzz", path(0), format[how & 3], how & 8);
    return 0;
}
