# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034  # vmm_pid and friends belong to lib.sh
# SPDX-License-Identifier: MIT
# The command line: errors, serial choices, terminal, interfaces.  The bundled guest is enough for all of it.

problems=''
problem() {
    echo "problem: vmm $1: $2"
    problems="$problems vmm $1: $2;"
}

# refuses RC REGEX OPTIONS...: ends at once with RC, says one line on stderr that matches, nothing on stdout.
# Collects problems instead of failing, so that one run shows them all; judge() fails.
refuses() {
    local rc=$1 regex=$2 lines
    shift 2
    start "$@"
    ends 10 any
    lines=$(wc -l <"$T/err")
    [[ $ended_with =~ ^($rc)$ ]] || problem "$*" "exit status $ended_with, expected $rc ($(head -n 1 "$T/err"))"
    [ "$lines" = 1 ] || problem "$*" "$lines lines of error instead of one ($(head -n 3 "$T/err" | tr '\n' '|'))"
    grep -qiE -- "$regex" "$T/err" || problem "$*" "'$(head -n 1 "$T/err")' does not match '$regex'"
    [ ! -s "$T/out" ] || problem "$*" "standard output: $(head -n 1 "$T/out")"
    clean "${kept_links-}"
}
judge() { [ -z "$problems" ] || fail "$problems"; }

e2e kvm cli_usage "wrong options: one line that says what is meant, exit status 2"
test_cli_usage() {
    refuses 2 'kernl.*-kernel' -kernl x
    refuses 2 'nonsense' -nonsense
    refuses 2 'stray' stray
    refuses 2 '-kernel' -kernel
    refuses 2 '-tap' -tap
    local bad
    for bad in 0 abc 12Q -5M 99999999T 4K ''; do refuses 2 '-m' -m "$bad"; done
    for bad in 0 -1 33x x 1000 ''; do refuses 2 'smp' -smp "$bad"; done
    refuses 2 'mac' -tap tap0,mac=52:54:00
    refuses 2 'mac' -tap tap0,mac=zz:54:00:12:34:56
    refuses 2 'mac' -tap tap0,mac=01:00:5e:00:00:01
    refuses 2 'ne2000.*virtio-net-pci' -tap tap0,model=ne2000
    refuses 2 'colour' -tap tap0,colour=red
    refuses 2 'serial' -serial carrier-pigeon
    refuses 2 'serial|file' -serial file:
    judge
}

e2e kvm cli_startup_errors "what cannot be opened, read or fitted: one line, exit status 1, nothing left"
test_cli_startup_errors() {
    head -c 5000 /dev/urandom >noise
    : >empty
    head -c 20000 "$root/build/guest/guest.bzimage" >truncated
    head -c 64M /dev/zero >large
    refuses 1 '/nowhere' -kernel /nowhere
    refuses 1 'directory|kernel' -kernel /
    refuses 1 'noise' -kernel "$T/noise"
    refuses 1 'empty' -kernel "$T/empty"
    refuses 1 'truncated' -kernel "$T/truncated"
    refuses 2 'needs -kernel' -initrd /nowhere
    refuses 1 '/nowhere' -kernel "$root/build/guest/guest.bzimage" -initrd /nowhere
    refuses 1 'initrd|large' -m 32M -kernel "$root/build/guest/guest.bzimage" -initrd "$T/large"
    refuses '1|2' 'long' -append "$(head -c 70000 /dev/zero | tr '\0' x)"
    refuses 1 '/nowhere' -serial file:/nowhere/log
    refuses 1 '/nowhere' -serial unix:/nowhere/socket
    refuses '[12]' 'name|long' -tap interface-name-that-is-too-long
    refuses '[12]' 'lo' -tap lo
    judge
}

e2e kvm cli_tap_busy "a TAP that another VMM has: one line, exit status 1, and the first one goes on"
test_cli_tap_busy() {
    boot_bundled ''
    local first=$vmm_pid
    kept_links=tap0
    start_second -tap tap0
    [ "$second" = 1 ] || fail "exit status $second: $(cat second.err)"
    matches "$(cat second.err)" 'tap0.*(busy|in use)' "the reason"
    is "$(wc -l <second.err)" 1 "lines of error"
    alive "$first" || fail "the first VMM has ended"
    pings 10.0.0.2 56
}
start_second() {
    second=0
    timeout 10 "$VMM" "$@" </dev/null >second.out 2>second.err || second=$?
}

e2e kvm cli_no_kvm "no /dev/kvm, one that is something else, and one that may not be opened"
test_cli_no_kvm() {
    mount --bind /dev/null /dev/kvm
    refuses 1 '/dev/kvm' -serial none
    umount /dev/kvm
    if [ "$(id -u)" = 0 ] && [ "$(stat -c %a /dev/kvm)" = 600 ] && grep -q '^ *0 *0' /proc/self/uid_map; then
        start_second_as_nobody
        [ "$second" = 1 ] || problem "as nobody" "exit status $second: $(cat second.err)"
        grep -qi '/dev/kvm.*permi' second.err || problem "as nobody" "$(cat second.err)"
        grep -qiE 'group|chmod|usermod|root' second.err || problem "as nobody" "no advice: $(cat second.err)"
    fi
    mount -t tmpfs tmpfs /dev
    refuses_without_dev
    umount /dev
    judge
}
start_second_as_nobody() {
    second=0
    chmod 755 "$T"
    cp "$VMM" "$T/copy"
    timeout 10 setpriv --reuid 65534 --regid 65534 --clear-groups "$T/copy" </dev/null >second.out 2>second.err || second=$?
}
refuses_without_dev() {
    second=0
    : >"$T/none"
    timeout 10 "$VMM" <"$T/none" >second.out 2>second.err || second=$?
    [ "$second" = 1 ] || problem "without /dev" "exit status $second: $(cat second.err)"
    grep -q '/dev/kvm' second.err || problem "without /dev" "$(cat second.err)"
}

e2e kvm cli_tap_unprivileged "a TAP that may not be made: one line with advice, exit status 1"
test_cli_tap_unprivileged() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    # Without CAP_NET_ADMIN, but still allowed to open /dev/kvm.
    second=0
    timeout 10 setpriv --bounding-set -net_admin --inh-caps -net_admin "$VMM" -tap tap5 </dev/null >second.out 2>second.err || second=$?
    is "$second" 1 "exit status ($(cat second.err))"
    is "$(wc -l <second.err)" 1 "lines of error"
    matches "$(cat second.err)" 'tap5' "the reason"
    matches "$(cat second.err)" 'root|CAP_NET_ADMIN|ip tuntap|sudo' "the advice"
}

e2e kvm cli_help_version "-help fits two screens of thirty lines and shows examples; -version is one line; both to stdout with status 0"
test_cli_help_version() {
    start -help
    ends 10 0
    [ "$(wc -l <out)" -le 84 ] || fail "-help has $(wc -l <out) lines"
    [ -z "$(LC_ALL=C sed 's/[\x80-\xbf]//g' out | LC_ALL=C awk 'length > 100')" ] || fail "-help has lines over 100 columns"
    local option
    for option in -kernel -initrd -append -m -smp -tap -serial -no-reboot -name -version; do
        grep -q -- "$option" out || fail "-help does not name $option"
    done
    start -version
    ends 10 0
    is "$(wc -l <out)" 1 "lines of -version"
}

e2e kvm cli_stats "-stats: counters of the machine, of each device and each netdev, at the end"
test_cli_stats() {
    tap tap0 10.0.0.1/24
    start -stats -tap tap0 -append test=poweroff
    ends 20 0
    local name
    for name in vm.resets serial0.tx_bytes virtio-net.0.rx_frames net0.link; do
        grep -qE "^$name [0-9]+\$" err || fail "no $name in: $(cat err)"
    done
}

e2e kvm tap_made_and_removed "a TAP that is absent is made, and goes with the VMM; one that was there stays"
test_tap_made_and_removed() {
    start -tap tap9 -append 'ip=10.0.0.2/24 test=poweroff on=ping'
    wait_for 30 "'guest: net up'" out_has 'guest: net up'
    ip addr add 10.0.0.1/24 dev tap9
    ip link set tap9 up
    wait_for 10 "a reply" ping -q -c 1 -W 1 10.0.0.2
    ends 20 0
    wait_for 5 "end of tap9" no_link tap9
    tap tap0
    start -tap tap0 -append test=poweroff
    ends 20 0
    has_link tap0 || fail "a TAP that was there before is gone"
}

e2e kvm serial_file "-serial file: holds the guest's output; nothing goes to stdout"
test_serial_file() {
    start -serial "file:$T/log" -append test=poweroff
    ends 20 0
    grep -q 'guest: ' log || fail "no banner in the file"
    [ ! -s out ] || fail "standard output: $(head -n 2 out)"
}

e2e kvm serial_unix "-serial unix: a socket that gives output to who connects, and disappears with the VMM"
test_serial_unix() {
    tap tap0 10.0.0.1/24
    start -tap tap0 -serial "unix:$T/socket" -append 'ip=10.0.0.2/24 test=poweroff on=ping'
    wait_for 10 "the socket" test -S socket
    timeout 60 socat -d -d -u UNIX-CONNECT:socket - >console 2>socat.log &
    local reader=$!
    wait_for 20 "a connection" file_has socat.log 'starting data transfer'
    wait_for 20 "a reply" ping -q -c 1 -W 1 10.0.0.2
    ends 20 0
    wait $reader || true
    grep -q 'guest: test=poweroff' console || fail "the console said: $(cat console)"
    [ ! -e socket ] || fail "the socket is left"
}

e2e kvm serial_none "-serial none: not a byte, and the guest runs"
test_serial_none() {
    start -serial none -append test=poweroff
    ends 20 0
    [ ! -s out ] || fail "standard output: $(head -n 2 out)"
}

e2e kvm stdin_closed "stdin closed, stdout closed, stdin a directory: the guest runs to its end"
test_stdin_closed() {
    local status=0
    timeout 20 "$VMM" -append test=poweroff <&- >out 2>err || status=$?
    is $status 0 "exit status with stdin closed ($(head -n 1 err))"
    grep -q 'guest: ' out || fail "no output with stdin closed"
    timeout 20 "$VMM" -append test=poweroff </dev/null >&- 2>err || status=$?
    is $status 0 "exit status with stdout closed ($(head -n 1 err))"
    timeout 20 "$VMM" -append test=poweroff </ >out 2>err || status=$?
    is $status 0 "exit status with a directory as stdin ($(head -n 1 err))"
}

e2e kvm stdout_gone "the reader of stdout goes away: no SIGPIPE death, the guest goes on"
test_stdout_gone() {
    tap tap0 10.0.0.1/24
    mkfifo pipe
    head -c 1 pipe >/dev/null &
    local reader=$!
    "$VMM" -tap tap0 -append 'ip=10.0.0.2/24' </dev/null >pipe 2>err &
    vmm_pid=$!
    vmm_options=(-tap tap0)
    wait $reader
    wait_for 20 "a reply" ping -q -c 1 -W 1 10.0.0.2
    pings 10.0.0.2 56
}

# on_terminal SCRIPT OPTIONS...: the VMM on a pseudo-terminal, steered by "wait REGEX" and "send BYTES" lines.
on_terminal() {
    local script=$1
    shift
    timeout 60 python3 "$here/terminal.py" "$script" "$VMM" "$@" >terminal.log 2>&1 || fail "$(tail -n 8 terminal.log)"
}

e2e kvm terminal_quit "Ctrl-A x quits with status 0 and the terminal is as before"
test_terminal_quit() { on_terminal 'wait guest: ;send \x01x;end 0' -tap tap0; }

e2e kvm terminal_help "Ctrl-A h helps; Ctrl-C goes to the guest, not to the VMM"
test_terminal_help() { on_terminal 'wait guest: ;send \x01h;wait [Cc]trl-A x;send \x03;alive;send \x01x;end 0' -tap tap0; }

e2e kvm terminal_deaf "Ctrl-A x quits whatever was typed before at a guest that takes none of it"
test_terminal_deaf() {
    on_terminal 'wait guest: test=hang;send 0123456789012345678901234567890123456789;send \x01x;end 0' -append test=hang
}

e2e kvm terminal_restored "the terminal is restored after SIGTERM, SIGINT, a guest's end and a crash"
test_terminal_restored() {
    on_terminal 'wait guest: ;signal INT;end any' -tap tap0
    on_terminal 'wait guest: ;signal TERM;alive?;signal TERM;end any' -tap tap0
    on_terminal 'end 0' -append test=poweroff
    on_terminal 'end 4' -append test=triple -no-reboot
}

e2e kvm serial_forms "-serial pty, null, chardev:, a second port, append=on and logfile=, on the real thing"
test_serial_forms() {
    echo kept >log
    start -serial "unix:$T/socket,logfile=$T/copy" -serial "file:$T/log,append=on" -append test=poweroff
    ends 20 0
    grep -q 'guest: test=poweroff' copy || fail "the copy says: $(cat copy)"
    is "$(head -n 1 log)" kept "what was in the second port's file"
    start -chardev "file,id=c0,path=$T/log" -serial chardev:c0 -append test=poweroff
    ends 20 0
    grep -q 'guest: ' log || fail "no banner in the chardev's file"
    ! grep -q kept log || fail "the file was not emptied"
    start -serial null -append test=poweroff
    ends 20 0
    [ ! -s out ] || fail "standard output: $(head -n 2 out)"
    start -serial pty -append 'test=poweroff after=700'
    wait_for 10 "the terminal's name" file_has err '/dev/pts/[0-9]+'
    local pts
    pts=$(sed -n 's/.*redirected to //p' err)
    timeout 5 cat "$pts" >console || true
    ends 20 0
    grep -q 'guest: test=poweroff' console || fail "the terminal said: $(cat console)"
}

e2e kvm serial_server_waits "-serial unix:PATH,server=on: the guest starts when somebody has connected, and a signal ends the wait"
test_serial_server_waits() {
    start -serial "unix:$T/socket,server=on,logfile=$T/copy" -append test=poweroff
    wait_for 10 "the socket" test -S socket
    nap 0.5
    [ ! -s copy ] || fail "the guest has started: $(cat copy)"
    timeout 20 socat -u UNIX-CONNECT:socket - >console
    ends 20 0
    grep -q 'guest: test=poweroff' console || fail "the console said: $(cat console)"
    start -serial "unix:$T/socket,server=on"
    wait_for 10 "the socket" test -S socket
    kill -TERM "$vmm_pid"
    ends 5 143
    [ ! -e socket ] || fail "the socket is left"
}

e2e kvm serial_failed_start "a start that fails empties no serial file, makes none, and removes no file at a socket's path"
test_serial_failed_start() {
    echo precious >file
    refuses '1|2' 'lo' -serial "file:$T/file" -tap lo
    refuses '1|2' 'lo' -serial "file:$T/new" -tap lo
    refuses 1 'no socket' -serial "unix:$T/file"
    judge
    is "$(cat file)" precious "the file"
    [ ! -e new ] || fail "a file is left"
}

e2e kvm serial_full_disk "-serial file: on a full disk goes on when there is room again, says so once and counts"
test_serial_full_disk() {
    mkdir disk
    mount -t tmpfs -o size=8k tmpfs disk
    start -serial "file:$T/disk/log" -append test=reboot
    wait_for 20 "a full disk" file_has err 'No space left'
    mount -o remount,size=4m disk
    wait_for 20 "room to be used" bigger disk/log 9000
    kill -USR1 "$vmm_pid"
    wait_for 5 "counters" file_has err '^serial0.tx_dropped'
    is "$(grep -c 'No space left' err)" 1 "lines about the disk"
    kill -TERM "$vmm_pid"
    ends 5 143
    # The same for a limit, whose signal would be the end.
    (ulimit -f 4 && exec "$VMM" -serial "file:$T/small" -append test=reboot) 2>limit </dev/null &
    vmm_pid=$!
    wait_for 20 "the limit" file_has limit 'File too large'
    nap 0.5
    kill -TERM "$vmm_pid"
    ends 5 143
}
bigger() { [ "$(stat -c %s "$1")" -gt "$2" ]; }
e2e kvm cli_pidfile "-pidfile: the process's number while it runs; a second VMM is refused; gone at the end; nothing else is overwritten"
test_cli_pidfile() {
    start -pidfile "$T/pid" -append 'test=hang'
    wait_for 10 "the number" grep -qx "$vmm_pid" pid
    start_second -pidfile "$T/pid"
    [ "$second" = 1 ] || fail "exit status $second of a second VMM"
    matches "$(cat second.err)" "process $vmm_pid holds it" "the reason"
    kill -INT "$vmm_pid"
    ends 10 130
    [ ! -e pid ] || fail "the file is left"
    echo 99999 >pid
    refuses 1 'nowhere' -pidfile "$T/pid" -kernel /nowhere
    # Of a start that failed nothing is to be seen.
    is "$(cat pid)" 99999 "the old file"
    start -pidfile "$T/pid" -append test=poweroff
    ends 20 0
    [ ! -e pid ] || fail "the old file is left"
    refuses 1 'nowhere' -pidfile "$T/pid" -kernel /nowhere
    [ ! -e pid ] || fail "a start that failed left a file"
    echo precious >file
    refuses 1 'something else' -pidfile "$T/file"
    is "$(cat file)" precious "a file that is no pidfile"
    refuses 1 'regular' -pidfile /dev/null
    refuses 1 '/nowhere/pid' -pidfile /nowhere/pid
    ln -s absent link
    refuses 1 'link' -pidfile "$T/link"
    judge
}

e2e kvm cli_log_file "-D: what is said once the guest runs is appended there, with the time under -msg timestamp=on; what prevents the start goes to stderr"
test_cli_log_file() {
    echo before >log
    start -D "$T/log" -msg timestamp=on -name web -no-reboot -append test=triple
    ends 20 4
    [ ! -s err ] || fail "stderr: $(head -n 1 err)"
    is "$(head -n 1 log)" before "the first line"
    matches "$(sed -n 2p log)" '^20[0-9-]*T[0-9:]*\.[0-9]{6}Z vmm web: ' "the second line"
    refuses 1 'nowhere' -D "$T/log" -kernel /nowhere
    refuses 1 '/nowhere/log' -D /nowhere/log
    judge
}

# named_by FILE: the option names in a text, one a line.
option_names() { tr -s ' \t,()"[].' '\n' | grep -E '^-[A-Za-z?][A-Za-z0-9_-]*$' | sort -u; }

e2e kvm cli_documents "-help, the man page, the README and the option table name the same options; the man page has the keys of every device and backend, and the binary's version"
test_cli_documents() {
    local name missing=''
    # The table's rows: KIND("-name -alias", ...
    sed -nE 's/^    (TEXT|FLAG|CALL|PC|PLAN|NOTHING|ONLY|REFUSED)\("(-[^"]*)".*/\2/p; s/^            "(-[a-z -]+)",?$/\1/p' "$root/control/cmdline.c" |
        option_names >table
    [ "$(wc -l <table)" -gt 100 ] || fail "only $(wc -l <table) options found in the table"
    # In the man page each option is in bold: \-name.
    sed -nE '/^\.SH OPTIONS/,/^\.SH SIGNALS/{ /^\.B[IR]? /s/\\-/-/gp }' "$root/vmm.1" | sed 's/\\f[IRB]//g' | option_names >manpage
    diff table manpage >differ || fail "table (<) and man page (>): $(grep '^[<>]' differ | tr '\n' ' ')"
    "$VMM" -help >help
    sed -nE 's/^ {0,2}(-[a-z]+[a-z-]*|-[A-Z]|-\?).*/\1/p' help | while read -r name; do
        grep -qx -- "$name" table || echo "$name"
    done >unknown
    [ ! -s unknown ] || fail "-help has options that are not in the table: $(tr '\n' ' ' <unknown)"
    # What the table has a line for is in -help, and so in the README.
    sed -nE 's/^    (TEXT|FLAG|CALL|PC|PLAN)\("(-[^" ]*).*/\2/p' "$root/control/cmdline.c" | while read -r name; do
        grep -qE -- "(^|[ ,])$name([ ,]|\$)" help || echo "-help lacks $name"
    done >lacks
    sed -nE '/^Also/q; s/^(-[a-z]+|-[A-Z]) .{20}.*/\1/p' help | grep -vx -e -help -e -version | while read -r name; do
        grep -qE -- "\`[^\`]*${name}[ ,\`]" "$root/README.md" || echo "the README lacks $name"
    done >>lacks
    [ ! -s lacks ] || fail "$(tr '\n' ';' <lacks)"
    # The binary knows each of them; the last word ends it before it starts.
    while read -r name; do
        timeout 10 "$VMM" "$name" help stray </dev/null >said 2>&1 || true
        ! grep -q 'no such option' said || missing="$missing $name"
    done <table
    [ -z "$missing" ] || fail "unknown to the binary:$missing"
    "$root/tests/docs" "$VMM" --check
    # What an option's help lists is in the man page, beside its option.
    for name in -object -machine; do
        "$VMM" "$name" help | sed -nE '1d; s/^ *([a-z][a-z0-9-]*).*/\1/p' >words
        [ -s words ] || fail "$name help lists nothing"
        sed -nE '/^\.SH OPTIONS/,/^\.SH SIGNALS/{ s/\\-/-/g; s/\\f[IRBP]//g; p; }' "$root/vmm.1" |
            grep -E "^\.B[IR]* .*$name\b" | tr ' ",[]|' '\n' >page
        grep -vxFf page words >lacks || continue
        fail "the man page's $name lacks $(tr '\n' ' ' <lacks)"
    done
    matches "$(sed -n 's/^\.TH //p' "$root/vmm.1")" "\"$("$VMM" -version | sed -E 's/ version ([^ ]*).*/ \1/')\"" "the man page's version"
}

# sees OPTIONS... -- WORDS: the bundled guest finds that in its ACPI tables and in CPUID.
sees() {
    local words
    local -a options=()
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    words=$2
    start "${options[@]}"
    wait_for 20 "the guest's first line under: ${options[*]}" out_has 'guest: boot.* package=[0-9]'
    matches "$(grep -a 'guest: boot' out)" " $words"$'\r?$' "what the guest sees under: ${options[*]}"
    stop
}

e2e kvm cli_smp_layout "-smp's sockets, cores and threads are what the guest's CPUID says; -no-acpi: it finds no tables"
test_cli_smp_layout() {
    start
    wait_for 20 "the guest's first line" out_has 'guest: boot.* package=[0-9]'
    stop
    ! grep -qa 'threads=0' out || skip "this host's CPUID has no leaf B"
    sees -smp 1 -- 'cpus=1 threads=1 package=1'
    sees -smp 3 -- 'cpus=3 threads=1 package=3'
    sees -smp 4,sockets=2 -- 'cpus=4 threads=1 package=2'
    sees -smp 8,sockets=2,threads=2 -- 'cpus=8 threads=2 package=4'
    sees -smp 2,sockets=2,cores=1,threads=1 -- 'cpus=2 threads=1 package=1'
    sees -smp 2 -no-acpi -- 'cpus=[01] threads=1 package=2'
    sees -smp 2 -machine q35,acpi=off -- 'cpus=[01] threads=1 package=2'
}

# makes WORD...: a target of the Makefile's, on its own.
makes() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$root" "$@" >made 2>&1 || fail "make $*: $(tail -n 3 made)"
}

e2e kvm cli_install "make install puts three files below DESTDIR and PREFIX, which work from there; make uninstall removes just those"
test_cli_install() {
    local -a files=(./usr/bin/vmm ./usr/lib/systemd/system/vmm-api@.socket ./usr/lib/systemd/system/vmm-tap@.service
        ./usr/lib/systemd/system/vmm@.service ./usr/lib/sysusers.d/vmm.conf ./usr/share/bash-completion/completions/vmm
        ./usr/share/man/man1/vmm.1)
    command -v make >/dev/null || skip "make is not installed"
    makes install DESTDIR="$T/d" PREFIX=/usr
    is "$(cd d && find . ! -type d | LC_ALL=C sort | xargs)" "${files[*]}" "what is installed"
    is "$(cd d && stat -c %a "${files[@]}" | xargs)" '755 644 644 644 644 644 644' "its modes"
    cmp d/usr/bin/vmm "$root/vmm"
    is "$(d/usr/bin/vmm -version)" "$("$root/vmm" -version)" "the installed binary's version"
    cmp d/usr/share/man/man1/vmm.1 "$root/vmm.1"
    bash -c '. d/usr/share/bash-completion/completions/vmm && complete -p vmm' >completes
    matches "$(<completes)" ' vmm$' "the completion"
    : >d/usr/bin/other
    makes uninstall DESTDIR="$T/d" PREFIX=/usr
    is "$(cd d && find . ! -type d)" ./usr/bin/other "what is left"
    makes install DESTDIR="$T/e"
    grep -q '^ExecStart=/usr/local/bin/vmm ' e/usr/local/lib/systemd/system/vmm@.service || fail "the unit's program"
    [ -x e/usr/local/bin/vmm ] || fail "without PREFIX it is not /usr/local"
}

# line OPTIONS...: the guest of such a command line answers; -kernel and -append make it one that has an address.
line() {
    start "$@" -kernel "$root/build/guest/guest.bzimage" -append 'ip=10.0.0.2/24'
    wait_for 20 "a reply under: $*" ping -q -c 1 -W 1 10.0.0.2
    stop
}

e2e kvm cli_recorded_lines "what urunc, Ganeti, libvirt and Proxmox write, but for what is refused by its name: the guest answers ping"
test_cli_recorded_lines() {
    tap tap0 10.0.0.1/24
    kept_links=tap0
    line -m 256M -L /usr/share/qemu -cpu host -enable-kvm -nographic -vga none \
        -net nic,model=virtio -net tap,script=no,downscript=no,ifname=tap0
    line -name web -m 128 -smp 1,cores=1 -pidfile "$T/pid" -D "$T/log" -no-acpi -no-reboot -machine pc,accel=kvm -usb \
        -display none -uuid 12345678-9abc-def0-1234-56789abcdef0 -netdev type=tap,id=hotnic,ifname=tap0 \
        -device virtio-net-pci,netdev=hotnic,mac=52:54:00:00:00:01,id=nic-1,bus=pci.0,addr=0x8
    rm -f pid # stop() is a SIGKILL
    line -name guest=t2,debug-threads=on -machine pc,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel kvm -m 128 \
        -object memory-backend-ram,id=pc.ram,size=134217728 -overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 \
        -uuid 12345678-9abc-def0-1234-56789abcdef0 -display none -no-user-config -nodefaults -rtc base=utc -boot strict=on \
        -netdev tap,ifname=tap0,id=hostnet0 -device e1000,netdev=hostnet0,id=net0,mac=52:54:00:00:00:01,bus=pci.0,addr=0x2 \
        -audiodev '{"id":"audio1","driver":"none"}' -msg timestamp=on
    line --sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -runas nobody -netdev tap,id=n,ifname=tap0 \
        -device virtio-net-pci,netdev=n
    line -id 100 -name vm,debug-threads=on -pidfile "$T/pid" -smbios type=1,uuid=12345678-9abc-def0-1234-56789abcdef0 \
        -smp 2,sockets=1,cores=2,maxcpus=2 -nodefaults -boot menu=on,strict=on,reboot-timeout=1000,splash=/x.jpg \
        -cpu host,+kvm_pv_eoi,+kvm_pv_unhalt -m 512 -netdev type=tap,id=net0,ifname=tap0 \
        -device virtio-net-pci,mac=52:54:00:00:00:01,netdev=net0,bus=pci.0,addr=0x12,id=net0,rx_queue_size=1024,tx_queue_size=256,bootindex=102 \
        -machine type=pc+pve0
    refuses 1 'disk hd0: /x: No such file' -drive format=raw,if=none,id=hd0,file=/x
    refuses 2 '-blockdev file' -blockdev '{"driver":"file"}'
    refuses 2 'virtio-blk-pci' -device virtio-blk-pci,id=blk0,drive=hd0
    judge
}
