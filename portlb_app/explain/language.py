"""The packet language: one line of text that says what packet is meant, such as ``tcp 192.0.2.7:4000 > web:21 syn``.

::

    packet   = protocol end ">" end word…
    protocol = tcp | udp | sctp | icmp | ip | arp | nd
    end      = host | host ":" port             a port for tcp, udp and sctp: the target's must be given
    host     = ADDRESS | "[" ADDRESS "]" | NAME | NAME "/4" | NAME "/6"
    word     = flag | "@" place | key "=" value | fragment | …

NAME is a VIP or a server of the configuration; an IPv6 address with a port is in brackets. `WORDS` and `KEYS` have the
words. Nothing here knows the configuration: `start` finds what names mean.

A text has at most `MAX_TEXT` characters, and every mistake says at which of them, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple, TypeVar

from portlb_app.net.packets import Address
from portlb_app.openflow import LOCAL, mac_number
from portlb_app.pipeline import ACK, CONFIRM_BIT, FIN, REDIRECT_BIT, RST, SYN

MAX_TEXT = 500
PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "ip", "arp", "nd")
WITH_PORTS = ("tcp", "udp", "sctp")
FLAGS: Mapping[str, int] = {
    **{"fin": FIN, "syn": SYN, "rst": RST, "psh": 0x008, "ack": ACK, "urg": 0x020, "ece": 0x040, "cwr": 0x080},
    **{"confirm": CONFIRM_BIT, "redirect": REDIRECT_BIT},
}
"""Header bits of TCP, as Open vSwitch's ``tcp_flags`` numbers them."""
ICMP_WORDS = ("echo", "echo-reply", "unreachable", "too-big", "time-exceeded", "parameter-problem")
WORDS: Mapping[str, tuple[str, ...]] = {"tcp": tuple(FLAGS), "icmp": ICMP_WORDS, "arp": ("reply",), "nd": ("advert",)}
"""The words without a value that a protocol has."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,8}|[0-9]{1,10}")
_WORD = re.compile(r"\S+")


_T = TypeVar("_T")


class PacketError(Exception):
    """The text means no packet: `position` is the character, from 1, at which that shows."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(position, message)
        self.position, self.message = position, message

    def __str__(self) -> str:
        return f"character {self.position}: {self.message}"


@dataclass(frozen=True)
class End:
    """Where a packet comes from or goes to: an address, or a name, of which `version` may choose one; 0: either."""

    position: int
    address: Address | None = None
    name: str = ""
    version: int = 0
    port: int | None = None


class Place(NamedTuple):
    """Where the packet comes in: ``@SWITCH:PORT``, or ``@NAME`` of a switch or a server."""

    position: int
    name: str
    port: int | None


@dataclass(frozen=True)
class Sentence:
    """A text, read. `given` has the values of keys that were given, `words` the words without one."""

    text: str
    protocol: str
    source: End
    target: End
    words: frozenset[str] = frozenset()
    given: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, IPv6Address] = field(default_factory=dict)
    fragment: str = ""
    place: Place | None = None
    known: str = ""
    positions: Mapping[str, int] = field(default_factory=dict)
    """Where words and keys are."""


class Key(NamedTuple):
    """A number that may be given: the protocols that have it (none: all), and its range."""

    protocols: tuple[str, ...]
    lowest: int
    highest: int


_IP = ("tcp", "udp", "sctp", "icmp", "ip")
KEYS: Mapping[str, Key] = {
    "flags": Key(("tcp",), 0, 0xFFF),
    "type": Key(("icmp",), 0, 255),
    "proto": Key(("ip",), 0, 255),
    "op": Key(("arp",), 0, 255),
    "dscp": Key(_IP, 0, 63),
    "ttl": Key((*_IP, "nd"), 0, 255),
    "label": Key((*_IP, "nd"), 0, (1 << 20) - 1),
    "vlan": Key((), 0, 4094),
    "size": Key((), 14, 65549),
}
"""Keys whose values are numbers, in decimal or, after 0x, in hexadecimal digits."""
MACS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("src-mac", "dst-mac"), ()),
    **dict.fromkeys(("sender-mac", "target-mac"), ("arp",)),
    "option": ("nd",),
}
"""Keys whose values are MAC addresses, and the protocols that have them (none: all). ``option=none`` is no option."""
NO_OPTION = -1
FRAGMENTS = ("first", "later")


def read(text: str) -> Sentence:
    """Read a text; PacketError."""
    if len(text) > MAX_TEXT:
        raise PacketError(MAX_TEXT + 1, f"a packet is said in {MAX_TEXT} characters")
    for position, character in enumerate(text, 1):
        if not " " <= character <= "~":
            raise PacketError(position, f"{ascii(character)} is no printable character of ASCII")
    tokens = [(found.start() + 1, found[0]) for found in _WORD.finditer(text)]
    reader = _Reader(iter(tokens), len(text) + 1)
    at, protocol = reader.next("a protocol")
    if protocol not in PROTOCOLS:
        raise PacketError(at, f"{protocol!r} is no protocol: say {_listed(PROTOCOLS)}")
    source = _end(*reader.next("where the packet comes from"), protocol)
    at, arrow = reader.next("'>' and where the packet goes to")
    if arrow != ">":
        raise PacketError(at, f"'>' stands between where a packet comes from and goes to, not {arrow!r}")
    target = _end(*reader.next("where the packet goes to"), protocol)
    if protocol in WITH_PORTS and target.port is None:
        raise PacketError(target.position, f"{protocol} has a port: say {_spoken(target)}:PORT")
    words = _Words(protocol)
    for position, word in reader.rest:
        words.take(position, word)
    return words.sentence(text, source, target)


class _Reader:
    def __init__(self, rest: Iterator[tuple[int, str]], end: int) -> None:
        self.rest, self._end = rest, end

    def next(self, what: str) -> tuple[int, str]:
        token = next(self.rest, None)
        if token is None:
            raise PacketError(self._end, f"{what} is missing")
        return token


class _Words:
    """The words behind a packet's ends, as they are taken one by one."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._words: set[str] = set()
        self._given: dict[str, int] = {}
        self._addresses: dict[str, IPv6Address] = {}
        self._fragment = self._known = ""
        self._place: Place | None = None
        self._positions: dict[str, int] = {}

    def take(self, position: int, word: str) -> None:
        """Take one more."""
        key, equals, value = word.partition("=")
        name = "@" if word.startswith("@") else key
        if name in self._positions:
            raise PacketError(position, f"{name} is said twice")
        if name == "@":
            self._place = _place(position, word)
        elif not equals:
            if word not in WORDS.get(self._protocol, ()):
                raise PacketError(position, f"{word!r} is no word of {self._protocol}: say {_known(self._protocol)}")
            self._words.add(word)
        else:
            self._value(position, key, position + len(key) + 1, value)
        self._positions[name] = position

    def _value(self, position: int, key: str, at: int, value: str) -> None:
        named = KEYS.get(key)
        protocols = MACS.get(key) if named is None else named.protocols
        if key in ("fragment", "known", "target"):
            protocols = {"fragment": _IP, "known": ("tcp",), "target": ("nd",)}[key]
        if protocols is None or protocols and self._protocol not in protocols:
            raise PacketError(position, f"{key!r} is no key of {self._protocol}: say {_known(self._protocol)}")
        if named is not None:
            self._given[key] = _number(at, value, named.lowest, named.highest)
        elif key == "fragment":
            if value not in FRAGMENTS:
                raise PacketError(at, f"{value!r} is no fragment: say {_listed(FRAGMENTS)}")
            self._fragment = value
        elif key == "known":
            self._known = _named(at, value, "a server")
        elif key == "target":
            self._addresses[key] = _made(at, value, IPv6Address, "an IPv6 address")
        else:
            is_none = (key, value) == ("option", "none")
            self._given[key] = NO_OPTION if is_none else _made(at, value, mac_number, "a MAC address")

    def sentence(self, text: str, source: End, target: End) -> Sentence:
        """What was taken."""
        words = (frozenset(self._words), self._given, self._addresses, self._fragment, self._place, self._known)
        return Sentence(text, self._protocol, source, target, *words, self._positions)


def _end(position: int, text: str, protocol: str) -> End:
    host, port_at, port = _split(position, text)
    if port is not None and protocol not in WITH_PORTS:
        raise PacketError(port_at, f"{protocol} has no ports")
    number = None if port is None else _number(port_at, port, 0, 65535)
    if host.startswith("["):
        if not host.endswith("]"):
            raise PacketError(position, f"{host!r} has no closing bracket")
        return End(position, _made(position + 1, host[1:-1], IPv6Address, "an IPv6 address"), port=number)
    if ":" in host:
        return End(position, _made(position, host, IPv6Address, "an IPv6 address"), port=number)
    if host and host.replace(".", "").isdigit():
        return End(position, _made(position, host, IPv4Address, "an IPv4 address"), port=number)
    name, slash, version = host.partition("/")
    if slash and version not in ("4", "6"):
        raise PacketError(position + len(name) + 1, f"{version!r} is no version of IP: say 4 or 6")
    return End(position, name=_named(position, name, "an address or a name"), version=int(version or 0), port=number)


def _split(position: int, text: str) -> tuple[str, int, str | None]:
    """Host, position of the port, and port. More than one colon without brackets is an IPv6 address."""
    start = text.rfind("]") + 1
    if text[start:].count(":") != 1 or (start == 0 and text.count(":") > 1):
        if start and text[start:]:
            raise PacketError(position + start, f"{text[start:]!r} is no port")
        return text, 0, None
    host, _, port = text.rpartition(":")
    return host, position + len(host) + 1, port


def _place(position: int, word: str) -> Place:
    name, colon, port = word[1:].partition(":")
    _named(position + 1, name, "a switch or a server")
    at = position + 2 + len(name)
    if port == "LOCAL":
        return Place(position, name, LOCAL)
    return Place(position, name, _number(at, port, 1, 0xFFFFFF00) if colon else None)


def _named(position: int, text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise PacketError(position, f"{text!r} is not {what}")
    return text


def _number(position: int, text: str, lowest: int, highest: int) -> int:
    value = int(text, 0) if _NUMBER.fullmatch(text) and not _is_octal(text) else None
    if value is None or not lowest <= value <= highest:
        raise PacketError(position, f"{text!r} is no number from {lowest} to {highest}")
    return value


def _is_octal(text: str) -> bool:
    """Whether Python would refuse it: digits behind a zero."""
    return len(text) > 1 and text[0] == "0" and text[1] != "x"


def _made(position: int, text: str, make: Callable[[str], _T], what: str) -> _T:
    try:
        return make(text)
    except (AddressValueError, ValueError):
        raise PacketError(position, f"{text!r} is not {what}") from None


def _known(protocol: str) -> str:
    keys = [key for key, each in KEYS.items() if not each.protocols or protocol in each.protocols]
    keys += [key for key, protocols in MACS.items() if not protocols or protocol in protocols]
    keys += ["fragment"] if protocol in _IP else []
    return _listed((*WORDS.get(protocol, ()), "@PLACE", *(f"{key}=…" for key in keys)))


def _spoken(end: End) -> str:
    if end.address is None:
        return end.name
    return f"[{end.address}]" if end.address.version == 6 else str(end.address)


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
