"""What is done with files in a thread: in its order, and nobody waits for ever."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
import threading, eventlet
eventlet.monkey_patch(thread=False)
from ryu.lib import hub
from portlb_app.runtime import files as runtime

files, turns, late = runtime.Files(), [], []
stop, may_end = threading.Event(), threading.Event()
hub.spawn(lambda: [turns.append(hub.sleep(0.001)) for _ in range(10)] and stop.set())
slow = files.start(lambda: stop.wait(9) and "done")
fast = files.start(lambda: 1 / 0)
print(slow.wait(), len(turns))
try:
    fast.wait()
except ZeroDivisionError as error:
    print(error)
runtime.FILE_SECONDS = 0.05
never = files.start(lambda: may_end.wait(30) and "late", late.append)
try:
    never.wait()
except runtime.Slow as error:
    print(error.strerror)
may_end.set()
runtime.FILE_SECONDS = 10.0
print(files.start(lambda: list(late)).wait())
runtime.FILE_SECONDS = 0.05
may_end.clear()
never = files.start(lambda: may_end.wait(30), lambda _result: 1 / 0)
try:
    never.wait()
except runtime.Slow:
    pass
may_end.set()
runtime.FILE_SECONDS = 10.0
print(files.start(lambda: "the next").wait())
"""


def test_calls_are_made_aside(ryu_programs: Programs) -> None:
    done = ryu_programs.run(PROGRAM)
    assert done.stdout.splitlines() == [
        *("done 10", "division by zero", "the file system does not answer within 0.05 s", "['late']"),
        "the next",
    ], done.stderr
