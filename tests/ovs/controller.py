"""A controller process for tests: started as a user starts it, talked to over REST and signals."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS = 15
START_SECONDS = 60
"""A large configuration is compiled before anybody is listened to."""


def free_port() -> int:
    """A TCP port of loopback nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true value of `condition`; AssertionError with `what` if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class ControllerProcess:
    """``portlb controller`` on loopback. With `openflow_port` 0 the kernel chooses; the REST port is always chosen.

    `within` are words before its own that start it somewhere else, and become it.
    """

    _running: set[ControllerProcess] = set()

    @classmethod
    def end_all(cls) -> None:
        """End those that nobody has ended: of stages that failed while they were set up or taken down."""
        for each in tuple(cls._running):
            each.close()

    def __init__(
        self, config: Path, *flags: str, openflow_port: int = 0, resync: float = 30.0, within: Sequence[str] = ()
    ) -> None:
        self.log = config.with_suffix(".log")
        command = [*within, sys.executable, "-m", "portlb_app.cli", "controller", str(config)]
        command += ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(openflow_port)]
        self.socket = str(config.with_suffix(".sock"))
        command += ["--wsapi-port", "0", "--wsapi-socket", self.socket, "--resync-interval", str(resync), *flags]
        with open(self.log, "ab") as output:
            start = output.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        ready = r"^ready: OpenFlow on \S+ port (\d+), REST on \S+ port (\d+)$"

        def ports() -> re.Match[str] | None:
            text = self.log.read_text()[start:]
            assert self.process.poll() is None, text
            return re.search(ready, text, re.MULTILINE)

        try:
            found = wait_for("ready", ports, START_SECONDS)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self._running.add(self)
        self.openflow_port, self.rest_port = int(found[1]), int(found[2])

    @property
    def target(self) -> str:
        """What a bridge's controller is set to."""
        return f"tcp:127.0.0.1:{self.openflow_port}"

    def request(
        self, method: str, path: str, body: str | bytes | None = None, seconds: float = SECONDS + 5, **headers: str
    ) -> tuple[int, str]:
        """One REST request: status and body; OSError if there is no answer in time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=seconds)
        kind = "yaml" if path.startswith("/v1/config") else "json"
        try:
            connection.request(method, path, body, {"Content-Type": f"application/{kind}", **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """What GET /v1/status says."""
        code, body = self.request("GET", "/v1/status")
        assert code == 200, body
        status: dict[str, Any] = json.loads(body)
        return status

    def switch(self, name: str) -> dict[str, Any]:
        """What the status says about one switch."""
        return next(switch for switch in self.status()["switches"] if switch["name"] == name)

    def wait_for_state(self, name: str, state: str) -> dict[str, Any]:
        """Wait until a switch is in a state."""
        found: dict[str, Any] = wait_for(
            f"{name} is {state}", lambda: (switch := self.switch(name))["state"] == state and switch
        )
        return found

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self._running.discard(self)

    def close(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._running.discard(self)
        return self.process.returncode
