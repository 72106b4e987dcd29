#!/bin/sh
# Makes a Debian machine ready: packages, the virtual environment in .venv, the agents' eBPF object.
# Does only what is missing, so it costs nothing the second time. Run from the top of the checkout.
set -eu

packages="openvswitch-switch mininet python3-venv python3-dev gcc make curl nginx-light iperf3 iproute2 iputils-ping
ethtool tcpdump nftables socat clang libbpf-dev libbpf1 linux-libc-dev procps wrk redis-tools dropbear-bin openssh-client
 util-linux openssl man-db mptcpize prometheus chromium chromium-driver ngtcp2-client ngtcp2-server"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "these packages are missing; run as root or install them:$missing" >&2
        exit 1
    fi
    echo "installing:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    # shellcheck disable=SC2086
    apt-get install -q -y --no-install-recommends $missing >/dev/null
fi

# Mininet is a package of the system's Python, which the environment therefore has to see.
wanted=$(cat setup.cfg constraints.txt lock.txt scripts/prepare.sh | sha256sum)
if [ "$(cat .venv/prepared 2>/dev/null)" != "$wanted" ]; then
    echo "making the virtual environment .venv" >&2
    /usr/bin/python3 -m venv --clear --system-site-packages .venv
    PIP_CONSTRAINT="$PWD/constraints.txt" .venv/bin/pip install --quiet --constraint lock.txt --editable '.[controller,test]'
    # Apart, for the example of a QUIC server and its tests: dnspython, which the controller uses, makes aioquic a part of
    # itself where it finds it, and then imports trio, which eventlet cannot bear.
    /usr/bin/python3 -m venv .venv/quic
    .venv/quic/bin/pip install --quiet --constraint lock.txt aioquic
    echo "$wanted" >.venv/prepared
fi

make --quiet --directory portlb_app/agent/bpf
