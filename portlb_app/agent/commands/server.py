"""`portlb agent server`."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Collection

from portlb_app.agent import process, server
from portlb_app.agent.attachment import Agent
from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.commands.sources import add_sources, named_sources
from portlb_app.agent.errors import AgentError
from portlb_app.agent.heart import Heart
from portlb_app.agent.log_lines import add_format, log_to_stderr
from portlb_app.agent.loop import Loop
from portlb_app.agent.mapping import ServerMapping
from portlb_app.agent.mptcp.beside import Beside
from portlb_app.agent.source import Fixed, Source, WrongConfiguration
from portlb_app.agent.troubles import Troubles

WRONG_INPUT = 2  # exit code


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("server", "announce and translate this host's service ports")
    add_sources(parser)
    parser.add_argument(
        "--application", action="append", default=[], type=arguments.port, metavar="PORT",
        help="port of a program that the configuration may name; may be repeated (default: the ports that it names "
        "at the start and at each SIGHUP)",
    )  # fmt: skip
    parser.add_argument(
        "--vip", action="append", default=[], type=arguments.address, metavar="ADDRESS",
        help="without a configuration: the address served, IPv4 or IPv6; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--service", action="append", default=[], type=arguments.service, metavar="PORT[=APPLICATION]",
        help="without a configuration: service port, and the port its application listens on",
    )  # fmt: skip
    parser.add_argument(
        "--redirect", action="append", default=[], type=arguments.redirect, metavar="PORT[=SERVICE]",
        help="without a configuration: redirect port, and the service port announced to clients that open on it; "
        "without one, the locator below",
    )  # fmt: skip
    parser.add_argument(
        "--service-address", action="append", default=[], type=arguments.address, metavar="ADDRESS",
        help="without a configuration: address announced instead of a port; one of each IP version",
    )  # fmt: skip
    parser.add_argument(
        "--service-mac", type=arguments.mac, metavar="MAC",
        help="without a configuration: MAC address announced instead of a port",
    )  # fmt: skip
    parser.add_argument(
        "--service-label", type=arguments.label, metavar="NUMBER",
        help="without a configuration: IPv6 flow label announced instead of a port",
    )  # fmt: skip
    parser.add_argument(
        "--drain", type=arguments.wait, default=0.0, metavar="SECONDS",
        help="at SIGTERM have the load balancer send no new connections here, and wait until there are none, for at "
        "most this time (default: not at all)",
    )  # fmt: skip
    parser.add_argument(
        "--mptcp", action="store_true",
        help="with a configuration: have the kernel tell MPTCP clients this server's own port, as `agent mptcp` does",
    )  # fmt: skip
    arguments.add_connections(parser)
    add_format(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    sources = _sources(given)
    if given.mptcp and not given.server:
        raise AgentError("--mptcp needs a configuration; or use 'portlb agent mptcp' beside this agent")
    beside = Beside() if given.mptcp else None
    log_to_stderr(given.log_format)

    def on_attached(agent: Agent, name: str, loop: Loop, troubles: Troubles) -> process.Companion:
        heart = Heart(agent, given.interface, name, loop, troubles, given.drain)
        return heart if beside is None else beside.with_mptcp(heart, loop)

    try:
        return process.serve(
            given.interface,
            "server",
            {name: functools.partial(_settings, name, its, given.application, beside) for name, its in sources.items()},
            given.connections,
            next(iter(sources.values())).every,
            on_attached=on_attached,
            may_change=None if given.application else _check_applications,
        )
    except WrongConfiguration as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT


def _settings(name: str, source: Source, applications: Collection[int], beside: Beside | None) -> bytes:
    mapping = source.mapping()
    if beside is not None:
        beside.hear(name, mapping.mptcp)
    settings = server.settings(mapping)
    if applications and (others := server.applications(settings) - set(applications)):
        raise AgentError(f"it names port {_listed(others)} of a program, which --application does not")
    return settings


def _check_applications(old: bytes, new: bytes) -> None:
    """AgentError if new settings lead to programs that the old ones do not."""
    if others := server.applications(new) - server.applications(old):
        raise AgentError(
            f"it names port {_listed(others)} of a program, which it did not before: reload the agent (SIGHUP) to "
            "accept that, or list the allowed ports by --application"
        )


def _listed(ports: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ports)))


def _sources(given: argparse.Namespace) -> dict[str, Source]:
    """Return where the settings of each server named come from."""
    named = given.service_address or given.service_mac or given.service_label
    by_hand = given.vip or given.service or given.redirect or named
    sources = [each for each in (given.config, given.controller, by_hand or None) if each is not None]
    if len(sources) != 1 or bool(given.server) == bool(by_hand) or (by_hand and not given.vip):
        raise AgentError(
            "say one of: --config LB.YAML --server NAME; --controller URL --server NAME; "
            "--vip ADDRESS with --service and --redirect"
        )
    return named_sources(given) or {"": Fixed(_by_hand(given))}


def _by_hand(given: argparse.Namespace) -> ServerMapping:
    stand_for = {}
    for address in given.service_address:
        served = [vip for vip in given.vip if vip.version == address.version]
        if len(served) != 1:
            raise AgentError(f"service address {address} stands for one --vip of its IP version, not for {len(served)}")
        stand_for[address] = served[0]
    return ServerMapping(
        tuple(given.vip),
        {opened: port for opened, port in given.redirect if port is not None},
        dict(given.service),
        locator_ports=frozenset(opened for opened, port in given.redirect if port is None),
        service_addresses=stand_for,
        service_mac=given.service_mac,
        service_label=given.service_label,
    )
