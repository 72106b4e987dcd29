"""``portlb attach``: the commands that make a bridge of Open vSwitch a switch of a configuration."""

from __future__ import annotations

import argparse
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from portlb_app.cli.configuration import load_file
from portlb_app.cli.output import Commands, WrongInput
from portlb_app.config import Config, Forwarding, Switch

TARGET = "tcp:127.0.0.1:6653"
PORT = 6653
BRIDGE_NAME = 15
"""Characters of a bridge's name: it names a network interface, too (Linux, IFNAMSIZ)."""

_TARGET = re.compile(r"(tcp|ssl):(\[[0-9a-fA-F:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "attach",
        help=help_line,
        description="Print the ovs-vsctl commands that make a bridge for every switch of a configuration and attach it "
        "to the controller. They may be run again.",
    )
    parser.add_argument("config", type=Path, metavar="lb.yaml", help="the configuration (docs/config.md)")
    parser.add_argument(
        "--controller", type=target, default=TARGET, metavar="TARGET",
        help="where the switches find the controller, tcp: or ssl:, ADDRESS[:PORT] (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--ssl", nargs=3, type=file_of_switch, metavar=("KEY", "CERTIFICATE", "AUTHORITY"),
        help="files on the switch's machine: its key, its certificate, and the authority of the controller's",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the commands."""
    if options.ssl and not options.controller.startswith("ssl:"):
        raise WrongInput("portlb: --ssl needs a --controller that begins with ssl:")
    print(*lines(load_file(options.config), options.controller, options.ssl), sep="\n")
    return 0


def target(text: str) -> str:
    """A controller as Open vSwitch writes it, such as ssl:192.0.2.1:6653; or ArgumentTypeError."""
    found = _TARGET.fullmatch(text)
    try:
        if not found or not 1 <= int(found[3] or PORT) <= 65535:
            raise ValueError
        if (ip_address(found[2].strip("[]")).version == 6) is not found[2].startswith("["):
            raise ValueError
    except ValueError as error:
        wanted = "tcp:192.0.2.1:6653 or ssl:[2001:db8::1]"
        raise argparse.ArgumentTypeError(f"{text!r} is not written like {wanted}") from error
    return f"{found[1]}:{found[2]}:{found[3] or PORT}"


def file_of_switch(text: str) -> str:
    """A file on the switch's machine; ArgumentTypeError for a relative path."""
    if not Path(text).is_absolute():
        raise argparse.ArgumentTypeError(f"{text!r}: Open vSwitch needs an absolute path, on the switch's machine")
    return text


def lines(config: Config, controller: str, files: Sequence[str] | None) -> Iterator[str]:
    """The commands for every switch, with comments that name its ports.

    `controller` is a `target`; `files` are the switch's key, its certificate and the controller's authority.
    """
    for switch in config.switches:
        bridge = bridge_name(switch.name)
        kind = "system" if switch.datapath is Forwarding.KERNEL else "netdev"
        yield f"# switch {switch.name}"
        yield (
            f"ovs-vsctl --may-exist add-br {bridge} -- set bridge {bridge} "
            f"datapath_type={kind} protocols=OpenFlow15 fail_mode=secure "
            f"other_config:datapath-id={switch.dpid:016x}"
        )
        if files:
            yield f"ovs-vsctl set-ssl {' '.join(map(shlex.quote, files))}"
        yield (
            f"ovs-vsctl set-controller {bridge} {controller} "
            f"-- set controller {bridge} connection-mode=out-of-band"
        )
        for port, use in sorted(_ports(config, switch)):
            yield f"# port {port}, {use}; put the interface's name for IFACE:"
            yield f"# ovs-vsctl --may-exist add-port {bridge} IFACE -- set interface IFACE ofport_request={port}"
        yield ""


def bridge_name(switch: str) -> str:
    """The name of a switch's bridge: the switch's own, or one made from it if that is too long."""
    if len(switch) <= BRIDGE_NAME:
        return switch
    return f"{switch[: BRIDGE_NAME - 9]}-{zlib.crc32(switch.encode()):08x}"


def _ports(config: Config, switch: Switch) -> Iterator[tuple[int, str]]:
    """The ports of a switch, and what each is for."""
    if switch.network is not None:
        yield switch.network, "the network side"
    for one, other in config.links:
        for here, there in ((one, other), (other, one)):
            if here.switch == switch.name:
                yield here.port, f"link to {there.switch}:{there.port}"
    yield from _connectors(config, switch)


def _connectors(config: Config, switch: Switch) -> Iterable[tuple[int, str]]:
    names: dict[int, list[str]] = {}
    for server in config.servers:
        if server.connector.switch == switch.name and server.connector.port != switch.network:
            names.setdefault(server.connector.port, []).append(server.name)
    return ((port, f"connector of {', '.join(sorted(each))}") for port, each in names.items())
