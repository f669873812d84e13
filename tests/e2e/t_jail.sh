# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# vmm jail: the root directory, user, groups and limits that a VMM gets from it, and what is left when it fails.

# jail_begin: only who may make devices can have a jail; the file system it is in lets nobody use devices, or run programs.
jail_begin() {
    mknod "$T/null" c 1 3 2>/dev/null || skip "$(id -un) may not make devices"
    mount -o remount,nodev,noexec "$T"
    ln -s "$VMM" jailer
    mkdir j
}
# jail OPTIONS...: under its other name.
jail() { "$T/jailer" --exec-file "$VMM" --uid 1234 --gid 567 --chroot-base-dir "$T/j" "$@"; }
jail_pid() { cat "$T/j/${VMM##*/}/$1/root/${VMM##*/}.pid"; }
# jail_refused RC REGEX OPTIONS...: nothing is left in $T/j.
jail_refused() {
    local rc=$1 regex=$2 got=0
    shift 2
    "$VMM" jail "$@" >said 2>&1 || got=$?
    is $got "$rc" "exit status of vmm jail $*"
    is "$(wc -l <said)" 1 "lines"
    matches "$(<said)" "$regex" "what it said"
    is "$(find j -mindepth 1)" '' "what is left in $T/j"
}
# tree CONTROLLER: where that cgroup of version 1 is, if it is.
tree() { awk -v c="$1" '$3 == "cgroup" && $4 ~ "(^|,)" c "(,|$)" { print $2 }' /proc/self/mounts; }

nobody_in() { [ -z "$(<"$1/cgroup.procs")" ] && grep -q 'populated 0' "$1/cgroup.events"; }

e2e kvm jail_layout "the jail's root directory, whose guest answers pings; user, rights and limits of the VMM; the binary is not copied"
test_jail_layout() {
    jail_begin
    local name=${VMM##*/} root pid
    root=$T/j/$name/web-1/root
    ip tuntap add tap0 mode tap user 1234
    ip addr add 10.0.0.1/24 dev tap0
    ip link set tap0 up
    start_jail() { jail --id web-1 --daemonize "$@" -- -tap tap0,mac=52:54:00:00:00:02 -control run/api -serial file:serial; }
    start_jail --resource-limit no-file=512 --resource-limit fsize=1000000 4</etc/passwd || fail "exit status $?"
    pid=$(jail_pid web-1)
    wait_for 30 "a reply" ping -n -q -c 1 -W 1 10.0.0.2
    is "$(cd "$root" && find . -printf '%p %y %U:%G\n' | grep -v '\.pid ' | LC_ALL=C sort)" "$(
        cat <<END
. d 1234:567
./dev d 1234:567
./dev/kvm c 1234:567
./dev/net d 1234:567
./dev/net/tun c 1234:567
./dev/urandom c 1234:567
$(! grep -q userfaultfd /proc/misc || echo './dev/userfaultfd c 1234:567')
./run d 1234:567
./run/api s 1234:567
./serial f 1234:567
END
    )" "what is in the jail"
    is "$(stat -c '%u:%g %a' "$root/$name.pid")" '0:0 644' "its number's file"
    is "$(awk '/^(Uid|Gid|Groups|CapPrm|CapEff|NoNewPrivs|Seccomp):/ { $1 = $1; print }' /proc/"$pid"/status | tr '\n' ' ')" \
        "Uid: 1234 1234 1234 1234 Gid: 567 567 567 567 Groups: CapPrm: 0000000000000000 CapEff: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 " "what it may"
    matches "$(grep 'Max open files' "/proc/$pid/limits")" ' 512 +512 ' "descriptors"
    matches "$(grep 'Max file size' "/proc/$pid/limits")" ' 1000000 +1000000 ' "bytes of a file"
    is "$(tr '\0' ' ' <"/proc/$pid/cmdline")" "$name --id web-1 -tap tap0,mac=52:54:00:00:00:02 -control run/api -serial file:serial " arguments
    is "$(tr '\0' ' ' <"/proc/$pid/environ")" '' environment
    is "$(stat -Lc %i "/proc/$pid/exe")" "$(stat -Lc %i "$VMM")" "the program's file"
    [ -z "$(find "/proc/$pid/fd" -lname /etc/passwd)" ] || fail "it has a descriptor of who started the jail"
    matches "$("$VMM" ctl "$root/run/api" status)" Running "the API"
    # Another of this name is told so, and takes nothing away.
    ! start_jail 2>said || fail "two of one name"
    matches "$(<said)" "$root/$name.pid: is there: .*rm -r $T/j/$name/web-1\$" "what it said"
    kill -0 "$pid" || fail "the first has ended"
    kill -TERM "$pid"
    wait_for 10 "its end" no_vmm
}

e2e kvm jail_processes "in its own place, or as process 1 of a namespace; a network namespace is joined; the exit status is the VMM's"
test_jail_processes() {
    jail_begin
    local rc=0
    jail --id a -- -serial none -append test=poweroff || fail "exit status $?"
    is "$(jail_pid a | tr -d '0-9')" '' "the number in the file"
    jail --id b -- -serial none -nonsense 2>said || rc=$?
    is $rc 2 "the VMM's own exit status"
    matches "$(<said)" '^vmm: -nonsense: ' "its own words"
    rc=0
    jail --id u -- -serial none -upgrade run 2>said || rc=$?
    matches "$rc $(<said)" '^2 vmm: -upgrade run: nothing there can be executed: it is mounted noexec' "an upgrade's directory"
    # A namespace of which only a file is left.
    touch net
    unshare --net="$T/net" sh -c 'ip tuntap add tap7 mode tap user 1234; ip link set tap7 up'
    jail --id c --new-pid-ns --netns net -- -tap tap7 -serial file:serial -sandbox off
    wait_for 30 "the guest" grep -aqs 'guest: net up' "j/${VMM##*/}/c/root/serial"
    matches "$(tr '\n\t' '  ' <"/proc/$(jail_pid c)/status")" "NSpid: $(jail_pid c) 1 " "its numbers"
    nsenter --net="$T/net" ip link show tap7 | grep -q LOWER_UP || fail "nobody has the TAP"
    kill -KILL "$(jail_pid c)"
    wait_for 10 "its end" no_vmm
}

e2e kvm jail_cgroups "groups of the version that is asked for, with their settings, for the VMM from its first moment"
test_jail_cgroups() {
    jail_begin
    local at name=${VMM##*/} pid group=vmm-e2e-$$-$RANDOM
    at=$(tree cpuset)
    if [ -n "$at" ] && mkdir "$at/$group" 2>/dev/null; then
        jail --id v1 --parent-cgroup "$group/sub" --cgroup cpuset.cpus=0 --daemonize -- -serial none
        pid=$(jail_pid v1)
        matches "$(<"/proc/$pid/cgroup")" "cpuset[^:]*:(/[^:]*)?/$group/sub/v1" "its group"
        is "$(<"$at/$group/sub/v1/cpuset.cpus")" 0 "its processors"
        kill -KILL "$pid"
        wait_for 10 "its end" no_vmm
        # What is wrong with a value is found when it is written: then all goes that was made.
        wait_for 5 "an empty group" rmdir "$at/$group/sub/v1"
        rm -r j/*
        jail_refused 1 'cpuset.cpus=7777' --exec-file "$VMM" --uid 1 --gid 1 --chroot-base-dir j --id v1 --parent-cgroup "$group/sub" --cgroup cpuset.cpus=7777
        is "$(find "$at/$group" -mindepth 1 -type d)" "$at/$group/sub" "groups that are left"
        find "$at/$group" -depth -type d -delete
    fi
    mkdir v2
    mount -t cgroup2 none v2 || skip "no cgroup2 here"
    jail --id u --cgroup-version 2 --parent-cgroup "$group" --daemonize 2>said -- -serial none && fail "in a group that is not there"
    matches "$(<said)" "--parent-cgroup $group: No such file" "what it said"
    mkdir "v2/$group"
    jail --id u --cgroup-version 2 --parent-cgroup "$group" --daemonize -- -serial none
    pid=$(jail_pid u)
    matches "$(<"/proc/$pid/cgroup")" "0::/$group" "its group"
    kill -KILL "$pid"
    wait_for 10 "its end" no_vmm
    wait_for 10 "nobody in its group, which could not have groups below it" nobody_in "v2/$group"
    rm -r j/*
    local has
    has=$(<v2/cgroup.controllers)
    if [[ " $has " == *' hugetlb '* ]]; then
        jail --id w --cgroup-version 2 --parent-cgroup "$group/a" --cgroup hugetlb.2MB.max=4194304 --daemonize -- -serial none
        pid=$(jail_pid w)
        is "$(<"v2/$group/a/w/hugetlb.2MB.max")" 4194304 "its limit"
        matches "$(<"/proc/$pid/cgroup")" "0::/$group/a/w" "its group"
        kill -KILL "$pid"
        wait_for 10 "its end" no_vmm
        rm -r j/*
    fi
    jail_refused 1 'no controller dragons' --exec-file "$VMM" --uid 1 --gid 1 --chroot-base-dir j --id v --cgroup-version 2 --cgroup dragons.max=1
    wait_for 5 "empty groups" find "v2/$group" -depth -type d -delete
}

e2e kvm jail_refusals "what cannot be: one line, before anything is made, or all of it goes again"
test_jail_refusals() {
    jail_begin
    local all=(--id x --exec-file "$VMM" --uid 1 --gid 1 --chroot-base-dir j)
    jail_refused 2 '--uid is missing' --id x --exec-file "$VMM"
    jail_refused 2 '--id a_b' "${all[@]}" --id a_b
    jail_refused 2 '--id ' "${all[@]}" --id ../../x
    jail_refused 2 '--uid' "${all[@]}" --uid -1
    jail_refused 2 '--uid' "${all[@]}" --uid 4294967295
    jail_refused 2 '--gid' "${all[@]}" --gid 18446744073709551616
    jail_refused 2 '--gid' "${all[@]}" --gid ''
    jail_refused 2 '--id ' "${all[@]}" --id ''
    jail_refused 2 '--id ' "${all[@]}" --id a/b
    jail_refused 2 '--id ' "${all[@]}" --id "$(printf 'a%.0s' {1..65})"
    jail_refused 2 'no-file' "${all[@]}" --resource-limit no-file=99999999999999999999
    jail_refused 2 'no-file' "${all[@]}" --resource-limit no-file=3
    jail_refused 2 'fsize' "${all[@]}" --resource-limit fsize=-1
    jail_refused 2 '--cgroup-version 3' "${all[@]}" --cgroup-version 3
    jail_refused 2 '--daemonize: has no value' "${all[@]}" --daemonize=yes
    jail_refused 1 '/etc/passwd' "${all[@]}" --chroot-base-dir /etc/passwd
    jail_refused 2 '--nonsense: no option' "${all[@]}" --nonsense
    jail_refused 2 '--netns: needs a value' "${all[@]}" --netns
    jail_refused 2 'fsize=N or no-file=N' "${all[@]}" --resource-limit memory=1
    jail_refused 2 'CONTROLLER.FILE=VALUE' "${all[@]}" --cgroup cpu
    jail_refused 2 '--parent-cgroup .*without \.\.' "${all[@]}" --parent-cgroup ../up --cgroup cpuset.cpus=0
    jail_refused 1 '--exec-file /nowhere: No such' "${all[@]}" --exec-file /nowhere
    jail_refused 1 'static' "${all[@]}" --exec-file "$(command -v bash)"
    mkdir x
    mount -t tmpfs tmpfs x
    printf '#!/bin/sh\n' >x/script
    jail_refused 1 'script: Permission denied' "${all[@]}" --exec-file x/script
    chmod +x x/script
    jail_refused 1 'script: no program' "${all[@]}" --exec-file x/script
    jail_refused 1 '/nowhere: No such file.*mkdir -p /nowhere' "${all[@]}" --chroot-base-dir /nowhere
    jail_refused 2 'no network namespace' "${all[@]}" --netns /etc/passwd
    # Only execve(2) finds this one out, in a process that has no more rights.
    cp "$VMM" x/arm
    printf '\x28' | dd of=x/arm bs=1 seek=18 conv=notrunc status=none
    jail_refused 1 'x/arm: Exec format' "${all[@]}" --exec-file x/arm
    jail_refused 1 'x/arm: Exec format' "${all[@]}" --exec-file x/arm --new-pid-ns --daemonize
    # A link where its VMM was: what it leads to stays who it was.
    local root=j/${VMM##*/}/x/root
    mkdir -p "$root"
    echo secret >"$T/other"
    ln -s "$T/other" "$root/dev"
    ! "$VMM" jail "${all[@]}" 2>said || fail "it went through a link"
    matches "$(<said)" 'root/dev: (Not a directory|Too many)' "what it said"
    is "$(stat -c %u other)" 0 "whose the other file is"
    is "$(find j -mindepth 1 | LC_ALL=C sort | tail -n 1)" "$root/dev" "what is left"
}

e2e kvm jail_failures "whichever of its system calls fails: a line says so, and nothing is left; or it runs all the same"
test_jail_failures() {
    jail_begin
    local calls more
    for more in '--netns /proc/self/ns/net' '--daemonize --new-pid-ns'; do
        # shellcheck disable=SC2086  # a list
        calls=$(python3 "$here/failing.py" j "$VMM" jail --id x --exec-file "$VMM" --uid 1 --gid 1 --chroot-base-dir j $more \
            --resource-limit fsize=1000 -- -version 2>&1) || fail "with $more: $calls"
        [ "$calls" -gt 60 ] || fail "only $calls calls failed with $more"
        note "$calls calls failed with $more"
    done
}
