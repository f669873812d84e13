/* SPDX-License-Identifier: MIT */
/* QMP and HMP on a fake machine, over a real socket: how messages are found,
 * what each command does and answers, and who is told of what. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/qmp.h"
#include "devices/list.h"
#include "host/chardev.h"
#include "host/helper.h"
#include "tests/unit/fake.h"
#include "tests/unit/fakeblk.h"

static const struct device_class *const devices[] = {DEVICE_ROWS NULL};
static const struct plan_classes known = {.devices = devices};

static struct {
    struct machine *m;
    struct config config;
    struct fake_net *net;
    char path[64], hmp[64];
    bool up;
    int fd;
} q;

static void on_link(void *nic, bool up)
{
    CHECK(nic == &q);
    q.up = up;
}

static int dial(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(at.sun_path, path);
    REQUIRE_EQ(connect(fd, (void *)&at, sizeof(at)), 0);
    fake_run_loop(q.m);
    return fd;
}

/* What came, "closed" at the end of it. */
static const char *hears(int fd)
{
    static char text[1 << 18];
    size_t n = 0;
    ssize_t got;
    for (;;) {
        fake_run_loop(q.m);
        got = recv(fd, text + n, sizeof(text) - 1 - n, MSG_DONTWAIT);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return got || n ? text : "closed";
}

static const char *says(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    return hears(fd);
}

/* Of a command, without arguments unless there are some. */
static const char *ask(const char *name, const char *arguments)
{
    char text[1024];
    snprintf(text, sizeof(text), "{\"execute\":\"%s\"%s%s}", name,
             arguments ? ",\"arguments\":" : "", arguments ? arguments : "");
    return says(q.fd, text);
}

#define OK "{\"return\": {}}\r\n"

static void begin(void)
{
    static char qmp[80], hmp[80];
    memset(&q, 0, sizeof(q));
    q.m = fake_pc(8 << 20);
    q.m->ncpus = 2;
    q.m->name = "web \"1\"";
    REQUIRE_EQ(fake_device(q.m, &acpi_pm_class, "acpi-pm", ""), 0);
    q.net = fake_net_new("n0", 1);
    fake_net_dev(q.net)->link_changed = on_link;
    fake_net_dev(q.net)->nic = &q;
    snprintf(q.path, sizeof(q.path), "/tmp/vmm-qmp-%d", getpid());
    snprintf(q.hmp, sizeof(q.hmp), "/tmp/vmm-hmp-%d", getpid());
    snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", q.path);
    snprintf(hmp, sizeof(hmp), "unix:%s,server,nowait", q.hmp);
    REQUIRE_EQ(monitor_qmp(qmp), 0);
    REQUIRE_EQ(monitor_hmp(hmp), 0);
    REQUIRE_EQ(monitor_check(), 0);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    REQUIRE_EQ(helper_watch(q.m->loop), 0);
    REQUIRE_EQ(monitor_begin(q.m, &q.config, &known), 0);
    q.fd = dial(q.path);
    CHECK_HAS(hears(q.fd), "{\"QMP\": {\"version\": {\"qemu\": ");
}

static void talks(void)
{
    begin();
    CHECK_STR(ask("qmp_capabilities", NULL), OK);
}

static void end(void)
{
    monitor_end();
    netdev_close_all();
    blockdev_close_all();
    chardev_free();
    helper_end(); /* removes the sockets */
    CHECK_EQ(access(q.path, F_OK), -1);
    fake_free(q.m);
}

TEST(qmp_sockets_are_for_their_maker_alone)
{
    struct stat st;
    begin();
    REQUIRE_EQ(stat(q.path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    end();
}

TEST(qmp_nothing_goes_before_capabilities)
{
    begin();
    CHECK_HAS(ask("stop", NULL),
              "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": "
              "\"Expecting capabilities negotiation with");
    machine_pause(q.m); /* nobody is told */
    CHECK_HAS(ask("qmp_capabilities", "{\"enable\":[\"oob\"]}"),
              "Capability oob is not available");
    CHECK_STR(ask("qmp_capabilities", "{\"enable\":[]}"), OK);
    CHECK_HAS(ask("qmp_capabilities", NULL), "already complete");
    end();
}

TEST(qmp_messages_end_where_their_brackets_do)
{
    static const char one[] =
        " {\"execute\" : \"query-name\",\n \"id\": \"a}\\\"{\"}\r\n";
    static const char answer[] =
        "{\"return\": {\"name\": \"web \\\"1\\\"\"}, \"id\": \"a}\\\"{\"}\r\n";
    talks();
    fake_set_wall(7);
    CHECK_STR(says(q.fd, one), answer);
    for (const char *p = one; *p; p++) { /* in pieces */
        char c[2] = {*p, '\0'};
        CHECK_STR(says(q.fd, c), *p == '}' && p[1] == '\r' ? answer : "");
    }
    CHECK_STR(says(q.fd, "{\"execute\":\"stop\",\"id\":[1,null]}{\"execute\":"
                         "\"query-kvm\",\"id\":-2.5e3}"),
              "{\"timestamp\": {\"seconds\": 7, \"microseconds\": 0}, "
              "\"event\": \"STOP\"}\r\n"
              "{\"return\": {}, \"id\": [1,null]}\r\n"
              "{\"return\": {\"enabled\": true, \"present\": true}, "
              "\"id\": -2.5e3}\r\n");
    end();
}

TEST(qmp_what_is_no_message_is_said_and_passed_over)
{
    talks();
    CHECK_HAS(says(q.fd, "cont\n"), "\"JSON parse error, an object");
    CHECK_HAS(says(q.fd, "{\"execute\":}"), "\"JSON parse error: JSON, byte");
    CHECK_HAS(says(q.fd, "{\"execute\":\"x\"]"), "JSON parse error");
    CHECK_HAS(says(q.fd, "{}"), "lacks member 'execute'");
    CHECK_HAS(says(q.fd, "{\"execute\":\"stop\",\"control\":{\"a\":1}}"),
              "QMP input member 'control.a' is unexpected");
    CHECK_HAS(says(q.fd, "{\"execute\":\"stop\",\"id\":{\"a\":x}}"),
              "JSON parse error");
    CHECK_HAS(ask("stop", "{\"now\":true}"), "now");
    CHECK(!q.m->paused);
    CHECK_HAS(ask("nope", NULL), "{\"error\": {\"class\": \"CommandNotFound\", "
                                 "\"desc\": \"The command nope has not");
    CHECK_HAS(ask("migrate", "{\"uri\":\"x\"}"), "not moved over QMP");
    CHECK_HAS(ask("migrate-set-parameters", NULL), "not moved over QMP");
    CHECK_HAS(ask("device_add", NULL), "no hot-plug");
    CHECK_HAS(ask("stop", NULL), "\"STOP\"}\r\n" OK);
    end();
}

/* A byte at a time, too: each would be an answer. */
TEST(qmp_junk_is_said_once)
{
    const char *got = "";
    unsigned answers = 0;
    talks();
    for (const char *p = "quit [1,2] x\r\n \"\xff\n]"; *p; p++) {
        char c[2] = {*p, '\0'};
        got = says(q.fd, c);
        answers += *got != '\0';
    }
    CHECK_EQ(answers, 3); /* a line each */
    CHECK_HAS(ask("query-kvm", NULL), "\"present\"");
    end();
}

TEST(qmp_what_is_too_deep_or_too_long_is_an_error)
{
    static char text[1 << 14];
    talks();
    strcpy(text, "{\"execute\":\"stop\",\"id\":");
    size_t n = strlen(text);
    memset(text + n, '[', 6000);
    memset(text + n + 6000, ']', 6000);
    strcpy(text + n + 12000, "}");
    CHECK_HAS(says(q.fd, text), "JSON parse error");
    CHECK(!q.m->paused);
    snprintf(text, sizeof(text), "{\"execute\":\"%08000d\"}", 0);
    CHECK_HAS(says(q.fd, text), "too long");
    snprintf(text, sizeof(text), "{\"execute\":\"%04000d\"}", 0);
    CHECK_HAS(says(q.fd, text), "The command 000");
    snprintf(text, sizeof(text),
             "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"%04000d\","
             "\"up\":true}}",
             0);
    CHECK_HAS(says(q.fd, text), "\"class\": \"DeviceNotFound\"");
    snprintf(text, sizeof(text),
             "{\"execute\":\"human-monitor-command\",\"arguments\":"
             "{\"command-line\":\"%04000d\"}}",
             0);
    CHECK_HAS(says(q.fd, text), "unknown command: '000");
    snprintf(text, sizeof(text), "{\"execute\":\"stop\",\"id\":\"%04000d\"}",
             0);
    CHECK_HAS(says(q.fd, text), "00\"}\r\n");
    CHECK(q.m->paused);
    end();
}

TEST(qmp_who_sends_no_more_is_answered_and_let_go)
{
    talks();
    static const char text[] = "{\"execute\":\"query-kvm\"}{\"exec";
    CHECK_EQ(send(q.fd, text, sizeof(text) - 1, 0), sizeof(text) - 1);
    REQUIRE_EQ(shutdown(q.fd, SHUT_WR), 0);
    CHECK_STR(hears(q.fd), "{\"return\": {\"enabled\": true, \"present\": "
                           "true}}\r\n");
    CHECK_STR(hears(q.fd), "closed");
    end();
}

/* Of events, and of answers: what it does not take is bounded, and nobody else
 * waits for it. */
TEST(qmp_who_never_reads_is_given_up)
{
    static const char begins[] = "{\"execute\":\"qmp_capabilities\"}",
                      schema[] = "{\"execute\":\"query-qmp-schema\"}";
    unsigned i;
    talks();
    int deaf = dial(q.path), greedy = dial(q.path);
    says(greedy, begins);
    send(deaf, begins, sizeof(begins) - 1, 0);
    fake_run_loop(q.m);
    for (i = 0; i < 1000; i++) { /* what waits to be read is not looked at */
        send(greedy, schema, sizeof(schema) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        fake_run_loop(q.m);
    }
    for (i = 0; i < 20000; i++) {
        machine_tell(q.m, NEWS_BUTTON, true, 0);
        if (i % 100 == 0)
            CHECK_HAS(hears(q.fd), "POWERDOWN");
    }
    hears(q.fd);
    CHECK_HAS(ask("query-kvm", NULL), "\"present\"");
    for (i = 0; strcmp(hears(deaf), "closed") != 0; i++)
        REQUIRE(i < 10);
    end();
}

TEST(qmp_there_are_so_many_monitors_and_no_more)
{
    static char at[8][80];
    unsigned n = 0;
    memset(&q, 0, sizeof(q));
    for (; n < 8; n++) {
        snprintf(at[n], sizeof(at[n]), "unix:/tmp/vmm-qmp-%d-%u,server=on",
                 getpid(), n);
        CHECK_EQ(n % 2 ? monitor_qmp(at[n]) : monitor_hmp(at[n]), 0);
    }
    CHECK_EQ(monitor_qmp("stdio"), -EINVAL);
    CHECK_HAS(test_log(), "at most 8 monitors");
    CHECK_EQ(monitor_qmp("none"), 0);
    monitor_end();
}

TEST(qmp_a_message_without_end_ends_the_connection)
{
    char text[4096];
    talks();
    memset(text, '[', sizeof(text));
    text[0] = '{';
    const char *got = "";
    for (int i = 0; i < JSON_TEXT / 4096; i++) {
        CHECK_STR(got, "");
        CHECK_EQ(send(q.fd, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
        text[0] = '[';
        got = hears(q.fd);
    }
    CHECK_HAS(got, "too long");
    CHECK_STR(hears(q.fd), "closed");
    close(dial(q.path));
    end();
}

TEST(qmp_many_small_messages_are_each_answered)
{
    static char text[JSON_TEXT];
    static const char one[] = "{\"execute\":\"query-kvm\"}";
    unsigned n = 0, answers = 0;
    talks();
    for (size_t k = sizeof(one) - 1; (n + 1) * k < sizeof(text); n++)
        memcpy(text + n * k, one, k);
    size_t len = n * (sizeof(one) - 1);
    for (size_t at = 0; at < len || answers < n;) {
        ssize_t sent =
            at < len ? send(q.fd, text + at, len - at, MSG_DONTWAIT) : 0;
        at += sent > 0 ? (size_t)sent : 0;
        const char *p = hears(q.fd);
        REQUIRE(*p);
        while ((p = strstr(p, "{\"return\""))) {
            answers++;
            p++;
        }
    }
    CHECK_EQ(answers, n);
    end();
}

TEST(qmp_verbs_do_what_they_say)
{
    talks();
    CHECK_HAS(ask("query-status", NULL), "\"status\": \"running\"");
    ask("stop", NULL);
    CHECK(q.m->paused);
    CHECK_HAS(ask("query-status", NULL),
              "{\"running\": false, \"singlestep\": false, "
              "\"status\": \"prelaunch\"}");
    q.m->started = true;
    CHECK_HAS(ask("query-status", NULL), "\"status\": \"paused\"");
    CHECK_HAS(ask("cont", NULL), "\"event\": \"RESUME\"}\r\n" OK);
    CHECK(!q.m->paused);
    CHECK_STR(ask("system_reset", NULL), OK);
    CHECK_EQ(fake_last_request(q.m), STOP_RESET);
    CHECK_HAS(ask("system_powerdown", NULL),
              "\"event\": \"POWERDOWN\"}\r\n" OK);
    CHECK_STR(ask("quit", NULL), OK);
    CHECK_EQ(fake_last_request(q.m), STOP_POWEROFF);
    CHECK(q.m->asked);
    end();
}

TEST(qmp_a_guest_that_has_ended_is_only_reset)
{
    talks();
    q.m->over = true;
    q.m->why = STOP_PANIC;
    machine_pause(q.m);
    hears(q.fd);
    CHECK_HAS(ask("query-status", NULL), "\"guest-panicked\"");
    q.m->why = STOP_POWEROFF;
    CHECK_HAS(ask("query-status", NULL), "\"shutdown\"");
    CHECK_HAS(ask("cont", NULL), "reset starts it again");
    CHECK(q.m->paused);
    end();
}

TEST(qmp_links_go_down_and_up)
{
    talks();
    CHECK_STR(ask("set_link", "{\"name\":\"n0\",\"up\":false}"), OK);
    CHECK(!netdev_link(fake_net_dev(q.net)));
    CHECK_STR(ask("set_link", "{\"name\":\"n0\",\"up\":true}"), OK);
    CHECK(q.up);
    CHECK_HAS(ask("set_link", "{\"name\":\"n1\",\"up\":true}"),
              "\"class\": \"DeviceNotFound\"");
    CHECK_HAS(ask("set_link", "{\"name\":\"n0\"}"),
              "Parameter 'up' is missing");
    end();
}

TEST(qmp_balloon_has_a_size_and_tells_of_it)
{
    talks();
    CHECK_HAS(ask("query-balloon", NULL), "\"class\": \"DeviceNotActive\"");
    CHECK_HAS(ask("balloon", "{\"value\":1048576}"), "DeviceNotActive");
    REQUIRE_EQ(fake_device(q.m, &virtio_balloon_class, "balloon", ""), 0);
    CHECK_STR(ask("query-balloon", NULL),
              "{\"return\": {\"actual\": 8388608}}\r\n");
    CHECK_STR(ask("balloon", "{\"value\":4194304}"), OK);
    CHECK_HAS(ask("balloon", "{\"value\":8388609}"), "GenericError");
    struct device *d = q.m->devices;
    while (d->cls != &virtio_balloon_class)
        d = d->next;
    for (int i = 0; i < 100; i++) /* as a guest does that is in a hurry */
        machine_note(d, NEWS_BALLOON);
    const char *got = hears(q.fd);
    CHECK_HAS(got, "\"event\": \"BALLOON_CHANGE\", "
                   "\"data\": {\"actual\": 8388608}}\r\n");
    CHECK(!strstr(strstr(got, "event") + 1, "event"));
    machine_note(d, NEWS_BALLOON);
    CHECK_STR(hears(q.fd), "");
    fake_sleep_ns(q.m, 200000000);
    CHECK_HAS(hears(q.fd), "BALLOON_CHANGE");
    end();
}

TEST(qmp_a_nics_filter_is_told_of_and_asked_for)
{
    talks();
    CHECK_STR(ask("query-rx-filter", NULL), "{\"return\": []}\r\n");
    REQUIRE_EQ(fake_device(q.m, &e1000_class, "e1000", "netdev=n0,id=net0"), 0);
    REQUIRE_EQ(fake_device(q.m, &virtio_net_class, "virtio", "id=net1"), 0);
    CHECK_HAS(ask("query-rx-filter", NULL), "\"name\": \"net0\"");
    CHECK_HAS(ask("query-rx-filter", NULL), ", {\"name\": \"net1\"");
    CHECK_HAS(ask("query-rx-filter", "{\"name\":\"net1\"}"),
              "{\"return\": [{\"name\": \"net1\", ");
    CHECK_HAS(ask("query-rx-filter", "{\"name\":\"acpi-pm\"}"),
              "there is no NIC acpi-pm");
    struct device *d = q.m->devices;
    while (d->cls != &virtio_net_class)
        d = d->next;
    machine_note(d, NEWS_RX_FILTER);
    CHECK_HAS(hears(q.fd),
              "\"event\": \"NIC_RX_FILTER_CHANGED\", \"data\": {\"name\": "
              "\"net1\", \"path\": \"/machine/peripheral/net1\"}}\r\n");
    end();
}

TEST(qmp_a_balloon_is_an_object_that_says_what_its_guest_does)
{
    talks();
    CHECK_STR(ask("qom-list", "{\"path\":\"/machine/peripheral/mem\"}"),
              "{\"return\": []}\r\n");
    REQUIRE_EQ(fake_device(q.m, &virtio_balloon_class, "balloon", "id=mem"), 0);
    CHECK_HAS(ask("qom-list", "{\"path\":\"/machine/peripheral\"}"),
              "{\"name\": \"mem\", \"type\": \"child<virtio-balloon-pci>\"}");
    CHECK_HAS(ask("qom-list", "{\"path\":\"/machine/peripheral/mem\"}"),
              "\"guest-stats-polling-interval\"");
#define MEM "{\"path\":\"/machine/peripheral/mem\",\"property\":"
    CHECK_STR(ask("qom-get", MEM "\"guest-stats-polling-interval\"}"),
              "{\"return\": 0}\r\n");
    CHECK_STR(
        ask("qom-set", MEM "\"guest-stats-polling-interval\",\"value\":5}"),
        OK);
    CHECK_STR(ask("qom-get", MEM "\"guest-stats-polling-interval\"}"),
              "{\"return\": 5}\r\n");
    CHECK_HAS(
        ask("qom-set", MEM "\"guest-stats-polling-interval\",\"value\":-1}"),
        "GenericError");
    CHECK_STR(ask("qom-get", MEM "\"guest-stats\"}"),
              "{\"return\": {\"last-update\": 0, \"stats\": {}}}\r\n");
    CHECK_HAS(ask("qom-set", MEM "\"guest-stats\",\"value\":{}}"),
              "Parameter 'value' is missing");
    CHECK_HAS(ask("qom-set", MEM "\"type\",\"value\":1}"), "not writable");
    CHECK_STR(ask("qom-get", MEM "\"type\"}"),
              "{\"return\": \"virtio-balloon-pci\"}\r\n");
    CHECK_HAS(ask("qom-get", MEM "\"type guest-stats\"}"), "not found");
    CHECK_HAS(ask("qom-get", MEM "\"\"}"), "not found");
    CHECK_HAS(ask("qom-get", "{\"path\":\"/\",\"property\":\"type\"}"),
              "DeviceNotFound");
    end();
}

TEST(qmp_a_processor_is_an_object_that_stays_where_it_is)
{
    talks();
#define CPU(n) "{\"path\":\"/machine/unattached/device[" n "]\",\"property\":"
    CHECK_HAS(ask("query-cpus-fast", NULL),
              "\"/machine/unattached/device[1]\"");
    CHECK_STR(ask("qom-get", CPU("1") "\"migratable\"}"),
              "{\"return\": false}\r\n");
    CHECK_HAS(ask("qom-get", CPU("0") "\"type\"}"), "host-x86_64-cpu");
    CHECK_HAS(ask("qom-get", CPU("0") "\"x\"}"),
              "\"class\": \"GenericError\", \"desc\": \"Property ");
    CHECK_HAS(ask("qom-get", CPU("2") "\"type\"}"), "DeviceNotFound");
    CHECK_HAS(ask("qom-list", "{\"path\":\"/machine/unattached/device[0]\"}"),
              "\"migratable\"");
    end();
}

TEST(qmp_events_say_why)
{
    static const struct {
        enum machine_news what;
        bool asked;
        int why;
        const char *says;
    } rows[] = {
        {NEWS_RESET, false, STOP_RESET,
         "\"RESET\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}"},
        {NEWS_RESET, true, STOP_RESET,
         "{\"guest\": false, \"reason\": \"host-qmp-system-reset\"}"},
        {NEWS_END, false, STOP_POWEROFF,
         "\"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": "
         "\"guest-shutdown\"}"},
        {NEWS_END, true, STOP_POWEROFF, "\"host-qmp-quit\""},
        {NEWS_END, true, 128 + 15, "\"host-signal\""},
        {NEWS_END, false, STOP_FAULT,
         "{\"guest\": false, \"reason\": \"host-error\"}"},
        {NEWS_PANICKED, true, STOP_PANIC,
         "\"GUEST_PANICKED\", \"data\": {\"action\": \"pause\"}"},
    };
    talks();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        machine_tell(q.m, rows[i].what, rows[i].asked, rows[i].why);
        CHECK_HAS(hears(q.fd), rows[i].says);
    }
    end();
}

TEST(qmp_several_clients_are_told_and_answered)
{
    talks();
    int other = dial(q.path), silent = dial(q.path);
    hears(silent);
    says(other, "{\"execute\":\"qmp_capabilities\"}");
    ask("stop", NULL);
    CHECK_HAS(hears(other), "\"STOP\"");
    CHECK_STR(hears(silent), "");
    close(other);
    CHECK_HAS(ask("cont", NULL), OK);
    end();
}

TEST(qmp_disks_are_shown_and_grow)
{
    talks();
    CHECK_STR(ask("query-block", NULL), "{\"return\": []}\r\n");
    struct fake_blk *f = fake_blk_new(NULL);
    CHECK_HAS(ask("query-block", NULL), "\"node-name\": \"d0\"");
    CHECK_HAS(ask("query-named-block-nodes", NULL),
              "\"virtual-size\": 1048576");
    f->b.read_bytes = 512;
    f->b.reads = 1;
    CHECK_HAS(ask("query-blockstats", NULL), "{\"rd_bytes\": 512, ");
    CHECK_HAS(ask("query-blockstats", "{\"query-nodes\":true}"),
              "[{\"device\": \"d0\", \"qdev\": \"\", \"node-name\": \"d0\", ");
    f->b.node = "d0"; /* by -blockdev: no two of libvirt's keys are the same */
    CHECK_HAS(ask("query-blockstats", NULL),
              "[{\"device\": \"\", \"qdev\": \"\", \"node-name\": \"d0\", ");
    f->b.node = NULL;
    CHECK_HAS(ask("query-named-block-nodes", "{\"flat\":true}"), "\"d0\"");
    CHECK_HAS(ask("block_resize", "{\"node-name\":\"nope\",\"size\":1024}"),
              "DeviceNotFound");
    CHECK_HAS(ask("block_resize", "{\"size\":1024}"), "'node-name'");
    CHECK_HAS(
        ask("blockdev-change-medium", "{\"id\":\"d0\",\"filename\":\"x\"}"),
        "error");
    end();
}

/* Sends a descriptor along. */
static const char *passes(const char *text, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } ctl = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                      .cmsg_level = SOL_SOCKET,
                      .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {(void *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    memcpy(CMSG_DATA(&ctl.head), &fd, sizeof(int));
    CHECK_EQ(sendmsg(q.fd, &m, 0), strlen(text));
    return hears(q.fd);
}

TEST(qmp_descriptors_come_by_name)
{
    int p[2];
    char c = 0;
    talks();
    REQUIRE_EQ(pipe(p), 0);
    CHECK_HAS(ask("getfd", "{\"fdname\":\"a\"}"),
              "No file descriptor supplied");
    CHECK_STR(passes("{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}",
                     p[1]),
              OK);
    int fd = qmp_take_fd("a");
    REQUIRE(fd > p[1]);
    CHECK_EQ(write(fd, "x", 1), 1);
    CHECK_EQ(read(p[0], &c, 1), 1);
    close(fd);
    CHECK_EQ(qmp_take_fd("a"), -ENOENT);
    CHECK_HAS(ask("closefd", "{\"fdname\":\"a\"}"), "named 'a' not found");
    passes("{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"b\"}}", p[1]);
    CHECK_STR(ask("closefd", "{\"fdname\":\"b\"}"), OK);
    /* What nobody names goes with its bringer. */
    for (int i = 0; i < 2 * MONITOR_FDS; i++)
        passes(" ", p[1]);
    close(p[1]);
    close(q.fd);
    fake_run_loop(q.m);
    CHECK_EQ(read(p[0], &c, 1), 0);
    end();
}

TEST(qmp_descriptors_come_in_sets)
{
    int p[2];
    char c = 0;
    talks();
    REQUIRE_EQ(pipe(p), 0);
    CHECK_HAS(ask("add-fd", NULL), "No file descriptor supplied");
    CHECK_HAS(passes("{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":5,"
                     "\"opaque\":\"why\"}}",
                     p[1]),
              "{\"return\": {\"fdset-id\": 5, \"fd\": ");
    CHECK_HAS(passes("{\"execute\":\"add-fd\"}", p[1]), "\"fdset-id\": 0, ");
    CHECK_HAS(ask("query-fdsets", NULL), ", \"opaque\": \"why\"}]}, {");
    CHECK_HAS(ask("remove-fd", "{\"fdset-id\":5,\"fd\":999}"),
              "{\"error\": {\"class\": \"GenericError\", \"desc\": "
              "\"remove-fd: set 5 has no descriptor 999\"}}");
    CHECK_HAS(ask("remove-fd", "{\"fd\":1}"), "'fdset-id' is missing");
    CHECK_STR(ask("remove-fd", "{\"fdset-id\":5}"), OK);
    CHECK_HAS(ask("query-fdsets", NULL), "[{\"fdset-id\": 0, ");
    close(p[1]);
    end(); /* closes what is left */
    CHECK_EQ(read(p[0], &c, 1), 0);
}

static struct {
    unsigned drops, swaps;
    int fd;
} cable;

static void cable_drop(struct netdev *nd)
{
    cable.drops++;
    nd->away = true;
    netdev_set_link(nd, false);
}

static int cable_swap(struct netdev *nd, const int *fd, const char *ifname)
{
    CHECK_STR(ifname, NULL);
    cable.swaps++;
    cable.fd = fd[0];
    nd->away = false;
    netdev_set_link(nd, true);
    return 0;
}

#define TAP(more) "{\"type\":\"tap\",\"id\":\"n0\"" more "}"
#define GETFD(name)                                                            \
    "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" name "\"}}"

TEST(qmp_a_nic_gets_another_backend)
{
    talks();
    struct netdev *nd = fake_net_dev(q.net);
    memset(&cable, 0, sizeof(cable));
    CHECK_HAS(ask("netdev_del", "{\"id\":\"n0\"}"), "GenericError");
    nd->swap = cable_swap;
    nd->drop = cable_drop;
    CHECK_HAS(ask("netdev_del", "{\"id\":\"n1\"}"), "DeviceNotFound");
    passes(GETFD("a"), q.fd);
    passes(GETFD("v"), q.fd);
    CHECK_HAS(ask("netdev_add", TAP(",\"fd\":\"a\"")),
              "netdev_del comes first");
    CHECK_STR(ask("netdev_del", "{\"id\":\"n0\"}"), OK);
    CHECK_EQ(cable.drops, 1);
    CHECK(!q.up);
    CHECK_HAS(ask("netdev_del", "{\"id\":\"n0\"}"), "DeviceNotFound");
    CHECK_HAS(ask("netdev_add", "{\"type\":\"user\",\"id\":\"n0\"}"),
              "only a tap");
    CHECK_HAS(ask("netdev_add", "{\"type\":\"tap\",\"id\":\"n9\"}"),
              "made at the start");
    CHECK_HAS(ask("netdev_add", TAP("")), "is needed");
    CHECK_HAS(ask("netdev_add", TAP(",\"fd\":\"a\",\"fds\":\"a\"")),
              "is needed");
    CHECK_HAS(ask("netdev_add", TAP(",\"fd\":\"b\"")), "'b' not found");
    CHECK_HAS(ask("netdev_add", TAP(",\"fds\":\"a:b\"")), "'b' not found");
    CHECK_HAS(ask("netdev_add", TAP(",\"fds\":\"a:a\"")), "named twice");
    CHECK_HAS(ask("netdev_add", TAP(",\"fds\":\"a:v\"")),
              "has 1 queues, not 2");
    CHECK_HAS(ask("netdev_add", TAP(",\"fds\":\":\"")), "no list of");
    CHECK_HAS(ask("netdev_add", TAP(",\"fds\":\"\"")), "not 0");
    CHECK_HAS(ask("netdev_add",
                  TAP(",\"fd\":\"a\",\"vhost\":true,\"vhostfd\":\"v\"")),
              "began without vhost");
    CHECK_HAS(ask("netdev_add", TAP(",\"fd\":\"a\",\"script\":\"no\"")),
              "script");
    CHECK_EQ(cable.swaps, 0);
    nd->vhost = VHOST_KERNEL;
    CHECK_HAS(ask("netdev_add", TAP(",\"fd\":\"a\",\"vhostfd\":\"a\"")),
              "named twice");
    CHECK_EQ(cable.swaps, 0);
    CHECK_STR(ask("netdev_add",
                  TAP(",\"fds\":\"a\",\"vhost\":true,\"vhostfds\":\"v\"")),
              OK);
    CHECK_EQ(cable.swaps, 1);
    CHECK(q.up && cable.fd > q.fd);
    close(cable.fd);
    CHECK_EQ(qmp_take_fd("a"), -ENOENT); /* all are used */
    CHECK_EQ(qmp_take_fd("v"), -ENOENT);
    end();
}

/* ------------------------------------------------------------------- schema */

static bool is(const char **p, const char **sig);

static void blanks(const char **p)
{
    while (**p == ' ' || **p == ',')
        ++*p;
}

static bool is_text(const char **p)
{
    if (*(*p)++ != '"')
        return false;
    for (; **p && **p != '"'; ++*p)
        *p += **p == '\\';
    return *(*p)++ == '"';
}

/* Passes over a type. */
static void skip(const char **sig)
{
    int depth = 0;
    do {
        depth += **sig == '{' || **sig == '[';
        depth -= **sig == '}' || **sig == ']';
        ++*sig;
    } while (depth);
}

static bool is_object(const char **p, const char **sig)
{
    ++*p;
    while (**sig != '}') {
        size_t n = strcspn(*sig, ":?");
        bool may_miss = (*sig)[n] == '?';
        const char *key = *sig;
        *sig += n + may_miss + 1;
        blanks(p);
        if (**p == '"' && !strncmp(*p + 1, key, n) && (*p)[n + 1] == '"') {
            *p += n + 4; /* "": and a blank */
            if (!is(p, sig))
                return false;
        } else if (may_miss) {
            skip(sig);
        } else {
            return false;
        }
        *sig += **sig == ',';
    }
    ++*sig;
    blanks(p);
    return *(*p)++ == '}';
}

static bool is_list(const char **p, const char **sig)
{
    const char *of = *sig;
    ++*p;
    for (blanks(p); **p != ']'; blanks(p)) {
        *sig = of;
        if (!is(p, sig))
            return false;
    }
    ++*p;
    *sig = of;
    skip(sig);
    return *(*sig)++ == ']';
}

/* Is what is at *p of the type at *sig? Both move behind it. */
static bool is(const char **p, const char **sig)
{
    char c = *(*sig)++;
    const char *any = "{}";
    size_t n = strspn(*p, "-0123456789");
    switch (c) {
    case '{':
        return **p == '{' && is_object(p, sig);
    case '[':
        return **p == '[' && is_list(p, sig);
    case 's':
        return is_text(p);
    case 'i':
        *p += n;
        return n > 0;
    case 'b':
        n = !strncmp(*p, "true", 4) ? 4 : !strncmp(*p, "false", 5) ? 5 : 0;
        *p += n;
        return n > 0;
    default: /* v */
        if (**p != '{')
            return false;
        (void)any;
        skip(p);
        return true;
    }
}

TEST(qmp_each_answer_is_of_its_type)
{
    const struct qmp_command *c;
    talks();
    REQUIRE_EQ(fake_device(q.m, &e1000_class, "e1000", ""), 0);
    REQUIRE_EQ(fake_device(q.m, &virtio_balloon_class, "balloon", "id=mem"), 0);
    fake_blk_new(NULL);
    for (unsigned i = 0; (c = qmp_command(i)); i++) {
        if (!c->gives)
            continue;
        const char *args =
            !c->need                       ? NULL
            : !strcmp(c->need, "typename") ? "{\"typename\":\"e1000\"}"
            : !strcmp(c->need, "path")     ? "{\"path\":\"/\"}"
            : !strcmp(c->need, "path property")
                ? "{\"path\":\"/machine/peripheral/mem\",\"property\":"
                  "\"guest-stats\"}"
                : "{\"command-line\":\"info\"}";
        const char *p = strcmp(c->name, "add-fd")
                            ? ask(c->name, args)
                            : passes("{\"execute\":\"add-fd\"}", q.fd);
        const char *sig = c->gives;
        CHECK_HAS(p, "{\"return\": ");
        p += strlen("{\"return\": ");
        if (!is(&p, &sig) || *sig || strcmp(p, "}\r\n") != 0)
            FAIL("%s: %s is no %s", c->name, p, c->gives);
    }
    end();
}

TEST(qmp_schema_has_each_command_and_event)
{
    const struct qmp_command *c;
    char row[128];
    static char all[1 << 18];
    talks();
    snprintf(all, sizeof(all), "%s", ask("query-qmp-schema", NULL));
    for (unsigned i = 0; (c = qmp_command(i)); i++) {
        snprintf(row, sizeof(row),
                 "{\"name\": \"%s\", \"meta-type\": \"command\"", c->name);
        CHECK_HAS(all, row);
    }
    for (unsigned i = 0; i < QMP_EVENTS; i++) {
        snprintf(row, sizeof(row),
                 "{\"name\": \"%s\", \"meta-type\": \"event\"",
                 qmp_events[i].name);
        CHECK_HAS(all, row);
    }
    for (const char *p = all; (p = strstr(p, "{\"name\": \"["));) {
        snprintf(row, sizeof(row), "%.*s", (int)strcspn(p, ","), p);
        p += strlen(row);
        CHECK(!strstr(p, row)); /* libvirt counts on it */
    }
    CHECK_HAS(all, "\"members\": [{\"name\": \"name\", \"type\": \"str\"}, "
                   "{\"name\": \"up\", \"type\": \"bool\"}]");
    CHECK(!strstr(all, "device_add") && !strstr(all, "migrate\""));
    end();
}

/* ---------------------------------------------------------------------- HMP */

TEST(hmp_answers_and_prompts)
{
    talks();
    int fd = dial(q.hmp);
    CHECK_STR(hears(fd), "QEMU 7.2.0 monitor - type 'help' for more "
                         "information\r\n(qemu) ");
    CHECK_STR(says(fd, "\r\n\n"), "(qemu) (qemu) ");
    CHECK_HAS(says(fd, "info version\n"), "7.2.0 (vmm " VERSION ")\r\n(qemu) ");
    CHECK_STR(says(fd, "info status\r"), "VM status: running\r\n(qemu) ");
    says(fd, "stop\n");
    CHECK_HAS(hears(q.fd), "\"STOP\"");
    CHECK_STR(says(fd, "info status\n"),
              "VM status: paused (prelaunch)\r\n(qemu) ");
    CHECK_STR(says(fd, "c\n"), "(qemu) ");
    CHECK_HAS(says(fd, "info cpus\n"), " CPU #1: thread_id=0\r\n");
    CHECK_HAS(says(fd, "info balloon\n"), "No balloon device");
    CHECK_HAS(says(fd, "balloon 4\n"), "No balloon device");
    CHECK_STR(says(fd, "set_link n0 off\n"), "(qemu) ");
    CHECK(!netdev_link(fake_net_dev(q.net)));
    CHECK_HAS(says(fd, "set_link n0 left\n"), "Error: set_link: write");
    CHECK_HAS(says(fd, "info nothing\n"), "Error: info: there is no nothing");
    CHECK_HAS(says(fd, "rm -rf /\n"), "unknown command: 'rm'");
    CHECK_HAS(says(fd, "help cont\n"), "cont  -- it goes on\r\n(qemu) ");
    CHECK_STR(says(fd, "system_powerdown\n"), "(qemu) ");
    CHECK_STR(says(fd, "system_reset\nquit\n"), "(qemu) (qemu) ");
    CHECK_EQ(fake_last_request(q.m), STOP_POWEROFF);
    end();
}

TEST(hmp_of_qmp_says_each_line_of_info_in_two_words)
{
    talks();
    const char *p = ask("human-monitor-command", "{\"command-line\":\"info\"}");
    CHECK_HAS(p, "info version  -- what this is\\u000d\\u000a");
    CHECK_HAS(ask("human-monitor-command",
                  "{\"command-line\":\"nope\",\"cpu-index\":0}"),
              "{\"return\": \"Error: unknown command: 'nope'");
    end();
}

TEST(hmp_a_line_ends_once_however_it_comes)
{
    talks();
    int fd = dial(q.hmp);
    hears(fd);
    CHECK_STR(says(fd, "info name\r"), "web \"1\"\r\n(qemu) ");
    CHECK_STR(says(fd, "\n"), "");
    CHECK_STR(says(fd, "\n"), "(qemu) ");
    CHECK_STR(says(fd, "\r\r\n\n"), "(qemu) (qemu) (qemu) ");
    end();
}

TEST(hmp_a_line_without_end_is_cut)
{
    char text[4096];
    talks();
    int fd = dial(q.hmp);
    hears(fd);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 40; i++)
        CHECK_STR(says(fd, text), "");
    CHECK_HAS(says(fd, "\n"), "unknown command: 'xxxx");
    end();
}
