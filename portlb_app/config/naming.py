"""``servers.NAME.service_address``, ``.service_mac``, ``.service_label``: what names a server beside its ports.

Rows X1, X2 and X3: each is one server's alone, and what a packet to it looks like leaves no doubt whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.config.entries import ServerEntry, VipEntry
from portlb_app.config.file import File
from portlb_app.config.policies import Rewrite
from portlb_app.net.packets import Address


def check(file: File) -> None:
    """Add to the problems of a file what is wrong with its servers' names."""
    addresses = {address: whose for whose, address in _addresses(file)}
    macs = {mac: whose for whose, mac in _macs(file)}
    labels: dict[tuple[str, int], str] = {}
    for name, entry in file.servers.items():
        path, vip = f"servers.{name}", file.vips.get(entry.vip or "")
        for address in entry.service_address or ():
            other = addresses.setdefault(address, name)
            if other != name:
                file.wrong(f"{path}.service_address", f"{address} is already the address of {other}")
        if entry.service_mac is not None:
            other = macs.setdefault(entry.service_mac, name)
            if other != name:
                file.wrong(f"{path}.service_mac", f"is already the MAC address of {other}")
        if vip is None or entry.vip is None:
            continue
        if entry.service_label is not None:
            other = labels.setdefault((entry.vip, entry.service_label), name)
            if other != name:
                file.wrong(f"{path}.service_label", f"{entry.service_label:#x} is already the label of {other}")
        _check_vip(file, path, entry, vip)


def _check_vip(file: File, path: str, entry: ServerEntry, vip: VipEntry) -> None:
    """What a name needs of the VIP."""
    if f"vips.{entry.vip}.address" not in file.faulty and vip.address is not None:
        own = {address.version: address for address in vip.address}
        for address in entry.service_address or ():
            if address.version not in own:
                file.wrong(f"{path}.service_address", f"VIP {entry.vip} has no IPv{address.version} address")
            elif address.version == 6 and int(address) >> 64 != int(own[6]) >> 64:
                file.wrong(
                    f"{path}.service_address",
                    f"{address} differs from {own[6]} of VIP {entry.vip} in its first 64 bits, which no option has "
                    "room for",
                )
        if entry.service_label is not None and 6 not in own:
            file.wrong(f"{path}.service_label", f"VIP {entry.vip} has no IPv6 address")
    if entry.service_mac is None:
        return
    if vip.rewrite is Rewrite.ADDRESS:
        file.wrong(f"{path}.service_mac", f"VIP {entry.vip} rewrites address: its servers may be behind a router")
    if entry.connector and file.is_network_side(entry.connector):
        file.wrong(f"{path}.service_mac", f"{entry.connector} is the network side: its frames would pass by the switch")


def _addresses(file: File) -> Iterator[tuple[str, Address]]:
    """All addresses of the configuration, each with what has it."""
    for name, server in file.servers.items():
        for address in (*(server.address or ()), *(server.router or ())):
            yield f"server {name}", address
    for name, switch in file.switches.items():
        for address in switch.address or ():
            yield f"switch {name}", address
    for name, vip in file.vips.items():
        for address in vip.address or ():
            yield f"VIP {name}", address


def _macs(file: File) -> Iterator[tuple[str, int]]:
    """All MAC addresses of the configuration, each with what has it."""
    for name, server in file.servers.items():
        if server.mac is not None:
            yield f"server {name}", server.mac
    for name, vip in file.vips.items():
        if vip.gateway is not None:
            yield f"VIP {name}'s gateway", vip.gateway
        if vip.mac is not None:
            yield f"VIP {name}", vip.mac
