"""Open vSwitch's own actions as bytes: what is encoded is decoded, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portlb_app.openflow import CheckLarger, Conntrack, CopyToController, Learn, Resubmit, nicira

COPY_SEEN = bytes.fromhex("ffff00180000232000250000000000000005000800005019")
"""What Open vSwitch 3.1 answers for ``controller(max_len=65535,meter_id=20505)``."""
REMEMBER = Conntrack(0x6001, mark=0x01020304)
REMEMBER_SEEN = bytes.fromhex(
    "ffff00280000232000230003000000006001ff0000000000001900100001d6040102030400000000"
)
"""What it answers for ``ct(commit,force,zone=24577,exec(set_field:0x1020304->ct_mark))``."""
_OF_TCP = (("ip_proto", 6), ("ip_dst", 0x0A000064), ("tcp_dst", 22))
LEARN = Learn(52, 3, 200, 0x504C340000000000, (("eth_type", 0x0800), *_OF_TCP), "reg1", 0)
LEARN_SEEN = bytes.fromhex(
    "ffff00580000232000100000000300c8504c3400000000000000340000000000201008000000060200002008"
    "000600000c01000020200a000064000010040000201000160000140200002820000000000001020400000000"
)
"""What it answers for ``learn(table=52,hard_timeout=3,priority=200,…,load:0->NXM_NX_REG1[])``."""
_OF_TCP6 = (("ip_proto", 6), ("ipv6_dst", 0xFD << 120 | 0x100), ("tcp_dst", 0xFFFF))
LEARN6 = Learn(255, 0xFFFF, 0xFFFF, 2**64 - 1, (("eth_type", 0x86DD), *_OF_TCP6), "reg1", 0xFFFFFFFF)


def test_as_seen_on_the_wire() -> None:
    """The bytes are those Open vSwitch itself makes of the same action."""
    assert nicira.encode(CopyToController(20505)) == COPY_SEEN
    assert nicira.decode(COPY_SEEN) == CopyToController(20505)
    assert nicira.encode(REMEMBER) == REMEMBER_SEEN
    assert nicira.decode(REMEMBER_SEEN) == REMEMBER
    assert nicira.encode(LEARN) == LEARN_SEEN
    assert nicira.decode(LEARN_SEEN) == LEARN


def test_what_is_encoded_is_decoded() -> None:
    """Every action, extreme numbers; lengths are multiples of 8 (OpenFlow 1.5.1, 7.2.6)."""
    copies = (CopyToController(0), CopyToController(0xFFFFFFFF), CheckLarger(0, 0), CheckLarger(0xFFFF, 31))
    tracks = (Conntrack(1, 2), Conntrack(0xFFFF), Conntrack(0, mark=0), Conntrack(0xFFFF, 254, 0xFFFFFFFF))
    for action in (Resubmit(0), Resubmit(255), *copies, *tracks, LEARN, LEARN6):
        whole = nicira.encode(action)
        assert len(whole) % 8 == 0
        assert nicira.decode(whole) == action


@given(st.binary(max_size=200))
def test_any_bytes(whole: bytes) -> None:
    """Nothing but what `encode` makes is taken for an action, and nothing breaks the decoder."""
    found = nicira.decode(whole)
    assert found is None or nicira.encode(found) == whole


@given(
    st.sampled_from((REMEMBER, Conntrack(5, 62), Resubmit(7), CopyToController(7), CheckLarger(7, 7), LEARN, LEARN6)),
    st.data(),
)
def test_one_byte_wrong(action: nicira.Extension, data: st.DataObject) -> None:
    """Any other byte makes another action, or none; cut short it is none."""
    whole = bytearray(nicira.encode(action))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    assert nicira.decode(bytes(whole)) != action
    assert nicira.decode(bytes(whole[:position])) is None
