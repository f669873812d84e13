# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# Can guests run on this machine's own KVM?  Sourced.

# why_no_kvm [UNSHARE-OPTION...]: why not; nothing when they can.  With options it also tries to make a TAP in such namespaces.
# Opening for writing is the proof; as root it would make what is not there, so the look comes first.
why_no_kvm() {
    if [ ! -c /dev/kvm ]; then
        echo "this machine has no /dev/kvm"
    elif ! (: <>/dev/kvm) 2>/dev/null; then
        echo "/dev/kvm cannot be opened by $(id -un) (is the user in group kvm?)"
    elif [ $# -gt 0 ] && ! unshare "$@" ip tuntap add dev tap0 mode tap 2>/dev/null; then
        echo "$(id -un) may not create a TAP here, even in a namespace"
    fi
}
