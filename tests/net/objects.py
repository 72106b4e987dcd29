"""eBPF objects that tests compile: other people's programs, and the agents' own with changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.net.network import ROOT, Namespace
from tests.support.commands import run

AGENT = ROOT / "portlb_app/agent/bpf"
_ATTACH = """
import sys
from portlb_app.agent import interface
from portlb_app.agent.kernel import object_file, tc
opened = object_file.Object(sys.argv[1])
opened.load()
for words in sys.argv[2:]:
    kind, name, where = words.split()
    tc.attach_tcx(interface.index_of(where), int(kind), opened.program_fd(name), None)
print("ready", flush=True)
sys.stdin.read()
"""


def compiled(directory: Path, name: str, text: str | None = None, **changes: tuple[str, str]) -> Path:
    """An object of a text, or of the agents' own sources with changes by file (without its suffix)."""
    path, made = directory / f"{name}.c", directory / f"{name}.o"
    if text is None:
        for each in [*AGENT.rglob("*.h"), AGENT / "redirect.bpf.c"]:
            content, copy = each.read_text(encoding="utf-8"), directory / each.relative_to(AGENT)
            old, new = changes.get(str(each.relative_to(AGENT).with_suffix("")), ("", ""))
            assert old in content
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(content.replace(old, new, 1), encoding="utf-8")
        path = directory / "redirect.bpf.c"
    else:
        path.write_text(text, encoding="utf-8")
    machine = run("uname", "-m").stdout.strip()
    run("clang", "-O2", "-g", "-mcpu=v3", "-target", "bpf", f"-I/usr/include/{machine}-linux-gnu",
        "-c", str(path), "-o", str(made))  # fmt: skip
    return made


def attach(
    host: Namespace, made: Path, ingress: str = "", egress: str = "", interfaces: tuple[str, ...] = ("eth0",)
) -> subprocess.Popen[Any]:  # fmt: skip
    """Attach programs of an object by tcx, behind those that are there; a process holds them."""
    words = [
        f"{kind} {name} {interface}"
        for kind, name in ((46, ingress), (47, egress)) if name
        for interface in interfaces
    ]  # fmt: skip
    return host.popen_ready(sys.executable, "-c", _ATTACH, str(made), *words, cwd=ROOT, stdin=subprocess.PIPE)
