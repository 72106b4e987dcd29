"""Nothing that the controller writes to or reads from stops it: a full pipe, a slow disk, a switch that flaps."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import Claims, Peer

TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a], legacy: balance}}}
servers:
  a: {vip: web, connector: s1:3, service_ports: [8001]}
"""
CHANGED = TEXT.replace("8001", "8002")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "lb.yaml"
    path.write_text(TEXT)
    return path


def starts(config: Path, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "portlb_app.cli", "controller", str(config), "--verbose"]
    command += ["--ofp-tcp-listen-port", "0", "--wsapi-port", "0"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options)  # type: ignore


def rest_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout
    return int(process.stdout.readline().split()[-1])


def test_a_signal_before_it_is_ready_does_not_end_it(config: Path, tmp_path: Path) -> None:
    """SIGHUP comes while the configuration is read; that it has become a pipe is said when it is read again."""
    config.unlink()
    os.mkfifo(config)
    with open(tmp_path / "log", "wb") as log, starts(config, stderr=log) as process:
        try:
            with open(config, "w") as writer:  # waits until the other end is open
                process.send_signal(signal.SIGHUP)
                writer.write(TEXT)
            assert rest_port(process)
            said = f"{config} is not reloaded"
            wait_for("it is said", lambda: said in (text := (tmp_path / "log").read_text()) and "no regular" in text)
        finally:
            process.terminate()
    assert process.returncode == 0


def test_a_log_that_nobody_reads_stops_nothing(config: Path) -> None:
    """The pipe is full before what a PUT leads to is logged: REST answers, and SIGTERM ends it."""
    read, write = os.pipe()
    with starts(config, stderr=write) as process:
        try:
            port = rest_port(process)
            fill(write)
            assert [put(port, text)[0] for text in (CHANGED, TEXT)] == [202, 202]
        finally:
            process.terminate()
            code = process.wait(10)
            os.close(write)
            os.close(read)
    assert code == 0


def fill(pipe: int) -> None:
    """Write until no byte fits, whatever others write meanwhile; only this opening of the pipe does not wait."""
    own = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.closing(os.fdopen(own, "wb", buffering=0)) as file:
        while file.write(b"x") is not None:
            pass


def put(port: int, text: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("PUT", "/v1/config?wait=accepted", text, {"Content-Type": "application/yaml"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


SLOW_DISK = """
import os, threading
here, known = os.path.dirname(__file__), os.fsync
def fsync(handle):
    open(f"{here}/begun", "w").close()
    while not os.path.exists(f"{here}/over"):
        threading.Event().wait(0.01)
    known(handle)
os.fsync = fsync
"""


def test_a_slow_disk_stops_nobody_else(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    controller = ControllerProcess(config)
    codes: list[int] = []
    writer = threading.Thread(target=lambda: codes.append(put(controller.rest_port, CHANGED)[0]))
    try:
        writer.start()
        wait_for("it is being written", (tmp_path / "begun").exists)
        for _ in range(5):
            controller.status()
        assert writer.is_alive() and config.read_text() == TEXT
    finally:
        (tmp_path / "over").touch()
        writer.join()
        controller.close()
    assert codes == [202] and config.read_text() == CHANGED


def test_who_waits_for_a_trial_is_answered_when_the_controller_ends(config: Path) -> None:
    """A switch never answers what a PUT asks: SIGTERM says so to the client, and leaves no file behind."""
    controller = ControllerProcess(config)
    peer = Claims(controller.openflow_port)
    answers: list[tuple[int, str]] = []
    try:
        peer.connect_as(1)
        peer.answer_read()
        writer = threading.Thread(target=lambda: answers.append(controller.request("PUT", "/v1/config", CHANGED)))
        writer.start()
        wait_for("it is on trial", lambda: list(config.parent.glob(".lb.yaml.portlb-*")))
        assert controller.close() == 0
        writer.join()
    finally:
        peer.close()
        controller.close()
    ((code, body),) = answers
    assert code == 503 and "the controller ends, and the file is as it was" in json.loads(body)["error"]
    assert {each.name for each in config.parent.iterdir()} == {"lb.yaml", "lb.log", "lb.yaml.history"}
    assert config.read_text() == TEXT


def test_a_controller_that_is_told_to_end_says_of_no_part_that_it_died(config: Path) -> None:
    """The file is read again, and on trial, when SIGTERM comes: what waits for that ends rightly."""
    controller = ControllerProcess(config)
    peer = Claims(controller.openflow_port)
    try:
        peer.connect_as(1)
        peer.answer_read()
        config.write_text(CHANGED)
        controller.process.send_signal(signal.SIGHUP)
        other = {"If-Match": '"none"'}  # so that this proposal never is on trial itself
        wait_for("it is on trial", lambda: controller.request("PUT", "/v1/config?timeout=1", TEXT, **other)[0] == 504)
        assert controller.close() == 0
    finally:
        peer.close()
        controller.close()
    log = controller.log.read_text()
    assert "a configuration is on trial" in log and "ended by a signal" in log
    assert " ERROR " not in log and "Traceback" not in log, log


@pytest.mark.parametrize("dpid", [1, 7], ids=["configured", "unknown"])
def test_a_switch_that_comes_and_goes_waits(config: Path, dpid: int) -> None:
    """Its lines in the log, and the work for it, have an end; another switch of its host is served."""
    controller = ControllerProcess(config)
    other = None
    try:
        for came in itertools.count(1):
            peer = Peer(controller.openflow_port, "127.0.0.9")
            with contextlib.suppress(ConnectionError):
                peer.connect_as(dpid)
            peer.close()
            if (refused := controller.status()["refused_connections"]["count"]) >= 15:
                break
            assert came < 1000, f"{refused} of {came} were refused"
        assert controller.log.read_text().count("is disconnected") <= came - 15
        other = Peer(controller.openflow_port, "127.0.0.9" if dpid == 1 else "127.0.0.8")
        other.connect_as(8)
        assert other.answers()
    finally:
        if other:
            other.close()
        controller.close()
