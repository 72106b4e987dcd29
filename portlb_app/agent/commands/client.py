"""`portlb agent client`."""

from __future__ import annotations

import argparse

from portlb_app.agent import client, closing, process
from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.log_lines import add_format, log_to_stderr


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("client", "follow redirects for this host's programs")
    parser.add_argument(
        "--vip", required=True, action="append", type=arguments.address, metavar="ADDRESS",
        help="VIP whose redirects are followed, IPv4 or IPv6; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--signal", choices=("flag", "option"), default="flag",
        help="how SYNs ask for redirects: by a header bit, or, where a path clears it, by the TCP option alone "
        "(default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--service-address", action="append", default=[], type=arguments.network, metavar="NETWORK",
        help="redirects may name addresses of this network (or one address); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--service-mac", action="append", default=[], type=arguments.mac_prefix, metavar="MAC[/BITS]",
        help="redirects may name this MAC address, or those with the same first bits; may be repeated",
    )  # fmt: skip
    arguments.add_connections(parser)
    add_format(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    constants = client.settings(given.vip, given.signal == "option", given.service_address, given.service_mac)
    log_to_stderr(given.log_format)
    return process.serve(
        given.interface, "client", {"": lambda: constants}, given.connections, on_attached=closing.attach
    )
