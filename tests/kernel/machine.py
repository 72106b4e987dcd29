"""A machine of its own for the kernel datapath: a Debian kernel in qemu, without KVM, disk or network.

What its switch says to a controller comes out of its second serial port, and here goes on to a real one (`Line`).

It boots from what ``scripts/prepare-kernel.sh`` made and one more archive that holds the guest's program, its plan and
the compiled tables; it prints a line for every step and powers itself off.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / ".cache" / "kernel" / "current"
GUEST = Path(__file__).parent / "guest"
SECONDS = 480
"""From power on to power off. It is ended then."""
_MARK = "RESULT "


class GuestError(Exception):
    """The guest did not do its steps; the message has the end of what it printed."""


def archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive ("newc") of files by their path, with the directories they are in."""
    directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    entries = [(name, 0o040755, b"") for name in sorted(directories)]
    entries += [(name, 0o100644, data) for name, data in sorted(files.items())]
    whole = b""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        for part in (head, data):
            whole += part + bytes(-len(part) % 4)
    return whole


def _short(told: dict[str, Any]) -> str:
    """A report on one line: of frames and lines how many."""
    counted = {key: len(value) if key in ("frames", "lines", "features") else value for key, value in told.items()}
    return ", ".join(f"{key} {value}" for key, value in counted.items() if key not in ("uptime", "transfers"))[:300]


class Line:
    """The guest's second serial port: a connection to the controller on a port of this machine, once it is used."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def options(self) -> list[str]:
        """qemu's options for it."""
        port = self._listener.getsockname()[1]
        return ["-chardev", f"socket,id=line,host=127.0.0.1,port={port}", "-serial", "chardev:line"]

    def _run(self) -> None:
        guest, _ = self._listener.accept()
        with guest:
            first = guest.recv(1 << 16)  # a controller waits ten seconds for it, and a guest boots for longer
            with socket.create_connection(("127.0.0.1", self._port)) as controller:
                controller.sendall(first)
                back = threading.Thread(target=self._copy, args=(controller, guest))
                back.start()
                self._copy(guest, controller)
                back.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no connection any more."""
        self._listener.close()


def boot(
    directory: Path, plan: list[dict[str, Any]], tables: Path, controller: int | None = None
) -> dict[str, dict[str, Any]]:
    """Boot, do the plan's steps, power off: the report of every step by its name. GuestError if one has none.

    `controller` is the TCP port of a controller on this machine, for a step that attaches the switch to one.
    """
    if controller is not None:
        with contextlib.closing(Line(controller)) as line:
            return _boot(directory, plan, tables, line.options)
    return _boot(directory, plan, tables, [])


def _boot(
    directory: Path, plan: list[dict[str, Any]], tables: Path, options: list[str]
) -> dict[str, dict[str, Any]]:
    if not MADE.exists():
        raise GuestError("there is nothing to boot: run make test-kernel, or scripts/prepare-kernel.sh")
    files = {f"guest/{path.name}": path.read_bytes() for path in GUEST.glob("*.py")}
    files["guest/plan.json"] = json.dumps(plan).encode()
    for path in tables.glob("*/*"):
        files[f"guest/tables/{path.relative_to(tables)}"] = path.read_bytes()
    initial = directory / "initial.cpio"
    initial.write_bytes((MADE / "root.cpio").read_bytes() + archive(files))
    command = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi"]
    command += ["-cpu", "max", "-smp", "2", "-m", "768"]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", *options]
    command += ["-kernel", str(MADE / "vmlinuz"), "-initrd", str(initial)]
    command += ["-append", "console=ttyS0 quiet panic=-1"]
    lines: list[str] = []
    reports: dict[str, dict[str, Any]] = {}
    began = time.monotonic()
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes) as qemu:
        watchdog = threading.Timer(SECONDS, qemu.kill)
        watchdog.start()
        try:
            assert qemu.stdout is not None
            for raw in qemu.stdout:
                line = raw.decode(errors="replace").strip()
                lines.append(line[:300])
                if line.startswith(_MARK):
                    told = json.loads(line.removeprefix(_MARK))
                    name = told.pop("name")
                    reports[name] = told
                    print(f"{time.monotonic() - began:6.1f} s  {name}: {_short(told)}", flush=True)
        finally:
            watchdog.cancel()
            qemu.kill()
    missing = [step["name"] for step in plan if step["name"] not in reports]
    if missing:
        tail = "\n".join(lines[-30:])
        raise GuestError(f"no report of {', '.join(missing)} within {time.monotonic() - began:.0f} s:\n{tail}")
    return reports
