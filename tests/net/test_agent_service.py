"""The agents as services: reloads, repairs, successors, health, metrics, logs, capabilities, the systemd unit.

Real agents on real links; what is asserted about connections is asked of curl, and of the wire.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.agent import counters
from tests.net.network import ROOT, SYN, Namespace, agent_command, agent_stats, end, until
from tests.net.service import CLIENT, FAST, OLD_KERNEL, SERVER, WAYS, Idle, Service, fast, programs
from tests.net.world import MEGABYTE, OWN, VIP, World, X, Y, Z
from tests.net.world import world as made_world
from tests.support.commands import run
from tests.support.helper import START

UNIT = ROOT / "packaging/systemd/portlb-agent@.service"
CONFIGURATION = """
switches: {{s1: {{dpid: 1, network: 1}}}}
vips: {{web: {{address: {vip}, mac: "02:00:00:00:00:64", redirect_ports: {{{x}: {{servers: [a]}}}}}}}}
servers: {{a: {{vip: web, connector: "s1:2", service_ports: [{ports}]}}}}
"""
REMOVE = """
import sys
from portlb_app.agent import hooks, interface
index = interface.index_of("eth0")
for role in hooks.ROLES:
    for way, found, _ in hooks.agents(index, role):
        way.remove(index, role, {direction: found[direction] for direction in sys.argv[1:] if direction in found})
"""
CONTROLLER = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = pathlib.Path(sys.argv[1]).read_bytes()
        self.send_response(200 if self.path.startswith("/v1/config?server=") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""
HALF_WAY = """
import ipaddress, sys
from portlb_app.agent import attachment, client, errors, hooks, interface
from portlb_app.agent.kernel import tc
agent = attachment.Agent("eth0", "client", client.settings([ipaddress.ip_address(sys.argv[1])]))
attached = lambda: [each.programs for each in hooks.agents(interface.index_of("eth0"), "client")]
attach, before, calls = tc.attach_tcx, attached(), []
def refuse(ifindex, kind, *rest):
    calls.append(kind)
    if len(calls) == refused:
        raise OSError(12, "no memory")
    return attach(ifindex, kind, *rest)
tc.attach_tcx = refuse
for refused in (1, 2):
    calls.clear()
    try:
        agent.reload(client.settings([ipaddress.ip_address("10.9.9.9")]))
        sys.exit("not refused")
    except errors.AgentError as error:
        assert "no memory" in str(error)
    assert attached() == before and len(before[0]) == 2 and agent.stay() is attachment.Presence.KEPT
"""


def configuration(*ports: int, vip: str = VIP) -> str:
    """lb.yaml of a server `a` that has these service ports for the application on X, the first one announced."""
    listed = ", ".join(f"{{port: {port}, application: {X}}}" for port in ports)
    return CONFIGURATION.format(vip=vip, x=X, ports=f"{listed}, {OWN}")


@pytest.fixture
def world() -> Iterator[World]:
    with made_world() as world:
        yield world


def remove(host: Namespace, *directions: str) -> None:
    """Somebody removes the programs of the agents on a host."""
    host.run(sys.executable, "-c", REMOVE, *directions, cwd=ROOT)


def announced(world: World) -> int | None:
    """Where a new connection to X is redirected to; the file arrives."""
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get() == "odd\n"
    assert segments[0].flags & SYN
    assert set(world.ports(segments[2:])) == {segments[1].announced or X}
    return segments[1].announced


@contextlib.contextmanager
def download(world: World) -> Iterator[None]:
    """A download through X that begins before the block and ends after it; it must arrive whole, all on Y.

    It is read slowly, and to its middle at most until the block ends: no machine is too slow for that.
    """
    wanted = world.store("large", 32 * MEGABYTE)
    digest, over = hashlib.md5(), threading.Event()
    confirmed = agent_stats(world.client)["confirmed"]
    with world.network.capture(world.client, "tcp", "and", "greater", "1000") as segments:
        words = ("curl", "-sS", "-m", "120", world.url(path="large"))
        curl = world.client.popen(*words, stdout=subprocess.PIPE)
        stream = curl.stdout
        assert stream is not None

        def read() -> None:
            for _ in range(16 * 8):
                if not over.wait(0.03):
                    digest.update(stream.read(MEGABYTE // 8))
            over.wait()
            while chunk := stream.read(MEGABYTE):
                digest.update(chunk)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            until(lambda: agent_stats(world.client)["confirmed"] > confirmed, "the download has begun")
            yield
            assert curl.poll() is None, "it goes on"
        finally:
            over.set()
            thread.join()
        assert curl.wait(timeout=20) == 0
    assert digest.hexdigest() == wanted
    assert set(world.ports(segments)) == {Y}


# ---- reload ----------------------------------------------------------------------------------------------------------


def test_reload_keeps_a_download_on_its_service_port(world: World) -> None:
    """D1: SIGHUP with another first service port: new connections get it, the download stays on the one it has."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y, Z), encoding="utf-8")
    world.client_agent()
    service = fast(world, world.server, "server", "--interface", "eth0", "--config", str(file), "--server", "a")
    before = programs(world.server)
    with download(world):
        file.write_text(configuration(Z, Y), encoding="utf-8")
        service.signal(signal.SIGHUP)
        service.says("new settings in force")
    after = programs(world.server)
    assert len(before) == len(after) == 2 and not set(before) & set(after)
    assert announced(world) == Z
    stats = agent_stats(world.server)
    assert (stats["redirected"], stats["rebuilt"]) == (2, 0), "entries and counters were inherited"


def test_reload_of_the_same_changes_nothing(world: World) -> None:
    """The programs stay the very same if the file says what it said."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y), encoding="utf-8")
    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a")
    with manager(world) as (address, told):
        service = fast(world, world.server, *words, NOTIFY_SOCKET=address)
        before = programs(world.server)
        file.write_text("# the same\n" + configuration(Y), encoding="utf-8")
        service.signal(signal.SIGHUP)
        until(lambda: [line for line in told() if line == "READY=1"] == ["READY=1"] * 2, "it has been read again")
    assert programs(world.server) == before


def test_a_reload_asked_for_during_another_is_not_lost(world: World) -> None:
    """What has been read by then may be older than the second SIGHUP: here a pipe shows when it is read."""
    file = world.network.directory / "lb.yaml"
    os.mkfifo(file)

    def write(text: str) -> None:
        """To the next who opens the pipe."""
        writers: list[int] = []

        def opened() -> bool:
            with contextlib.suppress(OSError):
                writers.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers)

        until(opened, "the file is read")
        os.write(writers[0], text.encode())
        os.close(writers[0])
        time.sleep(0.3)  # who reads it now comes to its end, and is not the next

    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a")
    service = fast(world, world.server, *words, ready=False)
    write(configuration(Y, Z))
    until(service.is_ready, "the agent is ready")
    before = programs(world.server)
    for _ in range(2):
        service.signal(signal.SIGHUP)
        time.sleep(0.3)  # the first is being obeyed when the second comes; that it waits at the pipe cannot be seen
    write(configuration(Y, Z))
    write(configuration(Z, Y))
    service.says("new settings in force")
    assert not set(programs(world.server)) & set(before)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("servers: {a: 3}", "servers.a"),
        (configuration(Y).replace("a:", "b:").replace("[a]", "[b]"), "there is no server a"),
        (None, "No such file"),
    ],
    ids=["mistakes", "server gone", "file gone"],
)
def test_a_faulty_configuration_keeps_the_last_good_one(world: World, text: str | None, reason: str) -> None:
    """It is logged, connections and programs stay; once it is mended that is said, too. At the start it is an error."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y), encoding="utf-8")
    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a")
    world.client_agent()
    service = fast(world, world.server, *words)
    idle, before = Idle(world), programs(world.server)
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.says("the last good settings stay in force")
    assert reason in service.log() and "Traceback" not in service.log()
    assert programs(world.server) == before
    assert idle.answers() and announced(world) == Y

    second = agent_command(world.server, *words)
    assert (second.returncode, reason in second.stderr) == (1 if text is None else 2, True), second.stderr
    assert programs(world.server) == before

    file.write_text(configuration(Z, Y), encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.says("settings: well again")
    assert idle.answers() and announced(world) == Z


def test_a_configuration_the_kernel_refuses_keeps_the_last_good_one(world: World) -> None:
    """Here the object file is gone when it is needed: the agent goes on with the programs it has."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y), encoding="utf-8")
    there = f"versions.OBJECT_FILE = versions.Path('{file.parent}/object')"
    program = f"from portlb_app.agent import versions; {there}; {FAST}"
    (file.parent / "object").symlink_to(ROOT / "portlb_app/agent/bpf/redirect.bpf.o")
    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a")
    service = Service(world.network, world.server, sys.executable, "-c", program, *words)
    world.client_agent()
    idle, before = Idle(world), programs(world.server)
    (file.parent / "object").unlink()
    file.write_text(configuration(Z, Y), encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.says("the last good settings stay in force")
    service.says("counting connections")  # which needs the file, too
    assert programs(world.server) == before and idle.answers() and announced(world) == Y


def test_a_reload_that_fails_half_way_is_undone(world: World) -> None:
    """Both hooks have programs of the same settings, whichever of them the kernel refuses."""
    world.client.run(sys.executable, "-c", HALF_WAY, VIP, cwd=ROOT)


# ---- the controller as a source --------------------------------------------------------------------------------------


def test_controller_source(world: World) -> None:
    """Waited for at the start, polled, followed; faulty or gone, what was last good stays."""
    text, code = (world.network.directory / name for name in ("live", "controller.py"))
    text.write_text(configuration(Y, Z), encoding="utf-8")
    code.write_text(CONTROLLER, encoding="utf-8")
    world.client_agent()
    words = ("server", "--interface", "eth0", "--controller", "http://127.0.0.1:8080", "--server", "a")
    service = fast(world, world.server, *words, ready=False)
    service.says("http://127.0.0.1:8080 does not answer: Connection refused; trying again")
    assert not service.is_ready() and service.process.poll() is None and not programs(world.server)

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    controller = world.server.popen(sys.executable, str(code), str(text), **quiet)
    until(service.is_ready, "the controller was found")
    assert service.log().count("does not answer") == 1, "said once, not at every attempt"
    before = programs(world.server)
    with download(world):
        text.write_text(configuration(Z, Y), encoding="utf-8")
        service.says("new settings in force")
    assert announced(world) == Z and programs(world.server) != before

    text.write_text("no configuration", encoding="utf-8")
    service.says("the last good settings stay in force")
    assert announced(world) == Z
    end(controller)
    service.says("does not answer: Connection refused; the last good settings stay in force")
    assert announced(world) == Z
    assert end(service.process) == 0 and not programs(world.server)


def test_who_may_answer_for_the_controller(world: World) -> None:
    """Not a program of another user that holds the port; what leads to another program waits until it is wanted."""
    text, code = (world.network.directory / name for name in ("live", "controller.py"))
    text.write_text(configuration(Y), encoding="utf-8")
    code.write_text(CONTROLLER, encoding="utf-8")
    world.network.directory.chmod(0o755)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = ("/usr/bin/python3", str(code), str(text))
    foreign = world.server.popen("setpriv", "--reuid=65534", "--clear-groups", *start, **quiet)
    until(lambda: world.server.listens(8080), "the other one listens")
    words = ("server", "--interface", "eth0", "--controller", "http://127.0.0.1:8080", "--server", "a")
    done = agent_command(world.server, *words)
    assert done.returncode == 1 and "a program of user 65534 listens there" in done.stderr
    end(foreign)
    world.server.popen(*start, **quiet)
    service = fast(world, world.server, *words)
    before = programs(world.server)

    text.write_text(configuration(Y).replace(f"application: {X}", "application: 31337"), encoding="utf-8")
    service.says("it names port 31337 of a program, which it did not before: reload the agent")
    assert programs(world.server) == before
    service.signal(signal.SIGHUP)
    service.says("new settings in force")
    assert programs(world.server) != before
    done = agent_command(world.server, *words, "--application", str(X), "--application", "9")
    assert done.returncode == 1 and "it names port 31337 of a program, which --application does not" in done.stderr


def test_waiting_for_a_controller_can_be_ended(world: World) -> None:
    """SIGTERM ends an agent that has not got its first settings, even while it is asking."""
    world.server.run("ip", "link", "set", "lo", "up")
    world.server.nft("add table ip silent; add chain ip silent input { type filter hook input priority 0; }")
    world.server.nft("add rule ip silent input tcp dport 8080 drop")
    words = ("server", "--interface", "eth0", "--controller", "http://127.0.0.1:8080", "--server", "a")
    service = fast(world, world.server, *words, ready=False)
    until(lambda: "SYN-SENT" in world.server.run("ss", "-Htan", "dport = :8080").stdout, "it is asking")
    service.signal(signal.SIGTERM)
    assert service.process.wait(timeout=2) == 0


# ---- staying attached ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["client", "server"])
def test_removed_programs_are_attached_again(world: World, role: str, way: str) -> None:
    """Somebody removes them from both hooks: the process has the maps, an open connection goes on."""
    client, server = (fast(world, host, *words, program=WAYS[way])
                      for host, words in ((world.client, CLIENT), (world.server, SERVER)))  # fmt: skip
    host, service = (world.client, client) if role == "client" else (world.server, server)
    idle, before = Idle(world), programs(host)
    if way == "clsact":
        host.run("tc", "qdisc", "del", "dev", "eth0", "clsact")
    else:
        remove(host, "ingress", "egress")
    service.says("attached again, connections kept")
    assert programs(host) == before, "the same programs"
    assert idle.answers() and announced(world) == Y
    assert (agent_stats(world.client)["confirmed"], agent_stats(world.server)["rebuilt"]) == (2, 0)
    assert service.log().count("attached again") == 1


@pytest.mark.parametrize("way", WAYS)
def test_one_removed_program_is_attached_again(world: World, way: str) -> None:
    """The other one is left as it is, and so are other people's."""
    service = fast(world, world.client, *CLIENT, program=WAYS[way])
    rule = "protocol ip prio 30000 u32 match u32 0 0 classid 1:1"
    world.client.run("tc", "qdisc", "replace", "dev", "eth0", "clsact")
    world.client.run("tc", "filter", "add", "dev", "eth0", "ingress", *rule.split())
    before = programs(world.client)
    remove(world.client, "egress")
    service.says("attached again, connections kept")
    assert programs(world.client) == before
    assert "u32" in world.client.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout


def test_the_qdisc_is_not_needed(world: World) -> None:
    """By tcx nothing of the agent is in sight of tc, and an administrator's clsact comes and goes without it."""
    service = fast(world, world.client, *CLIENT)
    world.server_agent()
    idle, before = Idle(world), programs(world.client)
    assert "clsact" not in world.client.run("tc", "qdisc", "show", "dev", "eth0").stdout
    for word in ("add", "del"):
        world.client.run("tc", "qdisc", word, "dev", "eth0", "clsact")
    assert programs(world.client) == before and idle.answers()
    assert end(service.process) == 0 and not programs(world.client)


def test_an_agent_takes_over_where_the_other_is_attached(world: World) -> None:
    """From clsact to clsact, in one step; once that agent has gone, by tcx."""
    fast(world, world.server, *SERVER, program=OLD_KERNEL)
    first = fast(world, world.client, *CLIENT, program=OLD_KERNEL)
    idle = Idle(world)
    second = fast(world, world.client, *CLIENT)
    first.says("an agent started later has taken over")
    assert "client_ingress" in world.client.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout
    assert len(programs(world.client)) == 2 and idle.answers()
    assert end(second.process) == 0
    assert "clsact" not in world.client.run("tc", "qdisc", "show", "dev", "eth0").stdout
    fast(world, world.client, *CLIENT)
    assert "clsact" not in world.client.run("tc", "qdisc", "show", "dev", "eth0").stdout
    assert len(programs(world.client)) == 2 and announced(world) == Y


def test_two_agents_started_at_once(world: World) -> None:
    """One of them stays, with one program on each hook."""
    services = [fast(world, world.client, *CLIENT, ready=False) for _ in range(3)]
    until(lambda: [each.process.poll() for each in services].count(0) == 2, "the others have ended", START)
    world.server_agent()
    number = (
        "from portlb_app.agent import interface; from portlb_app.agent.kernel import tc; "
        "index = interface.index_of('eth0'); "
        "print(*(len(tc.query_tcx(index, kind)) for kind in (tc.TCX_INGRESS, tc.TCX_EGRESS)))"
    )
    assert world.client.run(sys.executable, "-c", number, cwd=ROOT).stdout.split() == ["1", "1"]
    assert announced(world) == Y


def test_recreated_interface(world: World) -> None:
    """The interface disappears and comes back with another index: an open connection goes on over it."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y), encoding="utf-8")
    world.client_agent()
    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a")
    service = fast(world, world.server, *words)
    idle = Idle(world)
    index = json.loads(world.server.run("ip", "-j", "link", "show", "eth0").stdout)[0]["ifindex"]
    world.server.run("ip", "link", "del", "eth0")
    service.says("no such interface in this network namespace")
    file.write_text(configuration(Z, Y), encoding="utf-8")
    service.signal(signal.SIGHUP)  # cannot be followed yet, and is not forgotten

    world.network.link(world.router, world.server, ("10.0.2.254/24", f"{VIP}/24"), ("right", "eth0"))
    world.server.run("ip", "route", "add", "default", "via", "10.0.2.254")
    service.says("attached again, connections kept")
    assert json.loads(world.server.run("ip", "-j", "link", "show", "eth0").stdout)[0]["ifindex"] != index
    service.says("new settings in force")
    assert idle.answers() and announced(world) == Z
    assert agent_stats(world.server)["rebuilt"] == 0
    assert service.log().count("no such interface") == 1
    assert end(service.process) == 0 and not programs(world.server)


def test_the_log_can_be_json(world: World) -> None:
    """One object a line, with what it is about."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y), encoding="utf-8")
    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a", "--log-format", "json")
    service = fast(world, world.server, *words)
    file.write_text("}", encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.says("the last good settings stay in force")
    assert end(service.process) == 0
    entries = [json.loads(line) for line in service.log().splitlines()]
    (entry,) = [each for each in entries if "the last good settings" in each["message"]]
    assert (entry["level"], entry["agent"], entry["server"], entry["interface"]) == ("warning", "server", "a", "eth0")
    assert {each["logger"] for each in entries} == {"portlb.agent"}


REFUSED_ONCE = f"""
import errno
from portlb_app.agent.kernel import sock_diag
def refused(function, number, times=1):
    left = [number] * times
    def call(*arguments, **named):
        if left:
            raise OSError(left.pop(), "refused by the test")
        return function(*arguments, **named)
    return call
sock_diag.find = refused(sock_diag.find, errno.ENOBUFS)
sock_diag.destroy = refused(sock_diag.destroy, errno.ENOBUFS)
{FAST}
"""


def test_one_refused_call_ends_nothing(world: World) -> None:
    """The client's agent cannot ask for a socket once, nor reset one: it says so, tries again, and both get closed."""
    world.server_agent()
    service = fast(world, world.client, *CLIENT, program=REFUSED_ONCE)
    for way, port, topic in (("--close", Z, "closing redirected connections"), ("--reset", Y, "")):
        idle = Idle(world)
        words = ("redirect", "--interface", "eth0", "--from", f":{X}", "--to", str(port), way)
        done = agent_command(world.server, *words)
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
        assert not idle.answers()
        if topic:
            service.says(f"{topic}: [Errno 105] refused by the test; it will be tried again")
    assert service.process.poll() is None and "Traceback" not in service.log()


def test_ageing_that_fails_is_tried_again(world: World) -> None:
    """And so is what reads the counters."""
    program = (
        "from portlb_app.agent import loader\n"
        "def sweep(programs, now, left=[1, 1]):\n"
        "    if left: raise OSError(11, f'busy {left.pop()}')\n"
        "    print('swept', file=__import__('sys').stderr)\n"
        "    return 0\n"
        f"loader.Programs.sweep = sweep\n{FAST}"
    )
    service = fast(world, world.client, *CLIENT, program=program)
    service.says("removing aged entries: [Errno 11] busy 1; it will be tried again")
    until(lambda: service.log().count("swept") > 1, "it was tried again")
    assert service.process.poll() is None and "Traceback" not in service.log()


def test_end_without_the_interface(world: World) -> None:
    """There is nothing left to detach from."""
    service = fast(world, world.client, *CLIENT)
    world.client.run("ip", "link", "del", "eth0")
    assert end(service.process) == 0
    assert "Traceback" not in service.log()


def test_renamed_interface(world: World) -> None:
    """Nothing of the agent stays on an interface that has got another name, once there is another of the old one."""
    service = fast(world, world.client, *CLIENT)
    for words in ("eth0 down", "eth0 name eth9", "eth9 up"):
        world.client.run("ip", "link", "set", *words.split())
    service.says("no such interface")
    assert len(programs(world.client, "eth9")) == 2
    world.client.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    service.says("attached again, connections kept")
    assert (len(programs(world.client)), len(programs(world.client, "eth9"))) == (2, 0)


def test_successor(world: World) -> None:
    """Another process takes over: the first one ends by itself and says why, filters and connections stay."""
    first = fast(world, world.client, *CLIENT)
    world.server_agent()
    idle = Idle(world)
    fast(world, world.client, *CLIENT)
    assert first.process.wait(timeout=10) == 0
    first.says("an agent started later has taken over")
    assert len(programs(world.client)) == 2 and idle.answers()


def test_foreign_program_in_our_place(world: World) -> None:
    """It is said once and left alone; when it is gone, the agent is attached again."""
    service = fast(world, world.client, *CLIENT, program=OLD_KERNEL)
    world.client.run("tc", "qdisc", "del", "dev", "eth0", "clsact")
    world.client.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    words = ("object-file", str(ROOT / "portlb_app/agent/bpf/redirect.bpf.o"), "program", "server_announce")
    place = ("dev", "eth0", "ingress", "protocol", "all", "prio", "20560", "handle", "1", "bpf", "direct-action")
    world.client.run("tc", "filter", "replace", *place, *words)
    service.says("another program ('server_announce')")
    assert service.process.poll() is None
    world.client.run("tc", "filter", "del", "dev", "eth0", "ingress")
    service.says("attached again, connections kept")
    assert service.log().count("another program") == 1


# ---- the service manager ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def manager(world: World) -> Iterator[tuple[str, object]]:
    """A service manager's socket, and a function that returns the lines it got; no thread."""
    path = world.network.directory / "notify"
    got: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)

        def told() -> list[str]:
            while True:
                try:
                    got.extend(listener.recv(4096).decode().split("\n"))
                except BlockingIOError:
                    return got

        yield str(path), told


def test_service_manager_is_told(world: World) -> None:
    """sd_notify(3): READY once attached, WATCHDOG at half its time, RELOADING and READY again, STATUS, STOPPING."""
    file = world.network.directory / "lb.yaml"
    file.write_text(configuration(Y), encoding="utf-8")
    words = ("server", "--interface", "eth0", "--config", str(file), "--server", "a")
    with manager(world) as (address, told):
        service = fast(world, world.server, *words, NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
        until(lambda: "READY=1" in told(), "READY=1")
        assert len(programs(world.server)) == 2
        until(lambda: told().count("WATCHDOG=1") >= 3, "WATCHDOG=1 again and again")
        file.write_text("[]", encoding="utf-8")
        service.signal(signal.SIGHUP)
        until(lambda: told().count("READY=1") == 2, "READY=1 after the reload")
        lines = told()
        reloading = lines.index("RELOADING=1")
        assert re.fullmatch(r"MONOTONIC_USEC=\d+", lines[reloading + 1])
        assert lines.index("READY=1") < reloading
        assert any(line.startswith("STATUS=") and "last good settings" in line for line in lines[reloading:])
        assert end(service.process) == 0
        assert told()[-1] == "STOPPING=1"


def unit(key: str) -> str:
    """A setting of the unit file."""
    found = re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == 1, key
    return str(found[0])


def with_capabilities(capabilities: list[str], *words: str) -> tuple[str, ...]:
    """The command line that runs words as nobody with these capabilities and no chance of others."""
    named = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in capabilities)
    sets = [f"--{kind}=-all{named}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", *sets, *words)


def test_unit_is_valid(tmp_path: Path) -> None:
    """systemd-analyze finds nothing to say about it, and would."""
    portlb = Path(sys.executable).with_name("portlb")
    text = UNIT.read_text(encoding="utf-8").replace("ExecStart=portlb ", f"ExecStart={portlb} ")
    assert str(portlb) in text
    for name, content, said in (("right", text, ""), ("wrong", text.replace("KillSignal", "KilSignal"), "KilSignal")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / UNIT.name.replace("@", "@x")
        path.write_text(content, encoding="utf-8")
        done = run("systemd-analyze", "verify", str(path), check=False)
        assert (said in done.stderr, done.stderr == "") == (True, not said), done.stderr


def test_restart_as_the_unit_does_it(world: World) -> None:
    """D1: ExecStart as nobody with the unit's capabilities; its KillSignal and another start break no download."""
    capabilities = unit("CapabilityBoundingSet").split()
    assert unit("AmbientCapabilities").split() == capabilities
    assert unit("ExecStart") == "portlb agent $ARGUMENTS"
    number = getattr(signal, unit("KillSignal"))
    reload_words = unit("ExecReload").split()
    portlb = str(Path(sys.executable).with_name("portlb"))

    def start(host: Namespace, *arguments: str) -> Service:
        return Service(world.network, host, *with_capabilities(capabilities, portlb, "agent", *arguments))

    agents = [(world.client, CLIENT), (world.server, SERVER)]
    services = [start(host, *words) for host, words in agents]
    with download(world):
        for service in services:
            service.signal(number)
            assert service.process.wait(timeout=10) == 0
            assert "the programs stay" in service.log()
        assert len(programs(world.client)) == len(programs(world.server)) == 2
        services = [start(host, *words) for host, words in agents]
        pid = services[1].process.pid
        run(*(word.replace("$MAINPID", str(pid)) for word in reload_words))
    assert [service.process.poll() for service in services] == [None, None]
    assert announced(world) == Y
    assert agent_stats(world.server)["rebuilt"] == 0


def test_without_the_right_to_send_frames_there_are_no_heartbeats(world: World) -> None:
    """CAP_NET_RAW is for heartbeats and redirects: the log says so once, everything else works."""
    kept = [name for name in unit("CapabilityBoundingSet").split() if name != "CAP_NET_RAW"]
    agent = (sys.executable, "-m", "portlb_app.agent")
    service = Service(world.network, world.server, *with_capabilities(kept, *agent, *SERVER))
    said = "the controller cannot be told about this server: [Errno 1] Operation not permitted"
    until(lambda: said in service.log(), "the agent says what it lacks")
    world.client_agent()
    assert announced(world) == Y and service.log().count(said) == 1


@pytest.mark.parametrize("lacking", sorted({*unit("CapabilityBoundingSet").split()} - {"CAP_NET_RAW"}))
def test_capabilities_that_are_needed(world: World, lacking: str) -> None:
    """Without any single one of the unit's capabilities every command refuses and names it; nothing is attached."""
    kept = [name for name in unit("CapabilityBoundingSet").split() if name != lacking]
    agent = (sys.executable, "-m", "portlb_app.agent")
    for words in (CLIENT, *((word, "--interface", "eth0") for word in ("stats", "health", "detach"))):
        done = world.client.run(*with_capabilities(kept, *agent, *words), check=False, cwd=ROOT)
        assert done.returncode == 1 and f"needs {lacking}: run it as root" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert not programs(world.client)


# ---- health, detach --------------------------------------------------------------------------------------------------


def health(host: Namespace, *words: str) -> tuple[int, str]:
    done = agent_command(host, "health", "--interface", "eth0", *words)
    return done.returncode, done.stdout + done.stderr


def test_health(world: World) -> None:
    """One line per role; not well without its process, without a program, or not there at all."""
    assert health(world.server) == (1, "portlb agent: no agent is attached to eth0 in this network namespace\n")
    server = Service(world.network, world.server, sys.executable, "-m", "portlb_app.agent", *SERVER)
    client = Service(world.network, world.server, sys.executable, "-m", "portlb_app.agent", *CLIENT)
    world.client_agent()
    idle = Idle(world)
    used = r"server agent on eth0: attached; connections: 1 of 65536 entries; "
    used += r"aliases: 0 of 65536 entries; half_open: \d of 16384 entries; "
    other = "client agent on eth0: attached; connections: 0 of 65536 entries; aliases: 0 of 65536 entries; "
    other += f"process {client.process.pid}\n"
    for words, before in (((), other), (("--role", "server"), "")):
        code, text = health(world.server, *words)
        assert code == 0 and re.fullmatch(f"{re.escape(before)}{used}process {server.process.pid}\n", text), text
    code, text = health(world.client, "--role", "server")
    assert (code, "no server agent is attached" in text) == (1, True)

    nobody = with_capabilities(unit("CapabilityBoundingSet").split(), sys.executable, "-m", "portlb_app.agent")
    done = world.server.run(*nobody, "health", "--interface", "eth0", check=False, cwd=ROOT)
    assert (done.returncode, done.stdout.count("entries; process unknown\n")) == (0, 2), "nobody sees root's files"

    end(server.process, signal.SIGKILL)
    code, text = health(world.server)
    assert code == 1 and re.fullmatch(f"{re.escape(other)}{used}no process, so entries do not age\n", text), text
    assert health(world.server, "--role", "client") == (0, other)
    assert idle.answers()
    remove(world.server, "egress")
    code, text = health(world.server, "--role", "client")
    assert (code, "attached at ingress only" in text) == (1, True)


@pytest.mark.parametrize("way", WAYS)
def test_detach(world: World, way: str) -> None:
    """What a process looks after is not detached; what a dead one left is, and nothing else."""
    agents = [fast(world, world.server, *words, program=WAYS[way]) for words in (CLIENT, SERVER)]
    words = ("detach", "--interface", "eth0")
    done = agent_command(world.server, *words)
    assert done.returncode == 1
    assert f"process {agents[0].process.pid} runs the client agent on eth0: end that instead" in done.stderr
    assert len(programs(world.server)) == 4

    end(agents[0].process, signal.SIGKILL)
    assert agent_command(world.server, *words, "--role", "client").returncode == 0
    assert len(programs(world.server)) == 2
    world.client_agent()
    assert announced(world) == Y
    end(agents[1].process, signal.SIGKILL)
    assert agent_command(world.server, *words).returncode == 0
    assert "clsact" not in world.server.run("tc", "qdisc", "show", "dev", "eth0").stdout
    assert "no agent is attached" in agent_command(world.server, *words).stderr


# ---- metrics, logs ---------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="[^"\\\n]*",?)+)\} (\d+)')


def test_prometheus(world: World) -> None:
    """Every line is of the text format; counters are those of JSON, gauges count the entries of each map."""
    world.agents()
    idle = Idle(world)
    for host, role in ((world.client, "client"), (world.server, "server")):
        done = agent_command(host, "stats", "--interface", "eth0", "--format", "prometheus")
        assert done.returncode == 0 and done.stdout.endswith("\n")
        samples, helped, types = {}, {}, {}
        for line in done.stdout.splitlines():
            if line.startswith("# HELP "):
                name, helped_with = line.removeprefix("# HELP ").split(" ", 1)
                helped[name] = helped_with
            elif line.startswith("# TYPE "):
                name, kind = line.removeprefix("# TYPE ").split(" ")
                types[name] = kind
            else:
                sample = _SAMPLE.fullmatch(line)
                assert sample, line
                labels = dict(re.findall(r'([a-z]+)="([^"]*)"', sample[2]))
                assert labels.pop("interface") == "eth0" and labels.pop("role") == role
                assert sample[1] in helped and sample[1] in types, "HELP and TYPE come first"
                samples[sample[1], labels.get("map")] = int(sample[3])
        values = {f"portlb_agent_{name}_total": value for name, value in agent_stats(host).items()}
        assert {name: value for (name, _), value in samples.items() if name in values} == values
        meanings = {f"portlb_agent_{name}_total": meaning for name, meaning in counters.meanings().items()}
        assert {name: helped[name] for name in meanings} == meanings
        assert {types[name] for name in meanings} == {"counter"}
        gauges = {key: value for key, value in samples.items() if types[key[0]] == "gauge"}
        for name, used in (("connections", 1), ("aliases", int(role == "client"))):
            assert gauges.pop(("portlb_agent_entries", name)) == used
            assert gauges.pop(("portlb_agent_entries_max", name)) == 65536
        if role == "server":
            assert gauges.pop(("portlb_agent_entries", "half_open")) in (0, 1)
            assert gauges.pop(("portlb_agent_entries_max", "half_open")) == 16384
        assert not gauges
    assert idle.answers()


def test_log_of_rates(world: World) -> None:
    """A line for what moved in the time between, nothing while nothing moves."""
    client = fast(world, world.client, *CLIENT)
    world.server_agent()
    assert client.log() == ""
    assert world.get() == "odd\n"
    until(lambda: "confirmed" in client.log(), "the rates are logged")
    lines = client.log().splitlines()
    number = r"\d+(?:\.\d+)?"
    for line in lines:
        assert re.fullmatch(rf"client agent on eth0: per second: [a-z_ :,;.\d]*\b[a-z]+: [a-z_]+ {number}.*", line)
    assert "opened: syn_marked " in client.log() and "redirected: bound " in client.log()

    def is_silent() -> bool:
        logged = client.log()
        time.sleep(1)  # in which there would be three lines
        return client.log() == logged

    until(is_silent, "nothing more is logged")


# ---- the command line ------------------------------------------------------------------------------------------------

SOURCES = [
    (("--config", "lb.yaml"), "say one of"),
    (("--server", "a"), "say one of"),
    (("--config", "lb.yaml", "--controller", "http://h", "--server", "a"), "say one of"),
    (("--controller", "http://h", "--server", "a", "--vip", VIP), "say one of"),
    (("--vip", VIP, "--service-label", "7", "--config", "lb.yaml", "--server", "a"), "say one of"),
    (("--vip", VIP, "--redirect", "20"), "port 20 has nothing to announce"),
    (("--vip", VIP, "--service-address", "fd00::9", "--redirect", "20"), "stands for one --vip of its IP version"),
    (("--service", "1"), "say one of"),
    (("--controller", "file:///etc/passwd", "--server", "a"), "say unix:///PATH, https://HOST:PORT, or http"),
    (("--config", "nowhere/lb.yaml", "--server", "a"), "nowhere/lb.yaml: No such file"),
]


@pytest.mark.parametrize(("words", "reason"), SOURCES, ids=lambda value: value if isinstance(value, str) else "")
def test_sources_that_make_no_sense(world: World, words: tuple[str, ...], reason: str) -> None:
    """They are refused, and nothing is attached."""
    done = agent_command(world.server, "server", "--interface", "eth0", *words)
    assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr and not programs(world.server)


@pytest.mark.parametrize(
    "words",
    [
        ("client", "--service-address", "10.0.0.1/24"),
        ("client", "--service-address", "nowhere"),
        ("client", "--service-mac", "02:00:00:00:00:01/40"),
        ("client", "--service-mac", "02:00"),
        ("server", "--service-mac", "02:00:00:00:00:00/40"),
        ("server", "--service-mac", "01:00:00:00:00:01"),
        ("server", "--service-label", "0x100000"),
        ("server", "--service-label", "0"),
        ("server", "--service-address", "10.0.0.0/24"),
    ],
    ids=" ".join,
)
def test_names_that_cannot_be_meant(world: World, words: tuple[str, ...]) -> None:
    """X1, X2, X3: refused, with the word that is wrong, and nothing is attached."""
    role, option, value = words
    host = {"client": world.client, "server": world.server}[role]
    done = agent_command(host, role, "--interface", "eth0", "--vip", VIP, option, value)
    assert done.returncode == 2 and option in done.stderr and not programs(host), done.stderr


def test_several_addresses_of_both_families(world: World) -> None:
    """E2: --vip may be repeated for both roles; an address that cannot be meant is refused."""
    world.agents()
    for family in (4, 6):
        world.family, world.vip = family, {4: VIP, 6: "fd00:2::100"}[family]
        assert announced(world) == Y
    for address in ("fe80::1%eth0", "::ffff:10.0.2.100", "10.0.2"):
        assert agent_command(world.client, "client", "--interface", "eth0", "--vip", address).returncode == 2
