/* SPDX-License-Identifier: MIT */
/* A program that is to take over from a VMM and does not: its file's name says
 * how far it comes, WHEN-HOW. WHEN: start; ready, when it has said so; state,
 * when that has come. HOW: dies, hangs, raves, refuses, repeats (that it is
 * ready), floods, babbles (without a word, and with a descriptor). The file
 * "stands" in the VMM's directory says that the guest stands still for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCK 3

static void say(const char *text)
{
    send(SOCK, text, strlen(text), MSG_NOSIGNAL);
}

static void hear(void)
{
    static char text[65536];
    recv(SOCK, text, sizeof(text), 0);
}

static void babble(void)
{
    static char much[200000];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } ctl = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                      .cmsg_level = SOL_SOCKET,
                      .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {much, sizeof(much)};
    const struct msghdr m = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &ctl,
                             .msg_controllen = sizeof(ctl.room)};
    memset(much, 0xff, sizeof(much));
    memcpy(CMSG_DATA(&ctl.head), &(int){2}, sizeof(int));
    while (sendmsg(SOCK, &m, MSG_NOSIGNAL) > 0)
        ;
}

static void fail_as(const char *how)
{
    if (!strcmp(how, "refuses"))
        say("no I will not\n\033[2Jand say so");
    if (!strcmp(how, "repeats"))
        say("ready");
    if (!strcmp(how, "babbles"))
        babble();
    if (!strcmp(how, "floods"))
        for (int i = 0; i < 100000; i++)
            say(i % 2 ? "took" : "ready now");
    if (!strcmp(how, "raves"))
        say("tookready");
    if (strcmp(how, "dies") != 0)
        for (;;)
            pause();
    abort();
}

int main(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    char *when = strrchr(path, '/') + 1, *how = strchr(when, '-');
    *how++ = '\0';
    hear();
    if (!strcmp(when, "start"))
        fail_as(how);
    say("ready");
    if (!strcmp(when, "ready"))
        fail_as(how);
    hear();
    fclose(fopen("stands", "w"));
    fail_as(how);
    return 0;
}
