"""`portlb agent`: the command line of the host agents."""

from __future__ import annotations

import argparse
import functools

from portlb_app.agent.commands import (
    client,
    connections,
    detach,
    health,
    move,
    mptcp,
    quic_parameters,
    redirect,
    server,
    stats,
)

COMMANDS = (client, server, redirect, move, connections, stats, health, detach)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `agent` command; each of its sub-commands sets `run`, a function that returns the exit code."""
    agent = subparsers.add_parser("agent", help="run or inspect a host agent")
    commands = agent.add_subparsers(dest="agent_command", required=True, metavar="COMMAND")
    for each in COMMANDS:
        each.register(functools.partial(_command, commands))
    for other in (mptcp, quic_parameters):
        other.register(lambda name, summary: commands.add_parser(name, help=summary, description=summary))


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("--interface", required=True, help="interface of the current network namespace")
    return parser
