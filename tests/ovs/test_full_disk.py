"""The configuration file on a disk that is full: a small one of the controller's own, in a mount namespace."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
OTHER = FIG2.replace("{servers: [a, b]}", "{servers: [a]}")
SMALL_DISK = (
    "unshare", "--mount", "sh", "-ec",
    'mount -t tmpfs -o size=64k small "$1"; cp "$2" "$1/lb.yaml"; shift 2; exec "$@"', "small-disk",
)  # fmt: skip


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    """Its lb.yaml is on the small disk, and its log is not."""
    (tmp_path / "given.yaml").write_text(FIG2)
    directory = tmp_path / "small"
    directory.mkdir()
    started = ControllerProcess(
        directory / "lb.yaml", within=(*SMALL_DISK, str(directory), str(tmp_path / "given.yaml"))
    )
    yield started
    assert "Traceback" not in started.log.read_text()
    assert started.close() == 0


def fill(path: Path) -> None:
    """Write to a file until there is no room."""
    with open(path, "wb", buffering=0) as file, pytest.raises(OSError, match="No space") as raised:
        while True:
            file.write(bytes(4096))
    assert raised.value.errno == errno.ENOSPC


def test_a_configuration_that_cannot_be_saved_is_not_made_live(controller: ControllerProcess, tmp_path: Path) -> None:
    """It is refused with the reason; file and status are as before, nothing is left over, and with room it is taken."""
    disk = Path(f"/proc/{controller.process.pid}/root") / (tmp_path / "small").relative_to("/")
    filler = disk / "filler"
    fill(filler)
    before = controller.status()["generation"]
    code, body = controller.request("PUT", "/v1/config?wait=accepted", OTHER)
    assert (code, "No space left on device; nothing was changed" in body) == (500, True), body
    assert (disk / "lb.yaml").read_text() == FIG2
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "lb.sock", "lb.yaml"]
    assert controller.status()["generation"] == before
    assert controller.request("GET", "/v1/config") == (200, FIG2)
    filler.unlink()
    assert controller.request("PUT", "/v1/config?wait=accepted", OTHER)[0] == 202
    wait_for("it is saved", lambda: (disk / "lb.yaml").read_text() == OTHER)
    assert controller.status()["generation"] == before + 1


def test_a_wish_that_cannot_be_saved_changes_nothing(controller: ControllerProcess, tmp_path: Path) -> None:
    """A server stays as it is, and with room it is taken out."""
    disk = Path(f"/proc/{controller.process.pid}/root") / (tmp_path / "small").relative_to("/")
    filler = disk / "filler"
    fill(filler)
    drain = '{"state": "drain"}'
    code, body = controller.request("PUT", "/v1/servers/b/state", drain)
    assert (code, "No space left on device; nothing was changed" in body) == (500, True), body
    assert '"state": "ready"' in controller.request("GET", "/v1/servers/b/state")[1]
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "lb.sock", "lb.yaml"]
    filler.unlink()
    assert controller.request("PUT", "/v1/servers/b/state", drain)[0] == 202
    assert '"drain"' in (disk / "lb.yaml.overrides").read_text()
