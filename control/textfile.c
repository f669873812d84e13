/* SPDX-License-Identifier: MIT */
/* -metrics: counters in a file, for who reads files.
 *
 * Meant for a node exporter's textfile directory. Such a file should be
 * replaced by a new one, lest a reader sees half of it; but in the sandbox none
 * can be made. So it is written over in place, by one call, and each number has
 * the same room however long it is: whenever it is read, every line is one. */
#include "control/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/use.h"
#include "control/metrics.h"

static struct {
    struct opts o;
    const char *path;
    uint32_t interval; /* seconds */
} told;

static struct {
    struct machine *m;
    struct timer timer;
    int fd;
    bool begun;
    size_t n; /* bytes written last */
    struct fault faults;
} file = {.fd = -1};

static const struct field textfile_fields[] = {
    FIELD(TEXT, "path", __typeof__(told), path, .arg = "FILE",
          .help = "to where"),
    FIELD(NUMBER, "interval", __typeof__(told), interval, .min = 1,
          .max = 86400, .def = 15, .help = "seconds between two times"),
    {.name = ""},
};

int textfile_option(const char *arg)
{
    if (word_among(arg, "help ?")) {
        fields_help(textfile_fields);
        return 1;
    }
    if (told.path)
        return fail(-EINVAL, "-metrics: one file is enough");
    int err = opts_parse(&told.o, "-metrics", arg, "path");
    if (!err)
        err = fields_read(textfile_fields, &told, &told.o);
    if (!err && (!told.path || !*told.path))
        err = fail(-EINVAL, "-metrics: FILE is missing");
    return err;
}

/* What is left of a longer text before becomes empty lines.
 *
 * syscalls loop if textfile: pwrite64 */
static void textfile_write(void)
{
    struct text text = {0};
    metrics_prometheus(file.m, &text, 20);
    size_t n = text.n;
    while (text.n < file.n && !text.cut)
        text_add(&text, "\n", 1);
    ssize_t got = text.cut ? -1 : pwrite(file.fd, text.p, text.n, 0);
    if (got != (ssize_t)text.n)
        fault_note(&file.faults, "-metrics %s: %s", told.path,
                   got < 0 ? strerror(errno) : "no room for all of it");
    file.n = n > file.n ? n : file.n;
    text_free(&text);
}

static void textfile_due(struct timer *t)
{
    textfile_write();
    timer_arm(t, now_ns() + told.interval * 1000000000ull);
}

int textfile_open(struct machine *m)
{
    struct stat st;
    if (!told.path)
        return 0;
    int fd = open(told.path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0)
        return fail(-errno, "-metrics %s: %s", told.path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return fail(-EINVAL, "-metrics %s: must be a regular file", told.path);
    }
    thread_uses(USE_TEXTFILE);
    file.m = m;
    file.fd = fd;
    timer_init(&file.timer, m->loop, textfile_due);
    return 0;
}

/* syscalls loop if textfile: ftruncate close */
void textfile_begin(void)
{
    if (file.fd < 0 || file.begun)
        return;
    file.begun = true;
    if (ftruncate(file.fd, 0))
        fault_note(&file.faults, "-metrics %s: %s", told.path, strerror(errno));
    textfile_due(&file.timer);
}

void textfile_end(void)
{
    if (file.fd >= 0) {
        timer_cancel(&file.timer);
        if (file.begun)
            textfile_write();
        close(file.fd);
    }
    file.fd = -1;
    file.n = 0;
    file.begun = false;
    opts_free(&told.o);
    told.path = NULL;
}
