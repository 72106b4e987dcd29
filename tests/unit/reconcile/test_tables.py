"""The jobs of the process with the tables, one by one; and that process, when it dies."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from portlb_app import compiler, config, pipeline
from portlb_app.config import Config, Connector, Link, Switch
from portlb_app.explain import PacketError
from portlb_app.openflow import Flow, Group, Meter, Output, SwitchState, ToMeter, match
from portlb_app.pipeline import COOKIE, SERVICE
from portlb_app.reconcile.plan import Plan, Step, diff
from portlb_app.reconcile.reading import Page
from portlb_app.reconcile.results import (
    Compiled,
    Counted,
    Entries,
    Kind,
    MessageCounts,
    Mistakes,
    Remaining,
    Steps,
    Target,
    Unknown,
    Unreadable,
)
from portlb_app.reconcile.tables import Tables
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from tests.support.programs import Programs

FIG2 = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()
A = 1
LINK = Link(Connector("a", 1), Connector("b", 1))


def flow(port: int, out: int = 9) -> Flow:
    return Flow(0, 1, match(in_port=port), (Output(out),), COOKIE)


def state(*ports: int) -> SwitchState:
    return SwitchState(frozenset(map(flow, ports)))


class Codec:
    """A message is a list of ports as JSON; steps are their own text."""

    def decode(self, kind: Kind, message: bytes) -> Page:
        if message == b"nonsense":
            raise Unreadable("nonsense")
        made = flow if kind == "flows" else (lambda number: Meter(number, 1, 1))
        return Page([made(number) for number in json.loads(message)])

    def decode_counted(self, message: bytes) -> Iterable[Counted]:
        raise AssertionError

    def encode(self, steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
        return f"{xid} {bundle} {len(steps)}".encode()


@pytest.fixture
def tables() -> Tables:
    """A configuration's text is the ports of switch a; it has a link, without which there is one flow less."""

    def compiled(config: Config, conditions: Conditions) -> dict[int, tuple[Target, SwitchState]]:
        ports = [switch.dpid for switch in config.switches][len(conditions.links_down) :]
        return {A: (Target(len(ports)), state(*ports))}

    def load(text: str) -> Config:
        return Config((), (), tuple(Switch(each, int(each), None) for each in text.split()), (LINK,))

    tables = Tables(Codec(), load, compiled)
    assert tables.compile(1, "1 2 3", AS_CONFIGURED, ()) == Compiled(1, {A: Target(3)})
    return tables


def test_packets_are_followed_through_what_switches_hold() -> None:
    """What was read, and not what is desired; before anything was read, nothing is known."""
    tables = Tables(Codec())
    with pytest.raises(Unknown):
        tables.explain("tcp 192.0.2.7 > web:1 ack", None)
    tables.compile(1, FIG2, AS_CONFIGURED, ())
    desired = compiler.compile(config.load(FIG2))["s1"]

    def reached() -> list[str]:
        found = tables.explain("tcp 192.0.2.7 > web:1 ack", None)
        assert isinstance(found, dict)
        (outcome,) = found["starts"][0]["outcomes"]
        return [each["words"] for each in (*outcome["exits"], *({"words": e["why"]} for e in outcome["dropped"]))]

    assert reached() == ["nothing is known of what s1 holds"]
    tables.see(1, replace(desired, flows=frozenset(each for each in desired.flows if each.table != SERVICE.number)))
    assert reached() == ["no flow matches"]
    tables.see(1, desired)
    assert reached() == ["server a"]
    assert isinstance(tables.explain("tcp 192.0.2.7 > nobody:1", None), PacketError)


def test_following_a_packet_leaves_no_garbage() -> None:
    """That process collects none: nothing that is left behind refers to itself."""
    tables = Tables(Codec())
    tables.compile(1, FIG2, AS_CONFIGURED, ())
    tables.see(1, compiler.compile(config.load(FIG2))["s1"])
    for text in ("tcp 192.0.2.7 > web:21 syn redirect", "tcp 192.0.2.7 > nobody:1"):
        tables.explain(text, None)
        gc.collect()
        gc.disable()
        try:
            tables.explain(text, None)
            assert gc.collect() < 50
        finally:
            gc.enable()


def read(tables: Tables, *ports: int) -> Steps:
    tables.begin(A)
    assert tables.read(A, "flows", [json.dumps(ports[:1]).encode(), json.dumps(ports[1:]).encode()]) == len(ports)
    return tables.end(A).plan


def test_a_switch_is_read_in_pieces_and_told_in_stages(tables: Tables) -> None:
    plan = read(tables, 2, 3, 7)
    assert (plan.verbs, plan.count) == (("add", "delete"), 2)
    assert plan.first[0].startswith("add flow")
    assert tables.prepare(A, ("add",)) == MessageCounts(0, 1, 0)
    assert tables.encode(A, 0, 1, 77, 5) == b"77 5 1"
    told = tables.applied(A)
    assert (told.goal, told.plan.verbs, told.plan.count) == (1, ("delete",), 1)
    tables.prepare(A, ("delete",))
    assert tables.applied(A) == Remaining(Steps(), 1)
    assert read(tables, 1, 2, 3) == Steps()


def test_drift_is_what_is_not_as_it_was_left(tables: Tables) -> None:
    read(tables, 1, 2, 3)
    tables.begin(A)
    tables.read(A, "flows", [b"[1, 7]"])
    tables.read(A, "metered", [])
    assert tables.end(A).drift == 3


def test_what_is_removed_and_was_not_told_is_named(tables: Tables) -> None:
    """At first whatever is too much; later what came since; never what a plan of ours has left for the end."""
    ours = Group(pipeline.GROUPS + 3, "select", (), pipeline.SELECTION)
    foreign, mark = Group(pipeline.GROUPS + 4, "select", ()), pipeline.METER_SIGNATURE
    meters = frozenset({Meter(pipeline.METERS + 1, 1, mark), Meter(pipeline.METERS + 2, 1, mark + 1)})
    seen = SwitchState(state(1, 2, 3, 7).flows, frozenset({ours, foreign}), meters)
    found = tables.see(A, seen)
    assert found.surplus == Entries(1, (ours.number,), (pipeline.METERS + 1,))
    assert str(found.surplus) == f"1 flow and group {ours.number:#x} and meter {pipeline.METERS + 1:#x}"
    assert not tables.see(A, seen).surplus, "it was named"
    assert tables.see(A, state(1, 2, 3, 7, 8)).surplus == Entries(1)
    tables.prepare(A, ("delete",))
    tables.applied(A)
    tables.compile(2, "1 2", AS_CONFIGURED, ())
    assert not tables.see(A, state(1, 2, 3)).surplus, "3 was told"


def test_what_is_overwritten_and_has_no_mark_is_named() -> None:
    wanted = SwitchState(frozenset(), frozenset({Group(pipeline.GROUPS, "select", (), pipeline.SELECTION)}))
    tables = Tables(Codec(), lambda _: Config((), (), ()), lambda _, __: {A: (Target(1), wanted)})
    tables.compile(1, "", AS_CONFIGURED, ())
    seen = tables.see(A, SwitchState(groups=frozenset({Group(pipeline.GROUPS, "all", ())})))
    assert (seen.foreign, seen.surplus) == (Entries(groups=(pipeline.GROUPS,)), Entries())


def test_a_goal_that_changes_while_a_switch_is_told_gives_the_plan_from_there(tables: Tables) -> None:
    read(tables)
    tables.prepare(A, ("add",))
    made = tables.compile(2, "1 2 5", AS_CONFIGURED, (1,))
    assert isinstance(made, Compiled) and made.plans[A].count == 3, "of what it is not yet told"
    told = tables.applied(A)
    assert (told.goal, told.plan.verbs, told.plan.count) == (2, ("add", "delete"), 2)
    assert tables.compile(1, "1 2 3", AS_CONFIGURED, (1, 2)) == Compiled(1, {A: Target(3)}, {A: Steps()})


def test_links_that_do_not_work_are_compiled_for(tables: Tables) -> None:
    assert tables.compile(2, "1 2 3", Conditions(links_down=frozenset({LINK})), ()) == Compiled(2, {A: Target(2)})


def test_what_is_refused_is_told_as_text_and_meters_leave_doubt(tables: Tables) -> None:
    read(tables)
    tables.prepare(A, ("add",))
    assert tables.refused(A, [0]) == ("add flow " + str(flow(1)),)
    assert tables.applied(A), "what it holds is known"
    metered = SwitchState(frozenset({Flow(0, 1, match(in_port=1), (ToMeter(5), Output(9)), COOKIE)}))
    switch = tables._switches[A]
    switch._plan = diff(SwitchState(), SwitchState(metered.flows, meters=frozenset({Meter(5, 1, 1)})))
    assert tables.prepare(A, ("add",)) == MessageCounts(1, 1, 0)
    assert tables.refused(A, []) == ()
    with pytest.raises(Unknown):
        tables.applied(A)


def test_a_switch_that_is_not_known_must_be_read(tables: Tables) -> None:
    read(tables)
    tables.forget(A)
    for job in (lambda: tables.read(A, "flows", []), lambda: tables.end(A), lambda: tables.prepare(A, ("add",))):
        with pytest.raises(Unknown):
            job()


def test_what_cannot_be_is_said(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.begin(A)
    with pytest.raises(Unreadable, match="nonsense"):
        tables.read(A, "flows", [b"nonsense"])
    monkeypatch.setattr("portlb_app.reconcile.reading.FLOWS", 3)
    assert tables.read(A, "flows", [b"[1, 2, 3]", b"[4, 5, 6]"]) == 6  # a change that was cut off leaves twice as many
    with pytest.raises(Unreadable, match="more than 6 flows"):
        tables.read(A, "flows", [b"[7]"])


def test_a_switch_cannot_tell_of_so_many_actions_that_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes twenty times the bytes it had in the message. Buckets of a group that are alike count once."""
    monkeypatch.setattr("portlb_app.reconcile.reading.ACTIONS", 3)
    bucket = (Output(1), Output(2))

    class Actions(Codec):
        def decode(self, kind: Kind, message: bytes) -> Page:
            number = int(message)
            if kind == "groups":
                return Page([Group(number, "select", (bucket,) * 256)])
            return Page([Flow(0, number, match(), (Output(1), Output(2)), COOKIE)])

    tables = Tables(Actions(), lambda _: Config((), (), ()), lambda *_: {})
    for _ in range(2):  # the next time, it begins anew
        tables.begin(A)
        assert tables.read(A, "flows", [b"1", b"2"]) == 2
        assert tables.read(A, "groups", [b"3"]) == 1
    with pytest.raises(Unreadable, match="more than 6 actions of flows and groups"):
        tables.read(A, "groups", [b"4"])


def test_mistakes_are_values() -> None:
    made = Tables(Codec()).load("vips: 7")
    assert isinstance(made, Mistakes) and made.problems


def test_plans_are_values_of_few_bytes() -> None:
    assert Steps.of(Plan()) == Steps() and not Steps()


PROGRAM = """
import sys, eventlet, os, signal
eventlet.monkey_patch(thread=False)
from ryu.lib import hub
from portlb_app.southbound import tables_process
from portlb_app.topology.conditions import AS_CONFIGURED
from portlb_app.reconcile.results import Unknown

tables_process.FIRST_PAUSE = 0.01
text = sys.stdin.read()
tables = tables_process.start()
reasons = []
tables.on_lost = reasons.append
config, compiled = tables.first(text)
print(compiled.targets[1].entries > 200)
os.kill(tables._process.pid, signal.SIGSTOP)
asked = hub.spawn(lambda: tables.call("compile", 2, text, AS_CONFIGURED, ()))
also = hub.spawn(lambda: tables.call("begin", 1))
hub.sleep(0.1)
os.kill(tables._process.pid, signal.SIGKILL)
try:
    tables.call("begin", 1)
except tables_process.Lost as lost:
    print(len(reasons), "compile" in reasons[0])
print(tables.call("compile", 1, text, AS_CONFIGURED, ()).goal)
try:
    tables.call("applied", 1)
except Unknown:
    print("unknown")
tables_process.JOB_SECONDS = 0.2
os.kill(tables._process.pid, signal.SIGSTOP)
try:
    tables.call("begin", 1)
except tables_process.Lost as lost:
    print(lost)
tables_process.JOB_SECONDS = 60
tables.call("compile", 1, text, AS_CONFIGURED, ())
spawn, missing = tables_process.subprocess.Popen, [OSError(24, "no descriptor"), OSError(12, "no memory")]
def popen(*words, **options):
    if missing:
        raise missing.pop(0)
    return spawn(*words, **options)
tables_process.subprocess.Popen = popen
before = len(reasons)
os.kill(tables._process.pid, signal.SIGKILL)
while len(reasons) < before + 3:
    hub.sleep(0.01)
print(*reasons[before + 1:], sep="; ")
print(tables.call("compile", 1, text, AS_CONFIGURED, ()).goal)
tables.close()
"""


ARRIVAL = """
import gc, pickle, socket, threading, warnings
warnings.simplefilter("ignore")
from portlb_app.southbound import tables_worker
from portlb_app.config import Qos

data = pickle.dumps([Qos(dscp=number) for number in range(20_000)], pickle.HIGHEST_PROTOCOL)
one, other = socket.socketpair()
writer = threading.Thread(target=other.sendall, args=(len(data).to_bytes(8, "big") + data,))
writer.start()
seen = []
gc.callbacks.append(lambda phase, _: seen.append(phase))
value = tables_worker.receive(one)
gc.callbacks.clear()
writer.join()
print(len(value), len(seen) <= 4, gc.isenabled())
"""


def test_a_configuration_arrives_without_garbage_collection(ryu_programs: Programs) -> None:
    """It would take ten times as long, in which the loop does nothing else."""
    done = ryu_programs.run(ARRIVAL)
    assert done.stdout == "20000 True True\n", done.stderr


def test_the_process_imports_nothing_from_the_current_directory(tmp_path: Path, ryu_programs: Programs) -> None:
    """That may be anybody's."""
    (tmp_path / "ctypes.py").write_text("raise SystemExit('imported')\n")
    here = Path(__file__).parents[3]
    program = (
        "import sys, eventlet, os\n"
        f"sys.path[:] = [{str(here)!r}, *(each for each in sys.path if each)]\n"
        "eventlet.monkey_patch(thread=False)\n"
        f"from portlb_app.southbound import tables_process\nos.chdir({str(tmp_path)!r})\n"
        "print(tables_process.start().first(sys.stdin.read())[1].goal)\n"
    )
    done = ryu_programs.run(program, stdin=FIG2)
    assert done.stdout == "1\n", done.stderr


def test_a_process_that_dies_or_takes_too_long_is_told_of_and_replaced(ryu_programs: Programs) -> None:
    done = ryu_programs.run(PROGRAM, stdin=FIG2)
    expected = ["True", "1 True", "1", "unknown", "begin takes more than 0.2 s"]
    expected += ["; ".join(f"another one cannot be started: no {what}" for what in ("descriptor", "memory")), "1"]
    assert done.stdout.splitlines() == expected, done.stderr
