"""A systemd of the tests' own: process 1 of namespaces, with the units of `packaging/` and little else.

Nothing of the machine is touched: /etc is an overlay, /run, /tmp, /opt and /usr/local/bin are new, there is no network
but loopback, and control groups are below one that is removed afterwards. The checkout is mounted at /opt/portlb, where
a unit with ProtectHome and PrivateTmp can see it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.net.network import PATIENCE, ROOT, until
from tests.support.commands import run

UNITS = ROOT / "packaging/systemd"
CHECKOUT = Path("/opt/portlb")
PYTHON = CHECKOUT / Path(sys.executable).relative_to(ROOT)
LISTED = (
    "slices.target sysinit.target basic.target sockets.target paths.target timers.target "
    "local-fs.target local-fs-pre.target swap.target network.target shutdown.target umount.target final.target "
    "multi-user.target systemd-journald.service systemd-journald.socket"
)
"""The machine's units that there are."""
BOOT = f"""
set -eu
mount --make-rprivate /
umount --recursive /run/netns 2>/dev/null || true  # or the hosts of other tests would outlive them
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work /run/units /run/units/sockets.target.wants /run/lock
for unit in {LISTED}; do cp /lib/systemd/system/"$unit" /run/units; done
ln -s ../systemd-journald.socket /run/units/sockets.target.wants
mount --bind /run/units /lib/systemd/system
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
rm -rf /etc/systemd /etc/portlb /etc/fstab /etc/init.d /etc/rc?.d
mkdir -p /etc/systemd/system
printf '[Journal]\nStorage=volatile\nReadKMsg=no\n' >/etc/systemd/journald.conf
cp "$1"/packaging/systemd/* /etc/systemd/system
for path in /lib/systemd/system-generators /opt /usr/local/bin /var/log; do mount -t tmpfs tmpfs "$path"; done
mkdir {CHECKOUT}
mount --bind "$1" {CHECKOUT}
mount -t tmpfs -o mode=1777 tmpfs /tmp  # behind which the checkout may have been
printf '#!/bin/sh\\nPYTHONPATH={CHECKOUT} exec {PYTHON} -m portlb_app.cli "$@"\\n' >/usr/local/bin/portlb
chmod 755 /usr/local/bin/portlb
mount -t proc proc /proc
ip link set lo up
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --system --unit=multi-user.target --log-target=null
"""


class Systemd:
    """The running systemd. Commands run in its namespaces, as root."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, *argv: str, check: bool = True, within: int | None = None, **options: str) -> str:
        """What a command prints; in the namespaces of the process `within`, by the number it has in there."""
        inner = () if within is None else ("nsenter", f"--target={within}", "--mount")
        enter = ("nsenter", f"--target={self._pid}", "--mount", "--pid", "--net", "--cgroup", "--uts", "--ipc")
        return run(*enter, *inner, *argv, check=check, **options).stdout

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", key, unit).strip()

    def log(self, unit: str) -> str:
        """What the journal has of a unit, without times."""
        return self.run("journalctl", "--unit", unit, "--output", "cat", "--no-pager")


def _groups() -> Path:
    """Where the machine's control groups of version 2 are."""
    (where, *_) = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line)
    return Path(where)


@contextlib.contextmanager
def systemd() -> Iterator[Systemd]:
    """One that has booted; ended with the block."""
    group = _groups() / f"portlb-{os.getpid()}-{secrets.token_hex(2)}"
    group.mkdir()
    last = "setpriv --pdeathsig KILL unshare --kill-child"  # it ends with this process, whatever ends that
    own = f"echo $$ >{group}/cgroup.procs && exec {last} --fork --pid --mount --cgroup --uts --ipc --net"
    boot = subprocess.Popen(
        ["sh", "-c", f'{own} sh -c "$1" boot "$2"', "own", BOOT, str(ROOT)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children")
        until(lambda: boot.poll() is not None or children.read_text(), "its namespaces are there")
        found = Systemd(int(children.read_text() or 0))

        def is_running() -> bool:
            assert boot.poll() is None, boot.stdout and boot.stdout.read()
            return found.run("systemctl", "is-system-running", check=False).strip() == "running"

        until(is_running, "systemd has booted", 3 * PATIENCE)
        yield found
    finally:
        boot.kill()
        boot.wait()
        assert boot.stdout
        boot.stdout.close()
        until(lambda: "populated 0" in (group / "cgroup.events").read_text(), "its processes have ended")
        for inner, _, _ in os.walk(group, topdown=False):
            os.rmdir(inner)
