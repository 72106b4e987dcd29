"""The demos are tests: they check every claim they print, and this runs them as a user would."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.net.network import ROOT
from tests.support.commands import run

EXAMPLES = {"single": "fig2", "tree": "tree", "leafspine": "leafspine", "mptcp": "mptcp"}


def machine(directory: Path) -> dict[str, str]:
    """The environment of somebody who has set up much, of which nothing may matter."""
    for name in ("curl", "nginx", "ip", "tcpdump", "ovs-vsctl"):
        (directory / name).write_text("#!/bin/sh\nexit 1\n")
        (directory / name).chmod(0o755)
    (directory / ".curlrc").write_text("max-time = 0.001\nproxy = http://127.0.0.1:9\n")
    nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"), "http://127.0.0.1:9")
    shell = {"SHELL": "/bin/false", "PROMPT_COMMAND": "echo hello", "BASH_ENV": "/nonexistent", "IFS": "e"}
    ours = {"HOME": str(directory), "PATH": f"{directory}:/usr/bin:/bin", "OVS_RUNDIR": "/nonexistent"}
    return {**nowhere, **shell, **ours, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


def programs() -> set[tuple[str, bytes]]:
    """The programs of demos on this machine: process number and command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if b"portlb-demo-" in (command := path.read_bytes()):
                found.add((path.parent.name, command))
    return found


@pytest.mark.parametrize("topology", EXAMPLES)
def test_demo(topology: str, tmp_path: Path) -> None:
    """``make demo TOPO=…``: Mininet, unmodified curl, exit code 0 only if all it shows is true.

    Whatever the machine has installed, and whatever the user's shell and home directory say.
    """
    command, before = (sys.executable, "-m", "mininet_topos.demo", topology), programs()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL, env=machine(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of this was true." in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith(" ? ")]) > 10, "claims, drawn in ASCII"
    assert not programs() - before, "every program has ended"
    left = run("ip", "-brief", "link").stdout
    switches = yaml.safe_load((ROOT / f"flows/{EXAMPLES[topology]}/lb.yaml").read_text())["switches"]
    assert not [name for name in switches if f"{name}-eth" in left], "the demo cleans up"
