"""What a certificate names, and how bytes are taken from a TLS connection."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from portlb_app.southbound import tls
from tests.ovs.pki import Pki
from tests.support.commands import run
from tests.support.programs import Programs


@pytest.mark.parametrize(
    ("common", "alternatives", "dpids"),
    [
        ("dpid-0000000000000001", [], {1}),
        ("DPID-00000000000000AB id:0f5e3c1e-8b58", [], {0xAB}),
        ("switch", [("DNS", "dpid-0000000000000002"), ("DNS", "dpid-0000000000000003")], {2, 3}),
        ("dpid-0000000000000001", [("DNS", "dpid-0000000000000002")], {1, 2}),
        ("switch", [("URI", "dpid-0000000000000002"), ("IP Address", "192.0.2.1")], set()),
        ("dpid-1", [], set()),
        ("dpid-00000000000000011", [], set()),
        ("x dpid-0000000000000001", [("DNS", "dpid-0000000000000001.example")], set()),
    ],
)
def test_which_datapath_ids_a_certificate_names(
    common: str, alternatives: list[tuple[str, str]], dpids: set[int]
) -> None:
    subject = ((("organizationName", "dpid-0000000000000009"),), (("commonName", common),))
    assert tls.certified_dpids({"subject": subject, "subjectAltName": tuple(alternatives)}) == dpids
    assert tls.certified_dpids({}) == set()


class Connection:
    """Gives a record for each call, as a TLS socket does; then it would wait."""

    def __init__(self, *records: bytes) -> None:
        self.act_non_blocking = False
        self._records = list(records)

    def getpeercert(self) -> Any:
        return None

    def recv(self, most: int) -> bytes:
        if not self._records:
            assert self.act_non_blocking, "it waits for ever"
            raise ssl.SSLWantReadError
        record, self._records[:1] = self._records[0][:most], [self._records[0][most:]]
        if not self._records[0]:
            del self._records[0]
        return record


def test_all_records_that_came_are_taken_together() -> None:
    connection = Connection(*(bytes([number]) * 100 for number in range(50)))
    assert tls.receive(connection, 1 << 16) == b"".join(bytes([number]) * 100 for number in range(50))
    assert not connection.act_non_blocking, "the next call waits"
    connection = Connection(bytes(300), bytes(300), bytes(300))
    assert [len(tls.receive(connection, 400)) for _ in range(3)] == [400, 400, 100]


READ_WHILE_WRAPPED = """
import socket, eventlet
eventlet.monkey_patch(thread=False)
from eventlet.green import ssl as green
from portlb_app.southbound import tls

with green._original_ssl_context():
    found = tls.context(CERTIFICATE, KEY, AUTHORITY)
ours, other = socket.socketpair()
made = found.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
print(type(made).__name__, found.verify_mode.name, found.minimum_version.name)
"""


def test_certificates_read_while_a_socket_is_wrapped_serve(tmp_path: Path, ryu_programs: Programs) -> None:
    """A thread reads them, and eventlet has the standard library's own classes in place while it makes a socket."""
    pki = Pki(tmp_path / "pki")
    names = dict(zip(("CERTIFICATE", "KEY"), pki.sign("lb.example"), strict=True), AUTHORITY=pki.authority)
    values = "\n".join(f"{name} = {str(path)!r}" for name, path in names.items())
    assert ryu_programs.run(values + READ_WHILE_WRAPPED).stdout == "GreenSSLSocket CERT_REQUIRED TLSv1_2\n"


WRONG = """
from portlb_app.southbound import tls
for *pair, authorities, name in GIVEN:
    try:
        tls.context(*pair, authorities)
    except OSError as error:
        print(error.filename == name and bool(error.strerror))
"""


def test_what_cannot_be_used_is_named(tmp_path: Path, ryu_programs: Programs) -> None:
    """The file that is missing; both files of a pair that does not fit. A key with a password asks nobody for it."""
    pki = Pki(tmp_path / "pki")
    (certificate, key), (other, _) = pki.sign("one"), pki.sign("two")
    locked, none = tmp_path / "locked.key", tmp_path / "none"
    run("openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked))
    wrong = (
        (certificate, none, None, none),
        (other, key, None, f"{other}, {key}"),
        (certificate, locked, None, f"{certificate}, {locked}"),
        (certificate, key, key, key),
    )
    given = [tuple(None if part is None else str(part) for part in each) for each in wrong]
    assert ryu_programs.run(f"GIVEN = {given!r}\n{WRONG}").stdout == "True\n" * len(wrong)
