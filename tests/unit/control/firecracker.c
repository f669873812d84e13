/* SPDX-License-Identifier: MIT */
/* Firecracker's API before the guest runs, its config file and its command
 * line, without a machine: what is taken, what is refused, what becomes of it
 * at the start. */
#include "control/firecracker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "block/list.h"
#include "control/plan.h"
#include "devices/list.h"
#include "host/helper.h"
#include "net/list.h"
#include "tests/unit/fake.h"

static const struct device_class *const devices[] = {DEVICE_ROWS NULL};
static const struct netdev_class *const nets[] = {NETDEV_ROWS NULL};
static const struct blockdev_class *const disks[] = {BLOCKDEV_ROWS NULL};
static const struct plan_classes classes = {
    .devices = devices,
    .netdevs = nets,
    .hubport = &hubport_class,
    .blockdevs = disks,
    .served = &vhost_user_blk_class,
};

static struct {
    char dir[64], cwd[256];
    bool deprecated; /* said the last answer */
    struct config config;
    struct fcargs args;
    int fd;
} fc;

static void make_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* argv from the words of `line`. */
static int parse(const char *line)
{
    static char text[512];
    char *argv[32] = {NULL}, *save = NULL;
    int n = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *w = strtok_r(text, " ", &save); w && n < 31;
         w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    return fcargs_parse(&fc.config, &fc.args, n, argv);
}

/* A process that serves its API, in a directory with a kernel and a disk. */
static void begin(const char *line)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memset(&fc, 0, sizeof(fc));
    strcpy(fc.dir, "/tmp/vmm-fc-XXXXXX");
    REQUIRE(getcwd(fc.cwd, sizeof(fc.cwd)) && mkdtemp(fc.dir));
    REQUIRE_EQ(chdir(fc.dir), 0);
    make_file("kernel", "k");
    make_file("disk", "d");
    REQUIRE_EQ(parse(line), 0);
    fc.fd = -1;
    REQUIRE_EQ(firecracker_begin(&fc.config, &fc.args), 0);
    if (fc.args.no_api)
        return;
    strcpy(at.sun_path, "s");
    fc.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE_EQ(connect(fc.fd, (void *)&at, sizeof(at)), 0);
}

static void end(void)
{
    static const char *const files[] = {"kernel", "disk", "s",
                                        "c.json", "m",    "log"};
    if (fc.fd >= 0)
        close(fc.fd);
    firecracker_end();
    plan_free();
    helper_end();
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        unlink(files[i]);
    CHECK_EQ(chdir(fc.cwd), 0);
    CHECK_EQ(rmdir(fc.dir), 0);
}

static void turn(void)
{
    while (loop_poll(fc.config.vm.loop, 0))
        continue;
}

/* What has come: "204", or "200 BODY". */
static const char *answer(void)
{
    static char got[1 << 16], out[1 << 16];
    turn();
    ssize_t len = recv(fc.fd, got, sizeof(got) - 1, MSG_DONTWAIT);
    if (len < 0)
        return "nothing";
    REQUIRE(len > 20);
    got[len] = '\0';
    const char *body = strstr(got, "\r\n\r\n");
    REQUIRE(body != NULL);
    CHECK_HAS(got, "\r\nServer: Firecracker API\r\n");
    fc.deprecated = strstr(got, "\r\nDeprecation: true\r\n");
    snprintf(out, sizeof(out), "%.3s%s%s", got + 9, body[4] ? " " : "",
             body + 4);
    return out;
}

static const char *ask(const char *method, const char *path, const char *body)
{
    static char text[1 << 16];
    int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n", method, path);
    if (body)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "Content-Length: %zu\r\n", strlen(body));
    n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n%s",
                  body ? body : "");
    CHECK_EQ(send(fc.fd, text, (size_t)n, 0), n);
    return answer();
}

#define PUT(path, body) CHECK_STR(ask("PUT", path, body), "204")
#define KERNEL "{\"kernel_image_path\":\"kernel\"}"
#define START "{\"action_type\":\"InstanceStart\"}"

/* What it would do: everything but to open it. */
static void plans(void)
{
    struct needs needs = {0};
    REQUIRE_EQ(firecracker_wait(), 0);
    int err = plan_check(&classes, &needs);
    if (!CHECK_EQ(err, 0))
        FAIL("%s", test_log());
}

TEST(firecracker_says_what_it_is_before_anything_is_told)
{
    begin("fc --api-sock s --id web-1");
    CHECK_STR(ask("GET", "/", NULL),
              "200 {\"app_name\":\"Firecracker\",\"id\":\"web-1\","
              "\"state\":\"Not started\",\"vmm_version\":\"" FC_VERSION "\"}");
    CHECK_STR(ask("GET", "/version", NULL),
              "200 {\"firecracker_version\":\"" FC_VERSION "\"}");
    CHECK_STR(ask("GET", "/machine-config", NULL),
              "200 {\"huge_pages\":\"None\",\"mem_size_mib\":128,"
              "\"smt\":false,\"track_dirty_pages\":false,\"vcpu_count\":1}");
    CHECK_HAS(ask("GET", "/vm/config", NULL), "\"drives\":[]");
    CHECK_STR(ask("GET", "/mmds", NULL), "200 {}");
    CHECK_HAS(ask("GET", "/balloon", NULL), "400 ");
    end();
}

TEST(firecracker_start_makes_a_plan_of_all_that_was_put)
{
    begin("fc --api-sock=s");
    PUT("/machine-config", "{\"vcpu_count\":4,\"mem_size_mib\":64,"
                           "\"smt\":true,\"cpu_template\":\"T2\"}");
    CHECK_HAS(test_log(), "cpu_template changes nothing");
    CHECK_STR(ask("PATCH", "/machine-config", "{\"mem_size_mib\":96}"), "204");
    PUT("/boot-source",
        "{\"kernel_image_path\":\"kernel\",\"initrd_path\":null,"
        "\"boot_args\":\"a pci=off  pci=offx b pci=off\"}");
    PUT("/drives/data", "{\"drive_id\":\"data\",\"is_root_device\":false,"
                        "\"path_on_host\":\"disk\",\"is_read_only\":true}");
    PUT("/drives/root", "{\"drive_id\":\"root\",\"is_root_device\":true,"
                        "\"path_on_host\":\"disk\",\"is_read_only\":true,"
                        "\"partuuid\":\"0eaa91a0-01\","
                        "\"cache_type\":\"Writeback\"}");
    PUT("/vsock", "{\"guest_cid\":3,\"uds_path\":\"v\",\"vsock_id\":\"1\"}");
    PUT("/balloon", "{\"amount_mib\":10,\"deflate_on_oom\":true}");
    PUT("/entropy", "{\"rate_limiter\":{\"bandwidth\":{\"size\":1024,"
                    "\"refill_time\":100}}}");
    CHECK_STR(ask("PUT", "/actions", START), "nothing");
    plans();
    CHECK_EQ(fc.config.vm.ram, 96u << 20);
    CHECK_EQ(fc.config.vm.cpus, 4);
    CHECK_EQ(fc.config.vm.threads, 2);
    CHECK(fc.config.vm.no_reboot);
    CHECK_STR(fc.config.boot.kernel, "kernel");
    CHECK(!fc.config.boot.initrd);
    CHECK_STR(fc.config.boot.cmdline,
              "a pci=offx b root=PARTUUID=0eaa91a0-01 ro");
    CHECK(blockdev_find("root") && blockdev_find("root")->readonly);
    CHECK_EQ(blockdev_find("root")->cache, BLK_WRITEBACK);
    CHECK_EQ(blockdev_find("data")->cache, BLK_UNSAFE);
    firecracker_runs();
    CHECK_STR(answer(), "204");
    end();
}

TEST(firecracker_start_that_fails_can_be_asked_for_again)
{
    int code = 1;
    begin("fc --api-sock s");
    CHECK_HAS(ask("PUT", "/actions", START), "without kernel configuration");
    PUT("/boot-source", KERNEL);
    PUT("/balloon", "{\"amount_mib\":200,\"deflate_on_oom\":true}");
    ask("PUT", "/actions", START);
    CHECK_EQ(firecracker_wait(), -EINVAL);
    plan_free();
    CHECK(firecracker_again(&code));
    CHECK_HAS(answer(), "400 {\"fault_message\":\"Start microvm error: "
                        "balloon: amount_mib: 200: ");
    PUT("/balloon", "{\"amount_mib\":20,\"deflate_on_oom\":true}");
    for (int i = 0; i < 2; i++) {
        CHECK_STR(ask("PUT", "/actions", START), "nothing");
        plans();
        CHECK_HAS(fc.config.boot.cmdline, "reboot=k panic=1 ");
        fail(-EBUSY, "the tap is somebody's");
        plan_free();
        CHECK(firecracker_again(&code));
        CHECK_HAS(answer(), "Start microvm error: the tap is somebody's");
    }
    end();
}

TEST(firecracker_that_ran_ends_with_its_own_exit_codes)
{
    static const int codes[][2] = {{STOP_RESET, 0},
                                   {STOP_CRASH, 0},
                                   {STOP_POWEROFF, 0},
                                   {STOP_PANIC, 5},
                                   {STOP_FAULT, 6}};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        int code = codes[i][0];
        begin("fc --api-sock s");
        PUT("/boot-source", KERNEL);
        ask("PUT", "/actions", START);
        plans();
        firecracker_runs();
        CHECK(!firecracker_again(&code));
        CHECK_EQ(code, codes[i][1]);
        end();
    }
}

TEST(firecracker_refuses_with_400_and_a_reason_and_keeps_nothing)
{
    static const char *const bad[][4] = {
        {"GET", "/vm/conf", NULL, "Invalid request method and/or path: GET vm"},
        {"GET", "/", "{}", "GET request cannot have a body."},
        {"PUT", "/vsock", NULL, "Empty PUT request."},
        {"PATCH", "/drives/x", NULL, "Empty PATCH request."},
        {"PUT", "/vsock", "{", "JSON, byte 2"},
        {"PUT", "/vsock", "[]", "an object, {...}, belongs here"},
        {"PUT", "/vsock", "{}", "missing field `guest_cid`"},
        {"PUT", "/vsock", "{\"guest_cid\":2,\"uds_path\":\"v\"}", "guest_cid"},
        {"PUT", "/vsock", "{\"guest_cid\":3,\"uds_path\":\"disk\"}", " in use"},
        {"PUT", "/machine-config", "{\"vcpu_count\":1}",
         "missing field `mem_size_mib`"},
        {"PUT", "/machine-config", "{\"vcpu_count\":33,\"mem_size_mib\":64}",
         "vcpu_count"},
        {"PUT", "/machine-config", "{\"vcpu_count\":1,\"mem_size_mib\":1}",
         "mem_size_mib"},
        {"PUT", "/machine-config",
         "{\"vcpu_count\":3,\"mem_size_mib\":64,\"smt\":true}", "even"},
        {"PUT", "/machine-config",
         "{\"vcpu_count\":1,\"mem_size_mib\":65,\"huge_pages\":\"2M\"}",
         "even"},
        {"PATCH", "/machine-config", "{\"x\":1}", "\\\"x\\\""},
        {"PUT", "/boot-source", "{\"boot_args\":\"x\"}",
         "missing field `kernel_image_path`"},
        {"PUT", "/boot-source", "{\"kernel_image_path\":\"/nope\"}",
         "/nope: No such file"},
        {"PUT", "/boot-source", "{\"kernel_image_path\":\"/dev/null\"}",
         "is no file"},
        {"PUT", "/boot-source",
         "{\"kernel_image_path\":\"kernel\",\"initrd_path\":\"/nope\"}",
         "initrd_path: /nope"},
        {"PUT", "/drives/", "{\"drive_id\":\"\",\"is_root_device\":false}",
         "The ID cannot be empty."},
        {"PUT", "/drives/a-b",
         "{\"drive_id\":\"a-b\",\"is_root_device\":false}",
         "can only contain alphanumeric characters and underscores."},
        {"PUT", "/drives/a", "{\"drive_id\":\"b\",\"is_root_device\":false}",
         "The id from the path does not match the id from the body!"},
        {"PUT", "/drives/a", "{\"drive_id\":\"a\"}",
         "missing field `is_root_device`"},
        {"PUT", "/drives/a", "{\"drive_id\":\"a\",\"is_root_device\":false}",
         "missing field `path_on_host`"},
        {"PUT", "/drives/a",
         "{\"drive_id\":\"a\",\"is_root_device\":false,\"socket\":\"v\"}",
         "vhost-user-blk-pci"},
        {"PUT", "/drives/a",
         "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":"
         "\"disk\"}",
         "A root block device already exists!"},
        {"PUT", "/network-interfaces/n",
         "{\"iface_id\":\"n\",\"host_dev_name\":\"abcdefghijklmnop\"}",
         "Open tap device failed: abcdefghijklmnop"},
        {"PUT", "/network-interfaces/n",
         "{\"iface_id\":\"n\",\"host_dev_name\":\"/nope/tap\"}",
         "Open tap device failed: /nope/tap"},
        {"PUT", "/network-interfaces/n",
         "{\"iface_id\":\"n\",\"host_dev_name\":\"/dev/zero\",\"guest_mac\":"
         "\"AA:FC:00:00:00:01\"}",
         "The MAC address is already in use: AA:FC:00:00:00:01"},
        {"PUT", "/network-interfaces/n",
         "{\"iface_id\":\"n\",\"host_dev_name\":\"/dev/zero\",\"mtu\":67}",
         "mtu"},
        {"PUT", "/balloon",
         "{\"amount_mib\":1,\"deflate_on_oom\":true,"
         "\"free_page_hinting\":true}",
         "free_page_reporting"},
        {"PUT", "/entropy",
         "{\"rate_limiter\":{\"ops\":{\"size\":1,\"refill_time\":1}}}",
         "bandwidth"},
        {"PUT", "/logger", "{\"level\":\"loud\"}", "level: loud"},
        {"PUT", "/logger", "{\"log_path\":\"/nope/log\"}", "/nope/log"},
        {"PUT", "/metrics", "{}", "missing field `metrics_path`"},
        {"PUT", "/metrics", "{\"metrics_path\":\"/nope/m\"}", "/nope/m"},
        {"PUT", "/serial", "{\"serial_out_path\":\"a,b\"}", "comma"},
        {"PUT", "/actions", "{}", "missing field `action_type`"},
        {"PUT", "/actions", "{\"action_type\":\"Halt\"}", "unknown variant"},
        {"PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}",
         "not supported before starting the microVM."},
        {"PATCH", "/vm", "{\"state\":\"Paused\"}",
         "not supported before starting the microVM."},
        {"PATCH", "/drives/root", "{\"drive_id\":\"root\"}",
         "not supported before starting the microVM."},
        {"GET", "/balloon/statistics", NULL,
         "not supported before starting the microVM."},
        {"PATCH", "/mmds", "{\"a\":1}", "not initialized"},
        {"PUT", "/mmds", "[1]", "an object"},
        {"PUT", "/pmem/p", "{\"id\":\"p\"}", "no persistent memory"},
        {"PUT", "/hotplug/memory", "{}", "no memory is plugged in"},
        {"PUT", "/cpu-config", "{}", "the host's processor"},
        {"PUT", "/mmds/config", "{\"network_interfaces\":[]}", "no guest can"},
        {"PUT", "/snapshot/create", "{}",
         "not supported before starting the microVM."},
        {"PUT", "/snapshot/load", "{}", "missing field `snapshot_path`"},
        {"PUT", "/snapshot/load",
         "{\"snapshot_path\":\"x\",\"mem_file_path\":\"y\"}",
         "Load snapshot error: Loading a microVM snapshot not allowed after "
         "configuring boot-specific resources."},
        {"PATCH", "/balloon/hinting/start", "{}", "free_page_reporting"},
        {"DELETE", "/drives/root", NULL, "devices are there before the guest"},
    };
    char before[4096];
    begin("fc --api-sock s");
    PUT("/drives/root", "{\"drive_id\":\"root\",\"is_root_device\":true,"
                        "\"path_on_host\":\"disk\"}");
    PUT("/network-interfaces/e", "{\"iface_id\":\"e\",\"host_dev_name\":"
                                 "\"/dev/null\",\"guest_mac\":"
                                 "\"aa:fc:00:00:00:01\"}");
    strcpy(before, ask("GET", "/vm/config", NULL));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *got = ask(bad[i][0], bad[i][1], bad[i][2]);
        CHECK_HAS(got, "400 {\"fault_message\":\"");
        CHECK_HAS(got, bad[i][3]);
    }
    CHECK_STR(ask("GET", "/vm/config", NULL), before);
    end();
}

TEST(firecracker_what_is_deprecated_is_answered_with_a_header)
{
    static const struct {
        const char *method, *path, *body;
        bool deprecated;
    } asked[] = {
        {"PUT", "/machine-config",
         "{\"vcpu_count\":1,\"mem_size_mib\":64,\"cpu_template\":\"None\"}",
         true},
        {"PUT", "/machine-config", "{\"vcpu_count\":1,\"mem_size_mib\":64}",
         false},
        {"PATCH", "/machine-config", "{\"cpu_template\":\"T2\"}", true},
        {"PATCH", "/machine-config", "{\"cpu_template\":null}", false},
        {"PUT", "/vsock",
         "{\"guest_cid\":3,\"uds_path\":\"v\",\"vsock_id\":\"1\"}", true},
        {"PUT", "/vsock", "{\"guest_cid\":3,\"uds_path\":\"v\"}", false},
        {"PUT", "/mmds", "{\"vsock_id\":\"1\"}", false},
        {"GET", "/machine-config", NULL, false},
        {"PUT", "/snapshot/load",
         "{\"snapshot_path\":\"x\",\"mem_file_path\":\"y\"}", true},
        {"PUT", "/snapshot/load",
         "{\"snapshot_path\":\"x\",\"enable_diff_snapshots\":true}", true},
        {"PUT", "/snapshot/load",
         "{\"snapshot_path\":\"x\",\"enable_diff_snapshots\":false}", false},
        {"PUT", "/snapshot/load", "[\"mem_file_path\"]", false},
    };
    begin("fc --api-sock s");
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ask(asked[i].method, asked[i].path, asked[i].body);
        if (!CHECK_EQ(fc.deprecated, asked[i].deprecated))
            FAIL("%s %s", asked[i].path, asked[i].body);
    }
    end();
}

TEST(firecracker_shows_what_it_was_told_as_a_config_file_says_it)
{
    begin("fc --api-sock s");
    PUT("/boot-source", " { \"kernel_image_path\" : \"ke\\u0072nel\",\n"
                        "\"boot_args\":null } ");
    PUT("/drives/a", "{\"drive_id\":\"a\",\"is_root_device\":false,"
                     "\"path_on_host\":\"disk\"}");
    PUT("/drives/a", "{\"drive_id\":\"a\",\"is_root_device\":true,"
                     "\"path_on_host\":\"disk\",\"io_engine\":\"Async\"}");
    PUT("/network-interfaces/e",
        "{\"iface_id\":\"e\",\"host_dev_name\":\"/dev/null\","
        "\"guest_mac\":null,\"rx_rate_limiter\":{\"ops\":{\"size\":10,"
        "\"refill_time\":100}}}");
    CHECK_STR(
        ask("GET", "/vm/config", NULL),
        "200 {\"machine-config\":{\"huge_pages\":\"None\",\"mem_size_mib\":128,"
        "\"smt\":false,\"track_dirty_pages\":false,\"vcpu_count\":1},"
        "\"boot-source\":{\"kernel_image_path\":\"kernel\"},"
        "\"drives\":[{\"cache_type\":\"Unsafe\",\"drive_id\":\"a\","
        "\"io_engine\":\"Async\",\"is_read_only\":false,\"is_root_device\":"
        "true,\"path_on_host\":\"disk\"}],\"network-interfaces\":["
        "{\"host_dev_name\":\"/dev/null\",\"iface_id\":\"e\","
        "\"rx_rate_limiter\":{\"ops\":{\"refill_time\":100,\"size\":10}}}]}");
    end();
}

TEST(firecracker_keeps_metadata_as_a_store)
{
    begin("fc --api-sock s --mmds-size-limit 64");
    PUT("/mmds", "{\"key\":\"value\",\"in\":{\"a\":1,\"b\":[null]}}");
    CHECK_STR(ask("PATCH", "/mmds", "{\"in\":{\"a\":null,\"c\":{}},\"k\":2}"),
              "204");
    CHECK_STR(ask("GET", "/mmds", NULL),
              "200 {\"in\":{\"b\":[null],\"c\":{}},\"k\":2,\"key\":\"value\"}");
    CHECK_HAS(ask("PATCH", "/mmds",
                  "{\"long\":\"0123456789012345678901234567890123456789\"}"),
              "413 {\"fault_message\":");
    CHECK_HAS(ask("GET", "/mmds", NULL), "\"k\":2");
    PUT("/mmds", "{}");
    CHECK_STR(ask("GET", "/mmds", NULL), "200 {}");
    end();
}

TEST(firecracker_takes_no_more_of_a_body_than_it_was_told_to)
{
    begin("fc --api-sock s --http-api-max-payload-size 20");
    PUT("/entropy", "{}");
    CHECK_HAS(ask("PUT", "/mmds", "{\"a\":\"0123456789\"}   "),
              "--http-api-max-payload-size");
    end();
}

TEST(firecracker_starts_what_a_config_file_says_at_once)
{
    int code = 1;
    begin("fc --api-sock s"); /* a directory to write in */
    make_file("c.json",
              "{\"boot-source\":{\"kernel_image_path\":\"kernel\","
              "\"boot_args\":\"pci=off\"},\"drives\":[{\"drive_id\":\"r\","
              "\"is_root_device\":true,\"path_on_host\":\"disk\"}],"
              "\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":32},"
              "\"vsock\":null,\"pmem\":[],\"unknown\":{\"x\":1}}");
    make_file("m", "{\"a\":1}");
    close(fc.fd);
    firecracker_end();
    unlink("s");
    REQUIRE_EQ(parse("fc --no-api --config-file c.json --metadata m"), 0);
    fc.fd = -1;
    REQUIRE_EQ(firecracker_begin(&fc.config, &fc.args), 0);
    plans();
    CHECK_EQ(fc.config.vm.cpus, 2);
    CHECK_STR(fc.config.boot.cmdline, "root=/dev/vda rw");
    fail(-EBUSY, "no such luck");
    CHECK(!firecracker_again(&code));
    CHECK_HAS(test_log(), "Start microvm error: no such luck");
    end();
}

TEST(firecracker_names_what_is_wrong_in_a_config_file)
{
#define REST "\"boot-source\":{\"kernel_image_path\":\"kernel\"}"
    static const char *const bad[][2] = {
        {"", "JSON, byte 1"},
        {"[]", "an object"},
        {"{" REST "}", "drives must be there"},
        {"{\"drives\":[]}", "boot-source"},
        {"{" REST ",\"drives\":{}}", "drives: a list"},
        {"{" REST ",\"drives\":[{\"drive_id\":\"a\"}]}",
         "missing field `is_root_device`"},
        {"{" REST ",\"drives\":[],\"machine-config\":{\"vcpu_count\":1,"
         "\"mem_size_mib\":64,\"colour\":1}}",
         "colour"},
        {"{" REST ",\"drives\":[],\"cpu-config\":\"file\"}", "cpu-config"},
        {"{" REST ",\"drives\":[],\"pmem\":[{}]}", "pmem: not here"},
        {"{" REST ",\"drives\":[],\"mmds-config\":{}}", "mmds-config"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin("fc --api-sock s");
        CHECK(firecracker_take_config(bad[i][0], strlen(bad[i][0])) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
        end();
    }
}

TEST(firecracker_does_not_take_another_ones_socket)
{
    begin("fc --api-sock s");
    firecracker_end();
    REQUIRE_EQ(parse("fc --api-sock s"), 0);
    CHECK_EQ(firecracker_begin(&fc.config, &fc.args), 1);
    CHECK_HAS(test_log(), "Failed to open the API socket at: s: ");
    end();
}

TEST(firecracker_is_meant_by_its_name_and_three_arguments_alone)
{
    static const struct {
        const char *argv[3];
        bool meant;
    } cases[] = {
        {{"vmm", "-kernel", "x"}, false},
        {{"./vmm", "--id", "x"}, false},
        {{"./vmm", "--api-socket", "x"}, false},
        {{"./vmm", "--api-sock", "x"}, true},
        {{"./vmm", "--api-sock=x", NULL}, true},
        {{"./vmm", "--config-file", "x"}, true},
        {{"./vmm", "--no-api", NULL}, true},
        {{"/usr/bin/firecracker", NULL, NULL}, true},
        {{"firecracker-v1.9", NULL, NULL}, true},
        {{"/firecracker/vmm", NULL, NULL}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *argv[4] = {NULL};
        int n = 0;
        for (; n < 3 && cases[i].argv[n]; n++)
            argv[n] = (char *)(uintptr_t)cases[i].argv[n];
        CHECK_EQ(fcargs_meant(n, argv), cases[i].meant);
    }
}

static void say_version(void)
{
    CHECK_EQ(parse("fc --version"), 1);
}

static void say_format(void)
{
    CHECK_EQ(parse("fc --snapshot-version"), 1);
}

static void say_help(void)
{
    CHECK_EQ(parse("fc --id x --help"), 1);
}

TEST(firecracker_arguments_are_named_where_they_are_wrong)
{
    static const char *const bad[][2] = {
        {"fc --nope", "--nope: there is no such argument"},
        {"fc stray", "stray: no argument"},
        {"fc --id", "--id: needs a value"},
        {"fc --id a_b", "--id a_b: must be"},
        {"fc --no-api", "--no-api: needs --config-file"},
        {"fc --no-api=1", "--no-api: has no value"},
        {"fc --seccomp-filter f", "is built in"},
        {"fc --describe-snapshot /nope", "/nope"},
        {"fc --allow-tap a/b", "-allow-tap a/b"},
        {"fc --start-time-us x", "--start-time-us x: must be a number"},
        {"fc --http-api-max-payload-size 0", "must be a number from 1"},
        {"fc --allow-path /nope", "/nope"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(parse(bad[i][0]), -EINVAL);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    CHECK_EQ(parse("fc --id=a --boot-timer --no-seccomp --enable-pci "
                   "--start-time-us 1 --start-time-cpu-us=2 "
                   "--parent-cpu-time-us 3 --level Debug --module m "
                   "--show-level --show-log-origin --config-file c"),
             0);
    CHECK_STR(fc.args.sock, "/run/firecracker.socket");
    CHECK_STR(test_stdout(say_version), "Firecracker v" FC_VERSION "\n\n");
    CHECK_STR(test_stdout(say_format), "v1.0.0\n");
    CHECK_HAS(test_stdout(say_help), "--http-api-max-payload-size BYTES");
}
