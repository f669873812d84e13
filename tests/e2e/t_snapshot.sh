# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# A machine is saved into two files, and goes on from them.

# save NAME [KEY=VALUE]...: into NAME.state and NAME.mem.
save() {
    local name=$1
    shift
    "$VMM" ctl s snapshot state="$T/$name.state" mem="$T/$name.mem" "$@"
}
# restore NAME OPTIONS...: in a new process, on the same TAP.
restore() {
    local name=$1
    shift
    start -restore "$name.state,mem=$name.mem" -tap "tap0,mac=52:54:00:00:00:02,model=${model:-virtio-net-pci}" -control s -allow-path "$T" "$@"
    wait_for 30 "the guest, restored" vm_runs
}
vm_runs() { "$VMM" ctl s status 2>/dev/null | grep -q '^state Running'; }
# files: those of snapshots, whole or not.
files() { find . -name '*.mem*' -o -name '*.state*' | sort | tr '\n' ' '; }

e2e kvm snapshot_goes_on "saved and restored in mid-traffic, each time in a new process, both models; the guest's vector registers live"
test_snapshot_goes_on() {
    local model
    chmod 777 .
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -control s -allow-path "$T"
        for _ in 1 2 3; do
            ping -n -q -i 0.002 -c 60 -W 1 10.0.0.2 >/dev/null &
            nap 0.05
            save a
            stop
            wait $! || true
            is "$(stat -c '%a %U' a.state a.mem | sort -u)" "600 nobody" "mode and owner"
            restore a
            pings 10.0.0.2 56 8000
        done
        "$VMM" ctl s quit
        ends 5 0
    done
}

e2e kvm snapshot_describe "a snapshot is described; one of other devices, another format, or damaged is refused by a line that says so"
test_snapshot_describe() {
    local rc=0
    chmod 777 .
    boot_bundled '' -control s -allow-path "$T"
    save a
    stop
    "$VMM" -describe-snapshot a.state >said
    grep -q '^ram 268435456$' said || fail "$(<said)"
    grep -q '^part device.1.virtio-net-pci ' said || fail "$(<said)"
    "$VMM" -restore a.state,mem=a.mem -tap tap0,model=e1000 -serial none 2>err || rc=$?
    is $rc 1 "exit status with another model"
    matches "$(<err)" 'other devices: there device.1.virtio-net-pci, here device.1.e1000' "what is said"
    rc=0
    printf x | dd of=a.state bs=1 seek=2000 conv=notrunc status=none
    "$VMM" -restore a.state,mem=a.mem -tap tap0 2>err || rc=$?
    is $rc 2 "exit status of a damaged one"
    matches "$(<err)" 'a.state: is damaged' "what is said"
}
