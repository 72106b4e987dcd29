"""Checks that a trusted program answers for the controller: its answer decides which programs a VIP's ports lead to.

https has a certificate. For plain http the kernel tells which user's program answers: over loopback by the listening
socket, over a Unix socket by its other end and by the users who may create a socket there.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from ipaddress import ip_address
from pathlib import Path

from portlb_app.agent.errors import AgentError, Unreachable
from portlb_app.agent.kernel import sock_diag

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: process, user, group


class Untrusted(AgentError):
    """A program answers that is not trusted."""


def check_loopback(address: str, port: int, url: str) -> None:
    """Check the far end of a connection to a controller that speaks plain http; Untrusted unless it may answer.

    It may on loopback, on a port that only root may open, or if root or the agent's user listens there. (A connection
    does not tell: of one that its program has closed the kernel knows no user.) Unreachable if nothing listens there
    any more, as while the controller starts again, or if the kernel takes too long to tell.
    """
    host = ip_address(address.partition("%")[0])
    host = getattr(host, "ipv4_mapped", None) or host
    if not host.is_loopback:
        raise Untrusted(
            f"{url}: with plain http from another host, any host on the path can change this host's ports: use "
            "https, or a tunnel that ends on this host, or --insecure-http"
        )
    if port < int(_UNPRIVILEGED.read_text(encoding="ascii")):  # 1024, if the administrator has not said otherwise
        return
    try:
        listens = sock_diag.listener(host, port)
    except OSError as error:
        kind = Unreachable if isinstance(error, TimeoutError) else Untrusted
        raise kind(f"{url}: the kernel does not tell who listens there: {error}") from error
    if listens is None:
        raise Unreachable(f"{url}: what answered does not listen there any more")
    if listens.user not in _trusted_users():
        raise Untrusted(f"{url}: a program of user {listens.user} listens there, which is neither root nor the agent's")


def check_unix(connection: socket.socket, path: str) -> None:
    """Check a connection to a Unix socket; Untrusted unless root, this process's user or its directory's owner answers.

    No other user may be able to create a socket there.
    """
    above = Path(path).parent.stat()
    for place in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
        _check_place(place)
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user not in {*_trusted_users(), above.st_uid}:
        raise Untrusted(f"{path}: a program of user {user} answers, which is neither root nor the agent's")


def _check_place(path: Path) -> None:
    """Untrusted if another user could have made, or could replace, what a path leads to.

    In a directory where all users may create files, but not remove those of others (the sticky bit: /tmp), files of
    root or of this process's user are safe.
    """
    for child, directory in zip((path, *path.parents), path.parents, strict=False):
        mode = directory.stat().st_mode
        if not mode & (stat.S_IWGRP | stat.S_IWOTH):
            continue
        if not mode & stat.S_ISVTX:
            raise Untrusted(f"{path}: users other than the owner of {directory} may write there: chmod go-w it")
        if child.lstat().st_uid not in _trusted_users():
            raise Untrusted(f"{path}: any user may create {child}, and its owner is neither root nor the agent's user")


def _trusted_users() -> set[int]:
    return {0, os.geteuid()}
