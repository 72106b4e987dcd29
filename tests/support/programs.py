"""Programs of tests that need a process of their own: forks of one that has imported what takes long.

An interpreter that imports Ryu takes a second of the processor, a fork of one that has done so takes milliseconds.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from types import TracebackType

from tests.support.sources import ROOT

SECONDS = 100
"""How long a program may take; then a signal ends it."""
_LARGEST = 65536
"""Bytes of a job: a program and its arguments, as JSON in one record."""


class Programs:
    """Runs programs in forks of a process that has run `imports`, until it is left as a context."""

    def __init__(self, imports: str) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", __name__, str(theirs.fileno()), imports],
                cwd=ROOT.parent, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def __enter__(self) -> Programs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._ours.close()
        self._process.wait(SECONDS)

    def run(self, program: str, *words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What `python -c program words` prints and ends with, at the top of the checkout."""
        job = json.dumps([program, *map(str, words)]).encode()
        assert len(job) <= _LARGEST
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as out, (
            tempfile.TemporaryFile("w+")
        ) as err:
            given.write(stdin)
            given.seek(0)
            socket.send_fds(self._ours, [job], [given.fileno(), out.fileno(), err.fileno()])
            code = self._ours.recv(_LARGEST)
            assert code, "the process that forks has ended"
            for each in (out, err):
                each.seek(0)
            return subprocess.CompletedProcess([program, *map(str, words)], int(code), out.read(), err.read())


def _serve(channel: socket.socket) -> None:
    """Fork for each job, and say the exit code of the fork, until there are no more."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _LARGEST, 3)
        if not data:
            return
        child = os.fork()
        if not child:
            channel.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            _play(*json.loads(data))
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _play(program: str, *words: str) -> None:
    """Run a program as `__main__`, and end as Python would after it: its threads first, and no buffer is forgotten."""
    signal.alarm(SECONDS)
    sys.argv = ["-c", *words]
    code = 1
    try:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: B036 - it goes no further: the process ends
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    exec(sys.argv[2], {"__name__": "__main__"})
    gc.collect()
    gc.freeze()  # or the first collection of each fork would write to every page
    _serve(socket.socket(fileno=int(sys.argv[1])))
