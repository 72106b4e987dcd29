"""What `pip install` puts on a host, and what works there: agents and `check` alone, or the controller too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from portlb_app import __version__
from tests.support.installation import build_wheel, copy_checkout, install, required

ROOT = Path(__file__).parents[2]
FIG2 = ROOT / "flows/fig2/lb.yaml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel from a fresh checkout."""
    checkout = copy_checkout(tmp_path_factory.mktemp("checkout"))
    left = checkout / "build/lib/portlb_app/left_by_an_earlier_build.py"
    left.parent.mkdir(parents=True)
    left.touch()
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def agent_host(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a host on which the plain wheel is installed."""
    return install(wheel, tmp_path_factory.mktemp("agent"))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A command with no other programs in its path."""
    return subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=60, env={"PATH": "/nonexistent"}, cwd="/"
    )


def test_the_wheel_has_all_that_runs(wheel: Path) -> None:
    """Every module, the eBPF object, the units; and nothing of an earlier build."""
    with ZipFile(wheel) as opened:
        names = set(opened.namelist())
        [built] = [name for name in names if name.endswith(".bpf.o")]
        assert opened.read(built).startswith(b"\x7fELF")
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("portlb_app/**/*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert {"share/man/man1/portlb.1", "share/bash-completion/completions/portlb"} <= {
        name.partition(".data/data/")[2] for name in names
    }
    assert {"share/portlb/alerts.yaml", "share/portlb/grafana.json"} <= {
        name.partition(".data/data/")[2] for name in names
    }
    templates = {str(path.relative_to(ROOT)) for path in ROOT.glob("portlb_app/page/templates/*")}
    assert templates and templates <= names
    units = {Path(name).name for name in names if "/lib/systemd/system/" in name}
    assert units == {path.name for path in ROOT.glob("packaging/systemd/*")}
    assert any(name.endswith("/LICENSE") for name in names)


def test_a_wheel_without_the_object_is_refused(tmp_path: Path) -> None:
    """On a machine without clang; and where an object is older than its sources."""
    checkout = copy_checkout(tmp_path / "checkout")
    nothing = tmp_path / "empty"
    nothing.mkdir()
    build = [sys.executable, "setup.py", "--quiet", "build_py"]

    def built() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            build, cwd=checkout, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": str(nothing)}
        )

    done = built()
    assert done.returncode != 0
    assert "the agents' eBPF object is not built, and make and clang must be installed to build it" in done.stderr
    object_file = checkout / "portlb_app/agent/bpf/redirect.bpf.o"
    object_file.write_bytes(b"")
    os.utime(object_file, (0, 0))
    assert "is older than its sources" in built().stderr
    os.utime(object_file)
    done = built()
    assert done.returncode == 0, done.stderr


def test_a_host_of_agents_has_no_ryu(wheel: Path, agent_host: Path) -> None:
    """It checks and compiles, and says how to get the controller."""
    assert not required(wheel) & {"ryu", "eventlet", "webob"}
    assert run(agent_host / "portlb", "--version").stdout == f"portlb {__version__}\n"
    for words in (["--help"], ["agent", "--help"], ["controller", "--help"], ["check", FIG2]):
        done = run(agent_host / "portlb", *words)
        assert (done.returncode, done.stderr) == (0, ""), words
    done = run(agent_host / "portlb", "controller", FIG2)
    assert done.returncode == 1
    hint = "install portlb with its extra: pip install '.[controller]' in a checkout"
    assert done.stderr.endswith(f"No module named 'eventlet' ({hint})\n")


def test_it_compiles_there(agent_host: Path, tmp_path: Path) -> None:
    done = run(agent_host / "portlb", "compile", FIG2, "-o", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "s1.flows").read_text() == (ROOT / "flows/fig2/s1.flows").read_text()


@pytest.fixture
def controller(wheel: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`portlb controller` of an environment with the extra of that name."""
    program = install(wheel, tmp_path / "venv", "controller") / "portlb"
    (tmp_path / "lb.yaml").write_text(FIG2.read_text())
    process = subprocess.Popen(
        [program, "controller", tmp_path / "lb.yaml", "--ofp-tcp-listen-port", "0", "--wsapi-port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"PATH": "/nonexistent"}, cwd="/",
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_the_extra_brings_what_the_controller_needs(controller: subprocess.Popen[str]) -> None:
    """It says `ready`, and ends by SIGTERM with exit code 0."""
    assert controller.stdout is not None
    lines: list[str] = []
    while not (lines and lines[-1].startswith("ready: ")):
        line = controller.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    assert re.match(r"ready: OpenFlow on 127.0.0.1 port \d+, REST on 127.0.0.1 port \d+$", lines[-1])
    controller.terminate()
    assert controller.wait(30) == 0
