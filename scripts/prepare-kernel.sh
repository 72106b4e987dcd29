#!/bin/sh
# Makes what `make test-kernel` boots: a Debian kernel and a root of exactly the programs the guest runs, this machine's
# own. They are kept in .cache/kernel, named by what they are made from; .cache/kernel/current is the newest. Does only
# what is missing. Run from the top of the checkout, after prepare.sh.
set -eu

cache="$PWD/.cache/kernel"
guest="$PWD/tests/kernel/guest"
programs="ovsdb-tool ovsdb-server ovs-vswitchd ovs-vsctl ovs-ofctl ovs-appctl ip /usr/bin/python3"
modules="drivers/net/veth.ko net/openvswitch net/nsh net/netfilter net/ipv4/netfilter net/ipv6/netfilter lib crypto"

if ! command -v qemu-system-x86_64 >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "qemu-system-x86 is missing; run as root or install it" >&2
        exit 1
    fi
    echo "installing: qemu-system-x86" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -q -y --no-install-recommends qemu-system-x86 >/dev/null
fi

# ---- packages that are unpacked here and not installed: a kernel is of no use to this machine ----

newest_kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1; }
version() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | tr : _; }

unpacked() { # the directory a package is unpacked to
    directory="$cache/packages/$1_$(version "$1")"
    if [ ! -d "$directory" ]; then
        rm -rf "$directory.new"
        mkdir -p "$directory.new"
        echo "unpacking: $1" >&2
        (
            cd "$directory.new"
            download="apt-get download -q -o APT::Sandbox::User=root $1"
            $download >/dev/null || { apt-get update -q >/dev/null && $download >/dev/null; }
            for file in *.deb; do dpkg-deb -x "$file" . && rm "$file"; done
        )
        mv "$directory.new" "$directory"
    fi
    echo "$directory"
}

[ -n "$(newest_kernel)" ] || apt-get update -q >/dev/null
kernel=$(newest_kernel)
release=${kernel#linux-image-}
system=$(unpacked "$kernel")
busybox=$(unpacked busybox-static)/bin/busybox

# ---- what the root is made of ----

files=$(
    for program in $programs; do command -v "$program"; readlink -f "$(command -v "$program")"; done
    echo /usr/share/openvswitch/vswitch.ovsschema
    cd "$guest"
    /usr/bin/python3 -B -S -c '
import encodings.idna, main, sys
files = (getattr(module, "__file__", None) or "" for module in sys.modules.values())
print(*(file for file in files if file.startswith("/usr/")), sep="\n")'
)
# shellcheck disable=SC2086
libraries=$(ldd $files 2>/dev/null | grep -o '/lib[^ ]*\.so[^ ]*' | grep -v ':$' | sort -u)
# shellcheck disable=SC2086
made_from=$( (cat "$0"; echo "$system $busybox $modules"; stat -L -c '%n %s %Y' $files $libraries) | sha256sum | cut -c 1-16)

if [ ! -d "$cache/$made_from" ]; then
    echo "making the guest's root" >&2
    new="$cache/new"
    rm -rf "$new"
    root="$new/root"
    mkdir -p "$root/bin" "$root/sbin" "$root/lib/modules/$release" "$root/usr/bin" "$root/usr/sbin"
    mkdir -p "$root/dev" "$root/etc" "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/var"
    cp "$busybox" "$root/bin/busybox"
    for name in sh mount modprobe poweroff; do ln -s /bin/busybox "$root/bin/$name"; done
    ln -s /bin/busybox "$root/sbin/modprobe"
    ln -s /run "$root/var/run"
    for file in $files $libraries; do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
    # Times of files are lost in the guest, which would take every compiled module for a stale one.
    /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash -s "$root" "$root/usr/lib/python3"*
    for module in $modules; do
        from="$system/lib/modules/$release/kernel/$module"
        into="$root/lib/modules/$release/kernel/$(dirname "$module")"
        mkdir -p "$into"
        cp -r "$from" "$into"
    done
    cp "$system/lib/modules/$release/modules.builtin" "$system/lib/modules/$release/modules.order" "$root/lib/modules/$release"
    "$busybox" depmod -b "$root" "$release"
    printf '%s\n' '#!/bin/sh' \
        'mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys; mount -t tmpfs none /run; mount -t tmpfs none /tmp' \
        'modprobe -a openvswitch veth; export PATH=/usr/sbin:/usr/bin:/sbin:/bin' \
        '/usr/bin/python3 -S /guest/main.py; poweroff -f' >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$new/root.cpio"
    cp "$system/boot/vmlinuz-$release" "$new/vmlinuz"
    rm -rf "$root"
    mv "$new" "$cache/$made_from"
fi
ln -sfn "$made_from" "$cache/current"
