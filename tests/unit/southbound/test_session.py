"""What is said to one switch, if its answers come late, twice, or for ever.

In a process of its own: Ryu patches Python. The switch and the process with the tables are played by the program.
"""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
import time
from ryu.lib import hub
from ryu.ofproto.ofproto_protocol import ProtocolDesc
from portlb_app.southbound import conversation, session as southbound
from portlb_app.runtime import supervision
from portlb_app.reconcile.commands import Apply
from portlb_app.openflow.messages import BARRIER_REPLY, BUNDLE_CONTROL, ErrorMessage, Reply
from portlb_app.reconcile.results import MessageCounts

BARRIER, BUNDLE = 20, 33

def error(xid):
    return ErrorMessage(xid, 12, 1, 0, b"")

class Switch(ProtocolDesc):
    id = 1
    xid = 0
    dropped = ""

    def set_xid(self, message):
        self.xid += 1
        message.set_xid(self.xid)
        return self.xid

    def send(self, data):
        answer(data[1], int.from_bytes(data[4:8], "big"))

    def drop(self, reason):
        self.dropped = reason

class Tables:
    parts = MessageCounts(2, 0, 0)
    calls = []

    def call(self, name, *arguments):
        self.calls.append((name, *arguments))
        hub.sleep(0)
        if name == "refused":
            asked_who_is_to_blame()
            return ("a step",) * len(arguments[1])
        return self.parts if name == "prepare" else b"\\x06\\x00" + bytes(6)

def answer(kind, xid):
    pass

def asked_who_is_to_blame():
    pass

def run(seconds=30.0):
    session.do(Apply(1, ("add",)))
    until = time.monotonic() + seconds
    while not (told or switch.dropped or supervision.failures()) and time.monotonic() < until:
        hub.sleep(0.01)
    hub.sleep(0)

told = []
switch, tables = Switch(6), Tables()
session = southbound.SwitchSession(switch, tables, told.append)
"""


def played(programs: Programs, program: str) -> str:
    """What a program prints that goes on where `PROGRAM` ends."""
    done = programs.run(PROGRAM + program)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_errors_that_come_while_others_are_looked_at_end_nothing(ryu_programs: Programs) -> None:
    """A switch answers the barrier first, and refuses another message when it likes."""
    late = """
def answer(kind, xid):
    if kind == BARRIER:
        session.take(error(1))
        session.take(Reply(BARRIER_REPLY, xid, 0, b""))

def asked_who_is_to_blame():
    session.take(error(2))

run()
print(supervision.failures(), [len(each.errors) for each in told])
"""
    assert played(ryu_programs, late) == "() [1]"


def test_answers_to_what_was_not_asked_prolong_nothing(ryu_programs: Programs) -> None:
    """Each has the xid of a message that was sent, but answers another one than is waited for."""
    chatty = """
conversation.ANSWER_SECONDS = 0.3

def chat():
    while True:
        session.take(Reply(BARRIER_REPLY, 1, 0, b""))
        hub.sleep(0.02)

hub.spawn(chat)
run()
print(supervision.failures(), told, switch.dropped)
"""
    assert played(ryu_programs, chatty) == "() [] no answer within 0 s"


def test_an_answer_that_comes_again_prolongs_nothing(ryu_programs: Programs) -> None:
    repeated = """
conversation.ANSWER_SECONDS = 0.3
tables.parts = MessageCounts(0, 2, 0)

def answer(kind, xid):
    if kind == BUNDLE and not answered:
        answered.append(xid)
        hub.spawn(chat, xid)

def chat(xid):
    while True:
        session.take(Reply(BUNDLE_CONTROL, xid, 0, b""))
        hub.sleep(0.02)

answered = []
run()
print(supervision.failures(), told, switch.dropped)
"""
    assert played(ryu_programs, repeated) == "() [] no answer within 0 s"


def test_what_came_before_a_bundle_that_is_refused_is_not_forgotten(ryu_programs: Programs) -> None:
    """Meters are in the switch by then: else the next read would take them for a change that somebody else made."""
    refused = """
tables.parts = MessageCounts(2, 2, 0)

def answer(kind, xid):
    if kind == BARRIER:
        session.take(Reply(BARRIER_REPLY, xid, 0, b""))
    elif kind == BUNDLE:
        session.take(error(xid))

run()
print(tables.calls[-1], told[0].errors[0][:20])
"""
    assert played(ryu_programs, refused) == "('refused', 1, []) cannot open a bundle"


def test_what_cannot_be_done_is_named(ryu_programs: Programs) -> None:
    """Meters are outside of any bundle, and a barrier follows them."""
    refused = """
tables.parts = MessageCounts(2, 0, 0)

def answer(kind, xid):
    if kind == BARRIER:
        session.take(error(xid))

run()
print(told[0].errors[0][:26])
"""
    assert played(ryu_programs, refused) == "cannot wait for a barrier:"
