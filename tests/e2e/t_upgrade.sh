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

e2e kvm upgrade_goes_on "three times another process goes on with the guest under pings each millisecond and compared data both ways, both models: nothing is lost"
test_upgrade_goes_on() {
    local model
    # shellcheck disable=SC2034  # boot_bundled looks at it
    for model in virtio-net-pci e1000; do goes_on_times 3; done
}

e2e kvm/long upgrade_goes_on_20 "the same twenty times with 1 GiB: memory and descriptors do not grow"
test_upgrade_goes_on_20() { goes_on_times 20 -m 1G; }

# goes_on_times N OPTIONS...: what is open, and what a process has for itself, is each time what it was before the first.
goes_on_times() {
    local before held anon data times=$1
    shift
    mkdir -p bin
    cp "$VMM" bin/new
    boot_with_helper -pidfile p "$@"
    held=$(all_open) anon=$(anon_kib)
    before=$(unanswered)
    python3 "$here/datagrams.py" 10.0.0.2 7 $((150 * times)) >data 2>&1 &
    data=$!
    for _ in $(seq "$times"); do
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
        [ "$(anon_kib)" -le $((anon + 128)) ] || fail "$(anon_kib) KiB of its own after $anon"
    done
    wait "$data" || fail "$(<data)"
    note "$(<data); $(anon_kib) KiB of its own after $anon; open: $(all_open)"
    "$VMM" ctl s quit
    all_end
}

anon_kib() { sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$vmm_pid/status"; }
pidfile_is_ours() { [ "$(<p)" = "$vmm_pid" ]; }
two_of_us() { [ "$(ours | wc -l)" = 2 ]; }
all_open() {
    local pid
    for pid in $(ours); do find "/proc/$pid/fd" -type l | wc -l; done | sort -n | tr '\n' ' '
}
ours() { pgrep -x 'vmm|new|.*old|first' 2>/dev/null; pgrep -x vmm-helper; }
# boot_with_helper OPTIONS...: one that can be upgraded; $helper is its helper, which has its name a moment after the start.
boot_with_helper() {
    boot_bundled '' -control s -upgrade "$T/bin" "$@"
    wait_for 10 "its helper" knows_helper
}
knows_helper() { helper=$(pgrep -x vmm-helper); }

e2e kvm upgrade_killed "the VMM is killed at any moment of an upgrade: the guest goes on in exactly one process, or none is left"
test_upgrade_killed() {
    local ms helper lived=0
    mkdir bin
    cp "$VMM" bin/new
    cc -o bin/state-hangs "$here/successor.c"
    boot_bundled '' -control s -upgrade "$T/bin"
    "$VMM" ctl s upgrade "$T/bin/state-hangs" &
    wait_for 10 "the program" pgrep -x state-hangs >/dev/null
    kill -KILL "$vmm_pid"
    ends 5 any
    all_end
    for ms in 2 6 10 14 20 30; do
        boot_with_helper
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
        all_end
    done
    note "$lived of 6 went on"
}
none_of_us() { [ -z "$(ours)" ]; }
# all_end: whoever there was; the VMM, which may be the first, is not missed.
all_end() {
    vmm_pid=''
    wait_for 20 "the end of all of it" none_of_us
}
# The helper of the one that was killed waits for who takes over.
one_or_none() { ! alive "$helper" && { none_of_us || { [ "$(ours | wc -l)" = 2 ] && [ "$(pgrep -x new | wc -l)" = 1 ]; }; }; }

# step STEP: an upgrade is under way, and the new program stands before this step of it; $there is its process.  Before the last
# steps the one of before ends.
step() {
    local vmm_pid=''
    rm -f stands go
    "$VMM" ctl s upgrade "$T/bin/$1" >said 2>&1 &
    asker=$!
    wait_for 30 "the step $1" test -s stands
    there=$(<stands)
}

# goes_on: the step before which it stands is taken, and whatever comes after it.
goes_on() { : >go; wait "$asker" || true; }

# lives_in PID: in this process and no other, and may be moved again.
lives_in() {
    wait_for 20 "process $1 and a helper only" only_with_helper "$1"
    vmm_pid=$1
    ping -n -q -i 0.01 -c 2 -W 5 10.0.0.2 >/dev/null || fail "no answer"
    is "$("$VMM" ctl s status | sed -n 's/^state //p')" Running "its state"
}
only_with_helper() { [ "$(ours | wc -l)" = 2 ] && [ "$(pgrep -x 'vmm|new')" = "$1" ] && [ "$(pgrep -x vmm-helper | wc -l)" = 1 ]; }

steps_open() {
    local name
    mkdir bin
    cp "$VMM" bin/new
    cc -D_GNU_SOURCE -Wall -o bin/hello "$here/stops.c"
    for name in ready state took told end; do cp bin/hello "bin/$name"; done
}

e2e kvm upgrade_step_new "the new one is killed before each step: until it has taken over the guest goes on where it was, with all that was open, and the next upgrade does it"
test_upgrade_step_new() {
    local name open
    steps_open
    boot_with_helper -pidfile p
    open=$(all_open)
    for name in hello ready state took; do
        step "$name"
        kill -KILL "$there"
        ! wait "$asker" || fail "it is done, with the new one killed before $name"
        matches "$(<said)" 'the new process has ended' "what is said of one killed before $name"
        lives_in "$vmm_pid"
        wait_for 10 "the descriptors of before" same_open "$open"
        is "$(<p)" "$vmm_pid" "the pidfile"
    done
    takes_over new
    lives_in "$vmm_pid"
    # Once it has, it has; both say which process that is.
    for name in told end; do
        local old=$vmm_pid
        step "$name"
        wait_for 20 "the log: $(<err)" file_has err "process $there has taken over"
        kill -KILL "$there"
        wait "$asker" || fail "$(<said)"
        vmm_pid=''
        all_end
        wait "$old" 2>/dev/null || true
        is "$(find . -name s -o -name p)" '' "what is left behind"
        boot_bundled '' -control s -upgrade "$T/bin" -pidfile p
    done
}
same_open() { [ "$(all_open)" = "$1" ]; }

e2e kvm upgrade_step_old "the old one is killed before each step: until all has come to the new one none is left, and that is said; then that goes on"
test_upgrade_step_old() {
    local name
    steps_open
    for name in hello ready state took told end; do
        boot_bundled '' -control s -upgrade "$T/bin"
        step "$name"
        kill -KILL "$vmm_pid" 2>/dev/null || true
        wait "$vmm_pid" 2>/dev/null || true
        vmm_pid=''
        goes_on
        case $name in
        # Killed right after the state was asked for: it was sent, or was not.
        state) wait_for 20 "a word of what has become of it" file_has err 'process (before|that had the guest) has died' ;;
        hello | ready) wait_for 20 "the end, told: $(<err)" file_has err 'the guest has died, and this one has not taken it' ;;
        took) wait_for 20 "who goes on, told: $(<err)" file_has err 'has died; the guest goes on here' ;;
        esac
        if [[ $name = t* ]] || [ "$name" = end ] || file_has err 'goes on here'; then
            lives_in "$there"
            takes_over new
            "$VMM" ctl s quit
        fi
        all_end
        is "$(find . -name s)" '' "what is left behind"
    done
}

e2e kvm upgrade_step_stale "the old one goes on by itself, with nobody who could end the new one, and is killed then: that one leaves what is stale alone"
test_upgrade_step_stale() {
    local helper
    steps_open
    boot_with_helper
    step took
    kill -KILL "$helper"
    wait_for 30 "the guest, where it was" file_has err 'did not take over in time; the guest goes on here'
    pings 10.0.0.2 56
    kill -KILL "$vmm_pid"
    wait "$vmm_pid" 2>/dev/null || true
    vmm_pid=''
    goes_on
    wait_for 20 "the end, told" file_has err 'has died, and this one has not taken it'
    all_end
}

e2e kvm upgrade_step_helper "the helper is killed before each step: the new one goes on, with one of its own"
test_upgrade_step_helper() {
    local name
    steps_open
    for name in hello ready state took told end; do
        boot_with_helper
        step "$name"
        kill -KILL "$helper" 2>/dev/null || true
        goes_on
        wait "$vmm_pid" || fail "exit status $? with the helper killed before $name: $(<said) $(<err)"
        lives_in "$there"
        takes_over new
        "$VMM" ctl s quit
        all_end
        vmm_pid=''
        is "$(find . -name s)" '' "what is left behind"
    done
}

# stays_with NAME WORDS: the program there does not take over, for a reason with these words; the guest goes on where it is, and all
# that was started for it ends.
stays_with() {
    ! "$VMM" ctl s upgrade "$T/bin/$1" 2>said || fail "$1 has taken over"
    matches "$(<said)" "$2" "what is said of $1"
    alive "$vmm_pid" || fail "the VMM ended with $1: $(<err)"
    ping -n -q -i 0.01 -c 2 -W 5 10.0.0.2 >/dev/null || fail "no answer after $1"
    wait_for 20 "the end of $1" no_other "$1"
    wait_for 20 "the descriptors of before $1" same_open "$open"
}
no_other() { ! pgrep -x "$1" >/dev/null; }

e2e kvm/long upgrade_late "a new program that hangs before it is ready, or a helper that does, leaves the guest where it is after their time"
test_upgrade_late() {
    local open helper
    mkdir bin
    boot_with_helper
    open=$(all_open)
    cp "$VMM" bin/new
    cc -o bin/start-hangs "$here/successor.c"
    stays_with start-hangs 'did not get ready in time'
    kill -STOP "$helper"
    ! "$VMM" ctl s upgrade "$T/bin/new" 2>said || fail "the helper is stopped"
    matches "$(<said)" 'did not start in time' "what is said of a helper that hangs"
    pings 10.0.0.2 56
    kill -CONT "$helper"
    wait_for 20 "what was there before" lives_alone
    wait_for 20 "the descriptors of before" same_open "$open"
    takes_over new
    pings 10.0.0.2 56
    # One that neither goes on nor ends, when the other has died, is ended.
    "$VMM" ctl s upgrade "$T/bin/start-hangs" 2>said &
    wait_for 30 "the program" pgrep -x start-hangs >/dev/null
    kill -KILL "$vmm_pid"
    wait_for 5 "the end of the VMM" ended "$vmm_pid"
    vmm_pid=''
    wait_for 30 "the end of it" no_other start-hangs
    wait_for 10 "its end, told" file_has err 'has not done so in time: it has been killed'
    all_end
}
lives_alone() { only_with_helper "$vmm_pid"; }
ended() { ! alive "$1"; }

# other_build NAME ROW: a build that remembers this row by another name: to it the one here is unknown, and that one to this.
other_build() {
    LC_ALL=C sed "s/$2/${2%?}Z/g" "$VMM" >"bin/$1"
    chmod 755 "bin/$1"
    ! cmp -s "bin/$1" "$VMM" || fail "there is no row $2"
}

e2e kvm upgrade_state "between builds that remember other things: where they can do without, the guest goes on, both ways; else it is refused by the name of what is missing, and stays"
test_upgrade_state() {
    local open
    mkdir bin
    cp "$VMM" bin/new
    other_build lessold held_flags
    other_build moreold guest_offloads
    boot_with_helper
    open=$(all_open)
    stays_with moreold 'guest_offloadZ is missing'
    takes_over lessold
    pings 10.0.0.2 56
    takes_over new
    pings 10.0.0.2 56
    stop
    all_end
    VMM=$T/bin/moreold boot_with_helper
    open=$(all_open)
    stays_with new 'guest_offloads is missing'
}

# The first that could hand over: what it remembers is what any later one must be able to take.
first_that_could=519ef39b1d7a

e2e kvm/long upgrade_from_the_first "from a build of the first version that could, to this one, and back: no ping is lost"
test_upgrade_from_the_first() {
    local before
    mkdir bin src
    git -c safe.directory='*' -C "$E2E_ROOT" archive "$first_that_could" 2>/dev/null | tar -x -C src 2>/dev/null ||
        skip "commit $first_that_could is not in this clone"
    make -C src -j2 vmm >make.log 2>&1 || fail "it does not build: $(tail -n 5 make.log)"
    cp src/vmm bin/first
    cp "$VMM" bin/new
    VMM=$T/bin/first boot_bundled '' -control s -upgrade "$T/bin"
    before=$(unanswered)
    ping -n -q -i 0.01 -c 300 -W 5 10.0.0.2 >pings &
    for name in new first new; do
        takes_over "$name"
        nap 0.3
    done
    wait $! || true
    wait_for 10 "the last answers" all_answered "$before"
    note "$(tail -n 1 pings)"
    pings 10.0.0.2 56
}

e2e kvm upgrade_dir "a directory of new programs, or one on the way to a program in it, that the user in the sandbox could write to: refused at the start, or when it has come to be so"
test_upgrade_dir() {
    local open rc=0
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir -p /mnt/bin/sub
    cp "$VMM" /mnt/bin/new
    cp "$VMM" /mnt/bin/sub/new
    ln -s /mnt/bin bin
    chmod 777 /mnt/bin
    "$VMM" -upgrade "$T/bin" -serial null 2>err || rc=$?
    matches "$rc $(<err)" '^[12] .*could write /mnt/bin' "a directory that all may write to"
    chmod 755 /mnt/bin
    boot_with_helper
    open=$(all_open)
    chmod 777 /mnt/bin/sub
    stays_with sub/new 'could have written it'
    chown nobody /mnt/bin
    stays_with new 'could have written it'
    chown root /mnt/bin
    chmod 755 /mnt/bin/sub
    takes_over sub/new
    pings 10.0.0.2 56
}

e2e kvm upgrade_refused "a program that is not there, not to be executed, another processor's, another's to write, or dies, raves, refuses or hangs at each step leaves the guest where it is"
test_upgrade_refused() {
    local name when how open
    mkdir bin bin/dir
    boot_with_helper
    open=$(all_open)
    cc -Wall -o fails "$here/successor.c"
    for when in start ready state; do
        for how in dies raves refuses repeats floods babbles hangs; do cp fails "bin/$when-$how"; done
    done
    cp "$VMM" bin/vmm
    cp bin/vmm bin/theirs && chmod 775 bin/theirs
    cp bin/vmm bin/nobodys && chown nobody bin/nobodys
    cp bin/vmm bin/plain && chmod 644 bin/plain
    cp bin/vmm bin/arm && printf '\267' | dd of=bin/arm bs=1 seek=18 conv=notrunc status=none
    printf '#!/bin/sh\n' >bin/script && chmod 755 bin/script
    head -c 64 "$VMM" >bin/stub && chmod 755 bin/stub
    mkfifo bin/fifo && chmod 755 bin/fifo
    ln -s /bin/true bin/link
    ln -s vmm bin/inside
    stays_with none 'No such file'
    stays_with plain 'no file that can be executed'
    stays_with dir 'no file that can be executed'
    stays_with fifo 'no file that can be executed'
    stays_with script 'no program for this processor'
    stays_with arm 'no program for this processor'
    stays_with stub 'the new process: it cannot be executed'
    stays_with theirs 'could have written it'
    stays_with nobodys 'could have written it'
    stays_with link 'leads out'
    cp bin/vmm vmm && stays_with ../vmm 'leads out'
    for when in start ready state; do
        stays_with "$when-dies" 'the new process has ended'
        for how in raves floods babbles; do
            stays_with "$when-$how" 'the new process says something else'
        done
        stays_with "$when-refuses" 'the new process: I will not'
        ! grep -q $'\033\\|^and say so' err said || fail "what it says is another line: $(<err)"
    done
    for name in ready-repeats state-repeats; do
        stays_with "$name" 'the new process says something else'
    done
    stays_with state-hangs 'did not take over in time'
    takes_over inside
    pings 10.0.0.2 56
}

e2e kvm upgrade_interrupted "while the guest stands still for it: SIGTERM is for the guest, which goes on here, SIGINT ends it, and who asks for a pause, or its end, waits and has it"
test_upgrade_interrupted() {
    local asks waits
    mkdir bin
    cc -o bin/state-hangs "$here/successor.c"
    stands_still
    kill -TERM "$vmm_pid"
    ends 30 143
    ! wait "$asks" || fail "it was taken over"
    err_has 'SIGTERM came; the guest goes on here' || fail "$(<err)"
    ! err_has 'hears nothing' || fail "$(<err)"
    stands_still
    kill -INT "$vmm_pid"
    ends 30 130
    ! wait "$asks" || fail "it was taken over"
    matches "$(<said)" 'the machine has ended' "what is said"
    stands_still
    "$VMM" ctl s pause &
    waits=$!
    ! wait "$asks" || fail "it was taken over"
    wait "$waits" || fail "it is not paused"
    is "$("$VMM" ctl s status | sed -n 's/^state //p')" Paused "its state"
    "$VMM" ctl s quit
    ends 30 0
    stands_still
    "$VMM" ctl s quit
    ends 30 0
    ! wait "$asks" || fail "it was taken over"
    all_end
}
# stands_still: for an upgrade that does not come to its end.
stands_still() {
    all_end
    rm -f stands
    boot_bundled '' -control s -upgrade "$T/bin"
    "$VMM" ctl s upgrade "$T/bin/state-hangs" 2>said &
    asks=$!
    wait_for 30 "the state at the new one's" test -e stands
}

e2e kvm upgrade_saved "while one is under way the machine cannot be saved, nor handed over while it is saved: each would take the other's halt for the operator's"
test_upgrade_saved() {
    local asks
    mkdir bin snap
    chmod 777 snap
    cp "$VMM" bin/new
    cc -o bin/start-hangs "$here/successor.c"
    boot_bundled '' -control s -upgrade "$T/bin" -allow-path "$T/snap"
    save_slowly snap/a
    ! "$VMM" ctl s upgrade "$T/bin/new" 2>said2 || fail "it is handed over"
    matches "$(<said2)" 'a snapshot is being taken' "what is said"
    : >go
    wait "$saves" || fail "$(<said)"
    "$VMM" ctl s upgrade "$T/bin/start-hangs" 2>said &
    asks=$!
    wait_for 30 "the program" pgrep -x start-hangs >/dev/null
    ! save snap/b 2>said2 || fail "it is saved"
    matches "$(<said2)" 'it is being handed over' "what is said"
    pkill -KILL -x start-hangs
    ! wait "$asks" || fail "it was taken over"
    save snap/b
    takes_over new
    pings 10.0.0.2 56
}

e2e kvm upgrade_keeps "one that is paused stays so; whoever is connected to the serial port, and a socket at QMP, are the new one's; what it had opened it has, below -daemonize too"
test_upgrade_keeps() {
    local before
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
    before=$(heard)
    "$VMM" ctl s reset
    wait_for 20 "its console, by the connection of before" heard_again
    kill -TERM "$vmm_pid"
    all_end
    is "$(find . -name p -o -name s -o -name serial -o -name q)" '' "what is left behind"
}
another_pid() { [ -s p ] && [ "$(<p)" != "$1" ]; }
# A guest is up before a listener to its console has begun, on a busy machine.
heard() { grep -ac 'guest: net up' heard || true; }
heard_again() { [ "$(heard)" -gt "$before" ]; }

e2e kvm upgrade_clients "who is connected to QMP, the API or by it to the serial port stays so, who asked for it too, and who has sent half a request; who comes meanwhile is answered; each once"
test_upgrade_clients() {
    local i old asks serial
    mkdir bin
    cp "$VMM" bin/new
    cc -o bin/state-dies "$here/successor.c"
    boot_bundled '' -control s -upgrade "$T/bin" -qmp unix:q,server=on,wait=off
    exec 6> >(socat - UNIX:q >qmp) 7> >(socat - UNIX:s >api) 8> >(socat - UNIX:q >half) 9> >(socat - UNIX:s >half.api)
    printf '%s' '{"execute":"qmp_capabilities"}' >&6
    wait_for 10 "its capabilities" grep -q '{"return": {}}' qmp
    printf '%s' '{"execute":"qmp_capabilities"}{"execute":"query-' >&8 # and it stops there
    wait_for 10 "its capabilities" grep -q '{"return": {}}' half
    printf 'PUT /verbs/pause HTTP/1.1\r\nContent-Length: 2\r\n\r\n{' >&9
    printf 'GET /version HTTP/1.1\r\n\r\n' >&7
    wait_for 10 "an answer" grep -q firecracker_version api
    exec 5<> <(:)
    "$VMM" ctl s serial <&5 >typed &
    serial=$!
    asks_on &
    asks=$!
    for i in 1 2 3; do
        ! "$VMM" ctl s upgrade "$T/bin/state-dies" 2>said || fail "it has taken over"
        old=$vmm_pid
        put_upgrade "$T/bin/new" >&7
        wait_for 20 "the end of process $old" vmm_ended
        ! jobs -p | grep -qx "$old" || wait "$old" || fail "exit status $?"
        vmm_pid=$(sed -n 's/.*process \([0-9]*\) has taken over.*/\1/p' err | tail -n 1)
        wait_for 10 "its answer" counts "$i" 'HTTP/1.1 204' api
        printf '%s' '{"execute":"query-status"}' >&6
        wait_for 10 "what QMP says" counts "$i" '"status": "running"' qmp
        is "$(grep -o '"X_TAKEN_OVER", "data": {"pid": [0-9]*' qmp | tail -n 1 | grep -o '[0-9]*$')" "$vmm_pid" "the event's number"
        printf 'GET /version HTTP/1.1\r\n\r\n' >&7
        wait_for 10 "an answer of the API" counts $((i + 1)) firecracker_version api
    done
    printf '%s' 'version"}' >&8
    wait_for 10 "an answer to what was begun three processes before" grep -q '"package"' half
    printf '}' >&9
    wait_for 10 "the API's" grep -q 'HTTP/1.1 204' half.api
    is "$("$VMM" ctl s status | sed -n 's/^state //p')" Paused "its state"
    "$VMM" ctl s resume
    is "$(grep -c '"QMP"' qmp)" 1 "greetings"
    is "$(grep -o '"event": "[A-Z_]*"' qmp | sort | uniq -c | sort -n | tr -s ' \n' ' ')" \
        ' 3 "event": "X_TAKEN_OVER" 7 "event": "RESUME" 7 "event": "STOP" ' "events"
    "$VMM" ctl s reset
    wait_for 20 "the console, by the connection of before" grep -aq 'guest: net up' typed
    kill "$serial"
    touch enough
    wait "$asks" || fail "somebody was not answered: $(<asks)"
    exec 5>&- 6>&- 7>&- 8>&- 9>&-
}
counts() { [ "$(grep -o "$2" "$3" | wc -l)" = "$1" ]; }
asks_on() { while [ ! -e enough ]; do timeout 20 "$VMM" ctl s status >asks 2>&1 || return; done; }
# put_upgrade PROGRAM: as a client that goes on with its connection.
put_upgrade() {
    local body="{\"path\":\"$1\"}"
    printf 'PUT /verbs/upgrade HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body"
}

e2e kvm upgrade_fds "descriptors in sets, by the option and by QMP, and by getfd's name are the next one's, again and again; what has been removed stays so"
test_upgrade_fds() {
    mkdir bin
    cp "$VMM" bin/new
    truncate -s 1M d1
    truncate -s 2M d2
    : >out
    exec 7>>out 8<>d1 9<>d2
    boot_bundled '' -control s -add-fd set=0,fd=7,opaque=serial -add-fd set=3,fd=8 -add-fd set=4,fd=9 -upgrade "$T/bin" \
        -chardev file,id=c,path=/dev/fdset/0,append=on -serial chardev:c -drive file=/dev/fdset/3,format=raw,id=d0 -qmp unix:q,server=on,wait=off
    exec 7>&- 8>&- 9>&-
    timeout 20 python3 - <<'END' || fail "add-fd and getfd"
import array, socket
q = socket.socket(socket.AF_UNIX)
q.connect("q")
d2 = open("d2", "r+b")
for line in (b'{"execute":"qmp_capabilities"}', b'{"execute":"add-fd","arguments":{"fdset-id":5,"opaque":"a \\"b"}}',
             b'{"execute":"getfd","arguments":{"fdname":"left"}}', b'{"execute":"remove-fd","arguments":{"fdset-id":4}}'):
    q.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [d2.fileno()]))])
    while b'"return"' not in q.recv(4096):
        pass
END
    takes_over new
    takes_over new
    matches "$(qmp q '{"execute":"query-fdsets"}')" \
        '\{"fdset-id": 0, "fds": \[\{"fd": [0-9]+, "opaque": "serial"\}\]\}, \{"fdset-id": 3, "fds": \[\{"fd": [0-9]+\}\]\}, \{"fdset-id": 5, "fds": \[\{"fd": [0-9]+, "opaque": "a \\"b"\}\]\}\]' "query-fdsets"
    qmp q '{"execute":"blockdev-change-medium","arguments":{"id":"d0","filename":"/dev/fdset/5"}}' \
        '{"execute":"closefd","arguments":{"fdname":"left"}}' '{"execute":"closefd","arguments":{"fdname":"left"}}' >did
    matches "$(qmp q '{"execute":"query-named-block-nodes"}')" '"virtual-size": 2097152' "the disk's size"
    is "$(grep -c "'left' not found" did)" 1 "closefd of what is there, and then is not"
    "$VMM" ctl s reset
    wait_for 20 "the console, in the file of before" says_twice
}
says_twice() { [ "$(grep -ac 'guest: net up' out)" = 2 ]; }

e2e kvm upgrade_cannot "without -upgrade, with private memory, another backend or a capture: refused by name; -upgrade and -allow-path do not meet"
test_upgrade_cannot() {
    local rc=0
    mkdir bin
    chmod 1777 .
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

e2e lab/long upgrade_linux "twenty times in a row another process goes on with Linux (two CPUs) under iperf3, compared data both ways by TCP and vsock, pings each millisecond and fio that verifies: nothing is lost, no connection is reset, no clock stands still"
test_upgrade_linux() {
    local before machine echo_pid began pinger zeros iperf vsock_pid upgraded
    # No reply may be missing, so none is to be dropped in there for having waited behind a pause.
    local linux_words="$linux_words qdisc=pfifo_fast"
    mkdir bin
    cp "$VMM" bin/new
    move_machine virtio-net-pci '' '' ''
    machine+=(-upgrade "$T/bin")
    move_boot 2 ''
    vsock_echo 5004
    g_ok 'iperf3 -s -D >/dev/null 2>&1'
    wait_for 60 "a vsock listener" vsock_echoes 5004
    wait_for 60 "iperf3 in the guest" listening 5201
    echo 0 | tee came >came.vsock
    python3 "$here/echo.py" 10.0.0.2 5003 2 came 2>echo.err &
    echo_pid=$!
    python3 "$here/echo.py" "$T/v" 5004 1 came.vsock 2>vsock.err &
    vsock_pid=$!
    wait_for 150 "data both ways" data_goes_on 1 1
    # One stream for all of it: it ends, as any does, when there is no more of its file.
    mkfifo zeros
    cat /dev/zero >zeros &
    zeros=$!
    iperf3 -c 10.0.0.2 -t 3600 -i 5 -b 8M -F zeros --forceflush >iperf.log 2>&1 &
    iperf=$!
    wait_for 60 "iperf3's first interval" file_has iperf.log 'bits/sec'
    before=$(unanswered)
    env --default-signal=INT ping -n -i 0.001 -W 5 10.0.0.2 >pings &
    pinger=$!
    began=$(now_ms) upgraded=''
    for _ in $(seq 20); do
        takes_over new
        upgraded+=" $(sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' pings | tail -n 1)"
        wait_for 60 "data both ways" data_goes_on $(($(<came) + 65536)) $(($(<came.vsock) + 65536))
    done
    note "twenty took $(($(now_ms) - began)) ms; back are $(($(<came))) bytes by each TCP connection, $(($(<came.vsock))) by vsock"
    kill -INT "$pinger"
    wait "$pinger" || true
    note "$(tail -n 1 pings)"
    all_of_them "$before"
    kill "$zeros"
    wait_for 60 "the end of iperf3" ended "$iperf"
    wait "$iperf" || fail "iperf3: $(tail -n 3 iperf.log)"
    ! iperf_stood || fail "no data in an interval of iperf3: $(<iperf.log)"
    note "$(grep receiver iperf.log)"
    load_was_well
}
# all_of_them BEFORE: every echo request of `pings` has its reply, the last ones soon.
all_of_them() {
    local end
    end=$(($(now_ms) + 60000))
    until all_answered "$1"; do
        [ "$(now_ms)" -lt "$end" ] || {
            where_lost
            fail "$(($(unanswered) - $1)) replies are missing; ping had none of$(sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' pings | sort -n |
                awk '{ while (++n < $1) printf " %d", n }'); it was at$upgraded after each of the twenty"
        }
        nap 0.1
    done
}
# data_goes_on TCP VSOCK: so many bytes are back by each.
data_goes_on() {
    ended "$echo_pid" && fail "$(<echo.err)"
    ended "$vsock_pid" && {
        tell_vmm
        fail "by vsock: $(<vsock.err)"
    }
    [ "$(<came)" -ge "$1" ] && [ "$(<came.vsock)" -ge "$2" ]
}
# iperf_stood: in one of its whole intervals, of five seconds.
iperf_stood() { grep -E '^\[ *[0-9]+\] +[0-9]+\.00-[0-9]+[05]\.0[0-9] ' iperf.log | grep -v 'sender\|receiver' | grep ' 0\.00 Bytes'; }

e2e lab/long upgrade_linux_vhost "three times with vhost-net and vhost-vsock: a TCP connection goes on, vsock's are reset at both ends and can be made anew"
test_upgrade_linux_vhost() {
    local reader
    [ -e /dev/vhost-net ] || modprobe vhost_net || skip "no vhost-net"
    [ -e /dev/vhost-vsock ] || modprobe vhost_vsock || skip "no vhost-vsock"
    mkdir bin
    cp "$VMM" bin/new
    chmod 1777 .
    tap tap0 10.0.0.1/24
    start -kernel "$E2E_VMLINUX" -initrd "$E2E_FULL" -smp 2 -append "$linux_words ip=10.0.0.2/24" -control s -upgrade "$T/bin" \
        -netdev tap,id=n0,ifname=tap0,vhost=on,vhostforce=on -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:02 -device vhost-vsock-pci,guest-cid=42
    wait_for 90 "'guest: up'" out_has 'guest: up'
    serve_data 2
    g_ok 'modprobe vmw_vsock_virtio_transport'
    vsock_echo 5003
    wait_for 60 "a vsock listener" vsock_kernel_echoes
    g_ok 'dmesg -c >/dev/null'
    head -c 3M /dev/urandom >long
    (timeout 300 socat -t 60 - TCP:10.0.0.2:5001 < <(pv_of long) >long.sum) &
    for _ in 1 2 3; do
        timeout 300 socat -u VSOCK-CONNECT:42:5003 - >/dev/null 2>&1 &
        reader=$!
        nap 0.5
        alive "$reader" || fail "no connection"
        takes_over new
        wait_for 60 "the end of a connection that only listens" ended "$reader"
        wait_for 60 "another connection" vsock_kernel_echoes
        "$VMM" ctl s stats | grep -q 'vhost_starts *[1-9]' || fail "its rings are not vhost's: $("$VMM" ctl s stats | grep vhost)"
    done
    wait_for 200 "the end of the connection" test -s long.sum
    is "$(cut -d' ' -f1 long.sum)" "$(sha256sum <long | cut -d' ' -f1)" "sha256 of what went through one connection"
    move_both 10.0.0.2
    g 'dmesg' >dmesg
    ! grep -Ei 'lockup|stall|hung|timed out|unstable|BUG|Call Trace' dmesg || fail "the kernel complains"
}
vsock_kernel_echoes() { [ "$(echo hello | timeout 20 socat -t 10 - VSOCK-CONNECT:42:5003 2>/dev/null)" = hello ]; }
# Python would take half a minute to start in the lab.
vsock_echoes() { [[ $(printf 'CONNECT %d\nhello\n' "$1" | timeout 20 socat -t 10 - UNIX-CONNECT:v 2>/dev/null) = OK*hello ]]; }
# vsock_echo PORT: in the guest, who comes there hears what he says.  Not by socat's PIPE: that writes 8 KiB when the pipe has
# room for 4, and then waits for the reader, which is itself: for ever, once data comes faster than it goes.  And it waits for
# the rest to go back longer than the half second that is usual, which a busy lab sleeps through.
vsock_echo() { detached "socat -t 60 VSOCK-LISTEN:$1,fork EXEC:cat"; }
# pv_of FILE: 64 KiB of it each fifth of a second.
pv_of() {
    local i n
    n=$(($(stat -c %s "$1") / 65536))
    for i in $(seq 0 $((n - 1))); do
        dd if="$1" bs=64k skip="$i" count=1 status=none
        nap 0.2
    done
}
