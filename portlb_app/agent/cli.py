"""`portlb agent`: the command line of the host agents."""

from __future__ import annotations

import argparse
import json
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from portlb_app.agent import client, counters, loader, server
from portlb_app.agent.errors import AgentError
from portlb_app.agent.mapping import ServerMapping, mapping_of


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `agent` command; each of its sub-commands sets `run`, a function that returns the exit code."""
    agent = subparsers.add_parser("agent", help="run or inspect a host agent")
    commands = agent.add_subparsers(dest="agent_command", required=True)

    parser = _command(commands, "client", "follow redirects for this host's programs")
    parser.add_argument("--vip", required=True, action="append", type=_address, help="address whose redirects count")
    _add_connections(parser)
    parser.set_defaults(run=_run_client)

    parser = _command(commands, "server", "announce and translate this host's service ports")
    parser.add_argument("--config", metavar="LB.YAML", help="configuration of the load balancer")
    parser.add_argument("--server", metavar="NAME", help="this host's name in the configuration")
    parser.add_argument("--vip", type=_address, help="without --config: the address served")
    parser.add_argument(
        "--service", action="append", default=[], type=_service, metavar="PORT[=APPLICATION]",
        help="without --config: service port, and the port its application listens on",
    )  # fmt: skip
    parser.add_argument(
        "--redirect", action="append", default=[], type=_redirect, metavar="PORT=SERVICE",
        help="without --config: redirect port, and the service port to announce to who opens on it",
    )  # fmt: skip
    _add_connections(parser)
    parser.set_defaults(run=_run_server)

    parser = _command(commands, "stats", "print the counters of the agents attached to an interface")
    parser.add_argument("--json", action="store_true", help="print JSON: {role: {counter: value}}")
    parser.set_defaults(run=_run_stats)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("--interface", required=True, help="interface of the current network namespace")
    return parser


def _add_connections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--connections", type=_connections, default=loader.CONNECTIONS, metavar="N",
        help="connections remembered at once (default %(default)s)",
    )  # fmt: skip


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise argparse.ArgumentTypeError(f"not an IPv4 address: {error}") from error


def _connections(text: str) -> int:
    number = int(text)
    if not 1024 <= number <= 1 << 24:
        raise argparse.ArgumentTypeError("must be 1024 to 16777216")
    return number


def _redirect(text: str) -> tuple[int, int]:
    left, _, right = text.partition("=")
    return int(left), int(right)


def _service(text: str) -> tuple[int, int]:
    return _redirect(text) if "=" in text else (int(text), int(text))


def _run_client(arguments: argparse.Namespace) -> int:
    return client.run(arguments.interface, arguments.vip, arguments.connections)


def _run_server(arguments: argparse.Namespace) -> int:
    return server.run(arguments.interface, _mapping(arguments), arguments.connections)


def _mapping(arguments: argparse.Namespace) -> ServerMapping:
    if arguments.config is not None:
        if arguments.server is None or arguments.vip or arguments.service or arguments.redirect:
            raise AgentError("--config goes with --server NAME and without --vip, --service and --redirect")
        from portlb_app.config import load

        return mapping_of(load(Path(arguments.config).read_text(encoding="utf-8")), arguments.server)
    if arguments.vip is None or arguments.server is not None:
        raise AgentError("say --config LB.YAML --server NAME, or --vip ADDRESS with --service and --redirect")
    return ServerMapping(arguments.vip, dict(arguments.redirect), dict(arguments.service))


def _run_stats(arguments: argparse.Namespace) -> int:
    found = loader.stats(arguments.interface)
    if not found:
        raise AgentError(f"no agent is attached to {arguments.interface} in this network namespace")
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    meanings = counters.meanings()
    for role, values in found.items():
        print(f"{role} agent on {arguments.interface}")
        for name, value in values.items():
            print(f"  {value:>12}  {name:<15} {meanings[name]}")
    return 0
