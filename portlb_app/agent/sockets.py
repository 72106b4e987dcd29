"""Looks at TCP connections of other local programs, and resets them, in the current network namespace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from portlb_app.agent.errors import AgentError

Address = IPv4Address | IPv6Address

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLMSG_ERROR = 2
_TIME_WAIT, _CLOSE, _LISTEN = 6, 7, 10
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")  # inet_diag_req_v2: family, protocol, extensions, states, id
_ANSWER = struct.Struct("=BBxx48s4xII8x")  # inet_diag_msg: family, state, id, bytes unread, bytes unacknowledged
_ENDS = struct.Struct("!HH16s16s")  # the head of inet_diag_sockid, its ports and addresses
_INTERFACE_AND_COOKIE = struct.Struct("=III")  # the rest of it
_ANY_COOKIE = 0xFFFFFFFF
_INET_DIAG_INFO = 2  # attribute: struct tcp_info
_ATTRIBUTE = struct.Struct("=HH")
_QUIET = 50  # milliseconds, and
_QUIET_ROUND_TRIPS = 3
_LATEST_ACK = 1000  # milliseconds: RFC 9293 section 3.8.6.3 allows 500; keep-alive probes come 1 s after data or later


class Tcp(NamedTuple):
    """One TCP connection as this host's kernel knows it: addresses, and ports in host byte order."""

    local: Address
    local_port: int
    remote: Address
    remote_port: int


class _Socket(NamedTuple):
    family: int
    name: bytes  # the kernel's for it: inet_diag_sockid with interface and cookie, which no other socket has
    unread: int  # bytes
    info: bytes  # struct tcp_info


def quiet(connections: Iterable[Tcp]) -> set[Tcp]:
    """Return those of the connections on which no answer is outstanding, as their TCP_INFO (tcp(7)) tells.

    All data sent is acknowledged, and the last data came from the peer, at least 50 ms and three round trips ago, and
    has been read; or none was ever exchanged.
    """
    found = _find(connections).items()
    return {connection for connection, its in found if its.unread == 0 and is_quiet(its.info)}


def is_quiet(info: bytes) -> bool:
    """Tell it from the bytes of a `struct tcp_info`; one too short to tell is not quiet."""
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


def destroy(connections: Iterable[Tcp]) -> set[Tcp]:
    """Reset each connection (RST, RFC 9293 section 3.5.2) by SOCK_DESTROY (sock_diag(7)) and return those destroyed.

    The program reads ECONNABORTED. Listening sockets and connections in TIME-WAIT (RFC 1337) are left alone.
    AgentError without CAP_NET_ADMIN, or if the kernel is built without CONFIG_INET_DIAG_DESTROY.
    """
    done: set[Tcp] = set()
    sockets = _find(connections)
    with _kernel() as kernel:
        for connection, found in sockets.items():
            error, _ = _ask(kernel, _SOCK_DESTROY, _NLM_F_REQUEST | _NLM_F_ACK, found.family, found.name)
            if error == errno.EOPNOTSUPP:
                raise AgentError("this kernel cannot reset connections: it is built without CONFIG_INET_DIAG_DESTROY")
            if error == errno.EPERM:
                raise AgentError("resetting connections of other programs needs CAP_NET_ADMIN (run as root)")
            if error == 0:
                done.add(connection)
            elif error != errno.ENOENT:
                raise OSError(error, f"{connection}: {os.strerror(error)}")
    return done


def _kernel() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)


def _ask(kernel: socket.socket, kind: int, flags: int, family: int, name: bytes) -> tuple[int, bytes]:
    """Send one request and return its errno, 0 if there is none, and the inet_diag_msg if that is the answer."""
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << _INET_DIAG_INFO - 1, 0, name)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
    answer = kernel.recv(1 << 16)
    if len(answer) >= _HEADER.size:
        length, answered, *_ = _HEADER.unpack_from(answer)
        content = answer[_HEADER.size : length]
        if answered == _NLMSG_ERROR and len(content) >= 4:
            return -int(struct.unpack_from("=i", content)[0]), b""
        if answered == _SOCK_DIAG_BY_FAMILY and len(content) >= _ANSWER.size:
            return 0, content
    raise OSError(errno.EPROTO, f"the kernel answered a socket request with {len(answer)} bytes of something else")


def _find(connections: Iterable[Tcp]) -> dict[Tcp, _Socket]:
    # A socket bound to an interface, as every link-local one is, is found only if the request names the interface.
    interfaces = (0, *(index for index, _ in socket.if_nameindex()))
    found: dict[Tcp, _Socket] = {}
    with _kernel() as kernel:
        for connection in connections:
            for interface in interfaces:
                if one := _find_one(kernel, connection, interface):
                    found[connection] = one
                    break
    return found


def _find_one(kernel: socket.socket, connection: Tcp, interface: int) -> _Socket | None:
    local, local_port, remote, remote_port = connection
    name = _ENDS.pack(local_port, remote_port, local.packed, remote.packed)
    name += _INTERFACE_AND_COOKIE.pack(interface, _ANY_COOKIE, _ANY_COOKIE)
    family = socket.AF_INET if local.version == 4 else socket.AF_INET6  # AF_INET finds v4-mapped sockets, too
    error, answer = _ask(kernel, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, family, name)
    if error == errno.ENOENT:
        return None
    if not answer:
        raise OSError(error, f"{connection}: {os.strerror(error)}")
    its_family, state, its_name, unread, _ = _ANSWER.unpack_from(answer)
    if state in (_TIME_WAIT, _CLOSE, _LISTEN):  # without the connection, the kernel answers with who listens there
        return None
    return _Socket(its_family, its_name, unread, _attribute(answer[_ANSWER.size :], _INET_DIAG_INFO))


def _attribute(attributes: bytes, wanted: int) -> bytes:
    """Return the content of an attribute (netlink(7)), nothing if it is not there."""
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return attributes[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return b""
