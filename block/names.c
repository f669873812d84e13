/* SPDX-License-Identifier: MIT */
/* The other files that an image names.
 *
 * Theory of operation. An image may say that what it does not have itself is in
 * another file, and who reads it opens that file: a program with the operator's
 * rights, on the word of whoever made the image, who may have been a guest. So
 * the chain of names is followed here first. Of qcow2 and qcow that is a few
 * words of the header (QEMU's docs/interop/qcow2.rst), of the other formats
 * whether there may be a name. Nothing here is more than looked at. */
#include "block/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/opts.h"
#include "host/helper.h"

#define HEAD                                                                   \
    4096u /* where all of it is, of an image that qemu-img has made            \
           */
#define CHAIN_MAX 16
#define NAME_MAX_QCOW 1023u
#define EXTENSION_FORMAT 0xe2792acau /* of the backing file */
#define DATA_FILE 4u                 /* incompatible_features */

/* What an image names. */
struct named {
    char file[NAME_MAX_QCOW + 1]; /* "": none */
    char format[16];              /* that file's; "": it does not say */
    bool untold;                  /* there may be some, and it is not told */
};

static uint32_t names_be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static uint64_t names_be64(const unsigned char *p)
{
    return (uint64_t)names_be32(p) << 32 | names_be32(p + 4);
}

/* The extensions, each a type, a length and as many bytes, up to `end`. */
static void names_format(const unsigned char *head, uint64_t end,
                         char format[16])
{
    uint64_t at = names_be32(head + 4) < 3 ? 72 : names_be32(head + 100);
    while (at + 8 <= end) {
        uint32_t type = names_be32(head + at), len = names_be32(head + at + 4);
        at += 8;
        if (!type || len > end - at)
            return;
        if (type == EXTENSION_FORMAT)
            snprintf(format, 16, "%.*s", (int)len, (const char *)head + at);
        at += (len + 7ull) & ~7ull;
    }
}

static int names_qcow(const char *what, const char *path,
                      const unsigned char *head, struct named *n)
{
    uint32_t version = names_be32(head + 4), len = names_be32(head + 16);
    uint64_t at = names_be64(head + 8);
    if (memcmp(head, "QFI\xfb", 4)) /* whoever reads it says so */
        return 0;
    if (version >= 3 && names_be64(head + 72) & DATA_FILE)
        return fail(-EINVAL,
                    "%s: %s keeps its data in another file, which is not "
                    "opened; qemu-img convert makes one of both",
                    what, path);
    if (!at)
        return 0;
    n->untold = len > NAME_MAX_QCOW || at > HEAD - NAME_MAX_QCOW;
    if (n->untold)
        return 0;
    memcpy(n->file, head + at, len);
    if (version >= 2)
        names_format(head, at, n->format);
    return 0;
}

static int names_look(const char *what, const char *path, const char *format,
                      struct named *n)
{
    unsigned char head[HEAD] = {0};
    memset(n, 0, sizeof(*n));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);
    int err = got < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (err)
        return fail(err, "%s: %s: %s", what, path, strerror(-err));
    if (word_among(format, "qcow2 qcow"))
        return names_qcow(what, path, head, n);
    if (!strcmp(format, "qed"))
        n->untold = head[16] & 1; /* QED_F_BACKING_FILE */
    else
        n->untold = !word_among(format, "raw vdi vpc vhdx parallels");
    return 0;
}

/* As qemu-storage-daemon finds it: beside the image `now`, which it becomes. */
static int names_beside(char now[PATH_MAX], const char *name)
{
    char *slash = strrchr(now, '/');
    size_t dir = *name == '/' || !slash ? 0 : (size_t)(slash - now) + 1;
    if (dir + strlen(name) >= PATH_MAX || name[strcspn(name, ":/")] == ':')
        return -EINVAL;
    strcpy(now + dir, name);
    return 0;
}

int names_check(const char *what, const char *path, const char *format,
                bool trusted)
{
    struct named n;
    char now[PATH_MAX], kind[16], is[PATH_MAX];
    snprintf(now, sizeof(now), "%s", path);
    snprintf(kind, sizeof(kind), "%s", format);
    for (int i = 0; i < CHAIN_MAX; i++) {
        int err = names_look(what, now, kind, &n);
        if (err || trusted || (!n.untold && !*n.file))
            return err;
        if (n.untold || !*n.format)
            return fail(-EPERM,
                        "%s: %s may name other files, or a format, that "
                        "cannot be told; backing=on has them opened",
                        what, now);
        strcpy(is, now);
        if (names_beside(now, n.file) || !helper_allows(now))
            return fail(-EPERM,
                        "%s: %s has the backing file %s, which lies below no "
                        "-allow-path DIR; backing=on has it opened all the "
                        "same",
                        what, is, n.file);
        strcpy(kind, n.format);
    }
    return fail(-EPERM, "%s: %s: more than %d files behind it", what, path,
                CHAIN_MAX);
}
