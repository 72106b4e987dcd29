"""Ryu's other applications beside portlb (`--app`).

They see what portlb does not keep for itself: switches that come and go, and messages of configured switches that
answer nothing portlb has asked. An application runs in the controller's loop, so one that computes or waits for long
holds up all; Ryu's own parsers read the messages it is given.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ryu.app import wsgi
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.ofp_handler import OFPHandler
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app.controller.app import Controller
from portlb_app.openflow import messages

if TYPE_CHECKING:
    from portlb_app.southbound.channel import SwitchChannel
    from portlb_app.southbound.listener import OpenFlowListener

_LOG = logging.getLogger("portlb")

PARSE_SECONDS = 0.1
"""Processor time for one message: some parsers of Ryu's never end, as that of descriptions of groups with buckets."""
REST_SECONDS = 5.0
"""How long no message of a switch is parsed after one that took too long: else a switch could have all of the
processor."""
LOGGED_PER_MINUTE = 20


class _TooLong(Exception):
    """A parser does not come to its end."""


class NoApplication(Exception):
    """An application cannot be loaded; the message says why."""


def register_options(names: Sequence[str]) -> None:
    """Import applications while Ryu takes options. What is wrong with one is told by `load`."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def load(names: Sequence[str], manager: app_manager.AppManager) -> None:
    """Have Ryu's manager know applications and what they need. NoApplication for the first that cannot be loaded."""
    for name in names:
        try:
            importlib.import_module(name)
            found = manager.load_app(name)
        except ImportError as error:
            raise NoApplication(f"--app {name}: {error}") from error
        except Exception as error:
            raise _failure(name, error) from error
        if found is None:
            raise NoApplication(f"--app {name}: there is no Ryu application in it")
        if found.OFP_VERSIONS is not None and messages.VERSION not in found.OFP_VERSIONS:
            raise NoApplication(f"--app {name}: it does not speak OpenFlow 1.5, as switches do")
    manager.load_apps(list(names))


def begin(manager: app_manager.AppManager, switches: OpenFlowListener) -> None:
    """Make what applications share; NoApplication if that fails."""
    signal.signal(signal.SIGVTALRM, _stop_parser)
    switches.on_other = Relay().pass_on
    try:
        manager.create_contexts()
    except Exception as error:
        raise _failure("what applications share", error) from error


def start(manager: app_manager.AppManager, site: wsgi.WSGIApplication) -> None:
    """Make all applications and start them; NoApplication for the first for which that is impossible.

    What they answer by HTTP, they register at `site`.
    """
    shared = {name: site if isinstance(each, wsgi.WSGIApplication) else each for name, each in manager.contexts.items()}
    try:
        manager.instantiate_apps(**shared)
    except Exception as error:
        made = {type(each) for each in manager.applications.values()}
        names = (name for name, kind in manager.applications_cls.items() if kind not in made)
        raise _failure(next(names, "one of them"), error) from error
    for each in manager.applications.values():
        if not isinstance(each, Controller | OFPHandler):
            never_wait_for(each)


def never_wait_for(application: app_manager.RyuApp) -> None:
    """Have an application miss what switches send and do while it is behind.

    Ryu would wait until it has taken an event: one that hangs would hold up every switch that comes.
    """
    take = application._send_event

    def take_if_not_behind(event: object, state: object) -> None:
        is_of_switch = isinstance(event, ofp_event.EventOFPStateChange | ofp_event.EventOFPMsgBase)
        if not is_of_switch or application.events.qsize() < application.events.maxsize:
            take(event, state)

    application._send_event = take_if_not_behind


def _failure(name: str, error: Exception) -> NoApplication:
    """What to say about an error of an application's own; the log has all of it."""
    _LOG.error("--app %s:\n%s", name, traceback.format_exc())
    return NoApplication(f"--app {name}: {type(error).__name__}: {error}")


def _stop_parser(_number: int, _frame: object) -> None:
    raise _TooLong(f"more than {PARSE_SECONDS:g} s")


class Relay:
    """Gives messages of switches to the applications that have asked for their events.

    An application that is behind misses some. So do all while a switch rests, of which a message took too long.
    """

    def __init__(self) -> None:
        self._rests_until: WeakKeyDictionary[SwitchChannel, float] = WeakKeyDictionary()
        self._logged: deque[float] = deque(maxlen=LOGGED_PER_MINUTE)

    def pass_on(self, channel: SwitchChannel, kind: int, message: bytes) -> None:
        """Take a message of a switch."""
        handler = app_manager.lookup_service_brick(ofp_event.NAME)
        if kind == ofp.OFPT_PACKET_IN and not handler.get_observers(ofp_event.EventOFPPacketIn(None), channel.state):
            return
        event = self._parse(channel, kind, message)
        if event is None:
            return
        handler.send_event_to_observers(event, channel.state)

    def _parse(self, channel: SwitchChannel, kind: int, message: bytes) -> Any:
        """The event that Ryu makes of a message; None for one that it cannot read, or is not given."""
        if time.monotonic() < self._rests_until.get(channel, 0.0):
            return None
        version, _, length, xid = messages.HEADER.unpack_from(message)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, PARSE_SECONDS)
            try:
                return ofp_event.ofp_msg_to_ev(parser.msg_parser(channel, version, kind, length, xid, message))
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except _TooLong as error:
            self._rests_until[channel] = time.monotonic() + REST_SECONDS
            self._log(channel, error)
        except Exception as error:  # Ryu's parsers raise whatever comes up
            self._log(channel, error)
        return None

    def _log(self, channel: SwitchChannel, error: Exception) -> None:
        """Log what Ryu cannot read, unless there was much of that lately: a switch may send nothing else."""
        now = time.monotonic()
        if len(self._logged) < LOGGED_PER_MINUTE or now - self._logged[0] > 60:
            self._logged.append(now)
            text = "Ryu cannot read a message of switch %#x: %s: %s"
            _LOG.warning(text, channel.id, type(error).__name__, str(error)[:200])
