# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# The lab itself, where tests rely on more than its KVM.

e2e lab lab_scratch "the lab's scratch disk takes O_DIRECT; device mapper can drop and log its writes"
test_lab_scratch() {
    local dir target
    dir=$("$E2E_ROOT/tests/lab/scratch")
    dd if=/dev/urandom of="$dir/a" bs=4k count=16 oflag=direct status=none || fail "O_DIRECT refused"
    sync
    dd if="$dir/a" iflag=direct bs=4k status=none | cmp - "$dir/a" || fail "read back"
    for target in flakey log-writes; do modprobe "dm-$target" || fail "no dm-$target"; done
    umount "$dir"
}
