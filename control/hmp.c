/* SPDX-License-Identifier: MIT */
/* HMP: the monitor that people type at, and scripts that speak to it through
 * socat. It has what they need of a machine that runs, and no more.
 *
 * Theory of operation. A line is a command and its words; what it says and the
 * prompt go back. Who types at a terminal sees the keys, and may correct them
 * (a rubout, Ctrl-U); a script at a socket gets no echo. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/qmp.h"
#include "net/net.h"

#define HMP_LINE 1024
#define HMP_WORDS 4
#define PROMPT "(qemu) "

/* A command: its words and what is wrong with them, else what it says. */
struct hmp_command {
    const char *names, *args, *help; /* the first is told */
    const char *verb;                /* that it is, or NULL */
    int (*run)(char *word[HMP_WORDS], struct text *out);
};

void hmp_greet(struct monitor *mo)
{
    text_put(mo->out, "QEMU " QEMU_VERSION " monitor - type 'help' for more "
                      "information\r\n" PROMPT);
}

static int hmp_verb(const char *verb, const char *key, const char *val,
                    const char *key2, const char *val2)
{
    return qmp_verb(NULL, verb, key, val, key2, val2);
}

/* -------------------------------------------------------------------- info */

static void hmp_info_version(struct text *out)
{
    text_put(out, QEMU_VERSION " (vmm " VERSION ")\r\n");
}

static void hmp_info_status(struct text *out)
{
    const struct machine *m = monitors.ctl.m;
    const char *word = query_status_word(m);
    text_put(out, "VM status: %s%s%s%s\r\n", m->paused ? "paused" : word,
             m->paused && strcmp(word, "paused") ? " (" : "",
             m->paused && strcmp(word, "paused") ? word : "",
             m->paused && strcmp(word, "paused") ? ")" : "");
}

static void hmp_info_name(struct text *out)
{
    if (monitors.ctl.m->name)
        text_put(out, "%s\r\n", monitors.ctl.m->name);
}

static void hmp_info_cpus(struct text *out)
{
    const struct machine *m = monitors.ctl.m;
    for (unsigned i = 0; i < m->ncpus; i++)
        text_put(out, "%s CPU #%u: thread_id=%d\r\n", i ? " " : "*", i,
                 m->ops->cpu_thread ? m->ops->cpu_thread(m, i) : 0);
}

static void hmp_info_balloon(struct text *out)
{
    uint64_t actual;
    if (query_balloon_actual(monitors.ctl.m, &actual))
        text_put(out, "balloon: actual=%llu\r\n",
                 (unsigned long long)actual >> 20);
    else
        text_put(out, "Error: No balloon device has been activated\r\n");
}

static void hmp_info_network(struct text *out)
{
    for (const struct device *d = monitors.ctl.m->devices; d; d = d->next) {
        if (!d->cls || !fields_find(d->cls->fields, "netdev"))
            continue;
        const char *id = opts_str(&d->opts, "netdev", "");
        const struct netdev *nd = netdev_find(id);
        text_put(out, "%s: type=nic,model=%s,macaddr=%s\r\n", d->id,
                 d->cls->name, opts_str(&d->opts, "mac", "its own"));
        if (nd)
            text_put(out, " \\ %s: type=%s,link=%s\r\n", id,
                     nd->cls ? nd->cls->name : "",
                     netdev_link(nd) ? "up" : "down");
    }
}

static const struct {
    const char *name, *help;
    void (*put)(struct text *out);
} infos[] = {
    {"version", "what this is", hmp_info_version},
    {"status", "whether the guest runs", hmp_info_status},
    {"name", "the machine's, of -name", hmp_info_name},
    {"cpus", "processors, and their threads", hmp_info_cpus},
    {"network", "NICs, and what they are on", hmp_info_network},
    {"balloon", "what the guest has of its memory, in MiB", hmp_info_balloon},
};

/* Each line has two words at the least, which qmp-shell counts on. */
static int hmp_info(char *word[HMP_WORDS], struct text *out)
{
    for (size_t i = 0; i < ARRAY_LEN(infos); i++) {
        if (!word[1])
            text_put(out, "info %s  -- %s\r\n", infos[i].name, infos[i].help);
        else if (!strcmp(word[1], infos[i].name)) {
            infos[i].put(out);
            return 0;
        }
    }
    return word[1]
               ? fail(-EINVAL, "info: there is no %s; info lists them", word[1])
               : 0;
}

/* ---------------------------------------------------------------- commands */

static int hmp_powerdown(char *word[HMP_WORDS], struct text *out)
{
    (void)word, (void)out;
    int err = hmp_verb("powerdown", NULL, NULL, NULL, NULL);
    return err == -EAGAIN ? 0 : err; /* the button was pressed */
}

static int hmp_link(char *word[HMP_WORDS], struct text *out)
{
    (void)out;
    if (!word[1] || !word[2] || !word_among(word[2], "on off"))
        return fail(-EINVAL, "set_link: write set_link ID on|off");
    return hmp_verb("link", "id", word[1], "state",
                    strcmp(word[2], "on") ? "down" : "up");
}

static int hmp_balloon(char *word[HMP_WORDS], struct text *out)
{
    char size[32];
    uint64_t actual;
    (void)out;
    if (!query_balloon_actual(monitors.ctl.m, &actual))
        return fail(-ENODEV, "No balloon device has been activated");
    if (!word[1])
        return fail(-EINVAL, "balloon: write balloon MIB");
    snprintf(size, sizeof(size), "%.20sM", word[1]);
    return hmp_verb("balloon", "size", size, NULL, NULL);
}

static int hmp_help(char *word[HMP_WORDS], struct text *out);

static const struct hmp_command commands[] = {
    {"help ?", "[COMMAND]", "what there is", NULL, hmp_help},
    {"info", "[WHAT]", "about the machine", NULL, hmp_info},
    {"stop s", "", "the guest stands still", "pause", NULL},
    {"cont c", "", "it goes on", "resume", NULL},
    {"system_powerdown", "", "press the power button", NULL, hmp_powerdown},
    {"system_reset", "", "start it again", "reset", NULL},
    {"quit q", "", "end it at once", "quit", NULL},
    {"balloon", "MIB", "what the guest is to have", NULL, hmp_balloon},
    {"set_link", "ID on|off", "put a cable back, or pull it", NULL, hmp_link},
};

static int hmp_help(char *word[HMP_WORDS], struct text *out)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct hmp_command *c = &commands[i];
        if (!word[1] || word_among(word[1], c->names))
            text_put(out, "%.*s %s -- %s\r\n", (int)strcspn(c->names, " "),
                     c->names, c->args, c->help);
    }
    return 0;
}

static int hmp_do(char *word[HMP_WORDS], struct text *out)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct hmp_command *c = &commands[i];
        if (!word_among(word[0], c->names))
            continue;
        return c->run ? c->run(word, out)
                      : hmp_verb(c->verb, NULL, NULL, NULL, NULL);
    }
    return fail(-EINVAL, "unknown command: '%.100s'", word[0]);
}

void hmp_line(const char *line, struct text *out)
{
    char copy[HMP_LINE], *word[HMP_WORDS + 1] = {NULL}, *rest, why[512] = "";
    unsigned n = 0;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *w = strtok_r(copy, " \t\r", &rest); w && n < HMP_WORDS;
         w = strtok_r(NULL, " \t\r", &rest))
        word[n++] = w;
    if (!n)
        return;
    log_catch(why, sizeof(why));
    int err = hmp_do(word, out);
    log_catch(NULL, 0);
    if (err && err != -EINPROGRESS)
        text_put(out, "Error: %s\r\n", why);
}

void hmp_done(struct monitor *mo, int err, const char *why)
{
    if (err)
        text_put(mo->out, "Error: %s\r\n", why);
    text_put(mo->out, PROMPT);
}

/* ------------------------------------------------------------------- lines */

#define CTRL(c) ((c)&0x1f)

/* A key of who types: false where it is none of the line's. */
static bool hmp_edit(struct monitor *mo, char c)
{
    if (c == '\b' || c == 0x7f) {
        if (mo->id.n) {
            mo->id.p[--mo->id.n] = '\0';
            text_put(mo->out, "\b \b");
        }
        return true;
    }
    if (c != CTRL('u'))
        return false;
    text_put(mo->out, "\r\x1b[K" PROMPT);
    text_free(&mo->id);
    return true;
}

/* The line so far is in mo->id. False: it is not at its end. */
static bool hmp_key(struct monitor *mo, char c)
{
    bool behind_cr = mo->cr;
    mo->cr = c == '\r';
    if (c == '\n' && behind_cr) /* of the line that has been, and may have come
                                   before it */
        return false;
    if (c == '\r' || c == '\n')
        return true;
    if (mo->echo && hmp_edit(mo, c))
        return false;
    if ((unsigned char)c < 0x20 || mo->id.n >= HMP_LINE - 1)
        return false;
    text_add(&mo->id, &c, 1);
    if (mo->echo)
        text_add(mo->out, &c, 1);
    return false;
}

bool hmp_next(struct monitor *mo)
{
    bool whole = false;
    while (!whole && mo->from < mo->n)
        whole = hmp_key(mo, mo->in[mo->from++]);
    if (!whole)
        return false;
    if (mo->echo)
        text_put(mo->out, "\r\n");
    if (mo->id.n)
        hmp_line(mo->id.p, mo->out);
    text_free(&mo->id);
    text_put(mo->out, PROMPT);
    return mo->from < mo->n;
}
