"""OpenFlow listener: accepts connections, and decides which of them may stay.

- A host that breaks rules again and again waits (`refusals`).
- From accept to the last message of the handshake, TLS included, there is one deadline. So many connections may be in
  it (`PENDING`); when there are more, the oldest of the host that has most of them gives way.
- After it, a connection has a datapath id. Each configured one may be connected once, and at most `UNKNOWN` others.
- A datapath id that is connected already stays with its first connection as long as that answers an echo request.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.greenio import GreenSocket
from ryu.lib import hub

from portlb_app.api.snapshot import RefusedConnections
from portlb_app.openflow.messages import ErrorMessage, Reply
from portlb_app.runtime import accept
from portlb_app.southbound import tls
from portlb_app.southbound.channel import Refusal, SwitchChannel, TooOften
from portlb_app.southbound.refusals import Refusals, address_text, host_of

HANDSHAKE_SECONDS = 10.0
PENDING = 256
"""Connections in the handshake. A host with 256 bridges that connect at once needs them all."""
OLD_SECONDS = 1.0
"""An honest handshake takes less, unless the controller is busy."""
UNKNOWN = 8
"""Switches that are connected, but not in the configuration."""
ECHO_SECONDS = 2.0
"""How long a switch has to answer an echo request while another one claims its datapath id."""

SHORT_SECONDS = 0.5
"""A connection that ends this soon after its admission left at once. The time it waited before does not count."""

_LOG = logging.getLogger("portlb.guard")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A connection in its handshake: its host, when it was accepted, and its green thread."""

    host: str
    since: float
    thread: Any


class OpenFlowListener:
    """Listens for switches. In Ryu's place of `OpenFlowController`: calling it accepts them for ever.

    `tls` may be replaced at any time; connections that are up keep what they have. With `binds_dpid`, a switch may
    claim the datapath ids that its certificate names, and no other.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, binds_dpid: bool = False) -> None:
        """Listen at once, so that a port in use is found at once: OSError."""
        self._server = accept.listen(host, port)
        self.tls = tls
        self._binds_dpid = binds_dpid
        self._refusals = Refusals()
        self._pending: dict[object, _Pending] = {}
        self._channels: dict[int, SwitchChannel] = {}
        self.is_configured: Callable[[int], bool] = lambda _dpid: True
        """Whether a datapath id is in the configuration; set by the application."""
        self.on_packet: Callable[[SwitchChannel, bytes], None] = lambda _channel, _message: None
        """Told every packet-in message (with its header) of a configured switch; it must not wait."""
        self.on_ports: Callable[[SwitchChannel], None] = lambda _channel: None
        """Told that a port of a switch whose handshake is done is not as it was; it must not wait."""
        self.on_claim: Callable[[int, SwitchChannel, SwitchChannel], None] = lambda _dpid, _first, _second: None
        """Told that a datapath id is claimed again, while its first channel answers; it must not wait."""
        self.on_answer: Callable[[SwitchChannel, ErrorMessage | Reply], None] = lambda _channel, _answer: None
        """Told each answer that a channel's `awaited` names; it must not wait."""
        self.on_other: Callable[[SwitchChannel, int, bytes], None] | None = None
        """Told every other message of a configured switch but echoes, by its type; it must not wait."""

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.getsockname()[1])

    @property
    def refused(self) -> RefusedConnections:
        """What was refused so far."""
        return self._refusals.status

    def refuse(self, address: tuple[Any, ...], reason: str, is_offence: bool = True) -> None:
        """Count, remember and log that a connection is closed because of its peer."""
        if self._refusals.record(address, reason, time.monotonic(), is_offence):
            _LOG.warning("%s is refused (%d so far): %s", address_text(address), self.refused.count, reason)

    def __call__(self) -> None:
        while True:
            connection, address = self._server.accept()
            if self._refusals.must_wait(address, time.monotonic()):
                connection.close()
            elif not self._makes_room(host_of(address)):
                connection.close()
                self.refuse(address, f"{len(self._pending)} connections are in the handshake", is_offence=False)
            else:
                place = object()
                thread = hub.spawn(self._serve, connection, address, place)
                self._pending[place] = _Pending(host_of(address), time.monotonic(), thread)
            hub.sleep(0)  # accept does not wait while there are more

    def _makes_room(self, host: str) -> bool:
        """Whether a host may have one more connection in the handshake; another one may have to go for it."""
        if len(self._pending) < PENDING:
            return True
        count = Counter(each.host for each in self._pending.values())
        count[host] += 1
        ((most, number),) = count.most_common(1)
        place, oldest = next(item for item in self._pending.items() if item[1].host == most)
        if number <= count[host] and time.monotonic() - oldest.since < OLD_SECONDS:
            return False
        del self._pending[place]
        refusal = Refusal(f"{number} connections of {most} are in the handshake")
        eventlet.kill(oldest.thread, Refusal, refusal, None)
        return True

    def _serve(self, connection: GreenSocket, address: tuple[Any, ...], place: object) -> None:
        limit = Refusal(f"no handshake within {HANDSHAKE_SECONDS:g} s")
        deadline = eventlet.Timeout(HANDSHAKE_SECONDS, limit)
        try:
            if self.tls:
                connection = tls.shake_hands(connection, self.tls)
            channel = SwitchChannel(connection, address, self, lambda: self._is_ready(place, deadline))
            with closing(channel), self._registered(channel):
                channel.serve()
        except Refusal as refusal:
            self.refuse(address, str(refusal))
        except OSError as error:
            self.refuse(address, f"{'the TLS handshake failed' if self.tls else 'connection lost'}: {error}")
        except Exception as error:
            _LOG.exception("a connection from %s failed", address_text(address))
            self.refuse(address, f"{type(error).__name__}: {error}"[:200])
        finally:
            self._is_ready(place, deadline)
            connection.close()

    def _is_ready(self, place: object, deadline: eventlet.Timeout) -> None:
        """The handshake is over."""
        deadline.cancel()
        self._pending.pop(place, None)

    # ---- datapath ids ----

    @contextmanager
    def _registered(self, channel: SwitchChannel) -> Iterator[None]:
        """Forget the datapath id that a channel was admitted with when it ends."""
        try:
            yield
        finally:
            if channel.id is not None and time.monotonic() - channel.admitted_at < SHORT_SECONDS:
                is_configured = self.is_configured(channel.id)
                self._refusals.left_at_once(channel.address, channel.id, is_configured, time.monotonic())
            if channel.id is not None and self._channels.get(channel.id) is channel:
                del self._channels[channel.id]

    def admit(self, channel: SwitchChannel, dpid: int) -> None:
        """Let a channel have a datapath id; Refusal if it may not. It waits while another channel is asked for it."""
        if self._binds_dpid:
            self._check_certificate(channel, dpid)
        if wait := self._refusals.wait_of(dpid, time.monotonic()):
            raise TooOften(f"switch {dpid:#x} comes and goes; it is not taken for {wait:.1f} s")
        while (other := self._channels.get(dpid)) is not None:
            if other.answers_echo(ECHO_SECONDS):
                self.on_claim(dpid, other, channel)
                raise Refusal(
                    f"datapath id {dpid:#x} is connected already, from {address_text(other.address)}: "
                    "two bridges have it, or a bridge has two targets that are this controller"
                )
            if self._channels.get(dpid) is other:
                other.drop(f"it does not answer, and switch {dpid:#x} connects again from elsewhere")
                del self._channels[dpid]
        if not self.is_configured(dpid):
            unknown = [each for each in self._channels if not self.is_configured(each)]
            if len(unknown) >= UNKNOWN:
                raise Refusal(f"switch {dpid:#x} is not in the configuration, and {UNKNOWN} such are connected")
        self._channels[dpid] = channel

    def _check_certificate(self, channel: SwitchChannel, dpid: int) -> None:
        names = tls.certified_dpids(channel.socket.getpeercert() or {})
        if dpid not in names:
            named = ", ".join(f"{each:#x}" for each in sorted(names)) or "none"
            raise Refusal(f"it claims datapath id {dpid:#x}, but its certificate names {named}")
