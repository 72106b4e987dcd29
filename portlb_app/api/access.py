"""Who may ask for what: the lines of an access file, tokens, roles, and types of bodies.

A line of the file is ``NAME ROLE PROOF``. ROLE is admin, operator, read-only or agent=SERVER; PROOF is ``sha256:`` and
the hash of a token, or ``certificate`` for the client certificate that names NAME. A token has 256 random bits, so
nothing slower than SHA-256 has to keep it from being guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydantic import BaseModel

from portlb_app.api.identity import Identity, Role
from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Operation, read_query
from portlb_app.config.problems import printable

MAX_FILE = 256 << 10
"""Bytes of an access file."""
MAX_ENTRIES = 1000
MAX_TOKEN = 256
"""Characters of a token that is looked at."""
ROLES: Mapping[str, Role] = {"admin": Role.ADMIN, "operator": Role.OPERATOR, "read-only": Role.READ}
"""Roles by their words in the file; ``agent=SERVER`` is one more."""

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]+)")
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
_JSON = frozenset({"application/json"})


class WrongAccess(Exception):
    """A line of an access file is wrong; the message says which and why."""


@dataclass(frozen=True)
class Entry:
    """One line: an identity, and the hash of its token; None for a certificate."""

    identity: Identity
    digest: bytes | None


@dataclass(frozen=True)
class Access:
    """What an access file says."""

    entries: tuple[Entry, ...] = ()

    def of_token(self, authorization: str) -> Identity | None:
        """The one whose token an Authorization header has. It takes as long for a wrong one as for any right one."""
        found = _BEARER.fullmatch(authorization) if len(authorization) <= MAX_TOKEN else None
        entry = from_token(found[1] if found else "", self)
        return entry.identity if entry else None

    def of_certificate(self, names: Iterable[str]) -> Identity | None:
        """The one that a client certificate names: by the first name that the file has."""
        known = {each.identity.name: each.identity for each in self.entries if each.digest is None}
        return next((known[name] for name in names if name in known), None)


def from_token(token: str, access: Access) -> Entry | None:
    """The line whose token this is. It takes as long for a wrong one as for any right one."""
    is_token = bool(_TOKEN.fullmatch(token)) and len(token) <= MAX_TOKEN
    given = hashlib.sha256(token.encode() if is_token else b"").digest()
    matching = [each for each in access.entries if each.digest and hmac.compare_digest(each.digest, given)]
    return matching[0] if is_token and matching else None


def load(text: str) -> Access:
    """Read an access file; WrongAccess for the first line that is wrong. Empty lines and those with # are skipped."""
    if len(text) > MAX_FILE:
        raise WrongAccess(f"it has at most {MAX_FILE} bytes")
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _entry(number, line)
        if entry.identity.name in entries:
            raise WrongAccess(f"line {number}: {entry.identity.name} has a line already")
        entries[entry.identity.name] = entry
        if len(entries) > MAX_ENTRIES:
            raise WrongAccess(f"it has at most {MAX_ENTRIES} entries")
    return Access(tuple(entries.values()))


def _entry(number: int, line: str) -> Entry:
    words = line.split()
    if len(words) != 3:
        raise WrongAccess(f"line {number}: a line is NAME ROLE PROOF")
    name, role, proof = words
    if not _NAME.fullmatch(name):
        raise WrongAccess(f"line {number}: a name has 1 to 64 of letters, digits and ._@-")
    found = _HASH.fullmatch(proof)
    if not found and proof != "certificate":
        raise WrongAccess(f"line {number}: the proof is sha256: and 64 hexadecimal digits, or certificate")
    try:
        identity = identity_of(name, role)
    except ValueError as error:
        raise WrongAccess(f"line {number}: {error}") from error
    return Entry(identity, bytes.fromhex(found[1]) if found else None)


def identity_of(name: str, role: str) -> Identity:
    """The identity that a name and the word for its role make; ValueError if there is no such role."""
    kind, equals, server = role.partition("=")
    if kind == "agent" and server:
        return Identity(name, Role.AGENT, frozenset(server.split(",")))
    if equals or role not in ROLES:
        raise ValueError(f"there is no role {printable(role)!r}; there are {', '.join(ROLES)} and agent=SERVER")
    return Identity(name, ROLES[role])


def line_of(name: str, role: str, token: str) -> str:
    """The line for a token; ValueError if the name or the role is wrong."""
    if not _NAME.fullmatch(name):
        raise ValueError("a name has 1 to 64 of letters, digits and ._@-")
    identity_of(name, role)
    return f"{name} {role} sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def foreign(method: str, host: str, origin: str | None, scheme: str) -> Response | None:
    """Why a request may be one that a web page has a browser make, by its Host and Origin; None if it is not.

    A page may point a name of its own at 127.0.0.1 (DNS rebinding). By TLS a browser has compared the name itself.
    """
    if scheme == "http" and not is_this_machine(host):
        return failure("host-not-allowed", f"the Host header {printable(host)!r} does not name this machine")
    if method not in READING and origin is not None and origin.lower() != f"{scheme}://{host.lower()}":
        return failure("foreign-origin", f"a page of {printable(origin)!r} may change nothing")
    return None


def is_this_machine(host: str) -> bool:
    """Whether a Host header names loopback: a web page's name may lead here, but no name is an address of loopback."""
    name, colon, port = host.rpartition(":")
    name = (name if colon and port.isascii() and port.isdigit() else host).lower()
    if name == "localhost":
        return True
    is_bracketed = name.startswith("[") and name.endswith("]")
    try:
        address = ip_address(name[1:-1] if is_bracketed else name)
    except ValueError:
        return False
    return address.is_loopback and (address.version == 6) is is_bracketed


def refusal(
    identity: Identity, operation: Operation[Any], names: Mapping[str, str], query: str, content_type: str | None
) -> Response | None:
    """Why someone may not do this, or not with a body of this type (its header); None if nothing speaks against it."""
    if identity.role is Role.AGENT:
        asked = read_query(query, operation)
        server = names.get("server") or (asked.get("server") if isinstance(asked, dict) else None)
        if not operation.agents or server is not None and server not in identity.servers:
            return failure("not-allowed", f"{identity.name} may read the configuration and its own servers only")
    elif identity.role < operation.role:
        needed = next(word for word, role in ROLES.items() if role is operation.role)
        return failure("not-allowed", f"{identity.name or 'a client here'} may not do this: it takes the role {needed}")
    return _wrong_type(operation, content_type)


def _wrong_type(operation: Operation[Any], content_type: str | None) -> Response | None:
    """A web page can send a body to anywhere, but not of these types without being asked about it (CORS)."""
    if operation.method in ("GET", "DELETE"):
        return None
    allowed = frozenset().union(*map(_types, operation.takes)) or _JSON
    given = (content_type or "").partition(";")[0].strip().lower()
    if given in allowed:
        return None
    said = f"not {printable(given)}" if given else "and the request says none"
    return failure(
        "unsupported-media-type", f"the Content-Type is {' or '.join(sorted(allowed))}, {said}; nothing was changed"
    )


def _types(body: object) -> frozenset[str]:
    if isinstance(body, type) and issubclass(body, BaseModel):
        return _JSON
    content_type: str = getattr(body, "content_type", "")
    return _YAML if content_type in _YAML else frozenset({content_type})
