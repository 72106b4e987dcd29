"""``portlb controller``: the controller and its flags.

The flags are those of ryu-manager that portlb has a use for, under their names, and a few more. Ryu's own parser does
not read them: it knows forty others, and takes settings from files in the user's home directory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from portlb_app.cli.output import Commands, WrongInput
from portlb_app.controller.settings import USUAL_SOCKET, Settings, is_loopback

OPENFLOW_PORT = 6653
REST_PORT = 8080
RESYNC = 30.0
RESYNC_SECONDS = (0.1, 86400.0)
"""The pause between two reads of what a switch holds, in seconds: the default, and the shortest and longest."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "controller",
        help=help_line,
        description="Run the OpenFlow controller and its REST interface, in the foreground. SIGHUP reads lb.yaml and "
        "certificates again; SIGTERM ends it, and the switches go on as they are.",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="lb.yaml", help="the configuration; PUT replaces it")
    _add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Run the controller until a signal ends it."""
    given = settings(options)
    from portlb_app.controller import launcher  # imports Ryu, which patches the standard library

    return launcher.run(options.config, given)


def settings(options: argparse.Namespace) -> Settings:
    """What the flags say; WrongInput for flags that each by itself are right, but not together."""
    if not is_loopback(options.wsapi_host) and not (options.wsapi_tls and options.wsapi_access):
        problem = f"--wsapi-host {options.wsapi_host}: other hosts need --wsapi-tls and --wsapi-access"
    elif options.wsapi_client_ca and not (options.wsapi_tls and options.wsapi_access):
        problem = "--wsapi-client-ca needs --wsapi-tls, and --wsapi-access, which says what each certificate may do"
    elif bool(options.ctl_privkey) != bool(options.ctl_cert):
        problem = "--ctl-privkey and --ctl-cert are given together"
    elif options.ca_certs and not options.ctl_cert:
        problem = "--ca-certs needs --ctl-privkey and --ctl-cert"
    elif options.ctl_cert_binds_dpid and not options.ca_certs:
        problem = "--ctl-cert-binds-dpid needs --ca-certs, or switches show no certificate"
    else:
        return _settings(options)
    raise WrongInput(f"portlb: {problem}")


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        openflow_host=options.ofp_listen_host or ("0.0.0.0" if options.ca_certs else "127.0.0.1"),
        openflow_port=options.ofp_ssl_listen_port if options.ctl_cert else options.ofp_tcp_listen_port,
        key=options.ctl_privkey,
        certificate=options.ctl_cert,
        authorities=options.ca_certs,
        certificate_binds_dpid=options.ctl_cert_binds_dpid,
        resync_seconds=options.resync_interval,
        rest_host=options.wsapi_host,
        rest_port=options.wsapi_port,
        rest_socket=options.wsapi_socket,
        rest_tls=tuple(options.wsapi_tls) if options.wsapi_tls else None,
        rest_authorities=options.wsapi_client_ca,
        rest_access=options.wsapi_access,
        metrics=options.metrics_listen,
        ready_after=options.ready_after,
        apps=tuple(options.app),
        is_verbose=options.verbose,
        log_file=Path(options.log_file) if options.log_file else None,
        log_format=options.log_format,
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
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
        help="pause between two reads of what a switch holds (default %(default)g)",
    )  # fmt: skip
    others = parser.add_argument_group("the REST interface, applications, and the log")
    others.add_argument(
        "--wsapi-host", type=_host, default="127.0.0.1", metavar="ADDRESS",
        help="address of the REST interface; one that is not of loopback needs TLS (default %(default)s)",
    )  # fmt: skip
    others.add_argument(
        "--wsapi-port", type=_port, default=REST_PORT, metavar="PORT",
        help="port of the REST interface (default %(default)s)",
    )  # fmt: skip
    others.add_argument(
        "--wsapi-socket", default=USUAL_SOCKET, metavar="PATH",
        help="Unix socket of the REST interface, for root, the user and the group (default %(default)s; '' for none)",
    )  # fmt: skip
    others.add_argument(
        "--wsapi-tls", nargs=2, metavar=("CERT", "KEY"),
        help="encrypt the REST interface's TCP connections, with this certificate and key",
    )  # fmt: skip
    others.add_argument(
        "--wsapi-access", metavar="FILE",
        help="who may do what over TCP, by tokens and certificates: lines that portlb token makes",
    )  # fmt: skip
    others.add_argument("--wsapi-client-ca", metavar="FILE", help="clients may show a certificate of these authorities")
    others.add_argument(
        "--metrics-listen", type=_address, metavar="ADDRESS:PORT",
        help="answer /metrics, /healthz and /readyz there, to any client and without TLS",
    )  # fmt: skip
    others.add_argument(
        "--ready-after", type=_seconds, metavar="SECONDS",
        help="/readyz waits that long for every switch to be read, then no more (default: as long as it takes)",
    )  # fmt: skip
    others.add_argument(
        "--app", action="append", default=[], metavar="MODULE",
        help="load an application of Ryu's beside portlb, such as ryu.app.ofctl_rest; may be repeated",
    )  # fmt: skip
    others.add_argument("--verbose", action="store_true", help="log more, to find a mistake")
    others.add_argument("--log-file", metavar="FILE", help="where to log, instead of standard error")
    others.add_argument(
        "--log-format", choices=("text", "json"), default="text",
        help="how to log: lines for people, or one JSON object a line (default %(default)s)",
    )  # fmt: skip


def _host(text: str) -> str:
    """An address or name, an IPv6 address with or without brackets."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535, 0 for any that is free")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise argparse.ArgumentTypeError(f"{text!r} is no ADDRESS:PORT")
    return _host(host), _port(port)


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return float(text)


def _resync(text: str) -> float:
    least, most = RESYNC_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not least <= seconds <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {least:g} to {most:g}")
    return seconds
