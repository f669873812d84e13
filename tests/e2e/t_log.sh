# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# The log: nobody waits for who reads it, and no guest fills it.

# start_stalled FILL OPTIONS...: the VMM with a pipe as standard error that is held open and never read, with FILL bytes in
# it (65536: full) before.
start_stalled() {
    local fill=$1
    shift
    mkfifo stalled
    exec {stalled_fd}<>stalled
    head -c "$fill" /dev/zero >&"$stalled_fd"
    # shellcheck disable=SC2034  # tell_vmm prints it
    vmm_options=("$@")
    env --default-signal=INT "$VMM" "$@" </dev/null >"$T/out" 2>stalled &
    vmm_pid=$!
}
# goes_on SIGNAL...: those are sent half a second apart, then SIGTERM ends it.
ends_although_stalled() {
    local signal
    for signal in "$@" TERM; do
        nap 0.5
        kill -"$signal" "$vmm_pid"
    done
    ends 5 143
}

e2e kvm log_stalled_triple "a full stderr pipe that nobody reads, and a guest that faults: SIGTERM ends the VM"
test_log_stalled_triple() {
    start_stalled 65536 -append test=triple
    wait_for 10 "the guest" out_has 'guest: '
    ends_although_stalled
}

e2e kvm log_stalled_empty "an empty stderr pipe that nobody reads is not filled by a guest that faults, and SIGTERM ends the VM"
test_log_stalled_empty() {
    start_stalled 0 -append 'test=triple quiet'
    nap 6
    ends_although_stalled
    local bytes
    bytes=$(timeout 1 cat <&"$stalled_fd" | wc -c)
    note "$bytes bytes in 6 s"
    [ "$bytes" -lt 2000 ] || fail "$bytes bytes of log in 6 s"
}

e2e kvm log_stalled_signals "a full stderr pipe that nobody reads, and SIGUSR1, SIGUSR2, -stats, start-up warnings: SIGTERM ends the VM"
test_log_stalled_signals() {
    # The netdev without a NIC is the warning.
    start_stalled 65536 -stats -tap tap0 -netdev none,id=spare -append ip=10.0.0.2/24
    wait_for 10 "the guest" out_has 'guest: '
    ends_although_stalled USR2 USR1 USR2 USR1
}

e2e kvm log_stalled_interrupt "a full stderr pipe that nobody reads: SIGINT ends the VM while its guest faults"
test_log_stalled_interrupt() {
    start_stalled 65536 -append test=triple -trace vm
    wait_for 10 "the guest" out_has 'guest: '
    kill -INT "$vmm_pid"
    ends 5 130
}

e2e kvm log_flows_again "what a stalled reader missed is counted where it is missing, without a next line"
test_log_flows_again() {
    start_stalled 65536 -tap tap0 -append ip=10.0.0.2/24 -name web1
    wait_for 10 "the guest" out_has 'guest: '
    for _ in 1 2 3 4 5; do
        kill -USR1 "$vmm_pid"
        nap 0.1
    done
    cat <&"$stalled_fd" >read.log &
    wait_for 5 "the count" file_has read.log '^vmm web1: [0-9]+ lines are missing here'
}

e2e kvm log_triple_loop "a guest that triple-faults in a loop: one whole report, then a line a second, and its restarts are slowed down"
test_log_triple_loop() {
    # A kernel of one instruction, which faults without a table to find a handler in.
    python3 - <<'END'
import struct
code = b"\x0f\x0b"
header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 1 << 20, 64, 0, 0, 64, 56, 1, 0, 0, 0)
segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 1 << 20, 1 << 20, len(code), len(code), 1)
open("faults", "wb").write(header + segment + code)
END
    start -kernel faults -serial none
    wait_for 60 "the restarts to be slowed down" file_has err 'each start now waits a second'
    local ms lines
    ms=$(now_ms)
    local before after
    before=$(restarts)
    nap 3.5
    after=$(restarts)
    [ $((after - before)) -le 5 ] || fail "$((after - before)) restarts in 3.5 s"
    is "$(grep -c 'code at RIP' err)" 1 "reports with registers"
    lines=$(grep -c 'triple fault' err)
    [ "$lines" -le 70 ] || fail "$lines lines"
    # While a restart waits, the operator does not.
    kill -TERM "$vmm_pid"
    ends 1 143
    note "$lines lines in $(($(now_ms) - ms)) ms and what came before"
}
restarts() {
    local seen
    seen=$(grep -c '^vm.resets' err) || true
    kill -USR1 "$vmm_pid"
    wait_for 5 "counters" more_lines "$seen"
    sed -n 's/^vm.resets //p' err | tail -n 1
}
more_lines() { [ "$(grep -c '^vm.resets' err)" -gt "$1" ]; }

e2e kvm log_panic "a guest's panic is one line, and exit status 5"
test_log_panic() {
    start -append test=panic -serial none -name db
    ends 20 5
    is "$(cat err)" "vmm db: the guest panicked (exit code 5)" "the log"
}
