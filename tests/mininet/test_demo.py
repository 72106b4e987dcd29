"""The demo is a test: it checks every claim it prints, and this runs it as a user would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.net.network import ROOT


def test_single_switch_demo() -> None:
    """``make demo``: FIG. 2 in Mininet, unmodified curl, exit code 0 only if all it shows is true."""
    command = (sys.executable, "-m", "mininet_topos.demo")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of this was true." in done.stdout
    assert "✗" not in done.stdout
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if b"portlb-demo-" in command], "every program has ended"
    left = subprocess.run(("ip", "-brief", "link"), capture_output=True, text=True, check=True).stdout
    assert "s1-eth" not in left, "the demo cleans up"
