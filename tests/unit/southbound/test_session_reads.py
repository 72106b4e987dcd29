"""What a switch may do when it is asked what it holds, and what it costs whom. In a process of its own: see Ryu."""

from __future__ import annotations

import pytest

from tests.support.programs import Programs

PROGRAM = """
from ryu.lib import hub
from ryu.ofproto.ofproto_protocol import ProtocolDesc
from portlb_app.openflow import messages
from portlb_app.southbound import conversation, session as southbound
from portlb_app.openflow.limits import WAITING_OF_ALL as OF_ALL, WAITING_OF_ONE as OF_ONE
from portlb_app.southbound.inbox import Inbox, Room
from portlb_app.southbound.places import Places
from portlb_app.runtime import supervision
from portlb_app.reconcile.commands import ReadState
from portlb_app.reconcile.results import Unreadable

conversation.ANSWER_SECONDS, conversation.READ_MESSAGES, conversation.READ_BYTES = 60, 100, 10_000
reported = []
PORTS = bytes(8) + messages.PORT_STATS.to_bytes(2, "big") + bytes(6)
TABLES = bytes(8) + messages.TABLE_STATS.to_bytes(2, "big") + bytes(6)
METERS = bytes(8) + messages.METER_FEATURES.to_bytes(2, "big") + bytes(6) + bytes(12) + b"\x08"
ANSWERS = (PORTS, PORTS, PORTS, PORTS, PORTS, TABLES, METERS)
# the heads of replies about ports and tables, and one about meters; of other replies nothing is read here

class Channel(ProtocolDesc):
    xid, id = 0, 1
    dropped = ""
    def __init__(self):
        super().__init__(messages.VERSION)
    def set_xid(self, message):
        self.xid += 1
        message.set_xid(self.xid)
        return self.xid
    def send(self, data):
        pass
    def drop(self, reason):
        self.dropped = self.dropped or reason

class Tables:
    def call(self, name, dpid, *rest):
        if name == "read" and b"bad" in rest[1][0]:
            raise Unreadable("read: KeyError: 7")
        return () if name in ("to_count", "occupied") else 1

def answer(channel, session, bytes_each, more, content=b""):
    data = content.ljust(bytes_each, b"-")
    session.take(messages.Reply(messages.MULTIPART_REPLY, channel.xid, messages.MORE if more else 0, data))

def begin():
    channel = Channel()
    session = southbound.SwitchSession(channel, Tables(), reported.append)
    session.do(ReadState(1))
    until(lambda: channel.xid)
    return channel, session

def endless(bytes_each, pause=0, most=400, seconds=60):
    conversation.ANSWER_SECONDS = seconds
    channel, session = begin()
    for number in range(most):
        if channel.dropped:
            break
        answer(channel, session, bytes_each, more=True)
        hub.sleep(pause)
    print(number < most - 1, channel.dropped)

def honest():
    channel, session = begin()
    for number, content in enumerate(ANSWERS):
        until(lambda: channel.xid > number)
        answer(channel, session, 16, more=True, content=content)
        answer(channel, session, 16, more=False, content=content)
    until(lambda: channel.dropped or reported)
    print(channel.dropped or [(type(each).__name__, each.forwarding.value) for each in reported])

def dripping(channel, session):
    while not channel.dropped:
        answer(channel, session, 16, more=True)
        hub.sleep(0.05)

def until(condition):
    for _ in range(2000):
        if condition():
            return True
        hub.sleep(0.01)

def crowd():
    conversation.ANSWER_SECONDS = conversation.READ_SECONDS = 60
    conversation.READ_MESSAGES = conversation.READ_BYTES = 1 << 20
    southbound._READING = Places(southbound.AT_A_TIME, 0.2)
    many = [begin() for _ in range(southbound.AT_A_TIME)]
    for each in many:
        supervision.spawn("a peer", dripping, *each)
    channel, session = begin()
    for number, content in enumerate(ANSWERS):
        until(lambda: channel.xid > number)
        answer(channel, session, 16, more=False, content=content)
    until(lambda: reported)
    print([type(each).__name__ for each in reported], any(channel.dropped for channel, _ in many))
    conversation.READ_SECONDS = 0
    until(lambda: all(channel.dropped for channel, _ in many))
    print({channel.dropped for channel, _ in many})

def held():
    room, other = Room(), Inbox()
    one = Inbox(room)
    while not one.is_full:
        one.put(messages.Reply(messages.MULTIPART_REPLY, 1, 0, bytes(60000)))
    print(OF_ONE <= room.taken <= OF_ONE + 70000)
    more = []
    while room.taken <= OF_ALL:
        more.append(Inbox(room))
        while not more[-1].is_full:
            more[-1].put(messages.Reply(messages.MULTIPART_REPLY, 1, 0, bytes(60000)))
    last = Inbox(room)
    last.put(messages.Reply(messages.MULTIPART_REPLY, 1, 0, bytes(60000)))
    print(last.is_full, len(more), room.taken <= OF_ALL + 140000)
    last.put(messages.Reply(messages.MULTIPART_REPLY, 1, 0, bytes(60000)))
    print(last.is_full)
    one.clear()
    print(last.is_full)
    last.get(0), last.get(0)
    for each in more:
        each.clear()
    print(room.taken, last.empty())

def bad():
    channel, session = begin()
    answer(channel, session, 16, more=False, content=b"bad")
    until(lambda: channel.dropped)
    print(channel.dropped, reported)
    honest()

{what}
assert not supervision.failures()
"""
UNBOUNDED = "its flows take more than 100 messages or 0 MiB"


@pytest.mark.parametrize(
    ("what", "printed"),
    [
        pytest.param("endless(16)", [f"True {UNBOUNDED}"], id="messages"),
        pytest.param("endless(1000)", [f"True {UNBOUNDED}"], id="bytes"),
        pytest.param("endless(16, pause=0.02, seconds=0.3)", ["True its flows come too slowly"], id="time"),
        pytest.param("honest()", ["[('StateRead', 'userspace')]"], id="honest"),
        pytest.param(
            "crowd()",
            ["['StateRead'] False", "{'it takes more than 0 s to tell what it holds'}"],
            id="as many as have places drip",
        ),
        pytest.param("held()", ["True", "False 1 True", "True", "False", "0 True"], id="a bound over all switches"),
        pytest.param(
            "bad()",
            ["read: KeyError: 7 []", "[('StateRead', 'userspace')]"],
            id="an error in the job of one switch",
        ),
    ],
)
def test_a_read_has_an_end(what: str, printed: list[str], ryu_programs: Programs) -> None:
    """What comes without end costs its switch the connection, and so does what cannot be read; no other one's."""
    program = PROGRAM.replace("{what}", what)
    done = ryu_programs.run(program)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(printed) and all(map(str.startswith, lines, printed)), (done.stdout, done.stderr)


JOBS = """
import socket, threading
from portlb_app.southbound import tables_worker
from portlb_app.reconcile.tables import Tables

class Failing(Tables):
    def begin(self, dpid):
        raise KeyError(dpid)
    def load(self, text):
        raise RuntimeError(text)

def run():
    try:
        tables_worker.serve(there, Failing(tables_worker.Wire()))
    except RuntimeError as error:
        print("ended by", error, flush=True)
    there.close()

here, there = socket.socketpair()
thread = threading.Thread(target=run)
thread.start()
for job in (("begin", (1,)), ("forget", (1,)), ("load", ("a text",))):
    tables_worker.send(here, job)
    try:
        value, error = tables_worker.receive(here)
        print(value, type(error).__name__, error)
    except EOFError:
        thread.join()
"""


def test_an_error_in_a_job_about_one_switch_is_an_answer(ryu_programs: Programs) -> None:
    """And the next job is done. An error in any other job ends the process with the tables."""
    done = ryu_programs.run(JOBS)
    assert done.stdout.splitlines() == ["None Unreadable begin: KeyError: 1", "None NoneType None", "ended by a text"]
