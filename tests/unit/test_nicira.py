"""Open vSwitch's own actions as bytes: what is encoded is decoded, and nothing else."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from portlb_app import nicira
from portlb_app.compiler import compile as compile_config
from portlb_app.openflow import CheckLarger, CopyToController, Learn, Reassemble, Resubmit
from tests import generate

FIELDS4 = (("eth_type", 0x0800), ("ip_proto", 6), ("ip_src", None), ("ip_dst", None), ("tcp_src", None))
FIELDS6 = (("eth_type", 0x86DD), ("ip_proto", 6), ("ipv6_src", None), ("ipv6_dst", None), ("tcp_dst", 80))
WRITES6 = (("eth_dst", 2), ("eth_src", 3), ("ipv6_dst", (1 << 128) - 1))
LEARNT4 = Learn(65, 60, 5, 200, 0x504D000000000001, 3, FIELDS4, (("eth_dst", 0x020000000002),), "reg1")
LEARNT6 = Learn(65, 60, 5, 200, 1 << 63, 1 << 31, FIELDS6, WRITES6, "reg1")
SEEN = bytes.fromhex(
    "ffff009000002320002d003c000000c8504d0000000000010000410000050000000000030000000020100800000006020000200800060000"
    "0c010000002000000e04000000000e0400000020000010040000000010040000001000001202000000001202000000100000140200000000"
    "1402000028300200000000020000020600001020000102040000000000000000"
)
"""What Open vSwitch 3.1 answers for the flow that `LEARNT4` with tcp_dst was given as by ovs-ofctl."""


COPY_SEEN = bytes.fromhex("ffff00180000232000250000000000000005000800005019")
"""What it answers for ``controller(max_len=65535,meter_id=20505)``."""


def test_as_seen_on_the_wire() -> None:
    """The bytes are those Open vSwitch itself makes of the same learn action."""
    learnt = Learn(65, 60, 5, 200, 0x504D000000000001, 3, (*FIELDS4, ("tcp_dst", None)), LEARNT4.writes, "reg1")
    assert nicira.encode(learnt) == SEEN
    assert nicira.decode(SEEN) == learnt
    assert nicira.encode(CopyToController(20505)) == COPY_SEEN
    assert nicira.decode(COPY_SEEN) == CopyToController(20505)


def test_what_is_encoded_is_decoded() -> None:
    """Every action, both families, extreme numbers; lengths are multiples of 8 (OpenFlow 1.5.1, 7.2.6)."""
    copies = (CopyToController(0), CopyToController(0xFFFFFFFF), CheckLarger(0, 0), CheckLarger(0xFFFF, 31))
    for action in (Resubmit(0), Resubmit(255), Reassemble(1, 2), *copies, LEARNT4, LEARNT6):
        whole = nicira.encode(action)
        assert len(whole) % 8 == 0
        assert nicira.decode(whole) == action


def test_whatever_the_compiler_has_a_switch_learn_can_be_sent() -> None:
    """In every mode, one-armed too."""
    learned = 0
    for seed in range(300):
        config = generate.configuration(Random(seed))
        for state in compile_config(config).values():
            for action in (action for flow in state.flows for action in flow.actions if isinstance(action, Learn)):
                assert nicira.decode(nicira.encode(action)) == action
                learned += 1
    assert learned > 100


@given(st.binary(max_size=200))
def test_any_bytes(whole: bytes) -> None:
    """Nothing but what `encode` makes is taken for an action, and nothing breaks the decoder."""
    found = nicira.decode(whole)
    assert found is None or nicira.encode(found) == whole


@given(st.sampled_from((LEARNT4, LEARNT6, Resubmit(7), CopyToController(7), CheckLarger(7, 7))), st.data())
def test_one_byte_wrong(action: Learn | Resubmit | CopyToController | CheckLarger, data: st.DataObject) -> None:
    """Any other byte makes another action, or none; cut short it is none."""
    whole = bytearray(nicira.encode(action))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    assert nicira.decode(bytes(whole)) != action
    assert nicira.decode(bytes(whole[:position])) is None
