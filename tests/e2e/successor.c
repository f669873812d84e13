/* SPDX-License-Identifier: MIT */
/* A program that is to take over from a VMM and does not: its file's name says
 * how far it comes, WHEN-HOW. WHEN: start; ready, when it has said so; state,
 * when that has come. HOW: dies, hangs, raves, refuses. */
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

static void fail_as(const char *how)
{
    if (!strcmp(how, "refuses"))
        say("no I will not");
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
    fail_as(how);
    return 0;
}
