"""What demos and tests take from the machine: not what a user's shell or home directory say."""

from __future__ import annotations

import sys
from pathlib import Path

from mininet_topos.demo.surroundings import environment
from tests.support.commands import run

ROOT = Path(__file__).parents[2]


def test_nothing_of_a_user_s_own_reaches_the_programs(tmp_path: Path) -> None:
    given = {
        **{name: "x" for name in ("http_proxy", "ALL_PROXY", "CURL_HOME", "OVS_RUNDIR", "PYTHONPATH", "BASH_ENV")},
        **{name: "x" for name in ("PROMPT_COMMAND", "LC_MESSAGES", "LANGUAGE", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME")},
        **{"TERM": "dumb", "PORTLB_SEED": "7", "SHELL": "/usr/bin/fish", "HOME": "/root"},
        **{"PATH": "/opt/own:/usr/bin::"},
    }
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/own"
    wanted = {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "PATH": path, "SHELL": "/bin/sh"}
    assert environment(given, tmp_path) == {**wanted, "TERM": "dumb", "PORTLB_SEED": "7"}


def test_mininet_changes_no_logger() -> None:
    """Mininet would make every later logger one of its own, of a level that loses lines."""
    program = (
        "import mininet_topos.builder, logging; made = logging.getLogger('portlb.made.later'); "
        "print(type(made).__name__, made.level, made.handlers)"
    )
    assert run(sys.executable, "-c", program, cwd=ROOT).stdout == "Logger 0 []\n"
