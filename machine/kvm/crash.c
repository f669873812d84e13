/* SPDX-License-Identifier: MIT */
/* Says what stopped the guest: a sentence, the registers, the bytes at RIP. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "machine/kvm/kvm.h"

#define CODE_BYTES 16

/* Bytes at RIP through the guest's own page tables; 0 where unmapped.
 *
 * syscalls vcpu: ioctl(KVM_TRANSLATE) */
static unsigned crash_code_at(struct vcpu *c, uint64_t linear, uint8_t *out)
{
    struct kvm_translation t = {.linear_address = linear};
    unsigned n = CODE_BYTES;
    if (ioctl(c->fd, KVM_TRANSLATE, &t) < 0 || !t.valid)
        return 0;
    if ((linear & 0xfff) + n > 0x1000)
        n = 0x1000 - (linear & 0xfff);
    const void *p = ram_ptr(&c->vm->m.ram, gpa(t.physical_address), n);
    if (!p)
        return 0;
    memcpy(out, p, n);
    return n;
}

static void crash_print_code(struct vcpu *c, uint64_t linear)
{
    uint8_t code[CODE_BYTES];
    char text[3 * CODE_BYTES + 1] = "";
    unsigned n = crash_code_at(c, linear, code);
    for (unsigned i = 0; i < n; i++)
        snprintf(text + 3 * i, 4, " %02x", code[i]);
    log_line("  code at RIP:%s", n ? text : " not mapped to RAM");
}

static void crash_print_emulation(const struct kvm_run *run)
{
    const uint8_t *p = run->emulation_failure.insn_bytes;
    unsigned n = run->emulation_failure.insn_size;
    char text[3 * 15 + 1] = "";
    if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR ||
        run->emulation_failure.suberror != KVM_INTERNAL_ERROR_EMULATION ||
        run->emulation_failure.ndata < 3 ||
        !(run->emulation_failure.flags &
          KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        return;
    for (unsigned i = 0; i < n && i < 15; i++)
        snprintf(text + 3 * i, 4, " %02x", p[i]);
    log_line("  instruction:%s", text);
}

#define LL(x) ((unsigned long long)(x))

/* syscalls vcpu: ioctl(KVM_GET_REGS|KVM_GET_SREGS) */
void crash_report(struct vcpu *c, const char *what)
{
    struct kvm_regs r;
    struct kvm_sregs s;
    if (what)
        log_line("vCPU %u: %s", c->id, what);
    if (ioctl(c->fd, KVM_GET_REGS, &r) < 0 ||
        ioctl(c->fd, KVM_GET_SREGS, &s) < 0) {
        log_line("  (KVM does not give the registers)");
        return;
    }
    log_line("  rip %016llx  rsp %016llx  rflags %08llx", LL(r.rip), LL(r.rsp),
             LL(r.rflags));
    log_line("  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx", LL(r.rax),
             LL(r.rbx), LL(r.rcx), LL(r.rdx));
    log_line("  rsi %016llx  rdi %016llx  rbp %016llx  r8  %016llx", LL(r.rsi),
             LL(r.rdi), LL(r.rbp), LL(r.r8));
    log_line("  r9  %016llx  r10 %016llx  r11 %016llx  r12 %016llx", LL(r.r9),
             LL(r.r10), LL(r.r11), LL(r.r12));
    log_line("  r13 %016llx  r14 %016llx  r15 %016llx", LL(r.r13), LL(r.r14),
             LL(r.r15));
    log_line("  cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx", LL(s.cr0),
             LL(s.cr2), LL(s.cr3), LL(s.cr4), LL(s.efer));
    log_line("  cs %04x base %llx  ss %04x  gdt %llx  idt %llx", s.cs.selector,
             LL(s.cs.base), s.ss.selector, LL(s.gdt.base), LL(s.idt.base));
    crash_print_emulation(c->run);
    bool lng = s.efer & 0x400 && s.cs.l;
    crash_print_code(c, lng ? r.rip : s.cs.base + r.rip);
}
