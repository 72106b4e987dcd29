"""TLS between switches and a live controller."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import Peer, hosts
from tests.ovs.pki import Pki
from tests.ovs.switch import Switch

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
HANDSHAKE_SECONDS = 10
MANY = 100


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControllerProcess]:
    path = tmp_path_factory.mktemp("tls") / "lb.yaml"
    path.write_text(FIG2)
    for made, used in zip(pki.sign("controller"), ("cert.pem", "cert.key"), strict=True):
        shutil.copy(made, path.parent / used)
    files = ["--ctl-cert", str(path.parent / "cert.pem"), "--ctl-privkey", str(path.parent / "cert.key")]
    files += ["--ca-certs", str(pki.authority), "--ctl-cert-binds-dpid", "--ofp-ssl-listen-port", "0"]
    controller = ControllerProcess(path, *files)
    yield controller
    assert controller.close() == 0


def descriptors(controller: ControllerProcess) -> int:
    """How many files the controller has open."""
    return len(os.listdir(f"/proc/{controller.process.pid}/fd"))


class Patient(threading.Thread):
    """A peer that does less than it should; `seconds` is how long the controller bore it."""

    def __init__(self, port: int, host: str, drip: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self._drip = drip
        self._socket = socket.create_connection(("127.0.0.1", port), source_address=(host, 0))
        self._began = time.monotonic()
        if tls:
            self._socket = tls.wrap_socket(self._socket)
        self.start()

    def run(self) -> None:
        self._socket.settimeout(1 if self._drip else 2 * HANDSHAKE_SECONDS)
        with self._socket, contextlib.suppress(ConnectionError):
            for byte in [*self._drip, None]:
                if byte is not None:
                    self._socket.sendall(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    while self._socket.recv(1 << 16):
                        pass
                    break
        self.seconds = time.monotonic() - self._began


@pytest.fixture(scope="module")
def before(controller: ControllerProcess) -> int:
    return descriptors(controller)


@pytest.fixture(scope="module")
def named(pki: Pki) -> ssl.SSLContext:
    return pki.client(*pki.sign("dpid-0000000000000001"))


@pytest.fixture(scope="module", autouse=True)
def slow(controller: ControllerProcess, before: int, named: ssl.SSLContext) -> dict[str, list[Patient]]:
    """Peers that are closed at the deadline; they connect before all others, because their test takes so long."""
    client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60)
    port, addresses = controller.openflow_port, (f"127.201.0.{number}" for number in range(1, 255))
    return {
        "silent": [Patient(port, next(addresses)) for _ in range(MANY)],
        "dripping": [Patient(port, next(addresses), drip=client_hello)],
        "no hello": [Patient(port, next(addresses), tls=named)],
    }


def reasons(controller: ControllerProcess) -> list[str]:
    return [each["reason"] for each in controller.status()["refused_connections"]["last"]]


def test_a_switch_may_claim_what_its_certificate_names_only(
    controller: ControllerProcess, pki: Pki, named: ssl.SSLContext
) -> None:
    several = pki.client(*pki.sign("several", "DNS:dpid-00000000000000aa", "DNS:DPID-00000000000000BB"))
    none = pki.client(*pki.sign("none", "DNS:switch.example", "IP:192.0.2.1"))
    for tls, dpid in ((named, 1), (several, 0xAA), (several, 0xBB)):
        peer = Peer(controller.openflow_port, tls=tls)
        peer.connect_as(dpid)
        assert peer.answers()
        peer.close()
    for tls, dpid, names in ((named, 2, "0x1"), (several, 1, "0xaa, 0xbb"), (none, 1, "none")):
        peer = Peer(controller.openflow_port, tls=tls)
        peer.claim(dpid)
        assert peer.is_closed()
        assert reasons(controller)[-1] == f"it claims datapath id {dpid:#x}, but its certificate names {names}"
        peer.close()


def test_a_certificate_of_another_authority_is_told_as_that(
    controller: ControllerProcess, tmp_path: Path
) -> None:
    foreign = Pki(tmp_path / "foreign")
    count = controller.status()["refused_connections"]["count"]
    peer = Peer(controller.openflow_port, tls=foreign.client(*foreign.sign("dpid-0000000000000001")))
    assert peer.is_closed()
    assert "certificate verify failed: unable to get local issuer certificate" in reasons(controller)[-1]
    plain = Peer(controller.openflow_port)
    plain.send(b"\x06\x00\x00\x08\x00\x00\x00\x01")
    assert plain.is_closed()
    assert "WRONG_VERSION_NUMBER" in reasons(controller)[-1]
    assert controller.status()["refused_connections"]["count"] == count + 2
    peer.close()
    plain.close()


def test_a_bridge_of_open_vswitch_is_synced(
    controller: ControllerProcess, switch: Switch, pki: Pki
) -> None:
    certificate, key = pki.sign("dpid-0000000000000001 id:1234")
    with attached(switch, controller, key, certificate, pki.authority):
        controller.wait_for_state("s1", "synced")
        shown(controller)
    controller.wait_for_state("s1", "absent")


@contextlib.contextmanager
def attached(
    switch: Switch, controller: ControllerProcess, key: Path, certificate: Path, authority: Path
) -> Iterator[None]:
    """A bridge that connects by TLS, with the files that ``ovs-vsctl set-ssl`` names."""
    switch.vsctl("set-ssl", str(key), str(certificate), str(authority))
    ports = {f"tls{number}": number for number in range(1, 6)}
    switch.add_bridge("tls", 1, ports, controller.target.replace("tcp:", "ssl:"))
    try:
        yield
    finally:
        switch.delete_bridge("tls")
        switch.vsctl("del-ssl")


def test_a_switch_whose_certificate_has_expired_is_synced_once_it_is_renewed(
    controller: ControllerProcess, switch: Switch, pki: Pki, tmp_path: Path
) -> None:
    """The reason is in the status; Open vSwitch looks at the files again by itself."""
    own = tmp_path / "own.pem", tmp_path / "own.key"
    for made, used in zip(pki.sign_expired("dpid-0000000000000001 id:1"), own, strict=True):
        shutil.copy(made, used)
    with attached(switch, controller, own[1], own[0], pki.authority):
        wait_for("that is told", lambda: "certificate has expired" in reasons(controller)[-1])
        assert controller.switch("s1")["state"] == "absent"
        for made, used in zip(pki.sign("dpid-0000000000000001 id:2"), own, strict=True):
            shutil.copy(made, used)
        controller.wait_for_state("s1", "synced")
    controller.wait_for_state("s1", "absent")


def test_a_switch_that_trusts_another_authority_stays_away(
    controller: ControllerProcess, switch: Switch, pki: Pki, tmp_path: Path
) -> None:
    """It is the switch that refuses: the controller tells the alert it was sent."""
    foreign = Pki(tmp_path / "foreign")
    certificate, key = pki.sign("dpid-0000000000000001 id:3")
    with attached(switch, controller, key, certificate, foreign.authority):
        wait_for("that is told", lambda: "unknown ca" in reasons(controller)[-1].replace("_", " ").lower())
        assert controller.switch("s1")["state"] == "absent"


def shown(controller: ControllerProcess) -> bytes:
    """The certificate that the controller shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", controller.openflow_port), 5, source_address=(next(_HOSTS), 0)) as raw:
        with context.wrap_socket(raw) as encrypted:
            certificate = encrypted.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate


_HOSTS = (address.replace("127.", "127.2", 1) for address in hosts())


def test_certificates_are_read_again_and_connections_go_on(
    controller: ControllerProcess, pki: Pki, named: ssl.SSLContext
) -> None:
    where = controller.log.parent
    peer = Peer(controller.openflow_port, tls=named)
    peer.connect_as(1)
    old = shown(controller)
    (where / "cert.pem").write_text("no certificate")
    controller.process.send_signal(signal.SIGHUP)
    wait_for("that is said", lambda: "are not read again, the ones before stay" in controller.log.read_text())
    assert shown(controller) == old
    certificate, key = pki.sign("controller2")
    shutil.copy(certificate, where / "cert.pem")
    shutil.copy(key, where / "cert.key")
    controller.process.send_signal(signal.SIGHUP)
    new = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert new != old
    wait_for("the new one is shown", lambda: shown(controller) == new)
    assert peer.answers()
    peer.close()


def test_peers_that_never_end_their_handshake_are_closed_and_cost_no_descriptor(
    controller: ControllerProcess, slow: dict[str, list[Patient]], before: int
) -> None:
    for kind, peers in slow.items():
        for peer in peers:
            peer.join(2 * HANDSHAKE_SECONDS)
            assert HANDSHAKE_SECONDS - 1 < peer.seconds < 2 * HANDSHAKE_SECONDS - 1, kind
    wait_for("all are closed", lambda: descriptors(controller) <= before + 1)
    assert "no handshake within 10 s" in reasons(controller)
    assert "ValueError" not in controller.log.read_text()
