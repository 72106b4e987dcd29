"""The demos are tests: they check every claim they print, and this runs them as a user would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.net.network import ROOT

EXAMPLES = {"single": "fig2", "tree": "tree", "leafspine": "leafspine"}


@pytest.mark.parametrize("topology", EXAMPLES)
def test_demo(topology: str) -> None:
    """``make demo TOPO=…``: Mininet, unmodified curl, exit code 0 only if all it shows is true."""
    command = (sys.executable, "-m", "mininet_topos.demo", topology)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of this was true." in done.stdout
    assert "✗" not in done.stdout
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if b"portlb-demo-" in command], "every program has ended"
    left = subprocess.run(("ip", "-brief", "link"), capture_output=True, text=True, check=True).stdout
    switches = yaml.safe_load((ROOT / f"flows/{EXAMPLES[topology]}/lb.yaml").read_text())["switches"]
    assert not [name for name in switches if f"{name}-eth" in left], "the demo cleans up"
