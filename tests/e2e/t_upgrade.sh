# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# Another program goes on with a guest that runs.

# takes_over NAME: the program there goes on with it; from now on that is the VMM.
takes_over() {
    local was=$vmm_pid
    "$VMM" ctl s upgrade "$T/bin/$1" 2>said || fail "$(<said) $(<err)"
    wait_for 10 "the end of process $was" vmm_ended
    ! jobs -p | grep -qx "$was" || wait "$was" || fail "exit status $?"
    vmm_pid=$(sed -n 's/.*process \([0-9]*\) has taken over.*/\1/p' err | tail -n 1)
    [ "$vmm_pid" != "$was" ] || fail "the same process"
    alive "$vmm_pid" || fail "process $vmm_pid has ended"
}

e2e kvm upgrade_goes_on "three times another process goes on with the guest under pings each millisecond, both models: none is lost"
test_upgrade_goes_on() {
    local model before held anon
    mkdir bin
    cp "$VMM" bin/new
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -control s -upgrade "$T/bin" -pidfile p
        held=$(all_open) anon=$(own_memory)
        before=$(unanswered)
        for _ in 1 2 3; do
            ping -n -q -i 0.001 -c 300 -W 5 10.0.0.2 >pings &
            nap 0.1
            takes_over new
            wait $! || true
            wait_for 10 "the last answers" all_answered "$before"
            note "$(tail -n 1 pings)"
            wait_for 5 "its number in the pidfile" pidfile_is_ours
            # The helper of before is gone, and what is open is what was.
            wait_for 5 "two processes" two_of_us
            is "$(all_open)" "$held" "descriptors, the VMM's and its helper's"
            [ "$(own_memory)" -le $((anon + 64)) ] || fail "$(own_memory) KiB of its own after $anon"
        done
        "$VMM" ctl s quit
        wait_for 5 "the end" no_vmm
    done
}

own_memory() { sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$vmm_pid/status"; }
pidfile_is_ours() { [ "$(<p)" = "$vmm_pid" ]; }
two_of_us() { [ "$(ours | wc -l)" = 2 ]; }
all_open() {
    local pid
    for pid in $(ours); do find "/proc/$pid/fd" -type l | wc -l; done | sort -n | tr '\n' ' '
}
ours() { pgrep -x 'vmm|new|vmm-helper'; }

e2e kvm upgrade_killed "the VMM is killed at any moment of an upgrade: the guest goes on in exactly one process, or none is left"
test_upgrade_killed() {
    local ms lived=0
    mkdir bin
    cp "$VMM" bin/new
    cc -o bin/state-hangs "$here/successor.c"
    boot_bundled '' -control s -upgrade "$T/bin"
    "$VMM" ctl s upgrade "$T/bin/state-hangs" &
    wait_for 10 "the program" pgrep -x state-hangs >/dev/null
    kill -KILL "$vmm_pid"
    ends 5 any
    wait_for 20 "the end of all of it" none_of_us
    for ms in 1 2 4 6 8 10 12 14 16 20 25 30; do
        boot_bundled '' -control s -upgrade "$T/bin"
        "$VMM" ctl s upgrade "$T/bin/new" 2>/dev/null &
        nap "0.0$(printf %02d $ms)"
        kill -KILL "$vmm_pid" 2>/dev/null || true
        ends 5 any
        vmm_pid=''
        wait_for 20 "one process and its helper, or none" one_or_none
        if [ -n "$(pgrep -x new)" ]; then
            pings 10.0.0.2 56
            lived=$((lived + 1))
            "$VMM" ctl s quit
        fi
        wait_for 20 "the end of all of it" none_of_us
    done
    note "$lived of 12 went on"
}
none_of_us() { [ -z "$(ours)" ]; }
one_or_none() { none_of_us || { [ "$(ours | wc -l)" = 2 ] && [ "$(pgrep -x new | wc -l)" = 1 ]; }; }

# stays_with NAME WORDS: the program there does not take over, for a reason with these words; the guest goes on where it is, and all
# that was started for it ends.
stays_with() {
    ! "$VMM" ctl s upgrade "$T/bin/$1" 2>said || fail "$1 has taken over"
    matches "$(<said)" "$2" "what is said of $1"
    alive "$vmm_pid" || fail "the VMM ended with $1: $(<err)"
    ping -n -q -i 0.01 -c 2 -W 5 10.0.0.2 >/dev/null || fail "no answer after $1"
    wait_for 5 "the end of $1" no_other "$1"
}
no_other() { ! pgrep -x "$1" >/dev/null; }

e2e kvm upgrade_refused "a program that is not there, not to be executed, another processor's, another's to write, or dies, raves, refuses or hangs at each step leaves the guest where it is"
test_upgrade_refused() {
    local name
    mkdir bin bin/dir
    boot_bundled '' -control s -upgrade "$T/bin"
    cc -o bin/start-dies "$here/successor.c"
    for name in start-raves start-refuses ready-dies ready-raves ready-refuses state-dies state-raves state-refuses state-hangs; do
        cp bin/start-dies "bin/$name"
    done
    cp "$VMM" bin/vmm
    cp bin/vmm bin/theirs && chmod 775 bin/theirs
    cp bin/vmm bin/nobodys && chown nobody bin/nobodys
    cp bin/vmm bin/plain && chmod 644 bin/plain
    cp bin/vmm bin/arm && printf '\267' | dd of=bin/arm bs=1 seek=18 conv=notrunc status=none
    printf '#!/bin/sh\n' >bin/script && chmod 755 bin/script
    mkfifo bin/fifo && chmod 755 bin/fifo
    ln -s /bin/true bin/link
    ln -s vmm bin/inside
    stays_with none 'No such file'
    stays_with plain 'no file that can be executed'
    stays_with dir 'no file that can be executed'
    stays_with fifo 'no file that can be executed'
    stays_with script 'no program for this processor'
    stays_with arm 'no program for this processor'
    stays_with theirs 'could have written it'
    stays_with nobodys 'could have written it'
    stays_with link 'leads out'
    stays_with ../bin/../../x 'leads out'
    for name in start-dies ready-dies state-dies; do
        stays_with "$name" 'the new process has ended'
    done
    for name in start-raves ready-raves state-raves; do
        stays_with "$name" 'the new process says something else'
    done
    for name in start-refuses ready-refuses state-refuses; do
        stays_with "$name" 'the new process: I will not'
    done
    stays_with state-hangs 'did not take over in time'
    takes_over inside
    pings 10.0.0.2 56
}

e2e kvm upgrade_interrupted "while the guest stands still for it: it cannot be paused or resumed, and SIGTERM is for the guest, which goes on here"
test_upgrade_interrupted() {
    mkdir bin
    cc -o bin/state-hangs "$here/successor.c"
    boot_bundled '' -control s -upgrade "$T/bin"
    "$VMM" ctl s upgrade "$T/bin/state-hangs" 2>said &
    local asks=$!
    wait_for 30 "the pause" vm_paused
    ! "$VMM" ctl s pause 2>said2 || fail "it is paused"
    matches "$(<said2)" 'it is being handed over' "what is said"
    ! "$VMM" ctl s resume 2>said2 || fail "it is resumed"
    matches "$(<said2)" 'it is being handed over' "what is said"
    kill -TERM "$vmm_pid"
    ends 30 143
    ! wait "$asks" || fail "it was taken over"
    err_has 'SIGTERM came; the guest goes on here' || fail "$(<err)"
    ! err_has 'hears nothing' || fail "$(<err)"
    wait_for 20 "the end of all of it" none_of_us
}

e2e kvm upgrade_keeps "one that is paused stays so; whoever is connected to the serial port, and a socket at QMP, are the new one's; what it had opened it has, below -daemonize too"
test_upgrade_keeps() {
    mkdir bin
    cp "$VMM" bin/new
    tap tap0 10.0.0.1/24
    "$VMM" -tap tap0,mac=52:54:00:00:00:02 -append ip=10.0.0.2/24 -control s -upgrade "$T/bin" -serial unix:serial -qmp unix:q,server=on,wait=off \
        -pidfile p -D log -daemonize || fail "it does not start"
    vmm_pid=$(<p)
    exec 5<> <(:)
    socat -u UNIX:serial - >heard &
    wait_for 10 "its network" ping -q -c 1 -W 1 10.0.0.2
    "$VMM" ctl s pause
    cp log err
    "$VMM" ctl s upgrade "$T/bin/new" || fail "$(<log)"
    local old=$vmm_pid
    vmm_pid='' # it may end before the other has written there
    wait_for 30 "another number in the pidfile" another_pid "$old"
    vmm_pid=$(<p)
    is "$("$VMM" ctl s status | sed -n 's/^state //p')" Paused "its state"
    ! ping -q -c 1 -W 1 10.0.0.2 >/dev/null || fail "it is not paused"
    "$VMM" ctl s resume
    pings 10.0.0.2 56
    is "$(printf '%s' '{"execute":"qmp_capabilities"}{"execute":"query-status"}' | timeout 10 socat -t 2 - UNIX:q | grep -c '"running"')" 1 "QMP"
    "$VMM" ctl s reset
    wait_for 20 "its console, by the connection of before" heard_twice
    kill -TERM "$vmm_pid"
    wait_for 20 "the end" none_of_us
    is "$(find . -name p -o -name s -o -name serial -o -name q)" '' "what is left behind"
}
another_pid() { [ -s p ] && [ "$(<p)" != "$1" ]; }
heard_twice() { [ "$(grep -ac 'guest: net up' heard)" = 2 ]; }

e2e kvm upgrade_cannot "without -upgrade, with private memory, another backend or a capture: refused by name; -upgrade and -allow-path do not meet"
test_upgrade_cannot() {
    local rc=0
    mkdir bin
    chmod 777 .
    cp "$VMM" bin/new
    boot_bundled '' -control s -allow-path "$T"
    cannot 'without -upgrade'
    "$VMM" ctl s snapshot state="$T/a.state" mem="$T/a.mem"
    stop
    "$VMM" -upgrade "$T/bin" -allow-path "$T" -serial null 2>err || rc=$?
    matches "$rc $(<err)" '^[12] .*-allow-path' "a directory that both have"
    start -restore a.state,mem=a.mem -tap tap0 -control s -upgrade "$T/bin" -serial null
    wait_for 30 "the guest" vm_runs
    cannot "this process's alone"
    stop
    boot_bundled '' -control s -upgrade "$T/bin" -netdev socket,id=n1,listen=:4000 -device virtio-net-pci,netdev=n1
    cannot 'netdev n1 cannot be handed over'
    stop
    start -netdev tap,id=n0,ifname=tap0,pcap=f.pcap -device virtio-net-pci,netdev=n0 -control s -upgrade "$T/bin"
    wait_for 30 "the guest" vm_runs
    cannot 'its frames are captured'
}
# cannot WORDS: an upgrade is refused with these.
cannot() {
    ! "$VMM" ctl s upgrade "$T/bin/new" 2>said || fail "it is not refused: $1"
    matches "$(<said)" "$1" "what is said"
}

e2e lab/long upgrade_linux "twenty times in a row another process goes on with Linux (two CPUs, virtio-net, a disk) under data both ways: none is lost, no connection is reset"
test_upgrade_linux() {
    local before
    mkdir bin
    cp "$VMM" bin/new
    chmod 777 .
    tap tap0 10.0.0.1/24
    truncate -s 16M disk.raw
    chmod 666 disk.raw
    start -kernel "$E2E_VMLINUX" -initrd "$E2E_FULL" -smp 2 -append "$linux_words ip=10.0.0.2/24" -tap "tap0,mac=52:54:00:00:00:02,model=${model:-virtio-net-pci}" \
        -drive "file=$T/disk.raw,format=raw" -device virtio-rng-pci -control s -upgrade "$T/bin"
    wait_for 90 "'guest: up'" out_has 'guest: up'
    serve_data 2
    g_ok 'dmesg -c >/dev/null'
    # shellcheck disable=SC2016  # it is for the guest's shell
    # Blocks with their number in them, written and read again for as long as all this takes.
    detached 'i=0; while :; do i=$((i + 1)); dd if=/tmp/payload of=/dev/vda bs=64k seek=$((i % 8 * 16)) count=16 conv=fsync 2>/dev/null;' \
        'dd if=/dev/vda bs=64k skip=$((i % 8 * 16)) count=16 iflag=direct 2>/dev/null | cmp -n 1048576 - /tmp/payload || echo $i >>/tmp/differs; done'
    before=$(unanswered)
    ping -n -q -i 0.01 -c 3000 -W 5 10.0.0.2 >pings &
    # One connection for all of it, slow enough to last.
    head -c 8M /dev/urandom >long
    (timeout 300 socat -t 60 - TCP:10.0.0.2:5001 < <(pv_of long) >long.sum) &
    for _ in $(seq 20); do
        takes_over new
        nap 0.3
    done
    wait_for 200 "the end of the connection" test -s long.sum
    is "$(cut -d' ' -f1 long.sum)" "$(sha256sum <long | cut -d' ' -f1)" "sha256 of what went through one connection"
    move_both 10.0.0.2
    ! g_ok 'test -e /tmp/differs' || fail "the disk differs"
    wait_for 60 "the last answers" all_answered "$before"
    note "$(tail -n 1 pings)"
    g 'dmesg' >dmesg
    ! grep -Ei 'lockup|stall|hung|timed out|unstable|BUG|Call Trace' dmesg || fail "the kernel complains"
}
# pv_of FILE: 64 KiB of it each fifth of a second.
pv_of() {
    local i n
    n=$(($(stat -c %s "$1") / 65536))
    for i in $(seq 0 $((n - 1))); do
        dd if="$1" bs=64k skip="$i" count=1 status=none
        nap 0.2
    done
}
