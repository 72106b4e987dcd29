"""Copies of segments for the log of connections, and the network they come from."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from portlb_app import topology
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.compiler.vips_by_switch import vips_on_switch
from portlb_app.config import Address, Config, load
from portlb_app.pipeline import Reason
from portlb_app.punt.connlog import ConnectionLog
from tests.support import wire
from tests.support.reference import SYN

CONFIG = load(
    """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    log: true
    redirect_ports: {80: {servers: [a, b], legacy: owner}, 443: {servers: [a, b]}}
  dns: {address: 10.0.0.101, mac: "02:00:00:00:00:64", log: true}
servers:
  a: {vip: web, connector: s1:2, service_ports: [{port: 8001, application: 443}, 80]}
  b: {vip: web, connector: s1:3, service_ports: [{port: 8002, application: 443}], service_address: 10.0.0.102}
  n: {vip: dns, connector: s1:3, service_ports: [53]}
"""
)
VIPS = {"web": IPv4Address("10.0.0.100"), "dns": IPv4Address("10.0.0.101")}
CLIENT = IPv4Address("192.0.2.1")
IN_PORT = {"a": 2, "b": 3, "n": 3}


def vip_on_switch(vip: str, config: Config = CONFIG) -> VipOnSwitch:
    """A VIP on the one switch."""
    here = vips_on_switch(config, topology.of(config), config.switches[0])
    return next(local for local in here if local.vip.name == vip)


PLACES = {vip: vip_on_switch(vip) for vip in VIPS}


def segment(source: Address, destination: Address, sport: int, dport: int, flags: int, number: int = 1) -> bytes:
    """A TCP segment in a frame; `number` is its sequence number, and the one it acknowledges."""
    whole = bytearray(wire.tcp_segment(source, destination, sport, dport, b"", flags))
    whole[4:12] = struct.pack("!II", number, number)
    return wire.ethernet(source.version, wire.ip(source, destination, 6, bytes(whole)))


def note(
    log: ConnectionLog, vip: str, client: int, flags: int, port: int, now: float, by: str = "", number: int = 1
) -> None:
    """A copy of a segment between port 40000 + `client` of a client and a port of a VIP; `by` a server, or to it."""
    ends = ((CLIENT, 40000 + client), (VIPS[vip], port))
    (source, sport), (destination, dport) = ends[::-1] if by else ends
    reason = Reason.SERVER_CLOSING if by else Reason.OPENING if flags & SYN else Reason.CLOSING
    frame = segment(source, destination, sport, dport, flags, number)
    log.take(PLACES[vip], reason, IN_PORT.get(by, 1), frame, now)
