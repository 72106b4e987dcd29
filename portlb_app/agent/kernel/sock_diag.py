"""TCP sockets of the current network namespace, found and destroyed over netlink: sock_diag(7).

Each request has a socket of its own, so no late answer is taken for the next one. Every function raises OSError.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

Address = IPv4Address | IPv6Address

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_REQUEST_FLAG = 0x1  # NLM_F_REQUEST
_ACK_FLAG = 0x4  # NLM_F_ACK
_DUMP_FLAG = 0x300  # NLM_F_DUMP
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_TIME_WAIT, _CLOSE, LISTEN = 6, 7, 10
_WITHOUT_CONNECTION = (_TIME_WAIT, _CLOSE, LISTEN)
_FIN_WAIT_2 = 5
_OPEN_OR_LISTENING = sum(1 << state for state in (1, 4, _FIN_WAIT_2, 8, 9, LISTEN, 11))
"""Established, FIN-WAIT, CLOSE-WAIT, LAST-ACK, LISTEN, CLOSING (include/net/tcp_states.h)."""
_ALL_STATES = 0xFFFFFFFF
_ANSWER_WITHIN = 1.0  # seconds
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")  # inet_diag_req_v2: family, protocol, extensions, states, id
_ANSWER = struct.Struct("=BBxx48s4xI4xI4x")  # inet_diag_msg: family, state, id, bytes unread, user
_INODE = 68  # in it: 0 for a socket that no program has any more
_MAPPED = bytes(10) + b"\xff\xff"
_ENDS = struct.Struct("!HH16s16s")  # the head of inet_diag_sockid, its ports and addresses
_INTERFACE_AND_COOKIE = struct.Struct("=III")  # the rest of it
_ANY_COOKIE = 0xFFFFFFFF
_INET_DIAG_INFO = 2  # attribute: struct tcp_info
_INET_DIAG_ULP_INFO = 19  # attribute: what is above TCP, its name in attribute 1
_MPTCP_ABOVE = struct.pack("=HH", 10, 1) + b"mptcp\0"
_ATTRIBUTE = struct.Struct("=HH")
# inet_diag_bc_op: code, bytes to go on by if it holds, and if it does not; beyond the end by four means "no". Here: not
# bound to interface 0, which is none.
_IS_BOUND = struct.pack("=BBHI", 9, 8, 12, 0) + struct.pack("=BBH", 1, 4, 8)
_INET_DIAG_REQ_BYTECODE = 1  # attribute


class Tcp(NamedTuple):
    """One TCP connection as this host's kernel knows it: addresses, and ports in host byte order."""

    local: Address
    local_port: int
    remote: Address
    remote_port: int

    def on_the_wire(self) -> Tcp:
        """Return the name its packets have, not that of a dual-stack socket (RFC 4291, 2.5.5.2)."""
        return self._replace(local=_unmapped(self.local), remote=_unmapped(self.remote))


class Socket(NamedTuple):
    """A connection's socket."""

    family: int
    name: bytes
    """The kernel's for it: inet_diag_sockid with interface and cookie, which no other socket has."""
    unread: int
    """Bytes received that the program has not read."""
    user: int
    """The user who created it."""
    info: bytes
    """struct tcp_info."""
    is_mptcp: bool = False
    """It is a subflow of an MPTCP connection."""


class Listed(NamedTuple):
    """A socket in a list: its state, and its ends; addresses are 16 bytes, those of IPv4 mapped (RFC 4291, 2.5.5.2)."""

    state: int
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int


def listing() -> Iterator[Listed]:
    """Yield the sockets of open connections, and those that listen. A connection that only waits for the other end to
    close, and that no program has any more, is not open.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        for answer in _dump(family, _OPEN_OR_LISTENING):
            state = answer[1]
            if state == _FIN_WAIT_2 and answer[_INODE : _INODE + 4] == bytes(4):
                continue
            yield _listed(family, answer)


def subflows() -> Iterator[Listed]:
    """Yield the sockets of open subflows of MPTCP connections."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for answer in _dump(family, _OPEN_OR_LISTENING, extensions=1 << _INET_DIAG_INFO - 1):
            if answer[1] != LISTEN and _is_mptcp(answer):
                yield _listed(family, answer)


def waiting(address: Address, port: int) -> Iterator[Socket]:
    """Yield what is left of closed connections at an address and port (TIME-WAIT)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    for answer in _dump(family, 1 << _TIME_WAIT):
        its_port, _, local, _ = _ENDS.unpack_from(answer, 4)
        if its_port == port and local[: len(address.packed)] == address.packed:
            yield _socket(answer)[1]


def find(connection: Tcp) -> Socket | None:
    """Return the socket of a connection; None if there is none that is bound to no interface."""
    state, found = _find(connection)
    return None if state in _WITHOUT_CONNECTION else found  # without the connection: the socket that listens there


def listener(address: Address, port: int) -> Socket | None:
    """Return the socket that would take a connection from this host to one of its addresses; None if none listens."""
    state, found = _find(Tcp(address, port, address, 1))
    return found if state == LISTEN else None


def _find(connection: Tcp) -> tuple[int, Socket | None]:
    """Return a socket with its state, as the kernel finds it for a segment to the connection's local end."""
    local, local_port, remote, remote_port = connection
    name = _ENDS.pack(local_port, remote_port, local.packed, remote.packed)
    name += _INTERFACE_AND_COOKIE.pack(0, _ANY_COOKIE, _ANY_COOKIE)
    family = socket.AF_INET if local.version == 4 else socket.AF_INET6  # AF_INET finds v4-mapped sockets, too
    error, answer = _ask(_SOCK_DIAG_BY_FAMILY, _REQUEST_FLAG, family, name)
    if error == errno.ENOENT:
        return _CLOSE, None
    if not answer:
        raise OSError(error, f"{connection}: {os.strerror(error)}")
    return _socket(answer)


def bound() -> dict[Tcp, Socket]:
    """Return the connections whose sockets are bound to an interface, as each link-local one is.

    `find` would have to be asked for each interface. One dump for each IP version, and only of such sockets.
    """
    found = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for answer in _dump(family, _ALL_STATES, _IS_BOUND, 1 << _INET_DIAG_INFO - 1):
            state, its = _socket(answer)
            if state not in _WITHOUT_CONNECTION:
                found[_connection(its)] = its
    return found


def destroy(found: Socket) -> int:
    """Reset a connection (SOCK_DESTROY) and return 0, or the errno with which the kernel refuses."""
    return _ask(_SOCK_DESTROY, _REQUEST_FLAG | _ACK_FLAG, found.family, found.name)[0]


def _kernel() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    opened.settimeout(_ANSWER_WITHIN)
    return opened


def _ask(kind: int, flags: int, family: int, name: bytes) -> tuple[int, bytes]:
    """Send one request and return its errno, 0 if there is none, and the inet_diag_msg if that is the answer."""
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << _INET_DIAG_INFO - 1, 0, name)
    with _kernel() as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        answer = kernel.recv(1 << 16)
    for answered, content in _messages(answer):
        if answered == _NLMSG_ERROR:
            return _errno(content), b""
        if answered == _SOCK_DIAG_BY_FAMILY and len(content) >= _ANSWER.size:
            return 0, content
        break
    raise OSError(errno.EPROTO, f"the kernel answered a socket request with {len(answer)} bytes of something else")


def _dump(family: int, states: int, condition: bytes = b"", extensions: int = 0) -> Iterator[bytes]:
    """Yield the inet_diag_msg of each socket of a family in some states, and under a condition if there is one.

    Each with the attributes of `extensions`.
    """
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, extensions, states, bytes(48))
    if condition:
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(condition), _INET_DIAG_REQ_BYTECODE) + condition
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_FLAG | _DUMP_FLAG, 1, 0)
    with _kernel() as kernel:
        kernel.send(header + body)
        while True:
            answer = kernel.recv(1 << 16)
            if not answer:
                raise OSError(errno.EPROTO, "the kernel ended a list of sockets early")
            for kind, content in _messages(answer):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    error = _errno(content)
                    raise OSError(error, f"list of sockets: {os.strerror(error)}")
                if kind == _SOCK_DIAG_BY_FAMILY and len(content) >= _ANSWER.size:
                    yield content


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each netlink message (netlink(7)), as far as they are whole."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def _errno(content: bytes) -> int:
    if len(content) < 4:
        raise OSError(errno.EPROTO, "the kernel refused a socket request without saying why")
    return -int(struct.unpack_from("=i", content)[0])


def _socket(answer: bytes) -> tuple[int, Socket]:
    """Return the state of a socket, and it, from an inet_diag_msg."""
    family, state, name, unread, user = _ANSWER.unpack_from(answer)
    info = _attribute(answer[_ANSWER.size :], _INET_DIAG_INFO)
    return state, Socket(family, name, unread, user, info, _is_mptcp(answer))


def _listed(family: int, answer: bytes) -> Listed:
    local_port, remote_port, local, remote = _ENDS.unpack_from(answer, 4)
    if family == socket.AF_INET:
        local, remote = _MAPPED + local[:4], _MAPPED + remote[:4]
    return Listed(answer[1], local, local_port, remote, remote_port)


def _is_mptcp(answer: bytes) -> bool:
    return _attribute(answer[_ANSWER.size :], _INET_DIAG_ULP_INFO).startswith(_MPTCP_ABOVE)


def _connection(found: Socket) -> Tcp:
    local_port, remote_port, local, remote = _ENDS.unpack_from(found.name)
    if found.family == socket.AF_INET:
        return Tcp(IPv4Address(local[:4]), local_port, IPv4Address(remote[:4]), remote_port)
    return Tcp(IPv6Address(local), local_port, IPv6Address(remote), remote_port).on_the_wire()


def _unmapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


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
