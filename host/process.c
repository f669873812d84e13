/* SPDX-License-Identifier: MIT */
/* This process: what it protects itself from, and what it may use. */
#include "host/process.h"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"

/* The linker's: where this program lies. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

/* Pointers in tables are written when the program is put in its place, and
 * never again: what PT_GNU_RELRO names is made read-only then, by the dynamic
 * linker. A static program has none, and musl's start code leaves it out. */
static void process_protect_tables(void)
{
    uintptr_t base = (uintptr_t)&__ehdr_start, page = 4096;
    const Elf64_Phdr *ph = (const void *)(base + __ehdr_start.e_phoff);
    if (__ehdr_start.e_type != ET_DYN)
        return;
    for (int i = 0; i < __ehdr_start.e_phnum; i++) {
        uintptr_t from = (base + ph[i].p_vaddr) & -page;
        uintptr_t to = (base + ph[i].p_vaddr + ph[i].p_memsz) & -page;
        if (ph[i].p_type == PT_GNU_RELRO && to > from)
            mprotect((void *)from, to - from, PROT_READ);
    }
}

/* A NIC with 16 queue pairs takes some 70 descriptors; the usual soft limit of
 * 1024 is there for select(2), which nothing here uses. */
static void process_raise_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur == r.rlim_max)
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
}

void process_early(void)
{
    process_protect_tables();
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(1);
    fd_inherited();
    process_raise_limit();
}

bool process_ignores(int sig)
{
    struct sigaction sa;
    return !sigaction(sig, NULL, &sa) && sa.sa_handler == SIG_IGN;
}
