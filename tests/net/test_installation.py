"""Agents from an installed wheel, on hosts where no compiler, no checkout and no Ryu can be found."""

from __future__ import annotations

import json
from pathlib import Path

from tests.net.network import Namespace
from tests.net.world import REDIRECTS, SERVICES, VIP, X, world
from tests.support.installation import build_wheel, copy_checkout, install


def test_installed_agents_redirect(tmp_path: Path) -> None:
    """Both ends attach, and a connection continues on the service port."""
    wheel = build_wheel(copy_checkout(tmp_path / "checkout"), tmp_path)
    portlb = str(install(wheel, tmp_path / "venv") / "portlb")

    def words(*more: str) -> tuple[str, ...]:
        return ("/usr/bin/env", "--ignore-environment", "PATH=/nonexistent", portlb, "agent", *more)

    def counters(host: Namespace) -> dict[str, dict[str, int]]:
        printed = host.run(*words("stats", "--interface", "eth0", "--format", "json"), cwd="/").stdout
        return json.loads(printed)  # type: ignore[no-any-return]

    announce = [word for each in SERVICES for word in ("--service", each)]
    announce += [word for each in REDIRECTS for word in ("--redirect", each)]
    with world() as net:
        net.server.popen_ready(*words("server", "--interface", "eth0", "--vip", VIP, *announce), cwd="/")
        net.client.popen_ready(*words("client", "--interface", "eth0", "--vip", VIP), cwd="/")
        assert net.client.run("curl", "-s", "--max-time", "20", f"http://{VIP}:{X}/small").stdout == "odd\n"
        assert counters(net.client)["client"]["confirmed"] == 1
        assert counters(net.server)["server"]["redirected"] == 1
