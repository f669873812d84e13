# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# The BIOS boots from disks: INT 13h, what is tried in which order, GRUB as it lies on a disk.

# assembled NAME [ADDRESS]: NAME.S here as a flat binary NAME.
assembled() {
    [ ! -e "$1" ] || return 0
    as --32 -o "$1.o" "$here/$1.S"
    ld -m elf_i386 -Ttext "${2:-0}" --oformat binary -o "$1" "$1.o"
}

# le NUMBER BYTES: as bytes that printf takes, the lowest first.
le() {
    local i
    for ((i = 0; i < $2; i++)); do printf '\\x%02x' $((($1 >> 8 * i) & 255)); done
}
# poke FILE OFFSET BYTES: bytes as printf takes them.
# shellcheck disable=SC2059
poke() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# calls FILE SECTORS: a disk of so many that makes the calls of INT 13h on standard input (int13.S), a line each:
#   AX BX CX DX SI PUT AT LEN | ANSWER
# in hexadecimal, DX ff being the drive it came from.  The answer is AX BX CX DX, carry, and the bytes asked for.
calls() {
    local call answer word rows=''
    : >answers
    while IFS='|' read -r call answer; do
        for word in $call; do rows+=$(le $((16#$word)) 2); done
        rows+='\0\0'
        tr -d ' ' <<<"$answer" >>answers
    done
    assembled int13 0x7c00
    truncate -s $(($2 * 512)) "$1"
    dd if=int13 of="$1" conv=notrunc status=none
    poke "$1" 512 "$rows\\xff\\xff"
}
answered() { tr -d '\r' <out | sed -n 's/^= //p'; }

# until_nothing OPTIONS...: boots, until nothing does any more.
until_nothing() {
    start -no-reboot -boot "reboot-timeout=60${order-}" "$@"
    ends 30 3
    out_has '^Nothing to boot: ' || fail "$(cat out)"
}
raw() { echo "file=$1,format=raw,if=virtio${2-}"; }

e2e kvm bios_int13 "INT 13h by CHS and LBA, EDD of each size, what is out of range, read-only, drive 81h"
test_bios_int13() {
    head -c 1M /dev/urandom >second
    local first
    first=$(od -An -tx1 -N8 second)
    # A packet is put together at 0600h by the calls of the function 0Fh, which there is none of.
    calls disk 20000 <<END
0800 0 0 ff 0 0 0 0|0000 0000 123f 0f02 00
1500 0 0 ff 0 0 0 0|0300 0000 0000 4e20 00
1500 0 0 82 0 0 0 0|0000 0000 0000 0082 00
4100 55aa 0 ff 0 0 0 0|3000 aa55 0005 0080 00
4100 55ab 0 ff 0 0 0 0|0100 55ab 0000 0080 01
0f00 0 0 ff 600 10 0 0|0100 0000 0000 0080 01
0f00 0 0 ff 602 1 0 0|0100 0000 0000 0080 01
0f00 0 0 ff 604 7000 0 0|0100 0000 0000 0080 01
0f00 0 0 ff 608 1 0 0|0100 0000 0000 0080 01
4200 0 0 ff 600 0 7000 8|0000 0000 0000 0080 00 000800000000ff00
0f00 0 0 ff 608 1000 0 0|0100 0000 0000 0080 01
4300 0 0 ff 600 0 602 2|0000 0000 0000 0080 00 0100
0f00 0 0 ff 608 4e1f 0 0|0100 0000 0000 0080 01
4400 0 0 ff 600 0 602 2|0000 0000 0000 0080 00 0100
0f00 0 0 ff 602 2 0 0|0100 0000 0000 0080 01
4400 0 0 ff 600 0 602 2|0100 0000 0000 0080 01 0000
0f00 0 0 ff 602 2 0 0|0100 0000 0000 0080 01
4200 0 0 ff 600 0 602 2|0100 0000 0000 0080 01 0000
0100 0 0 ff 0 0 475 1|0100 0000 0000 0080 01 02
0201 7000 0002 80 0 0 7000 8|0001 7000 0002 0080 00 000800000000ff00
0301 7000 0141 0180 0 0 0 0|0101 7000 0141 0180 01
0301 7000 0101 0180 0 0 0 0|0001 7000 0101 0180 00
0401 0 0101 0180 0 0 0 0|0001 0000 0101 0180 00
0201 7000 0040 80 0 0 0 0|0101 7000 0040 0080 01
0201 7000 0001 1080 0 0 0 0|0101 7000 0001 1080 01
0200 7000 0001 80 0 0 0 0|0100 7000 0001 0080 01
0201 7000 0001 81 0 0 7000 8|0001 7000 0001 0081 00 $first
0301 7000 0001 81 0 0 0 0|2001 7000 0001 0081 01
0201 7000 0001 82 0 0 0 0|0101 7000 0001 0082 01
0201 7000 0001 0 0 0 0 0|0101 7000 0001 0000 01
0f00 0 0 ff 600 19 0 0|0100 0000 0000 0080 01
4800 0 0 ff 600 0 600 4|0100 0000 0000 0080 01 19000000
0f00 0 0 ff 600 1a 0 0|0100 0000 0000 0080 01
4800 0 0 ff 600 0 600 1c|0000 0000 0000 0080 00 1a000300 13000000 10000000 3f000000 204e0000 00000000 0002 0000
0f00 0 0 ff 600 1f 0 0|0100 0000 0000 0080 01
4800 0 0 ff 600 0 600 2|0000 0000 0000 0080 00 1e00
0000 0 0 ff 0 0 61a 6|0000 0000 0000 0080 00 ffffffff 0000
0f00 0 0 ff 600 42 0 0|0100 0000 0000 0080 01
4800 0 0 ff 600 0 600 2|0000 0000 0000 0080 00 4200
0900 0 0 ff 0 0 61a 16|0000 0000 0000 0080 00 ffffffff ddbe 24000000 50434920 5343534920202020
1100 0 0 ff 0 0 630 14|0000 0000 0000 0080 00 0001000000000000 0000000000000000 00 92 0000
0f00 0 0 ff 600 ffff 0 0|0100 0000 0000 0080 01
4800 0 0 ff 600 0 600 2|0000 0000 0000 0080 00 4a00
1100 0 0 ff 0 0 61e 6|0000 0000 0000 0080 00 ddbe 2c000000
1100 0 0 ff 0 0 630 1c|0000 0000 0000 0080 00 0001000000000000 00000000000000000000000000000000 00 8a 0000
4600 0 0 ff 0 0 0 0|b200 0000 0000 0080 01
4700 0 0 ff 600 0 0 0|0000 0000 0000 0080 00
0500 0 0 ff 0 0 0 0|0100 0000 0000 0080 01
END
    until_nothing -drive "$(raw disk)" -drive "$(raw second ,readonly=on)"
    answered | diff - answers || fail "INT 13h: < what it gave, > what it should"
    # What 43h wrote at 1000h, what 03h wrote at cylinder 1, head 1: the rows' sector, which was read from sector 1.
    cmp -n 512 -i 512:$((0x1000 * 512)) disk disk || fail "what was written by LBA"
    cmp -n 512 -i 512:$((17 * 63 * 512)) disk disk || fail "what was written by CHS"
}

# says FILE TEXT: a disk whose boot sector says its drive, behind TEXT.
says() { calls "$1" 64 </dev/null && poke "$1" "$(($(grep -abo 'drive ' "$1" | cut -d: -f1)))" "$2 "; }

# tried OPTIONS...: what was, in order.
tried() {
    until_nothing "$@"
    was=$(tr -d '\r' <out | grep -oE '^(rom|disk[0-9] 8[0-9])' | tr '\n' ' ')
}

e2e kvm bios_order "what is tried in which order: disks without a boot sector, bootindex=, strict=, order=, once=, a NIC's ROM that gives up"
test_bios_order() {
    truncate -s 1M blank
    says one disk1
    says two disk2
    assembled optrom
    local one two nic=virtio-net-pci,romfile=optrom
    one="$(raw one)" two="$(raw two)"
    tried -drive "$one" -drive "$two"
    is "$was" 'disk1 80 disk2 81 ' "two disks"
    tried -drive "$(raw blank)" -drive "$two"
    is "$was" 'disk2 81 ' "the second, behind one that is blank"
    tried -drive "$one" -device $nic -drive "$two"
    is "$was" 'disk1 80 disk2 81 rom ' "disks, then the network"
    order=,order=n tried -drive "$one" -device $nic -drive "$two"
    is "$was" 'rom disk1 80 disk2 81 ' "the network, then disks"
    tried -device $nic,bootindex=2 -drive "file=one,format=raw,if=none,id=a" -drive "file=two,format=raw,if=none,id=b" \
        -device virtio-blk-pci,drive=a -device virtio-blk-pci,drive=b,bootindex=1
    is "$was" 'disk2 80 rom disk1 81 ' "bootindex="
    order=,strict=on tried -device $nic,bootindex=2 -drive "file=one,format=raw,if=none,id=a" -drive "$two" \
        -device virtio-blk-pci,drive=a,bootindex=1
    is "$was" 'disk1 80 rom ' "strict=on"
    # Not the BIOS's: sectors of another size, and an interface without the modern registers.
    tried -drive "file=one,format=raw,if=none,id=a" -drive "file=two,format=raw,if=none,id=b" \
        -device virtio-blk-pci,drive=a,logical_block_size=4096 -device virtio-blk-pci,drive=b,disable-modern=on,disable-legacy=off -device $nic
    is "$was" 'rom ' "disks that are not for a BIOS"
    # once= counts at the first start.
    start -boot once=n,reboot-timeout=1 -drive "$one" -device $nic
    wait_for 30 "the second start" again_to 2
    stop
    is "$(tr -d '\r' <out | grep -oE '^(rom|disk1)' | head -n 4 | tr '\n' ' ')" 'rom disk1 disk1 rom ' "once=n"
}
again_to() { [ "$(grep -ac 'Nothing to boot' out)" -ge "$1" ]; }

e2e kvm bios_served "the BIOS boots from a qcow2 image, which another process serves"
test_bios_served() {
    says one disk1
    qemu-img convert -q -f raw -O qcow2 one one.qcow2
    until_nothing -drive file=one.qcow2,format=qcow2,if=virtio
    out_has '^disk1 80' || fail "$(cat out)"
}

# ---------------------------------------------------------------------- GRUB

# grub_disk FILE LABEL: a partition table (dos, or gpt with a BIOS boot partition), an ext4 with what is in tree, and GRUB where
# grub-install puts it: its core behind the boot sector, or in that partition.
grub_disk() {
    local core=1
    [ -e /usr/lib/grub/i386-pc/boot.img ] || skip "package grub-pc-bin is not installed"
    truncate -s 64M "$1"
    local table=('label: dos' 'start=4096, type=83, bootable')
    if [ "$2" = gpt ]; then
        core=2048
        table=('label: gpt' 'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' 'start=4096, type=linux')
    fi
    printf '%s\n' "${table[@]}" | sfdisk -q "$1"
    mke2fs -q -F -t ext4 -E "offset=$((4096 * 512))" -d tree "$1" 61M >mke2fs.log 2>&1 || fail "mke2fs: $(tail -n 1 mke2fs.log)"
    grub-mkimage -O i386-pc -p "(hd0,$([ "$2" = gpt ] && echo gpt2 || echo msdos1))/grub" -o core.img \
        biosdisk part_msdos part_gpt ext2 normal echo cat linux linux16 reboot
    dd if=/usr/lib/grub/i386-pc/boot.img of="$1" bs=440 count=1 conv=notrunc status=none
    dd if=core.img of="$1" seek=$core conv=notrunc status=none
    poke "$1" 92 "$(le $core 8)"
    # The core's first sector ends with where the others are.
    poke "$1" $((core * 512 + 500)) "$(le $((core + 1)) 8)"
}

# grub_boots LABEL
grub_boots() {
    rm -rf tree
    mkdir -p tree/grub
    echo 'found its file' >tree/mark
    printf '%s\n' 'cat /mark' reboot >tree/grub/grub.cfg
    grub_disk "$1" "$1"
    start -no-reboot -hda "$1"
    ends 60 3
    plain_out_has '^found its file' || fail "GRUB on $1: $(tail -n 20 out)"
}

e2e lab bios_grub "GRUB boots from an MBR and from a GPT with a BIOS boot partition, and reads its files"
test_bios_grub() {
    grub_boots dos
    grub_boots gpt
}

# grub_linux LABEL COMMAND: GRUB's command for the kernel loads Debian's, which finds its disk.
grub_linux() {
    rm -rf tree
    mkdir -p tree/grub
    echo 'found its file' >tree/mark
    cp "$E2E_KERNEL" tree/vmlinuz
    cp "$E2E_DISK" tree/initrd
    cat >tree/grub/grub.cfg <<END
$2 /vmlinuz $linux_words run="modprobe -a ext4 edd; mount -t ext4 /dev/vda$([ "$1" = gpt ] && echo 2 || echo 1) /mnt && cat /mnt/mark; cd /sys/firmware/edd && cat int13_dev80/host_bus int13_dev80/interface int13_dev80/sectors; ls -l int13_dev80/pci_dev"
${2/linux/initrd} /initrd
boot
END
    grub_disk "$1" "$1"
    start -hda "$1" -m 384M
    ends 120 0
    plain_out_has '^found its file' || fail "$2 on $1: $(tail -n 20 out)"
}

e2e lab/long bios_grub_linux "GRUB loads Linux by its 32-bit entry (MBR) and its 16-bit one (GPT); its driver finds the disk, and EDD the first one's details"
test_bios_grub_linux() {
    grub_linux dos linux
    grub_linux gpt linux16
    # What its setup code had from INT 13h.
    local line
    for line in 'PCI.*00:01.0 *channel: 0' 'SCSI.*id: 0 *lun: 0' "^$((64 << 11))" 'pci_dev.*0000:00:01.0'; do
        plain_out_has "$line" || fail "EDD, no $line: $(tail -n 9 out)"
    done
}
