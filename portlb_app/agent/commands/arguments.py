"""Types of the agents' arguments: each function raises argparse.ArgumentTypeError, or ValueError, for a wrong text."""

from __future__ import annotations

import argparse
from ipaddress import IPv6Address, ip_address, ip_network

from portlb_app.agent import locator
from portlb_app.agent.errors import AgentError
from portlb_app.agent.loader import CONNECTIONS
from portlb_app.agent.locator import MacPrefix, Network
from portlb_app.agent.mapping import Address
from portlb_app.agent.redirect import TIMEOUT


def add_connections(parser: argparse.ArgumentParser) -> None:
    """Add --connections."""
    parser.add_argument(
        "--connections", type=connections, default=CONNECTIONS, metavar="N",
        help="connections remembered at once (default %(default)s)",
    )  # fmt: skip


def add_timeout(parser: argparse.ArgumentParser, consequence: str) -> None:
    """Add --timeout."""
    parser.add_argument(
        "--timeout", type=seconds, default=TIMEOUT, metavar="SECONDS",
        help=f"how long the other end has to follow (default %(default)s){consequence}",
    )  # fmt: skip


def address(text: str) -> Address:
    """Return an IP address."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not an IP address: {text!r}") from error
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise argparse.ArgumentTypeError(f"{text}: say it without a zone, and an IPv4 address as such")
    return address


def connections(text: str) -> int:
    """Return a number of connections."""
    number = int(text)
    if not 1024 <= number <= 1 << 24:
        raise argparse.ArgumentTypeError("must be 1024 to 16777216")
    return number


def _two_ports(text: str) -> tuple[int, int]:
    left, _, right = text.partition("=")
    return int(left), int(right)


def redirect(text: str) -> tuple[int, int | None]:
    """Return a redirect port and the service port to announce, None for the locator."""
    return _two_ports(text) if "=" in text else (int(text), None)


def network(text: str) -> Network:
    """Return a network, or the network of one address."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a network or address: {error}") from error


def mac_prefix(text: str) -> MacPrefix:
    """Return a MAC address, or the first bits of one."""
    try:
        return locator.mac_prefix(text)
    except AgentError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def mac(text: str) -> int:
    """Return one host's MAC address as a number of 48 bits."""
    found = mac_prefix(text)
    if found.bits != 48 or not found.address or found.address >> 40 & 1:
        raise argparse.ArgumentTypeError(f"{text!r}: one host's MAC address is expected")
    return found.address


def port(text: str) -> int:
    """Return a port."""
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return port


def label(text: str) -> int:
    """Return an IPv6 flow label."""
    number = int(text, 0)
    if not 1 <= number <= 0xFFFFF:
        raise argparse.ArgumentTypeError(f"a label is a number from 1 to {0xFFFFF:#x}, not {text}")
    return number


def service(text: str) -> tuple[int, int]:
    """Return a service port and its application's port."""
    return _two_ports(text) if "=" in text else (int(text), int(text))


def wait(text: str) -> float:
    """Return a time of up to a day, which may be none."""
    return 0.0 if text == "0" else seconds(text)


def seconds(text: str) -> float:
    """Return a time of up to a day."""
    seconds = float(text)
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError("must be more than 0, and 86400 at most")
    return seconds
