"""Sessions of browsers: who gets one, what it is worth, and when it is over."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from portlb_app.api import access, sessions
from portlb_app.api.identity import Role
from portlb_app.api.sessions import SECONDS, Sessions, refusal

ACCESS = access.load("\n".join(access.line_of(name, role, f"{role[:2]}-token") for name, role in (
    ("op.1@x", "operator"), ("eve", "read-only"), ("a1", "agent=a"),
)) + "\ncert admin certificate\n")  # fmt: skip
SESSIONS = Sessions(b"k" * 32, 8080, True)
NOW = 1_764_000_000.5


def cookie(token: str = "op-token", of: Sessions = SESSIONS) -> str:
    """The Cookie field that a browser sends after a login."""
    begun = of.begin(token, ACCESS, NOW)
    assert begun is not None
    return begun.partition(";")[0]


def test_a_session_is_its_owner_and_no_script_reads_it() -> None:
    begun = SESSIONS.begin("op-token", ACCESS, NOW)
    assert begun is not None and begun.startswith("__Host-portlb-8080=")
    assert begun.endswith(f"; Max-Age={SECONDS}; Path=/; HttpOnly; SameSite=Strict; Secure")
    assert "op-token" not in begun and hashlib.sha256(b"op-token").hexdigest() not in begun
    found = SESSIONS.identity(f"theme=dark; {cookie()}; x=1", ACCESS, NOW + 60)
    assert found is not None and (found.name, found.role) == ("op.1@x", Role.OPERATOR)
    assert "Secure" not in (Sessions(b"k" * 32, 8080, False).begin("re-token", ACCESS, NOW) or "Secure")


@pytest.mark.parametrize("token", ["", "eve", "ag-token", "cert", "x" * 300, "re-token\n", "é"])
def test_only_a_persons_token_begins_one(token: str) -> None:
    assert SESSIONS.begin(token, ACCESS, NOW) is None


def test_a_session_ends() -> None:
    """By time, with the line of its token, with another token of the same name, and with the controller's key."""
    own = cookie()
    assert SESSIONS.identity(own, ACCESS, NOW + SECONDS + 1) is None
    assert SESSIONS.identity(own, replace(ACCESS, entries=ACCESS.entries[1:]), NOW) is None
    renewed = access.load(access.line_of("op.1@x", "operator", "another-token"))
    assert SESSIONS.identity(own, renewed, NOW) is None
    assert replace(SESSIONS, key=b"j" * 32).identity(own, ACCESS, NOW) is None
    lesser = access.load(access.line_of("op.1@x", "read-only", "op-token"))
    found = SESSIONS.identity(own, lesser, NOW)
    assert found is not None and found.role is Role.READ
    assert SESSIONS.end().startswith("__Host-portlb-8080=; Max-Age=0")


def test_a_session_cannot_be_changed() -> None:
    own = cookie("re-token")
    name, _, value = own.partition("=")
    _, end, found = value.rsplit(".", 2)
    forged = [
        f"op.1@x.{end}.{found}", f"eve.{int(end) + 1}.{found}", f"eve.{end}.{'0' * 64}", f"eve.{end}.", "", "eve",
        f"cert.{end}.{found}", f"eve..{found}", f"eve.-1.{found}", f"eve.{'9' * 400}.{found}", f"eve.{end}.{found}é",
    ]  # fmt: skip
    assert [SESSIONS.identity(f"{name}={each}", ACCESS, NOW) for each in forged] == [None] * len(forged)
    assert SESSIONS.identity(f"{own}; {own}", ACCESS, NOW) is None
    assert SESSIONS.identity(f"portlb-8080={value}", ACCESS, NOW) is None


@pytest.mark.parametrize(
    ("method", "is_page", "origin", "is_enough"),
    [
        ("GET", False, None, True),
        ("GET", True, "https://elsewhere", True),
        ("POST", True, "https://here", True),
        ("POST", True, None, False),
        ("PUT", False, "https://here", False),
        ("DELETE", False, "https://here", False),
    ],
)
def test_a_session_changes_nothing_but_by_a_form(
    method: str, is_page: bool, origin: str | None, is_enough: bool
) -> None:
    """`access.foreign` has compared the Origin before."""
    assert (not refusal(method, is_page, origin)) is is_enough
    assert sessions.SECONDS <= 24 * 3600
