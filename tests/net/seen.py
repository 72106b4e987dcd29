"""What hosts and links have seen of a way of rewriting, and the scenarios of flows/ to try it in."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator

import pytest

from tests.net.balancer import Balancer
from tests.net.network import ROOT, Namespace, tcpdump

BOTH = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
SIZE = 20_000_000


def example(name: str, *changes: tuple[str, str]) -> str:
    """The configuration of ``flows/NAME``, with texts in it replaced."""
    text = (ROOT / "flows" / name / "lb.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def frames(made: Balancer, host: Namespace, words: str, interface: str = "eth0") -> Iterator[list[str]]:
    """What tcpdump prints of an interface, with MAC addresses; filled when the block ends."""
    lines: list[str] = []
    with tempfile.TemporaryFile("w+") as output:
        with tcpdump(host, interface, "-l", "-e", "-vv", words, stdout=output.fileno()):
            yield lines
        output.seek(0)
        lines += output.read().splitlines()


@contextlib.contextmanager
def on_links(made: Balancer, words: str) -> Iterator[list[str]]:
    """The same of all links between switches."""
    lines: list[str] = []
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(frames(made, made.lb, words, link)) for link in made.links]
        yield lines
    for each in found:
        lines += each


def wrong_checksums(host: Namespace) -> int:
    """How many packets a host has dropped for their checksums, TCP, UDP and ICMP, IPv4 and IPv6."""
    text = host.run("nstat", "-asz", "TcpInCsumErrors", "*InCsumErrors", "IpInHdrErrors").stdout
    counts = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)", text, re.MULTILINE)}
    assert {"TcpInCsumErrors", "UdpInCsumErrors", "Udp6InCsumErrors", "Icmp6InCsumErrors"} <= counts.keys(), text
    return sum(counts.values())


def nobody_got_a_wrong_checksum(made: Balancer) -> bool:
    """On any host, since it was made."""
    return not any(map(wrong_checksums, (made.client, made.plain, made.router, *made.servers.values())))


def packets(lines: list[str]) -> list[str]:
    """tcpdump's lines, one a packet, without times."""
    joined: list[str] = []
    for line in lines:
        if re.match(r"\d\d:\d\d:\d\d", line):
            joined.append(line.split(" ", 1)[1])
        elif joined:
            joined[-1] += line
    return joined
