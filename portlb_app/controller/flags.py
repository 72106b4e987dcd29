"""The flags of `portlb controller`: those of ryu-manager that portlb has a use for, under their names, and a few more.

They are read here and not by Ryu, whose own parser knows forty others, and takes settings from files of whoever runs
it.
"""

from __future__ import annotations

import argparse
import ipaddress

OPENFLOW_PORT = 6653
REST_PORT = 8080
APPS_PORT = 8081
RESYNC = 30.0
RESYNC_SECONDS = (0.1, 86400.0)
"""The pause between two looks at what a switch holds, in seconds: the default, and the shortest and longest."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    switches = parser.add_argument_group("switches")
    switches.add_argument(
        "--ofp-listen-host", type=_host, metavar="ADDRESS",
        help="address for switches (default 127.0.0.1; with --ca-certs 0.0.0.0)",
    )  # fmt: skip
    switches.add_argument(
        "--ofp-tcp-listen-port", type=_port, default=OPENFLOW_PORT, metavar="PORT",
        help="port for switches (default %(default)s)",
    )  # fmt: skip
    switches.add_argument("--ctl-privkey", metavar="FILE", help="the controller's key: switches connect by TLS")
    switches.add_argument("--ctl-cert", metavar="FILE", help="the controller's certificate")
    switches.add_argument("--ca-certs", metavar="FILE", help="switches must show a certificate of these authorities")
    switches.add_argument(
        "--ctl-cert-binds-dpid", action="store_true",
        help="a switch may only claim a datapath id that its certificate names, as dpid- and 16 hexadecimal digits",
    )  # fmt: skip
    switches.add_argument(
        "--ofp-ssl-listen-port", type=_port, default=OPENFLOW_PORT, metavar="PORT",
        help="port for switches where they connect by TLS (default %(default)s)",
    )  # fmt: skip
    switches.add_argument(
        "--resync-interval", type=_resync, default=RESYNC, metavar="SECONDS",
        help="pause between two looks at what a switch holds (default %(default)g)",
    )  # fmt: skip
    others = parser.add_argument_group("the REST interface, applications, and the log")
    others.add_argument(
        "--wsapi-host", type=_host, default="127.0.0.1", metavar="ADDRESS",
        help="address of the REST interface, one of loopback (default %(default)s)",
    )  # fmt: skip
    others.add_argument(
        "--wsapi-port", type=_port, default=REST_PORT, metavar="PORT",
        help="port of the REST interface (default %(default)s)",
    )  # fmt: skip
    others.add_argument(
        "--app", action="append", default=[], metavar="MODULE",
        help="load an application of Ryu's beside portlb, such as ryu.app.ofctl_rest; may be repeated",
    )  # fmt: skip
    others.add_argument(
        "--app-port", type=_port, default=APPS_PORT, metavar="PORT",
        help="port of the REST interface of those applications, at --wsapi-host (default %(default)s)",
    )  # fmt: skip
    others.add_argument("--verbose", action="store_true", help="log what is of use to find a mistake")
    others.add_argument("--log-file", metavar="FILE", help="where to log, instead of standard error")


def complete(options: argparse.Namespace) -> str | None:
    """Fill in defaults that depend on other flags; what is wrong with flags that each by itself are right, or None."""
    if not is_loopback(options.wsapi_host):
        return f"--wsapi-host {options.wsapi_host}: the REST interface has no login, so it only listens on loopback"
    if bool(options.ctl_privkey) != bool(options.ctl_cert):
        return "--ctl-privkey and --ctl-cert are given together"
    if options.ca_certs and not options.ctl_cert:
        return "--ca-certs needs --ctl-privkey and --ctl-cert"
    if options.ctl_cert_binds_dpid and not options.ca_certs:
        return "--ctl-cert-binds-dpid needs --ca-certs, or switches show no certificate"
    if options.ofp_listen_host is None:
        options.ofp_listen_host = "0.0.0.0" if options.ca_certs else "127.0.0.1"
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(text: str) -> str:
    """An address or name, an IPv6 address with or without brackets."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535, 0 for any that is free")
    return int(text)


def _resync(text: str) -> float:
    least, most = RESYNC_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not least <= seconds <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {least:g} to {most:g}")
    return seconds
