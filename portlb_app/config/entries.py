"""The shape of one entry of the file: keys, types, ranges.

A faulty field is reported and left None, so that the sound rest of its entry can still be checked against the others.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from portlb_app.config.check_values import MAX_POOL, FailOpen
from portlb_app.config.policies import (
    DefaultFor,
    Forwarding,
    Fragments,
    IcmpErrors,
    IcmpPolicy,
    Legacy,
    Rewrite,
    Signal,
    UnknownErrors,
    UnknownFragments,
    Wanted,
)
from portlb_app.config.problems import Problems
from portlb_app.config.selection_values import MAX_WHEN, Moves
from portlb_app.config.shapes import ADDRESSES, CONNECTOR, FAIL_OPEN, SECOND_CHANCES, pattern, shape
from portlb_app.config.text import below
from portlb_app.config.values import MAX_SECOND_CHANCE, MAX_WEIGHT, SECOND_CHANCE, Connector, Link
from portlb_app.net.packets import Address
from portlb_app.openflow import mac_number
from portlb_app.pipeline import VIP_NUMBERS, is_mark

MAX_OPENFLOW_PORT = 0xFEFF
"""The highest number Open vSwitch gives to a port (ovs-vswitchd.conf.db(5), ofport)."""

MAX_KEYS = 32
"""Keys of one entry; the largest has 16."""


def _mac(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("a MAC address like 02:00:00:00:00:01 is expected")
    number = mac_number(value)
    if number >> 40 & 1:
        raise ValueError(f"{value} is a multicast address; a host's is expected")
    if number == 0:
        raise ValueError(f"{value} is no host's address")
    if is_mark(number):
        raise ValueError(f"{value} is one of portlb's own (docs/second-chance.md); a host's is expected")
    return number


def _address(value: Any) -> Address:
    if not isinstance(value, str):
        raise ValueError("an address like 10.0.0.100 or fd00::100 is expected")
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None
    if address.is_multicast or address.is_loopback or address.is_unspecified or address.is_reserved:
        raise ValueError(f"{address} cannot be a host's address")
    if address.version == 6 and (address.is_link_local or address.ipv4_mapped or address.scope_id):
        raise ValueError(f"{address} is not an address that can be routed to")
    return address


def _addresses(value: Any) -> tuple[Address, ...]:
    """One address, or a list with one of each family: in the order of the families."""
    if isinstance(value, list) and len(value) > 2:
        raise ValueError("one address of each family is expected, at least one")
    addresses = tuple(map(_address, value)) if isinstance(value, list) else (_address(value),)
    if not addresses or len({address.version for address in addresses}) < len(addresses):
        raise ValueError("one address of each family is expected, at least one")
    return tuple(sorted(addresses, key=lambda address: address.version))


def _connector(value: Any) -> Connector:
    found = re.fullmatch(r"([^:\s]+):([1-9][0-9]{0,5})", value) if isinstance(value, str) else None
    if not found:
        raise ValueError("a connector is written switch:port, like s1:2")
    port = int(found[2])
    if port > MAX_OPENFLOW_PORT:
        raise ValueError(f"OpenFlow ports go from 1 to {MAX_OPENFLOW_PORT}")
    return Connector(found[1], port)


def link(value: Any) -> Link:
    """A link as the file writes it: its two ends in any order; ValueError if it is none."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a link is written [switch:port, switch:port], like [s1:2, s2:1]")
    one, other = sorted(map(_connector, value))
    return Link(one, other)


def _icmp_target(value: Any) -> IcmpPolicy | str:
    """A policy, or else a server's name."""
    if not isinstance(value, str):
        raise ValueError("answer, balance, default, drop or a server's name is expected")
    return IcmpPolicy(value) if value in IcmpPolicy.__members__.values() else value


def _number(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a number is expected")
    return value


def _dpid(value: Any) -> Any:
    if not 0 < _number(value) < 1 << 64:
        raise ValueError("a datapath id is a number of 64 bits, and not 0")
    return value


def _truth(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("true or false is expected")
    return value


def _second_chance(value: Any) -> int:
    if isinstance(value, bool):
        return SECOND_CHANCE if value else 0
    if isinstance(value, int) and 60 <= value <= MAX_SECOND_CHANCE:
        return value
    raise ValueError(f"true, false or a number of seconds from 60 to {MAX_SECOND_CHANCE} is expected")


Number = Annotated[int, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Port = Annotated[Number, Field(ge=1, le=65535)]
Mac = Annotated[int, BeforeValidator(_mac), shape(pattern("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}"))]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_addresses), shape(ADDRESSES)]
FailOpenEntry = Annotated[FailOpen, BeforeValidator(FailOpen.read), shape(FAIL_OPEN)]


class Entry(BaseModel):
    """What all entries share: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    required: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, data: Any) -> Any:
        """Each unknown key is a mistake of its own, so an entry in an entry has few."""
        if isinstance(data, dict) and len(data) > MAX_KEYS:
            raise ValueError(f"has {len(data)} keys; there are {', '.join(cls.model_fields)}")
        return data


class QosEntry(Entry):
    """``….quality`` of a service port or a redirect port."""

    dscp: Annotated[Number, Field(ge=0, le=63)] | None = None
    queue: Annotated[Number, Field(ge=0, le=(1 << 32) - 2)] | None = None
    rate: Annotated[Number, Field(ge=1, le=(1 << 32) - 1)] | None = None


class PinEntry(Entry):
    """``vips.NAME.redirect_ports.PORT.pin``: read for older files; conntrack's own limits are in its place."""

    idle: Annotated[Number, Field(ge=1, le=65535)] | None = None
    connections: Annotated[Number, Field(ge=1, le=1 << 20)] | None = None


class RedirectPortEntry(Entry):
    """``vips.NAME.redirect_ports.PORT``."""

    required = ("servers",)
    servers: list[str] | None = Field(default=None, max_length=MAX_POOL)
    legacy: Legacy | None = None
    signal: Signal | None = None
    pin: PinEntry | None = None
    quality: QosEntry | None = None
    selection: Any = None
    moves: Annotated[Moves, BeforeValidator(Moves.of), shape(pattern("free|never|[0-9]{1,4}/s"))] | None = None
    slow_start: Annotated[Number, Field(ge=0, le=3600)] | None = None
    when: list[Any] | None = Field(default=None, max_length=MAX_WHEN)
    check: dict[Any, Any] | None = None
    fail_open: FailOpenEntry | None = None
    second_chance: Annotated[int, BeforeValidator(_second_chance), shape(SECOND_CHANCES)] | None = None


class IcmpEntry(Entry):
    """``vips.NAME.icmp``."""

    errors: IcmpErrors | None = None
    unknown: UnknownErrors | None = None
    echo: Annotated[IcmpPolicy | str, BeforeValidator(_icmp_target), shape({"type": "string"})] | None = None
    types: dict[Any, Any] | None = None
    types6: dict[Any, Any] | None = None
    other: Annotated[IcmpPolicy | str, BeforeValidator(_icmp_target), shape({"type": "string"})] | None = None


class VipEntry(Entry):
    """``vips.NAME``."""

    required = ("address", "mac")
    address: Addresses | None = None
    mac: Mac | None = None
    rewrite: Rewrite | None = None
    gateway: Mac | None = None
    default_server: str | None = None
    default_for: DefaultFor | None = None
    redirect_ports: dict[Any, Any] | None = None
    icmp: dict[Any, Any] | None = None
    fragments: Fragments | None = None
    unknown_fragments: UnknownFragments | None = None
    log: Truth | None = None
    passive: Truth | None = None
    number: Annotated[Number, Field(ge=0, lt=VIP_NUMBERS)] | None = None
    check: dict[Any, Any] | None = None
    check_address: Addresses | None = None
    fail_open: FailOpenEntry | None = None


class ServicePortEntry(Entry):
    """``servers.NAME.service_ports[N]``; a bare number is short for ``{port: N}``."""

    required = ("port",)
    port: Port | None = None
    application: Port | None = None
    quality: QosEntry | None = None


class ServerEntry(Entry):
    """``servers.NAME``."""

    required = ("vip", "connector")
    vip: str | None = None
    connector: Annotated[Connector, BeforeValidator(_connector), shape(CONNECTOR)] | None = None
    service_ports: list[Any] | None = Field(default=None, max_length=65535)
    address: Addresses | None = None
    mac: Mac | None = None
    router: Addresses | None = None
    weight: Annotated[Number, Field(ge=0, le=MAX_WEIGHT)] | None = None
    service_address: Addresses | None = None
    service_mac: Mac | None = None
    service_label: Annotated[Number, Field(ge=1, le=0xFFFFF)] | None = None
    mptcp: Port | None = None
    backup: Truth | None = None
    priority: Annotated[Number, Field(ge=0, le=255)] | None = None
    state: Wanted | None = None
    check: dict[Any, Any] | None = None


class SwitchEntry(Entry):
    """``switches.NAME``."""

    required = ("dpid",)
    dpid: Annotated[int, BeforeValidator(_dpid)] | None = None
    network: Annotated[Number, Field(ge=1, le=MAX_OPENFLOW_PORT)] | None = None
    datapath: Forwarding | None = None
    address: Addresses | None = None


Shape = TypeVar("Shape", bound=Entry)


def read(shape: type[Shape], path: str, data: Any, problems: Problems) -> Shape:
    """The entry `data` describes; what is wrong goes to `problems` and is None in the entry."""
    if not isinstance(data, dict):
        problems.add(path, "is a mapping of " + ", ".join(shape.model_fields))
        return shape()
    for key in shape.required:
        if data.get(key) is None:
            problems.add(below(path, key), "is missing")
    given = {str(key): value for key, value in data.items() if str(key) in shape.model_fields}
    try:
        entry = shape.model_validate(given)
    except ValidationError as error:
        faulty = set()
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            location = detail["loc"]
            faulty.add(str(location[0]))
            where = path
            for step in location:
                where = below(where, step)
            message = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"]
            problems.add(where, message.removeprefix("Value error, ").removeprefix("Input "))
        entry = shape.model_validate({key: value for key, value in given.items() if key not in faulty})
    for key in data:
        if str(key) not in shape.model_fields:
            problems.add(below(path, str(key)), "unknown key")
    return entry
