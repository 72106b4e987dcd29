"""What a certificate names, and how bytes are taken from a TLS connection."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from portlb_app.southbound import tls


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
