"""A worker counts what it does not send. In a process of its own: Ryu patches Python."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
from ryu.lib import hub
from portlb_app.runtime import supervision
from portlb_app.punt.bounded_queue import CAPACITY
from portlb_app.reconcile.configuration import Configuration
from portlb_app.openflow import Output
from portlb_app.pipeline import Reason, make_cookie
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import Send
from portlb_app.southbound.packet_in import SENDS, PacketInWorker
from tests.ovs.openflow_peer import packet_in

class Channel:
    id, sent = 1, 0
    def send(self, data):
        self.sent += 1
        if self.sent > 1:
            hub.sleep(3600)  # the switch takes nothing more
        return True

class Ended:
    id = 1
    def send(self, data):
        return False

channel, punt = Channel(), Punt()
worker = PacketInWorker(channel, punt, lambda: Configuration(""), print)
for reason, count in ((Reason.FRAGMENT, CAPACITY + 5), (Reason.OPENING, CAPACITY + 6)):
    for _ in range(count):
        worker.put(packet_in(make_cookie(reason, 0), bytes(60)))
for _ in range(SENDS + 7):
    worker.send(Send(1, 1, (Output(1),), bytes(60)))
print(punt.unsent, punt.counts, dict(punt.connections.counts))
while channel.sent < 2:
    hub.sleep(0)
worker.close()
print(punt.unsent, sum(punt.counts.values()), sum(punt.connections.counts.values()), *supervision.failures())

punt = Punt()
worker = PacketInWorker(Ended(), punt, lambda: Configuration(""), print)
for _ in range(3):
    worker.send(Send(1, 1, (Output(1),), bytes(60)))
while punt.unsent < 3:
    hub.sleep(0)
print(punt.unsent)
"""


def test_what_is_not_sent_or_judged_is_counted(ryu_programs: Programs) -> None:
    """Too many wait, or the connection ends while they do, or it has ended."""
    done = ryu_programs.run(PROGRAM)
    assert done.returncode == 0, done.stderr
    first, last, ended = done.stdout.splitlines()
    assert first.startswith("7 {(<Reason.FRAGMENT") and "Disposition.QUEUE" in first
    assert "5}" in first and ": 6}" in first
    assert last == "967 261 262", "64 were sent, every packet is counted once"
    assert ended == "3"
