"""The memory of fragments: who follows whom, in any order, and that no flood takes more than its share."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.net.packets import UDP, Fragment
from portlb_app.punt import fragment_tracker as fragments
from portlb_app.punt.fragment_tracker import (
    FOLLOW_SECONDS,
    PACKETS,
    PACKETS_PER_SOURCE,
    PIECES,
    WAIT_SECONDS,
    FragmentTracker,
    NoRoom,
)

VIP = IPv4Address("10.0.0.100")
CLIENT = IPv4Address("192.0.2.1")


def piece(
    offset: int,
    size: int = 8,
    more: bool = True,
    identifier: int = 1,
    dport: int = 53,
    source: IPv4Address | IPv6Address = CLIENT,
) -> Fragment:
    return Fragment(source, VIP, UDP, identifier, offset, size, more, None if offset else (4000, dport), 0)


class World:
    """A tracker whose verdict on a packet is its destination port; a frame is what it is asserted to be."""

    def __init__(self) -> None:
        self.tracker: FragmentTracker[int] = FragmentTracker()

    def take(self, fragment: Fragment, frame: bytes = b"x", now: float = 0.0) -> tuple[int, list[bytes]] | None:
        return self.tracker.take(fragment, frame, now, lambda first: first.ports[1] if first.ports else 0)


WHOLE = [piece(0), piece(8), piece(16), piece(24, more=False)]


@settings(deadline=None)
@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=4))
def test_any_order_and_duplicates(order: list[int], again: list[int]) -> None:
    """Each fragment leaves as often as it came, by the first one's verdict, none before the first; nothing is kept."""
    world, gone, came = World(), [], []
    for number in order:
        for _ in range(1 + again.count(number) * (number == order[0])):
            found = world.take(WHOLE[number], bytes([number]))
            came.append(bytes([number]))
            assert (found is None) == (not gone and number != 0)
            if found:
                assert found[0] == 53
                gone.extend(found[1])
    assert sorted(gone) == sorted(came)
    assert len(world.tracker) == 0 and world.tracker.waiting_bytes == 0


def test_overlapping_fragments_pass_and_count_once() -> None:
    """The host decides what to make of them; here the packet is whole when every byte was there."""
    world = World()
    world.take(piece(0, 24))
    assert world.take(piece(8, 24)) == (53, [b"x"])
    assert world.take(piece(40, 8, more=False)) == (53, [b"x"])
    assert len(world.tracker) == 1
    assert world.take(piece(16, 24)) == (53, [b"x"])
    assert len(world.tracker) == 0


def test_an_identifier_used_again() -> None:
    """A whole packet is forgotten; an incomplete one gives way to a first fragment with other ports."""
    world = World()
    for fragment in WHOLE:
        world.take(fragment)
    assert world.take(piece(8), b"early") is None, "the next packet's, and not the last one's"
    assert world.take(piece(0, dport=80), b"first") == (80, [b"first", b"early"])
    assert world.take(piece(0, dport=443)) == (443, [b"x"])
    assert world.take(piece(8)) == (443, [b"x"])


def test_time_runs_out() -> None:
    """What waits comes back when its first did not come; a verdict is good for a while."""
    world = World()
    world.take(piece(8), b"a", now=0)
    world.take(piece(16), b"b", now=0.5)
    world.take(piece(8, identifier=2), b"c", now=WAIT_SECONDS / 2)
    world.take(piece(0, identifier=3), now=0)
    assert list(world.tracker.expire(WAIT_SECONDS - 0.01)) == []
    assert list(world.tracker.expire(WAIT_SECONDS)) == [b"a", b"b"]
    assert list(world.tracker.expire(WAIT_SECONDS * 2)) == [b"c"]
    assert world.tracker.waiting_bytes == 0 and len(world.tracker) == 1
    assert world.take(piece(8, identifier=3), now=FOLLOW_SECONDS - 1) == (53, [b"x"])
    assert list(world.tracker.expire(FOLLOW_SECONDS)) == [] and len(world.tracker) == 0


def test_a_flood_of_firsts_costs_its_own_source_only() -> None:
    """One source sends nothing but firsts: the other one's packet is still followed."""
    world, attacker = World(), IPv4Address("203.0.113.9")
    world.take(piece(0))
    for identifier in range(3 * PACKETS_PER_SOURCE):
        world.take(piece(0, identifier=identifier, source=attacker))
    assert len(world.tracker) == PACKETS_PER_SOURCE + 1
    assert world.take(piece(8)) == (53, [b"x"])
    assert world.take(piece(8, identifier=0, source=attacker)) is None, "its own oldest is gone"


def test_a_network_of_ipv6_addresses_is_one_source() -> None:
    """Whoever has one has 2**64."""
    world, dice = World(), Random(1)
    net = int(IPv6Address("2001:db8::"))
    for identifier in range(2 * PACKETS_PER_SOURCE):
        world.take(piece(0, identifier=identifier, source=IPv6Address(net + dice.getrandbits(64))))
    assert len(world.tracker) == PACKETS_PER_SOURCE


def test_a_flood_of_the_rest_is_bounded_in_bytes() -> None:
    """Early fragments wait within bounds per source and in all; what is over is lost, and time frees everything."""
    world, lost = World(), 0
    for number in range(8000):
        source = IPv4Address(0x0B000000 + number % 40)
        try:
            world.take(piece(8, 1480, identifier=number, source=source), bytes(1514))
        except NoRoom:
            lost += 1
    assert 0 < lost < 8000
    assert world.tracker.waiting_bytes <= fragments.WAITING_BYTES
    per_source = fragments.WAITING_BYTES_PER_SOURCE // 1514
    assert len(world.tracker) <= 40 * per_source
    assert len(list(world.tracker.expire(WAIT_SECONDS))) == 8000 - lost
    assert (len(world.tracker), world.tracker.waiting_bytes) == (0, 0)


def test_all_sources_together_are_bounded() -> None:
    """Forged sources: the oldest go."""
    world = World()
    for number in range(PACKETS + 500):
        world.take(piece(0, source=IPv4Address(0x0B000000 + number)))
    assert len(world.tracker) == PACKETS
    assert world.take(piece(8, source=IPv4Address(0x0B000000))) is None
    assert world.take(piece(8, source=IPv4Address(0x0B000000 + PACKETS + 499))) is not None


def test_a_packet_has_a_bounded_number_of_pieces() -> None:
    """Tiny fragments, or the same one for ever."""
    world = World()
    world.take(piece(0))
    for _ in range(PIECES - 1):
        world.take(piece(8))
    with pytest.raises(NoRoom):
        world.take(piece(8))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 1 << 32))
def test_random_traffic_keeps_the_books_right(seed: int) -> None:
    """Whatever comes in whatever order: bytes and packets are accounted for, and expire leaves nothing."""
    world, dice, now = World(), Random(seed), 0.0
    for _ in range(200):
        now += dice.random() * 0.1
        fragment = piece(
            dice.choice((0, 0, 8, 16, 24)),
            dice.choice((8, 16, 24)),
            dice.random() < 0.7,
            dice.randrange(4),
            dice.choice((53, 80)),
            dice.choice((CLIENT, VIP)),
        )
        try:
            world.take(fragment, bytes(dice.randrange(60)), now)
        except NoRoom:
            pass
        if dice.random() < 0.1:
            list(world.tracker.expire(now))
    list(world.tracker.expire(now + FOLLOW_SECONDS + 1))
    assert (len(world.tracker), world.tracker.waiting_bytes) == (0, 0)
    assert not world.tracker._sources and not world.tracker._bytes
