"""The Open vSwitch a demo runs on: the machine's own where one runs, else one started for it and ended with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_SECONDS = 10
_OFCTL = ("ovs-ofctl", f"--timeout={_SECONDS}", "-O", "OpenFlow15")


def vsctl(*words: str) -> str:
    """ovs-vsctl's output; RuntimeError with what it says if it fails."""
    return _run("ovs-vsctl", f"--timeout={_SECONDS}", *words)


def ofctl(*words: str) -> str:
    """ovs-ofctl's output in OpenFlow 1.5; RuntimeError with what it says if it fails."""
    return _run(*_OFCTL, *words)


def difference(bridge: str, flows: Path) -> str:
    """How a bridge's flows differ from those in a file, as ovs-ofctl prints it; empty if they do not."""
    return _run(*_OFCTL, "diff-flows", bridge, str(flows), good=(0, 2))  # 2: they differ


def appctl(*words: str) -> str:
    """ovs-appctl's output; RuntimeError with what it says if it fails."""
    return _run("ovs-appctl", f"--timeout={_SECONDS}", *words)


def _run(*words: str, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in good:
        raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def datapath() -> str:
    """Mininet's word for the datapath this machine has: ``kernel`` with the openvswitch module, else ``user``."""
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(("modprobe", "openvswitch"), capture_output=True)
    return "kernel" if Path("/sys/module/openvswitch").exists() else "user"


@contextlib.contextmanager
def running(bridges: tuple[str, ...]) -> Iterator[str]:
    """An Open vSwitch that the commands above and Mininet reach; yields whose it is.

    RuntimeError if the machine's own already has a bridge of one of these names: Mininet would replace it.
    """
    if subprocess.run(("ovs-vsctl", "--timeout=2", "show"), capture_output=True).returncode == 0:
        taken = set(vsctl("list-br").split()) & set(bridges)
        if taken:
            raise RuntimeError(f"this machine's Open vSwitch already has a bridge {', '.join(sorted(taken))}")
        yield "this machine's own"
        return
    with tempfile.TemporaryDirectory(prefix="portlb-ovs-") as directory, contextlib.ExitStack() as stack:
        variables = dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), directory)
        os.environ.update(variables)
        stack.callback(lambda: [os.environ.pop(name) for name in variables])
        here = Path(directory)
        _run("ovsdb-tool", "create", str(here / "conf.db"), str(_SCHEMA))
        stack.enter_context(_daemon("ovsdb-server", str(here / "conf.db"), f"--remote=punix:{here / 'db.sock'}"))
        _wait_for(here / "db.sock")
        vsctl("--no-wait", "init")
        stack.enter_context(_daemon("ovs-vswitchd", f"unix:{here / 'db.sock'}"))
        _wait_for(here / "ovs-vswitchd.pid")
        yield "started for this demo"


@contextlib.contextmanager
def _daemon(program: str, *words: str) -> Iterator[None]:
    with open(Path(os.environ["OVS_RUNDIR"]) / f"{program}.out", "wb") as output:
        process = subprocess.Popen(
            (program, *words, "--pidfile", "--log-file", "-vconsole:off"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # an interrupt at the prompt is not for it
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Open vSwitch did not start: no {path.name} within {_SECONDS} s")
        time.sleep(0.02)
