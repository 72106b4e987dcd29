"""`portlb agent detach`."""

from __future__ import annotations

import argparse

from portlb_app.agent import processes, running
from portlb_app.agent.commands import selected
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.errors import AgentError


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("detach", "remove agents that no process looks after; their redirected connections end")
    selected.add_role(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    kept = []
    with running.agents(given.interface, any_version=True) as found:
        for title, role, each in selected.titled(given.interface, selected.chosen(given, found)):
            pids, _ = processes.holders(each.programs.values())
            if pids:
                kept.append(f"process {', '.join(map(str, pids))} runs the {title}: end that instead")
            else:
                running.detach(given.interface, role, each)
    if kept:
        raise AgentError("; ".join(kept))
    return 0
