"""The controller's unit for systemd. tests/net/test_agent_service.py has the agents' and runs as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from portlb_app.cli import command as portlb

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/systemd/portlb-controller.service"


@pytest.mark.parametrize(("wrong", "said"), [("Restart", ""), ("Restrat", "Restrat")])
def test_systemd_has_nothing_to_say(tmp_path: Path, wrong: str, said: str) -> None:
    """And would."""
    portlb = Path(sys.executable).with_name("portlb")
    text = UNIT.read_text().replace("ExecStart=portlb ", f"ExecStart={portlb} ").replace("Restart=", f"{wrong}=")
    assert str(portlb) in text
    (tmp_path / UNIT.name).write_text(text.replace("man:portlb(1)", "man:man(1)"))  # the page is not installed here
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT.name)], capture_output=True, text=True, timeout=60
    )
    assert said in done.stderr and bool(said) == bool(done.stderr), done.stderr


def test_its_command_is_one() -> None:
    """With the arguments of the example."""
    text = UNIT.read_text()
    command = re.search(r"^ExecStart=portlb (.*) \$ARGUMENTS$", text, re.MULTILINE)
    example = re.search(r'^#   ARGUMENTS="(.*)"$', text, re.MULTILINE)
    assert command and example
    options = portlb.parser().parse_args([*command[1].split(), *example[1].split()])
    assert options.config == Path("/etc/portlb/lb.yaml")
