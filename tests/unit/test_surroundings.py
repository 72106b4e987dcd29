"""What demos and tests take from the machine: not what a user's shell or home directory say."""

from __future__ import annotations

from pathlib import Path

from mininet_topos.demo.surroundings import environment


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
