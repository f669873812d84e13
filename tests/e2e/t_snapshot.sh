# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# A machine is saved into two files, and goes on from them.
#
# What others found out when they had shipped it, and what shows that it is not so here:
#   timers that never fire, told before the APIC or the TSC    kvm_state_is_told_in_the_order_that_loses_nothing,
#                                                              kvm_state_timer_fires_at_its_deadline
#   a timer that had fired, but not been heard                 kvm_state_timer_that_had_just_fired_fires_again
#   soft-lockup panics: kvmclock not told that it stood        kvm_state_paravirtual_clock_is_told_that_it_stood
#   CPUs that run before their clock is set                    none: kvm_state_load() and clock_go() are calls on the main
#                                                              loop's thread, before the one that lets vCPUs go
#   CPUs whose TSCs differ                                     kvm_state_tsc_of_all_cpus_stay_as_far_apart_as_they_were; where KVM
#                                                              cannot set any, kvm_state_is_told_in_…
#   the time of day that of the snapshot                       kvm_state_clock_goes_on_or_is_set_forward
#   clones with the same random numbers                        vmgenid_a_state_that_is_loaded_is_another_generation
#   clones with the same address, neighbours that know another plan_of_a_restored_machine_has_other_backends_and_addresses,
#                                                              snapshot_announces
#   clones that open the TAP of the first                      none: no name in a state file is opened; Firecracker's:
#                                                              fcload_opens_only_what_this_start_has_named
#   vsock: connections nobody knows, kicks that were lost      vsock_5_10_6_7_moved_the_guest_is_told_and_all_works
#   a balloon's pages with the file's content again            ram_of_a_saved_file_is_not_given_back; served: uffd_message_…
#   differences that lack what changed before a failed one     pages_of_a_file_that_could_not_be_written_count_for_nothing,
#                                                              snapshot_faults
#   a memory file that is cut short                            snapshot_cut
#   dirty logging that splits huge pages                       none: no log is kept (machine/pages.c)
#   hosts with cgroup v1 that restore slowly                   none: no group is made or entered but by the jail
#   another CPU                                                snapshot_describe
#   queues whose kick was lost                                 vnet_hold_traffic_moves_with_…, vblk_moves_with_requests_under_way,
#                                                              virtio_rng_moves_with_its_rate_and_what_was_asked

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
    start -restore "$name.state,mem=$name.mem${clock-}" -tap "tap0,mac=52:54:00:00:00:02,model=${model:-virtio-net-pci}" -control s -allow-path "$T" "$@"
    wait_for 30 "the guest, restored" vm_runs
}
# files: those of snapshots, whole or not.
files() { find . -name '*.mem*' -o -name '*.state*' | sort | tr '\n' ' '; }

e2e kvm snapshot_goes_on "saved and restored in mid-traffic, each time in a new process, both models; the guest's count in vector registers, too"
test_snapshot_goes_on() {
    local model
    chmod 777 .
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled ring3 -control s -allow-path "$T"
        for _ in 1 2 3; do
            ping -n -q -i 0.002 -c 60 -W 1 10.0.0.2 >/dev/null &
            nap 0.05
            save a
            stop
            wait $! || true
            is "$(stat -c '%a %U' a.state a.mem | sort -u)" "600 nobody" "mode and owner"
            clock=,clock=realtime restore a
            pings 10.0.0.2 56 8000
        done
        "$VMM" ctl s quit
        ends 5 0
    done
}

e2e kvm/long snapshot_200 "200 times, of both models in turn: no start is lost, no packet after it, no bit of a vector register"
test_snapshot_200() {
    local model
    chmod 777 .
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled ring3 -control s -allow-path "$T"
        for _ in {1..100}; do
            ping -n -q -i 0.002 -c 30 -W 1 10.0.0.2 >/dev/null &
            save a
            stop
            wait $! || true
            restore a
            pings 10.0.0.2 56
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
    save_of_other_cpu
    "$VMM" -restore b.state,mem=a.mem -tap tap0 2>err || rc=$?
    is $rc 1 "exit status with another CPU"
    matches "$(<err)" "the saved guest's CPU is another: CPUID leaf 0x1.0 ECX is 0x[0-9a-f]+, here 0x" "what is said"
    rc=0
    printf x | dd of=a.state bs=1 seek=2000 conv=notrunc status=none
    "$VMM" -restore a.state,mem=a.mem -tap tap0 2>err || rc=$?
    is $rc 2 "exit status of a damaged one"
    matches "$(<err)" 'a.state: is damaged' "what is said"
}

# save_of_other_cpu: b.state is that of a CPU with another feature, and with its sum (base/parts.c, base/sum.c).
save_of_other_cpu() {
    python3 - <<'EOP'
import struct
M = 2**64 - 1
def turn(v):
    v = v * 0x9E3779B97F4A7C15 & M
    return v ^ v >> 32
def sum_of(p):
    n, lane = len(p), [1, 2, 3, 4]
    whole = n // 32 * 32
    for at in range(0, whole, 32):
        lane = [turn(l ^ w) for l, w in zip(lane, struct.unpack_from("<4Q", p, at))]
    word, total = struct.unpack("<4Q", p[whole:].ljust(32, b"\0")), n
    for i in range(4):
        total = (turn(total ^ turn(lane[i] ^ word[i])) + i) & M
    return total or 1
p = bytearray(open("a.state", "rb").read()[:-8])
at = p.index(b"\x05cpuid") + 6
size = struct.unpack_from("<I", p, at)[0]
for entry in range(at + 4, at + 4 + size, 40):  # struct kvm_cpuid_entry2
    if struct.unpack_from("<I", p, entry)[0] == 1:
        p[entry + 20] ^= 1  # SSE3
with open("b.state", "wb") as out:
    out.write(p + struct.pack("<Q", sum_of(p)))
EOP
}

e2e kvm snapshot_announces "a restored machine says by RARP where it is, before its guest does anything"
test_snapshot_announces() {
    local model
    chmod 777 .
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -control s -allow-path "$T"
        pings 10.0.0.2 56
        save a
        stop
        start -restore a.state,mem=a.mem -netdev tap,id=n0,ifname=tap0,pcap=f.pcap -device "$model,netdev=n0,mac=52:54:00:00:00:02" -serial null
        wait_for 30 "an announcement" announced
        stop
    done
}
# 52:54:00:00:00:02 to all, type 8035, in a capture.
announced() { od -An -v -tx1 f.pcap | tr -d ' \n' | grep -q 'ffffffffffff5254000000028035'; }

e2e kvm snapshot_diff "a difference has only what was written since, and over the last file it is the memory of now"
test_snapshot_diff() {
    chmod 777 .
    boot_bundled '' -control s -allow-path "$T"
    save a
    save b type=diff
    [ "$(stat -c %b b.mem)" -le "$(stat -c %b a.mem)" ] || fail "$(stat -c %b b.mem) blocks differ of $(stat -c %b a.mem)"
    "$VMM" ctl s pause
    save c type=diff
    save d
    save e type=diff
    is "$(stat -c %b e.mem)" 0 "blocks that differ while it is paused"
    stop
    merge b.mem a.mem
    merge c.mem a.mem
    cmp a.mem d.mem || fail "the differences over the first are not the last"
    # What was restored differs from its file by what it wrote since.
    start -restore d.state,mem=d.mem,paused=on -tap tap0 -control s -allow-path "$T" -serial null
    wait_for 10 "the machine" vm_paused
    [ "$(own_memory)" -le 300 ] || fail "$(own_memory) KiB are its own before the guest runs"
    save f type=diff
    save g
    cmp d.mem g.mem || fail "a machine that has not run has other memory"
    "$VMM" ctl s resume
    pings 10.0.0.2 56
    stop
    # One that waits is ready, whoever waits for that.
    timeout 30 "$VMM" -restore d.state,mem=d.mem -S -daemonize -pidfile pid -tap tap0 -control s -serial none || fail "exit status $? of -daemonize"
    vm_paused || fail "it runs"
    "$VMM" ctl s quit
    wait_for 30 "its end" test ! -e pid
}
vm_paused() { [ "$(vm_state 2>/dev/null)" = Paused ]; }
# own_memory: KiB of the VMM that no other process shares.
own_memory() { sed -n 's/^Anonymous: *\([0-9]*\) kB/\1/p' "/proc/$vmm_pid/smaps_rollup"; }
# merge DIFF FILE: what is no hole in DIFF is FILE's.
merge() {
    python3 - "$@" <<'EOP'
import os, sys
diff, whole = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY)
end = 0
while True:
    try:
        at = os.lseek(diff, end, os.SEEK_DATA)
    except OSError:
        break
    end = os.lseek(diff, at, os.SEEK_HOLE)
    while at < end:
        at += os.pwrite(whole, os.pread(diff, min(end - at, 1 << 20), at), at)
EOP
}

e2e kvm snapshot_replaces "restored with another TAP, another disk and another vsock socket, without -m; with what is not there nothing is made"
test_snapshot_replaces() {
    local rc option machine
    chmod 777 .
    truncate -s 1M one.raw two.raw
    chmod 666 one.raw two.raw
    # shellcheck disable=SC2054  # they are keys of one option
    machine=(-netdev tap,id=n0,ifname=tap0 -device "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:02"
        -drive "id=d0,file=$T/one.raw,format=raw" -device "virtio-vsock-pci,guest-cid=3,uds_path=$T/v1"
        -object memory-backend-memfd,id=mem,size=64M -machine memory-backend=mem -control s -allow-path "$T")
    tap tap0 10.0.0.1/24
    start -m 64M -append ip=10.0.0.2/24 "${machine[@]}"
    wait_for 30 "'guest: net up'" out_has 'guest: net up'
    save a
    stop
    for option in net.n1=tap1 drive.d1=two.raw drive.d0=three.raw vsock= net.n0=tap,,ifname=toolongforalinuxname mem=b.mem; do
        rc=0
        "$VMM" -restore "a.state,mem=a.mem,net.n0=made,$option" "${machine[@]}" 2>err || rc=$?
        [ $rc != 0 ] || fail "restored with $option"
        no_link made || fail "an interface was made"
    done
    rc=0
    "$VMM" -restore a.state,mem=a.mem -m 128M "${machine[@]}" 2>err || rc=$?
    is $rc 2 "exit status with another -m"
    matches "$(<err)" 'the saved machine has 64M' "what is said"
    ip addr flush dev tap0
    tap tap1 10.0.0.1/24
    rm -f v1 s one.raw
    start -restore "a.state,mem=a.mem,net.n0=tap1,drive.d0=$T/two.raw,vsock=$T/v2" "${machine[@]}"
    wait_for 30 "the guest, restored" vm_runs
    pings 10.0.0.2 56 8000
    if [ ! -S v2 ] || [ -e v1 ]; then fail "vsock's socket is not the other"; fi
    has_open "$T/two.raw" || fail "the other disk is not open"
}

# has_open FILE: the VMM has.
has_open() { readlink "/proc/$vmm_pid/fd/"* | grep -qx "$1"; }

# has_port MAC TAP: the bridge knows where it is.
has_port() { bridge fdb show br br0 | grep -q "^$1 dev $2 "; }

e2e kvm snapshot_clones "two machines go on from one that goes on itself, on one bridge, each by its own MAC and address, which the bridge learns by announcement"
test_snapshot_clones() {
    local i
    chmod 777 .
    ip link add br0 type bridge
    ip addr add 10.0.0.1/8 dev br0
    ip link set br0 up
    for i in 2 3 4; do
        tap tap$i
        ip link set tap$i master br0
    done
    start -tap tap2,mac=52:54:00:00:00:02 -append ip=mac/8 -control s -allow-path "$T"
    wait_for 30 "'guest: net up'" out_has 'guest: net up ip=10.0.0.2/8'
    pings 10.0.0.2 56
    save a
    for i in 3 4; do
        "$VMM" -restore "a.state,mem=a.mem,net.net0=tap$i,mac.net0=52:54:00:00:00:0$i" -tap tap2,mac=52:54:00:00:00:02 \
            -serial file:out$i </dev/null 2>err$i &
    done
    for i in 3 4; do
        wait_for 30 "the announcement of clone $i" has_port 52:54:00:00:00:0$i tap$i
        wait_for 30 "its words" file_has out$i "guest: mac=52:54:00:00:00:0$i ip=10.0.0.$i"
    done
    for i in 3 4 2; do
        pings 10.0.0.$i 56 8000
        is "$(ip neigh show 10.0.0.$i | sed 's/.*lladdr \([^ ]*\) .*/\1/')" 52:54:00:00:00:0$i "who answers"
    done
    has_port 52:54:00:00:00:02 tap2 || fail "a clone has taken the place of the one it is of: $(bridge fdb show br br0)"
    # shellcheck disable=SC2046  # one word each
    kill -KILL $(vmms)
    vmm_pid=''
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links='tap2 tap3 tap4 br0'
}

e2e kvm snapshot_clone_verb "vmm ctl clone: three of one that goes on, each by its own MAC, a line each; if one cannot start, or a word is wrong, nothing is left"
test_snapshot_clone_verb() {
    local i rc clones before
    chmod 777 .
    ip link add br0 type bridge
    ip addr add 10.0.0.1/8 dev br0
    ip link set br0 up
    for i in 2 3 4 5; do
        tap tap$i
        ip link set tap$i master br0
    done
    start -m 16 -tap tap2,mac=52:54:00:00:00:02 -append ip=mac/8 -control s -allow-path "$T"
    wait_for 30 "'guest: net up'" out_has 'guest: net up ip=10.0.0.2/8'
    clones=(net.net0=tap%d mac.net0=52:54:00:00:00:%02x -tap "tap2,mac=52:54:00:00:00:02" -control c%d -serial "file:$T/out%d")
    # What is wrong with the words is one line, before anything is saved.
    for i in "0 net.net0=tap%d" "3-2 net.net0=tap%d" "1-2000 net.net0=tap%d" "3 net.net0=tap" "3 net.net0=tap%s" "3 net"; do
        rc=0
        # shellcheck disable=SC2086  # two words each
        "$VMM" ctl s clone ${i%% *} "$T/a.state" "$T/a.mem" ${i#* } "${clones[@]:1}" >said 2>err2 || rc=$?
        is "$rc $(wc -l <err2) $(files)" "2 1 " "exit status, lines and files of: $i: $(<err2)"
    done
    rc=0
    "$VMM" ctl s clone 3 "$T/a.state" "$T/a.mem" net.net1=tap%d "${clones[@]:1}" >said 2>err2 || rc=$?
    is "$rc $(wc -l <err2) $(files)" "1 1 " "exit status, lines and files of a netdev that is not there"
    # The one in the middle cannot have its socket.
    mkdir c7
    before=$(vmms)
    rc=0
    "$VMM" ctl s clone 6-8 "$T/a.state" "$T/a.mem" "${clones[@]}" >said 2>err2 || rc=$?
    is "$rc $(wc -c <said)" "1 0" "exit status and output with a socket that is taken"
    matches "$(<err2)" 'c7.*number 7 did not start .exit code 1.; none is left' "what is said"
    is "$(vmms) $(files)$(echo c?)" "$before c7" "processes and files that are left"
    for i in 6 7 8; do no_link tap$i || fail "tap$i is left"; done
    pings 10.0.0.2 56
    # All is well.
    "$VMM" ctl s clone 3-5 "$T/a.state" "$T/a.mem" "${clones[@]}" >said
    for i in 3 4 5; do
        matches "$(sed -n $((i - 2))p said)" "^$i pid [0-9]+ net.net0=tap$i mac.net0=52:54:00:00:00:0$i\$" "its line"
        is "$("$VMM" ctl c$i status | grep state)" "state Running" "clone $i"
        vmms | grep -qx "$(sed -n $((i - 2))p said | cut -d' ' -f3)" || fail "its number is another: $(<said)"
        wait_for 30 "its words" file_has out$i "guest: mac=52:54:00:00:00:0$i ip=10.0.0.$i"
        clone_answers 10.0.0.$i
        is "$(ip neigh show 10.0.0.$i | sed 's/.*lladdr \([^ ]*\) .*/\1/')" 52:54:00:00:00:0$i "who answers"
    done
    pings 10.0.0.2 56
    "$VMM" ctl c3 quit
    wait_for 30 "the end of clone 3" test ! -e "/proc/$(sed -n 1p said | cut -d' ' -f3)"
    # One that is called off, while it waits for a frame of a guest that has nothing to say.
    before=$(vmms)
    "$VMM" ctl clone 9-9 a.state a.mem net.net0=tap%d "${clones[@]:2}" -ready guest 2>err2 &
    wait_for 30 "a clone that waits" test -S c9
    kill -TERM $!
    rc=0
    wait $! || rc=$?
    is "$rc $(<err2)" "1 vmm: ctl: clone: called off; none is left" "exit status and words of one that is called off"
    is "$(comm -13 <(sort <<<"$before") <(vmms | sort)) $(echo c9*)" " c9*" "what is left"
    # Of files, as many as there are.
    "$VMM" ctl clone 3-3 a.state a.mem "${clones[@]}" >said
    clone_answers 10.0.0.3
    # shellcheck disable=SC2046  # one word each
    kill -KILL $(vmms)
    vmm_pid=''
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links='tap2 tap3 tap4 tap5 br0'
}
# clone_answers ADDRESS: once it does; what comes while its guest takes the new MAC, which is a reset of its NIC, is lost.
clone_answers() {
    wait_for 30 "its first reply" ping -q -c 1 -W 1 "$1"
    pings "$1" 56
}

empty() { [ -z "$(ls -A "$1")" ]; }

# hold_worker: the thread that writes the memory stops, until there is a file `go`.
hold_worker() {
    local task
    rm -f go held
    for task in "/proc/$vmm_pid/task/"*; do [ "$(<"$task/comm")" != worker ] || break; done
    python3 - "${task##*/}" <<'EOP' &
import ctypes, os, sys, time
tid, ptrace = int(sys.argv[1]), ctypes.CDLL(None).ptrace
ptrace(0x4206, tid, None, None)  # PTRACE_SEIZE
ptrace(0x4207, tid, None, None)  # PTRACE_INTERRUPT
os.waitpid(tid, 0x40000000)
open("held", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
ptrace(17, tid, None, None)  # PTRACE_DETACH
EOP
    wait_for 30 "the worker, held" test -e held
}
# save_slowly NAME: its memory is being written, and will be until there is a file `go`.
save_slowly() {
    hold_worker
    save "$1" 2>said &
    saves=$!
    wait_for 30 "the pause" vm_paused
}

e2e kvm snapshot_faults "no room, no right, no -allow-path, killed while it saves: nothing is left behind, what was there stays, and the guest goes on"
test_snapshot_faults() {
    local rc=0 inode
    mkdir small closed dir
    chmod 777 . small
    mount -t tmpfs -o size=64k none small
    chmod 777 small
    boot_bundled '' -control s -allow-path "$T"
    save a
    cp a.state kept
    inode=$(stat -c %i a.mem)
    save small/a && fail "saved without room"
    wait_for 30 "no files left without room" empty small
    save closed/a && fail "saved where nobody may write"
    save ../b && fail "saved outside of -allow-path"
    "$VMM" ctl s snapshot state=/tmp/x.state mem=/tmp/x.mem 2>err && fail "saved below no -allow-path"
    matches "$(<err)" 'below no -allow-path' "what is said"
    "$VMM" ctl s snapshot state="$T/./same" mem="$T/same" 2>err && fail "saved both in one"
    matches "$(<err)" 'state= and mem= are the same file' "what is said"
    "$VMM" ctl s snapshot state="$T/dir" mem="$T/a.mem" 2>err && fail "saved over a directory"
    matches "$(<err)" 'dir: is there, and is no file' "what is said"
    is "$(stat -c %i a.mem)" "$inode" "the memory of the first snapshot"
    curl -s --unix-socket s -X PUT http://x/snapshot/create -d "{\"snapshot_path\":\"$T/c\",\"mem_file_path\":\"$T/d\"}" >said
    matches "$(<said)" 'not paused' "a client's snapshot of a machine that runs"
    cmp a.state kept || fail "the first snapshot is another"
    is "$(files)" './a.mem ./a.state ' files
    # What fails last of all is none either: a difference is one from the first.
    pings 10.0.0.2 56
    save_slowly x
    mkdir x.state
    : >go
    ! wait "$saves" || fail "saved over a directory"
    matches "$(<said)" 'x.state: is there, and is no file' "what is said"
    rmdir x.state
    is "$(files)" './a.mem ./a.state ' files
    "$VMM" ctl s pause
    save d type=diff
    save e
    merge_onto a.mem d.mem
    cmp merged e.mem || fail "the difference over the first is not all"
    rm d.* e.* merged
    "$VMM" ctl s resume
    pings 10.0.0.2 56
    save z &
    kill -KILL "$vmm_pid"
    ends 10 any
    wait_for 10 "the end of all of it" no_halves
    restore a
    pings 10.0.0.2 56
}
# Of what was under way when its VMM was killed all is there, or nothing.
no_halves() { [ -z "$(find . -name '.*.[0-9]*' -type f)" ] && ! pgrep -x vmm-helper >/dev/null; }

e2e kvm snapshot_interrupted "while the memory is written: one that is paused then stays so, resume waits its turn, SIGTERM is for the guest that goes on"
test_snapshot_interrupted() {
    chmod 777 .
    boot_bundled '' -control s -allow-path "$T"
    save_slowly a
    "$VMM" ctl s resume 2>err2 && fail "it is resumed"
    matches "$(<err2)" 'its memory is being written' "what is said"
    "$VMM" ctl s pause
    : >go
    wait "$saves" || fail "$(<said)"
    vm_paused || fail "it was paused, and runs"
    "$VMM" ctl s resume
    pings 10.0.0.2 56
    save_slowly b
    kill -TERM "$vmm_pid"
    "$VMM" ctl s status >/dev/null # it has seen that
    "$VMM" ctl s status >/dev/null || fail "it has ended: $(<err)"
    : >go
    ends 30 143
    ! err_has 'hears nothing' || fail "$(<err)"
}

e2e kvm snapshot_cut "the memory's file is cut short under a machine that was restored: a line names it, and the run ends"
test_snapshot_cut() {
    chmod 777 .
    boot_bundled '' -control s -allow-path "$T"
    save a
    stop
    restore a
    pings 10.0.0.2 56
    truncate -s 0 a.mem
    ping -n -q -i 0.002 -c 20 -W 1 10.0.0.2 >/dev/null || true
    ends 20 6
    err_has 'a.mem.*cut short' || fail "$(<"$T/err")"
}

# serve_pages FILE [HOW]: a handler of page faults, at u (pages.py).
serve_pages() {
    rm -f u u.said
    python3 "$here/pages.py" u "$@" &
    server=$!
    wait_for 30 "the handler's socket" test -S u
}
# restore_served: its memory is what the handler makes it.
restore_served() {
    start -restore a.state,uffd=u -tap "tap0,mac=52:54:00:00:00:02" -control s -allow-path "$T" "$@"
}

e2e kvm snapshot_served "memory is served page by page by a process, as one of Firecracker's would be; what is saved of it is whole"
test_snapshot_served() {
    local how
    chmod 777 .
    boot_bundled '' -m 16 -control s -allow-path "$T"
    pings 10.0.0.2 56
    save a
    stop
    for how in '' hang-up; do
        # shellcheck disable=SC2086  # none is no word
        serve_pages a.mem $how
        restore_served
        wait_for 30 "the guest, restored" vm_runs
        pings 10.0.0.2 56 8000
        matches "$(head -1 u.said)" '^mappings \[\{"base_host_virt_addr":[0-9]+,"size":16777216,"offset":0,"page_size":4096,"page_size_kib":4096\}\] '"$vmm_pid\$" "the message"
        save b type=diff
        merge_onto a.mem b.mem
        stop
        kill "$server"
        wait "$server" || true
        start -restore "b.state,mem=merged" -tap "tap0,mac=52:54:00:00:00:02" -control s -allow-path "$T"
        wait_for 30 "the guest, restored" vm_runs
        pings 10.0.0.2 56
        stop
    done
    # Nobody has touched it, and it is whole all the same.
    serve_pages a.mem
    restore_served -S
    wait_for 30 "the machine" vm_paused
    save c
    cmp a.mem c.mem || fail "what is saved is not what is served"
}
merge_onto() {
    cp "$1" merged
    merge "$2" merged
}

e2e kvm snapshot_server_dies "who serves its memory dies: no page is zeroes instead, a line says so, and the run ends"
test_snapshot_server_dies() {
    chmod 777 .
    boot_bundled '' -m 16 -control s -allow-path "$T"
    pings 10.0.0.2 56
    save a
    stop
    serve_pages a.mem die
    restore_served
    ends 30 6
    err_has 'the process that serves u has ended' || fail "$(<"$T/err")"
    serve_pages a.mem
    restore_served
    wait_for 30 "the guest, restored" vm_runs
    pings 10.0.0.2 56
    kill -KILL "$server"
    ends 30 6
    err_has 'the process that serves u has ended' || fail "$(<"$T/err")"
    # Nobody is there any more.
    local rc=0
    "$VMM" -restore a.state,uffd=u -tap tap0 2>err2 || rc=$?
    is $rc 1 "exit status without a handler"
    matches "$(<err2)" 'uffd=u: Connection refused' "what is said"
    rc=0
    "$VMM" -restore a.state,uffd=a.mem -tap tap0 2>err2 || rc=$?
    is $rc 2 "exit status with a file"
    matches "$(<err2)" 'uffd=a.mem: is no socket' "what is said"
    rc=0
    "$VMM" -restore a.state,uffd=u -mem-path "$T" -tap tap0 2>err2 || rc=$?
    is $rc 2 "exit status with a file for memory"
    matches "$(<err2)" "must be this process's own" "what is said"
}
