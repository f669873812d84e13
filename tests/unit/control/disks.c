/* SPDX-License-Identifier: MIT */
/* -drive, -blockdev and -hda: the blockdevs and disks they become. */
#include "control/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "block/list.h"
#include "devices/list.h"
#include "tests/unit/test.h"

static const struct device_class *const models[] = {DEVICE_ROWS NULL};
static const struct blockdev_class *const blocks[] = {BLOCKDEV_ROWS NULL};
static const struct plan_classes classes = {.devices = models,
                                            .blockdevs = blocks};
static struct asked_list backs, disks;

static void forget(void)
{
    asked_free(&backs);
    asked_free(&disks);
}

static int take(const char *opt, const char *text)
{
    struct opts o;
    opts_init(&o, opt);
    int err = json_looks_like(text)
                  ? json_opts(&o, text, strlen(text))
                  : opts_parse(&o, opt, text, opt[1] == 'b' ? "driver" : NULL);
    return err ? err : disks_take(&classes, opt, &o, &backs, &disks);
}

/* Keys in the order of the alphabet: what was said first is of no account. */
static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *said(const struct asked *a)
{
    static char text[512];
    static char item[32][96];
    const char *sorted[32] = {NULL};
    int n = 0;
    for (int i = 0; i < a->o.n; i++) {
        const char *key = a->o.kv[i].key;
        if (opts_str(&a->o, key, NULL) != a->o.kv[i].val)
            continue; /* said again later */
        snprintf(item[n], sizeof(item[n]), "%s=%s", key, a->o.kv[i].val);
        sorted[n] = item[n];
        n++;
    }
    qsort(sorted, (size_t)n, sizeof(sorted[0]), by_key);
    *text = '\0';
    for (int i = 0; i < n; i++)
        sprintf(text + strlen(text), "%s%s", i ? " " : "", sorted[i]);
    return text;
}

TEST(disks_drive_is_a_blockdev_and_a_disk)
{
    REQUIRE_EQ(take("-drive", "file=/x,,y,format=raw,if=virtio,cache=none,"
                              "aio=native,discard=unmap,readonly=on,serial=S1,"
                              "werror=report,file.locking=off"),
               0);
    REQUIRE_EQ(take("-drive", "file=file:/z,if=none,id=d,cache=writethrough,"
                              "cache.no-flush=on"),
               0);
    CHECK_EQ(disks_tie(&classes, &backs), 0);
    REQUIRE_EQ(backs.n, 2);
    CHECK(backs.at[0]->block == &file_class);
    CHECK_STR(said(backs.at[0]),
              "aio=native cache.direct=on cache.no-flush=off "
              "cache.writeback=on discard=unmap filename=/x,y id=virtio0 "
              "locking=off read-only=on serial=S1");
    CHECK_STR(said(backs.at[1]),
              "cache.direct=off cache.no-flush=on cache.writeback=off "
              "filename=/z format-guessed=on id=d");
    REQUIRE_EQ(disks.n, 1);
    CHECK_STR(disks.at[0]->dev->name, "virtio-blk-pci");
    CHECK_HAS(said(disks.at[0]), "drive=virtio0");
    forget();
}

/* As QEMU counts them: each if= by itself, a drive without a place has the
 * first that is free. */
TEST(disks_stand_in_the_order_of_their_places)
{
    static const char *const want[] = {"ide1", "ide0", "ide2", "virtio0"};
    REQUIRE_EQ(take("-drive", "file=/v,if=virtio"), 0);
    REQUIRE_EQ(take("-drive", "file=/b,index=1"), 0);
    REQUIRE_EQ(take("-drive", "file=/a,index=0"), 0);
    REQUIRE_EQ(take("-drive", "file=/c"), 0);
    REQUIRE_EQ(disks.n, 4);
    CHECK_STR(opts_str(&disks.at[0]->o, "drive", ""), want[0]);
    CHECK_STR(opts_str(&disks.at[1]->o, "drive", ""), want[1]);
    CHECK_STR(opts_str(&disks.at[2]->o, "drive", ""), want[2]);
    CHECK_STR(opts_str(&disks.at[3]->o, "drive", ""), want[3]);
    CHECK_EQ(take("-drive", "file=/d,index=1"), -EINVAL);
    CHECK_HAS(test_log(), "index=1: used twice");
    forget();
}

/* What libvirt 9 writes. */
TEST(disks_blockdev_raw_and_the_file_below_it_are_one)
{
    REQUIRE_EQ(take("-blockdev",
                    "{\"driver\":\"file\",\"filename\":\"/i\",\"node-name\":"
                    "\"libvirt-1-storage\",\"cache\":{\"direct\":true,"
                    "\"no-flush\":false},\"auto-read-only\":true,"
                    "\"discard\":\"unmap\"}"),
               0);
    REQUIRE_EQ(take("-blockdev",
                    "{\"node-name\":\"libvirt-1-format\",\"read-only\":true,"
                    "\"cache\":{\"direct\":true,\"no-flush\":false},"
                    "\"discard\":\"unmap\",\"driver\":\"raw\",\"file\":"
                    "\"libvirt-1-storage\"}"),
               0);
    CHECK_EQ(disks_tie(&classes, &backs), 0);
    REQUIRE_EQ(backs.n, 2);
    CHECK(backs.at[0]->block == NULL);
    CHECK(backs.at[1]->block == &file_class);
    CHECK_STR(said(backs.at[1]),
              "auto-read-only=on cache.direct=on cache.no-flush=off "
              "discard=unmap filename=/i id=libvirt-1-format "
              "node-name=libvirt-1-storage read-only=on");
    forget();
}

/* By that QMP tells those from a -drive, which is a device with a name. */
TEST(disks_each_blockdev_has_a_name_of_its_node)
{
    REQUIRE_EQ(take("-blockdev", "file,node-name=f,filename=/i"), 0);
    CHECK_STR(said(backs.at[0]), "filename=/i id=f node-name=f");
    forget();
    REQUIRE_EQ(take("-blockdev", "raw,node-name=r,file.filename=/i"), 0);
    REQUIRE_EQ(disks_tie(&classes, &backs), 0);
    CHECK_STR(opts_str(&backs.at[0]->o, "node-name", ""), "r");
    forget();
    REQUIRE_EQ(take("-drive", "file=/i,format=raw,id=d,if=none"), 0);
    CHECK_STR(opts_str(&backs.at[0]->o, "node-name", "none"), "none");
    forget();
}

/* Room is given back where both say so; what is inside a raw node does. */
TEST(disks_blockdev_discard_is_what_both_say)
{
    static const struct {
        const char *below, *above, *want;
    } rows[] = {{"", "", "ignore"},
                {",discard=unmap", "", "ignore"},
                {",discard=unmap", ",discard=unmap", "unmap"},
                {"", ",discard=unmap", NULL}};
    char text[128];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(text, sizeof(text), "raw,node-name=r,file=f%s", rows[i].above);
        REQUIRE_EQ(take("-blockdev", text), 0); /* in whatever order */
        snprintf(text, sizeof(text), "file,node-name=f,filename=/i%s",
                 rows[i].below);
        REQUIRE_EQ(take("-blockdev", text), 0);
        CHECK_EQ(disks_tie(&classes, &backs), 0);
        const char *got = opts_str(&backs.at[0]->o, "discard", NULL);
        if (rows[i].want)
            CHECK_STR(got, rows[i].want);
        else
            CHECK(got == NULL); /* the file's own: ignore */
        forget();
    }
    REQUIRE_EQ(take("-blockdev", "raw,node-name=r,discard=unmap,"
                                 "file.driver=host_device,file.filename=/i,"
                                 "file.node-name=f,file.locking=off"),
               0);
    CHECK_EQ(disks_tie(&classes, &backs), 0);
    CHECK_STR(said(backs.at[0]),
              "discard=unmap filename=/i id=r locking=off node-name=f");
    forget();
}

/* An image and the file below it are one, of the class that has its format. */
TEST(disks_images_of_other_formats)
{
    REQUIRE_EQ(take("-drive", "file=/i,format=vmdk,cache=none,if=none,id=d"),
               0);
    CHECK_STR(backs.at[0]->block->name, "qcow2");
    CHECK_STR(said(backs.at[0]), "cache.direct=on cache.no-flush=off "
                                 "cache.writeback=on filename=/i format=vmdk "
                                 "id=d");
    forget();
    REQUIRE_EQ(take("-blockdev", "file,node-name=f,filename=/i,locking=off"),
               0);
    REQUIRE_EQ(take("-blockdev", "{\"driver\":\"qcow2\",\"node-name\":\"q\","
                                 "\"file\":\"f\",\"read-only\":true}"),
               0);
    REQUIRE_EQ(disks_tie(&classes, &backs), 0);
    CHECK_STR(backs.at[1]->block->name, "qcow2");
    CHECK_STR(said(backs.at[1]),
              "discard=ignore filename=/i format=qcow2 id=q locking=off "
              "node-name=f read-only=on");
    CHECK(!backs.at[0]->block);
    forget();
}

TEST(disks_that_cannot_be_are_refused_in_one_line)
{
    static const char *const rows[][3] = {
        {"-drive", "file=nbd:x", "no protocol nbd"},
        {"-drive", "file.driver=null-co,format=qcow2", "lies in a file"},
        {"-drive", "file=/x,driver=cow9", "no such format"},
        {"-drive", "file=/x,format=cow9", "no such format"},
        {"-drive", "file=/x,media=cdrom", "readonly=on"},
        {"-drive", "file=/x,if=scsi", "must be one of ide, virtio, none"},
        {"-drive", "file=/x,cache=fast", "must be one of writeback"},
        {"-drive", "file=/x,werror=stop", "report"},
        {"-drive", "file=/x,snapshot=on", "is kept"},
        {"-blockdev", "qcow2,node-name=q,file=f", "no such node"},
        {"-blockdev", "qcow2,node-name=q,file.driver=null-co", "in a file"},
        {"-blockdev", "nbd,node-name=q", "no such driver"},
        {"-blockdev", "node-name=q", "no driver"},
        {"-blockdev", "raw,node-name=r,file=nobody", "no such node"},
        {"-blockdev", "raw,node-name=r,file.driver=nfs", "no such driver"},
        {"-blockdev", "raw,node-name=r,offset=3,file.filename=/x",
         "no key \"offset\""},
        {"-blockdev",
         "raw,node-name=r,file.driver=null-co,file.a-key-that-is-longer-than-"
         "any-buffer-that-somebody-might-have-thought-of-for-one=1",
         NULL},
        {"-blockdev", "raw,node-name=r,read-only=maybe,file.filename=/x",
         "must be on or off"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        test_log();
        int err = take(rows[i][0], rows[i][1]);
        if (!err)
            err = disks_tie(&classes, &backs);
        if (!rows[i][2]) { /* is its class's to refuse */
            CHECK_EQ(err, 0);
            forget();
            continue;
        }
        CHECK_EQ(err, -EINVAL);
        const char *log = test_log(), *end = strchr(log, '\n');
        CHECK_HAS(log, rows[i][2]);
        CHECK_HAS(log, rows[i][0]);
        CHECK(end && !end[1]);
        forget();
    }
}

/* What a guest may have written there is not believed. */
TEST(disks_image_of_another_format_is_raw_only_if_that_is_said)
{
    char path[] = "/tmp/vmm-disks-XXXXXX", text[128];
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, "QFI\xfb\0\0\0\3", 8), 8);
    close(fd);
    snprintf(text, sizeof(text), "file=%s,if=none", path);
    CHECK_EQ(take("-drive", text), -EINVAL);
    CHECK_HAS(test_log(), "begins like a qcow2 image; format=raw gives");
    forget();
    snprintf(text, sizeof(text), "file=%s,if=none,format=raw", path);
    CHECK_EQ(take("-drive", text), 0);
    forget();
    unlink(path);
}
