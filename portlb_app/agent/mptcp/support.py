"""Whether this kernel can do what the MPTCP agent needs, and its settings in /proc/sys/net/mptcp."""

from __future__ import annotations

from pathlib import Path

from portlb_app.agent import capabilities
from portlb_app.agent.errors import AgentError

_SETTINGS = Path("/proc/sys/net/mptcp")
JOIN_INITIAL = "allow_join_initial_addr_port"
"""Whether clients may join at the address and port of the first subflow, whose owner may change (RFC 8684, 3.1: C)."""


def require() -> None:
    """AgentError that says what is missing: MPTCP, a setting that a release of Linux brought, or a capability."""
    capabilities.require("MPTCP", ("CAP_NET_ADMIN",))
    if not _SETTINGS.is_dir():
        raise AgentError("this kernel has no MPTCP: it needs Linux 5.14 or later, built with CONFIG_MPTCP")
    if _read("enabled") != "1":
        raise AgentError("MPTCP is turned off here: sysctl -w net.mptcp.enabled=1")
    if _read(JOIN_INITIAL) is None:
        raise AgentError(f"this kernel has no net.mptcp.{JOIN_INITIAL}: it needs Linux 5.14 or later")
    if _read("pm_type") not in (None, "0"):
        raise AgentError("a program announces addresses here (net.mptcp.pm_type): sysctl -w net.mptcp.pm_type=0")


def join_initial() -> bool:
    """Return whether clients may join at the address and port of the first subflow."""
    return _read(JOIN_INITIAL) == "1"


def set_join_initial(allowed: bool) -> None:
    """Allow that or not; AgentError if the kernel refuses."""
    try:
        (_SETTINGS / JOIN_INITIAL).write_text(str(int(allowed)), encoding="ascii")
    except OSError as error:
        raise AgentError(
            f"net.mptcp.{JOIN_INITIAL} cannot be set: {error.strerror}; set it to {int(allowed)} in /etc/sysctl.d"
        ) from error


def _read(name: str) -> str | None:
    """Return a setting; None if this kernel does not have it."""
    try:
        return (_SETTINGS / name).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentError(f"net.mptcp.{name} cannot be read: {error.strerror}") from error
