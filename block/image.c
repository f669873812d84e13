/* SPDX-License-Identifier: MIT */
/* -blockdev qcow2 and the like: an image in a format of its own. Its tables are
 * what a guest wrote, so they are not read by this process: qemu-storage-daemon
 * does, one for each image, and serves the disk itself. The helper process
 * starts it (host/program.h), and again when it has died; it ends when this
 * process does. Nothing but the image's name goes to it by the command line.
 * What the image names in turn is looked at before (names.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/list.h"
#include "block/names.h"
#include "host/chardev.h"
#include "host/program.h"

struct image {
    struct blockdev b;
    const char *format, *path;
    uint8_t aio, locking, auto_read_only, detect_zeroes, backing;
    struct program program;
    char *argv[6];
};

static const char *const aio_words[] = {"threads", "native", "io_uring", NULL};
static const char *const zero_words[] = {"off", "on", "unmap", NULL};

static void image_close(struct blockdev *b)
{
    struct image *i = container_of(b, struct image, b);
    if (i->program.argv)
        program_end(&i->program);
    for (unsigned k = 0; k < ARRAY_LEN(i->argv); k++)
        free(i->argv[k]);
}

/* "," is ",,"; malloc'ed. */
static char *image_escaped(const char *path)
{
    char *out = malloc(2 * strlen(path) + 1), *p = out;
    for (; out && *path; path++) {
        if (*path == ',')
            *p++ = ',';
        *p++ = *path;
    }
    if (out)
        *p = '\0';
    return out;
}

static const char *image_on(bool on)
{
    return on ? "on" : "off";
}

/* Its command line. The socket's number goes behind it. */
static int image_args(struct image *i, unsigned queues)
{
    static const char *const locks[] = {"off", "on", "auto"};
    const struct blockdev *b = &i->b;
    struct stat st;
    bool device = !stat(i->path, &st) && S_ISBLK(st.st_mode);
    char *path = image_escaped(i->path);
    int n = -1, m = -1;
    if (path)
        n = asprintf(&i->argv[2],
                     "driver=%s,node-name=disk,read-only=%s,auto-read-only=%s,"
                     "cache.direct=%s,cache.no-flush=%s,discard=%s,"
                     "detect-zeroes=%s,file.driver=%s,file.aio=%s,"
                     "file.locking=%s,file.filename=%s",
                     i->format, image_on(b->readonly),
                     image_on(i->auto_read_only), image_on(b->direct),
                     image_on(b->no_flush), b->discard ? "unmap" : "ignore",
                     zero_words[i->detect_zeroes],
                     device ? "host_device" : "file", aio_words[i->aio],
                     locks[i->locking], path);
    free(path);
    if (n >= 0)
        m = asprintf(&i->argv[4],
                     "type=vhost-user-blk,id=disk,node-name=disk,writable=%s,"
                     "writethrough=%s,num-queues=%u,addr.type=fd,addr.str=",
                     image_on(!b->readonly), image_on(!b->writeback), queues);
    i->argv[0] = strdup("qemu-storage-daemon");
    i->argv[1] = strdup("--blockdev");
    i->argv[3] = strdup("--export");
    return m >= 0 && i->argv[0] && i->argv[1] && i->argv[3] ? 0 : -ENOMEM;
}

static int image_serve(struct blockdev *b, unsigned queues, struct peer *peer,
                       struct chardev **out)
{
    struct image *i = container_of(b, struct image, b);
    if (image_args(i, queues))
        return fail(-ENOMEM, "%s: out of memory", b->opts.what);
    i->program = (struct program){.id = b->id,
                                  .package = "qemu-system-common",
                                  .argv = i->argv,
                                  .listens = true,
                                  .forever = true,
                                  .about = i->path,
                                  .terse = true};
    int err = program_check(&i->program);
    return err ? err : chardev_of(&i->program, peer, out);
}

static int image_check(struct blockdev *b)
{
    struct image *i = container_of(b, struct image, b);
    const char *what = b->opts.what;
    struct stat st;
    b->serve = image_serve;
    b->close = image_close;
    if (!i->path || !*i->path)
        return fail(-EINVAL, "%s: filename= is missing", what);
    if (b->told_serial)
        return fail(-EINVAL,
                    "%s: serial=%s: a disk of format %s has none; its image "
                    "as format=raw would",
                    what, b->told_serial, i->format);
    if (stat(i->path, &st)) {
        int err = -errno;
        return fail(err, "%s: %s: %s", what, i->path, strerror(-err));
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return fail(-EINVAL, "%s: %s: neither a file nor a block device", what,
                    i->path);
    return names_check(what, i->path, i->format, i->backing);
}

/* The disk does it, as there is nothing here without one. */
static int image_open(struct blockdev *b, struct loop *l)
{
    (void)b;
    (void)l;
    return 0;
}

static const struct field image_fields[] = {
    FIELDS_OF(blockdev_options, "", struct image, b),
    FIELD(TEXT, "format", struct image, format, .arg = "FORMAT",
          .help = "qcow2 qcow qed vmdk vdi vpc vhdx parallels"),
    FIELD(TEXT, "filename", struct image, path, .arg = "FILE",
          .help = "a file, or a block device"),
    FIELD(FLAG, "backing", struct image, backing,
          .help = "files that it names are opened, wherever they are"),
    FIELD(FLAG, "auto-read-only", struct image, auto_read_only,
          .help = "read-only, where it cannot be written to"),
    FIELD(WORD, "aio", struct image, aio, .words = aio_words,
          .help = "who does the transfers"),
    FIELD(FLAG, "locking", struct image, locking, .def = AUTO, .max = AUTO,
          .help = "keep other processes from it"),
    FIELD(WORD, "detect-zeroes", struct image, detect_zeroes,
          .words = zero_words, .help = "as zeroes, not as data"),
    {.help = NULL},
};

const struct blockdev_class image_class = {
    .name = "qcow2",
    .formats = "qcow2 qcow qed vmdk vdi vpc vhdx parallels",
    .help = "an image of this or another format (needs qemu-storage-daemon)",
    .fields = image_fields,
    .size = sizeof(struct image),
    .check = image_check,
    .open = image_open,
};
