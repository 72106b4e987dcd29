"""Starts the controller: what has to happen before Ryu is imported, its flags, its ports, and the signals.

Ryu 4.34 is the last release. On a current eventlet it needs one name that was removed (`ALREADY_HANDLED`), and like
``ryu-manager`` it needs the standard library patched first; so nothing else here or in ``ryu_*.py`` may be imported
before `run`. Ryu's own listener, its second port 6633 and its REST server on all addresses are not used.
"""

from __future__ import annotations

import argparse
import gc
import logging
import resource
import signal
import ssl
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portlb_app.config.problems import printable
from portlb_app.controller import flags
from portlb_app.reconcile.events import Configuration
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime.log_writer import LogWriter
from portlb_app.store.file import ConfigFile

if TYPE_CHECKING:
    from portlb_app.runtime.files import Files
    from portlb_app.southbound.listener import OpenFlowListener

ECHO_SECONDS = 5.0
UNANSWERED_ECHOES = 2
"""A switch that answers none of so many echo requests is gone."""
SIGNAL_SECONDS = 0.2
END_SECONDS = 2.0
"""How long the end waits until all are answered that wait for what becomes of a configuration."""

DESCRIPTORS = 1 << 16
"""Open files the controller asks for: one for each switch; it takes what it may have."""

_LOG = logging.getLogger("portlb")
_FAILED = 1
_WRONG_INPUT = 2


def run(path: Path, options: argparse.Namespace) -> int:
    """Run the controller for the configuration in `path` until SIGTERM or SIGINT; SIGHUP reads the file again.

    `options` are what `flags` adds. The exit code is returned: 0 after a signal, 1 if a port is taken, 2 for flags that
    do not fit together. ConfigError, OSError and UnicodeDecodeError are about the file, OSError also about the log.
    """
    if problem := flags.complete(options):
        return _fail(_WRONG_INPUT, problem)
    _begin_log(options)
    received: set[int] = set()
    signal.signal(signal.SIGHUP, lambda caught, _: received.add(caught))  # until all is ready, it would end the process
    file = ConfigFile(path)
    file.remove_left_over()
    text = file.read()
    _prepare_ryu(options.app)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, DESCRIPTORS) if most >= 0 else DESCRIPTORS, most))
    return _serve(file, text, options, received)


class _Line(logging.Formatter):
    """A line of the log, with its time; what does not print is written as Python writes it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text."""
        return "\n".join(map(printable, super().format(record).split("\n")))


def _begin_log(options: argparse.Namespace) -> None:
    """Log to standard error or a file, which may be moved away and is made anew then; OSError."""
    handler = LogWriter(Path(options.log_file) if options.log_file else None)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, handlers=[handler])
    if not options.verbose:
        logging.getLogger("ryu.base.app_manager").setLevel(logging.WARNING)  # which parts it starts is no news


def _prepare_ryu(apps: Sequence[str]) -> None:
    """Patch the standard library but for threads: there is one, and patching them would replace locks made earlier."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eventlet's advice not to begin with it
        import eventlet
        import eventlet.wsgi

    eventlet.monkey_patch(thread=False)
    eventlet.wsgi.ALREADY_HANDLED = object()
    _configure_ryu(apps)


def _configure_ryu(apps: Sequence[str]) -> None:
    """Give Ryu's options values, and let it look for none: not in flags, files or the environment."""
    from ryu import cfg
    from ryu.base import app_manager

    del app_manager  # imported for the options it and what it imports register
    if apps:
        from portlb_app.controller import other_apps

        other_apps.register_options(apps)
    cfg.CONF.set_default("echo_request_interval", ECHO_SECONDS)
    cfg.CONF.set_default("maximum_unreplied_echo_requests", UNANSWERED_ECHOES)
    cfg.CONF(args=[], project="ryu", default_config_files=[], default_config_dirs=[], use_env=False)


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    """How connections are encrypted; OSError for a key or certificate that can't be used."""
    from portlb_app.southbound import tls

    return tls.context(options.ctl_cert, options.ctl_privkey, options.ca_certs) if options.ctl_cert else None


def _renew_tls(listener: OpenFlowListener, options: argparse.Namespace, files: Files) -> None:
    """Read certificates and keys again, for connections from now on; those that can't be used change nothing."""
    try:
        listener.tls = files.start(lambda: _tls(options)).wait()
    except OSError as error:
        _LOG.error("--ctl-cert, --ctl-privkey or --ca-certs are not read again, the ones before stay: %s", error)


def _serve(file: ConfigFile, text: str, options: argparse.Namespace, received: set[int]) -> int:
    from ryu.base.app_manager import AppManager
    from ryu.controller import ofp_handler
    from ryu.lib import hub

    from portlb_app.controller.app import Controller, log_notices
    from portlb_app.controller.rest import Rest
    from portlb_app.runtime import supervision
    from portlb_app.runtime.files import Files
    from portlb_app.southbound import tables_process
    from portlb_app.southbound.listener import OpenFlowListener

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

    ofp_handler.OpenFlowController = lambda: door
    manager = AppManager.get_instance()
    manager.load_apps(["ryu.controller.ofp_handler"])
    if options.app:
        from portlb_app.controller import other_apps

        try:
            other_apps.load(options.app, manager)
            other_apps.begin(manager, door, options.wsapi_host, options.app_port)
        except other_apps.NoApplication as error:
            return _fail(_WRONG_INPUT, str(error))
        except OSError as error:
            return _fail(_FAILED, f"cannot listen on {options.wsapi_host} port {options.app_port}: {error.strerror}")

    tables = tables_process.start()
    try:
        config, compiled = tables.first(text)
    except tables_process.Lost as error:
        return _fail(_FAILED, f"the configuration cannot be compiled: {error}")
    log_notices(config)
    reconciler = Reconciler(Configuration(text, config), compiled, options.resync_interval)
    files = Files()
    controller = manager.instantiate(Controller, reconciler, tables, file, files, door)
    supervision.spawn_forever("the REST interface", rest.serve, controller)
    threads = manager.instantiate_apps(**manager.contexts)
    threads += (each for app in manager.applications.values() for each in app.threads)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: received.add(caught))
    if not options.ca_certs and not flags.is_loopback(host):
        _LOG.warning("whoever reaches %s port %d can claim to be a switch: see --ca-certs", host, door.port)
    gc.collect()
    gc.freeze()  # what is there now stays, and looking through all of it takes 70 ms, in which no switch is answered
    ready = f"ready: OpenFlow on {host} port {door.port}, REST on {options.wsapi_host} port {rest.port}"
    try:
        print(ready, flush=True)
    except OSError as error:
        _LOG.warning("%s (and standard output cannot be written to: %s)", ready, error)
    while not received & {signal.SIGTERM, signal.SIGINT}:
        hub.sleep(SIGNAL_SECONDS)
        if signal.SIGHUP in received:
            received.discard(signal.SIGHUP)
            if options.ctl_cert:
                supervision.spawn("who reads certificates again", _renew_tls, door, options, files)
            controller.reload()
        failed = supervision.failures() or tuple("a thread of Ryu's" for thread in threads if thread.dead)
        if failed:
            supervision.end()
            return _fail(_FAILED, f"{', '.join(failed)} ended; the log says why")
    controller.end()
    deadline = time.monotonic() + END_SECONDS
    while rest.is_waited_for and time.monotonic() < deadline:
        hub.sleep(0.01)
    supervision.end()
    _LOG.info("ended by a signal; the switches go on as they are")
    return 0


def _fail(code: int, text: str) -> int:
    print(f"portlb: {text}", file=sys.stderr)
    return code
