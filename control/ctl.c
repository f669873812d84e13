/* SPDX-License-Identifier: MIT */
/* vmm ctl: the command that asks a running machine.
 *
 * It speaks what any HTTP client could at the socket of -control: PUT
 * /verbs/NAME. The verbs' table is the same, so their keys can be left out: an
 * argument without "=" is the next key's value. What it does not know it sends
 * all the same, as a device may. */
#include "control/ctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "control/clone.h"
#include "control/verbs.h"
#include "host/addr.h"
#include "host/terminal.h"

enum { CTL_REFUSED = 1, CTL_USAGE = 2, CTL_NOBODY = 3 };
#define CTL_SECONDS 10        /* for an answer */
#define CTL_SAVE_SECONDS 3600 /* to one that writes files first */

static int ctl_help(void)
{
    puts("usage: vmm ctl [-json] SOCKET VERB [VALUE|KEY=VALUE]...\n\n"
         "asks the machine whose -control socket this is:\n");
    for (const struct verb *v = verbs; v->name; v++) {
        char left[64];
        int n = snprintf(left, sizeof(left), "%s", v->name);
        for (const struct field *f = v->fields; f && f->name[0]; f++)
            n += snprintf(left + n, sizeof(left) - (size_t)n, " %s",
                          f->arg && f->type == FIELD_TEXT ? f->arg : "");
        for (const struct field *f = v->fields; f && f->name[0]; f++)
            for (int i = 0; f->type == FIELD_WORD && f->words[i]; i++)
                n += snprintf(left + n, sizeof(left) - (size_t)n, "%s%s",
                              i ? "|" : "", f->words[i]);
        printf("  %-20s %s\n", left, v->help);
    }
    puts("  powerdown            press the power button\n"
         "  ctrl-alt-del         press these keys\n"
         "  serial               attach to the guest's first serial port\n"
         "  clone N STATE MEM [KEY=VALUE]... [OPTION]...\n"
         "                       save it, and start N that go on from there; "
         "without\n"
         "                       SOCKET: of a snapshot\n"
         "and what else a device of it can do, with id= where several can.\n\n"
         "Exit codes: 0 done, 1 refused, 2 usage, 3 nobody answers.");
    return 0;
}

/* ----------------------------------------------------------------- request */

static int ctl_put_key(struct text *body, const char *key, size_t n,
                       const char *val)
{
    char name[64];
    if (!n || n >= sizeof(name))
        return fail(-EINVAL, "ctl: %s: no key", key);
    memcpy(name, key, n);
    name[n] = '\0';
    text_put(body, body->n > 1 ? "," : "");
    text_quote(body, name);
    text_put(body, ":");
    text_quote(body, val);
    return 0;
}

/* The "=" behind what can be a key; NULL: a value, though it may have one. */
static const char *ctl_equals(const char *arg)
{
    size_t n = strspn(arg, "abcdefghijklmnopqrstuvwxyz0123456789-_.");
    return n && arg[n] == '=' ? arg + n : NULL;
}

/* The arguments as a JSON object. A device's verb, which no table here has, is
 * told its id first. */
static int ctl_body(const struct verb *v, char **args, struct text *body)
{
    static const struct field only_id[] = {{.name = "id"}, {.name = ""}};
    const struct field *f = v ? v->fields : only_id;
    int err = 0;
    text_put(body, "{");
    for (; *args && !err; args++) {
        const char *eq = ctl_equals(*args);
        if (eq)
            err = ctl_put_key(body, *args, (size_t)(eq - *args), eq + 1);
        else if (!f || !f->name[0])
            err = fail(-EINVAL, "ctl: %s: one word too many; write KEY=VALUE",
                       *args);
        else
            err = ctl_put_key(body, f->name, strlen(f->name), *args);
        if (!eq && f && !err)
            f++;
    }
    text_put(body, "}");
    return err;
}

/* ------------------------------------------------------------ conversation */

static int ctl_dial(const char *path, int seconds)
{
    struct addr a;
    struct timeval patience = {.tv_sec = seconds};
    if (addr_unix("ctl", path, false, &a))
        return -EINVAL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && !connect(fd, &a.sa, a.len)) {
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        return fd;
    }
    int err = errno;
    if (fd >= 0)
        close(fd);
    fail(-err, "ctl %s: %s", path, strerror(err));
    return -err;
}

/* All that comes, until the other side hangs up, in `seconds` altogether. 0 or
 * -errno. */
static int ctl_listen(int fd, int seconds, struct text *answer)
{
    char buf[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t end = real_ms() + seconds * 1000ll, left;
    ssize_t n = 1;
    while (n > 0 && !answer->cut) {
        left = end - real_ms();
        if (left <= 0 || poll(&p, 1, (int)left) == 0)
            return -EAGAIN;
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            n = 1;
        else if (n > 0)
            text_add(answer, buf, (size_t)n);
    }
    return n < 0 ? -errno : answer->cut ? -EFBIG : 0;
}

static int ctl_talk(const char *path, const char *verb, const struct text *body,
                    struct text *answer)
{
    struct text out = {0};
    bool slow = !strcmp(verb, "snapshot") || !strcmp(verb, "upgrade");
    int seconds = slow ? CTL_SAVE_SECONDS : CTL_SECONDS;
    int fd = ctl_dial(path, seconds);
    if (fd < 0)
        return fd;
    text_put(&out,
             "PUT /verbs/%s HTTP/1.1\r\nHost: localhost\r\n"
             "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
             verb, body->n, body->p);
    ssize_t n = out.cut ? -1 : send(fd, out.p, out.n, MSG_NOSIGNAL);
    int err = n < 0 ? -errno : ctl_listen(fd, seconds, answer);
    if (!err && !answer->n)
        err = -ECONNRESET;
    text_free(&out);
    close(fd);
    if (err == -EAGAIN)
        return fail(err, "ctl %s: no answer within %d s", path, seconds);
    return err ? fail(err, "ctl %s: %s", path, strerror(-err)) : 0;
}

/* ------------------------------------------------------------------ answer */

/* The other side may be anybody's: what a terminal would take for an order
 * becomes a question mark, in place. */
static const char *ctl_plain(const char *text, bool lines)
{
    size_t n;
    for (char *s = (char *)(uintptr_t)text; *s; s += n ? n : 1) {
        unsigned char c = (unsigned char)*s;
        n = text_character(s);
        if (!n || (n == 1 && (c < 0x20 || c == 0x7f) && c != '\t' &&
                   !(lines && c == '\n')))
            *s = '?';
        else if (n == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0) /* C1 */
            s[0] = s[1] = '?';
    }
    return text;
}

/* An object's members as lines "key value"; false: it is no such object. */
static bool ctl_print_members(const char *json, size_t n)
{
    struct opts o;
    char why[256];
    opts_init(&o, "answer");
    log_catch(why, sizeof(why));
    int err = json_request(&o, json, n);
    log_catch(NULL, 0);
    for (int i = 0; !err && i < o.n; i++)
        printf("%s %s\n", ctl_plain(o.kv[i].key, false),
               ctl_plain(o.kv[i].val, false));
    opts_free(&o);
    return !err;
}

static void ctl_say_fault(const char *path, const char *json, size_t n)
{
    struct opts o;
    char why[256];
    opts_init(&o, "answer");
    log_catch(why, sizeof(why));
    json_request(&o, json, n);
    log_catch(NULL, 0);
    log_line("ctl %s: %s", path,
             ctl_plain(opts_str(&o, "fault_message", json), false));
    opts_free(&o);
}

static int ctl_show(const char *path, const struct text *answer, bool json)
{
    const char *end = strstr(answer->p, "\r\n\r\n");
    if (strncmp(answer->p, "HTTP/1.1 ", 9) != 0 || !end) {
        log_line("ctl %s: this is no -control socket", path);
        return CTL_NOBODY;
    }
    const char *body = end + 4, *code = answer->p + 9;
    size_t n = answer->n - (size_t)(body - answer->p);
    if (*code != '2') {
        if (json)
            printf("%s\n", ctl_plain(body, true));
        ctl_say_fault(path, body, n);
        return *code == '4' ? CTL_REFUSED : CTL_NOBODY;
    }
    if (n && (json || *body != '{' || !ctl_print_members(body, n)))
        printf("%s%s", ctl_plain(body, true), body[n - 1] == '\n' ? "" : "\n");
    return fflush(stdout) || ferror(stdout) ? CTL_REFUSED : 0;
}

/* ------------------------------------------------------------------ serial */

#define CTL_LEAVE 0x1d /* Ctrl-] */

/* Both do no more than tcsetattr() and the like, which may be called here. */
// NOLINTBEGIN(bugprone-signal-handler,cert-sig30-c)
static void ctl_on_end(int sig)
{
    terminal_restore();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void ctl_on_continue(int sig)
{
    (void)sig;
    terminal_take();
}
// NOLINTEND(bugprone-signal-handler,cert-sig30-c)

static bool ctl_write(const char *p, size_t n)
{
    while (n) {
        ssize_t got = write(STDOUT_FILENO, p, n);
        if (got < 0 && errno != EINTR)
            return false;
        p += got > 0 ? got : 0;
        n -= got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* Keys on their way. False: they are over. Of a terminal those are lost that a
 * guest does not take, so that it can be left always. */
static bool ctl_keys(int fd, bool keys)
{
    char buf[256];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
    if (n < 0 && errno == EINTR)
        return true;
    const char *end = n > 0 && keys ? memchr(buf, CTL_LEAVE, (size_t)n) : NULL;
    if (end)
        n = end - buf;
    if (n > 0)
        send(fd, buf, (size_t)n, MSG_NOSIGNAL | (keys ? MSG_DONTWAIT : 0));
    return n > 0 && !end;
}

/* Until either side ends. Behind the end of a file, what it said is waited for
 * to be taken. */
static int ctl_attached(int fd, bool keys)
{
    char buf[4096];
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                          {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        int some = poll(p, 2, p[1].fd < 0 ? CTL_SECONDS * 1000 : -1);
        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return fail(-EAGAIN, "ctl: the guest did not take all of it");
        ssize_t n = p[0].revents ? recv(fd, buf, sizeof(buf), 0) : -1;
        if (p[0].revents && n <= 0)
            return 0;
        if (n > 0 && !ctl_write(buf, (size_t)n))
            return fail(-EIO, "ctl: stdout: %s", strerror(errno));
        if (!p[1].revents || ctl_keys(fd, keys))
            continue;
        if (keys)
            return 0;
        p[1].fd = -1;
        shutdown(fd, SHUT_WR);
    }
}

/* The answer's head, byte by byte: what follows is the guest's. */
static int ctl_head(int fd, struct text *answer)
{
    char c;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (!answer->n || !strstr(answer->p, "\r\n\r\n")) {
        if (answer->n > 4096 || poll(&p, 1, CTL_SECONDS * 1000) <= 0 ||
            recv(fd, &c, 1, 0) != 1)
            return fail(-ECONNRESET, "ctl: no answer");
        text_add(answer, &c, 1);
    }
    return 0;
}

static int ctl_serial(const char *path)
{
    static const char ask[] = "GET /serial HTTP/1.1\r\nHost: localhost\r\n"
                              "Connection: Upgrade\r\nUpgrade: serial\r\n\r\n";
    struct text answer = {0};
    bool keys = isatty(STDIN_FILENO);
    int fd = ctl_dial(path, CTL_SECONDS), rc = CTL_NOBODY;
    if (fd < 0)
        return fd == -EINVAL ? CTL_USAGE : CTL_NOBODY;
    send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL);
    if (ctl_head(fd, &answer))
        goto out;
    if (strncmp(answer.p, "HTTP/1.1 101", 12) != 0) {
        shutdown(fd, SHUT_WR);
        rc = ctl_listen(fd, CTL_SECONDS, &answer) ? CTL_NOBODY
                                                  : ctl_show(path, &answer, 0);
        goto out;
    }
    if (keys) {
        log_line("ctl %s: attached; Ctrl-] leaves", path);
        for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, 0};
             *s; s++)
            signal(*s, ctl_on_end);
        signal(SIGCONT, ctl_on_continue);
        terminal_raw(STDIN_FILENO);
    }
    rc = ctl_attached(fd, keys) ? CTL_REFUSED : 0;
    terminal_restore();
out:
    text_free(&answer);
    close(fd);
    return rc;
}

/* ------------------------------------------------------------------- clone */

/* Of one that runs (`path`), which is saved first, or of a snapshot. What it is
 * saved into stays only where all goes well, or where there was another. */
static int ctl_clone(const char *path, char **args)
{
    struct text body = {0}, answer = {0};
    if (clone_read(args))
        return CTL_USAGE;
    char *files[] = {args[1], args[2], NULL};
    bool there = !path || !access(files[0], F_OK) || !access(files[1], F_OK);
    if (path) {
        int err = ctl_body(verb_find(verbs, "snapshot"), files, &body);
        if (!err)
            err = ctl_talk(path, "snapshot", &body, &answer);
        int rc = err ? CTL_NOBODY : ctl_show(path, &answer, false);
        text_free(&body);
        text_free(&answer);
        if (rc)
            return rc;
    }
    if (!clone_start())
        return 0;
    for (char **file = files; *file && !there; file++)
        unlink(*file);
    return CTL_REFUSED;
}

/* ------------------------------------------------------------------- main */

/* The option may stand anywhere, and goes. */
static int ctl_take_json(int argc, char **argv, bool *json)
{
    int n = 0;
    for (int i = 0; i < argc; i++)
        if (i && word_among(argv[i], "-json --json"))
            *json = true;
        else
            argv[n++] = argv[i];
    argv[n] = NULL;
    return n;
}

int ctl_main(int argc, char **argv)
{
    struct text body = {0}, answer = {0};
    bool json = false;
    /* Its options are others'. */
    if (argc > 1 && !strcmp(argv[1], "clone"))
        return ctl_clone(NULL, argv + 2);
    if (argc > 2 && !strcmp(argv[2], "clone"))
        return ctl_clone(argv[1], argv + 3);
    argc = ctl_take_json(argc, argv, &json);
    if (argc > 1 && word_among(argv[1], "help -help --help -h -?"))
        return ctl_help();
    const char *path = argc > 1 ? argv[1] : "", *verb = argc > 2 ? argv[2] : "";
    if (!*verb ||
        strspn(verb, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(verb)) {
        log_line("ctl: write vmm ctl SOCKET VERB; vmm ctl help lists them");
        return CTL_USAGE;
    }
    if (!strcmp(verb, "serial") && argc == 3)
        return ctl_serial(path);
    int err = ctl_body(verb_find(verbs, verb), argv + 3, &body);
    if (!err && !strcmp(verb, "stats") && !json && body.n == 2) {
        text_free(&body);
        text_put(&body, "{\"format\":\"text\"}");
    }
    int rc = CTL_USAGE;
    if (!err) {
        err = ctl_talk(path, verb, &body, &answer);
        rc = err == -EINVAL ? CTL_USAGE
             : err          ? CTL_NOBODY
                            : ctl_show(path, &answer, json);
    }
    text_free(&body);
    text_free(&answer);
    return rc;
}
