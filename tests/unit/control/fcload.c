/* SPDX-License-Identifier: MIT */
/* PUT /snapshot/load: what a request may say, what a state file may say of a
 * machine, and who decides what is opened. */
#include "control/fcload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/restore.h"
#include "host/helper.h"
#include "machine/saved.h"
#include "tests/unit/test.h"

#define MEM "\"snapshot_path\":\"/tmp/s\",\"mem_file_path\":\"/tmp/m\""

static void done(void)
{
    fcload_forget();
    restore_end();
}

/* A state file with this in it of what the API was told. */
static void make_state(const char *path, const char *config)
{
    const struct saved s = {
        .ram = 16 << 20, .cpus = 1, .threads = 1, .package = 1};
    struct parts p = {0};
    const struct text t = {.p = (char *)(uintptr_t)config,
                           .n = config ? strlen(config) : 0};
    saved_put(&s, &p);
    if (config)
        fcload_put(&p, &t);
    REQUIRE_EQ(parts_end(&p), 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, p.p, p.n), p.n);
    close(fd);
    parts_free(&p);
}

/* What PUT says and the file says together, or the error. */
static int opens(const char *config, const char *body, struct text *out)
{
    char path[] = "/tmp/vmm-fcload-XXXXXX", text[512];
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    make_state(path, config);
    snprintf(text, sizeof(text),
             "{\"snapshot_path\":\"%s\",\"mem_file_path\":\"m\"%s}", path,
             body);
    int err = fcload_read(text);
    if (!err)
        err = fcload_open(out);
    unlink(path);
    return err;
}

static const struct fcpart *part(const char *path)
{
    const struct fcpart *p = parts;
    while (strcmp(p->path, path) != 0)
        p++;
    return p;
}

/* One of the file's, as it will be; and may it be opened? */
static int allows(const char *path, const char *id, const char *json,
                  const char *becomes)
{
    static struct item it;
    it = (struct item){.part = part(path)};
    snprintf(it.id, sizeof(it.id), "%s", id);
    fcload_item(it.part, json, strlen(json), &it.json);
    CHECK_STR(it.json.p, becomes ? becomes : json);
    int err = item_read(&it);
    if (!err)
        err = fcload_allows(&it);
    opts_free(&it.opts);
    text_free(&it.json);
    return err;
}

TEST(fcload_says_what_a_request_lacks_or_has_too_much)
{
    static const char *const bad[][2] = {
        {"[]", "an object"},
        {"{}", "missing field `snapshot_path`"},
        {"{\"mem_file_path\":\"m\"}", "missing field `snapshot_path`"},
        {"{\"snapshot_path\":\"s\"}",
         "missing field: either `mem_backend` or `mem_file_path` is required"},
        {"{" MEM ",\"mem_backend\":{\"backend_type\":\"File\","
         "\"backend_path\":\"m\"}}",
         "too many fields: either `mem_backend` or `mem_file_path` "
         "exclusively is required"},
        {"{\"snapshot_path\":\"s\",\"mem_backend\":{\"backend_type\":\"File\"}"
         "}",
         "missing field `backend_path`"},
        {"{\"snapshot_path\":\"s\",\"mem_backend\":{\"backend_path\":\"m\"}}",
         "missing field `backend_type`"},
        {"{\"snapshot_path\":\"s\",\"mem_backend\":{\"backend_type\":\"Tape\","
         "\"backend_path\":\"m\"}}",
         "backend_type"},
        {"{" MEM ",\"colour\":\"red\"}", "colour"},
        {"{" MEM ",\"resume_vm\":7}", "resume_vm"},
        {"{" MEM ",\"huge_pages\":\"3M\"}", "huge_pages"},
        {"{" MEM ",\"vsock_override\":{}}", "missing field `uds_path`"},
        {"{" MEM ",\"network_overrides\":{}}", "a list"},
        {"{" MEM ",\"network_overrides\":[7]}", "missing field `iface_id`"},
        {"{" MEM ",\"network_overrides\":[{\"iface_id\":\"e\"}]}",
         "missing field `host_dev_name`"},
        {"{" MEM ",\"drive_overrides\":[{\"drive_id\":\"d\","
         "\"path_on_host\":7}]}",
         "missing field `path_on_host`"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(fcload_read(bad[i][0]), -EINVAL);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    CHECK_EQ(fcload_read("{" MEM ",\"network_overrides\":null,"
                         "\"vsock_override\":null,\"mem_backend\":null,"
                         "\"enable_diff_snapshots\":true}"),
             0);
    done();
}

TEST(fcload_takes_what_the_state_file_keeps_and_it_may_be_anybodys)
{
    static const char *const bad[][2] = {
        {NULL, "that this API did not make"},
        {"{\"drives\":", "JSON"},
        {"", "JSON"},
    };
    struct text config = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(opens(bad[i][0], "", &config), -EINVAL);
        CHECK_HAS(test_log(), bad[i][1]);
        done();
    }
    text_free(&config);
    REQUIRE_EQ(opens("{ \"drives\" : [] }", "", &config), 0);
    CHECK_STR(config.p, "{\"drives\":[]}");
    text_free(&config);
    done();
    CHECK_EQ(fcload_read("{\"snapshot_path\":\"/nope\",\"mem_file_path\":"
                         "\"m\"}"),
             0);
    CHECK_EQ(fcload_open(&config), -ENOENT);
    CHECK_HAS(test_log(), "/nope");
    done();
    CHECK(fcload_keeps(part("/drives/")) && fcload_keeps(part("/vsock")) &&
          !fcload_keeps(part("/boot-source")) &&
          !fcload_keeps(part("/logger")) && !fcload_keeps(part("/serial")));
}

TEST(fcload_opens_only_what_this_start_has_named)
{
    static const char drive[] = "{\"drive_id\":\"d\",\"path_on_host\":"
                                "\"/bin/sh\"}";
    static const char nic[] = "{\"iface_id\":\"e\",\"host_dev_name\":\"tap0\"}";
    static const char vsock[] = "{\"guest_cid\":3,\"uds_path\":\"/bin/v\"}";
    REQUIRE_EQ(fcload_read("{" MEM "}"), 0);
    CHECK_EQ(allows("/drives/", "d", drive, NULL), -EACCES);
    CHECK_HAS(test_log(), "/bin/sh: only the state file names it; "
                          "drive_overrides, or start with --allow-path DIR");
    CHECK_EQ(allows("/network-interfaces/", "e", nic, NULL), -EACCES);
    CHECK_HAS(test_log(), "tap0: only the state file names it; "
                          "network_overrides, or start with --allow-tap NAME");
    CHECK_EQ(allows("/network-interfaces/", "e",
                    "{\"iface_id\":\"e\",\"host_dev_name\":\"/dev/tap3\"}",
                    NULL),
             -EACCES);
    CHECK_EQ(allows("/vsock", "", vsock, NULL), -EACCES);
    CHECK_HAS(test_log(), "vsock_override, or start with --allow-path DIR");
    CHECK_EQ(allows("/entropy", "", "{}", NULL), 0);
    CHECK_EQ(allows("/machine-config", "", "{\"mem_size_mib\":64}", NULL), 0);
    CHECK_EQ(helper_allow("/bin"), 0);
    CHECK_EQ(helper_allow_tap("tap*"), 0);
    CHECK_EQ(allows("/drives/", "d", drive, NULL), 0);
    CHECK_EQ(allows("/network-interfaces/", "e", nic, NULL), 0);
    CHECK_EQ(allows("/vsock", "", vsock, NULL), 0);
    CHECK_EQ(allows("/vsock", "", "{\"uds_path\":\"/bin/../etc/v\"}", NULL),
             -EACCES);
    CHECK_EQ(allows("/vsock", "", "{\"uds_path\":\"/v\"}", NULL), -EACCES);
    helper_end();
    done();
}

TEST(fcload_names_of_the_request_take_the_places_of_the_files)
{
    REQUIRE_EQ(fcload_read("{" MEM ",\"huge_pages\":\"2M\",\"vsock_override\":"
                           "{\"uds_path\":\"/w\"},\"network_overrides\":["
                           "{\"iface_id\":\"e\",\"host_dev_name\":\"tap7\"},"
                           "{\"iface_id\":\"f\",\"host_dev_name\":\"tap8\"}],"
                           "\"drive_overrides\":[{\"drive_id\":\"d\","
                           "\"path_on_host\":\"/x\"}]}"),
               0);
    CHECK_EQ(allows("/drives/", "d",
                    "{\"drive_id\":\"d\",\"path_on_host\":\"/bin/sh\"}",
                    "{\"drive_id\":\"d\",\"path_on_host\":\"/x\"}"),
             0);
    CHECK_EQ(allows("/network-interfaces/", "e",
                    "{\"iface_id\":\"e\",\"host_dev_name\":\"tap0\"}",
                    "{\"host_dev_name\":\"tap7\",\"iface_id\":\"e\"}"),
             0);
    CHECK_EQ(allows("/machine-config", "", "{\"mem_size_mib\":64}",
                    "{\"huge_pages\":\"2M\",\"mem_size_mib\":64}"),
             0);
    CHECK_EQ(fcload_check(), -ENOENT);
    CHECK_HAS(test_log(), "Unknown Network Device.");
    CHECK_EQ(allows("/network-interfaces/", "f",
                    "{\"iface_id\":\"f\",\"host_dev_name\":\"tap0\"}",
                    "{\"host_dev_name\":\"tap8\",\"iface_id\":\"f\"}"),
             0);
    CHECK_EQ(fcload_check(), -ENOENT);
    CHECK_HAS(test_log(), "Unknown Vsock Device.");
    CHECK_EQ(
        allows("/vsock", "", "{\"uds_path\":\"/v\"}", "{\"uds_path\":\"/w\"}"),
        0);
    CHECK_EQ(fcload_check(), 0);
    done();
}
