# shellcheck shell=bash
# shellcheck disable=SC2154,SC2016  # vmm_pid and friends come from lib.sh; what is in single quotes is a regular expression
# SPDX-License-Identifier: MIT
# vmm doctor: set-ups that are broken, each named, with a command that mends it.

# doctor_dev: a /dev of this test's own, that others may use.
doctor_dev() {
    mknod null c 1 3 2>/dev/null || skip "$(id -un) may not make devices"
    rm null
    local minor
    minor=$(awk '$2 == "kvm" { print $1 }' /proc/misc)
    mkdir dev
    mount -t tmpfs tmpfs dev
    mkdir dev/net
    mknod -m 666 dev/null c 1 3
    mknod -m 666 dev/zero c 1 5
    mknod -m 666 dev/urandom c 1 9
    mknod -m 666 dev/net/tun c 10 200
    mknod -m 666 dev/kvm c 10 "${minor:-232}"
    ln -s /proc/self/fd dev/fd
    mount --rbind dev /dev
}
doctor_as=()
doctor() { "${doctor_as[@]}" "$VMM" doctor "${doctor_on[@]}" >said 2>&1; }
# ill CHECK REGEX: the first thing that is bad, and what of it.  Its command is in $mend.
ill() {
    local rc=0 line
    doctor || rc=$?
    is $rc 1 "exit status when $1 is bad"
    line=$(grep '^bad ' said | head -n 1)
    matches "$line" "^bad +$1: .*$2" "what is named first"
    mend=${line#*; to mend it: }
    [ "$mend" != "$line" ] || fail "no command: $line"
}
well() { doctor || fail "after '$mend': $(grep '^bad' said)"; }
# cure CHECK REGEX: that is named, and its command is run.
cure() {
    ill "$@"
    note "$1: $mend"
    eval "$mend" >mended 2>&1 || fail "'$mend': $(<mended)"
}
# mends CHECK REGEX: and then all is well.
mends() {
    cure "$@"
    well
}

e2e kvm doctor_machine "no /dev/kvm, one that may not be used, no passt, a limit: named, with a command that mends it"
test_doctor_machine() {
    doctor_dev
    doctor_on=()
    mend=nothing
    well
    ! grep -q '^bad' said || fail "bad and exit status 0"
    rm /dev/kvm
    local rc=0
    "$VMM" doctor -json >json || rc=$?
    is $rc 1 "exit status with -json when something is bad"
    python3 -c 'import json; l = json.load(open("json")); assert "mknod" in [e["mend"] for e in l if e["state"] == "bad"][0]'
    mends kvm 'No such file'
    doctor_as=(setpriv --reuid 1234 --regid 1234 --clear-groups)
    chmod 600 /dev/kvm
    mends kvm 'Permission denied'
    doctor_as=()
    (
        ulimit -S -v 200000
        mends limits 'address space'
    ) || exit
    command -v passt >/dev/null || skip "passt is not installed"
    way_out
    doctor_on=(-user)
    # What would have to be fetched is put there by hand.
    local real
    real=$(command -v passt)
    mkdir bin new
    printf '#!/bin/sh\n[ "$*" = "install passt" ] && ln -s %s %s/new/passt\n' "$real" "$T" >bin/apt-get
    chmod +x bin/apt-get
    local tool
    for tool in ln sh sed grep head cat; do ln -s "$(command -v $tool)" bin/; done
    (
        PATH=$T/bin:$T/new
        mends passt 'not in \$PATH'
    ) || exit
    "$VMM" doctor -json >json || fail "exit status with -json"
    python3 -c 'import json; l = json.load(open("json")); assert len(l) > 5 and all(e["state"] in ("ok", "note") and e["check"] and e["what"] for e in l)'
}

e2e kvm doctor_network "a TAP that is absent, another's, down, without address, with another MTU; forwarding off; a firewall: named, with a command that mends it"
test_doctor_network() {
    doctor_dev
    doctor_on=(-tap tap0)
    mend=nothing
    # All at once, and mended one after the other: what was mended is not named again.
    echo 0 >/proc/sys/net/ipv4/ip_forward
    if nft list ruleset >/dev/null 2>&1; then
        nft 'add table inet f; add chain inet f way { type filter hook forward priority 0; policy drop; }'
        nft 'add chain inet f host { type filter hook input priority 0; }; add rule inet f host udp sport 7 drop'
    fi
    cure interface 'there is no tap0'
    cure interface 'tap0 is down'
    cure address 'has none'
    ip link set tap0 mtu 900
    cure mtu '900'
    [ -z "$(nft list ruleset 2>/dev/null)" ] || cure ping 'firewall rule'
    cure route 'forwards nothing'
    if [ -n "$(nft list ruleset 2>/dev/null)" ]; then
        cure firewall 'from tap0 is dropped'
        cure firewall 'to tap0 is dropped'
    fi
    well
    ip tuntap del tap0 mode tap
    ip tuntap add tap0 mode tap user 4321
    ip addr add 10.0.0.1/24 dev tap0
    ip link set tap0 up
    doctor_as=(setpriv --reuid 1234 --regid 1234 --clear-groups)
    mends interface "another user's"
    doctor_as=()
    # It changed nothing.
    is "$(ip -o link show tap0 | grep -o 'mtu [0-9]*')" 'mtu 1500' "the TAP"
    is "$(links)" 'lo tap0 ' interfaces
}

e2e kvm doctor_usage "wrong use, a name that is no TAP; the bridge"
test_doctor_usage() {
    refuses 2 'doctor: -frob: write vmm doctor' doctor -frob
    refuses 2 'one at a time' doctor -tap t -user
    # It would be in commands that are run.
    refuses 2 "no interface's name" doctor -tap 'x; reboot'
    refuses 2 "no interface's name" doctor -tap "x'y"
    refuses 2 "no interface's name" doctor -tap ''
    refuses 2 "no interface's name" doctor -bridge abcdefghijklmnop
    refuses 2 "no interface's name" doctor -tap ../x
    refuses 2 "no interface's name" doctor -tap -user
    ip link add br0 type bridge
    doctor_on=(-tap br0)
    ! doctor || fail "a bridge is no TAP"
    matches "$(grep '^bad' said)" 'interface: br0 is no TAP' "what it said"
    echo 1 >/proc/sys/net/ipv4/ip_forward 2>/dev/null || skip "forwarding cannot be turned on"
    ip addr add 10.0.0.1/24 dev br0
    ip link set br0 up
    doctor_on=(-bridge br0)
    mend=nothing
    # Somebody else is there already, at the address that would be the first.
    ip link add e2e0 type veth peer name e2e1
    ip link set e2e0 master br0 up
    unshare --net="$T/other" sh -c 'ip link set lo up' 3>"$T/other"
    ip link set e2e1 netns "$T/other"
    nsenter --net="$T/other" sh -c 'ip addr add 10.0.0.2/24 dev e2e1; ip link set e2e1 up'
    well
    matches "$(grep '^ok *address' said)" 'the guest gets 10.0.0.3' "its address"
    matches "$(grep '^ok *ping' said)" '10.0.0.3 answers' "who was spoken to"
    ip link del e2e0
    is "$(links)" 'br0 lo ' "interfaces afterwards"
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links=br0
    judge
}
