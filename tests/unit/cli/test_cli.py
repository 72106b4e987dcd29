"""The command line as a user runs it: processes, exit codes, and what is printed where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from portlb_app import __version__
from portlb_app.cli.check import pool_lines
from portlb_app.cli.controller import RESYNC
from portlb_app.config import load
from portlb_app.reconcile.reconciler import INTERVAL
from tests.support.programs import Programs

ROOT = Path(__file__).parents[3]
FIG2 = ROOT / "flows/fig2/lb.yaml"
PORTLB = "import sys; from portlb_app.cli import main; sys.exit(main(sys.argv[1:]))"
NO_LIBBPF = """
import ctypes, sys
assert "libbpf" not in open("/proc/self/maps").read()
real = ctypes.CDLL
def without(name, *rest, **named):
    if name and "libbpf" in name:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    return real(name, *rest, **named)
ctypes.CDLL = without
from portlb_app.cli import main
sys.exit(main(sys.argv[1:]))
"""
Portlb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def portlb(plain_programs: Programs) -> Portlb:
    """`portlb` with these words, as a process."""

    def run(*words: str | Path, program: str = PORTLB) -> subprocess.CompletedProcess[str]:
        return plain_programs.run(program, *words)

    return run


def as_typed(*words: str | Path, stdout: IO[str] | int) -> subprocess.CompletedProcess[str]:
    """The same as a new interpreter, with the end of one."""
    command = [sys.executable, "-m", "portlb_app.cli", *map(str, words)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, cwd=ROOT)


@pytest.mark.parametrize(
    "words",
    [["--version"], ["check", FIG2], ["--help"], *([each, "--help"] for each in ("controller", "agent"))],
)
def test_only_a_running_agent_needs_libbpf(words: list[str | Path], portlb: Portlb) -> None:
    done = portlb(*words, program=NO_LIBBPF)
    assert (done.returncode, done.stderr) == (0, "")
    if words == ["--version"]:
        assert done.stdout == f"portlb {__version__}\n"


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["check", str(FIG2)], ["controller", "--help"]])
def test_only_the_controller_imports_ryu(words: list[str], portlb: Portlb) -> None:
    program = (
        "import sys; from portlb_app.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('ryu', 'eventlet')], file=sys.stderr)"
    )
    assert portlb(*words, program=program).stderr == "[]\n"


def test_the_agent_says_which_library_is_missing(portlb: Portlb) -> None:
    done = portlb("agent", "health", "--interface", "lo", program=NO_LIBBPF)
    assert done.returncode == 1
    assert "libbpf.so.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_takes_several_files(tmp_path: Path, portlb: Portlb) -> None:
    wrong, noticed = tmp_path / "wrong.yaml", tmp_path / "noticed.yaml"
    wrong.write_text("switches: 7")
    noticed.write_text(FIG2.read_text().replace("22}, 9]", "22}, 40001]"))
    done = portlb("check", noticed)
    assert done.returncode == 0
    assert done.stderr.startswith("notice: servers.")
    assert done.stdout.startswith(f"{noticed}: no mistakes; ")
    done = portlb("check", FIG2, wrong, noticed, tmp_path / "none.yaml")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == f"{wrong}: switches: is a mapping from names to entries"
    assert lines[1].startswith(f"{noticed}: notice: servers.")
    assert "none.yaml" in lines[2] and len(lines) == 3
    of_pools = [line for line in done.stdout.splitlines() if " slots (k=" in line]
    assert of_pools[1] == f"{FIG2}: web:21: 256 slots (k=0) of 3 servers; the fullest has 0.8 % more than its share"
    assert len(done.stdout.splitlines()) == 2 + len(of_pools) == 8
    assert portlb("check", FIG2, tmp_path / "none.yaml").returncode == 1


def test_check_says_how_even_pools_are() -> None:
    """One line for all pools that are alike; a server of weight 0 has no slots."""
    weights = {f"s{number}": 1 for number in range(200)} | {"a": 1, "b": 2, "c": 5, "d": 0}
    servers = {
        name: {"vip": "web", "connector": f"s1:{number}", "weight": weight}
        for number, (name, weight) in enumerate(weights.items(), 2)
    }
    large = [f"s{number}" for number in range(200)]
    pools = {80: large, 81: large, 82: ["a", "b", "c", "d"], 83: ["d"], 84: []}
    vip = {
        "address": "10.0.0.100",
        "mac": "02:00:00:00:00:64",
        "redirect_ports": {port: {"servers": names} for port, names in pools.items()},
    }
    data = {"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": servers}
    assert list(pool_lines(load(json.dumps(data)))) == [
        "web:80, web:81: 8192 slots (k=5) of 200 servers; the fullest has 0.1 % more than its share",
        "web:82: 256 slots (k=0) of 3 servers; the fullest has 0.0 % more than its share",
        "web:83, web:84: no server gets a connection",
    ]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = as_typed("check", FIG2, stdout=writer)
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def test_output_that_cannot_be_written_is_said_once() -> None:
    with open("/dev/full", "w") as full:
        done = as_typed("check", FIG2, stdout=full)
    assert (done.returncode, done.stderr) == (1, "portlb: No space left on device\n")


@pytest.mark.parametrize("words", [["check"], ["compile", "-o", "never"], ["controller"]])
def test_a_file_that_cannot_be_read_is_named(words: list[str], tmp_path: Path, portlb: Portlb) -> None:
    done = portlb(*words, "/nonexistent/lb.yaml")
    assert (done.returncode, done.stderr) == (1, "portlb: /nonexistent/lb.yaml: No such file or directory\n")


def test_a_file_in_another_encoding_says_where(tmp_path: Path, portlb: Portlb) -> None:
    (tmp_path / "lb.yaml").write_bytes(b"vips: \xe4")
    done = portlb("check", tmp_path / "lb.yaml")
    assert (done.returncode, done.stderr) == (1, f"portlb: {tmp_path}/lb.yaml: it is not UTF-8: byte 6 is 0xe4\n")


# ---- the controller's flags ----


def test_help_names_our_flags_and_nobody_elses(portlb: Portlb) -> None:
    done = portlb("controller", "--help")
    assert done.returncode == 0
    named = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE))
    documented = set(re.findall(r"`(--[a-z-]+)`", (ROOT / "docs/operations.md").read_text()))
    assert "--ofp-tcp-listen-port" in named
    assert named <= documented
    assert not [flag for flag in named if "bgp" in flag or "zapi" in flag]


@pytest.mark.parametrize(
    "words", [["--nonsense"], ["--shell_completion", "bash"], ["--wsapi", "7"], ["--bgp-app-config-file", "x"]]
)
def test_a_flag_nobody_knows_is_one_short_message(words: list[str], portlb: Portlb) -> None:
    done = portlb("controller", "none.yaml", *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) < 5
    assert f"unrecognized arguments: {words[0]}" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wsapi-port", "65536"], "'65536' is no port: 0 to 65535, 0 for any that is free"),
        (["--wsapi-port", "-1"], "is no port"),
        (["--ofp-tcp-listen-port", "9" * 5000], "is no port"),
        (["--resync-interval", "nan"], "'nan' is no number of seconds from 0.1 to 86400"),
        (["--resync-interval", "1e999"], "is no number of seconds"),
        (["--resync-interval", "0"], "is no number of seconds"),
        (["--wsapi-host", "192.0.2.1"], "other hosts need --wsapi-tls and --wsapi-access"),
        (["--wsapi-host", "192.0.2.1", "--wsapi-tls", "a", "b"], "other hosts need --wsapi-tls and --wsapi-access"),
        (["--wsapi-client-ca", "x", "--wsapi-access", "y"], "--wsapi-client-ca needs --wsapi-tls, and --wsapi-access"),
        (["--metrics-listen", "9302"], "'9302' is no ADDRESS:PORT"),
        (["--metrics-listen", "[::]:65536"], "'65536' is no port"),
        (["--ready-after", "-1"], "'-1' is no number of seconds"),
        (["--ca-certs", "x"], "--ca-certs needs --ctl-privkey and --ctl-cert"),
        (["--ctl-cert", "x"], "--ctl-privkey and --ctl-cert are given together"),
    ],
)
def test_a_wrong_flag_is_told(words: list[str], message: str, portlb: Portlb) -> None:
    done = portlb("controller", "none.yaml", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pause_between_two_looks_is_the_reconcilers() -> None:
    assert RESYNC == INTERVAL
