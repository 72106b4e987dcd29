"""What the kernel says about an interface of the current network namespace."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from portlb_app.agent.errors import AgentError

_SIOCGIFHWADDR = 0x8927
_FRAMES_WITH_MAC_HEADER = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_RTM_NEWTFILTER = 44
_RTM_GETTFILTER = 46
_NLM_F_DUMP_REQUEST = 0x301
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_TCA_KIND = 1
_CLSACT_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_ANSWER_WITHIN = 1.0  # seconds
_FILTER = struct.Struct("=xxxxiIII")  # tcmsg: interface, handle, parent, information
_HEADER = struct.Struct("=IHHII")


def index_of(name: str) -> int:
    """Return the index of an Ethernet interface; AgentError if there is none of that name."""
    try:
        index = socket.if_nametoindex(name)
    except OSError as error:
        raise AgentError(f"interface {name}: no such interface in this network namespace (see 'ip link')") from error
    (hardware,) = struct.unpack_from("=H", _hardware(name))
    if hardware not in _FRAMES_WITH_MAC_HEADER:
        raise AgentError(f"interface {name}: its packets carry no Ethernet header; attach to an Ethernet interface")
    return index


def mac_of(name: str) -> bytes:
    """Return the MAC address of an Ethernet interface, 6 bytes."""
    return _hardware(name)[2:8]


def _hardware(name: str) -> bytes:
    """Return a `struct sockaddr` with the kind of link and its address (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("=16s16x", name.encode()))[16:]


class Filter(NamedTuple):
    """A tc filter on a clsact qdisc."""

    parent: int
    priority: int
    handle: int
    kind: str


def has_filters(index: int) -> bool:
    """Tell whether anything is attached to the interface's clsact qdisc."""
    return any(True for parent in _CLSACT_PARENTS.values() for _ in _dump(index, parent))


def filters(index: int, direction: str) -> list[Filter]:
    """Return the filters at "ingress" or "egress" of the interface's clsact qdisc; OSError if they cannot be listed."""
    return list(_dump(index, _CLSACT_PARENTS[direction]))


def _dump(index: int, parent: int) -> Iterator[Filter]:
    request = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, parent, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _RTM_GETTFILTER, _NLM_F_DUMP_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.settimeout(_ANSWER_WITHIN)
        route.send(header + request)
        while True:
            answer = route.recv(1 << 16)
            at = 0
            while at + _HEADER.size <= len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                if kind == _RTM_NEWTFILTER and length >= _HEADER.size + _FILTER.size:
                    _, handle, _, information = _FILTER.unpack_from(answer, at + _HEADER.size)
                    rest = answer[at + _HEADER.size + _FILTER.size : at + length]
                    yield Filter(parent, information >> 16, handle, _kind(rest))
                at += max(length + 3 & ~3, _HEADER.size)


def _kind(attributes: bytes) -> str:
    """Return the kind of a filter, the first of its attributes."""
    if len(attributes) < 4:
        return ""
    length, kind = struct.unpack_from("=HH", attributes)
    return attributes[4:length].rstrip(b"\0").decode(errors="replace") if kind == _TCA_KIND else ""
