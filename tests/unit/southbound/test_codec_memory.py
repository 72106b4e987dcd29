"""What the codec remembers of what switches tell is bounded."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
import struct
from portlb_app.southbound.codec import actions, fields
from portlb_app.southbound.codec.framing import REMEMBERED

def many(number):
    return b"".join(struct.pack("!HHI", 22, 8, number) for _ in range(REMEMBERED // 8 + 1))

def foreign(number):
    return struct.pack("!IB", 0x7000 << 16 | 1, number % 256) * (REMEMBERED // 5 + 1)

for number in range(3):
    assert len(actions.decode_actions(many(number))) == REMEMBERED // 8 + 1
    assert len(fields.decode_match(foreign(number)).opaque) > 2 * REMEMBERED
print(actions._decode_short.cache_info().currsize, fields._decode_short.cache_info().currsize)
assert actions.decode_actions(many(1)[:8]) is actions.decode_actions(many(1)[:8])
"""


def test_long_lists_of_a_switch_are_not_remembered(ryu_programs: Programs) -> None:
    """4096 lists of 64 kB would take gigabytes, which no later answer frees."""
    done = ryu_programs.run(PROGRAM)
    assert done.stdout.strip() == "0 0", done.stderr
    assert done.returncode == 0, done.stderr
