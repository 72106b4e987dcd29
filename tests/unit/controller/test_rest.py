"""Bodies of answers: long ones in pieces, one that is there as it is. In a process of its own: Ryu patches Python."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
import time
import eventlet
from portlb_app.controller.rest import _whole
from portlb_app.runtime.turn import TURN_SECONDS

turns = []
eventlet.spawn(lambda: [turns.append(eventlet.sleep(0)) for _ in range(100)])

def pieces():
    for number in range(3):
        before = len(turns)
        time.sleep(2 * TURN_SECONDS)
        yield str(number)
        assert len(turns) > before, "others have had their turn"

eventlet.sleep(0)
text = "a" * 1000
print(_whole(pieces()), _whole(text) is text)
"""


def test_a_body_is_made_in_turns_and_kept_as_it_is(ryu_programs: Programs) -> None:
    """A text that many read slowly is one object, so that its bytes are made once."""
    done = ryu_programs.run(PROGRAM)
    assert done.stdout.strip() == "012 True", done.stderr
