"""`portlb agent health`."""

from __future__ import annotations

import argparse

from portlb_app.agent import chain, hooks, processes, report, running
from portlb_app.agent.commands import selected
from portlb_app.agent.commands.register import AddCommand


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("health", "tell whether the agents of an interface are well; exit code 0 if so, else 1")
    selected.add_role(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    all_well = True
    with running.agents(given.interface) as found:
        ids = {prog_id for _, each in found for prog_id in each.programs.values()}
        for title, _, each in selected.titled(given.interface, selected.chosen(given, found)):
            pids, all_known = processes.holders(each.programs.values())
            attached = hooks.Attached(each.way, each.programs, each.vips)
            chains = chain.look(given.interface, attached, ids)
            well, words = report.health(each.programs, each.entries(), pids, all_known, each.silent_paths(), chains)
            print(f"{title}: {words}")
            all_well = all_well and well
    return 0 if all_well else 1
