"""UDP datagrams (RFC 768) in Ethernet frames."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.checksums import checksum
from portlb_app.net.packets.ip import UDP, parse_frame


@dataclass(frozen=True)
class Datagram:
    """A whole UDP datagram; `source_mac` and `destination_mac` are 48-bit numbers."""

    source_mac: int
    destination_mac: int
    source: Address
    destination: Address
    sport: int
    dport: int
    data: bytes

    def pack(self) -> bytes:
        """The frame, with its checksums."""
        ethernet = self.destination_mac.to_bytes(6, "big") + self.source_mac.to_bytes(6, "big")
        addresses, length = self.source.packed + self.destination.packed, 8 + len(self.data)
        udp = struct.pack("!HHHH", self.sport, self.dport, length, 0) + self.data
        total = checksum(addresses + struct.pack("!II", length, UDP) + udp) or 0xFFFF
        udp = udp[:6] + struct.pack("!H", total) + udp[8:]
        if self.source.version == 6:
            return ethernet + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, length, UDP, 64) + addresses + udp
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, UDP, 0) + addresses
        return ethernet + b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def parse_datagram(frame: bytes) -> Datagram | None:
    """The datagram in an Ethernet frame; None without a whole and unfragmented one whose checksum is right."""
    ip = parse_frame(frame)
    if ip is None or ip.fragment or ip.protocol != UDP or ip.end > len(frame) or ip.end - ip.start < 8:
        return None
    sport, dport, length, total = struct.unpack_from("!HHHH", frame, ip.start)
    if not 8 <= length <= ip.end - ip.start:
        return None
    udp = frame[ip.start : ip.start + length]
    pseudo = ip.source.packed + ip.destination.packed + struct.pack("!II", length, UDP)
    if total and checksum(pseudo + udp) or (not total and ip.source.version == 6):
        return None
    macs = int.from_bytes(frame[6:12], "big"), int.from_bytes(frame[:6], "big")
    return Datagram(*macs, ip.source, ip.destination, sport, dport, udp[8:])
