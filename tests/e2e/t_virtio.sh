# shellcheck shell=bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2154  # names from lib.sh
# SPDX-License-Identifier: MIT
# virtio-net with an unmodified Linux driver: every ring format, interrupt and offload, and what must be survived.

# One guest with eight NICs, one for each of {split, packed} x {mrg_rxbuf} x {event_idx}; four boots make the matrix.
e2e lab/long virtio_matrix_msix "{split,packed} x {mrg_rxbuf} x {event_idx}, MSI-X: checksummed TCP both ways"
test_virtio_matrix_msix() { matrix '' ''; }
e2e lab/long virtio_matrix_intx "{split,packed} x {mrg_rxbuf} x {event_idx}, INTx: checksummed TCP both ways"
test_virtio_matrix_intx() { matrix '' ',vectors=0'; }
e2e lab/long virtio_matrix_vhost_msix "{split,packed} x {mrg_rxbuf} x {event_idx}, vhost, MSI-X: checksummed TCP both ways"
test_virtio_matrix_vhost_msix() { matrix ',vhost=on' ''; }
e2e lab/long virtio_matrix_vhost_intx "{split,packed} x {mrg_rxbuf} x {event_idx}, vhost, INTx: checksummed TCP both ways"
test_virtio_matrix_vhost_intx() { matrix ',vhost=on' ',vectors=0'; }

e2e lab/long virtio_matrix_other "transitional, legacy only, iothreads, RSS, hash, big queues, page-per-vq, doorbells at ports: checksummed TCP both ways"
test_virtio_matrix_other() {
    nics '' ',disable-legacy=off' ',disable-legacy=off,disable-modern=on,mrg_rxbuf=off' ',iothreads=on' \
        ',rss=on,hash=on' ',rx_queue_size=1024,tx_queue_size=1024' ',page-per-vq=on' ',modern-pio-notify=on' ',in_order=on,iommu_platform=on' \
        ',guest_tso4=off,guest_tso6=off,guest_csum=off,csum=off'
}

# matrix NETDEV-OPTIONS DEVICE-OPTIONS
matrix() {
    local packed mrg event list=()
    for packed in on off; do
        for mrg in on off; do
            for event in on off; do list+=(",packed=$packed,mrg_rxbuf=$mrg,event_idx=$event$2"); done
        done
    done
    nics "$1" "${list[@]}"
}

# nics NETDEV-OPTIONS DEVICE-OPTIONS...: a guest with that many NICs, 10.0.N.2 on tapN; data both ways on each.
nics() {
    local netdev=$1 options=() ip='' n=0 device
    shift
    for device in "$@"; do
        tap "tap$n" "10.0.$n.1/24"
        options+=(-netdev "tap,id=n$n,ifname=tap$n$netdev" -device "virtio-net-pci,netdev=n$n$device")
        ip=$ip${ip:+,}10.0.$n.2/24
        kept_links="${kept_links-} tap$n"
        n=$((n + 1))
    done
    start -kernel "$E2E_VMLINUX" -initrd "$E2E_SMALL" -append "$linux_words ip=$ip" -stats "${options[@]}"
    wait_for 90 "'guest: up'" out_has 'guest: up'
    serve_data 2
    n=0
    for device in "$@"; do
        pings "10.0.$n.2" 56 1472
        move_both "10.0.$n.2"
        note "10.0.$n.2 ${device:1}: ok"
        n=$((n + 1))
    done
    poweroff_linux
    ! grep -aE '\.(guest_faults|ctrl_errors|rx_drop_desc|tx_drop_desc|tx_drop_offload|rx_drop_fit) [1-9]' "$T/err" ||
        fail "counters that should be 0"
}

# ------------------------------------------------------------ survival

e2e lab/long virtio_survive "link flaps, unbind and bind, rmmod and insmod, MTU, ethtool -G -K -L, all under load"
test_virtio_survive() { ordeal '' ''; }
e2e lab/long virtio_survive_packed "the same on packed rings"
test_virtio_survive_packed() { ordeal '' ',packed=on'; }
e2e lab/long virtio_survive_vhost "the same with vhost-net"
test_virtio_survive_vhost() { ordeal ',vhost=on' ''; }

e2e lab/long virtio_survive_mq "ethtool -L and -X under load on four queue pairs with threads"
test_virtio_survive_mq() {
    ip tuntap add dev tap0 mode tap multi_queue
    ip addr add 10.0.0.1/24 dev tap0
    ip link set tap0 up
    # shellcheck disable=SC2317  # survive_boot calls it
    tap() { :; }
    survive_boot ',queues=4' ',rss=on,iothreads=on'
    load
    detached 'for n in 1 2 1 2; do ethtool -L eth0 combined $n; done; ethtool -X eth0 equal 2; ethtool -X eth0 weight 1 3'
    alive_again "changes of queue pairs"
    detached 'ip link set eth0 down; ip link set eth0 up'
    alive_again "down and up"
    move_both 10.0.0.2
}

e2e lab/long virtio_survive_reboot "the guest reboots under load, three times"
test_virtio_survive_reboot() { reboots_under_load; }

e2e lab/long virtio_tap_vanishes "the TAP is deleted under load: the link goes down, the VMM and the guest live"
test_virtio_tap_vanishes() {
    stdin=$T/in
    mkfifo "$stdin"
    exec 7<>"$stdin"
    survive_boot '' ''
    load
    ip link del tap0
    nap 1
    alive "$vmm_pid" || fail "the VMM ended"
    printf 'cat /sys/class/net/eth0/carrier\n@@end\n' >&7
    wait_for 30 "link down in the guest" out_has '^0'
    local a b
    a=$(cpu_ticks)
    nap 2
    b=$(cpu_ticks)
    [ $((b - a)) -lt 100 ] || fail "the VMM is busy: $((b - a)) ticks in 2 s"
}

e2e lab/long virtio_filters "promiscuous, multicast, VLAN and MAC filters do what Linux asks"
test_virtio_filters() {
    survive_boot '' ''
    g_ok 'test "$(cat /sys/class/net/eth0/address)" = 52:54:00:00:00:02' || fail "the MAC"
    ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:77 dev tap0
    ! ping -q -c 2 -W 1 10.0.0.2 >/dev/null || fail "a frame to another MAC was received"
    ip neigh replace 10.0.0.2 lladdr 52:54:00:00:00:02 dev tap0
    g_ok 'ip link set eth0 address 02:00:00:00:00:77' || true
    ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:77 dev tap0
    wait_for 10 "a reply at the new MAC" ping -q -c 1 -W 1 10.0.0.2
    vlan_up
}
