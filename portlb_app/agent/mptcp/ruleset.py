"""The nftables table of the MPTCP agent: what the kernel cannot do itself, and a memory of what was set before.

- Over IPv6 a SYN with MP_CAPABLE loses its timestamps. Linux sends ADD_ADDR with an IPv6 address and a port in 32 bytes
  of options, and timestamps leave room for 28 (RFC 8684, 3.4.1; RFC 7323, 3.2).
- Where the load balancer rewrites addresses, what comes to the server's own address and the MPTCP port is for the VIP,
  which alone the kernel listens at; answers leave by the own address. No connection is tracked.
- The table's comment holds the settings that were there before, so that any later process can put them back.

All functions are pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from portlb_app.agent.mptcp.announced import Announced

TABLE = "inet portlb_mptcp"
_COMMENT = re.compile(r'^\tcomment "subflows=(\d{1,3}) join=([01]) rules=([0-9a-f]{8})"$', re.MULTILINE)
_MEANT_FOR = re.compile(r"\bip6? daddr set ([0-9a-f.:]{3,39})")


class Memory(NamedTuple):
    """What the table's comment says: the limit of subflows and `allow_join_initial_addr_port` of before, and which
    rules the table was made with.
    """

    subflows: int
    join_initial: bool
    rules: str


def rules_of(announced: Iterable[Announced]) -> str:
    """Return a name of the rules that these announcements need."""
    return hashlib.sha256("".join(map(str, _rules(announced))).encode()).hexdigest()[:8]


def text(announced: tuple[Announced, ...], subflows: int, join_initial: bool) -> str:
    """Return what `nft -f` makes the table of, in one step, whether there is one already or not."""
    arriving = [rule for arrives, rule in _rules(announced) if arrives]
    leaving = [rule for arrives, rule in _rules(announced) if not arrives]
    lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    lines += [f'comment "subflows={subflows} join={int(join_initial)} rules={rules_of(announced)}"']
    for name, hook, rules in (("arriving", "prerouting", arriving), ("leaving", "postrouting", leaving)):
        if rules:
            lines += [f"chain {name} {{", f"type filter hook {hook} priority raw", *rules, "}"]
    return "\n".join((*lines, "}", ""))


def memory(listing: str) -> Memory | None:
    """Return what a table remembers, by its listing; None if that was not made here."""
    found = _COMMENT.search(listing)
    return None if found is None else Memory(int(found[1]), found[2] == "1", found[3])


def rewritten(listing: str) -> list[IPv4Address | IPv6Address]:
    """Return the VIPs that a table, by its listing, gives packets to which come to a server's own address."""
    return [ip_address(each) for each in dict.fromkeys(_MEANT_FOR.findall(listing))]


def _rules(announced: Iterable[Announced]) -> Iterator[tuple[bool, str]]:
    """Yield rules, and whether they are for what arrives."""
    for vip, own, port in sorted(announced, key=lambda each: (each.vip.version, each)):
        ip = "ip" if vip.version == 4 else "ip6"
        if vip.version == 6:
            syn = f"ip6 daddr {own} tcp flags & (syn|ack) == syn tcp option mptcp subtype 0"
            yield True, f"{syn} reset tcp option timestamp"
        if own != vip:
            yield True, f"{ip} daddr {own} tcp dport {port} {ip} daddr set {vip}"
            yield False, f"{ip} saddr {vip} tcp sport {port} {ip} saddr set {own}"
