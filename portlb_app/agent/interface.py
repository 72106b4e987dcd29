"""What the kernel says about an interface of the current network namespace."""

from __future__ import annotations

import fcntl
import socket
import struct

from portlb_app.agent.errors import AgentError

_SIOCGIFHWADDR = 0x8927
_FRAMES_WITH_MAC_HEADER = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_RTM_NEWTFILTER = 44
_RTM_GETTFILTER = 46
_NLM_F_DUMP_REQUEST = 0x301
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_CLSACT_PARENTS = (0xFFFFFFF2, 0xFFFFFFF3)  # ingress, egress
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


def has_filters(index: int) -> bool:
    """Tell whether anything is attached to the interface's clsact qdisc."""
    return any(_dump_finds_a_filter(index, parent) for parent in _CLSACT_PARENTS)


def _dump_finds_a_filter(index: int, parent: int) -> bool:
    request = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, parent, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _RTM_GETTFILTER, _NLM_F_DUMP_REQUEST, 1, 0)
    found = False
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(header + request)
        while True:
            answer = route.recv(1 << 16)
            at = 0
            while at + _HEADER.size <= len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return found
                found = found or kind == _RTM_NEWTFILTER
                at += max(length + 3 & ~3, _HEADER.size)
