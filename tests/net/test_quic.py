"""B2: stock QUIC clients continue at their server's own port, by `preferred_address`, on a tree of switches.

`python -m tests.soak.quic` is the long form: every way of rewriting, both versions of IP for each, more of everything.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.balancer import balancer
from tests.net.quic import EXAMPLE, MANY_NAMES, NGTCP2, Quic, one_switch
from tests.net.quic_wire import hellos, new_address
from tests.support import trees

SIZE = 20_000_000  # bytes


@pytest.fixture(scope="module")
def running() -> Iterator[Quic]:
    """Four servers on two switches below a third, with servers of both makes, and no agent anywhere."""
    with balancer(trees.shaped(one_switch(), "tree"), agents=frozenset(), nginx=False) as made:
        yield Quic(made, SIZE)


@pytest.fixture
def quic(running: Quic) -> Quic:
    """The same, with the pools that it began with."""
    running.made.put(running.made.text)
    return running


def test_b2_all_datagrams_of_a_handshake_reach_one_server(quic: Quic) -> None:
    """Slots are of addresses and ports: a hello in two datagrams, a Retry, version negotiation, and early data."""
    quic.made.speak(4)
    with quic.datagrams() as seen:
        large = quic.aioquic(EXAMPLE, quic.short, f"--names={MANY_NAMES}", "--times=4")
        assert large.end().whole
    first = hellos(seen)
    assert len(first) == 4 and min(first.values()) >= 2, first
    ticket = [f"--{name}-file={quic.made.network.directory / name}" for name in ("session", "tp", "token")]
    with quic.datagrams() as seen:
        unknown = quic.ngtcp2(NGTCP2, quic.short, "--version=0x1a2a3a4a", "--preferred-versions=v1")
        fetched = [unknown.end(), *(quic.ngtcp2(NGTCP2, quic.short, *ticket).end() for _ in range(4))]
    assert all(each.whole for each in fetched), fetched
    assert {"version negotiation", "retry", "0-RTT"} <= {kind for each in seen for kind in each.kinds}


def test_b2_a_client_that_moves_keeps_its_server(quic: Quic) -> None:
    """Its address changes in the middle of a transfer, unasked, as by an address translator: Y names the server."""
    quic.made.speak(4)
    quic.halt((4, quic.service_ports(NGTCP2)))
    transfer = quic.aioquic(NGTCP2)
    quic.wait_halted(1)
    with new_address(quic.made) as address, quic.datagrams("dst", "host", address, most=60) as seen:
        quic.go_on()
        fetched = transfer.end()
    assert fetched.whole, fetched
    assert len(seen) > SIZE / 1500 / 2


def test_b2_noise_reaches_one_server_and_harms_nobody(quic: Quic) -> None:
    """Long tokens, unknown versions, damaged and random datagrams, to X and to Y; then connections open as before."""
    quic.made.speak(4)
    first = quic.noise(100, EXAMPLE)
    assert sorted(first.values()) == [0, 0, 0, 100]
    own = quic.noise(100, *quic.service_ports(NGTCP2)[3:])
    assert own == {"a": 0, "b": 0, "c": 0, "d": 100}
    everywhere = quic.noise(600, EXAMPLE, NGTCP2)
    assert sum(everywhere.values()) == 1200 and everywhere["c"] == everywhere["d"] == 0
    assert quic.aioquic(EXAMPLE, quic.short, "--times=2").end().whole
    assert quic.ngtcp2(NGTCP2, quic.short).end().whole


def test_b2_quic_transfers_outlive_their_pool(quic: Quic) -> None:
    """Both makes of clients are at Y when the whole pool is replaced; one that stays at X loses its server."""
    quic.halt((6, quic.service_ports(NGTCP2)), (4, quic.service_ports(EXAMPLE)), (4, [NGTCP2]))
    quic.made.speak(6)
    transfers = [quic.aioquic(NGTCP2)]
    quic.wait_halted(1)
    quic.made.speak(4)
    transfers.append(quic.ngtcp2(EXAMPLE))
    stays = quic.ngtcp2(NGTCP2, "", "--no-preferred-addr", "--timeout=2s")
    quic.wait_halted(3)
    quic.replace_pools()
    with quic.datagrams("ip6", "and", "dst", "port", str(NGTCP2), "or", "dst", "port", str(EXAMPLE)) as at_first_port:
        quic.go_on()
        fetched = [each.end() for each in transfers]
    assert all(each.whole for each in fetched), fetched
    assert fetched[0].ports[0] in quic.service_ports(NGTCP2)[:2], "aioquic's is still a server of the first pool"
    assert not at_first_port, "every datagram names its server"
    assert not stays.end().whole
