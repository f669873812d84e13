/* SPDX-License-Identifier: MIT */
/* Images of other formats, with a script in qemu-storage-daemon's place: how it
 * is called, and what becomes of one that ends. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/list.h"
#include "devices/list.h"
#include "host/chardev.h"
#include "tests/unit/net/net_test.h"

static char *old_path;

/* It notes its arguments, a line each, and runs `body`. */
static void fake_daemon(const char *body)
{
    char path[4200];
    const char *dir = nt_path("");
    snprintf(path, sizeof(path), "%sqemu-storage-daemon", dir);
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    fprintf(f, "#!/bin/bash\nprintf '%%s\\n' \"$@\" >%sargs\n%s\n", dir, body);
    fclose(f);
    chmod(path, 0755);
    old_path = strdup(getenv("PATH"));
    snprintf(path, sizeof(path), "%s:%s", dir, old_path);
    setenv("PATH", path, 1);
}

static struct machine *begin(void)
{
    struct machine *m = fake_pc(1 << 20);
    m->ram.fd = memfd_create("guest", MFD_CLOEXEC);
    return m;
}

static void end(struct machine *m)
{
    int fd = m->ram.fd;
    m->ram.fd = -1;
    chardev_free();
    blockdev_close_all();
    fake_free(m);
    helper_end();
    close(fd);
    if (old_path)
        setenv("PATH", old_path, 1);
    free(old_path);
    old_path = NULL;
    nt_clean();
}

static int image_new(const char *text)
{
    struct opts o;
    struct blockdev *b;
    REQUIRE_EQ(opts_parse(&o, "-blockdev qcow2", text, NULL), 0);
    return blockdev_new(&image_class, &o, &b);
}

static int disk_new(const char *text, struct device **dev)
{
    struct opts o;
    struct needs needs = {0};
    REQUIRE_EQ(opts_parse(&o, "-device vhost-user-blk-pci", text, NULL), 0);
    return device_new(&vhost_user_blk_class, &o, &needs, dev);
}

/* The image is tried: what it was called with. */
static const char *called(const char *image, const char *disk)
{
    static char args[4096];
    struct machine *m = begin();
    struct device *dev;
    fake_daemon("echo \"qemu-storage-daemon: $1 $2: It is no good\" >&2\n"
                "echo 'Is it?' >&2; exit 1");
    REQUIRE_EQ(image_new(image), 0);
    REQUIRE_EQ(disk_new(disk, &dev), 0);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    CHECK_EQ(device_create(m, dev), -EIO);
    FILE *f = fopen(nt_path("args"), "r");
    REQUIRE(f != NULL);
    args[fread(args, 1, sizeof(args) - 1, f)] = '\0';
    fclose(f);
    end(m);
    return args;
}

TEST(image_is_handed_to_the_daemon)
{
    char path[300], text[700];
    snprintf(path, sizeof(path), "%s", nt_path("a,b"));
    fclose(fopen(path, "w"));
    snprintf(text, sizeof(text), "id=d0,format=qcow2,filename=%.*s,,b",
             (int)strlen(path) - 2, path);
    const char *args = called(text, "drive=d0");
    CHECK_HAS(args, "--blockdev\ndriver=qcow2,node-name=disk,read-only=off,");
    CHECK_HAS(args, ",cache.direct=off,cache.no-flush=off,discard=ignore,");
    CHECK_HAS(args, ",file.driver=file,file.aio=threads,file.locking=auto,");
    CHECK_HAS(args, "/a,,b\n--export\ntype=vhost-user-blk,");
    CHECK_HAS(args, ",writable=on,writethrough=off,num-queues=1,addr.type=fd,"
                    "addr.str=");
    snprintf(text, sizeof(text),
             "d0: %s: qemu-storage-daemon ended at once: It is no good\n",
             path);
    CHECK_HAS(test_log(), text);
    fclose(fopen((mkdir(nt_path(""), 0700), path), "w"));
    snprintf(text, sizeof(text),
             "id=d0,format=vmdk,backing=on,filename=%.*s,,b,read-only=on,"
             "discard=unmap,"
             "cache.direct=on,cache.writeback=off,cache.no-flush=on,"
             "aio=io_uring,locking=off,detect-zeroes=unmap",
             (int)strlen(path) - 2, path);
    args = called(text, "drive=d0,num-queues=3");
    CHECK_HAS(args, "driver=vmdk,node-name=disk,read-only=on,");
    CHECK_HAS(args, ",cache.direct=on,cache.no-flush=on,discard=unmap,"
                    "detect-zeroes=unmap,");
    CHECK_HAS(args, ",file.aio=io_uring,file.locking=off,");
    CHECK_HAS(args, ",writable=off,writethrough=on,num-queues=3,");
}

TEST(image_without_a_daemon)
{
    struct machine *m = begin();
    struct device *dev;
    char text[300];
    snprintf(text, sizeof(text), "id=d0,format=qcow2,filename=%s",
             nt_path("a"));
    fclose(fopen(nt_path("a"), "w"));
    old_path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    REQUIRE_EQ(image_new(text), 0);
    REQUIRE_EQ(disk_new("drive=d0", &dev), 0);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    CHECK_EQ(device_create(m, dev), -ENOENT);
    CHECK_HAS(test_log(), "d0: qemu-storage-daemon is not installed; sudo apt "
                          "install qemu-system-common\n");
    end(m);
}

TEST(image_what_is_wrong_is_said)
{
    struct machine *m = begin();
    struct device *dev;
    fake_daemon("exit 1");
    CHECK_EQ(image_new("id=d,format=qcow2"), -EINVAL);
    CHECK_HAS(test_log(), "filename= is missing");
    CHECK_EQ(image_new("id=d,format=qcow2,filename=/nonexistent/x"), -ENOENT);
    CHECK_HAS(test_log(), "/nonexistent/x: No such file");
    CHECK_EQ(image_new("id=d,format=qcow2,filename=/dev/null"), -EINVAL);
    CHECK_HAS(test_log(), "neither a file nor a block device");
    CHECK_EQ(image_new("id=d,format=qcow2,filename=/etc/passwd,serial=x"),
             -EINVAL);
    CHECK_HAS(test_log(), "serial=x: a disk of format qcow2 has none");
    REQUIRE_EQ(image_new("id=d,format=qcow2,filename=/etc/passwd"), 0);
    CHECK_EQ(disk_new("drive=e", &dev), -EINVAL);
    CHECK_HAS(test_log(), "drive=e: no image of a format of its own");
    CHECK_EQ(disk_new("drive=d,serial=x", &dev), -EINVAL);
    CHECK_HAS(test_log(), "serial=x: such a disk has none");
    REQUIRE_EQ(chardev_add("socket,id=c,path=/nonexistent/x"), 0);
    CHECK_EQ(disk_new("drive=d,chardev=c", &dev), -EINVAL);
    CHECK_HAS(test_log(), "chardev= says another disk");
    REQUIRE_EQ(disk_new("drive=d,write-cache=on,scsi=off,serial=-", &dev), 0);
    CHECK_STR(dev->id, "d");
    struct device *second;
    CHECK_EQ(disk_new("drive=d", &second), -EINVAL);
    CHECK_HAS(test_log(), "drive=d: another disk uses it");
    device_free(dev);
    end(m);
}

/* ------------------------------------------------------ what an image names */

/* A qcow2 image's header: version, incompatible features, the file behind it
 * and that one's format (NULL: it does not say). */
static void write_image(const char *name, unsigned version, unsigned features,
                        const char *behind, const char *format)
{
    unsigned char h[4096] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, (uint8_t)version};
    unsigned char *e = h + (version < 3 ? 72 : 104);
    h[79] = (uint8_t)features;
    h[103] = 104;
    if (format) {
        memcpy(e, "\xe2\x79\x2a\xca\0\0\0", 7);
        e[7] = (uint8_t)strlen(format);
        memcpy(e + 8, format, strlen(format));
    }
    if (behind) {
        h[14] = 2; /* at 512 */
        h[18] = (uint8_t)(strlen(behind) >> 8);
        h[19] = (uint8_t)strlen(behind);
        memcpy(h + 512, behind, strlen(behind));
    }
    FILE *f = fopen(nt_path(name), "w");
    REQUIRE(f != NULL);
    fwrite(h, 1, sizeof(h), f);
    fclose(f);
}

static int names_of(const char *name, const char *format, const char *more)
{
    char text[700];
    blockdev_close_all();
    snprintf(text, sizeof(text), "id=d,format=%s,filename=%s%s", format,
             nt_path(name), more);
    return image_new(text);
}

TEST(image_files_that_it_names_are_not_opened_unasked)
{
    static const struct {
        unsigned version, features;
        const char *behind, *format, *said;
    } row[] = {
        {3, 0, NULL, NULL, NULL},
        {3, 4, NULL, NULL, "keeps its data in another file"},
        {2, 4, NULL, NULL, NULL}, /* version 2 has no such word */
        {3, 0, "/etc/passwd", "raw", "has the backing file /etc/passwd, which"},
        {2, 0, "/etc/passwd", "raw", "has the backing file /etc/passwd, which"},
        {3, 0, "base", "raw", "has the backing file base, which lies below no"},
        {3, 0, "base", NULL, "that cannot be told; backing=on"},
        {3, 0, "json:{}", "raw", "has the backing file json:{}"},
        {3, 0, "nbd://x/y", "raw", "has the backing file nbd://x/y"},
    };
    struct machine *m = begin();
    fake_daemon("exit 1");
    fclose(fopen(nt_path("base"), "w"));
    fclose(fopen(nt_path("json:{}"), "w"));
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        write_image("a", row[i].version, row[i].features, row[i].behind,
                    row[i].format);
        int err = names_of("a", "qcow2", "");
        CHECK_EQ(err, !row[i].said ? 0 : row[i].features ? -EINVAL : -EPERM);
        if (row[i].said)
            CHECK_HAS(test_log(), row[i].said);
        CHECK_EQ(names_of("a", "qcow2", ",backing=on"),
                 row[i].features && err ? -EINVAL : 0);
    }
    CHECK_EQ(names_of("a", "vmdk", ""), -EPERM);
    CHECK_HAS(test_log(), "may name other files");
    CHECK_EQ(names_of("a", "vdi", ""), 0);
    CHECK_EQ(names_of("a", "qed", ""), 0);
    FILE *f = fopen(nt_path("a"), "r+");
    fseek(f, 16, SEEK_SET);
    fputc(1, f);
    fclose(f);
    CHECK_EQ(names_of("a", "qed", ""), -EPERM);
    CHECK_EQ(names_of("a", "qed", ",backing=on"), 0);
    end(m);
}

/* Below an -allow-path they may be, all that are behind each other, and where
 * they really are. */
TEST(image_files_that_it_names_lie_below_an_allowed_directory)
{
    struct machine *m = begin();
    char dir[300], link[300];
    fake_daemon("exit 1");
    snprintf(dir, sizeof(dir), "%s", nt_path("in"));
    snprintf(link, sizeof(link), "%s", nt_path("in/link"));
    REQUIRE_EQ(mkdir(dir, 0700), 0);
    REQUIRE_EQ(symlink("/etc/passwd", link), 0);
    fclose(fopen(nt_path("in/raw"), "w"));
    fclose(fopen(nt_path("inside"), "w"));
    REQUIRE_EQ(helper_allow(dir), 0);
    write_image("in/c", 3, 0, "raw", "raw");
    write_image("in/b", 2, 0, "c", "qcow2");
    write_image("a", 3, 0, "in/b", "qcow2");
    CHECK_EQ(names_of("a", "qcow2", ""), 0);
    write_image("a", 3, 0, nt_path("in/b"), "qcow2");
    CHECK_EQ(names_of("a", "qcow2", ""), 0);
    static const char *const bad[] = {"inside", "in/../inside", "in/link",
                                      "in/none"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_image("a", 3, 0, bad[i], "raw");
        CHECK_EQ(names_of("a", "qcow2", ""), -EPERM);
        CHECK_HAS(test_log(), "lies below no -allow-path DIR; backing=on");
    }
    /* one behind it, and itself */
    write_image("in/c", 3, 0, "/etc/passwd", "raw");
    write_image("a", 3, 0, "in/b", "qcow2");
    CHECK_EQ(names_of("a", "qcow2", ""), -EPERM);
    CHECK_HAS(test_log(), "in/c has the backing file /etc/passwd");
    write_image("in/c", 3, 4, NULL, NULL);
    CHECK_EQ(names_of("a", "qcow2", ""), -EINVAL);
    write_image("in/c", 3, 0, "c", "qcow2");
    CHECK_EQ(names_of("a", "qcow2", ""), -EPERM);
    CHECK_HAS(test_log(), "more than 16 files behind it");
    end(m);
}
