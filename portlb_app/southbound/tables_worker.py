"""The process with the tables: it receives jobs (`tables`) over a socket, and does and answers one after the other.

`tables_process` starts it with the number of a connected socket as its argument; it ends when that is closed. It has a
bound on its memory. What it holds is large, lives long and has no cycles, so the garbage collector only looks at
what is new, and between two jobs. It knows OpenFlow's numbers from Ryu, but runs nothing of Ryu or eventlet.
"""

from __future__ import annotations

import ctypes
import gc
import pickle
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from portlb_app.openflow import messages
from portlb_app.openflow.messages import Malformed, RawEntry, Reply
from portlb_app.reconcile.plan import Step
from portlb_app.reconcile.reading import Page
from portlb_app.reconcile.results import Counted, Kind, Unknown, Unreadable
from portlb_app.reconcile.tables import Tables
from portlb_app.southbound import codec

MEMORY_BYTES = 4 << 30
"""Address space: a network of 100 switches and 200,000 flows takes an eighth of it."""
ABOUT_A_SWITCH = frozenset(
    {"begin", "read", "to_count", "count", "occupied", "end", "prepare", "encode", "applied", "refused"}
)
ONLY_ASKED = frozenset({"explain", "preview", "edit", "entries", "entries_text"})
"""Jobs that change nothing; an error in one costs that question its answer."""
IDLE_SECONDS = 1.0
AT_MOST_COMPILED = 32
"""Garbage is collected after so many compilations even if there is always something to do."""
_PR_SET_PDEATHSIG = 1


class Wire:
    """The codec of OpenFlow 1.5."""

    def __init__(self) -> None:
        self._flows = codec.FlowPages()

    def decode(self, kind: Kind, message: bytes) -> Page:
        """What of ours is in a description."""
        try:
            if kind in ("flows", "foreign"):
                return self._flows.page(message)
            body = _body(message)
            if kind == "groups":
                return codec.Same(message, list(codec.our_groups(body)))
            if kind == "meters":
                return codec.Same(message, list(codec.our_meters(body)))
            return Page(list(codec.our_metered(body)))
        except Malformed as malformed:
            raise Unreadable(str(malformed)) from None

    def decode_counted(self, message: bytes) -> Iterable[Counted]:
        """What our groups' buckets have counted."""
        try:
            return list(codec.our_counted(_body(message)))
        except Malformed as malformed:
            raise Unreadable(str(malformed)) from None

    def encode(self, steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
        """The messages of steps."""
        return codec.messages(steps, xid, bundle)


def _body(message: bytes) -> Iterator[RawEntry]:
    reply = messages.answer(message)
    assert isinstance(reply, Reply)
    return reply.body


def receive(connection: socket.socket) -> Any:
    """The next value from the other end; EOFError if there is none any more.

    The garbage collector would look through a large configuration again and again while it is made, ten times as long
    as that takes by itself; meanwhile no other green thread has a turn.
    """
    data = _exactly(connection, int.from_bytes(_exactly(connection, 8), "big"))
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return pickle.loads(data)
    finally:
        if is_collecting:
            gc.enable()


def send(connection: socket.socket, value: Any) -> None:
    """Send a value to the other end."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    connection.sendall(len(data).to_bytes(8, "big"))
    connection.sendall(data)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = connection.recv(min(length - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def serve(connection: socket.socket, tables: Tables) -> None:
    """Do jobs until the other end closes. A job is (name, arguments), an answer (value, None) or (None, error).

    An error in a job that is about one switch costs that switch its connection, one in a question its answer; any other
    ends the process. Garbage is collected when there is nothing to do: what follows a compilation is urgent.
    """
    compiled = 0
    while True:
        if compiled and (compiled >= AT_MOST_COMPILED or not select.select([connection], [], [], IDLE_SECONDS)[0]):
            gc.collect()
            gc.freeze()
            compiled = 0
        try:
            name, arguments = receive(connection)
        except EOFError:
            return
        try:
            answer: tuple[Any, Exception | None] = getattr(tables, name)(*arguments), None
        except (Unknown, Unreadable) as error:
            answer = None, error
        except Exception as error:
            if name not in ABOUT_A_SWITCH | ONLY_ASKED or isinstance(error, MemoryError):
                raise
            traceback.print_exc()
            answer = None, Unreadable(f"{name}: {type(error).__name__}: {error}"[:200])
        send(connection, answer)
        compiled += name in ("compile", "preview")


def main() -> None:
    """Serve the socket whose number is the argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the controller, which ends this process, too
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    gc.disable()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.setblocking(True)  # what made it may have been a patched library
        serve(connection, Tables(Wire()))
