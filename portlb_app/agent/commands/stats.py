"""`portlb agent stats`."""

from __future__ import annotations

import argparse
import json

from portlb_app.agent import counters, report, running
from portlb_app.agent.commands import selected
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.errors import AgentError
from portlb_app.agent.mptcp import counts


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("stats", "print the counters of an interface's agents, and the kernel's of MPTCP")
    parser.add_argument("--format", choices=("text", "json", "prometheus"), default="text", help="default %(default)s")
    parser.add_argument("--nonzero", action="store_true", help="as text: leave out counters that are 0")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    mptcp = _mptcp()
    try:
        with running.agents(given.interface) as found:
            _print(given, found, mptcp)
    except AgentError:
        if not mptcp:
            raise
        _print(given, [], mptcp)
    return 0


def _mptcp() -> dict[str, int]:
    """Return what the kernel has counted of MPTCP; nothing if it has not been spoken here."""
    try:
        counted = counts.counts()
    except OSError as error:
        raise AgentError(f"the kernel's counters cannot be read: {error}") from error
    return counted if any(counted.values()) else {}


def _print(given: argparse.Namespace, found: selected.Found, mptcp: dict[str, int]) -> None:
    meanings = counters.meanings()
    if given.format == "json":
        totals = {role: report.total(each.counters() for _, each in its) for role, its in selected.by_role(found)}
        print(json.dumps(totals | ({"mptcp": mptcp} if mptcp else {}), indent=2))
    elif given.format == "prometheus":
        values = {
            role: (
                report.total(each.counters() for _, each in its),
                report.all_entries(each.entries() for _, each in its),
            )
            for role, its in selected.by_role(found)
        }
        lines = list(report.prometheus(given.interface, values, meanings))
        if mptcp:
            lines += counts.prometheus(mptcp, counts.open_by_port())
        print("\n".join(lines))
    else:
        for title, role, each in selected.titled(given.interface, found):
            print(title)
            for name, value in each.counters().items():
                if report.is_of(role, meanings[name]) and (value or not given.nonzero):
                    print(f"  {value:>12}  {name:<20} {meanings[name]}")
        if mptcp:
            _print_mptcp(mptcp, given.nonzero)


def _print_mptcp(mptcp: dict[str, int], nonzero: bool) -> None:
    print("MPTCP in this network namespace")
    for name, value in mptcp.items():
        if value or not nonzero:
            print(f"  {value:>12}  {name:<22} {counts.MEANINGS[name]}")
    for port, number in counts.open_by_port().items():
        print(f"  {number:>12}  open subflows at port {port}")
