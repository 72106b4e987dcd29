"""A real SSH server and client: dropbear on one host, OpenSSH on another, with keys made for the test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.net.network import Namespace, until


class Login:
    """Keys, and an SSH server on port 22 of `server` that accepts them."""

    def __init__(self, server: Namespace, directory: Path) -> None:
        self._key = directory / "user"
        for name in ("host", "user"):
            server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
        server.run("dropbearconvert", "openssh", "dropbear", str(directory / "host"), str(directory / "key"))
        home = directory / "home"
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "authorized_keys").write_text((directory / "user.pub").read_text())
        for path in (home, home / ".ssh"):
            path.chmod(0o700)
        run = f"mount --bind {home} /root && exec dropbear -F -r {directory / 'key'} -p 22"  # (a mount only it sees)
        server.popen("sh", "-c", run)
        until(lambda: server.listens(22), "dropbear listens")

    def ssh(self, client: Namespace, address: str, command: str) -> subprocess.Popen[Any]:
        """A client that runs a command there."""
        return client.popen(
            "ssh", "-F", "none",
            "-i", str(self._key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", f"root@{address}", command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
