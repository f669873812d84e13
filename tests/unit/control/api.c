/* SPDX-License-Identifier: MIT */
/* The API on a fake machine: routes, answers, and what is refused. */
#include "control/api.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/metrics.h"
#include "devices/list.h"
#include "host/helper.h"
#include "tests/unit/fakeblk.h"

static struct served {
    struct machine *m;
    struct config config;
    struct control ctl;
    struct server s;
    struct fake_net *net;
    bool up;
    int fd;
} api;

static void on_request(struct client *c)
{
    api_request(&api.ctl, c);
}

static void on_link(void *nic, bool up)
{
    CHECK(nic == &api);
    api.up = up;
}

/* A client that is connected, of a machine with a button and a netdev. */
static void begin(void)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    memset(&api, 0, sizeof(api));
    api.m = fake_pc(8 << 20);
    api.m->ncpus = 2;
    REQUIRE_EQ(fake_device(api.m, &acpi_pm_class, "acpi-pm", ""), 0);
    api.net = fake_net_new("n0", 1);
    fake_net_dev(api.net)->link_changed = on_link;
    fake_net_dev(api.net)->nic = &api;
    api.config.boot.kernel = "/boot/\"k\"";
    api.ctl = (struct control){.m = api.m, .config = &api.config};
    api.s = (struct server){.request = on_request, .name = "vmm"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    REQUIRE_EQ(bind(fd, (void *)&(sa_family_t){AF_UNIX}, sizeof(sa_family_t)),
               0);
    REQUIRE_EQ(getsockname(fd, (void *)&at, &len), 0);
    REQUIRE_EQ(listen(fd, 1), 0);
    REQUIRE_EQ(server_begin(&api.s, api.m->loop, fd), 0);
    api.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE_EQ(connect(api.fd, (void *)&at, len), 0);
}

static void end(void)
{
    close(api.fd);
    server_end(&api.s);
    netdev_close_all();
    fake_free(api.m);
}

static void say(const char *method, const char *path, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n", method, path);
    if (body)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "Content-Length: %zu\r\n", strlen(body));
    n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n%s",
                  body ? body : "");
    CHECK_EQ(send(api.fd, text, (size_t)n, 0), n);
    fake_run_loop(api.m);
}

/* The answer: "204", or "200 BODY"; NULL: not yet. */
static const char *heard(void)
{
    static char got[1 << 16], out[1 << 16];
    ssize_t len = recv(api.fd, got, sizeof(got) - 1, MSG_DONTWAIT);
    if (len < 0)
        return NULL;
    REQUIRE(len > 20);
    got[len] = '\0';
    const char *end = strstr(got, "\r\n\r\n");
    REQUIRE(end != NULL);
    snprintf(out, sizeof(out), "%.3s%s%s", got + 9, end[4] ? " " : "", end + 4);
    return out;
}

static const char *ask(const char *method, const char *path, const char *body)
{
    say(method, path, body);
    const char *got = heard();
    REQUIRE(got != NULL);
    return got;
}

TEST(api_says_what_the_machine_is)
{
    begin();
    CHECK_STR(ask("GET", "/", NULL),
              "200 {\"id\":\"anonymous-instance\",\"state\":\"Not started\","
              "\"vmm_version\":\"" VERSION "\",\"app_name\":\"vmm\"}");
    api.m->name = "web-1";
    api.m->started = true;
    CHECK_HAS(ask("GET", "/", NULL), "\"web-1\",\"state\":\"Running\"");
    CHECK_STR(ask("GET", "/version", NULL),
              "200 {\"firecracker_version\":\"" VERSION "\"}");
    CHECK_STR(ask("GET", "/machine-config", NULL),
              "200 {\"vcpu_count\":2,\"mem_size_mib\":8,\"smt\":false,"
              "\"track_dirty_pages\":false,\"huge_pages\":\"None\"}");
    CHECK_HAS(ask("GET", "/vm/config", NULL),
              "\"boot-source\":{\"kernel_image_path\":\"/boot/\\\"k\\\"\"},"
              "\"network-interfaces\":[]}");
    end();
}

TEST(api_pauses_and_resumes_as_often_as_it_is_told)
{
    begin();
    for (int i = 0; i < 2; i++)
        CHECK_STR(ask("PATCH", "/vm", "{\"state\":\"Paused\"}"), "204");
    CHECK(api.m->paused);
    CHECK_HAS(ask("GET", "/", NULL), "\"Paused\"");
    for (int i = 0; i < 2; i++)
        CHECK_STR(ask("PATCH", "/vm", "{\"state\":\"Resumed\"}"), "204");
    CHECK(!api.m->paused);
    CHECK_STR(ask("PUT", "/verbs/pause", NULL), "204");
    CHECK(api.m->paused);
    CHECK_STR(ask("PUT", "/verbs/resume", "{}"), "204");
    CHECK(!api.m->paused);
    end();
}

TEST(api_refuses_with_400_and_a_reason)
{
    static const char *const bad[][4] = {
        {"GET", "/nope", NULL, "Invalid request method and/or path: GET nope."},
        {"GET", "/vm", NULL, "Invalid request method"},
        {"PUT", "/verbs/", "{}", "Invalid request method"},
        {"GET", "/version/", NULL, "Invalid request method"},
        {"DELETE", "/drives/x", NULL, "DELETE drives/x."},
        {"GET", "/", "{}", "GET request cannot have a body."},
        {"PATCH", "/vm", NULL, "Empty PATCH request."},
        {"PUT", "/actions", NULL, "Empty PUT request."},
        {"PATCH", "/vm", "{", "JSON, byte 2"},
        {"PATCH", "/vm", "{}", "missing field `state`"},
        {"PATCH", "/vm", "{\"state\":null}", "missing field `state`"},
        {"PATCH", "/vm", "{\"state\":\"x\"}", "one of Paused, Resumed"},
        {"PATCH", "/vm", "{\"x\":1}", "no key \\\"x\\\""},
        {"PUT", "/actions", "{\"action_type\":\"InstanceStart\"}",
         "not supported after starting the microVM."},
        {"PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}",
         "ctrl-alt-del: there is no such verb"},
        {"PUT", "/actions", "{}", "missing field `action_type`"},
        {"PUT", "/verbs/pause", "{\"x\":1}",
         "no key \\\"x\\\"; there are none"},
        {"PUT", "/verbs/nope", NULL, "nope: there is no such verb"},
        {"PUT", "/verbs/powerdown", NULL, "does not listen"},
        {"PUT", "/verbs/powerdown", "{\"id\":\"x\"}", "there is no device x"},
        {"PUT", "/verbs/link", "{\"id\":\"n0\"}", "needed"},
        {"PATCH", "/drives/", "{}", "Invalid request"},
        {"PATCH", "/drives/a", "{\"drive_id\":\"b\"}", "does not match"},
        {"PATCH", "/drives/a", "{\"drive_id\":\"a\"}", "no drive or disk a"},
        {"PATCH", "/drives/a",
         "{\"rate_limiter\":{\"ops\":{\"size\":1,\"refill_time\":100}}}",
         "there is no device a"},
        {"PATCH", "/drives/a", "{\"rate_limiter\":1}", "no key \\\"rate_l"},
        {"PATCH", "/drives/a", "{\"x\":1}", "no key \\\"x\\\""},
        {"PATCH", "/network-interfaces/a", "{\"iface_id\":\"b\"}",
         "does not match"},
        {"PATCH", "/network-interfaces/a", "{\"rate_limiter\":{\"a\":1}}",
         "no key \\\"rate_limiter.a\\\""},
        {"PATCH", "/network-interfaces/a", "{}", "there is no device a"},
        {"PATCH", "/vm", "{\"a\xff\":1}", "no key \\\"a\\ufffd\\\""},
        {"PATCH", "/balloon", "{}", "missing field `amount_mib`"},
        {"PATCH", "/balloon", "{\"amount_mib\":8}", "no more than that"},
        {"PATCH", "/balloon", "{\"amount_mib\":4}", "no such verb"},
        {"PATCH", "/balloon/statistics", "{}", "missing field"},
        {"PUT", "/verbs/link", "{\"id\":\"n1\",\"state\":\"up\"}",
         "no netdev or NIC n1"},
        {"PUT", "/verbs/capture", "{\"id\":\"n0\",\"state\":\"on\"}",
         "netdev=n0,file=FILE"},
    };
    begin();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *got = ask(bad[i][0], bad[i][1], bad[i][2]);
        CHECK_HAS(got, "400 {\"fault_message\":\"");
        CHECK_HAS(got, bad[i][3]);
    }
    CHECK(!api.m->paused);
    CHECK_EQ(fake_requests(api.m), 0);
    CHECK_STR(test_log(), ""); /* a client's mistakes are told to the client */
    end();
}

TEST(api_verbs_press_the_button_pull_the_cable_reset_and_quit)
{
    begin();
    outw(api.m, 0x602, 0x100); /* PWRBTN_EN */
    CHECK_STR(ask("PUT", "/verbs/powerdown", "{\"id\":\"acpi-pm\"}"), "204");
    CHECK(fake_level(api.m, 9));
    CHECK_STR(ask("PUT", "/verbs/link", "{\"id\":\"n0\",\"state\":\"up\"}"),
              "204");
    api.up = true;
    for (int i = 0; i < 2; i++)
        CHECK_STR(
            ask("PUT", "/verbs/link", "{\"id\":\"n0\",\"state\":\"down\"}"),
            "204");
    CHECK(!api.up && !netdev_link(fake_net_dev(api.net)));
    netdev_toggle_cables(); /* with all others, and back: it stays out */
    netdev_toggle_cables();
    netdev_set_link(fake_net_dev(api.net), false);
    netdev_set_link(fake_net_dev(api.net), true);
    CHECK(!api.up);
    CHECK_STR(ask("PUT", "/verbs/link", "{\"id\":\"n0\",\"state\":\"up\"}"),
              "204");
    CHECK(api.up && netdev_link(fake_net_dev(api.net)));
    CHECK_STR(ask("PUT", "/verbs/reset", NULL), "204");
    CHECK_EQ(fake_last_request(api.m), STOP_RESET);
    CHECK_STR(ask("PUT", "/verbs/quit", NULL), "204");
    CHECK_EQ(fake_last_request(api.m), STOP_POWEROFF);
    test_log();
    end();
}

TEST(api_counters_as_json_and_for_prometheus)
{
    begin();
    const char *got = ask("GET", "/stats", NULL);
    CHECK_HAS(got, "200 {\"acpi-pm\":{\"bad_sleeps\":0},\"n0\":{\"link\":1");
    CHECK(!strcmp(got + strlen(got) - 2, "}}"));
    api.m->name = "web-1";
    CHECK_STR(ask("GET", "/metrics", NULL),
              "200 # HELP vmm_bad_sleeps_total sleep states asked for that "
              "there are none of\n# TYPE vmm_bad_sleeps_total counter\n"
              "vmm_bad_sleeps_total{id=\"acpi-pm\",machine=\"web-1\"} 0\n"
              "# HELP vmm_link the cable is in\n# TYPE vmm_link gauge\n"
              "vmm_link{id=\"n0\",machine=\"web-1\"} 1\n");
    end();
}

/* By the device's id, or by that of what it uses. */
TEST(api_patches_rate_limits)
{
    begin();
    struct fake_blk *f = fake_blk_new(NULL);
    struct netdev *n1 = fake_net_dev(fake_net_new("n1", 1));
    REQUIRE_EQ(fake_device(api.m, &virtio_blk_class, "disk", "id=r,drive=d0"),
               0);
    REQUIRE_EQ(fake_device(api.m, &e1000_class, "nic", "id=eth0,netdev=n1"), 0);
    CHECK_STR(ask("PATCH", "/drives/d0",
                  "{\"drive_id\":\"d0\",\"rate_limiter\":{\"bandwidth\":{"
                  "\"size\":1000,\"one_time_burst\":null,\"refill_time\":1},"
                  "\"ops\":{\"size\":0,\"refill_time\":0}}}"),
              "204");
    CHECK_STR(ask("PATCH", "/drives/r", "{\"rate_limiter\":null}"),
              "400 {\"fault_message\":\"disk: d0 has one size\"}");
    CHECK_HAS(
        ask("PATCH", "/drives/r", "{\"rate_limiter\":{\"ops\":{\"size\":1}}}"),
        "missing field `refill_time`");
    CHECK_HAS(ask("PATCH", "/drives/r",
                  "{\"path_on_host\":\"/x\",\"rate_limiter\":{\"x\":1}}"),
              "no key \\\"x\\\"");
    CHECK_HAS(ask("PATCH", "/drives/r",
                  "{\"path_on_host\":\"/x\",\"rate_limiter\":{\"ops\":{"
                  "\"size\":1,\"refill_time\":1}}}"),
              "no file can take the place of d0");
    CHECK_STR(ask("PATCH", "/network-interfaces/eth0",
                  "{\"iface_id\":\"eth0\",\"rx_rate_limiter\":{\"ops\":{"
                  "\"size\":10,\"refill_time\":1}}}"),
              "204");
    CHECK(n1->q[0]->gate != NULL);
    CHECK_HAS(ask("PATCH", "/network-interfaces/n1",
                  "{\"rx_rate_limiter\":{\"ops\":{\"size\":10}}}"),
              "missing field `refill_time`");
    CHECK_STR(ask("PATCH", "/network-interfaces/eth0", "{}"), "204");
    loop_del(&f->ev);
    devices_destroy(api.m);
    blockdev_close_all();
    end();
}

/* The helper: the newest child, as that of an earlier test may still end. */
static pid_t helper_process(void)
{
    pid_t pid = 0;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    REQUIRE(f != NULL);
    while (fscanf(f, "%d", &pid) == 1)
        ;
    fclose(f);
    REQUIRE(pid > 0);
    return pid;
}

static int swapped;

static int on_swap(struct blockdev *b, int fd, const char *path)
{
    (void)b;
    close(fd);
    swapped++;
    return strcmp(path, "/proc/self/comm") ? fail(-EINVAL, "other") : 0;
}

/* A helper that does not answer, for it is stopped: the client is told in time,
 * others can ask, and the answer that comes late counts for nothing. */
TEST(api_an_open_that_hangs_ends_in_time)
{
    begin();
    struct fake_blk *f = fake_blk_new(NULL);
    f->b.swap = on_swap;
    swapped = 0;
    REQUIRE_EQ(helper_allow("/proc/self"), 0);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    REQUIRE_EQ(helper_watch(api.m->loop), 0);
    REQUIRE_EQ(helper_seal(), 0);
    kill(helper_process(), SIGSTOP);
    siginfo_t stopped; /* for the signal may find it at work */
    waitid(P_PID, (id_t)helper_process(), &stopped, WSTOPPED | WNOWAIT);
    const char *body = "{\"path_on_host\":\"/proc/self/comm\"}";
    say("PATCH", "/drives/d0", body);
    fake_sleep_ns(api.m, 7999999999);
    CHECK(!heard());
    fake_sleep_ns(api.m, 1);
    CHECK_HAS(heard(), "/proc/self/comm: it could not be opened in 8 s");
    say("PATCH", "/drives/d0", body); /* that one waits again */
    CHECK(!heard());
    kill(helper_process(), SIGCONT);
    const char *got = NULL;
    FAKE_SOON(api.m, (got = heard()) != NULL);
    CHECK_STR(got, "204");
    CHECK_EQ(swapped, 1);
    loop_del(&f->ev);
    blockdev_close_all();
    end();
    verbs_end();
    helper_end();
}

/* What comes next, as text; "": nothing does. */
static const char *raw(void)
{
    static char got[1 << 16];
    fake_run_loop(api.m);
    fake_sleep_ns(api.m, 1000000); /* it waits half of that for more */
    ssize_t n = recv(api.fd, got, sizeof(got) - 1, MSG_DONTWAIT);
    got[n > 0 ? n : 0] = '\0';
    return got;
}

TEST(api_serial_carries_bytes_both_ways_and_nobody_waits)
{
    begin();
    CHECK_HAS(ask("GET", "/serial", NULL), "400 ");
    REQUIRE_EQ(fake_device(api.m, &serial_class, "serial", "to=null"), 0);
    say("GET", "/serial", NULL);
    CHECK_HAS(raw(), "HTTP/1.1 101 ");
    guest_write(api.m, true, 0x3f8, 1, '!');
    CHECK_STR(raw(), "!");
    /* The FIFO is off: one byte at a time, the others wait. */
    CHECK_EQ(send(api.fd, "ab", 2, 0), 2);
    fake_run_loop(api.m);
    CHECK_EQ(guest_read(api.m, true, 0x3f8, 1), 'a');
    fake_run_loop(api.m);
    CHECK_EQ(guest_read(api.m, true, 0x3f8, 1), 'b');
    /* A client that takes nothing: the transmitter stays empty. */
    for (int i = 0; i < 1000000; i++) {
        guest_write(api.m, true, 0x3f8, 1, 'x');
        if (i % 4096 == 0) {
            fake_run_loop(api.m);
            fake_sleep_ns(api.m, 1000000);
        }
    }
    CHECK(guest_read(api.m, true, 0x3fd, 1) & 0x20);
    end();
}
