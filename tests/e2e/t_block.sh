# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# Files as disks: who opens them, and who else may.

e2e kvm block_beside_a_guest "files as disks, by threads and by io_uring, in the sandbox: opened, counted, let go of at the end"
test_block_beside_a_guest() {
    truncate -s 1M "$T/a" "$T/b"
    start -stats -drive "file=$T/a,format=raw,if=virtio,discard=unmap" -drive "file=$T/b,if=none,id=b,cache=none,aio=io_uring" \
        -device virtio-blk-pci,drive=b -append test=poweroff
    ends 20 0
    matches "$(<"$T/err")" 'virtio0.reads 0' "the counters of the one"
    matches "$(<"$T/err")" 'b.in_flight 0' "the counters of the other"
    is "$(stat -c %b "$T/a")" 0 "blocks of a file that was only looked at"
    # Its locks are gone with it.
    start -drive "file=$T/b,format=raw,if=virtio,cache=none,aio=io_uring" -append test=poweroff
    ends 20 0
}

e2e kvm block_two_writers "a second VMM on the same file is refused, unless both only read it or locking=off is said"
test_block_two_writers() {
    truncate -s 1M "$T/a"
    local got=0
    start -drive "file=$T/a,format=raw,if=virtio" -append test=halt
    wait_for 20 "the disk's lock" locked "$T/a"
    "$VMM" -serial null -drive "file=$T/a,format=raw,if=virtio" >"$T/second" 2>&1 </dev/null || got=$?
    is "$got" 1 "the second one's exit status"
    matches "$(<"$T/second")" "disk virtio0: $T/a: another process uses it; locking=off" "what it says"
    "$VMM" -serial null -drive "file=$T/a,format=raw,if=virtio,locking=off" -append test=poweroff >"$T/second" 2>&1 </dev/null ||
        fail "with locking=off: $(<"$T/second")"
    stop
    start -drive "file=$T/a,format=raw,if=virtio,readonly=on" -append test=halt
    wait_for 20 "the disk's lock" locked "$T/a"
    "$VMM" -serial null -drive "file=$T/a,format=raw,if=virtio,readonly=on" -append test=poweroff >"$T/second" 2>&1 </dev/null ||
        fail "two that only read: $(<"$T/second")"
    stop
}
# Bytes 100 to 203 of it are; by the number of its inode.
locked() { grep -q "OFDLCK.*:$(stat -c %i "$1") 100 " /proc/locks; }
