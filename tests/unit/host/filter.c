/* SPDX-License-Identifier: MIT */
/* Filters of system calls: what is on which list, and what becomes of a call
 * that is not. */
#include "host/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "tests/unit/test.h"

#define ALL_USES (~0u)
#define TAP_USES (1u << USE_ALWAYS | 1u << USE_TAP)

/* What the kernel would do, of the instructions that filters here are made of.
 * ~0: an instruction that is none of them, or a jump out of the program. */
static uint32_t run(const struct sock_filter *code, size_t n,
                    const struct seccomp_data *d)
{
    uint32_t a = 0;
    for (size_t i = 0; i < n; i++) {
        const struct sock_filter *s = &code[i];
        bool yes = false;
        switch (s->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (s->k % 4 || s->k >= sizeof(*d))
                return ~0u;
            memcpy(&a, (const char *)d + s->k, sizeof(a));
            continue;
        case BPF_RET | BPF_K:
            return s->k;
        case BPF_JMP | BPF_JEQ | BPF_K:
            yes = a == s->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            yes = a >= s->k;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            yes = a & s->k;
            break;
        default:
            return ~0u;
        }
        i += yes ? s->jt : s->jf;
    }
    return ~0u;
}

static bool passes(enum thread_kind kind, unsigned uses,
                   const struct seccomp_data *d)
{
    struct sock_filter code[FILTER_MAX];
    size_t n = filter_make(kind, uses, code);
    uint32_t verdict = run(code, n, d);
    CHECK(n < FILTER_MAX);
    CHECK(verdict == SECCOMP_RET_ALLOW || verdict == SECCOMP_RET_TRAP);
    return verdict == SECCOMP_RET_ALLOW;
}

static bool may(enum thread_kind kind, int nr, uint64_t a0, uint64_t a1,
                uint64_t a2)
{
    struct seccomp_data d = {
        .nr = nr, .arch = AUDIT_ARCH_X86_64, .args = {a0, a1, a2}};
    return passes(kind, ALL_USES, &d);
}

TEST(filter_other_abis_have_no_calls)
{
    struct seccomp_data d = {.nr = SYS_futex, .arch = AUDIT_ARCH_X86_64};
    for (int kind = 0; kind < THREAD_KINDS; kind++) {
        CHECK(passes(kind, ALL_USES, &d));
        d.arch = AUDIT_ARCH_I386;
        CHECK(!passes(kind, ALL_USES, &d));
        d.arch = AUDIT_ARCH_X86_64;
        d.nr |= 0x40000000; /* x32 */
        CHECK(!passes(kind, ALL_USES, &d));
        d.nr = -1;
        CHECK(!passes(kind, ALL_USES, &d));
        d.nr = SYS_futex;
    }
}

TEST(filter_ioctls_are_allowed_by_number_and_thread)
{
    CHECK(may(THREAD_VCPU, SYS_ioctl, 9, KVM_RUN, 0));
    CHECK(!may(THREAD_LOOP, SYS_ioctl, 9, KVM_RUN, 0));
    CHECK(may(THREAD_LOOP, SYS_ioctl, 9, KVM_CREATE_VM, 0));
    CHECK(!may(THREAD_VCPU, SYS_ioctl, 9, KVM_CREATE_VM, 0));
    CHECK(!may(THREAD_PAIR, SYS_ioctl, 9, KVM_IRQFD, 0));
    CHECK(may(THREAD_WORKER, SYS_ioctl, 9, KVM_REINJECT_CONTROL, 0));
    CHECK(may(THREAD_WORKER, SYS_ioctl, 9, KVM_GET_SUPPORTED_CPUID, 0));
    /* The C library's is an int, whose sign goes all the way up. */
    CHECK(may(THREAD_LOOP, SYS_ioctl, 9, (uint64_t)(int)TUNGETIFF, 0));
    static const unsigned never[] = {
        TIOCSTI,           TUNSETIFF,      TUNSETPERSIST,
        KVM_CREATE_DEVICE, KVM_ENABLE_CAP, KVM_SET_GUEST_DEBUG,
        KVM_GET_DIRTY_LOG, KVM_INTERRUPT,  KVM_SET_SIGNAL_MASK,
        SIOCGIFCONF,       TIOCLINUX,      FIONBIO};
    for (int kind = 0; kind < THREAD_KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LEN(never); i++)
            if (may(kind, SYS_ioctl, 9, never[i], 0))
                FAIL("kind %d: ioctl %#x", kind, never[i]);
}

TEST(filter_arguments_that_matter_are_looked_at)
{
    for (int kind = 0; kind < THREAD_KINDS; kind++) {
        CHECK(!may(kind, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC));
        CHECK(!may(kind, SYS_mprotect, 0, 4096, PROT_EXEC));
        CHECK(!may(kind, SYS_mprotect, 0, 4096, 1ull << 32 | PROT_EXEC));
        CHECK(!may(kind, SYS_memfd_create, 0, 0, 0));
        CHECK(!may(kind, SYS_madvise, 0, 4096, MADV_HWPOISON));
        CHECK(!may(kind, SYS_madvise, 0, 4096, MADV_DODUMP));
        CHECK(!may(kind, SYS_fcntl, 9, F_SETOWN, 1));
        CHECK(may(kind, SYS_tgkill, (uint64_t)getpid(), 7, SIGUSR1));
        CHECK(!may(kind, SYS_tgkill, 1, 7, SIGUSR1));
    }
    CHECK(may(THREAD_LOOP, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE));
    CHECK(may(THREAD_LOOP, SYS_mprotect, 0, 4096, PROT_READ));
    CHECK(may(THREAD_WORKER, SYS_memfd_create, 0, MFD_CLOEXEC, 0));
    CHECK(!may(THREAD_VCPU, SYS_mmap, 0, 4096, PROT_READ));
}

TEST(filter_what_an_intruder_wants_is_on_no_list)
{
    static const int never[] = {SYS_open,
                                SYS_openat,
                                437 /* openat2 */,
                                SYS_creat,
                                SYS_socket,
                                SYS_socketpair,
                                SYS_connect,
                                SYS_bind,
                                SYS_listen,
                                SYS_execve,
                                SYS_execveat,
                                SYS_clone,
                                435 /* clone3 */,
                                SYS_fork,
                                SYS_vfork,
                                SYS_ptrace,
                                SYS_process_vm_readv,
                                SYS_process_vm_writev,
                                SYS_kill,
                                SYS_tkill,
                                SYS_rt_sigqueueinfo,
                                SYS_rt_tgsigqueueinfo,
                                SYS_rt_sigaction,
                                SYS_mount,
                                SYS_umount2,
                                SYS_pivot_root,
                                SYS_chroot,
                                SYS_chdir,
                                SYS_fchdir,
                                SYS_unshare,
                                SYS_setns,
                                425 /* io_uring_setup */,
                                SYS_bpf,
                                SYS_keyctl,
                                SYS_add_key,
                                SYS_request_key,
                                SYS_userfaultfd,
                                SYS_perf_event_open,
                                SYS_prctl,
                                SYS_arch_prctl,
                                SYS_seccomp,
                                SYS_personality,
                                SYS_setrlimit,
                                SYS_prlimit64,
                                SYS_setuid,
                                SYS_capset,
                                434 /* pidfd_open */,
                                438 /* pidfd_getfd */,
                                424 /* pidfd_send_signal */,
                                SYS_name_to_handle_at,
                                SYS_open_by_handle_at,
                                SYS_memfd_create,
                                SYS_unlink,
                                SYS_unlinkat,
                                SYS_rename,
                                SYS_link,
                                SYS_symlink,
                                SYS_chmod,
                                SYS_fchmod,
                                SYS_fchown,
                                SYS_stat,
                                SYS_access,
                                SYS_getdents64,
                                SYS_readlink,
                                SYS_sendfile,
                                SYS_splice,
                                SYS_vmsplice,
                                SYS_tee,
                                SYS_shmget,
                                SYS_msgget,
                                SYS_semget,
                                SYS_modify_ldt,
                                SYS_iopl,
                                SYS_ioperm,
                                SYS_init_module,
                                SYS_kexec_load,
                                SYS_remap_file_pages,
                                SYS_pkey_mprotect,
                                SYS_uselib,
                                428 /* open_tree */,
                                430 /* fsopen */,
                                SYS_fanotify_init,
                                SYS_inotify_init1,
                                SYS_timer_create,
                                SYS_sched_setaffinity,
                                SYS_setpriority,
                                SYS_ioprio_set,
                                SYS_quotactl,
                                SYS_acct,
                                SYS_swapon,
                                SYS_reboot,
                                SYS_sethostname,
                                SYS_syslog,
                                450 /* set_mempolicy_home_node */,
                                500};
    for (int kind = 0; kind < THREAD_KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LEN(never); i++)
            if (may(kind, never[i], 0, 0, 0))
                FAIL("kind %d: %s", kind, filter_call_name((unsigned)never[i]));
}

/* A ring passes filters: a disk's is bound before its user is confined, and
 * where no disk has one there is none. */
TEST(filter_rings_are_the_loop_s_where_a_disk_has_one)
{
    struct seccomp_data d = {.arch = AUDIT_ARCH_X86_64};
    for (int kind = 0; kind < THREAD_KINDS; kind++)
        for (d.nr = 426 /* io_uring_enter */; d.nr <= 427; d.nr++) {
            CHECK(!passes(kind, ALL_USES & ~(1u << USE_DISK_RING), &d));
            CHECK_EQ(passes(kind, ALL_USES, &d), kind == THREAD_LOOP);
        }
}

TEST(filter_lists_are_short)
{
    CHECK(filter_calls(THREAD_DISK, 1u << USE_ALWAYS | 1u << USE_DISK) <= 15);
    CHECK(filter_calls(THREAD_LOOP, TAP_USES) <= 30);
    CHECK(filter_calls(THREAD_VCPU, TAP_USES) <= 14);
    CHECK(filter_calls(THREAD_PAIR, TAP_USES) <= 22);
    CHECK(filter_calls(THREAD_WORKER, TAP_USES) <= 24);
    /* What is not in use has no calls. */
    struct seccomp_data d = {
        .nr = SYS_ioctl, .arch = AUDIT_ARCH_X86_64, .args = {9, TUNSETOFFLOAD}};
    CHECK(passes(THREAD_VCPU, TAP_USES, &d));
    CHECK(!passes(THREAD_VCPU, 1u << USE_ALWAYS, &d));
    d.nr = SYS_accept4;
    CHECK(passes(THREAD_LOOP, TAP_USES | 1u << USE_PEER, &d));
    CHECK(!passes(THREAD_LOOP, TAP_USES, &d));
}

TEST(filter_calls_have_names)
{
    CHECK_STR(filter_call_name(SYS_read), "read");
    CHECK_STR(filter_call_name(SYS_openat), "openat");
    CHECK_STR(filter_call_name(SYS_io_uring_setup), "io_uring_setup");
    CHECK_STR(filter_call_name(400), "");
    CHECK_STR(filter_call_name(9999), "");
}

/* A process with the filter of `kind` makes a call. Its exit status; what it
 * says into `text`. */
static int violate(enum thread_kind kind, char *text, size_t size)
{
    int p[2], status = -1;
    if (!CHECK(!pipe(p)))
        return -1;
    pid_t pid = fork();
    if (!pid) {
        log_open(p[1]);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        filter_catch();
        filter_confine(kind);
        syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0x1234);
        _exit(0);
    }
    close(p[1]);
    ssize_t n = read(p[0], text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    close(p[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

TEST(filter_a_call_that_is_not_listed_is_named_and_ends_the_vmm)
{
    char text[512];
    for (int kind = 0; kind < THREAD_KINDS; kind++) {
        int status = violate(kind, text, sizeof(text));
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), EXIT_VIOLATION);
        CHECK_HAS(text, "sandbox: thread loop: system call 0x101 openat(");
        CHECK_HAS(text, " 0x0 0x1234 ");
    }
}
