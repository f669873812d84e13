# shellcheck shell=bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# virtio-blk with an unmodified Linux driver: every ring format, interrupt and interface; room that comes back; one writer.
# What is on disks, and what a failure or a power cut leaves of it, is in t_disk.sh.

# disk_called SERIAL: its name in the guest.
disk_called() { g "d=\$(grep -lx $1 /sys/block/*/serial); d=\${d%/serial}; echo \${d##*/}"; }
# feature DISK BIT: 0 or 1.
feature() { g "cut -c $(($2 + 1)) /sys/block/$1/device/features"; }

e2e lab blk_ways "a disk works by every way to it: split and packed rings, INTx, the legacy interface, queues, blocks of 4 KiB, no cache"
test_blk_ways() {
    local way n=0 disks=() name
    for way in split,packed=off packed,packed=on intx,vectors=0 legacy,disable-legacy=off,disable-modern=on \
        large,logical_block_size=4096,num-queues=2,queue-size=1024 bare,event_idx=off,indirect_desc=off,write-cache=off; do
        truncate -s 16M "disk$n"
        disks+=(-drive "file=disk$n,format=raw,if=none,id=d$n" -device "virtio-blk-pci,drive=d$n,serial=$way")
        n=$((n + 1))
    done
    boot_disk -smp 2 "${disks[@]}"
    for way in split packed intx legacy large bare; do
        name=$(disk_called $way)
        [ -n "$name" ] || fail "no disk called $way"
        disk_works "$name"
        case $way in
        split) is "$(feature "$name" 32) $(feature "$name" 34)" '1 0' "VERSION_1, RING_PACKED of split" ;;
        packed) is "$(feature "$name" 32) $(feature "$name" 34)" '1 1' "VERSION_1, RING_PACKED of packed" ;;
        legacy) is "$(feature "$name" 32)" 0 "VERSION_1 of legacy" ;;
        intx) g_ok "grep -E 'IO-APIC.*virtio' /proc/interrupts" || fail "no INTx: $(g 'cat /proc/interrupts')" ;;
        large)
            is "$(g "blockdev --getss /dev/$name")" 4096 "bytes of a logical block"
            is "$(g "ls /sys/block/$name/mq | wc -l")" 2 "queues" ;;
        bare)
            is "$(g "cat /sys/block/$name/cache_type")" 'write through' "the cache at first"
            g_ok "echo 'write back' >/sys/block/$name/cache_type" || fail "the cache cannot be turned on"
            disk_works "$name" ;;
        esac
    done
    poweroff_linux
}

# blocks FILE: KiB that it takes.
blocks() { du -k "$1" | cut -f 1; }

e2e lab blk_discard "fstrim in the guest gives the file's blocks back to the host; discard=off, discard=ignore: it cannot"
test_blk_discard() {
    local full
    mkdir empty
    filled disk 64 empty
    truncate -s 16M off ignore
    boot_disk -drive file=disk,format=raw,if=none,id=d0,discard=unmap -device virtio-blk-pci,drive=d0,serial=trim \
        -drive file=off,format=raw,if=none,id=d1,discard=unmap -device virtio-blk-pci,drive=d1,serial=off,discard=off \
        -drive file=ignore,format=raw,if=none,id=d2,discard=ignore -device virtio-blk-pci,drive=d2,serial=ignore
    g_ok "mount -t ext4 /dev/$(disk_called trim) /mnt && head -c 20971520 /dev/urandom >/mnt/a && sync" || fail "not written"
    full=$(blocks disk)
    g_ok 'rm /mnt/a; sync; fstrim /mnt; umount /mnt' || fail "no fstrim"
    note "$full KiB before fstrim, $(blocks disk) after"
    [ $((full - $(blocks disk))) -ge 18000 ] || fail "of $full KiB, $(blocks disk) are left"
    e2fsck -fn disk >fsck.log 2>&1 || fail "e2fsck: $(tail -n 3 fsck.log)"
    is "$(g "cat /sys/block/$(disk_called off)/queue/discard_max_bytes")" 0 "discard=off"
    is "$(g "cat /sys/block/$(disk_called ignore)/queue/discard_max_bytes")" 0 "discard=ignore"
    poweroff_linux
}

# second [WORDS]: another VM on the same file, which powers off at once; its exit status.
second() {
    local status=0
    timeout 20 "$VMM" -drive "file=disk,format=raw,if=virtio${1-}" -append test=poweroff </dev/null >second.out 2>second.err || status=$?
    echo $status
}

e2e both/long blk_locked "one file, two VMs: the second writer is refused, readers are not each other's enemies, and a kill unlocks it"
test_blk_locked() {
    local first
    truncate -s 1M disk
    start -drive file=disk,format=raw,if=virtio -append test=halt
    wait_for 30 "'guest: boot'" out_has 'guest: boot'
    first=$vmm_pid
    is "$(second)" 1 "exit status of a second writer"
    grep -q lock second.err || fail "the second writer says: $(cat second.err)"
    is "$(wc -l <second.err)" 1 "lines of the second"
    is "$(second ,readonly=on)" 1 "exit status of a reader beside a writer"
    kill -KILL "$first"
    ends 10 any
    start -drive file=disk,format=raw,if=virtio,readonly=on -append test=halt
    wait_for 30 "'guest: boot'" out_has 'guest: boot'
    first=$vmm_pid
    is "$(second ,readonly=on)" 0 "exit status of a second reader ($(cat second.err))"
    vmm_pid=$first
    stop
}
