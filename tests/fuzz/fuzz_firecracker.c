/* SPDX-License-Identifier: MIT */
/* What a client of Firecracker's API says before the guest runs, and a config
 * file: a request a line, "PUT /vsock {…}", or a config file, "{…}". A start is
 * planned and checked; nothing is opened for good. */
#include "base/json.h"
#include "block/list.h"
#include "control/firecracker.h"
#include "control/http.h"
#include "control/plan.h"
#include "devices/list.h"
#include "host/helper.h"
#include "net/list.h"
#include "tests/fuzz/fuzz.h"

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

/* What would make files and interfaces on whoever's machine this runs on. */
static bool fuzz_is_harmless(const char *text, size_t n)
{
    static const char *const keys[] = {"log_path", "metrics_path",
                                       "host_dev_name"};
    struct text json = {0};
    bool good = !json_compact("fuzz", text, n, &json);
    for (size_t i = 0; i < ARRAY_LEN(keys) && good; i++)
        good = !strstr(json.p, keys[i]);
    text_free(&json);
    return good;
}

static void fuzz_request(char *line)
{
    struct http h = {.method = HTTP_GET};
    struct text out = {0};
    char *path = strchr(line, ' ');
    char *body = path ? strchr(path + 1, ' ') : NULL;
    while (h.method < HTTP_DELETE && path &&
           strncmp(line, http_methods[h.method], (size_t)(path - line)) != 0)
        h.method++;
    if (!path || path[1] != '/')
        return;
    h.path = path + 1;
    if (body) {
        *body++ = '\0';
        h.buf = body;
        h.body = strlen(body);
        if (!fuzz_is_harmless(body, h.body))
            return;
    }
    firecracker_request(&h, &out);
    text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[1 << 16];
    static struct config config;
    static struct loop *loop; /* there are few to be had here */
    struct fcargs args = {.id = "fuzz", .mmds = 4096, .no_api = true};
    struct needs needs = {0};
    char *save = NULL;
    int code = 1;
    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (!loop && loop_new(&loop))
        return 0;
    config = (struct config){.vm = {.ram = 128 << 20, .cpus = 1, .loop = loop}};
    if (firecracker_begin(&config, &args))
        return 0;
    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        if (*line != '{')
            fuzz_request(line);
        else if (fuzz_is_harmless(line, strlen(line)))
            firecracker_take_config(line, strlen(line));
        if (firecracker_is_asked() && !firecracker_wait())
            plan_check(&classes, &needs);
        if (firecracker_is_asked()) {
            plan_free();
            helper_end();
            firecracker_again(&code);
        }
    }
    firecracker_end();
    plan_free();
    helper_end();
    return 0;
}
