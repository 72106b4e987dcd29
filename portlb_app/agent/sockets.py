"""Looks at TCP connections of other local programs, and resets them, in the current network namespace."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable
from typing import NamedTuple

from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import sock_diag
from portlb_app.agent.kernel.sock_diag import Address, Tcp
from portlb_app.agent.record import pack_address

_QUIET = 50  # milliseconds, and
_QUIET_ROUND_TRIPS = 3
_ESTABLISHED = 1  # tcpi_state
_LATEST_ACK = 1000  # milliseconds: RFC 9293 section 3.8.6.3 allows 500; keep-alive probes come 1 s after data or later


class Look(NamedTuple):
    """Result of a look at connections."""

    chosen: set[Tcp]
    """Connections that are quiet, or that were destroyed."""
    absent: set[Tcp]
    """Connections without a socket in this network namespace: over, or of a program elsewhere."""
    failures: list[OSError]
    """Failures with others; another try may help."""


def quiet(connections: Iterable[Tcp]) -> Look:
    """Choose those of the connections on which no answer is outstanding, as their TCP_INFO (tcp(7)) tells.

    All data sent is acknowledged, and the last data came from the peer, at least 50 ms and three round trips ago, and
    has been read; or none was ever exchanged.
    """
    found, absent, failures = _find(connections)
    chosen = {connection for connection, its in found.items() if its.unread == 0 and is_quiet(its.info)}
    return Look(chosen, absent, failures)


def is_quiet(info: bytes) -> bool:
    """Tell whether a connection is quiet by its `struct tcp_info`; too few bytes mean that it is not."""
    if len(info) < 148:
        return False
    unacknowledged, last_sent, last_received, last_acknowledged, round_trip = (
        struct.unpack_from("=I", info, at)[0] for at in (24, 44, 52, 56, 68)
    )
    acknowledged, received, unsent = struct.unpack_from("=QQ8xI", info, 120)
    if unacknowledged or unsent:
        return False
    answered = last_received <= last_sent if received else acknowledged <= 1  # the SYN counts as one
    if received and last_received == last_sent:  # within one tick of the kernel's clock, up to 10 ms: in which order?
        # A request sent after data came has been acknowledged since, and by itself: by the rules for delayed ACKs.
        answered = not 0 < last_received - last_acknowledged < _LATEST_ACK
    enough = max(_QUIET, _QUIET_ROUND_TRIPS * round_trip // 1000)  # the round trip is in microseconds
    return bool(answered and min(last_sent, last_received) >= enough)


def has_rested(info: bytes, milliseconds: int) -> bool:
    """Tell whether nothing was sent either way on an open connection for so long, and nothing waits to be, by its
    `struct tcp_info`; too few bytes mean that it has not.
    """
    if len(info) < 148 or info[0] != _ESTABLISHED:
        return False
    unacknowledged, last_sent, last_received = (struct.unpack_from("=I", info, at)[0] for at in (24, 44, 52))
    (unsent,) = struct.unpack_from("=I", info, 144)
    return not unacknowledged and not unsent and min(last_sent, last_received) >= milliseconds


def mptcp(connections: Iterable[Tcp]) -> set[Tcp]:
    """Return those of the connections that are subflows of MPTCP connections here."""
    ours = {_named(each.local, each.local_port, each.remote, each.remote_port): each for each in connections}
    if not ours:
        return set()
    found = (each[1:] for each in sock_diag.subflows())
    return {ours[ends] for ends in found if ends in ours}


def _named(local: Address, local_port: int, remote: Address, remote_port: int) -> tuple[bytes, int, bytes, int]:
    return pack_address(local), local_port, pack_address(remote), remote_port


def destroy(connections: Iterable[Tcp]) -> Look:
    """Reset each connection (RST, RFC 9293 section 3.5.2) by SOCK_DESTROY (sock_diag(7)); chosen are those destroyed.

    The program reads ECONNABORTED. Listening sockets and connections in TIME-WAIT (RFC 1337) are left alone.
    AgentError without CAP_NET_ADMIN, or if the kernel is built without CONFIG_INET_DIAG_DESTROY.
    """
    done: set[Tcp] = set()
    found, absent, failures = _find(connections)
    for connection, its in found.items():
        try:
            error = sock_diag.destroy(its)
        except OSError as failure:
            failures.append(failure)
            continue
        if error == errno.EOPNOTSUPP:
            raise AgentError("this kernel cannot reset connections: it is built without CONFIG_INET_DIAG_DESTROY")
        if error == errno.EPERM:
            raise AgentError("resetting connections of other programs needs CAP_NET_ADMIN (run as root)")
        if error == 0:
            done.add(connection)
        elif error == errno.ENOENT:
            absent.add(connection)
        else:
            failures.append(OSError(error, f"{connection}: {os.strerror(error)}"))
    return Look(done, absent, failures)


def _find(connections: Iterable[Tcp]) -> tuple[dict[Tcp, sock_diag.Socket], set[Tcp], list[OSError]]:
    """Return the connections' sockets, the connections that have none here, and what failed for the others."""
    found: dict[Tcp, sock_diag.Socket] = {}
    elsewhere: set[Tcp] = set()
    failures: list[OSError] = []
    for connection in connections:
        try:
            its = sock_diag.find(connection)
        except OSError as failure:
            failures.append(failure)
            continue
        if its is None:
            elsewhere.add(connection)
        else:
            found[connection] = its
    if elsewhere:
        try:
            bound = sock_diag.bound()
        except OSError as failure:
            return found, set(), [*failures, failure]
        for connection in list(elsewhere):
            if its := bound.get(connection.on_the_wire()):
                found[connection] = its
                elsewhere.discard(connection)
    return found, elsewhere, failures
