"""What building a network asks of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from mininet.node import Controller, RemoteController

from mininet_topos import builder
from portlb_app.config import load
from tests.net.network import ROOT


@pytest.mark.parametrize(("kind", "asks"), [(builder.RunningController, False), (RemoteController, True)])
def test_telnet_is_not_asked(
    kind: type[Controller], asks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mininet's own class asks the controller by telnet, if there is one, and fails on what OpenFlow says."""
    telnet, asked = tmp_path / "telnet", tmp_path / "asked"
    telnet.write_text(f"#!/bin/sh\ntouch {asked}\n")
    telnet.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    node = kind("c0", ip="127.0.0.1", port=6653)
    node.terminate()
    assert asked.exists() == asks


def test_a_name_that_is_taken_is_refused_before_anything_is_made() -> None:
    """Mininet would fail half-way, or take an interface of somebody else's."""
    config = load((ROOT / "flows/fig2/lb.yaml").read_text().replace("s1", "lo"))
    with pytest.raises(RuntimeError, match="already has an interface lo$"):
        builder.refuse_taken(config)


def test_a_machine_without_hosts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a chroot whose root is no mount point: Mininet would wait forever for the host."""
    mnexec = tmp_path / "mnexec"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    mnexec.write_text("#!/bin/sh\necho remount: Invalid argument >&2\nexit 1\n")
    mnexec.chmod(0o755)
    with pytest.raises(RuntimeError, match="cannot make a host on this machine: remount: Invalid argument$"):
        builder.refuse_unable()
    mnexec.write_text("#!/bin/sh\n")
    builder.refuse_unable()
