"""`portlb agent`: the command line of the host agents."""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import sys
from collections.abc import Collection, Iterator
from ipaddress import IPv6Address, ip_address, ip_network

from portlb_app.agent import (
    chain,
    cli_redirect,
    client,
    closing,
    counters,
    hooks,
    loader,
    process,
    processes,
    report,
    server,
)
from portlb_app.agent.errors import AgentError
from portlb_app.agent.locator import MacPrefix, Network, mac_prefix
from portlb_app.agent.mapping import Address, ServerMapping
from portlb_app.agent.source import Controller, File, Fixed, Source, WrongConfiguration

WRONG_INPUT = 2  # exit code


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `agent` command; each of its sub-commands sets `run`, a function that returns the exit code."""
    agent = subparsers.add_parser("agent", help="run or inspect a host agent")
    commands = agent.add_subparsers(dest="agent_command", required=True)

    parser = _command(commands, "client", "follow redirects for this host's programs")
    parser.add_argument(
        "--vip", required=True, action="append", type=_address, metavar="ADDRESS",
        help="address whose redirects count, IPv4 or IPv6; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--signal", choices=("flag", "option"), default="flag",
        help="how SYNs ask for redirects: by a header bit, or, where a path clears it, by the TCP option alone "
        "(default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--service-address", action="append", default=[], type=_network, metavar="NETWORK",
        help="redirects may name addresses of this network (or one address); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--service-mac", action="append", default=[], type=_mac_prefix, metavar="MAC[/BITS]",
        help="redirects may name this MAC address, or those with the same first bits; may be repeated",
    )  # fmt: skip
    _add_connections(parser)
    parser.set_defaults(run=_run_client)

    parser = _command(commands, "server", "announce and translate this host's service ports")
    parser.add_argument("--config", metavar="LB.YAML", help="configuration of the load balancer; SIGHUP reads it again")
    parser.add_argument(
        "--controller", metavar="URL",
        help="controller to ask for its live configuration, every 10 s: unix:///PATH, https://HOST:PORT, or http:// on "
        "this host's loopback",
    )  # fmt: skip
    parser.add_argument(
        "--insecure-http", action="store_true",
        help="believe a controller over plain http whoever answers, also from another host",
    )  # fmt: skip
    parser.add_argument(
        "--application", action="append", default=[], type=_port, metavar="PORT",
        help="a program's port to which a configuration may lead; may be repeated (default: those it names at the "
        "start and when the agent is told to reload)",
    )  # fmt: skip
    parser.add_argument(
        "--server", action="append", default=[], metavar="NAME",
        help="this host's name in the configuration; may be repeated, for servers of different VIPs",
    )  # fmt: skip
    parser.add_argument(
        "--vip", action="append", default=[], type=_address, metavar="ADDRESS",
        help="without a configuration: the address served, IPv4 or IPv6; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--service", action="append", default=[], type=_service, metavar="PORT[=APPLICATION]",
        help="without a configuration: service port, and the port its application listens on",
    )  # fmt: skip
    parser.add_argument(
        "--redirect", action="append", default=[], type=_answer, metavar="PORT[=SERVICE]",
        help="without a configuration: redirect port, and the service port to announce to who opens on it, or else "
        "the name below",
    )  # fmt: skip
    parser.add_argument(
        "--service-address", action="append", default=[], type=_address, metavar="ADDRESS",
        help="without a configuration: address announced instead of a port; one of each IP version",
    )  # fmt: skip
    parser.add_argument(
        "--service-mac", type=_mac, metavar="MAC",
        help="without a configuration: MAC address announced instead of a port",
    )  # fmt: skip
    parser.add_argument(
        "--service-label", type=_label, metavar="NUMBER",
        help="without a configuration: IPv6 flow label announced instead of a port",
    )  # fmt: skip
    _add_connections(parser)
    parser.set_defaults(run=_run_server)

    cli_redirect.register(functools.partial(_command, commands))

    parser = _command(commands, "stats", "print the counters of the agents attached to an interface")
    parser.add_argument("--format", choices=("text", "json", "prometheus"), default="text", help="default %(default)s")
    parser.add_argument("--nonzero", action="store_true", help="as text: leave out counters that are 0")
    parser.set_defaults(run=_run_stats)

    parser = _command(commands, "health", "tell whether the agents of an interface are well; exit code 0 if so, else 1")
    _add_role(parser)
    parser.set_defaults(run=_run_health)

    parser = _command(commands, "detach", "remove agents that no process looks after; their redirected connections end")
    _add_role(parser)
    parser.set_defaults(run=_run_detach)


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


def _add_role(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=loader.ROLES, help="one of the two that can be there (default: both)")


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not an IP address: {text!r}") from error
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise argparse.ArgumentTypeError(f"{text}: say it without a zone, and an IPv4 address as such")
    return address


def _connections(text: str) -> int:
    number = int(text)
    if not 1024 <= number <= 1 << 24:
        raise argparse.ArgumentTypeError("must be 1024 to 16777216")
    return number


def _redirect(text: str) -> tuple[int, int]:
    left, _, right = text.partition("=")
    return int(left), int(right)


def _answer(text: str) -> tuple[int, int | None]:
    return _redirect(text) if "=" in text else (int(text), None)


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a network or address: {error}") from error


def _mac_prefix(text: str) -> MacPrefix:
    try:
        return mac_prefix(text)
    except AgentError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _mac(text: str) -> int:
    found = _mac_prefix(text)
    if found.bits != 48 or not found.address or found.address >> 40 & 1:
        raise argparse.ArgumentTypeError(f"{text!r}: one host's MAC address is expected")
    return found.address


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return port


def _label(text: str) -> int:
    number = int(text, 0)
    if not 1 <= number <= 0xFFFFF:
        raise argparse.ArgumentTypeError(f"a label is a number from 1 to {0xFFFFF:#x}, not {text}")
    return number


def _service(text: str) -> tuple[int, int]:
    return _redirect(text) if "=" in text else (int(text), int(text))


def _run_client(arguments: argparse.Namespace) -> int:
    constants = client.settings(
        arguments.vip, arguments.signal == "option", arguments.service_address, arguments.service_mac
    )
    _log_to_stderr()
    return process.serve(
        arguments.interface, "client", {"": lambda: constants}, arguments.connections, on_attached=closing.attach
    )


def _run_server(arguments: argparse.Namespace) -> int:
    sources = _sources(arguments)
    _log_to_stderr()
    try:
        return process.serve(
            arguments.interface,
            "server",
            {name: functools.partial(_settings, source, arguments.application) for name, source in sources.items()},
            arguments.connections,
            next(iter(sources.values())).every,
            may_change=None if arguments.application else _check_applications,
        )
    except WrongConfiguration as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT


def _settings(source: Source, applications: Collection[int]) -> bytes:
    settings = server.settings(source.mapping())
    if applications and (others := server.applications(settings) - set(applications)):
        raise AgentError(f"it leads to port {_listed(others)}, which --application does not name")
    return settings


def _check_applications(old: bytes, new: bytes) -> None:
    """AgentError if new settings lead to programs that the old ones do not."""
    if others := server.applications(new) - server.applications(old):
        raise AgentError(
            f"it leads to port {_listed(others)} now, where it led to none before: reload the agent (SIGHUP) to accept "
            "that, or name the ports that may be led to by --application"
        )


def _listed(ports: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ports)))


def _sources(arguments: argparse.Namespace) -> dict[str, Source]:
    """Return where the settings of each server named come from."""
    named = arguments.service_address or arguments.service_mac or arguments.service_label
    by_hand = arguments.vip or arguments.service or arguments.redirect or named
    given = [each for each in (arguments.config, arguments.controller, by_hand or None) if each is not None]
    if len(given) != 1 or bool(arguments.server) == bool(by_hand) or (by_hand and not arguments.vip):
        raise AgentError(
            "say one of: --config LB.YAML --server NAME; --controller URL --server NAME; "
            "--vip ADDRESS with --service and --redirect"
        )
    for name in arguments.server:
        if arguments.server.count(name) > 1:
            raise AgentError(f"--server {name} is given twice")
    if arguments.config is not None:
        return {name: File(arguments.config, name) for name in arguments.server}
    if arguments.controller is not None:
        return {name: Controller(arguments.controller, name, arguments.insecure_http) for name in arguments.server}
    return {"": Fixed(_by_hand(arguments))}


def _by_hand(arguments: argparse.Namespace) -> ServerMapping:
    stand_for = {}
    for address in arguments.service_address:
        served = [vip for vip in arguments.vip if vip.version == address.version]
        if len(served) != 1:
            raise AgentError(f"service address {address} stands for one --vip of its IP version, not for {len(served)}")
        stand_for[address] = served[0]
    return ServerMapping(
        tuple(arguments.vip),
        {opened: port for opened, port in arguments.redirect if port is not None},
        dict(arguments.service),
        locator_ports=frozenset(opened for opened, port in arguments.redirect if port is None),
        service_addresses=stand_for,
        service_mac=arguments.service_mac,
        service_label=arguments.service_label,
    )


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def _run_stats(arguments: argparse.Namespace) -> int:
    meanings = counters.meanings()
    with loader.agents(arguments.interface) as found:
        if arguments.format == "json":
            totals = {role: report.total(each.counters() for _, each in its) for role, its in _by_role(found)}
            print(json.dumps(totals, indent=2))
        elif arguments.format == "prometheus":
            values = {
                role: (
                    report.total(each.counters() for _, each in its),
                    report.all_entries(each.entries() for _, each in its),
                )
                for role, its in _by_role(found)
            }
            print("\n".join(report.prometheus(arguments.interface, values, meanings)))
        else:
            for title, role, each in _titled(arguments.interface, found):
                print(title)
                for name, value in each.counters().items():
                    if report.is_of(role, meanings[name]) and (value or not arguments.nonzero):
                        print(f"  {value:>12}  {name:<20} {meanings[name]}")
    return 0


def _by_role(found: list[tuple[str, loader.Running]]) -> list[tuple[str, list[tuple[str, loader.Running]]]]:
    return [(role, list(its)) for role, its in itertools.groupby(found, lambda each: each[0])]


def _titled(interface: str, found: list[tuple[str, loader.Running]]) -> Iterator[tuple[str, str, loader.Running]]:
    """Yield each agent with its role, and words that tell it from the others."""
    for role, its in _by_role(found):
        for _, each in its:
            which = f" for {loader.words(each.vips)}" if len(its) > 1 else ""
            yield f"{role} agent on {interface}{which}", role, each


def _run_health(arguments: argparse.Namespace) -> int:
    all_well = True
    with loader.agents(arguments.interface) as found:
        ids = {prog_id for _, each in found for prog_id in each.programs.values()}
        for title, _, each in _titled(arguments.interface, _chosen(arguments, found)):
            pids, all_known = processes.holders(each.programs.values())
            attached = hooks.Attached(each.way, each.programs, each.vips)
            chains = chain.look(arguments.interface, attached, ids)
            well, words = report.health(
                each.programs, each.entries(), pids, all_known, each.silent_paths(), chains
            )
            print(f"{title}: {words}")
            all_well = all_well and well
    return 0 if all_well else 1


def _run_detach(arguments: argparse.Namespace) -> int:
    kept = []
    with loader.agents(arguments.interface, any_version=True) as found:
        for title, role, each in _titled(arguments.interface, _chosen(arguments, found)):
            pids, _ = processes.holders(each.programs.values())
            if pids:
                kept.append(f"process {', '.join(map(str, pids))} runs the {title}: end that instead")
            else:
                loader.detach(arguments.interface, role, each)
    if kept:
        raise AgentError("; ".join(kept))
    return 0


def _chosen(
    arguments: argparse.Namespace, found: list[tuple[str, loader.Running]]
) -> list[tuple[str, loader.Running]]:  # fmt: skip
    """Return the agents meant; AgentError if none of the role asked for is attached."""
    chosen = [(role, each) for role, each in found if arguments.role in (None, role)]
    if not chosen:
        raise AgentError(f"no {arguments.role} agent is attached to {arguments.interface} in this network namespace")
    return chosen
