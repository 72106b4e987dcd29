"""`portlb agent server`."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Collection

from portlb_app.agent import process, server
from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.errors import AgentError
from portlb_app.agent.heart import Heart
from portlb_app.agent.log_lines import add_format, log_to_stderr
from portlb_app.agent.mapping import ServerMapping
from portlb_app.agent.source import Controller, File, Fixed, Source, WrongConfiguration

WRONG_INPUT = 2  # exit code


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("server", "announce and translate this host's service ports")
    parser.add_argument("--config", metavar="LB.YAML", help="configuration of the load balancer; SIGHUP reads it again")
    parser.add_argument(
        "--controller", "--source", metavar="URL",
        help="controller to ask for its live configuration, every 10 s: unix:///PATH, https://HOST:PORT, or http:// on "
        "this host's loopback",
    )  # fmt: skip
    parser.add_argument("--token-file", metavar="FILE", help="with --controller: file with the token to show it")
    parser.add_argument(
        "--ca", metavar="FILE", help="with https: authority of the controller's certificate (default: the system's)"
    )
    parser.add_argument(
        "--insecure-http", action="store_true",
        help="trust a controller over plain http, whichever program answers, also on another host",
    )  # fmt: skip
    parser.add_argument(
        "--application", action="append", default=[], type=arguments.port, metavar="PORT",
        help="port of a program that the configuration may name; may be repeated (default: the ports that it names "
        "at the start and at each SIGHUP)",
    )  # fmt: skip
    parser.add_argument(
        "--server", action="append", default=[], metavar="NAME",
        help="this host's name in the configuration; may be repeated, for servers of different VIPs",
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
    arguments.add_connections(parser)
    add_format(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    sources = _sources(given)
    log_to_stderr(given.log_format)
    try:
        return process.serve(
            given.interface,
            "server",
            {name: functools.partial(_settings, source, given.application) for name, source in sources.items()},
            given.connections,
            next(iter(sources.values())).every,
            on_attached=lambda agent, name, loop, troubles: Heart(
                agent, given.interface, name, loop, troubles, given.drain
            ),
            may_change=None if given.application else _check_applications,
        )
    except WrongConfiguration as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT


def _settings(source: Source, applications: Collection[int]) -> bytes:
    settings = server.settings(source.mapping())
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
    for name in given.server:
        if given.server.count(name) > 1:
            raise AgentError(f"--server {name} is given twice")
    if given.config is not None:
        return {name: File(given.config, name) for name in given.server}
    if given.controller is not None:
        login = given.insecure_http, given.token_file, given.ca
        return {name: Controller(given.controller, name, *login) for name in given.server}
    return {"": Fixed(_by_hand(given))}


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
