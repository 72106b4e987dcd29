"""Who may be connected to a live controller: how many, how often, and under which datapath id."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import GOOD_HELLO, HELLO, Claims, Peer
from tests.ovs.switch import Switch

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
FREE = 8
"""Offences of a host that cost it nothing."""


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    path = tmp_path_factory.mktemp("listener") / "lb.yaml"
    path.write_text(FIG2)
    controller = ControllerProcess(path, "--ofp-listen-host", "0.0.0.0")
    yield controller
    assert controller.close() == 0


def refused(controller: ControllerProcess) -> int:
    return int(controller.status()["refused_connections"]["count"])


def last_reason(controller: ControllerProcess) -> str:
    return str(controller.status()["refused_connections"]["last"][-1]["reason"])


def test_a_host_that_breaks_rules_again_and_again_waits(controller: ControllerProcess) -> None:
    host, other = "127.77.0.1", Peer(controller.openflow_port)
    other.connect_as(1)
    for _ in range(FREE + 1):
        peer = Peer(controller.openflow_port, host)
        assert peer.receive()[0] == HELLO
        peer.send(bytes(8))
        assert peer.is_closed()
        peer.close()
    before = refused(controller)
    waiting = Peer(controller.openflow_port, host)
    with contextlib.closing(waiting), contextlib.suppress(ConnectionError):
        waiting.send(GOOD_HELLO)
        assert waiting.socket.recv(1) == b"", "it is closed before a hello"
    assert refused(controller) == before + 1
    assert other.answers()

    def is_served() -> bool:
        with contextlib.suppress(ConnectionError):
            peer = Peer(controller.openflow_port, host)
            try:
                return peer.receive()[0] == HELLO
            finally:
                peer.close()
        return False

    assert wait_for("its time is over", is_served)
    other.close()
    controller.wait_for_state("s1", "absent")


def test_one_host_cannot_take_all_places_of_the_handshake(controller: ControllerProcess) -> None:
    with contextlib.ExitStack() as peers:
        for _ in range(270):
            peers.callback(Peer(controller.openflow_port, "127.77.0.2").close)
        for _ in range(3):
            honest = Peer(controller.openflow_port)
            peers.callback(honest.close)
            honest.connect_as(1)
            assert honest.answers()
            honest.close()
            controller.wait_for_state("s1", "absent")
    assert "in the handshake" in str(controller.status()["refused_connections"])


def test_of_switches_that_are_not_configured_eight_may_be_connected(controller: ControllerProcess) -> None:
    with contextlib.ExitStack() as peers:
        for number in range(8):
            peer = Peer(controller.openflow_port)
            peers.callback(peer.close)
            peer.connect_as(0x100 + number)
            assert peer.answers()
        ninth = Peer(controller.openflow_port)
        peers.callback(ninth.close)
        ninth.claim(0x200)
        assert ninth.is_closed()
        assert last_reason(controller) == "switch 0x200 is not in the configuration, and 8 such are connected"
        configured = Peer(controller.openflow_port)
        peers.callback(configured.close)
        configured.connect_as(1)
        assert configured.answers()
    controller.wait_for_state("s1", "absent")


def test_an_auxiliary_connection_is_refused_and_the_main_one_stays(controller: ControllerProcess) -> None:
    main, auxiliary = Peer(controller.openflow_port), Peer(controller.openflow_port)
    main.connect_as(1)
    auxiliary.claim(1, auxiliary=3)
    assert auxiliary.is_closed()
    assert last_reason(controller) == "it is auxiliary connection 3 of switch 0x1: only the main one is used"
    assert main.answers()
    main.close()
    auxiliary.close()
    controller.wait_for_state("s1", "absent")


def test_the_first_of_two_connections_of_a_datapath_id_stays_while_it_answers(controller: ControllerProcess) -> None:
    first, second = Claims(controller.openflow_port), Claims(controller.openflow_port)
    first.connect_as(1)
    assert controller.wait_for_state("s1", "reading")
    second.claim(1)
    first.answer_echo()
    assert second.is_closed()
    assert last_reason(controller).startswith(f"datapath id 0x1 is connected already, from {first.host}:")
    assert first.answers()
    first.close()
    second.close()
    controller.wait_for_state("s1", "absent")


def test_a_dead_connection_is_replaced(controller: ControllerProcess) -> None:
    """One that is silent after the time of an echo, one that is closed at once."""
    first, second, third = (Claims(controller.openflow_port) for _ in range(3))
    first.connect_as(1)
    controller.wait_for_state("s1", "reading")
    second.connect_as(1)
    assert first.is_closed()
    assert "it does not answer, and switch 0x1 connects again from elsewhere" in str(controller.status())
    assert second.answers()
    second.close()
    third.connect_as(1)
    third.answer_read()
    controller.wait_for_state("s1", "applying")
    for each in (first, third):
        each.close()
    controller.wait_for_state("s1", "absent")


def test_a_bridge_with_two_targets_that_are_one_controller_does_not_flap(
    controller: ControllerProcess, switch: Switch
) -> None:
    log = len(controller.log.read_text())
    switch.add_bridge("twice", 1, {f"tw{number}": number for number in range(1, 6)})
    try:
        command = ["set", "bridge", "twice", "controller=[@c1,@c2]"]
        for number in (1, 2):
            target = f"target=tcp\\:127.0.0.{number}\\:{controller.openflow_port}"
            command += ["--", f"--id=@c{number}", "create", "controller", target, "max_backoff=1000"]
        switch.vsctl(*command)
        controller.wait_for_state("s1", "synced")
        before = refused(controller)
        wait_for("the other one tries again and again", lambda: refused(controller) >= before + 2)
        assert "datapath id 0x1 is connected already, from" in last_reason(controller)
        controller.wait_for_state("s1", "synced")
        text = controller.log.read_text()[log:]
        assert text.count("s1 is connected") == 1 and "s1 is disconnected" not in text
    finally:
        switch.delete_bridge("twice")
    controller.wait_for_state("s1", "absent")


def test_a_lack_of_descriptors_ends_nothing(tmp_path: Path) -> None:
    """Neither port's accept: both go on when there are some again."""
    path = tmp_path / "lb.yaml"
    path.write_text(FIG2)
    controller = ControllerProcess(path)
    resource.prlimit(controller.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    with contextlib.ExitStack() as peers:
        for _ in range(60):
            peers.callback(Peer(controller.openflow_port).close)
        wait_for("that is said", lambda: "no connection can be accepted" in controller.log.read_text())

    def is_answered() -> bool:
        with contextlib.suppress(OSError, HTTPException):
            return bool(controller.status()["generation"] == 1)
        return False

    wait_for("REST answers again", is_answered)
    peer = Peer(controller.openflow_port)
    peer.connect_as(1)
    assert peer.answers()
    peer.close()
    assert controller.close() == 0


@pytest.mark.parametrize(
    ("flags", "host"),
    [
        ((), "127.0.0.1"),
        (("--ctl-cert", "x", "--ctl-privkey", "y"), "127.0.0.1"),
        (("--ctl-cert", "x", "--ctl-privkey", "y", "--ca-certs", "z"), "0.0.0.0"),
        (("--ofp-listen-host", "192.0.2.1"), "192.0.2.1"),
    ],
)
def test_where_it_listens_is_told_by_flags_alone(tmp_path: Path, flags: tuple[str, ...], host: str) -> None:
    """On loopback, unless switches must show certificates; what Ryu finds in files does not count."""
    (tmp_path / ".ryu/ryu.conf.d").mkdir(parents=True)
    (tmp_path / ".ryu/ryu.conf.d/x.conf").write_text("[DEFAULT]\nofp_listen_host = 192.0.2.99\nwsapi_port = 19999\n")
    program = (
        "import argparse; from portlb_app.cli import controller; from portlb_app.controller import launcher; "
        "launcher._prepare_ryu(()); from ryu import cfg; assert cfg.CONF.ofp_listen_host != '192.0.2.99'; "
        "parser = argparse.ArgumentParser(); controller.register(parser.add_subparsers(), ''); "
        f"settings = controller.settings(parser.parse_args(['controller', 'lb.yaml', *{list(flags)!r}])); "
        "print(settings.openflow_host, settings.rest_port)"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2]), "OS_DEFAULT__WSAPI_PORT": "7"}
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    assert (done.stdout, done.returncode) == (f"{host} 8080\n", 0), done.stderr


def test_a_flag_that_binds_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(FIG2)
    command = [sys.executable, "-m", "portlb_app.cli", "controller", str(path), "--ctl-cert-binds-dpid"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "portlb: --ctl-cert-binds-dpid needs --ca-certs, or switches show no certificate\n",
    )
