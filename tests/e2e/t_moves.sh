# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# SPDX-License-Identifier: MIT
# Linux is saved in the middle of everything it does, and goes on in a new process; by each way its NIC can work.

# NAME|WHAT|NIC|OF THE NIC|OF ITS NETDEV|OF EVERY VIRTIO DEVICE|WHAT /proc/interrupts MUST HAVE
move_rows() {
    cat <<'TABLE'
split|a split ring, MSI-X|virtio-net-pci||||PCI-MSI.*virtio0-output.0
intx|a split ring, INTx|virtio-net-pci|||,vectors=0|IO-APIC.*virtio0(,|$)
packed|packed rings|virtio-net-pci|||,packed=on|PCI-MSI.*virtio0-output.0
vhost|vhost-net|virtio-net-pci||,vhost=on||PCI-MSI.*virtio0-output.0
pairs|two queue pairs, each with a thread|virtio-net-pci|,mq=on,vectors=6,iothreads=on|,queues=2||PCI-MSI.*virtio0-output.1
e1000|e1000|e1000||||IO-APIC.*eth0
TABLE
}

# move_machine NIC OF-NIC OF-NETDEV OF-ALL: the options that each of its processes is given.
move_machine() {
    local nic=$1 of_nic=$2 of_netdev=$3 all=$4
    [ "$nic" != virtio-net-pci ] || of_nic=$of_nic$all
    # shellcheck disable=SC2054  # keys of one option
    machine=(-netdev "tap,id=n0,ifname=tap0$of_netdev" -device "$nic,netdev=n0,mac=52:54:00:00:00:02$of_nic"
        -drive "file=$E2E_TOOLS,format=raw,if=none,id=d0,readonly=on" -device "virtio-blk-pci,drive=d0$all"
        -drive "file=$T/disk,format=raw,if=none,id=d1" -device "virtio-blk-pci,drive=d1,serial=one$all"
        -device "virtio-rng-pci$all" -device "virtio-balloon-pci,id=b$all"
        -device "virtio-vsock-pci,guest-cid=3,uds_path=$T/v$all" -control s)
}

# In the guest: a clock that must not go back and timers that must fire; fio, which writes and verifies over and over; random
# bytes; a vsock and a TCP server that send back what they hear.
move_load='
fio --version >/dev/null && modprobe -a virtio-rng virtio_balloon vmw_vsock_virtio_transport || exit
ticks 10000 >/tmp/ticks 2>&1 &
disk=$(grep -lx one /sys/block/*/serial); disk=${disk%/serial}; disk=${disk##*/}
while [ ! -e /tmp/enough ]; do
    fio --name=v --filename=/dev/$disk --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bsrange=512-64k --blockalign=512 \
        --size=2m --verify=crc32c --verify_state_save=0 --loops=4 --thinktime=20000 --thinktime_blocks=8 >/tmp/last 2>&1 || cp /tmp/last /tmp/bad
    echo >>/tmp/rounds
done >/dev/null 2>&1 &
while [ ! -e /tmp/enough ]; do head -c 64 /dev/hwrng >/dev/null && echo >>/tmp/random; sleep 0.5; done >/dev/null 2>&1 &
socat VSOCK-LISTEN:5003,fork PIPE >/dev/null 2>&1 &
nc -ll -p 5003 -e cat </dev/null >/dev/null 2>&1 &
# Uptime in milliseconds, requests of the disk that are done, draws of random bytes, connections by vsock.
cat >/tmp/far <<"END"
disk=$(grep -lx one /sys/block/*/serial); disk=${disk%/serial}
read -r up _ </proc/uptime; echo ${up%.*}${up#*.}0
awk "{ print \$1 + \$5 }" $disk/stat
wc -l </tmp/random
pidof socat | wc -w
END
true'

echoed() { cat came; }
echoed_more() { [ "$(echoed)" -gt "$1" ] || ! alive "$echo_pid"; }
# far: how far the guest has come.
far() { mapfile -t at < <(g 'sh /tmp/far') && [ "${#at[@]}" = 4 ]; }
# gone_on MS REQUESTS DRAWS: further than that, in everything.
gone_on() { far && [ "${at[0]}" -gt "$1" ] && [ "${at[1]}" -gt "$2" ] && [ "${at[2]}" -gt "$3" ]; }
# move_listens: Python would take half a minute to start here.
move_listens() { [[ $(printf 'CONNECT 5003\nhello\n' | timeout 60 socat -t 50 - "UNIX-CONNECT:$T/v" 2>/dev/null) = OK*hello ]]; }

# move_boot SMP WORD-OF-TAP: Linux with $machine, doing all that.
move_boot() {
    chmod 1777 .
    # shellcheck disable=SC2086  # none or one word
    ip tuntap add dev tap0 mode tap $2
    ip addr add 10.0.0.1/24 dev tap0
    ip link set tap0 up
    truncate -s 8M disk
    chmod 666 disk
    start -kernel "$E2E_VMLINUX" -initrd "$E2E_DISK" -m 256M -smp "$1" -append "$linux_words ip=10.0.0.2/24" "${machine[@]}"
    wait_for 120 "'guest: up'" out_has 'guest: up'
    g_limit=240 g_ok "$move_load" || fail "the load does not begin: $(<g.err)"
    wait_for 240 "a vsock listener" move_listens
    g_ok 'dmesg -c >/dev/null'
}

# move ROUND OF: paused, saved, killed, and restored in a new process; everything that goes on must go on there.  Of many
# rounds each tenth is looked at that closely, of the others whether it answers.
move() {
    local was came_was begin before
    "$VMM" ctl s pause
    save a
    came_was=$(echoed)
    stop
    before=${at[0]} begin=$(now_ms)
    start -restore a.state,mem=a.mem "${machine[@]}"
    wait_for 150 "the guest, restored" vm_runs
    if [ "$2" -gt 10 ] && [ $(($1 % 10)) != 0 ]; then
        wait_for 30 "a reply, restored the ${1}th time" ping -q -c 1 -W 1 10.0.0.2
        return
    fi
    wait_for 150 "traffic, restored the ${1}th time" echoed_more $((came_was + 131072))
    alive "$echo_pid" || fail "restored the ${1}th time: $(<echo.err)"
    moved+=" $(($(now_ms) - begin))"
    wait_for 150 "an answer, restored the ${1}th time" far
    ((at[0] >= before && at[0] < before + 300000)) || fail "restored the ${1}th time: uptime went from $before to ${at[0]} ms"
    was=("${at[@]}")
    wait_for 150 "disk, random bytes and time, restored the ${1}th time" gone_on "${was[@]:0:3}"
}

# linux_moves SMP TIMES NIC OF-NIC OF-NETDEV OF-ALL INTERRUPTS
linux_moves() {
    local smp=$1 times=$2 interrupts=$7 word='' machine at moved='' round echo_pid all started loaded
    started=$(now_ms)
    move_machine "$3" "$4" "$5" "$6"
    machine+=(-allow-path "$T")
    [[ $5 != *queues=* ]] || word=multi_queue
    move_boot "$smp" "$word"
    [ -z "$word" ] || g 'ethtool -L eth0 combined 2 || true'
    echo 0 >came
    python3 "$here/echo.py" 10.0.0.2 5003 4 came 2>echo.err &
    echo_pid=$!
    wait_for 150 "traffic" echoed_more 131072
    g_ok "grep -qE '$interrupts' /proc/interrupts" || fail "its interrupts are not $interrupts: $(g 'cat /proc/interrupts')"
    all=$(guest_mib)
    "$VMM" ctl s balloon id=b size=240M
    wait_for 150 "an inflated balloon" guest_below $((all - 14))
    # One that is open when the machine is saved is closed there, and the guest told.
    { (printf 'CONNECT 5003\n'; sleep 600) | socat - "UNIX-CONNECT:$T/v" >/dev/null 2>&1 || true; } &
    wait_for 150 "a first look" far_is 3 2
    loaded=$(($(now_ms) - started))
    for ((round = 1; round <= times; round++)); do move $round "$times"; done
    note "from kill to traffic, in ms:$moved; the load began at $loaded ms, the moves ended at $(($(now_ms) - started))"
    moved_well
    note "ended at $(($(now_ms) - started)) ms"
}

# moved_well: nothing is lost or late, nobody complains, and what rested meanwhile works.
moved_well() {
    "$VMM" ctl s balloon id=b size=256M
    wait_for 150 "a deflated balloon" guest_above $((all - 4))
    wait_for 240 "a vsock listener" move_listens
    wait_for 150 "the end of the connections that were" far_is 3 1
    load_was_well
    alive "$echo_pid" || fail "$(<echo.err)"
    grep -q 'crng reseeded' complaints || fail "the guest does not know that it is another: $(<complaints)"
}
# load_was_well: it goes on, and ends without a fault.
load_was_well() {
    local rounds
    rounds=$(g 'wc -l </tmp/rounds')
    wait_for 120 "fio's verifying" fio_did $((rounds + 1))
    g_ok 'touch /tmp/enough; killall -TERM ticks; while pidof ticks >/dev/null; do sleep 0.1; done; test ! -e /tmp/bad' ||
        fail "fio finds: $(g 'tail -n 5 /tmp/bad')"
    matches "$(g 'cat /tmp/ticks')" '^ticks [0-9]{2,}$' "clocks and timers"
    g dmesg >complaints
    ! grep -Ei 'lockup|stall|hung|timed out|unstable|BUG|WARN|Call Trace|I/O error|Reset adapter' complaints || fail "the kernel complains"
}
far_is() { far && [ "${at[$1]}" = "$2" ]; }
fio_did() { [ "$(g 'wc -l </tmp/rounds')" -gt "$1" ]; }

move_announce() {
    local name what nic of_nic of_netdev all interrupts cpus
    while IFS='|' read -r name what nic of_nic of_netdev all interrupts; do
        for cpus in 1 4; do
            e2e lab/long "snapshot_linux_${name}_$cpus" "Linux is saved and restored five times in the middle of traffic and disk writes ($what; $cpus CPUs)"
            eval "test_snapshot_linux_${name}_$cpus() { linux_moves $cpus 5 '$nic' '$of_nic' '$of_netdev' '$all' '$interrupts'; }"
        done
    done < <(move_rows)
}
move_announce

e2e lab/long snapshot_linux_often "fifty times, with two CPUs, without a wake-up that is lost or a timer that is late"
test_snapshot_linux_often() { linux_moves 2 50 virtio-net-pci '' '' '' 'PCI-MSI.*virtio0-output.0'; }

# on TAP COMMANDS: `g` for one of several guests with the same address.
on() {
    printf '%s\n@@end\n' "$2" | timeout 30 socat -t 20 - "TCP:10.0.0.2:2323,so-bindtodevice=$1,connect-timeout=5" 2>/dev/null | sed '/^@@rc /d; /^$/d'
}
on_answers() { [ "$(on "$1" 'echo yes')" = yes ]; }

e2e lab/long snapshot_linux_clones "two Linux from one snapshot: other random numbers at once, both under addresses of their own"
test_snapshot_linux_clones() {
    local uuid=()
    chmod 777 .
    mem=128M boot_linux '' -device virtio-rng-pci -control s -allow-path "$T"
    "$VMM" ctl s pause
    save a
    stop
    tap tap1 10.0.0.1/24
    local device=model=virtio-net-pci,mac=52:54:00:00:00:02
    start -restore a.state,mem=a.mem -tap "tap0,$device" -device virtio-rng-pci -serial null
    "$VMM" -restore a.state,mem=a.mem -tap "tap1,$device" -device virtio-rng-pci -serial null 2>err1 &
    local second=$!
    wait_for 60 "an answer of the first" on_answers tap0
    uuid[0]=$(on tap0 'cat /proc/sys/kernel/random/uuid')
    wait_for 60 "an answer of the second: $(<err1)" on_answers tap1
    uuid[1]=$(on tap1 'cat /proc/sys/kernel/random/uuid')
    matches "${uuid[0]} ${uuid[1]}" '^[0-9a-f-]{36} [0-9a-f-]{36}$' "two UUIDs"
    [ "${uuid[0]}" != "${uuid[1]}" ] || fail "both have made up ${uuid[0]}"
    matches "$(on tap0 dmesg)$(on tap1 dmesg)" 'crng reseeded due to virtual machine fork.*crng reseeded due to virtual machine fork' "what the kernels say"
    on tap1 '(sleep 0.3; ip addr del 10.0.0.2/24 dev eth0; ip addr add 10.0.1.2/24 dev eth0) >/dev/null 2>&1 </dev/null &'
    ip addr del 10.0.0.1/24 dev tap1
    ip addr add 10.0.1.1/24 dev tap1
    wait_for 60 "a reply of the second" ping -q -c 1 -W 1 10.0.1.2
    pings 10.0.0.2 56 1400
    pings 10.0.1.2 56 1400
    kill -KILL "$second"
}
