# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# SPDX-License-Identifier: MIT
# Small devices with a Linux guest: random numbers, the balloon, the keyboard, the generation ID; and where a guest finds its
# devices when it is told not to look.  In the lab.

# verb VERB [JSON]: the VMM is told it at its control socket; the answer's status is in $told.
verb() {
    local body=${2-} answer
    answer=$(printf 'PUT /verbs/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' "$1" ${#body} "$body" |
        timeout 20 socat -t 10 - UNIX:control) || true
    told=$(awk 'NR == 1 { print $2 }' <<<"$answer")
}
# verb_ok VERB [JSON]: and it is done.
verb_ok() {
    verb "$@"
    [[ $told == 20? ]] || fail "verb $1: answered $told"
}

rss() { awk '/^VmRSS:/ { print int($2 / 1024) }' "/proc/$vmm_pid/status"; }
rss_below() { [ "$(rss)" -lt "$1" ]; }
rss_above() { [ "$(rss)" -gt "$1" ]; }
small_count() { sed -n "s/.*$1 \([0-9]*\)\$/\1/p" err | tail -n 1; }
small_counts() { kill -USR1 "$vmm_pid"; nap 0.2; [ "$(small_count "$1")" -ge "$2" ]; }

e2e lab linux_small_devices "random numbers, free memory and the balloon's go back (by RSS), statistics, a new generation ID, Ctrl-Alt-Del"
test_linux_small_devices() {
    mem=320M boot_linux '' -device virtio-rng-pci -control control \
        -device virtio-balloon-pci,free-page-reporting=on,guest-stats-polling-interval=1,id=b
    is "$(g 'cat /sys/class/misc/hw_random/rng_current')" virtio_rng.0 "the guest's source of random numbers"
    is "$(g 'head -c 100000 /dev/hwrng | wc -c')" 100000 "bytes of it"

    # Free page reporting: memory that was full is the host's again, nobody asks.
    local before
    g_ok 'mount -t tmpfs -o size=200m t /tmp && dd if=/dev/urandom of=/tmp/big bs=1M count=120'
    before=$(rss)
    g_ok 'rm /tmp/big; echo 3 >/proc/sys/vm/drop_caches'
    wait_for 30 "free memory given back" rss_below $((before - 80))
    note "free page reporting: $before MiB resident, then $(rss)"

    # The balloon: it takes, the memory is gone from here and from there; and it comes back.
    g_ok 'dd if=/dev/urandom of=/tmp/big bs=1M count=100; sync'
    before=$(rss)
    g_ok 'rm /tmp/big'
    verb_ok balloon '{"size":"192M"}'
    wait_for 60 "an inflated balloon" small_counts 'b\.actual' $((128 << 20))
    local free
    free=$(g "awk '/MemTotal/ { print int(\$2 / 1024) }' /proc/meminfo")
    [ "$free" -lt 200 ] || fail "the guest has $free MiB with a balloon of 128"
    rss_below $((before - 60)) || fail "$(rss) MiB resident with the balloon, $before without"
    note "balloon of 128 MiB: $before MiB resident, then $(rss)"
    verb_ok balloon '{"size":"320M"}'
    wait_for 60 "a deflated balloon" g_ok "test \$(awk '/MemTotal/ { print int(\$2 / 1024) }' /proc/meminfo) -gt 256"
    wait_for 20 "statistics" small_counts 'b\.stat_total' $((200 << 20))
    verb balloon '{"size":"321M"}'
    is "$told" 400 "a balloon of less than nothing"

    verb_ok new-generation
    wait_for 20 "the guest's notice of it" g_ok 'dmesg | grep -q "crng reseeded due to virtual machine fork"'

    # Ctrl-Alt-Del reaches init, which reboots.
    g_ok 'dmesg | grep -q "AT .* keyboard"' || fail "no keyboard: $(g 'dmesg | grep -i 8042')"
    verb_ok ctrl-alt-del
    wait_for 20 "the signal to init" out_has 'guest: three keys'
    wait_for 90 "the second boot" boots 2
}

e2e lab/long linux_devices_by_mp_table "noapic, acpi=off, pci=conf1: a guest finds every PCI device and its interrupts by MP table and CF8"
test_linux_devices_by_mp_table() {
    local words nic
    tap tap1 10.0.1.1/24
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links='tap0 tap1'
    head -c 1M /dev/urandom >disk
    for words in noapic 'acpi=off' 'acpi=off noapic pci=conf1,nommconf'; do
        # Each second NIC without MSI-X, so that its line interrupt is needed.
        boot_linux "$words ip=10.0.0.2/24,10.0.1.2/24" -device virtio-rng-pci,vectors=0 \
            -tap tap1,mac=52:54:00:00:00:03,model=e1000 -drive file=disk,format=raw,if=virtio
        for nic in 10.0.0.2 10.0.1.2; do pings $nic 56 1472; done
        is "$(g 'head -c 64 /dev/hwrng | wc -c')" 64 "random bytes under $words"
        is "$(g 'sha256sum </dev/vda' | cut -d' ' -f1)" "$(sha256sum <disk | cut -d' ' -f1)" "the disk under $words"
        is "$(g 'ls /sys/bus/pci/devices | wc -l')" 5 "PCI devices under $words"
        stop
    done
}

huge_pages() { awk -v what="HugePages_$1:" '$1 == what { print $2 }' /proc/meminfo; }

e2e lab linux_huge_pages "guest memory of huge pages, by hugetlbfs and by memfd: all of it is, and the host has them back; too few are one line"
test_linux_huge_pages() {
    local all=140
    # The whole lab's: other tests want them back.
    trap 'stop; echo 0 >/proc/sys/vm/nr_hugepages' EXIT
    echo $all >/proc/sys/vm/nr_hugepages
    is "$(huge_pages Total)" $all "huge pages that the lab could give"
    mkdir huge
    mount -t hugetlbfs -o pagesize=2M huge huge
    boot_linux '' -mem-path huge -mem-prealloc
    is "$(huge_pages Free)" $((all - 128)) "free ones with a guest of 256 MiB"
    is "$(awk '/^Size:/ { size = $2 } /^KernelPageSize:/ && $2 == 2048 { n += size } END { print n / 1024 }' "/proc/$vmm_pid/smaps")" 256 \
        "MiB of the VMM's memory in pages of 2 MiB"
    pings 10.0.0.2 56 1472
    "$VMM" -m 256M -mem-path huge -mem-prealloc >second 2>&1 </dev/null && fail "a second guest has memory"
    is "$(wc -l <second)" 1 "lines of the second"
    grep -q "256 MiB need 128 huge pages of 2048 KiB, the host has $((all - 128)) free" second || fail "it says: $(cat second)"
    poweroff_linux
    is "$(huge_pages Free)" $all "free ones after the guest"
    start -m 64M -object memory-backend-memfd,id=m,size=64M,hugetlb=on,hugetlbsize=2M,prealloc=on -machine memory-backend=m \
        -append test=hang
    wait_for 30 "'guest: boot'" out_has 'guest: boot'
    is "$(huge_pages Free)" $((all - 32)) "free ones with a memfd of 64 MiB"
    stop
    is "$(huge_pages Free)" $all "free ones in the end"
}
