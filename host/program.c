/* SPDX-License-Identifier: MIT */
/* Programs that serve this process: see program.h. */
#include "host/program.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/use.h"
#include "host/peer.h"

#define LINES_MAX 20 /* of one: no more than a person reads */
#define STAYS_NS 5000000000u

int program_check(struct program *p)
{
    p->says.fd = -1;
    snprintf(p->who, sizeof(p->who), "%s of %s", p->argv[0], p->id);
    p->way = helper_program(p->who, (const char *const *)p->argv, p->listens);
    return p->way < 0 ? p->way : 0;
}

/* ------------------------------------------------------------ what it says */

/* Without "PROGRAM: OPTION VALUE: ", which is ours and no user's. */
static const char *program_text(const struct program *p)
{
    const char *text = p->line;
    size_t n = strlen(p->argv[0]);
    if (strncmp(text, p->argv[0], n) || strncmp(text + n, ": ", 2))
        return text;
    text += n + 2;
    for (int i = 1; p->argv[i] && p->argv[i + 1]; i++) {
        size_t a = strlen(p->argv[i]), b = strlen(p->argv[i + 1]);
        if (!strncmp(text, p->argv[i], a) && text[a] == ' ' &&
            !strncmp(text + a + 1, p->argv[i + 1], b) &&
            !strncmp(text + a + 1 + b, ": ", 2))
            return text + a + b + 3;
    }
    return text;
}

static void program_line(struct program *p)
{
    p->line[p->nline] = '\0';
    p->kept = p->nline && p->terse && !p->opened; /* program_failed's */
    if (p->nline && !p->kept && p->lines++ < LINES_MAX)
        log_line("%s: %s: %s", p->id, p->argv[0], program_text(p));
}

/* syscalls loop if program: read close */
static void program_hear(struct program *p)
{
    char buf[1024];
    ssize_t n = read(p->says.fd, buf, sizeof(buf));
    for (ssize_t i = 0; i < n && !p->kept; i++) {
        bool end = buf[i] == '\n';
        if (!end)
            p->line[p->nline++] = (char)(buf[i] >= ' ' ? buf[i] : '?');
        if (!end && p->nline < sizeof(p->line) - 1)
            continue;
        program_line(p);
        p->nline = 0;
    }
}

static void program_deaf(struct program *p)
{
    loop_del(&p->says);
    if (p->says.fd >= 0)
        close(p->says.fd);
    p->says.fd = -1;
    p->nline = p->lines = 0;
    p->kept = false;
}

static void program_says(struct event *ev, uint32_t got)
{
    struct program *p = container_of(ev, struct program, says);
    program_hear(p);
    if (!(got & EPOLLIN))
        program_deaf(p);
}

/* Its stderr is a pipe that the loop reads. */
static int program_listen(struct program *p, int fd)
{
    program_deaf(p);
    p->line[0] = '\0';
    p->says = (struct event){.fd = fd, .want = EPOLLIN, .ready = program_says};
    return loop_add(p->loop, &p->says);
}

/* ----------------------------------------------------------------- starting */

/* It runs, or does not; program_open waits for it, later ones come to the peer.
 */
static void program_started(struct helper_ask *a, int err, const int fd[2])
{
    struct program *p = container_of(a, struct program, ask);
    p->born = now_ns();
    if (!err)
        err = program_listen(p, fd[1]);
    if (err && fd[0] >= 0)
        close(fd[0]);
    p->first = err ? err : fd[0];
    if (p->opened)
        peer_dialled(p->peer, p->first);
}

int program_dial(struct program *p)
{
    bool brief = p->born && now_ns() - p->born < STAYS_NS;
    if (brief && ++p->quick >= 3 && !p->forever)
        return -ECANCELED;
    if (!brief)
        p->quick = 0;
    p->ask.done = program_started;
    int err = helper_connect(&p->ask, p->way);
    return err ? err : -EINPROGRESS;
}

int peer_dial_program(struct peer *peer)
{
    return program_dial(peer->program);
}

int program_open(struct program *p, const char *what, struct loop *l)
{
    p->loop = l;
    thread_uses(USE_PROGRAM);
    int fd = program_dial(p);
    if (fd == -EINPROGRESS) {
        helper_wait(&p->ask);
        fd = p->first;
    }
    if (fd == -ENOENT)
        return fail(fd, "%s: %s is not installed; sudo apt install %s", what,
                    p->argv[0], p->package);
    if (fd < 0)
        return fail(fd, "%s: %s: cannot start it: %s", what, p->argv[0],
                    strerror(-fd));
    return fd;
}

void program_runs(struct program *p)
{
    p->opened = true;
    p->kept = false;
    if (p->peer)
        p->peer->program = p;
}

int program_failed(struct program *p, const char *what)
{
    poll(NULL, 0, 20); /* for its last words */
    program_hear(p);
    program_hear(p);
    int err = fail(-EIO, "%s: %s%s%s ended at once%s%s", what,
                   p->about ? p->about : "", p->about ? ": " : "", p->argv[0],
                   p->terse ? ": " : "; what it says is above",
                   p->terse ? program_text(p) : "");
    program_deaf(p);
    return err;
}

void program_end(struct program *p)
{
    helper_forget(&p->ask);
    if (p->says.fd >= 0)
        program_hear(p);
    program_deaf(p);
}
