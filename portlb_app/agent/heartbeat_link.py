"""The way of heartbeats and their answers: frames by a packet socket of the agent's interface.

No route, no neighbour and no firewall rule of this host has a say in it, so every server can send them. The kernel gets
the answers, too, and would refuse them: so a UDP socket has their port, and takes nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator

from portlb_app.agent import interface
from portlb_app.agent.mapping import Address
from portlb_app.net import heartbeat
from portlb_app.net.packets import Datagram, parse_datagram

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_SO_ATTACH_FILTER = 26
_LOAD_HALF, _LOAD_WORD, _LOAD_BYTE, _EQUAL, _RETURN = 0x28, 0x20, 0x30, 0x15, 0x06  # linux/filter.h
_WHOLE = 0xFFFF
_LARGEST = 2048

Instruction = tuple[int, int, int, int]


class Link:
    """One agent's way to the controller and back; OSError if the kernel refuses it."""

    def __init__(self, name: str, source: Address) -> None:
        """Send from an address of the server at the interface `name`."""
        self.source = source
        self._name = name
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            port.bind(("", 0))
            _attach(port, [(_RETURN, 0, 0, 0)])
            self.port: int = port.getsockname()[1]
            frames = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            frames.setblocking(False)
            _attach(frames, _answers(source.version, self.port))
            frames.bind((name, _ETH_P_IP if source.version == 4 else _ETH_P_IPV6))
            self._frames = frames
            self._open = stack.pop_all()

    def close(self) -> None:
        """Close the sockets."""
        self._open.close()

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when there is an answer."""
        return self._frames.fileno()

    def send(self, data: bytes) -> None:
        """Send a heartbeat; OSError if the kernel refuses."""
        mac = int.from_bytes(interface.mac_of(self._name), "big")
        to = heartbeat.ADDRESSES[self.source.version]
        self._frames.send(Datagram(mac, heartbeat.MAC, self.source, to, self.port, heartbeat.PORT, data).pack())

    def answers(self) -> Iterator[bytes]:
        """Yield what has come as an answer."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                datagram = parse_datagram(self._frames.recv(_LARGEST))
                if datagram and (datagram.sport, datagram.destination) == (heartbeat.PORT, self.source):
                    yield datagram.data


def _answers(version: int, port: int) -> list[Instruction]:
    """Return the filter of whole datagrams from the address that heartbeats are sent to, to this port."""
    address = heartbeat.ADDRESSES[version].packed
    if version == 4:
        tests = [(_LOAD_BYTE, 23, socket.IPPROTO_UDP), (_LOAD_WORD, 26, int.from_bytes(address, "big"))]
        tests += [(_LOAD_BYTE, 14, 0x45)]
        ports = 34
    else:
        tests = [(_LOAD_BYTE, 20, socket.IPPROTO_UDP)]
        tests += [(_LOAD_WORD, 22 + at, int.from_bytes(address[at : at + 4], "big")) for at in (0, 4, 8, 12)]
        ports = 54
    tests.append((_LOAD_HALF, ports + 2, port))
    program: list[Instruction] = []
    for number, (load, at, value) in enumerate(tests):
        left = 2 * (len(tests) - 1 - number)
        program += [(load, 0, 0, at), (_EQUAL, 0, left + 1, value)]
    return [*program, (_RETURN, 0, 0, _WHOLE), (_RETURN, 0, 0, 0)]


def _attach(to: socket.socket, program: list[Instruction]) -> None:
    """Have a socket take what a filter lets through (socket(7), SO_ATTACH_FILTER)."""
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(buffer)))
