"""What the kernel says of a host's load, by its texts."""

from __future__ import annotations

import pytest

from portlb_app.agent.vitals import Counts, counts, parse_counts, parse_pressure, pressure
from portlb_app.net.heartbeat import UNKNOWN

SNMP = """Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin ActiveOpens PassiveOpens OutRsts
Tcp: 1 200 7 6597 224
Udp: InDatagrams
Udp: 5
"""
NETSTAT = """TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 0 12 59
IpExt: InNoRoutes
IpExt: 0
"""


def test_counts_are_found_by_their_names() -> None:
    """Kernels have added names in the middle."""
    assert parse_counts(SNMP, NETSTAT) == Counts(6597, 224, 12)


@pytest.mark.parametrize("text", ["", "Tcp: PassiveOpens\n", "Tcp: RtoMin\nTcp: 200\n"])
def test_what_is_not_there_is_0(text: str) -> None:
    """An odd kernel costs one number."""
    assert parse_counts(text, text) == Counts()


def test_pressure_is_of_ten_seconds() -> None:
    """Per mille, of what waits at least in part."""
    text = "some avg10=12.34 avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"
    assert parse_pressure(text) == 123
    assert parse_pressure("some avg10=100.00 avg60") == 1000
    assert parse_pressure("some avg10=0.09 avg60") == 0
    for other in ("", "full avg10=1.00", "some avg10=abc"):
        assert parse_pressure(other) == UNKNOWN


def test_this_host_tells() -> None:
    """Whatever it says; a kind of pressure that it does not know is unknown."""
    assert counts().openings >= 0
    assert 0 <= pressure("cpu") <= 1000 or pressure("cpu") == UNKNOWN
    assert pressure("nothing") == UNKNOWN
