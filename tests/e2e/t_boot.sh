# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# Loaders and the BIOS: every way into a kernel, and programs that need a BIOS, unmodified, from Debian's packages.

guest_elf=$E2E_ROOT/build/guest/guest.elf

# enters NAME OPTIONS...: the bundled guest starts, says it was entered as NAME, and powers off.
enters() {
    local name=$1
    shift
    start "$@" -append test=poweroff
    ends 30 0
    out_has "guest: boot entry=$name " || fail "not entered as $name: $(head -n 3 "$T/out")"
}

e2e both boot_bundled_entries "the bundled guest by its 64-, 32- and 16-bit entries"
test_boot_bundled_entries() {
    local bits
    for bits in 64 32 16; do enters $bits -entry $bits; done
    enters 64
    enters 64 -smp 32 -m 8M
}

e2e both/long boot_elf_entries "an ELF kernel by Multiboot 2, Multiboot 1, its PVH note and its ELF entry"
test_boot_elf_entries() {
    [ -e "$guest_elf" ] || skip "no $guest_elf"
    enters multiboot2 -kernel "$guest_elf"
    enters pvh -kernel "$guest_elf" -entry 32
    enters 64 -kernel "$guest_elf" -entry 64
    # Without the magic of Multiboot 2 it is one of Multiboot 1.
    LC_ALL=C sed 's/\xd6\x50\x52\xe8/\x00\x50\x52\xe8/' "$guest_elf" >mb1.elf
    enters multiboot1 -kernel mb1.elf
}

booted_twice() { [ "$(grep -ac 'guest: boot' "$T/out")" -ge 2 ]; }

e2e kvm boot_deleted_files "a reset loads the kernel again after its file was deleted"
test_boot_deleted_files() {
    [ -e "$guest_elf" ] || skip "no $guest_elf"
    cp "$guest_elf" k.elf
    start -kernel k.elf -append 'test=reboot reboot=cf9 after=300'
    wait_for 20 "the first boot" out_has 'guest: boot'
    rm k.elf
    wait_for 20 "the second boot" booted_twice
}

# make_rom: 64 KiB that say "rom" on the serial port, then reset by port CF9h; the reset vector is a far jump to their start.
make_rom() {
    printf '\xba\xf8\x03\xb0r\xee\xb0o\xee\xb0m\xee\xb0\n\xee\xba\xf9\x0c\xb0\x06\xee\xf4\xeb\xfd' >code
    head -c 65536 /dev/zero >rom
    dd if=code of=rom conv=notrunc status=none
    printf '\xea\x00\x00\x00\xf0' | dd of=rom bs=1 seek=65520 conv=notrunc status=none
}

e2e both boot_bios "-bios runs another ROM from its reset vector; one that cannot be a ROM is an error of one line"
test_boot_bios() {
    make_rom
    start -no-reboot -bios rom
    ends 20 3
    is "$(tr -d '\r' <out)" rom "what the ROM said"
    head -c 1000 rom >short
    local file
    for file in short none; do
        start -bios $file
        ends 20 1
        is "$(wc -l <err)" 1 "lines of error"
        matches "$(cat err)" "-bios $file" "the error"
    done
}

e2e alone boot_linux_entries "Debian's bzImage by its 64-, 32- and 16-bit entries"
test_boot_linux_entries() {
    local bits
    for bits in 64 32 16; do
        kernel=$E2E_KERNEL start_linux run=true -smp 2 -entry $bits
        ends 90 0
        out_has 'guest: run 0' || fail "-entry $bits did not reach init"
    done
}

e2e alone/long boot_linux_i386 "Debian's i386 kernel by its 32- and 16-bit entries: pings, data, power-off with either NIC"
test_boot_linux_i386() {
    if [ -n "${E2E_NO_I386-}" ]; then
        # As with the lab itself: what every machine of a build service should have is not skipped there.
        [ "${CI-}" = true ] && fail "$E2E_NO_I386"
        skip "$E2E_NO_I386"
    fi
    # With nested paging the lab's emulator stops a 32-bit kernel with PAE before its first line, with QEMU as the VMM at
    # the same instruction.
    "$E2E_ROOT/tests/lab/npt" 0
    start -kernel "$E2E_I386_KERNEL" -entry 64
    ends 20 1
    matches "$(cat err)" 'no 64-bit entry' "what is said of -entry 64"
    i386_tour virtio-net-pci -smp 2
    i386_tour e1000 -entry 16
}

# i386_tour MODEL OPTIONS...
i386_tour() {
    model=$1 kernel=$E2E_I386_KERNEL initrd=$E2E_I386_INITRD boot_linux '' "${@:2}"
    is "$(g uname -m)" i686 "what the guest runs on, with $*"
    pings 10.0.0.2 56 1472 8000
    serve_data 8
    move_both 10.0.0.2
    poweroff_linux
}

# plain_out_has REGEX: the console showed it, colours and cursor movements left out.
plain_out_has() { sed 's/\x1b\[[0-9;?]*[A-Za-z]//g' "$T/out" | tr -d '\r' | grep -aqE -- "$1"; }

e2e lab/long boot_memtest "memtest86+ starts, by its 64- and its 32-bit kernel, and finds the memory there is"
test_boot_memtest() {
    memtest_sees x64 64 63.6
    memtest_sees ia32 64 63.6
    memtest_sees ia32 400 399
}

# memtest_sees KERNEL MB TESTED: all of it; TESTED leaves out what a PC keeps below 1 MiB.
memtest_sees() {
    [ -e "/boot/memtest86+$1.bin" ] || skip "package memtest86+ is not installed"
    start -kernel "/boot/memtest86+$1.bin" -m "$2M" -append 'console=ttyS0,115200 nobench nosmp'
    wait_for 120 "memtest86+ $1 at work" plain_out_has "\\[[0-9]+MB of ${3}MB\\]"
    plain_out_has "Memory *: *$2MB" || fail "memtest86+ $1 with -m $2M: $(tr -d '\r' <out | grep -ao 'Memory *:[^|]*')"
    stop
}

e2e lab boot_grub "GRUB, as a Linux-style image, lists memory and devices and reboots"
test_boot_grub() {
    local lnxboot=/usr/lib/grub/i386-pc/lnxboot.img
    [ -e $lnxboot ] || skip "package grub-pc-bin is not installed"
    printf 'echo hello from grub\nlsmmap\nlspci\nreboot\n' >grub.cfg
    grub-mkimage -O i386-pc -p /boot/grub -c grub.cfg -o core.img normal echo lsmmap lspci reboot
    cat $lnxboot core.img >grub.lkrn
    start -no-reboot -kernel grub.lkrn -m 256M
    ends 90 3
    plain_out_has 'base_addr = 0x100000, length = 0xff00000, available RAM' || fail "lsmmap: $(tail -n 20 "$T/out")"
    plain_out_has '00:00.0 1b36:0008' || fail "lspci: $(tail -n 5 "$T/out")"
}

# serve: DHCP that names a script, and an HTTP server with it, Debian's kernel and our initramfs, on 10.0.0.1.
serve() {
    tap tap0 10.0.0.1/24
    mkdir www
    ln -s "$E2E_KERNEL" www/vmlinuz
    ln -s "$E2E_SMALL" www/initrd
    cat >www/boot.ipxe <<'END'
#!ipxe
echo script over http
kernel http://10.0.0.1/vmlinuz initrd=initrd console=ttyS0 quiet panic=-1 run="echo booted by network"
initrd http://10.0.0.1/initrd
boot
END
    dnsmasq --port=0 --interface=tap0 --bind-interfaces --dhcp-range=10.0.0.10,10.0.0.50 --pid-file="$T/dnsmasq.pid" \
        --dhcp-leasefile="$T/leases" --dhcp-boot=http://10.0.0.1/boot.ipxe --log-facility="$T/dnsmasq.log" --user=root
    (cd www && exec busybox httpd -f -p 10.0.0.1:80) &
}

e2e alone/long boot_ipxe_virtio "ipxe.lkrn with a script as initrd fetches a file by HTTP over virtio-net"
test_boot_ipxe_virtio() { ipxe_fetches virtio-net-pci; }
e2e alone boot_ipxe_e1000 "ipxe.lkrn with a script as initrd fetches a file by HTTP over e1000"
test_boot_ipxe_e1000() { ipxe_fetches e1000; }

ipxe_fetches() {
    [ -e /boot/ipxe.lkrn ] || skip "package ipxe is not installed"
    serve
    printf '#!ipxe\ndhcp net0\nimgfetch http://10.0.0.1/boot.ipxe && echo fetched it\nreboot\n' >script
    start -no-reboot -kernel /boot/ipxe.lkrn -initrd script -tap "tap0,model=$1"
    ends 100 3
    plain_out_has 'fetched it' || fail "$(tail -n 8 "$T/out")"
}

# net_boots MODEL ROM
net_boots() {
    [ -e "$2" ] || skip "package ipxe-qemu is not installed"
    serve
    start -m 512M -boot n -netdev tap,id=n0,ifname=tap0 -device "$1,netdev=n0,romfile=$2"
    ends 200 0
    plain_out_has 'booted by network' || fail "$(tail -n 8 "$T/out")"
}

e2e alone boot_net_virtio "-boot n: iPXE's ROM for virtio-net boots Linux from the network"
test_boot_net_virtio() { net_boots virtio-net-pci /usr/lib/ipxe/qemu/pxe-virtio.rom; }

e2e alone/long boot_net_e1000 "-boot n: iPXE's ROM for e1000 boots Linux from the network"
test_boot_net_e1000() { net_boots e1000 /usr/lib/ipxe/qemu/pxe-e1000.rom; }

# never_comes OPTION FILE SIGNAL RC [OPTION...]: an image that does not end is given up at once by a signal.
never_comes() {
    start "$1" "$2" "${@:5}"
    nap 0.4
    alive "$vmm_pid" || fail "$1 $2: it has ended: $(cat err)"
    kill -"$3" "$vmm_pid"
    ends 3 "$4"
}

e2e kvm boot_endless_images "an image that never comes or never ends can be interrupted by every signal and Ctrl-A x, and eats no memory"
test_boot_endless_images() {
    mkfifo fifo
    never_comes -kernel "$T/fifo" TERM 143
    never_comes -initrd "$T/fifo" INT 130 -kernel "$root/build/guest/guest.bzimage"
    never_comes -bios "$T/fifo" HUP 129
    never_comes -kernel "$T/fifo" QUIT 131
    # One that somebody holds open and says nothing to.
    exec {held}<>fifo
    never_comes -kernel "$T/fifo" TERM 143
    exec {held}>&-
    on_terminal 'wait Ctrl-A x;send \x01x;end 0' -kernel "$T/fifo"
    refuses 1 'neither a file nor a pipe' -kernel /dev/zero
    # An endless pipe is read as far as guest memory goes.
    mkfifo endless
    (cat /dev/zero >endless) 2>/dev/null &
    refuses 1 'more than 16 MiB' -m 16M -kernel "$T/endless"
    judge
}

e2e kvm boot_from_a_pipe "a kernel and an initrd from pipes, that come slowly, boot, and boot again"
test_boot_from_a_pipe() {
    local image="$root/build/guest/guest.bzimage"
    start -kernel <(head -c 5000 "$image"; sleep 0.5; tail -c +5001 "$image") -initrd <(echo nothing) -append test=reboot
    wait_for 20 "the second boot" booted_twice
    stop
    timeout 10 "$VMM" -kernel /dev/stdin -append test=poweroff -serial "file:$T/log" < <(cat "$image")
    grep -q "test=poweroff" log || fail "no boot from standard input"
}
