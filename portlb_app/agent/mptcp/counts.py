"""What the kernel has counted of MPTCP in this network namespace, and its open subflows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from portlb_app.agent.kernel import sock_diag

_NETSTAT = Path("/proc/thread-self/net/netstat")
_TITLE = "MPTcpExt:"
_MEANINGS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "mptcp_opened": (("MPCapableACKRX",), "connections of clients that speak MPTCP"),
        "mptcp_announced": (("AddAddrTx",), "announcements sent to clients"),
        "mptcp_not_announced": (("AddAddrTxDrop",), "announcements that had no room beside other TCP options"),
        "mptcp_echoed": (("EchoAdd",), "announcements that clients have acknowledged"),
        "mptcp_joined": (("MPJoinAckRx",), "subflows that have joined"),
        "mptcp_joined_announced": (("MPJoinPortAckRx",), "of these, at an announced port"),
        "mptcp_join_unknown": (("MPJoinNoTokenFound",), "joins refused: no connection has their token"),
        "mptcp_join_forged": (("MPJoinAckHMacFailure",), "joins refused: without the connection's keys"),
        "mptcp_join_misplaced": (
            ("MismatchPortSynRx", "MismatchPortAckRx"), "joins refused: at a port that is not announced",
        ),
        "mptcp_join_rejected": (("MPJoinRejected",), "joins refused: the connection has as many subflows as it may"),
        "mptcp_not_a_join": (("MPCapableEndpAttempt",), "connections refused that were opened at an announced port"),
        "mptcp_withdrawn": (("RmAddrTx",), "announcements withdrawn"),
        "mptcp_marked_backup": (("MPPrioTx",), "subflows whose clients were told to use others"),
        "mptcp_reset": (("MPRstTx",), "subflows reset by this host, with a reason"),
        "mptcp_stale": (("SubflowStale",), "subflows that did not answer, whose data went by others"),
    }
)  # fmt: skip
MEANINGS: Mapping[str, str] = MappingProxyType({name: meaning for name, (_, meaning) in _MEANINGS.items()})


def counts() -> dict[str, int]:
    """Return what the kernel has counted; OSError if it does not tell."""
    return parse(_NETSTAT.read_text(encoding="ascii"))


def parse(netstat: str) -> dict[str, int]:
    """Return the counts in the text of /proc/net/netstat (proc(5)), all 0 without MPTCP; one that it lacks is 0."""
    lines = [line.split()[1:] for line in netstat.splitlines() if line.startswith(f"{_TITLE} ")]
    told = dict(zip(*lines, strict=False)) if len(lines) == 2 else {}
    return {name: sum(map(_number, map(told.get, theirs))) for name, (theirs, _) in _MEANINGS.items()}


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def open_by_port() -> dict[int, int]:
    """Return how many subflows are open to each port that listens here; OSError if the kernel does not tell."""
    listening = {each.local_port for each in sock_diag.listing() if each.state == sock_diag.LISTEN}
    open_ones = Counter(each.local_port for each in sock_diag.subflows())
    return {port: open_ones[port] for port in sorted(listening & open_ones.keys())}


def prometheus(counted: Mapping[str, int], by_port: Mapping[int, int]) -> Iterator[str]:
    """Yield the lines of Prometheus' text format, version 0.0.4."""
    for name, value in counted.items():
        yield f"# HELP portlb_agent_{name}_total {MEANINGS[name]}"
        yield f"# TYPE portlb_agent_{name}_total counter"
        yield f"portlb_agent_{name}_total {value}"
    yield "# HELP portlb_agent_mptcp_subflows open subflows of MPTCP connections, by the port of this host"
    yield "# TYPE portlb_agent_mptcp_subflows gauge"
    for port, number in by_port.items():
        yield f'portlb_agent_mptcp_subflows{{port="{port}"}} {number}'
