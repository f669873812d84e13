/* SPDX-License-Identifier: MIT */
/* vmm doctor: can this machine run VMs, and if not, why not?
 *
 * What a user meets is looked at in the order in which they meet it, each thing
 * by doing what the VMM would do, as far as that changes nothing; the proof is
 * the bundled guest, in a child of this same binary. Each finding is one line;
 * what is wrong comes with the command that mends it. Things that only some
 * machines need (vhost, huge pages) are notes. */
#include "control/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/opts.h"
#include "base/text.h"
#include "host/child.h"

enum { DOCTOR_ILL = 1, DOCTOR_USAGE = 2, START_MS = 30000 };
#define FEW_FILES 256 /* a NIC of several queues, disks, sockets */

static struct {
    bool json, any, ill;
} doctor;

/* ------------------------------------------------------------------- telling
 */

static void doctor_say(const char *state, const char *check, const char *mend,
                       const char *fmt, va_list ap)
{
    char what[512];
    struct text t = {0};
    vsnprintf(what, sizeof(what), fmt, ap);
    if (!doctor.json) {
        printf("%-5s %s: %s%s%s\n", state, check, what,
               mend ? "; to mend it: " : "", mend ? mend : "");
        fflush(stdout);
        return;
    }
    text_put(&t, "%s{\"check\":", doctor.any ? ",\n" : "[");
    text_quote(&t, check);
    text_put(&t, ",\"state\":\"%s\",\"what\":", state);
    text_quote(&t, what);
    if (mend) {
        text_put(&t, ",\"mend\":");
        text_quote(&t, mend);
    }
    printf("%s}", t.p);
    text_free(&t);
    doctor.any = true;
}

void doctor_ok(const char *check, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    doctor_say("ok", check, NULL, fmt, ap);
    va_end(ap);
}

void doctor_note(const char *check, const char *mend, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    doctor_say("note", check, mend, fmt, ap);
    va_end(ap);
}

int doctor_bad(const char *check, const char *mend, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    doctor_say("bad", check, mend, fmt, ap);
    va_end(ap);
    doctor.ill = true;
    return -1;
}

/* --------------------------------------------------------------------- guest
 */

static _Noreturn void doctor_become(const char *const args[], int out)
{
    const char *argv[24] = {"vmm", "-shutdown-timeout", "0", "-m", "16M"};
    int n = 5, null = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    while (*args && n < 23)
        argv[n++] = *args++;
    execv("/proc/self/exe", (char **)argv);
    dprintf(STDERR_FILENO, "vmm: /proc/self/exe: %s\n", strerror(errno));
    _exit(1);
}

static int doctor_left(const struct timespec *end)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = (end->tv_sec - now.tv_sec) * 1000 +
              (end->tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? (int)ms : 0;
}

/* One line, whole: is it the one? The VMM's own say why it ended. */
static bool doctor_line(struct doctor_guest *g, char *line, const char *word)
{
    line[strcspn(line, "\r")] = '\0';
    if (!strncmp(line, "vmm: ", 5) && !strstr(line, "warning"))
        snprintf(g->said, sizeof(g->said), "%.250s", line + 5);
    return strstr(line, word) != NULL;
}

/* 0: it came; -1: nothing more will, or not in time. */
static int doctor_listen(struct doctor_guest *g, const char *word, int ms)
{
    char buf[1024];
    size_t n = 0;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000;
    for (;;) {
        struct pollfd p = {.fd = g->out, .events = POLLIN};
        char c;
        if (poll(&p, 1, doctor_left(&end)) <= 0 || read(g->out, &c, 1) != 1)
            return -1;
        if (c != '\n' && n < sizeof(buf) - 1) {
            buf[n++] = c;
            continue;
        }
        buf[n] = '\0';
        n = 0;
        if (doctor_line(g, buf, word))
            return 0;
    }
}

int doctor_guest(struct doctor_guest *g, const char *const args[],
                 const char *word, int ms)
{
    int p[2];
    snprintf(g->said, sizeof(g->said), "nothing was heard of it in %d s",
             ms / 1000);
    g->pid = -1;
    if (pipe2(p, O_CLOEXEC))
        return -1;
    g->out = p[0];
    fflush(stdout);
    g->pid = fork();
    if (!g->pid)
        doctor_become(args, p[1]);
    close(p[1]);
    int err = g->pid < 0 ? -1 : doctor_listen(g, word, ms);
    if (err)
        doctor_guest_end(g);
    return err;
}

void doctor_guest_end(struct doctor_guest *g)
{
    if (g->pid > 0) {
        kill(g->pid, SIGTERM);
        child_wait(g->pid);
        close(g->out);
    }
    g->pid = -1;
}

/* ------------------------------------------------------------------- devices
 */

/* The number of a device, as the kernel has it; -1: it has none. */
static int doctor_minor(const char *name)
{
    char line[64], has[40];
    int minor, found = -1;
    FILE *f = fopen("/proc/misc", "re");
    while (f && found < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "%d %39s", &minor, has) == 2 && !strcmp(has, name))
            found = minor;
    if (f)
        fclose(f);
    return found;
}

/* A flag of /proc/cpuinfo. */
static bool doctor_cpu_has(const char *flag)
{
    char line[4096];
    bool has = false;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        if (!strncmp(line, "flags", 5)) {
            has = word_among(flag, line);
            break;
        }
    }
    if (f)
        fclose(f);
    return has;
}

/* Can it be opened as the VMM opens it? 0; -1, said. */
static int doctor_device(const char *path, const char *name, const char *module)
{
    char mend[256];
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK), err = errno;
    if (fd >= 0) {
        close(fd);
        doctor_ok(name, "%s can be opened", path);
        return 0;
    }
    int minor = doctor_minor(name);
    const char *slash = strrchr(path, '/');
    if (err == ENOENT && minor >= 0)
        snprintf(mend, sizeof(mend), "mkdir -p %.*s && mknod -m 666 %s c 10 %d",
                 (int)(slash - path), path, path, minor);
    else if (err == ENOENT || err == ENODEV || err == ENXIO)
        snprintf(mend, sizeof(mend), "modprobe %s", module);
    else if (err == EACCES && !stat(path, &st) && st.st_gid &&
             (st.st_mode & 060) == 060)
        snprintf(mend, sizeof(mend),
                 "usermod -aG %u $(id -un %u), and log in again",
                 (unsigned)st.st_gid, (unsigned)geteuid());
    else
        snprintf(mend, sizeof(mend), "chmod 666 %s", path);
    return doctor_bad(name, mend, "%s: %s%s", path, strerror(err),
                      err == ENOENT && minor < 0
                          ? " (a container's /dev, a module, the BIOS, or a "
                            "hypervisor without nesting)"
                          : "");
}

static void doctor_cpu(void)
{
    if (doctor_cpu_has("vmx") || doctor_cpu_has("svm"))
        doctor_ok("cpu", "%s%s", doctor_cpu_has("vmx") ? "VMX" : "SVM",
                  doctor_cpu_has("hypervisor") ? ", nested in another VM" : "");
    else
        doctor_note("cpu", NULL,
                    "neither vmx nor svm: what KVM there is interprets guest "
                    "kernels; the bundled guest runs, a Linux does not");
}

static int doctor_kvm(void)
{
    struct doctor_guest g = {0};
    static const char *const args[] = {"-serial", "stdio", "-append",
                                       "test=poweroff", NULL};
    int err = doctor_device("/dev/kvm", "kvm",
                            doctor_cpu_has("svm") ? "kvm_amd" : "kvm_intel");
    doctor_cpu();
    if (err)
        return err;
    if (doctor_guest(&g, args, "guest: test=poweroff", START_MS))
        return doctor_bad("guest", NULL, "the bundled guest does not run: %s",
                          g.said);
    doctor_guest_end(&g);
    doctor_ok("guest", "the bundled guest runs");
    return 0;
}

/* ------------------------------------------------------- limits, and the rest
 */

/* What counts against guest memory; descriptors (the soft limit is raised);
 * pages that are locked for a device that is handed over. */
static void doctor_limits(void)
{
    struct rlimit as, files, locked;
    getrlimit(RLIMIT_AS, &as);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    if (as.rlim_cur != RLIM_INFINITY)
        doctor_bad("limits", "ulimit -v unlimited",
                   "address space %llu MiB, and guest memory counts in it",
                   (unsigned long long)as.rlim_cur >> 20);
    else if (files.rlim_max < FEW_FILES)
        doctor_bad("limits", "ulimit -n 1024",
                   "%llu descriptors, and some VMs need more",
                   (unsigned long long)files.rlim_max);
    else
        doctor_ok("limits", "%llu descriptors",
                  (unsigned long long)files.rlim_max);
    if (locked.rlim_cur < (64u << 20))
        doctor_note("memlock", "ulimit -l unlimited",
                    "%llu KiB; vfio-pci and mlock need the guest's size",
                    (unsigned long long)locked.rlim_cur >> 10);
}

static void doctor_vhost(void)
{
    if (access("/dev/vhost-net", R_OK | W_OK))
        doctor_note("vhost", "modprobe vhost_net",
                    "/dev/vhost-net: %s; only "
                    "vhost=on needs it",
                    strerror(errno));
    else
        doctor_ok("vhost", "/dev/vhost-net can be used");
}

static void doctor_huge(void)
{
    char line[32] = "0";
    FILE *f = fopen("/proc/sys/vm/nr_hugepages", "re");
    if (f && !fgets(line, sizeof(line), f))
        line[0] = '0';
    if (f)
        fclose(f);
    if (atoi(line) > 0)
        doctor_ok("hugepages", "%d", atoi(line));
    else
        doctor_note("hugepages", "sysctl -w vm.nr_hugepages=128",
                    "none; only -mem-path on hugetlbfs and hugetlb=on need "
                    "them");
}

static void doctor_userns(void)
{
    pid_t pid = fork();
    if (!pid)
        _exit(unshare(CLONE_NEWUSER) ? errno : 0);
    int err = pid < 0 ? errno : child_wait(pid);
    if (!err)
        doctor_ok("userns", "a user without privileges has a sandbox, too");
    else
        doctor_note("userns", "sysctl -w user.max_user_namespaces=10000",
                    "no user namespaces (%s): who is not root keeps the root "
                    "directory in the sandbox",
                    strerror(err));
}

static int doctor_passt(bool needed)
{
    char *path = child_find("passt");
    if (path)
        doctor_ok("passt", "%s", path);
    else if (needed)
        return doctor_bad("passt", "apt-get install passt",
                          "not in $PATH, and -nic user is made of it");
    else
        doctor_note("passt", "apt-get install passt",
                    "not in $PATH; only -nic user needs it");
    free(path);
    return 0;
}

static void doctor_user(void)
{
    struct doctor_guest g = {0};
    static const char *const args[] = {"-serial", "stdio",   "-nic", "user",
                                       "-append", "ip=dhcp", NULL};
    if (doctor_guest(&g, args, "guest: net up", START_MS)) {
        doctor_bad("user",
                   strstr(g.said, "rout") || strstr(g.said, "interface")
                       ? "ip route add default via GATEWAY"
                       : NULL,
                   "the guest gets no address of passt: %s", g.said);
        return;
    }
    doctor_guest_end(&g);
    doctor_ok("user", "the guest has an address of passt");
}

/* ---------------------------------------------------------------------- main
 */

static int doctor_help(void)
{
    puts("usage: vmm doctor [-json] [-tap NAME | -bridge BR | -user]\n\n"
         "says whether this machine can run VMs, and with a network of theirs, "
         "in which it\nboots the bundled guest, whether that works: a line "
         "for each thing, ok, note or\nbad with the command that mends it. It "
         "changes nothing.\n\n"
         "Exit codes: 0 all is well, 1 something is bad, 2 usage.");
    return fflush(stdout) ? DOCTOR_ILL : 0;
}

static void doctor_examine(const char *tap, const char *bridge, bool user)
{
    int err = doctor_kvm();
    doctor_limits();
    int net = 0;
    if (tap || bridge || !access("/dev/net/tun", R_OK | W_OK))
        net = doctor_device("/dev/net/tun", "tun", "tun");
    else
        doctor_note("tun", NULL, "/dev/net/tun: %s; only TAPs need it",
                    strerror(errno));
    if (!tap && !bridge && !user) {
        doctor_vhost();
        doctor_huge();
    }
    doctor_userns();
    if (doctor_passt(user) || err || net)
        return;
    if (user)
        doctor_user();
    if (tap || bridge)
        doctor_tap(tap ? tap : bridge, bridge);
}

int doctor_main(int argc, char **argv)
{
    const char *tap = NULL, *bridge = NULL;
    bool user = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        word += word[0] == '-' && word[1] == '-';
        if (word_among(word, "-help -h help"))
            return doctor_help();
        if (!strcmp(word, "-json"))
            doctor.json = true;
        else if (!strcmp(word, "-user"))
            user = true;
        else if (!strcmp(word, "-tap") && argv[i + 1])
            tap = argv[++i];
        else if (!strcmp(word, "-bridge") && argv[i + 1])
            bridge = argv[++i];
        else {
            log_line("doctor: %s: write vmm doctor [-json] [-tap NAME | "
                     "-bridge BR | -user]",
                     argv[i]);
            return DOCTOR_USAGE;
        }
    }
    if ((tap != NULL) + (bridge != NULL) + user > 1) {
        log_line("doctor: -tap, -bridge and -user: one at a time");
        return DOCTOR_USAGE;
    }
    const char *name = tap ? tap : bridge ? bridge : "tap0";
    if (!doctor_is_name(name)) {
        log_line("doctor: %s %s: no interface's name: 1 to 15 letters, digits "
                 "and ._@:+-",
                 tap ? "-tap" : "-bridge", name);
        return DOCTOR_USAGE;
    }
    doctor_examine(tap, bridge, user);
    if (doctor.json)
        puts("]");
    return fflush(stdout) || ferror(stdout) || doctor.ill ? DOCTOR_ILL : 0;
}
