"""No green thread of the controller ends without being noticed. In a process of its own: Ryu patches Python."""

from __future__ import annotations

import pytest

from tests.support.programs import Programs
from tests.support.sources import ROOT, calls

PROGRAM = """
import eventlet
from ryu.lib import hub
from portlb_app.runtime import supervision

def waits():
    hub.sleep(60)

def fails():
    raise RuntimeError("no")

def too_late():
    raise eventlet.Timeout(1)

def ends():
    pass

thread = {start}
for _ in range(10):  # turns of all green threads, not a time
    hub.sleep(0)
{then}
print(*supervision.failures())
"""


@pytest.mark.parametrize(
    ("start", "then", "failures"),
    [
        ('supervision.spawn("x", waits)', "", ""),
        ('supervision.spawn("x", waits)', "hub.kill(thread)", ""),
        ('supervision.spawn("x", ends)', "", ""),
        ('supervision.spawn("x", fails)', "", "x"),
        ('supervision.spawn_after(0, "x", fails)', "", "x"),
        ('supervision.spawn_forever("x", waits)', "", ""),
        ('supervision.spawn("x", too_late)', "", "x"),
        ('supervision.spawn_forever("x", waits)', "hub.kill(thread)", "x"),
        ('supervision.spawn_forever("x", waits)', "supervision.end(); hub.kill(thread)", ""),
        ('supervision.spawn_forever("x", too_late)', "", "x"),
        ('supervision.spawn_forever("x", ends)', "", "x"),
        ('supervision.spawn_forever("x", fails)', "", "x"),
    ],
)
def test_what_ends_unexpectedly_is_known(start: str, then: str, failures: str, ryu_programs: Programs) -> None:
    program = PROGRAM.format(start=start, then=then)
    done = ryu_programs.run(program)
    assert (done.returncode, done.stdout.strip()) == (0, failures), done.stderr
    assert ("RuntimeError: no" in done.stderr) == ("fails" in start)


def test_no_other_file_starts_threads() -> None:
    """But the listener and its channels, whose threads belong to one connection each."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.name not in ("supervision.py", "listener.py", "channel.py"):
            started = {called for called, call in calls(path) if ast_owner(call) in ("hub", "eventlet")}
            assert not started & {"spawn", "spawn_n", "spawn_after"}, path.name


def ast_owner(call: object) -> str:
    """What a method is called of, if that has a plain name."""
    return str(getattr(getattr(getattr(call, "func", None), "value", None), "id", ""))


RELOAD = """
from types import SimpleNamespace
from ryu.lib import hub
from portlb_app.runtime import supervision
from portlb_app.reconcile.events import ConfigProposed
from portlb_app.reconcile.outcomes import Ended
from portlb_app.controller.proposals import Proposals
from portlb_app.metrics.tally import Tally

asked = []

def step(event):
    asked.append(event.text if isinstance(event, ConfigProposed) else event.read)
    if isinstance(event, ConfigProposed):
        proposals.read(event.ticket)
    else:
        proposals.report(event.ticket, Ended())

file = SimpleNamespace(read_again=lambda: "a text")
files = SimpleNamespace(start=lambda function: SimpleNamespace(wait=function))
live = SimpleNamespace(text="a text")
proposals = Proposals(live, step, None, file, files, Tally(0.0), None)
thread = supervision.spawn_forever("x", proposals.run_reloads)
for _ in range(2):
    proposals.reload()
    for _ in range(10):
        hub.sleep(0)
print(asked, thread.dead, *supervision.failures())
"""


def test_what_is_on_trial_at_the_end_ends_no_thread(ryu_programs: Programs) -> None:
    """A reload whose outcome will not be known any more is no death of what waits for it."""
    done = ryu_programs.run(RELOAD)
    assert (done.stdout.strip(), done.stderr) == ("[None, 'a text', None, 'a text'] False", "")
