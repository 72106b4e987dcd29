"""Starts the controller: what has to happen before Ryu is imported, its flags, its ports, and the signals.

Ryu 4.34 is the last release. On a current eventlet it needs one name that was removed (`ALREADY_HANDLED`), and like
``ryu-manager`` it needs the standard library patched first; so nothing else here or in ``ryu_*.py`` may be imported
before `run`. Ryu's own listener, its second port 6633 and its REST server on all addresses are not used.
"""

from __future__ import annotations

import ipaddress
import logging
import resource
import signal
import ssl
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portlb_app.events import Configuration
from portlb_app.reconciler import INTERVAL, Reconciler
from portlb_app.store import ConfigFile

if TYPE_CHECKING:
    from portlb_app.ryu_listener import OpenFlowListener

OPENFLOW_PORT = 6653
REST_PORT = 8080
ECHO_SECONDS = 5.0
UNANSWERED_ECHOES = 2
"""A switch that answers none of so many echo requests is gone."""
SIGNAL_SECONDS = 0.2

DESCRIPTORS = 1 << 16
"""Open files the controller asks for: one for each switch; it takes what it may have."""

_LOG = logging.getLogger("portlb")
_FAILED = 1
_WRONG_INPUT = 2


def run(path: Path, flags: Sequence[str]) -> int:
    """Run the controller for the configuration in `path` until SIGTERM or SIGINT; SIGHUP reads the file again.

    `flags` are ryu-manager's, and ``--resync-interval``. The exit code is returned: 0 after a signal, 1 if a port is
    taken, 2 for wrong flags. ConfigError, OSError and UnicodeDecodeError are about the file.
    """
    file = ConfigFile(path)
    file.remove_left_over()
    text = file.read()
    _prepare_ryu()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, DESCRIPTORS) if most >= 0 else DESCRIPTORS, most))
    options = _options(flags)
    if problem := _mistake(options):
        return _fail(_WRONG_INPUT, problem)
    return _serve(file, text, options)


def _prepare_ryu() -> None:
    """Patch the standard library but for threads: there is one, and patching them would replace locks made earlier."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eventlet's advice not to begin with it
        import eventlet
        import eventlet.wsgi

    eventlet.monkey_patch(thread=False)
    eventlet.wsgi.ALREADY_HANDLED = object()


def _options(flags: Sequence[str]) -> Any:
    """Ryu's options from flags, with our defaults. SystemExit(2) for an unknown one, with a usage."""
    from ryu import cfg, log
    from ryu.base import app_manager

    del app_manager  # imported for the options it and what it imports register
    options = cfg.CONF
    interval = f"seconds between two looks at what a switch holds (default {INTERVAL:g})"
    options.register_cli_opt(cfg.FloatOpt("resync-interval", default=INTERVAL, min=0.1, help=interval))
    binds = "a switch may only claim a datapath id that its certificate names, as dpid- and 16 hexadecimal digits"
    options.register_cli_opt(cfg.BoolOpt("ctl-cert-binds-dpid", default=False, help=binds))
    options.set_default("ofp_listen_host", None)
    options.set_default("wsapi_host", "127.0.0.1")
    options.set_default("wsapi_port", REST_PORT)
    options.set_default("ofp_tcp_listen_port", OPENFLOW_PORT)
    options.set_default("ofp_ssl_listen_port", OPENFLOW_PORT)
    options.set_default("echo_request_interval", ECHO_SECONDS)
    options.set_default("maximum_unreplied_echo_requests", UNANSWERED_ECHOES)
    nowhere: dict[str, Any] = {"default_config_files": [], "default_config_dirs": [], "use_env": False}
    options(args=list(flags), project="ryu", prog="portlb controller lb.yaml", **nowhere)
    if options.ofp_listen_host is None:
        options.set_default("ofp_listen_host", "0.0.0.0" if options.ca_certs else "127.0.0.1")
    log.init_log()
    return options


def _mistake(options: Any) -> str | None:
    """What is wrong with flags that each by itself are right."""
    if not _is_loopback(options.wsapi_host):
        return f"--wsapi-host {options.wsapi_host}: the REST interface has no login, so it only listens on loopback"
    if options.ofp_switch_address_list:
        return "--ofp-switch-address-list is not supported: let the switches connect to the controller"
    if bool(options.ctl_privkey) != bool(options.ctl_cert):
        return "--ctl-privkey and --ctl-cert are given together"
    if options.ca_certs and not options.ctl_cert:
        return "--ca-certs needs --ctl-privkey and --ctl-cert"
    if options.ctl_cert_binds_dpid and not options.ca_certs:
        return "--ctl-cert-binds-dpid needs --ca-certs, or switches show no certificate"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(options: Any) -> ssl.SSLContext | None:
    """How connections are encrypted; OSError for a key or certificate that can't be used."""
    from portlb_app import ryu_tls

    return ryu_tls.context(options.ctl_cert, options.ctl_privkey, options.ca_certs) if options.ctl_cert else None


def _renew_tls(listener: OpenFlowListener, options: Any) -> None:
    """Read certificates and keys again, for connections from now on; those that can't be used change nothing."""
    try:
        listener.tls = _tls(options)
    except OSError as error:
        _LOG.error("--ctl-cert, --ctl-privkey or --ca-certs are not read again, the ones before stay: %s", error)


def _serve(file: ConfigFile, text: str, options: Any) -> int:
    from ryu.base.app_manager import AppManager
    from ryu.controller import ofp_handler
    from ryu.lib import hub

    from portlb_app import ryu_tables, ryu_threads
    from portlb_app.ryu_app import Controller, log_notices
    from portlb_app.ryu_listener import OpenFlowListener
    from portlb_app.ryu_rest import Rest

    host = options.ofp_listen_host
    port = options.ofp_ssl_listen_port if options.ctl_cert else options.ofp_tcp_listen_port
    try:
        tls = _tls(options)
    except OSError as error:
        return _fail(_WRONG_INPUT, f"--ctl-cert, --ctl-privkey or --ca-certs: {error}")
    try:
        door = OpenFlowListener(host, port, tls, options.ctl_cert_binds_dpid)
    except OSError as error:
        return _fail(_FAILED, f"cannot listen for switches on {host} port {port}: {error.strerror}")
    try:
        rest = Rest(options.wsapi_host, options.wsapi_port)
    except OSError as error:
        return _fail(_FAILED, f"cannot listen on {options.wsapi_host} port {options.wsapi_port}: {error.strerror}")

    tables = ryu_tables.start()
    try:
        config, compiled = tables.first(text)
    except ryu_tables.Lost as error:
        return _fail(_FAILED, f"the configuration cannot be compiled: {error}")
    log_notices(config)
    ofp_handler.OpenFlowController = lambda: door
    manager = AppManager.get_instance()
    manager.load_apps(["ryu.controller.ofp_handler"])
    reconciler = Reconciler(Configuration(text, config), compiled, options.resync_interval)
    controller = manager.instantiate(Controller, reconciler, tables, file, door)
    ryu_threads.spawn_forever("the REST interface", rest.serve, controller)
    threads = [*manager.instantiate_apps(), *(each for app in manager.applications.values() for each in app.threads)]

    received: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: received.add(caught))
    if not options.ca_certs and not _is_loopback(host):
        _LOG.warning("whoever reaches %s port %d can claim to be a switch: see --ca-certs", host, door.port)
    print(f"ready: OpenFlow on {host} port {door.port}, REST on {options.wsapi_host} port {rest.port}", flush=True)
    while not received & {signal.SIGTERM, signal.SIGINT}:
        hub.sleep(SIGNAL_SECONDS)
        if signal.SIGHUP in received:
            received.discard(signal.SIGHUP)
            _renew_tls(door, options)
            controller.reload()
        failed = [*ryu_threads.failures(), *("a thread of Ryu's" for thread in threads if thread.dead)]
        if failed:
            return _fail(_FAILED, f"{', '.join(failed)} ended; the log says why")
    _LOG.info("ended by a signal; the switches go on as they are")
    return 0


def _fail(code: int, text: str) -> int:
    print(f"portlb: {text}", file=sys.stderr)
    return code
