"""Certificates for tests, made by the openssl command: one authority, and what it has signed."""

from __future__ import annotations

import ssl
from pathlib import Path

from tests.support.commands import run


class Pki:
    """An authority in a directory of its own; `authority` is its certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self.authority = directory / "ca.pem"
        self._key = directory / "ca.key"
        self._openssl("-subj", "/CN=authority", "-keyout", self._key, "-out", self.authority)

    def sign(self, name: str, *alternatives: str) -> tuple[Path, Path]:
        """A certificate with a common name and alternative names such as ``DNS:x``, and its key."""
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        names = ["-addext", f"subjectAltName={','.join(alternatives)}"] if alternatives else []
        signed = ["-CA", self.authority, "-CAkey", self._key]
        self._openssl("-subj", f"/CN={name}", *names, *signed, "-keyout", key, "-out", certificate)
        return certificate, key

    def sign_expired(self, name: str) -> tuple[Path, Path]:
        """A certificate with a common name that ended yesterday, and its key."""
        _, key = self.sign(name)
        request, certificate = self._directory / f"{name}.req", self._directory / f"{name}.pem"
        run("openssl", "req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-out", str(request))
        signed = ("-CA", str(self.authority), "-CAkey", str(self._key), "-days", "-1")
        run("openssl", "x509", "-req", "-in", str(request), *signed, "-out", str(certificate))
        return certificate, key

    def client(self, certificate: Path, key: Path) -> ssl.SSLContext:
        """How a switch with this certificate connects; whom it connects to it does not ask."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(certificate, key)
        return context

    def _openssl(self, *arguments: str | Path) -> None:
        algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = ["openssl", "req", "-x509", *algorithm, *map(str, arguments)]
        run(*command, timeout=30)
