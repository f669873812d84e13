# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# The units of systemd/, under a real systemd that is process 1 of a PID namespace of the test's own.

manager=''
ctl() { nsenter -t "$manager" -m -p -u -i -C systemctl "$@"; }
ctl_is() { [ "$(ctl show -P "$2" "$1" 2>/dev/null)" = "$3" ]; }
manager_up() { ctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }

# begin_systemd: with the units as installed, and the user vmm; nothing outside of the test's namespaces is touched.
begin_systemd() {
    [[ -x /lib/systemd/systemd && -x /bin/systemctl ]] || skip "systemd is not installed"
    [ "$(id -u)" = 0 ] || skip "only root can be a systemd"
    export T
    mkdir -p units etc
    # Below a directory that the unit's user may enter.
    sed 's:/usr/bin/vmm:/run/vmm-under-test:g' "$root/systemd/vmm@.service" >units/vmm@.service
    cp "$root/systemd/vmm-api@.socket" units/
    printf '[Unit]\nDefaultDependencies=no\n' >units/minimal.target
    # The user's name is an installation's to give.
    mkdir -p units/vmm@.service.d
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nUser=65534\nGroup=65534\nSupplementaryGroups=\n' \
        >units/vmm@.service.d/test.conf
    mkdir -p units/vmm-api@.socket.d
    printf '[Unit]\nDefaultDependencies=no\n[Socket]\nSocketUser=65534\n' >units/vmm-api@.socket.d/test.conf
    cat >boot <<'END'
mount --make-rprivate /
mount -t tmpfs tmpfs /run
cp "$VMM" /run/vmm-under-test
chmod 755 /run/vmm-under-test
cp -r "$T/units" /run/units
# The unit's user may open it, as group kvm may where udev has seen to it.
cp -a /dev/kvm /run/kvm && chmod 666 /run/kvm && mount --bind /run/kvm /dev/kvm
mount --bind /run/units /etc/systemd/system
mount -t tmpfs tmpfs /etc/opt && mkdir -p /etc/opt/vmm && cp "$T"/etc/* /etc/opt/vmm/
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 77
export container=x
exec /lib/systemd/systemd --system --unit=minimal.target
END
    sed -i 's:/etc/vmm/:/etc/opt/vmm/:' units/vmm@.service
    unshare --kill-child --mount --pid --fork --mount-proc --ipc --uts --cgroup bash boot </dev/null >manager.log 2>&1 &
    local outer=$!
    wait_for 10 "a systemd" child_of $outer
    manager=$(pgrep -P $outer)
    local end=$(($(now_ms) + 30000))
    until manager_up; do
        [ "$(now_ms)" -lt $end ] || { cat manager.log; fail "systemd does not run"; }
        nap 0.1
    done
}
child_of() { pgrep -P "$1" >/dev/null; }

e2e kvm systemd_unit "under a real systemd vmm@ starts, is ready, is killed by the watchdog when it stands still and starts again, and stops by its button"
test_systemd_unit() {
    mkdir etc
    echo 'VMM_ARGS=-m 64M -append "quiet ip=10.0.0.2/24"' >etc/web1.conf
    echo 'VMM_ARGS=-kernel /nowhere' >etc/bad.conf
    begin_systemd
    ctl start vmm@web1 || fail "it does not start: $(ctl status vmm@web1)"
    is "$(ctl show -P ActiveState vmm@web1)" active "its state"
    is "$(ctl show -P StatusText vmm@web1)" 'the guest runs' "its status"
    local pid
    pid=$(ctl show -P MainPID vmm@web1)
    # A VMM that stands still does not feed its watchdog.
    nsenter -t "$manager" -m -p kill -STOP "$pid"
    wait_for 40 "the watchdog" ctl_is vmm@web1 NRestarts 1
    wait_for 20 "it to run again" ctl_is vmm@web1 ActiveState active
    [ "$(ctl show -P MainPID vmm@web1)" != "$pid" ] || fail "the same process"
    nsenter -t "$manager" -m -p kill -KILL "$(ctl show -P MainPID vmm@web1)"
    wait_for 20 "it to start again" ctl_is vmm@web1 NRestarts 2
    wait_for 20 "it to run again" ctl_is vmm@web1 ActiveState active
    ctl stop vmm@web1
    is "$(ctl show -P Result vmm@web1)" success "how it stopped"
    ! ctl start vmm@bad || fail "a kernel that is not there"
    is "$(ctl show -P NRestarts vmm@bad)" 0 "starts of what cannot"
    kill -KILL "$manager"
}

e2e kvm systemd_reload "systemctl reload has another process go on with the machine, which systemd then takes for the service's"
test_systemd_reload() {
    local pid
    mkdir etc
    echo 'VMM_ARGS=-m 64M -append quiet -control /run/vmm/web1/ctl -upgrade /run' >etc/web1.conf
    begin_systemd
    ctl start vmm@web1 || fail "it does not start: $(ctl status vmm@web1)"
    for _ in 1 2; do
        pid=$(ctl show -P MainPID vmm@web1)
        ctl reload vmm@web1 || fail "it is not reloaded: $(ctl status vmm@web1)"
        wait_for 20 "the end of the old process" ended_there "$pid"
        is "$(ctl show -P ActiveState vmm@web1)" active "its state"
        [ "$(ctl show -P MainPID vmm@web1)" != "$pid" ] || fail "the same process"
    done
    is "$(ctl show -P NRestarts vmm@web1)" 0 "restarts"
    ctl stop vmm@web1
    is "$(ctl show -P Result vmm@web1)" success "how it stopped"
    ! ctl is-active vmm@web1 || fail "it goes on"
    kill -KILL "$manager"
}
ended_there() { ! nsenter -t "$manager" -m -p kill -0 "$1" 2>/dev/null; }

api_runs() {
    nsenter -t "$manager" -m curl -sf --unix-socket /run/vmm-api/api.sock http://localhost/ >answer && grep -q '"state":"Running"' answer
}

e2e kvm systemd_fifty "fifty instances of vmm@, and one that a connection to vmm-api@ starts"
test_systemd_fifty() {
    local i names=()
    mkdir etc
    for i in $(seq 50); do
        echo 'VMM_ARGS=-m 16M -append quiet' >"etc/n$i.conf"
        names+=("vmm@n$i")
    done
    echo 'VMM_ARGS=-m 16M -append quiet' >etc/api.conf
    begin_systemd
    ctl start "${names[@]}" || fail "some do not start: $(ctl list-units --failed)"
    is "$(ctl list-units --state=active --plain --no-legend 'vmm@*' | wc -l)" 50 "instances"
    ctl start vmm-api@api.socket
    is "$(ctl show -P ActiveState vmm@api)" inactive "before a connection"
    # It answers before the guest runs, too.
    wait_for 10 "a machine that runs, by its socket" api_runs
    is "$(ctl show -P ActiveState vmm@api)" active "after a connection"
    ctl stop "${names[@]}" vmm@api
    is "$(ctl list-units --state=failed --plain --no-legend 'vmm@*' | wc -l)" 0 "instances that failed"
    kill -KILL "$manager"
}

e2e kvm systemd_score "systemd-analyze security rates the unit at most 1.2"
test_systemd_score() {
    command -v systemd-analyze >/dev/null || skip "systemd is not installed"
    local score
    score=$(systemd-analyze security --offline=true "$root/systemd/vmm@.service" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
    note "$score"
    awk -v s="$score" 'BEGIN { exit !(s != "" && s <= 1.2) }' || fail "rated $score"
}
