"""TLS between switch and controller: what the controller shows, what a switch must show, and reading."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

_NAME = re.compile(r"dpid-([0-9a-f]{16})(?: id:.*)?", re.IGNORECASE)
"""How a certificate names a datapath id; what may follow is what ovs-pki appends to a common name."""


def context(certificate: str, key: str, authorities: str | None, must_show: bool = True) -> ssl.SSLContext:
    """How a server's connections are encrypted (TLS 1.2 or later); OSError, which names the files that can't be used.

    With `authorities`, a client must show a certificate of one of them, or may if not `must_show`. The class is
    eventlet's, by its own name: while eventlet wraps a socket, `ssl.SSLContext` is the standard library's, and a thread
    that reads certificates then would get a context that cannot wrap a socket.
    """
    from eventlet.green.ssl import SSLContext

    for path in filter(None, (certificate, key, authorities)):
        open(path, "rb").close()  # OpenSSL does not say which file is missing
    found: ssl.SSLContext = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    with _naming(f"{certificate}, {key}"):
        found.load_cert_chain(certificate, key, lambda: "")  # it would ask at a terminal for a key's password
    if authorities:
        with _naming(authorities):
            found.load_verify_locations(authorities)
        found.verify_mode = ssl.CERT_REQUIRED if must_show else ssl.CERT_OPTIONAL
    return found


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error


def certified_dpids(certificate: Mapping[str, Any]) -> frozenset[int]:
    """The datapath ids a certificate (of `SSLSocket.getpeercert`) names, as ``dpid-`` and 16 hexadecimal digits.

    They are alternative names of type DNS, or common names.
    """
    return frozenset(int(found[1], 16) for name in certified_names(certificate) if (found := _NAME.fullmatch(name)))


def certified_names(certificate: Mapping[str, Any]) -> list[str]:
    """The names in a certificate (of `SSLSocket.getpeercert`): alternative ones of type DNS, then common names."""
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
    for attributes in certificate.get("subject", ()):
        names += [value for kind, value in attributes if kind == "commonName"]
    return names


def receive(connection: Any, most: int) -> bytes:
    """Wait for bytes, then take all that came, about `most` of them; empty at the end of the connection.

    Open vSwitch puts each message into a TLS record of its own, and a TLS socket gives one record at a time.
    """
    data: bytes = connection.recv(most)
    if not data or not hasattr(connection, "getpeercert"):
        return data
    parts, size = [data], len(data)
    connection.act_non_blocking = True  # eventlet: raise instead of waiting
    try:
        while size < most:
            more = connection.recv(most - size)
            if not more:
                break  # the next call finds the end, too
            parts.append(more)
            size += len(more)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    finally:
        connection.act_non_blocking = False
    return b"".join(parts)


def shake_hands(connection: socket.socket, found: ssl.SSLContext) -> ssl.SSLSocket:
    """Encrypt a connection that was accepted; OSError if that fails. Either way the given socket is closed or used up.

    It waits as long as the peer lets it: the caller has a deadline.
    """
    connection.settimeout(None)
    try:
        encrypted = found.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    except BaseException:
        connection.close()
        raise
    try:
        encrypted.do_handshake()
    except BaseException:
        encrypted.close()  # the descriptor is its own now
        raise
    return encrypted
