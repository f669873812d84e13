# shellcheck shell=bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2154,SC2034  # names from lib.sh, names for it
# shellcheck disable=SC2015  # `check && check || fail` is meant as it stands
# SPDX-License-Identifier: MIT
# The 82540EM with an unmodified Linux driver: its own self-test, everything ethtool shows and sets, what must be survived.

e2e lab e1000_ethtool "Linux's e1000: ethtool -t passes all five tests, -S -d -e tell the truth, -G -K -A take effect"
test_e1000_ethtool() {
    model=e1000 initrd=$E2E_FULL boot_linux ''
    # The register, EEPROM, interrupt, loopback and link tests.  They take the link away, and this connection with it.
    # A loopback of 14 (e1000_run_loopback_test): its 64 frames were right, but the driver had looked at them for two ticks, 8 ms.
    # An emulated machine stands still that long when others work beside it.
    for _ in 1 2 3 4 5; do
        wait_for 30 "an answer" g_ok 'rm -f /tmp/selftest'
        detached '(ethtool -t eth0 offline; echo status $?) >/tmp/selftest 2>&1'
        wait_for 60 "end of the self-test" g_ok 'grep -q status /tmp/selftest'
        g 'cat /tmp/selftest' >selftest
        file_has selftest '^Loopback test.*[^0-9]14$' || break
        note "the loopback took the driver two ticks"
    done
    file_has selftest '^status 0' && file_has selftest 'result is PASS' || fail "ethtool -t: $(cat selftest)"
    is "$(grep -cE 'line\)[[:space:]]+0[[:space:]]*$' selftest || true)" 5 "tests of ethtool -t that passed"
    wait_for 30 "a reply after the self-test" ping -q -c 1 -W 1 10.0.0.2

    counters_count
    registers_read_true
    eeprom_reads_true

    detached 'ethtool -G eth0 rx 512 tx 128'
    wait_for 30 "rings of another size" g_ok 'ethtool -g eth0 | grep -qE "TX:[[:space:]]*128$"'
    detached 'ethtool -A eth0 autoneg off rx on tx on'
    wait_for 30 "flow control" g_ok 'ethtool -a eth0 | grep -qE "RX:[[:space:]]*on$"'
    detached 'ethtool -K eth0 tx off rx off rxvlan off'
    wait_for 30 "no offloads" g_ok 'ethtool -k eth0 | grep -q "^rx-checksumming: off"'
    serve_data 2
    move_both 10.0.0.2
    detached 'ethtool -K eth0 tx on rx on tso on rxvlan on'
    wait_for 30 "offloads" g_ok 'ethtool -k eth0 | grep -q "^tcp-segmentation-offload: on"'
    move_both 10.0.0.2
    is "$(g 'ethtool eth0 | sed -n "s/.*Link detected: //p;s/.*Speed: //p;s/.*Duplex: //p" | tr "\n" " "')" \
        '1000Mb/s Full yes ' "speed, duplex and link"
    no_complaints
}

# counters_count: a hundred pings are a hundred frames and their bytes each way in the card's own statistics.
counters_count() {
    local before after key
    g 'ethtool -S eth0' >before
    ping -q -i 0.01 -c 100 -s 1000 10.0.0.2 >/dev/null || fail "pings"
    # The driver reads them once in two seconds.
    nap 2.5
    g 'ethtool -S eth0' >after
    for key in rx_packets tx_packets rx_bytes tx_bytes; do
        before=$(awk -v k="$key:" '$1 == k { print $2 }' before)
        after=$(awk -v k="$key:" '$1 == k { print $2 }' after)
        case $key in
        # 1000 bytes in ICMP, IP and Ethernet are 1042, the FCS 4 more.
        *bytes) [ $((after - before)) -ge 104200 ] && [ $((after - before)) -lt 130000 ] || fail "$key: $((after - before))" ;;
        *) [ $((after - before)) -ge 100 ] && [ $((after - before)) -lt 150 ] || fail "$key: $((after - before))" ;;
        esac
    done
    ! grep -E '(errors|dropped|over|missed)[a-z_]*: [1-9]' after || fail "errors counted: $(grep -E ': [1-9]' after)"
}

# registers_read_true: what ethtool makes of CTRL, STATUS and RCTL.
registers_read_true() {
    g 'ethtool -d eth0' >registers
    local what
    for what in 'CTRL \(Device control register\)' 'Duplex: +full' 'Link up: +link config' 'Link speed: +1000Mb/s' \
        'Receiver: +enabled' 'Transmitter: +enabled' 'Bus type: +PCI$'; do
        file_has registers "$what" || fail "ethtool -d has no \"$what\": $(cat registers)"
    done
}

# eeprom_reads_true: the first six bytes are the MAC, and the first 64 words sum up to BABAh (manual, 5.6.35).
eeprom_reads_true() {
    g 'ethtool -e eth0 raw on | hexdump -v -e "64/2 \"%u \"" | head -n 1' >words
    is "$(awk '{ for (i = 1; i <= 64; i++) sum += $i; printf "%x", sum % 65536 }' words)" baba "the EEPROM's checksum"
    is "$(g 'ethtool -e eth0 raw on | hexdump -n 6 -v -e "6/1 \"%02x \""' | tr -d '\n')" '52 54 00 00 00 02' "the EEPROM's MAC"
}

no_complaints() {
    g 'dmesg | grep -E "Tx Unit Hang|NETDEV WATCHDOG|e1000.*([Ee]rror|[Ff]ail|[Ii]nvalid)|nobody cared|WARNING: CPU|BUG:"' >bad || true
    [ ! -s bad ] || fail "the kernel complains: $(cat bad)"
}

e2e lab e1000_frames "Linux's e1000: MTU 9000 and 16110, VLANs with and without the card's help, multicast filters"
test_e1000_frames() {
    local mtu
    model=e1000 initrd=$E2E_FULL boot_linux ''
    for mtu in 9000 16110; do
        ip link set tap0 mtu $mtu
        detached "ip link set eth0 mtu $mtu"
        wait_for 30 "MTU $mtu" g_ok "grep -q $mtu /sys/class/net/eth0/mtu"
        wait_for 30 "a reply" ping -q -c 1 -W 1 10.0.0.2
        ping -q -M 'do' -c 10 -i 0.02 -s $((mtu - 28)) 10.0.0.2 >/dev/null || fail "ping of $mtu bytes, unfragmented"
    done
    serve_data 2
    move_both 10.0.0.2
    ip link set tap0 mtu 1500
    detached 'ip link set eth0 mtu 1500'
    wait_for 30 "MTU 1500" g_ok 'grep -q 1500 /sys/class/net/eth0/mtu'

    vlan_up
    pings 10.5.0.2 56 1472 8000
    detached 'ethtool -K eth0 rxvlan off txvlan off'
    wait_for 30 "VLAN tags in software" g_ok 'ethtool -k eth0 | grep -q "^rx-vlan-offload: off"'
    wait_for 10 "a reply on VLAN 5" ping -q -c 1 -W 1 10.5.0.2
    pings 10.5.0.2 56 1472 8000

    # IPv6 finds a neighbour by a multicast address, which only the hash filter lets in.
    local address
    address=$(g 'ip -6 addr show dev eth0 scope link' | sed -n 's/.*inet6 \([0-9a-f:]*\).*/\1/p')
    wait_for 10 "a reply to IPv6" ping -6 -q -c 1 -W 1 "$address%tap0"
    wait_for 10 "a multicast frame that nobody asked for to be filtered" filtered
    no_complaints
}
multicasts() { g 'ethtool -S eth0' | awk '$1 == "rx_multicast:" { print $2 }'; }
# filtered: a group the guest has not joined is the card's to drop.
filtered() {
    local before after
    ip route replace 239.0.0.0/8 dev tap0
    before=$(multicasts)
    ping -q -c 20 -i 0.01 -W 1 -I tap0 239.77.88.99 >/dev/null || true
    nap 2.5
    after=$(multicasts)
    [ $((after - before)) -lt 20 ]
}

e2e lab/long e1000_survive "e1000: link flaps, unbind and bind, rmmod and insmod, MTU, ethtool -G -K, a pulled cable, all under load"
test_e1000_survive() {
    model=e1000
    ordeal '' ''
    no_complaints
}
e2e lab/long e1000_survive_reboot "e1000: the guest reboots under load, three times"
test_e1000_survive_reboot() {
    model=e1000
    reboots_under_load
    no_complaints
}
