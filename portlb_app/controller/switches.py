"""The switches that are connected: a session and a packet-in worker for each, with green threads of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ryu.controller.handler import MAIN_DISPATCHER

from portlb_app.controller.checks import Checks
from portlb_app.openflow.messages import ErrorMessage, Reply
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import Send
from portlb_app.reconcile.commands import Apply, CountPackets, ReadState
from portlb_app.reconcile.events import Claimed, Event, PortsSeen, SwitchConnected, SwitchDisconnected
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime import supervision
from portlb_app.southbound.channel import SwitchChannel, ends_of
from portlb_app.southbound.listener import OpenFlowListener
from portlb_app.southbound.packet_in import PacketInWorker
from portlb_app.southbound.session import SwitchSession
from portlb_app.southbound.tables_process import TablesProcess

PORT_SECONDS = 0.02
"""How long changes of ports are collected: a switch that dies takes several links along, and each change compiles all
tables anew."""


class Switches:
    """What `listener` and Ryu say of connections goes to those that it is about; `step` tells the reconciler."""

    def __init__(
        self,
        reconciler: Reconciler,
        tables: TablesProcess,
        listener: OpenFlowListener,
        punt: Punt,
        checks: Checks,
        step: Callable[[Event], None],
    ) -> None:
        self._reconciler = reconciler
        self._tables = tables
        self._punt = punt
        self._checks = checks
        self._step = step
        self._sessions: dict[int, SwitchSession] = {}
        self._workers: dict[int, PacketInWorker] = {}
        self._changed_ports: set[int] = set()
        listener.on_packet = self._packet_in
        listener.on_ports = self._ports_changed
        listener.on_claim = self._claimed
        listener.on_answer = self._answer

    def changed(self, datapath: Any, state: str) -> None:
        """A connection is ready, or gone."""
        known = self._sessions.get(datapath.id)
        with supervision.watched("a switch that comes or goes"):
            if state == MAIN_DISPATCHER:
                self._connected(datapath, known)
            elif known and known.datapath is datapath:
                self._disconnected(known)

    def do(self, command: ReadState | Apply | CountPackets) -> None:
        """Have a switch do it; if it is gone, the reconciler will hear of it."""
        if session := self._sessions.get(command.dpid):
            session.do(command)

    def send(self, send: Send) -> None:
        """Have a switch send a packet; it is counted if the switch is gone."""
        if worker := self._workers.get(send.dpid):
            worker.send(send)
        else:
            self._punt.unsent += 1

    def _connected(self, datapath: SwitchChannel, known: SwitchSession | None) -> None:
        """A second connection with the same datapath id replaces the first, which may be dead without knowing.

        Everything is changed and told before the old one is ended: that lets others run.
        """
        dpid = datapath.id
        worker = self._workers.pop(dpid, None)
        self._sessions[dpid] = SwitchSession(datapath, self._tables, self._step)
        self._workers[dpid] = PacketInWorker(datapath, self._punt, lambda: self._reconciler.live, self.send)
        self._punt.connected(dpid)
        self._checks.connected(dpid)
        self._step(SwitchConnected(dpid, dict(datapath.ports)))
        if known and worker:
            known.datapath.drop(f"switch {dpid:#x} connected again")
            known.close()
            worker.close()

    def _disconnected(self, session: SwitchSession) -> None:
        """Everything is changed and told before its threads are ended: that lets others run."""
        dpid = session.datapath.id
        del self._sessions[dpid]
        worker = self._workers.pop(dpid)
        self._punt.disconnected(dpid)
        self._checks.disconnected(dpid)
        self._step(SwitchDisconnected(dpid))
        session.close()
        worker.close()

    def _answer(self, datapath: SwitchChannel, answer: ErrorMessage | Reply) -> None:
        session = self._sessions.get(datapath.id)
        if session and session.datapath is datapath:
            session.take(answer)

    def _packet_in(self, datapath: SwitchChannel, message: bytes) -> None:
        worker = self._workers.get(datapath.id)
        if worker and worker.datapath is datapath:
            worker.put(message)

    def _claimed(self, dpid: int, first: SwitchChannel, second: SwitchChannel) -> None:
        self._step(Claimed(dpid, ends_of(first), ends_of(second)))

    def _ports_changed(self, datapath: SwitchChannel) -> None:
        known = self._sessions.get(datapath.id)
        if known and known.datapath is datapath:
            if not self._changed_ports:
                supervision.spawn_after(PORT_SECONDS, "changes of ports", self._see_ports)
            self._changed_ports.add(datapath.id)

    def _see_ports(self) -> None:
        changed, self._changed_ports = self._changed_ports & self._sessions.keys(), set()
        self._step(PortsSeen({dpid: dict(self._sessions[dpid].datapath.ports) for dpid in changed}))
