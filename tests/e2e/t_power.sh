# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# SPDX-License-Identifier: MIT
# Power: restarts by every way a kernel knows, many of them, and the ACPI power button.

# held: what the VMM holds: descriptors, threads, mappings, resident KiB.  The least of twenty looks, since some may fall
# into the middle of a reset.
held() {
    local i fds tasks
    for ((i = 0; i < 20; i++)); do
        fds=("/proc/$vmm_pid/fd/"*) tasks=("/proc/$vmm_pid/task/"*)
        echo "${#fds[@]} ${#tasks[@]} $(wc -l <"/proc/$vmm_pid/maps") $(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$vmm_pid/status")"
        nap 0.02
    done | awk '{ for (i = 1; i <= 4; i++) if (NR == 1 || $i < m[i]) m[i] = $i } END { print m[1], m[2], m[3], m[4] }'
}

e2e kvm reboot_hundred "a hundred restarts in a row leak no memory, descriptor, thread or mapping"
test_reboot_hundred() {
    tap tap0 10.0.0.1/24
    tap tap1 10.0.1.1/24
    start -smp 2 -tap tap0 -tap tap1,model=e1000 -append 'ip=10.0.0.2/24 test=reboot'
    wait_for 60 "boot number 10" booted 10
    local before after i
    # shellcheck disable=SC2207  # numbers
    before=($(held))
    wait_for 120 "boot number 110" booted 110
    # shellcheck disable=SC2207
    after=($(held))
    note "descriptors, threads, mappings, KiB: ${before[*]}; a hundred restarts later: ${after[*]}"
    # One lost each time would be a hundred; a look may catch a reset half way.
    for i in 0 1 2; do [ $((after[i] - before[i])) -lt 10 ] || fail "leaked: ${before[*]}, then ${after[*]}"; done
    [ $((after[3] - before[3])) -le 128 ] || fail "resident: ${before[3]} KiB, then ${after[3]} KiB"
}

e2e lab/long linux_reboot_ways "Linux restarts by reboot=acpi, kbd, pci, bios and triple"
test_linux_reboot_ways() {
    local way
    for way in acpi kbd pci bios triple; do
        start_linux "reboot=$way run=\"echo will restart; /init down; reboot -f\""
        wait_for 60 "the second boot with reboot=$way" restarted
        stop
    done
}
restarted() { [ "$(grep -ac '^will restart' "$T/out")" -ge 2 ]; }

e2e lab linux_power_button "SIGTERM presses the ACPI power button: Linux sees it, shuts down, exit status 0"
test_linux_power_button() {
    boot_linux ''
    g 'modprobe button'
    g '(until grep -q "^ *[1-9]" /sys/firmware/acpi/interrupts/ff_pwr_btn; do usleep 20000; done; /init down; poweroff -f) >/dev/null 2>&1 &'
    kill -TERM "$vmm_pid"
    ends 30 0
    # A guest that takes no notice is ended by the second.
    boot_linux ''
    g 'modprobe button'
    kill -TERM "$vmm_pid"
    nap 1
    alive "$vmm_pid" || fail "the first SIGTERM ended a guest that has a power button"
    kill -TERM "$vmm_pid"
    ends 5 143
}
