"""Messages for Ryu's other applications: what one switch can cost. In a process of its own: Ryu patches Python."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
import logging, signal, types
from ryu.ofproto import ofproto_v1_5 as ofp
from portlb_app.controller import other_apps

class Channel:
    def __init__(self, dpid):
        self.id, self.state = dpid, "main"

class Handler(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

def never_ends(channel, version, kind, length, xid, message):
    parsed.append(channel.id)
    while kind == ofp.OFPT_MULTIPART_REPLY:
        pass
    raise ValueError("it is none")

lines, parsed = [], []
logging.getLogger("portlb").addHandler(Handler())
brick = types.SimpleNamespace(get_observers=lambda event, state: [], send_event_to_observers=print)
other_apps.app_manager.lookup_service_brick = lambda name: brick
other_apps.parser.msg_parser = never_ends
signal.signal(signal.SIGVTALRM, other_apps._stop_parser)
relay, slow, odd = other_apps.Relay(), Channel(1), Channel(2)
for _ in range(3):
    relay.pass_on(slow, ofp.OFPT_MULTIPART_REPLY, bytes(16))
print(parsed, lines)
for _ in range(1000):
    relay.pass_on(odd, ofp.OFPT_ERROR, bytes(16))
print(len(parsed), len(lines))
"""


def test_a_switch_has_little_of_the_processor_and_of_the_log(ryu_programs: Programs) -> None:
    """After a message that took too long the next ones are not parsed; of many that cannot be read, some are logged."""
    done = ryu_programs.run(PROGRAM)
    line = "Ryu cannot read a message of switch 0x1: _TooLong: more than 0.1 s"
    assert done.stdout.splitlines() == [f"[1] {[line]}", "1001 20"], done.stderr


HANGING = """
import eventlet
from ryu.base import app_manager
from ryu.controller import event, ofp_event
from portlb_app.controller import other_apps

hanging = app_manager.RyuApp()
other_apps.never_wait_for(hanging)
with eventlet.Timeout(5):
    for _ in range(hanging.events.maxsize + 3):
        hanging._send_event(ofp_event.EventOFPStateChange(None), None)
print(hanging.events.qsize() == hanging.events.maxsize)
with eventlet.Timeout(0.1, False):
    hanging._send_event(event.EventRequestBase(), None)
    print("a request of another application is lost")
"""


def test_no_switch_waits_for_an_application_that_hangs(ryu_programs: Programs) -> None:
    """It misses what is more than Ryu keeps for it; what other applications ask it waits, as ever."""
    done = ryu_programs.run(HANGING)
    assert done.stdout.strip() == "True", done.stderr
