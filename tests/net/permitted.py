"""What an agent may change in a packet: ports, the header word, lengths, checksums; it may add 8 bytes of option."""

from __future__ import annotations


def assert_only_permitted_changes(before: bytes, after: bytes) -> None:
    """Compare a frame before and after an agent's program."""
    if after == before:
        return
    assert len(after) in (len(before), len(before) + 8)
    version = before[14] >> 4
    protocol, payload = (before[23], 14 + (before[14] & 15) * 4) if version == 4 else (before[20], 54)
    while version == 6 and protocol in (0, 44, 60):
        protocol, payload = before[payload], payload + (8 if protocol == 44 else (before[payload + 1] + 1) * 8)
    if protocol in (1, 58):
        permitted = {payload + 2, payload + 3, *range(payload + 28, len(before))}
    else:
        permitted = {*range(payload, payload + 4), *(payload + at for at in (12, 13, 16, 17))}
        permitted |= {16, 17, 24, 25} if version == 4 else {18, 19}
    if len(after) > len(before):
        end = 14 + int.from_bytes(before[16:18], "big") if version == 4 else 54 + int.from_bytes(before[18:20], "big")
        permitted.update(range(end, len(after)))
    changed = {at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new}
    assert changed <= permitted
