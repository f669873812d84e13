/* SPDX-License-Identifier: MIT */
/* What is asked of control groups, before any is looked for. */
#include "host/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "tests/unit/test.h"

static char why[512];

static const char *refused(const char *setting)
{
    log_catch(why, sizeof(why));
    int err = cgroup_setting(setting);
    log_catch(NULL, 0);
    CHECK_EQ(err, *why ? -EINVAL : 0);
    return why;
}

TEST(cgroup_settings_are_a_controllers_file_and_a_value)
{
    static const char *const bad[] = {
        "",           "=",          ".",        ".=",      "cpu",
        "cpu=1",      "cpu.max",    "cpu.max=", ".max=1",  "../x.y=1",
        "a.b/../c=1", "/etc/x.y=1", "a/b.c=1",  "cpu=1.5",
    };
    char text[400];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_HAS(refused(bad[i]), "CONTROLLER.FILE=VALUE");
    for (size_t n = 0; n < 300; n += 7) { /* names of any length */
        memset(text, 'a', sizeof(text));
        snprintf(text + n, sizeof(text) - n, ".%.*s=1", (int)n, text);
        if (n >= 32 || !n)
            CHECK_HAS(refused(text), "CONTROLLER.FILE=VALUE");
    }
    for (int i = 0; i < 32; i++)
        CHECK_STR(refused("cpuset.cpus=0-3,7"), "");
    CHECK_HAS(refused("cpuset.cpus=0"), "at most 32");
}

static const char *parent(const char *path)
{
    log_catch(why, sizeof(why));
    CHECK_EQ(cgroup_check(2, path, "vmm", "id"), -EINVAL);
    log_catch(NULL, 0);
    return why;
}

TEST(cgroup_parents_stay_below_the_topmost_group)
{
    static const char *const bad[] = {"/",      "/a",   "..",  "../a", "a/..",
                                      "a/../b", "a//b", "./a", "a/./b"};
    char text[1200];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_HAS(parent(bad[i]), "without ..");
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    CHECK_HAS(parent(text), "--parent-cgroup: must be up to");
}
