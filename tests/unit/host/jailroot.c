/* SPDX-License-Identifier: MIT */
/* A jail's root directory is the one that was looked at. */
#include "host/jailroot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/test.h"

static int enters(const char *path, int at)
{
    int status = -1;
    pid_t pid = fork();
    if (!pid)
        _exit(-jailroot_enter(path, at));
    waitpid(pid, &status, 0);
    return -WEXITSTATUS(status);
}

/* Who may write to the directory above has put another in its place. */
TEST(jailroot_another_directory_of_that_path_is_refused)
{
    char one[] = "/tmp/vmm-jailroot-XXXXXX",
         other[] = "/tmp/vmm-jailroot-XXXXXX";
    REQUIRE(mkdtemp(one) && mkdtemp(other));
    int fd = open(one, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    int err = enters(one, fd);
    if (err == -EPERM) {
        rmdir(one);
        rmdir(other);
        close(fd);
        SKIP("only root can have mounts of its own");
    }
    CHECK_EQ(err, 0);
    CHECK_EQ(enters(other, fd), -ESTALE);
    REQUIRE_EQ(rmdir(one), 0);
    REQUIRE_EQ(symlink("/", one), 0);
    CHECK_EQ(enters(one, fd), -ESTALE);
    CHECK_EQ(unlink(one), 0);
    CHECK_EQ(rmdir(other), 0); /* and it is no mount */
    close(fd);
}
