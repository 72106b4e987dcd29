"""What the documents have an operator type, typed: Open vSwitch's commands, and curl's to a controller."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portlb_app import compiler
from portlb_app.cli.output import ATTENTION
from portlb_app.config import load
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch
from tests.support.documents import ASKS_CONTROLLER, ROOT, RUN_BY_OVS, WITHOUT_FILE, Shown, blocks, shown

FIG2 = ROOT / "flows/fig2/lb.yaml"
ELSEWHERE = {
    "set-ssl": "tests/ovs/test_attach.py connects by TLS",
    "ssl:192.0.2.1": "the same",
    "https://lb.example": "tests/ovs/test_access.py asks by TLS",
    "under": "a tunnel needs a real path; tests/net/connectors.py has one",
    "type=vxlan": "the same",
    "bond0": "a bond of the kernel's needs network cards; tests/ovs/test_troubles.py has one of Open vSwitch",
}
"""Commands by a part of them, and what does that instead."""
MORE_CODES = {"status": (ATTENTION,)}
"""Exit codes that say something about this bridge, which lacks the ports of three servers."""
COMMANDS = [
    each
    for each in shown()
    if each.program in RUN_BY_OVS and not any(part in each.line for part in ELSEWHERE)
]
"""What is run, in the order of the documents."""


class Shell:
    """Runs commands where lb.yaml is that of FIG. 2, and its switch is s1 of a private Open vSwitch."""

    def __init__(self, switch: Switch, directory: Path) -> None:
        self.directory, self._switch = directory, switch
        shutil.copy(FIG2, directory / "lb.yaml")
        shutil.copy(FIG2, directory / "new.yaml")
        (directory / "flows").symlink_to(ROOT / "flows")
        self.controller = ControllerProcess(directory / "lb.yaml", "--app", "ryu.app.ofctl_rest")

    def set_ports_up(self) -> None:
        """Those of a dummy bridge are down at first, and what is behind them counts as down."""
        self._switch.appctl("netdev-dummy/set-admin-state", "up")

    def run(self, command: str, *codes: int) -> str:
        """The output of a command, with this controller's ports in place of the usual ones; it must not fail.

        `codes`: exit codes besides 0 that it may have.
        """
        for usual, port in ((6653, self.controller.openflow_port), (8080, self.controller.rest_port)):
            command = command.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")
        command = command.replace("/run/portlb.sock", self.controller.socket)
        portlb = f"PORTLB_CONTROLLER=http://127.0.0.1:{self.controller.rest_port} {sys.executable} -m portlb_app.cli "
        command = re.sub(r"^portlb ", portlb, command)
        command = command.replace("curl ", "curl --fail --silent --show-error --noproxy '*' ")
        control = str(self._switch.directory / "vswitchd.ctl")
        command = command.replace("ovs-appctl ", f"ovs-appctl -t {control} ")
        done = subprocess.run(
            ["sh", "-e"], input=command, text=True, capture_output=True, timeout=60, cwd=self.directory,
            env=self._switch.environment,
        )  # fmt: skip
        assert done.returncode in (0, *codes) and not done.stderr, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def shell(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell on the controller's machine, which is the switch's, too."""
    shell = Shell(switch, tmp_path_factory.mktemp("documents"))
    yield shell
    switch.vsctl("--if-exists", "del-br", "s1")
    assert shell.controller.close() == 0


def of(program: str, *parts: str) -> list[Shown]:
    """The commands of operations.md that run a program and have these parts."""
    found = [each for each in COMMANDS if each.program == program and each.document == "operations.md"]
    chosen = [each for each in found if all(part in each.line for part in parts)]
    assert chosen, (program, parts)
    return chosen


def keys(value: Any) -> Any:
    """The shape of a JSON value: keys, and of lists the first element."""
    if isinstance(value, dict):
        return {name: keys(each) for name, each in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else type(value) in (dict, list)


def test_a_bridge_is_attached_by_hand(shell: Shell) -> None:
    """The commands of "Attach a bridge": the switch is synced and has the port that was wished for."""
    printed = [shell.run(each.line) for each in of("ovs-vsctl") if "is_connected" not in each.line]
    assert "2\n" in printed
    shell.set_ports_up()
    shell.controller.wait_for_state("s1", "synced")


def test_a_server_says_why(shell: Shell) -> None:
    """docs/explain.md: the sample is what is printed, but for how long ago things were."""
    shell.controller.wait_for_state("s1", "synced")
    [why] = [
        each
        for each in shown()
        if (each.document, each.program) == ("explain.md", "portlb") and each.words[1] == "why"
    ]
    [sample] = [lines for path, lines in blocks() if path.name == "explain.md" and "gets new connections" in lines[0]]
    printed = shell.run(why.line).splitlines()
    assert [re.sub(r", \w+ ago$", "", line) for line in printed] == [re.sub(r", \w+ ago$", "", line) for line in sample]


def test_rest_answers_as_it_is_shown(shell: Shell) -> None:
    """Every curl: the status has the members of the sample, each configuration is accepted."""
    for each in of("curl"):
        printed = shell.run(each.line)
        if "-X PUT" in each.line and "/v1/config" in each.line:
            assert json.loads(printed)["generation"] > 1
    assert (shell.directory / "lb.yaml.now").read_text() == FIG2.read_text()
    [sample] = [lines for _, lines in blocks() if lines[0] == "{" and any('"generation"' in line for line in lines)]
    shown_status = json.loads("\n".join(sample))
    real = json.loads(shell.run("curl http://127.0.0.1:8080/v1/status"))
    assert real.keys() == shown_status.keys()
    assert real["switches"][0].keys() == shown_status["switches"][0].keys()
    assert real["switches"][0]["metered"].keys() == shown_status["switches"][0]["metered"].keys()
    for part in ("punted", "connections", "refused_connections"):
        assert keys(real[part]) == keys(shown_status[part]), part


def test_every_resource_answers_as_it_is_shown(shell: Shell) -> None:
    """The curls of rest.md, in their order: the switch has what they are about."""
    shell.controller.wait_for_state("s1", "synced")
    asked = [each for each in COMMANDS if each.document == "rest.md"]
    assert len(asked) > 10
    printed = {each.line: shell.run(each.line) for each in asked}
    [dry] = [json.loads(text) for line, text in printed.items() if "config?dry_run" in line]
    assert dry["dry_run"] and dry["switches"]["s1"].keys() == {"add", "modify", "delete", "steps"}
    [text] = [text for line, text in printed.items() if "format=text" in line]
    flows = [line for line in FIG2.with_name("s1.flows").read_text().splitlines() if line.startswith("cookie=")]
    assert {line for line in text.splitlines() if line.startswith("cookie=")} == set(flows)


def test_metrics_are_scraped_as_it_is_shown(shell: Shell) -> None:
    """The curl of metrics.md."""
    [command] = [each for each in COMMANDS if each.document == "metrics.md"]
    assert "# TYPE portlb_switch_connected gauge" in shell.run(command.line)


def test_servers_are_taken_out_and_back(shell: Shell) -> None:
    """Every command of portlb that asks a controller, in the order of operations.md; each ends with 0."""
    shell.controller.wait_for_state("s1", "synced")
    asked = [
        each
        for each in shown()
        if each.program == "portlb" and each.asks_controller and each.document != "first-hour.md"
    ]
    assert {each.words[1] for each in asked} == (ASKS_CONTROLLER | WITHOUT_FILE) - {"maint"}
    for each in asked:
        printed = shell.run(each.line, *MORE_CODES.get(each.words[1], ()))
        if each.words[1] == "drain":
            assert "web:22: " in printed
        if each.words[1] == "explain":
            assert each.output is None or printed.splitlines() == list(each.output)
            assert ("--ask" in each.words) == (", slot " in printed)
    assert json.loads(printed)["servers"][0]["wanted"]["source"] == "file"


def test_the_first_hour(shell: Shell, switch: Switch, tmp_path: Path) -> None:
    """first-hour.md from its beginning to its end, with a controller of its own, and what each step promises."""
    hour = Shell(switch, tmp_path)
    said: dict[str, list[str]] = {}
    try:
        attached = hour.run("portlb attach lb.yaml")
        hour.run(re.sub(r"(?m)^# (ovs-vsctl .*)IFACE (.*)IFACE (.*=(\d+))$", r"\1eth\4 \2eth\4 \3", attached))
        hour.set_ports_up()
        hour.controller.wait_for_state("s1", "synced")
        wait_for("all are up", lambda: len(hour.run("portlb servers -o name --state up").split()) == 4)
        for each in shown():
            if each.document == "first-hour.md" and (each.program == "curl" or each.asks_controller):
                said.setdefault(each.line, []).append(hour.run(each.line, *MORE_CODES.get(each.words[1], ())))
        text = (hour.directory / "lb.yaml").read_text()
    finally:
        for port in ("eth3", "eth4", "eth5"):
            switch.vsctl("--if-exists", "del-port", port)
        shell.run(shell.run("portlb attach lb.yaml"))
        assert hour.controller.close() == 0
    [shared] = said["portlb explain 'tcp 192.0.2.7:4000 > web:22 syn redirect'"]
    [asked] = said["portlb explain --ask 'tcp 192.0.2.7:4000 > web:22 syn redirect'"]
    assert shared.count("reaches server") == 4 and asked.count("reaches server") == 1
    dry, added = (json.loads(printed[0]) for line, printed in said.items() if line.startswith("curl "))
    assert dry["dry_run"] and dry["switches"]["s1"]["add"] > 0 and added["landed"] == {"s1": "has it"}
    explained = said["portlb explain 'tcp 192.0.2.7:4000 > web:23 syn'"]
    plain = [set(re.findall(r"server (\w)", each)) for each in explained]
    assert plain == [{"c", "d"}, {"c"}, {"d"}], "balanced, drained, and undone: then d is the default server"
    assert text == FIG2.read_text()


def test_a_packet_is_followed_over_rest(shell: Shell) -> None:
    """docs/explain.md: the curl answers what the command shows in words."""
    shell.controller.wait_for_state("s1", "synced")
    [curl] = [each for each in COMMANDS if each.program == "curl" and each.document == "explain.md"]
    [start] = json.loads(shell.run(curl.line))["starts"]
    assert [each["name"] for outcome in start["outcomes"] for each in outcome["exits"]] == ["c"]


def test_the_switch_tells_which_server_gets_a_packet(shell: Shell) -> None:
    """A SYN to port 1 reaches a's connector; one with REDIRECT to port 22 ends in the pool's group."""
    [service] = of("ovs-appctl", "ofproto/trace")
    assert re.search(r"^ +output:2$", shell.run(service.line), re.MULTILINE)
    [shared] = [each for each in COMMANDS if each.program == "ovs-appctl" and each.document == "pipeline.md"]
    assert re.search(r"^ +group:\d+$", shell.run(shared.line), re.MULTILINE)


def test_the_walk_is_the_switchs(switch: Switch) -> None:
    """Every line of "One walk" is one of the trace's, but for the words on the right."""
    section = (ROOT / "docs/pipeline.md").read_text().partition("## One walk")[2]
    command, _, walk = section.partition("```\n")[2].partition("\n```")[0].partition("\n\n")
    bridge = Bridge(switch, [1, 2, 3, 4, 5])
    try:
        bridge.install(compiler.compile(load(FIG2.read_text()))["s1"])
        traced = switch.appctl("ofproto/trace", bridge.name, command.split()[-1])
        traced = re.sub(r"recirc\(0x\w+\)", "recirc(0x1)", traced)  # others were numbered before
    finally:
        bridge.close()
    lines = [re.sub(r" {3,}[A-Z]+: .*$", "", line).strip() for line in walk.splitlines()]
    assert [line for line in lines if line] == [
        line.strip() for line in traced.splitlines()[4:] if line.strip() and not line.startswith("Final flow")
    ]


def test_what_is_wrong_can_be_asked(shell: Shell) -> None:
    """Each command of the table of symptoms that asks the switch or the controller is one."""
    section = (ROOT / "docs/operations.md").read_text().partition("## What is wrong?")[2].partition("## Limits")[0]
    asked = re.findall(r"`((?:ovs-vsctl|ovs-ofctl|curl) [^`]+)`", section)
    assert len(asked) > 4
    for each in asked:
        assert shell.run(each), each


def test_tables_without_a_controller(shell: Shell, switch: Switch) -> None:
    """The commands of "Without a controller" install what the files have."""
    switch.vsctl("del-controller", "s1")
    switch.ofctl("del-flows", "s1")
    switch.ofctl("del-groups", "s1")
    switch.ofctl("del-meters", "s1")
    wait_for("no flows", lambda: "flow_count=0" in switch.ofctl("dump-aggregate", "s1"))
    for each in (*of("grep"), *of("ovs-ofctl", "add-groups"), *of("ovs-ofctl", "replace-flows")):
        shell.run(each.line)
    count = sum(line.startswith("cookie=") for line in FIG2.with_name("s1.flows").read_text().splitlines())
    assert f"flow_count={count}" in switch.ofctl("dump-aggregate", "s1")
