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
    local model before held
    mkdir bin
    cp "$VMM" bin/new
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -control s -upgrade "$T/bin" -pidfile p
        held=
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
            is "$(has_open)" "${held:=$(has_open)}" "descriptors, the VMM's and its helper's"
        done
        "$VMM" ctl s quit
        wait_for 5 "the end" no_vmm
    done
}

pidfile_is_ours() { [ "$(<p)" = "$vmm_pid" ]; }
two_of_us() { [ "$(ours | wc -l)" = 2 ]; }
has_open() {
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
