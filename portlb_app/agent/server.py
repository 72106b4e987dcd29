"""The server agent: announces this host's service ports and translates them for its programs."""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Iterator

from portlb_app.agent.locator import ADDRESS, LABEL, MAC, NONE, packed_services, whole
from portlb_app.agent.mapping import ServerMapping, packed_vips, unpacked_vips
from portlb_app.agent.record import pack_address
from portlb_app.net.heartbeat import Serving


def settings(mapping: ServerMapping) -> bytes:
    """Return the server programs' constants: tables indexed by a port as it stands in the packet."""
    announced_ports, applications = bytearray(2 * 65536), bytearray(2 * 65536)
    for opened, announced in mapping.announced_ports.items():
        _set(announced_ports, opened, announced)
    for port, application in mapping.applications.items():
        _set(applications, port, application)
    return packed_vips(mapping.vips) + _locators(mapping) + _announces_locator(mapping) + announced_ports + applications


def _locators(mapping: ServerMapping) -> bytes:
    own = {address.version: (address, vip) for address, vip in mapping.service_addresses.items()}
    packed = packed_services([whole(address) for address in mapping.service_addresses])
    announced = []
    for version in (4, 6):
        packed += pack_address(own[version][1]) if version in own else bytes(16)
        by_mac = MAC if mapping.service_mac is not None else NONE
        by_label = LABEL if mapping.service_label is not None and version == 6 else by_mac
        announced.append(ADDRESS if version in own else by_label)
    label, mac = mapping.service_label or 0, mapping.service_mac or 0
    return packed + label.to_bytes(4, "big") + mac.to_bytes(6, "big") + bytes(announced)


def _announces_locator(mapping: ServerMapping) -> bytes:
    table = bytearray(65536)
    for port in mapping.locator_ports:
        table[int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)] = 1
    return bytes(table)


def _set(table: bytearray, port: int, value: int) -> None:
    index = int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
    table[2 * index : 2 * index + 2] = value.to_bytes(2, "big")


@functools.lru_cache(maxsize=4)  # asked for each connection
def redirect_ports(constants: bytes) -> dict[int, int]:
    """Return the redirect ports in a server's constants, each with the service port announced for it."""
    announced = constants[-4 * 65536 : -2 * 65536]
    return {
        int.from_bytes(index.to_bytes(2, sys.byteorder), "big"): int.from_bytes(value, "big")
        for index, (value,) in enumerate(struct.iter_unpack("2s", announced))
        if value != b"\0\0"
    }


def service_ports(constants: bytes) -> Iterator[int]:
    """Yield the service ports in a server's constants: those that lead to an application's port."""
    applications = constants[-2 * 65536 :]
    for index, (value,) in enumerate(struct.iter_unpack("=H", applications)):
        if value:
            yield int.from_bytes(index.to_bytes(2, sys.byteorder), "big")


@functools.lru_cache(maxsize=16)  # asked for once a second, for each agent of the process
def serving(constants: bytes) -> Serving:
    """Return what a server's constants have it serve, as a heartbeat tells it."""
    services = ((port, application_of(constants, port)) for port in service_ports(constants))
    return Serving.of(unpacked_vips(constants), services, redirect_ports(constants).items())


def applications(constants: bytes) -> set[int]:
    """Return the ports of this host's programs to which the service ports in a server's constants lead."""
    return {int.from_bytes(value, "big") for (value,) in struct.iter_unpack("2s", constants[-2 * 65536 :])} - {0}


def application_of(constants: bytes, port: int) -> int:
    """Return the application's port of a service port in a server's constants, 0 if it is none."""
    at = len(constants) - 2 * 65536 + 2 * int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
    return int.from_bytes(constants[at : at + 2], "big")
