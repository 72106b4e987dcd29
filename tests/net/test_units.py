"""The controller's unit under a running systemd: start, reload, restart, stop, and what its sandbox lets through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from resource import RLIMIT_NOFILE, getrlimit
from typing import Any

import pytest

from tests.net.network import ROOT, until
from tests.net.systemd import PYTHON, UNITS, Systemd, systemd

UNIT = "portlb-controller"
URL = "http://127.0.0.1:8080/v1"
FIG2 = (ROOT / "flows/fig2/lb.yaml").read_text()
CHANGED = FIG2.replace("22}, 9]", "22}, 9, 900]")
"""Of the same switch, with one more service port."""
AGAIN = 30.0
"""Seconds until a killed controller must be back: RestartSec, and a start, on a machine however busy."""


@pytest.fixture(scope="module")
def manager() -> Iterator[Systemd]:
    """A systemd with the controller's user, its directory and lb.yaml, as `docs/operations.md` has them made."""
    with systemd() as made:
        made.run("useradd", "--system", "--home-dir", "/etc/portlb", "--shell", "/usr/sbin/nologin", "portlb")
        made.run("install", "-d", "-o", "portlb", "-g", "portlb", "/etc/portlb")
        yield made


def write(manager: Systemd, text: str, name: str = "lb.yaml") -> None:
    """Put a file of user portlb into /etc/portlb."""
    manager.run("sh", "-c", f"cat >/etc/portlb/{name} && chown portlb: /etc/portlb/{name}", input=text)


def status(manager: Systemd) -> dict[str, Any]:
    """What REST says; nothing while it does not listen."""
    said = manager.run("curl", "--silent", "--fail", f"{URL}/status", check=False)
    return json.loads(said) if said else {}


@pytest.fixture
def controller(manager: Systemd) -> Systemd:
    """The unit runs, with FIG. 2's configuration."""
    if manager.show(UNIT, "ActiveState") != "active":
        write(manager, FIG2)
        manager.run("systemctl", "start", UNIT)
    until(lambda: status(manager), "REST answers")
    return manager


def processes(manager: Systemd) -> list[str]:
    """The unit's processes, by their numbers to its systemd."""
    return manager.run("cat", f"/sys/fs/cgroup/system.slice/{UNIT}.service/cgroup.procs").split()


def test_it_runs_as_its_user_without_capabilities(controller: Systemd) -> None:
    """Both processes; and the journal has its lines, without times of their own."""
    assert controller.show(UNIT, "ActiveState") == "active"
    pids = processes(controller)
    assert len(pids) == 2 and controller.show(UNIT, "MainPID") in pids
    user = controller.run("id", "-u", "portlb").strip()
    for pid in pids:
        known = dict(
            line.split(":\t", 1) for line in controller.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
        )
        assert known["Uid"].split() == [user] * 4 and int(known["CapBnd"], 16) == int(known["CapEff"], 16) == 0
        assert (known["NoNewPrivs"], known["Seccomp"]) == ("1", "2")
    lines = controller.log(UNIT).splitlines()
    assert any(line.startswith("ready: OpenFlow on ") for line in lines)
    assert not [line for line in lines if line.startswith("20")]


def test_a_reload_and_a_put_change_the_configuration(controller: Systemd) -> None:
    """ExecReload sends SIGHUP; and what is PUT replaces the file, which only ReadWritePaths allows."""
    before = controller.show(UNIT, "MainPID")
    write(controller, CHANGED)
    controller.run("systemctl", "reload", UNIT)
    until(lambda: "900" in controller.run("curl", "--silent", f"{URL}/config"), "the file is read again")
    typed = ("--request", "PUT", "--header", "Content-Type: application/yaml")
    words = (*typed, "--data-binary", "@-", f"{URL}/config?wait=accepted")
    controller.run("curl", "--silent", "--fail", *words, input=FIG2)
    assert controller.run("cat", "/etc/portlb/lb.yaml") == FIG2
    assert controller.show(UNIT, "MainPID") == before


def test_one_that_is_killed_is_started_again(controller: Systemd) -> None:
    """With the configuration that was live; its second process ends with it."""
    live = controller.run("curl", "--silent", f"{URL}/config")
    before, restarts = controller.show(UNIT, "MainPID"), int(controller.show(UNIT, "NRestarts"))
    controller.run("kill", "-KILL", before)
    until(lambda: int(controller.show(UNIT, "NRestarts")) > restarts and status(controller), "it is back", AGAIN)
    assert controller.show(UNIT, "MainPID") != before
    assert controller.run("curl", "--silent", f"{URL}/config") == live
    pids = processes(controller)
    assert len(pids) == 2 and before not in pids


def test_a_stop_is_no_failure(controller: Systemd) -> None:
    """SIGTERM ends it with 0 within TimeoutStopSec, and nothing starts it again."""
    controller.run("systemctl", "stop", UNIT)
    shown = [controller.show(UNIT, key) for key in ("ActiveState", "Result", "ExecMainStatus")]
    assert shown == ["inactive", "success", "0"]
    assert re.search("^INFO .*ended by a signal", controller.log(UNIT), re.MULTILINE), controller.log(UNIT)


PROBE = """
import ctypes, json, os, resource, socket
libc = ctypes.CDLL(None, use_errno=True)
def error(attempt):
    try:
        attempt()
    except OSError as refused:
        return os.strerror(refused.errno)
    return ""
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
def ruled(path):
    return error(lambda: open(path, "w").close())
found = {
    "write /etc/portlb": ruled("/etc/portlb/new"), "write /etc": ruled("/etc/new"), "write /usr": ruled("/usr/new"),
    "write /sys": ruled("/sys/fs/cgroup/cgroup.procs"), "write /proc/sys": ruled("/proc/sys/kernel/hostname"),
    "read kmsg": error(lambda: open("/dev/kmsg").close()), "homes": error(lambda: os.listdir("/root")),
    "other processes": [each for each in os.listdir("/proc") if each.isdigit() and not os.stat(f"/proc/{each}").st_uid],
    "temporary": os.listdir("/tmp"), "devices": [name for name in os.listdir("/dev") if name in ("vda", "sda", "mem")],
    "netlink": error(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "packets": error(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "port 80": error(lambda: socket.create_server(("127.0.0.1", 80))),
    "namespace": error(lambda: call("unshare", 0x40000000)),
    "mount": error(lambda: call("mount", b"a", b"/", b"b", 0, 0)),
    "set-user-id": error(lambda: os.chmod("/etc/portlb/new", 0o4755)),
    "personality": error(lambda: call("personality", 0x0008)),
    "clock": error(lambda: call("settimeofday", bytes(16), None)),
    "real time": error(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "mode": oct(os.stat("/etc/portlb/new").st_mode & 0o777),
    "TCP": error(lambda: socket.create_server(("127.0.0.1", 0))), "UNIX": error(lambda: socket.socket(socket.AF_UNIX)),
}
json.dump(found, open("/etc/portlb/found", "w"))
"""
READ_ONLY, REFUSED, ACCESS = "Read-only file system", "Operation not permitted", "Permission denied"
FOUND = {
    "write /etc/portlb": "", "write /etc": READ_ONLY, "write /usr": READ_ONLY, "write /sys": READ_ONLY,
    "write /proc/sys": READ_ONLY, "read kmsg": "No such file or directory", "homes": ACCESS, "other processes": [],
    "temporary": [], "devices": [], "netlink": "Address family not supported by protocol",
    "packets": "Address family not supported by protocol", "port 80": ACCESS, "namespace": REFUSED, "mount": REFUSED,
    "set-user-id": REFUSED, "personality": REFUSED, "clock": REFUSED, "real time": REFUSED,
    "mode": "0o640", "TCP": "", "UNIX": "",
}  # fmt: skip


def test_its_sandbox_holds(manager: Systemd) -> None:
    """A program in the controller's place, with the unit's settings, tries what the controller never needs."""
    text = (UNITS / f"{UNIT}.service").read_text()
    probed, places = re.subn(r"(?m)^ExecStart=.*$", f"ExecStart={PYTHON} /etc/portlb/probe.py", text)
    assert places == 1
    write(manager, PROBE, "probe.py")
    manager.run("sh", "-c", "cat >/etc/systemd/system/probe.service", input=probed.replace("Type=exec", "Type=oneshot"))
    manager.run("touch", "/tmp/of-others")
    manager.run("systemctl", "daemon-reload")
    manager.run("systemctl", "start", "probe", check=False)
    assert manager.show("probe", "Result") == "success", manager.log("probe")
    found = json.loads(manager.run("cat", "/etc/portlb/found"))
    assert found.pop("files") in (65536, getrlimit(RLIMIT_NOFILE)[1]), "or what the machine lets its systemd have"
    assert found == FOUND
