/* SPDX-License-Identifier: MIT */
/* vmm jail: a VMM in a root directory, and with a user, of its own.
 *
 * Theory of operation. Options and layout are those of Firecracker's jailer, so
 * who drives that drives this: BASE/NAME/ID/root, NAME being the program's, is
 * the root directory; in it are dev/kvm, dev/net/tun, dev/urandom (and
 * dev/userfaultfd where the host has it), run/ for the API's socket, and
 * NAME.pid; all but the last belong to the user. Files for the guest are put
 * beside them by the caller.
 *
 * The program is not copied there: it is opened before the root directory
 * changes, and executed as that descriptor (execveat(2)). So it need not be
 * found in the jail, nothing in there can be executed (the root is mounted
 * noexec), and all jails share one file in the page cache.
 *
 * All that can be looked at is looked at before anything is made, and what was
 * made goes again if the rest fails (host/made.h). Root is given up with the
 * saved IDs left behind, which is no power: execve(2) sets them to the others;
 * but if it fails, what was made can still be removed. */
#include "control/jail.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/opts.h"
#include "host/cgroup.h"
#include "host/jailroot.h"
#include "host/made.h"
#include "host/process.h"

enum { JAIL_FAILED = 1, JAIL_USAGE = 2, ID_MAX = 64, FILES = 2048 };

static struct {
    const char *id, *file, *uid_text, *gid_text, *base, *netns;
    const char *parent, *version;
    bool daemonize, pid_ns;
    uid_t uid;
    gid_t gid;
    const char *name; /* of the program, without its directories */
    char pid_file[NAME_MAX + 1];
    char path[PATH_MAX]; /* of the root directory */
    uint64_t fsize, files;
    int program, dir, root, ns, null, pid_fd;
    char **args; /* for the program */
} jail;

/* ----------------------------------------------------------------- arguments
 */

static int jail_limit(const char *text)
{
    if (!strncmp(text, "fsize=", 6))
        return parse_u64("--resource-limit fsize", text + 6, 0, INT64_MAX,
                         &jail.fsize);
    if (!strncmp(text, "no-file=", 8))
        return parse_u64("--resource-limit no-file", text + 8, 8, 1 << 30,
                         &jail.files);
    return fail(-EINVAL, "--resource-limit %s: must be fsize=N or no-file=N",
                text);
}

static const struct row {
    const char *name, *arg; /* NULL: it has none */
    const char **text;
    bool *flag;
    int (*call)(const char *arg);
    const char *help;
} rows[] = {
    {"id", "ID", &jail.id, NULL, NULL, "the microVM's: letters, digits, -"},
    {"exec-file", "FILE", &jail.file, NULL, NULL,
     "the VMM: this program, or another that is static"},
    {"uid", "N", &jail.uid_text, NULL, NULL, "the user it becomes"},
    {"gid", "N", &jail.gid_text, NULL, NULL, "and the group"},
    {"chroot-base-dir", "DIR", &jail.base, NULL, NULL,
     "jails are made below it (/srv/jailer)"},
    {"netns", "PATH", &jail.netns, NULL, NULL,
     "the network namespace it joins"},
    {"daemonize", NULL, NULL, &jail.daemonize, NULL,
     "in the background, without a terminal"},
    {"new-pid-ns", NULL, NULL, &jail.pid_ns, NULL,
     "as process 1 of its own processes"},
    {"cgroup-version", "1|2", &jail.version, NULL, NULL,
     "of the groups below (1)"},
    {"cgroup", "FILE=VALUE", NULL, NULL, cgroup_setting,
     "what is written into its group; may repeat"},
    {"parent-cgroup", "PATH", &jail.parent, NULL, NULL,
     "of its group (the program's name)"},
    {"resource-limit", "R=N", NULL, NULL, jail_limit,
     "fsize= bytes of a file, no-file= descriptors (2048)"},
};

bool jail_meant(int argc, char **argv)
{
    const char *name = argc ? strrchr(argv[0], '/') : NULL;
    name = name ? name + 1 : argc ? argv[0] : "";
    return !strcmp(name, "jailer") || (argc > 1 && !strcmp(argv[1], "jail"));
}

static int jail_help(void)
{
    puts("usage: vmm jail --id ID --exec-file FILE --uid N --gid N [OPTION]... "
         "[-- ARG...]\n\nstarts FILE --id ID ARG... in a root directory of its "
         "own, as Firecracker's jailer:\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char left[40];
        snprintf(left, sizeof(left), "--%s %s", rows[i].name,
                 rows[i].arg ? rows[i].arg : "");
        printf("  %-24s %s\n", left, rows[i].help);
    }
    puts(
        "\nExit codes: 0 it runs, in another process, 1 it does not, 2 usage.");
    return fflush(stdout) || ferror(stdout) ? JAIL_FAILED : 0;
}

/* One at argv[*i], and its value. */
static int jail_take(int *i, char **argv)
{
    const char *word = argv[*i], *val = NULL;
    size_t n = !strncmp(word, "--", 2) ? strcspn(word + 2, "=") : 0;
    const struct row *r = NULL;
    for (size_t k = 0; n && !r && k < ARRAY_LEN(rows); k++)
        if (!strncmp(rows[k].name, word + 2, n) && !rows[k].name[n])
            r = &rows[k];
    if (!r)
        return fail(-EINVAL, "%s: no option of jail; --help lists them", word);
    if (word[2 + n])
        val = word + 2 + n + 1;
    if (r->flag) {
        *r->flag = true;
        return val ? fail(-EINVAL, "--%s: has no value", r->name) : 0;
    }
    if (!val && !(val = argv[*i + 1]))
        return fail(-EINVAL, "--%s: needs a value: --%s %s", r->name, r->name,
                    r->arg);
    *i += !word[2 + n];
    if (r->text)
        *r->text = val;
    return r->call ? r->call(val) : 0;
}

/* ------------------------------------------------------------------- looking
 */

static int jail_check_words(void)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    uint64_t uid, gid;
    const char *missing = !jail.id         ? "id"
                          : !jail.file     ? "exec-file"
                          : !jail.uid_text ? "uid"
                          : !jail.gid_text ? "gid"
                                           : NULL;
    if (missing)
        return fail(-EINVAL, "jail: --%s is missing", missing);
    size_t n = strlen(jail.id);
    if (!n || n > ID_MAX || strspn(jail.id, good) != n)
        return fail(-EINVAL,
                    "--id %s: must be 1 to %d letters, digits and dashes",
                    jail.id, ID_MAX);
    if (!word_among(jail.version, "1 2"))
        return fail(-EINVAL, "--cgroup-version %s: must be 1 or 2",
                    jail.version);
    if (parse_u64("--uid", jail.uid_text, 0, (uid_t)-2, &uid) ||
        parse_u64("--gid", jail.gid_text, 0, (gid_t)-2, &gid))
        return -EINVAL;
    jail.uid = (uid_t)uid;
    jail.gid = (gid_t)gid;
    return 0;
}

/* In the jail there is nothing that a program could be completed with. */
static int jail_check_program(void)
{
    union {
        Elf64_Ehdr e;
        char bytes[4096];
    } head = {.bytes = {0}};
    struct stat st;
    const char *slash = strrchr(jail.file, '/');
    jail.name = slash ? slash + 1 : jail.file;
    jail.program = open(jail.file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (jail.program < 0 || fstat(jail.program, &st) || access(jail.file, X_OK))
        return fail(-errno, "--exec-file %s: %s", jail.file, strerror(errno));
    ssize_t n = S_ISREG(st.st_mode)
                    ? pread(jail.program, head.bytes, sizeof(head.bytes), 0)
                    : -1;
    if (n < (ssize_t)sizeof(head.e) ||
        memcmp(head.e.e_ident, ELFMAG, SELFMAG) != 0)
        return fail(-ENOEXEC, "--exec-file %s: no program", jail.file);
    if (snprintf(jail.pid_file, sizeof(jail.pid_file), "%s.pid", jail.name) >=
        (int)sizeof(jail.pid_file))
        return fail(-ENAMETOOLONG, "--exec-file %s: too long", jail.file);
    for (size_t i = 0; i < head.e.e_phnum; i++) {
        Elf64_Phdr ph;
        size_t at = head.e.e_phoff + i * sizeof(ph);
        if (at > sizeof(head.bytes) - sizeof(ph))
            break;
        memcpy(&ph, head.bytes + at, sizeof(ph));
        if (ph.p_type == PT_INTERP)
            return fail(-ENOEXEC,
                        "--exec-file %s: needs libraries, and a jail has none; "
                        "link it statically",
                        jail.file);
    }
    return 0;
}

static int jail_check_netns(void)
{
    if (!jail.netns)
        return 0;
    jail.ns = open(jail.netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (jail.ns < 0)
        return fail(-errno, "--netns %s: %s", jail.netns, strerror(errno));
    if (ioctl(jail.ns, NS_GET_NSTYPE) != CLONE_NEWNET)
        return fail(-EINVAL, "--netns %s: no network namespace", jail.netns);
    return 0;
}

/* Somebody of this ID is there, or was, and what they left is not ours. */
static int jail_check_free(void)
{
    char path[PATH_MAX];
    struct stat st;
    char *base = realpath(jail.base, NULL);
    if (!base)
        return fail(-errno, "--chroot-base-dir %s: %s; mkdir -p %s", jail.base,
                    strerror(errno), jail.base);
    int n = snprintf(jail.path, sizeof(jail.path), "%s/%s/%s/root", base,
                     jail.name, jail.id);
    free(base);
    if (n >= (int)sizeof(jail.path) ||
        snprintf(path, sizeof(path), "%s/%s", jail.path, jail.pid_file) >=
            (int)sizeof(path))
        return fail(-ENAMETOOLONG, "--chroot-base-dir %s: too long", jail.base);
    if (!lstat(path, &st))
        return fail(-EEXIST,
                    "%s: is there: a jail of this ID runs, or was left; "
                    "rm -r %.*s",
                    path, n - 5, jail.path);
    jail.dir = open(jail.base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return jail.dir < 0 ? fail(-errno, "--chroot-base-dir %s: %s", jail.base,
                               strerror(errno))
                        : 0;
}

static int jail_check(void)
{
    int err = jail_check_words();
    if (!err && geteuid())
        err = fail(-EPERM, "jail: only root can; sudo");
    if (!err)
        err = jail_check_program();
    if (!err)
        err = jail_check_netns();
    if (!err)
        err = jail_check_free();
    if (!err)
        err = cgroup_check(*jail.version == '2' ? 2 : 1, jail.parent, jail.name,
                           jail.id);
    jail.null = err ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
    if (!err && jail.null < 0)
        err = fail(-errno, "/dev/null: %s", strerror(errno));
    return err;
}

/* -------------------------------------------------------------------- making
 */

static int jail_cannot(const char *what, int err)
{
    return fail(err, "%s/%s: %s", jail.path, what, strerror(-err));
}

static int jail_make(void)
{
    char below[NAME_MAX + ID_MAX + 16];
    snprintf(below, sizeof(below), "%s/%s/root", jail.name, jail.id);
    jail.root = made_dirs(jail.dir, below, 0755);
    if (jail.root < 0)
        return fail(jail.root, "%s: %s", jail.path, strerror(-jail.root));
    /* First: of two jails that are made at once, one has it. */
    jail.pid_fd = openat(jail.root, jail.pid_file,
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (jail.pid_fd < 0)
        return jail_cannot(jail.pid_file, -errno);
    made_note(jail.root, jail.pid_file, 0);
    int err = jailroot_make(jail.path, jail.root, jail.uid, jail.gid);
    return err ? err : cgroup_make();
}

/* ------------------------------------------------------------------ entering
 */

/* Limits on processes count all of a user's, and were root's. */
static int jail_enter(void)
{
    const struct rlimit files = {jail.files, jail.files};
    const struct rlimit size = {jail.fsize, jail.fsize};
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    if (jail.ns >= 0 && setns(jail.ns, CLONE_NEWNET))
        return fail(-errno, "--netns %s: %s", jail.netns, strerror(errno));
    int err = jailroot_enter(jail.path, jail.root);
    if (err)
        return fail(err, "%s: cannot be made the root directory: %s", jail.path,
                    strerror(-err));
    setrlimit(RLIMIT_NPROC, &all);
    if (setrlimit(RLIMIT_NOFILE, &files) ||
        (jail.fsize != RLIM_INFINITY && setrlimit(RLIMIT_FSIZE, &size)))
        return fail(-errno, "--resource-limit: %s", strerror(errno));
    return cgroup_join();
}

static int jail_write_pid(pid_t pid)
{
    return dprintf(jail.pid_fd, "%d", pid) < 0
               ? jail_cannot(jail.pid_file, -errno)
               : 0;
}

/* Returns only if it cannot: -errno, and with the rights it had. */
static int jail_execute(void)
{
    char *none[] = {NULL};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!setgroups(0, NULL) && !setresgid(jail.gid, jail.gid, (gid_t)-1) &&
        !setresuid(jail.uid, jail.uid, (uid_t)-1))
        syscall(SYS_execveat, jail.program, "", jail.args, none, AT_EMPTY_PATH);
    int err = -errno;
    if (setresuid(0, 0, 0) || setresgid(0, 0, 0))
        log_line("jail: %s stays", jail.path);
    return err;
}

/* In another process, whose start is waited for: it says why it failed, or
 * closes the pipe as it becomes the program. */
static int jail_fork(void)
{
    int p[2], err = 0;
    if (pipe2(p, O_CLOEXEC) || (jail.pid_ns && unshare(CLONE_NEWPID)))
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (!pid) {
        for (int fd = 0; jail.daemonize && fd <= STDERR_FILENO; fd++)
            dup2(jail.null, fd);
        if (jail.daemonize)
            setsid();
        err = jail_execute();
        _exit(write(p[1], &err, sizeof(err)) < 0);
    }
    close(p[1]);
    int told = jail_write_pid(pid);
    if (told)
        kill(pid, SIGKILL);
    ssize_t n;
    do
        n = read(p[0], &err, sizeof(err));
    while (n < 0 && errno == EINTR);
    if (n > 0 || told)
        waitpid(pid, NULL, 0);
    return n > 0 ? err : told;
}

static int jail_run(void)
{
    bool other = jail.daemonize || jail.pid_ns;
    int err = jail_make();
    if (!err)
        err = jail_enter();
    if (!err && !other)
        err = jail_write_pid(getpid());
    if (!err) {
        err = other ? jail_fork() : jail_execute();
        if (err)
            fail(err, "--exec-file %s: %s", jail.file, strerror(-err));
    }
    if (err) {
        cgroup_leave();
        made_undo();
    }
    return err ? JAIL_FAILED : 0;
}

/* The program's arguments: its name, --id ID, and what comes behind --. */
static int jail_arguments(int argc, char **argv)
{
    int err = 0, i = 1;
    for (; i < argc && !err && strcmp(argv[i], "--") != 0; i++)
        err = jail_take(&i, argv);
    jail.args = calloc((size_t)argc + 4, sizeof(char *));
    if (err || !jail.args)
        return -EINVAL;
    err = jail_check();
    jail.args[0] = (char *)jail.name;
    jail.args[1] = (char *)"--id";
    jail.args[2] = (char *)jail.id;
    for (int n = 3; ++i < argc; n++)
        jail.args[n] = argv[i];
    return err;
}

int jail_main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "jail")) {
        argc--;
        argv++;
    }
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (word_among(argv[i], "--help -help -h help"))
            return jail_help();
        if (!strcmp(argv[i], "--version")) {
            puts("Jailer v" VERSION " of vmm");
            return fflush(stdout) ? JAIL_FAILED : 0;
        }
    }
    jail.base = "/srv/jailer";
    jail.version = "1";
    jail.fsize = RLIM_INFINITY;
    jail.files = FILES;
    jail.ns = -1;
    process_early();
    fd_close_inherited();
    umask(022);
    int err = jail_arguments(argc, argv);
    int rc = err == -EINVAL ? JAIL_USAGE : err ? JAIL_FAILED : jail_run();
    free(jail.args);
    return rc;
}
