"""`portlb agent stats`."""

from __future__ import annotations

import argparse
import json

from portlb_app.agent import counters, report, running
from portlb_app.agent.commands import selected
from portlb_app.agent.commands.register import AddCommand


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("stats", "print the counters of the agents attached to an interface")
    parser.add_argument("--format", choices=("text", "json", "prometheus"), default="text", help="default %(default)s")
    parser.add_argument("--nonzero", action="store_true", help="as text: leave out counters that are 0")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    meanings = counters.meanings()
    with running.agents(given.interface) as found:
        if given.format == "json":
            totals = {role: report.total(each.counters() for _, each in its) for role, its in selected.by_role(found)}
            print(json.dumps(totals, indent=2))
        elif given.format == "prometheus":
            values = {
                role: (
                    report.total(each.counters() for _, each in its),
                    report.all_entries(each.entries() for _, each in its),
                )
                for role, its in selected.by_role(found)
            }
            print("\n".join(report.prometheus(given.interface, values, meanings)))
        else:
            for title, role, each in selected.titled(given.interface, found):
                print(title)
                for name, value in each.counters().items():
                    if report.is_of(role, meanings[name]) and (value or not given.nonzero):
                        print(f"  {value:>12}  {name:<20} {meanings[name]}")
    return 0
