#!/bin/bash
# SPDX-License-Identifier: MIT
# The smoke test: boots a guest on a TAP of its own, pings it with several sizes, and fails on any loss.
#
# usage: tests/ping.sh [--kernel F] [--initrd F] [--append S] [--count N] [--model M] [--vmm PATH] [--lab] [-- VMM-OPTION...]
#   --kernel F, --initrd F   a Linux guest (default: the kernel bundled in the VMM); it must take ip=ADDR/LEN
#   --append S               more words for the guest's command line
#   --count N                pings of each size (default 10)
#   --model M                the NIC: virtio-net-pci (default) or e1000
#   --vmm PATH               the VMM (default ./vmm of this tree)
#   --lab                    in the lab (tests/lab), which is also what happens, with the reason, when /dev/kvm is unusable
#
# Everything happens in namespaces of its own (network, processes, mounts), so nothing can be left behind, however it ends.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/kvm.sh
. "$here/kvm.sh"
say() { echo "ping: $*"; }
die() { echo "ping: $*" >&2; exit 1; }

kernel='' initrd='' append='' count=10 model=virtio-net-pci vmm=$here/../vmm lab='' more=()
args=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --lab) lab='asked for by --lab'; shift; continue ;;
    --help | -h) sed -n '5,11s/^# \{0,1\}//p' "$0"; exit ;;
    --) shift; more=("$@"); break ;;
    --kernel | --initrd | --append | --count | --model | --vmm) [ $# -ge 2 ] || die "$1 needs a value" ;;
    *) sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    case $1 in
    --kernel) kernel=$2 ;;
    --initrd) initrd=$2 ;;
    --append) append=$2 ;;
    --count) count=$2 ;;
    --model) model=$2 ;;
    --vmm) vmm=$2 ;;
    esac
    shift 2
done

# why_lab: why this machine's own KVM will not do; nothing when it will.
why_lab() {
    local why
    why=$(why_no_kvm "${isolate[@]}")
    if [ -z "$why" ] && [ -n "$kernel" ] && ! grep -qwE 'vmx|svm' /proc/cpuinfo; then
        why="this machine's KVM interprets guest kernels (no vmx or svm flag) and cannot run a Linux"
    fi
    echo "$why"
}

# As root of a namespace: users without privileges become root of a user namespace first.
isolate=(--net --pid --mount --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || isolate=(--user --map-root-user "${isolate[@]}")

if [ -z "${PING_INSIDE-}" ]; then
    [ -x "$vmm" ] || die "$vmm is not there: run make"
    if [ -z "${LAB-}" ]; then
        [ -n "$lab" ] || lab=$(why_lab)
        if [ -n "$lab" ]; then
            say "in the lab: $lab"
            "$here/setup.sh" lab
            for i in "${!args[@]}"; do [ "${args[i]}" != --lab ] || unset "args[i]"; done
            exec "$here/lab/lab" --timeout 300 -- "$0" "${args[@]}"
        fi
    fi
    PING_INSIDE=1 exec unshare "${isolate[@]}" bash "$0" "${args[@]}"
fi

# From here on: process 1 of its namespace.  Its end is the end of everything in it, SIGKILL included.
trap 'exit 130' INT
trap 'exit 143' TERM
mac=52:54:00:00:00:02
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add 10.0.0.1/24 dev tap0
# A short queue, so that a slow guest does not begin its life with a thousand old pings.
ip link set tap0 txqueuelen 4 up
# Until the guest is up nobody answers ARP; the kernel's retries, a second apart, would blur the time to the first reply.
ip neigh replace 10.0.0.2 lladdr $mac dev tap0 nud permanent
mount -t tmpfs tmpfs /mnt

options=(-tap "tap0,mac=$mac,model=$model" -serial file:/mnt/serial)
interval=0.002
if [ -n "$kernel" ]; then
    options+=(-kernel "$kernel" -m 256M)
    append="console=ttyS0 quiet ip=10.0.0.2/24 $append"
    interval=0.02
else
    append="ip=10.0.0.2/24 $append"
fi
[ -z "$initrd" ] || options+=(-initrd "$initrd")

# elapsed SINCE: milliseconds, with one decimal.
elapsed() {
    awk -v a="$1" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.1f", (b - a) * 1000 }'
}

# ended: has the VMM ended?  Its last words are the reason then.
ended() {
    ! kill -0 "$vmm_pid" 2>/dev/null || return 1
    tail -n 20 /mnt/serial 2>/dev/null || true
    cat /mnt/errors
}

start=${EPOCHREALTIME/,/.}
"$vmm" "${options[@]}" -append "${append% }" "${more[@]}" </dev/null >/mnt/errors 2>&1 &
vmm_pid=$!

# first_reply: wait for it, but not longer than 60 s, nor than the VMM lives.
first_reply() {
    local line='' status until=$((SECONDS + 60))
    exec 3< <(exec ping -n -i $interval 10.0.0.2 2>&1)
    while [ $SECONDS -lt $until ]; do
        status=0
        read -r -t 0.5 -u 3 line || status=$?
        case $line in
        *"bytes from"*) first=$(elapsed "$start"); break ;;
        esac
        # Above 128: nothing was said for half a second.
        [ $status -le 128 ] || kill -0 "$vmm_pid" 2>/dev/null || break
    done
    exec 3<&-
}

first=''
first_reply
if [ -z "$first" ]; then
    if ended >&2; then die "the VMM ended before the guest replied"; fi
    tail -n 20 /mnt/serial >&2
    die "no reply within 60 s"
fi
say "first reply $first ms after the start ($model, ${kernel:-bundled guest})"

# The real test starts without what the measurement put there: ARP has to work.
ip neigh del 10.0.0.2 dev tap0
ip link set tap0 txqueuelen 1000

# icmp FIELD: one of the kernel's counters, for this namespace alone.
icmp() {
    awk -v field="$1" '$1 == "Icmp:" { if (n++) print $column; else for (i = 2; i <= NF; i++) if ($i == field) column = i }' /proc/net/snmp
}

# ping itself waits only two round trips for the last replies; the kernel's counters see late ones too and decide:
# lost is what is missing when nothing has come for 5 s.
lost=0
for size in 56 0 18 1000 1472 1473 8000 65000; do
    sent=$(icmp OutEchos) answered=$(icmp InEchoReps)
    result=$(ping -n -q -i 0.02 -W 5 -c "$count" -s "$size" 10.0.0.2 2>&1) || true
    loss=-1 patience=50
    while [ $patience -gt 0 ]; do
        missing=$(($(icmp OutEchos) - sent - $(icmp InEchoReps) + answered))
        [ $missing = $loss ] || patience=50
        loss=$missing patience=$((patience - 1))
        [ $loss -gt 0 ] || break
        sleep 0.1
    done
    # ping measures a time only where a stamp fits into the payload.
    rtt=$(sed -n 's/^rtt .* = \([^ ]*\) ms.*/\1/p' <<<"$result")
    # Nothing sent is no success.
    [ "$(icmp OutEchos)" -ge $((sent + count)) ] || loss=$count
    say "$(printf '%6d bytes  lost %d of %d  rtt min/avg/max/mdev %s ms' "$size" "$loss" "$count" "${rtt:--}")"
    [ "$loss" -le 0 ] || lost=$((lost + 1))
done
if ended >&2; then die "the VMM ended during the test"; fi
kill -TERM "$vmm_pid"
for _ in $(seq 20); do
    kill -0 "$vmm_pid" 2>/dev/null || break
    sleep 0.05
done
[ $lost = 0 ] || die "frames were lost with $lost of the sizes"
say "no loss"
