"""What QUIC servers announce, as the configuration has it (row B2)."""

from __future__ import annotations

import json
import re
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from portlb_app.agent.errors import AgentError
from portlb_app.agent.mapping import mapping_of
from portlb_app.agent.quic import quic_port_of
from portlb_app.cli import main
from portlb_app.config import load

TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: [10.0.0.100, "fd00::100"], mac: "02:00:00:00:00:64", rewrite: REWRITE, redirect_ports: {
  443: {servers: [a, b]}, 444: {servers: [b]}}}}
servers:
  a: {vip: web, connector: s1:2, mac: "02:00:00:00:00:0a", address: [10.0.0.10, "fd00::10"],
      service_ports: [{port: 8001, application: 443}, 9]}
  b: {vip: web, connector: s1:3, mac: "02:00:00:00:00:0b", address: [10.0.0.11, "fd00::11"],
      service_ports: [{port: 8002, application: 443}, {port: 8102, application: 444}]}
  c: {vip: web, connector: s1:4, mac: "02:00:00:00:00:0c", address: [10.0.0.12, "fd00::12"], service_ports: [443]}
"""
V4, V6 = ip_address("10.0.0.100"), ip_address("fd00::100")


def text(rewrite: str, vip: str = '[10.0.0.100, "fd00::100"]') -> str:
    """The configuration in one mode of rewriting: servers have addresses of their own where these are rewritten."""
    made = TEXT.replace("REWRITE", rewrite).replace('[10.0.0.100, "fd00::100"]', vip)
    return made if rewrite == "address" else re.sub(r", address: \[10.0.0.1[0-2], [^]]*\]", "", made)


@pytest.mark.parametrize(("rewrite", "own"), [("mac", (V4, V6)), ("address", ("10.0.0.10", "fd00::10"))])
def test_clients_are_told_the_vip_and_sockets_have_what_packets_come_to(rewrite: str, own: tuple[object, ...]) -> None:
    """The load balancer rewrites both ways, or neither."""
    port = quic_port_of(mapping_of(load(text(rewrite)), "a"))
    assert port.preferred == ((V4, 8001), (V6, 8001))
    assert port.listen == tuple((ip_address(str(each)), number) for each in own for number in (443, 8001))


def test_the_parameter_is_encoded_as_rfc_9000_says() -> None:
    """18.2: address and port of IPv4, then of IPv6, both 0 for a version that there is not."""
    both = quic_port_of(mapping_of(load(text("mac")), "a")).encoded()
    assert both == V4.packed + bytes([0x1F, 0x41]) + V6.packed + bytes([0x1F, 0x41])
    one = text("mac", "10.0.0.100")
    assert quic_port_of(mapping_of(load(one), "a")).encoded() == V4.packed + bytes([0x1F, 0x41]) + bytes(18)


def test_a_port_is_chosen_where_there_are_several() -> None:
    """The message has those that there are; a service port that is its own redirect port is nothing to go on at."""
    mapping = mapping_of(load(text("mac")), "b")
    assert quic_port_of(mapping, 444).service_port == 8102
    for port in (None, 445):
        with pytest.raises(AgentError, match="say --port: .*: 443, 444$"):
            quic_port_of(mapping, port)
    with pytest.raises(AgentError, match=": none$"):
        quic_port_of(mapping_of(load(text("mac")), "c"), 443)


def test_the_command_prints_each_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has everything; a shell reads the variables; hex is what is encoded."""
    file = tmp_path / "lb.yaml"
    file.write_text(text("address"))
    words = ["agent", "quic-parameters", "--config", str(file), "--server", "a"]
    said = {}
    for format in ("json", "env", "hex"):
        assert main([*words, "--format", format]) == 0
        said[format] = capsys.readouterr().out
    made = json.loads(said["json"])
    assert made["preferred_address"] == {
        "ipv4": {"address": "10.0.0.100", "port": 8001}, "ipv6": {"address": "fd00::100", "port": 8001}
    }  # fmt: skip
    assert made["listen"][3] == {"address": "fd00::10", "port": 8001}
    assert said["hex"].strip() == made["encoded"]
    script = said["env"] + 'echo "$QUIC_LISTEN|$QUIC_PREFERRED_IPV4|$QUIC_PREFERRED_IPV6|$QUIC_PREFERRED_ENCODED"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    listen = "10.0.0.10:443 10.0.0.10:8001 [fd00::10]:443 [fd00::10]:8001"
    assert shell.strip() == f"{listen}|10.0.0.100:8001|[fd00::100]:8001|{made['encoded']}"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--config", "lb.yaml"], 1),
        (["--config", "lb.yaml", "--server", "a", "--server", "b"], 1),
        (["--config", "lb.yaml", "--server", "b"], 1),
        (["--config", "lb.yaml", "--server", "z"], 2),
        (["--config", "absent.yaml", "--server", "a"], 1),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(
    words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No output, and one line of why."""
    (tmp_path / "lb.yaml").write_text(text("mac"))
    monkeypatch.chdir(tmp_path)
    assert main(["agent", "quic-parameters", *words]) == code
    said = capsys.readouterr()
    assert not said.out and len(said.err.splitlines()) == 1
