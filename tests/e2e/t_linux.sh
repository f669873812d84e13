# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2015  # `range check || fail` is meant as it stands
# SPDX-License-Identifier: MIT
# An unmodified Debian kernel with a small initramfs: boot, network, power, sizes.  In the lab.

e2e lab/quick linux_virtio "Linux boots, pings both ways, moves checksummed data both ways, powers off (virtio-net)"
test_linux_virtio() { network_tour virtio-net-pci; }

e2e lab/quick linux_e1000 "Linux boots, pings both ways, moves checksummed data both ways, powers off (e1000)"
test_linux_e1000() { network_tour e1000; }

network_tour() {
    model=$1 kernel=$E2E_KERNEL initrd=$E2E_FULL boot_linux ''
    pings 10.0.0.2 0 56 1472 1473 8000 65000
    g 'ping -n -q -i 0.02 -c 10 -s 1400 10.0.0.1' >ping.log || fail "ping from the guest: $(cat ping.log)"
    serve_data 8
    move_both 10.0.0.2
    iperf_both
    no_bad_checksums
    poweroff_linux
}

# iperf_both: TCP and UDP, each way; moved means more than a megabit a second arrived.
iperf_both() {
    g 'iperf3 -s -D >/dev/null 2>&1'
    wait_for 10 "iperf3 in the guest" listening 5201
    local way protocol rate
    for protocol in '' '-u -b 4M -l 1400'; do
        for way in '' -R; do
            # shellcheck disable=SC2086
            timeout 60 iperf3 -c 10.0.0.2 -t 2 -f k $protocol $way >iperf.log 2>&1 || fail "iperf3 $protocol $way: $(tail -n 3 iperf.log)"
            rate=$(awk '/receiver/ { for (i = 2; i <= NF; i++) if ($i == "Kbits/sec") print int($(i - 1)) }' iperf.log)
            note "iperf3 ${protocol:-tcp} ${way:-to guest}: ${rate:-0} kb/s"
            [ "${rate:-0}" -ge 1000 ] || fail "iperf3 $protocol $way: ${rate:-0} kb/s arrived"
        done
    done
}

# no_bad_checksums: neither end has seen a wrong TCP, UDP or ICMP checksum.
no_bad_checksums() {
    local sums='/^(Tcp|Udp|Icmp):/ { if (!($1 in head)) { head[$1] = $0; next } n = split(head[$1], h); for (i = 2; i <= n; i++) if (h[i] == "InCsumErrors") sum += $i } END { print sum + 0 }'
    is "$(awk "$sums" /proc/net/snmp)" 0 "packets with a wrong checksum received here"
    is "$(g "awk '$sums' /proc/net/snmp")" 0 "packets with a wrong checksum received by the guest"
}

e2e lab linux_dmesg_virtio "dmesg has no complaint about the machine (virtio-net)"
test_linux_dmesg_virtio() { clean_dmesg virtio-net-pci; }

e2e lab linux_dmesg_e1000 "dmesg has no complaint about the machine (e1000)"
test_linux_dmesg_e1000() { clean_dmesg e1000; }

# What a kernel says about a machine that is not right.  Kept wide: a new complaint should fail, and be allowed by name.
complaints='ACPI (BIOS )?(Error|Warning|Exception)|ACPI: .*(fail|invalid|not found|unable)|acpi.*error|AE_[A-Z]+
not using MMCONFIG|MMCONFIG.*not reserved|PCI:.*(fail|conflict|error)|pci .*(can.t|failed|no compatible|conflict|bogus)|BAR [0-9].*(error|no space|failed|bogus)
i8042:|(tsc|TSC).*(unstable|unreliable|[Uu]nable|fail)|Marking.*unstable|clocksource.*(unstable|skew)|hpet.*(fail|error)|rtc.*(fail|error|unable|broken)
virtio.*(fail|error|invalid|warn)|e1000.*(fail|error|hang|invalid|unable)|Tx Unit Hang|NETDEV WATCHDOG|irq .*nobody cared|spurious|do_IRQ|No irq handler
WARNING:|BUG:|Oops|Call Trace|general protection|firmware bug|FW_BUG|\[Firmware (Bug|Warn)|Hardware Error|MCE|mce:.*error|x2apic.*(fail|disabled by BIOS)
[Cc]alibrat.*fail|timer .*(fail|not connected)|MP-BIOS bug|soft lockup|rcu.*stall|APIC.*(fail|error|mismatch)|smpboot:.*(fail|err)|e820:.*bogus|SMBIOS.*(fail|invalid)|DMI not present'
# Lines that look like one of these and are not about the machine.
# The second line is about the processor, whatever it is.
harmless='Speculative Return Stack Overflow|Spectre|RETBleed|No PS/2 controller found
|Unknown kernel command line|RAS: |mce: CPU|ACPI: Enabled|Warning: unable to open an initial console|crypto|i8042: PNP: PS/2|i8042: No controller|No controller found'

clean_dmesg() {
    model=$1 kernel=$E2E_KERNEL boot_linux ''
    g dmesg >messages
    grep -aE "$(tr '\n' '|' <<<"$complaints" | sed 's/|$//')" messages | grep -avE "$(tr -d '\n' <<<"$harmless")" >bad || true
    [ ! -s bad ] || fail "the kernel complains: $(cat bad)"
    g 'test -z "$(dmesg -r | grep "^<[0-3]>")"' || fail "messages of level error: $(g 'dmesg -r | grep "^<[0-3]>"')"
}

e2e lab linux_no_stalls "no pause over 0.3 s in the kernel's boot that a device of ours could cause"
test_linux_no_stalls() {
    # A pause counts if it is there in each of three boots: the lab shares its processors with others.
    local round
    for round in 1 2 3; do
        boot_linux ''
        g dmesg | gaps >"gaps.$round"
        stop
        note "boot $round: $(tr '\n' ';' <"gaps.$round")"
        [ -s "gaps.$round" ] || return 0
    done
    sort gaps.1 >all
    for round in 2 3; do
        sort "gaps.$round" | comm -12 all - >still
        mv still all
    done
    [ ! -s all ] || fail "pauses over 0.3 s before: $(cat all)"
}
# gaps: the messages (numbers removed) that came more than 0.3 s after the one before; in a boot slower than 2.5 s, which
# only a busy machine causes, accordingly more: a device's stall does not grow with the load, processor work does.  The kernel's own long computations
# are left out: processor work that no device takes part in, slow only under emulation, and as slow with QEMU.
gaps() {
    awk '/Run \/init/ { exit }
         { t = substr($0, index($0, "[") + 1) + 0; line[++n] = $0; pause[n] = n > 1 ? t - last : 0; last = t }
         END { limit = 0.3 * (last > 2.5 ? last / 2.5 : 1); for (i = 1; i <= n; i++) if (pause[i] > limit) print line[i] }' |
        grep -vE 'VFS: Disk quotas|PF_INET|Freeing SMP alternatives|ftrace: |x86/mm: Checked|Freeing initrd|Write protecting|Freeing unused|Run /init|Memory: |crng init|AppArmor|X\.509|kprobes|Loading compiled-in|Last level' |
        sed 's/^\[ *[0-9.]*\] //; s/[0-9][0-9]*/N/g' || true
}

e2e lab linux_clock "the guest's wall clock is right to 2 s, and stays so"
test_linux_clock() {
    boot_linux ''
    local there here
    for _ in 1 2; do
        there=$(g 'date +%s')
        here=$(date +%s)
        [ $((here - there)) -ge -2 ] && [ $((here - there)) -le 2 ] || fail "the guest's clock is $((there - here)) s off"
        nap 2
    done
    note "clocksource $(g cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
}

e2e lab linux_reboot "reboot from inside restarts the guest, without a new process"
test_linux_reboot() {
    kernel=$E2E_KERNEL boot_linux ''
    local pid=$vmm_pid
    reboot_linux
    wait_for 90 "the second boot" boots 2
    alive "$pid" || fail "the VMM ended"
    pings 10.0.0.2 56
}

e2e lab linux_no_reboot "reboot from inside under -no-reboot: exit status 3"
test_linux_no_reboot() {
    boot_linux '' -no-reboot
    reboot_linux
    ends 30 3
}

e2e lab linux_panic "a kernel panic under -no-reboot ends the VMM: exit status 5, or 3 where nothing reports a panic"
test_linux_panic() {
    boot_linux '' -no-reboot
    detached 'echo c >/proc/sysrq-trigger'
    ends 30 any
    note "exit status $ended_with"
    [ "$ended_with" = 5 ] || [ "$ended_with" = 3 ] || fail "exit status $ended_with"
}

e2e lab linux_smp_2 "-smp 2: as many processors, all of them working"
test_linux_smp_2() { smp_tour 2; }
e2e alone linux_smp_4 "-smp 4"
test_linux_smp_4() { smp_tour 4; }
e2e alone/long linux_smp_8 "-smp 8"
test_linux_smp_8() { smp_tour 8; }
e2e lab/long linux_smp_32 "-smp 32"
test_linux_smp_32() { smp_tour 32; }

smp_tour() {
    boot_limit=180 boot_linux '' -smp "$1"
    is "$(g nproc)" "$1" "processors with -smp $1"
    # Each runs something: pinned, it says where it is.
    is "$(g "for i in \$(seq 0 $(($1 - 1))); do taskset -c \$i true || echo \$i; done")" '' "processors that do not run"
    pings 10.0.0.2 56
    poweroff_linux
}

e2e lab linux_96M "-m 96M; with 64M, too little for this kernel's 64 MiB of init_size, one line says so"
test_linux_96M() {
    start -kernel "$E2E_KERNEL" -initrd "$E2E_SMALL" -m 64M
    ends 20 1
    is "$(wc -l <err)" 1 "lines of error"
    matches "$(cat err)" '64 ?M|memory|RAM' "the reason"
    kernel=$E2E_KERNEL memory_is 96M 98304
}
e2e large linux_3G "-m 3G: up to the hole below 4 GiB"
test_linux_3G() { memory_is 3G 3145728; }
e2e large linux_6G "-m 6G: beyond the hole, and data moves through memory above 4 GiB"
test_linux_6G() {
    local have
    have=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    [ "$have" -ge 7000 ] || skip "the lab has $have MiB free, the test wants 7000"
    memory_is 6G 6291456
}

# memory_is SIZE KIB: the guest sees it, less what the kernel keeps for itself, and can use nearly all.
memory_is() {
    mem=$1 boot_linux ''
    local total
    total=$(g "dmesg | sed -n 's/.*Memory: .*\\/\\([0-9]*\\)K available.*/\\1/p'")
    # The kernel's count leaves out the first page and the space of legacy devices.
    [ "$total" -le "$2" ] && [ "$total" -ge $(($2 - 1024)) ] || fail "$total KiB of RAM with -m $1"
    pings 10.0.0.2 56 8000
    serve_data 8
    move_both 10.0.0.2
}

e2e large linux_big_initrd "an initrd of 300 MB arrives whole"
test_linux_big_initrd() {
    mem=1G initrd=$E2E_BIG boot_limit=180 boot_linux ''
    g_limit=180 g 'cd / && sha256sum -c ballast.sha256' >sum.log || fail "$(cat sum.log)"
}

e2e lab linux_serial_input "the serial console takes commands, long lines included"
test_linux_serial_input() {
    mkfifo input
    exec {input_fd}<>input
    stdin=input boot_linux ''
    printf 'echo answer $((6 * 7))\n@@end\n' >&"$input_fd"
    wait_for 20 "the answer on the console" out_has 'answer 42'
    # Longer than the UART's FIFO by far: nothing may be lost.
    local long
    long=$(head -c 1500 /dev/zero | tr '\0' x)
    printf 'echo "%s" | wc -c; echo done-$((1+1))\n@@end\n' "$long" >&"$input_fd"
    wait_for 20 "the second answer" out_has 'done-2'
    out_has '^1501' || fail "a long line arrived with $(grep -a -B1 'done-2' out | head -n 1) characters, not 1501"
}

e2e lab linux_two_nics "two NICs of two models at once, each on its own network"
test_linux_two_nics() {
    tap tap1 10.0.1.1/24
    boot_linux 'ip=10.0.0.2/24,10.0.1.2/24' -tap tap1,mac=52:54:00:00:00:03,model=e1000
    pings 10.0.0.2 56 1472
    pings 10.0.1.2 56 1472
}

e2e lab/long linux_udp_flood "UDP floods of small, full and fragmented datagrams, both ways, on each kind of NIC: the guest answers after each"
test_linux_udp_flood() {
    local nic address size way
    tap tap1 10.0.1.1/24
    tap tap2 10.0.2.1/24
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links='tap0 tap1 tap2'
    initrd=$E2E_FULL boot_linux 'ip=10.0.0.2/24,10.0.1.2/24,10.0.2.2/24' -tap tap1,vhost=on -tap tap2,model=e1000 -stats
    g '(while :; do iperf3 -s; done) >/dev/null 2>&1 &'
    wait_for 10 "iperf3 in the guest" listening 5201
    for nic in virtio:10.0.0.2 vhost:10.0.1.2 e1000:10.0.2.2; do
        address=${nic#*:}
        for size in 16 1472 60000; do
            for way in '' -R; do
                # What the flood does to iperf3's own connection is its affair; the guest must live.
                # shellcheck disable=SC2086
                timeout 20 iperf3 -c "$address" -u -b 0 -l $size -t 1 $way >iperf.log 2>&1 ||
                    note "${nic%:*}: iperf3 -l $size $way: $(tail -n 1 iperf.log)"
                wait_for 10 "a reply after a flood on ${nic%:*} of $size bytes ${way:-to the guest}" ping -q -c 1 -W 1 "$address"
            done
        done
        pings "$address" 56 1472 # larger ones find the guest's memory for fragments full, for half a minute
    done
    poweroff_linux
    ! grep -aE '\.(guest_faults|rx_drop_desc|tx_drop_desc|rx_drop_fit) [1-9]' "$T/err" || fail "counters that should be 0"
}

e2e lab linux_link_flaps "the interface goes down and up twenty times and still works"
test_linux_link_flaps() {
    local model
    for model in virtio-net-pci e1000; do
        model=$model boot_linux ''
        g '(for i in $(seq 20); do ip link set eth0 down; ip link set eth0 up; done; touch /tmp/flapped) >/dev/null 2>&1 &' || true
        wait_for 60 "end of the flaps" g_ok 'test -e /tmp/flapped && grep -qE "up|unknown" /sys/class/net/eth0/operstate'
        pings 10.0.0.2 56 1472
        stop
    done
}
