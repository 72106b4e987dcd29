"""Every command that a document shows is run, or it is said why not; what is shown as its output is its output."""

from __future__ import annotations

import re
import shutil
from ipaddress import ip_address
from pathlib import Path

import pytest

from portlb_app.cli import command, main
from portlb_app.config import load
from tests.support import reference
from tests.support.documents import (
    DOCUMENTS,
    NOT_RUN,
    ROOT,
    RUN_BY_OVS,
    WITHOUT_FILE,
    Shown,
    blocks,
    program_of,
    shown,
)

PORTLB = [each for each in shown() if each.program == "portlb"]
ELSEWHERE = ("controller", "agent")
"""Subcommands that need switches or interfaces: tests/ovs and tests/net run them. Here their flags are read."""
OF_AGENTS = ["agent", "quic-parameters"]
"""The one of them that needs none."""
SAMPLES_ELSEWHERE = {"portlb agent redirect --interface eth0 --from :1 --to 2": "tests/net/test_agent_redirect.py"}


def test_every_command_is_run_somewhere() -> None:
    """What no test runs has a reason, and every reason is for something that is shown."""
    programs = {each.program for each in shown()}
    assert {"portlb", *RUN_BY_OVS} <= programs
    assert programs - {"portlb", *RUN_BY_OVS} == set(NOT_RUN)


def test_no_block_hides_a_command() -> None:
    """A block that begins with a command has nothing but commands and comments, or one command with its output."""
    for path, lines in blocks():
        is_sample = lines[0].startswith("$ ") or "{" in lines or not all(lines[1:2])
        if program_of(lines[0]) and not is_sample:
            assert not [line for line in lines if line and line[0] not in " #" and not program_of(line)], path.name


@pytest.mark.parametrize("each", PORTLB, ids=lambda each: f"{each.document}: {each.line}")
def test_portlb_takes_what_is_shown(
    each: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where lb.yaml is that of FIG. 2."""
    words = each.words[1:]
    if words[:2] != OF_AGENTS and words[0] in ELSEWHERE or each.asks_controller:
        command.parser(words[:1]).parse_args(words)
        assert each.output is None or each.line in SAMPLES_ELSEWHERE or words[0] in WITHOUT_FILE
        return
    shutil.copy(ROOT / "flows/fig2/lb.yaml", tmp_path)
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    monkeypatch.chdir(tmp_path)
    if words == ["--version"]:
        with pytest.raises(SystemExit):
            main(words)
        return
    assert main(words) == 0
    printed = capsys.readouterr().out.rstrip("\n").splitlines()
    assert printed and each.output in (None, tuple(printed))


def test_files_that_documents_name_are_there() -> None:
    """Modules below portlb_app, and paths from the top."""
    for path in DOCUMENTS:
        if path.name in ("testing.md", "limits.md"):  # they name files and constants of their subject by the last part
            continue
        for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|h|c|md|sh|yaml|service|cfg))`", path.read_text()):
            places = (ROOT / name, ROOT / "portlb_app" / name, path.parent / name)
            if not name.startswith("/") and "NAME" not in name:
                assert any(place.exists() for place in places), f"{path.name}: {name}"


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/extending.md", "docs/architecture.md"])
def test_names_of_the_code_are_there(document: str) -> None:
    """Every name between backticks stands somewhere in the code."""
    code = "\n".join(path.read_text() for path in sorted(ROOT.glob("portlb_app/**/*.py")))
    for name in re.findall(r"`([A-Za-z_.]+)`", (ROOT / document).read_text()):
        assert re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", code), name


# ---- the table of README.md: which server gets a packet ----

README_CONFIGURATION = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {20: {servers: [a, b]}, 21: {servers: [a, b]}}%s}
servers:
  a: {vip: web, connector: s1:2, service_ports: [{port: 1, application: 20}, 21]}
  b: {vip: web, connector: s1:3, service_ports: [{port: 2, application: 20}, {port: 3, application: 21}]}
"""
POOL = reference.AnyOf(frozenset("ab"))
A, DROP, DEFAULT = reference.To("a"), reference.Drop(), "default server"
WITH_AGENT, PLAIN, UDP = (reference.TCP, reference.SYN | reference.REDIRECT), (reference.TCP, reference.SYN), (17, 0)


@pytest.mark.parametrize("has_default", [False, True])
@pytest.mark.parametrize(
    ("client", "port", "meant"),
    [
        *((client, 1, A) for client in (WITH_AGENT, PLAIN, UDP)),
        (WITH_AGENT, 20, POOL), (PLAIN, 20, DROP), (UDP, 20, POOL),
        (WITH_AGENT, 21, POOL), (PLAIN, 21, A), (UDP, 21, A),
        *((client, 99, DEFAULT) for client in (WITH_AGENT, PLAIN, UDP)),
    ],
)  # fmt: skip
def test_the_readme_says_which_server_gets_a_packet(
    client: tuple[int, int], port: int, meant: object, has_default: bool
) -> None:
    """By the reference, which tests/ovs/test_reference.py compares with real switches."""
    config = load(README_CONFIGURATION % (", default_server: b" if has_default else ""))
    protocol, flags = client
    sent = reference.Ip(ip_address("10.9.9.9"), ip_address("10.0.0.100"), protocol, "no", 40000, port, flags)
    if meant == DEFAULT:
        meant = reference.To("b") if has_default else DROP
    assert reference.deliver(config, config.switches[0], reference.Packet(1, 0x020000000001, sent)) == meant


@pytest.mark.parametrize("has_default", [False, True])
def test_the_readme_says_whether_a_ping_is_answered(has_default: bool) -> None:
    """By nothing, unless there is a default server."""
    config = load(README_CONFIGURATION % (", default_server: b" if has_default else ""))
    ping = reference.Ip(ip_address("10.9.9.9"), ip_address("10.0.0.100"), reference.ICMP, icmp_type=8)
    outcome = reference.deliver(config, config.switches[0], reference.Packet(1, 0x020000000001, ping))
    assert outcome == (reference.To("b") if has_default else DROP)
