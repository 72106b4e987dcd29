"""Starts the controller: prepares Ryu, opens the ports and the log, and handles signals.

Ryu 4.34 is the last release. On a current eventlet it needs one name that was removed (`ALREADY_HANDLED`), and like
``ryu-manager`` it needs the standard library patched first; so no module that imports Ryu is imported before `run`.
Ryu's own listener, its second port 6633 and its REST server on all addresses are not used.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import ssl
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portlb_app.api.history import History
from portlb_app.config import ConfigError
from portlb_app.config.overrides import Overrides
from portlb_app.controller.settings import Settings, is_loopback
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime.log_lines import JsonLines, TextLines
from portlb_app.runtime.log_writer import LogWriter
from portlb_app.store.changes import ChangesDirectory, Damaged
from portlb_app.store.file import ConfigFile
from portlb_app.store.overrides import OverridesFile

if TYPE_CHECKING:
    from portlb_app.runtime.files import Files
    from portlb_app.southbound.listener import OpenFlowListener

ECHO_SECONDS = 5.0
UNANSWERED_ECHOES = 2
"""A switch that answers none of so many echo requests is gone."""
SIGNAL_SECONDS = 0.2
LAST_WORD_SECONDS = 0.1
"""For what switches are told at the end to leave: packets that they are to handle are gathered for up to 20 ms."""
END_SECONDS = 2.0
"""How long the end waits until what becomes of changes is written down, and all are answered that wait for it."""

DESCRIPTORS = 1 << 16
"""Open files the controller asks for: one for each switch; it takes what it may have."""

_LOG = logging.getLogger("portlb")
_FAILED = 1
_WRONG_INPUT = 2


def run(path: Path, settings: Settings) -> int:
    """Run the controller for the configuration in `path` until SIGTERM or SIGINT; SIGHUP reads the file again.

    The exit code is returned: 0 after a signal, 1 if a port is taken, 2 if the configuration, the overrides, or a
    certificate or key cannot be used. OSError is about the file or the log.
    """
    _begin_log(settings)
    received: set[int] = set()
    signal.signal(signal.SIGHUP, lambda caught, _: received.add(caught))  # until all is ready, it would end the process
    file = ConfigFile(path)
    file.remove_left_over()
    directory = ChangesDirectory(path)
    try:
        text = file.read()
    except UnicodeDecodeError as error:
        return _fail(_WRONG_INPUT, f"{path} is not UTF-8: byte {error.start}{_way_back(directory, path)}")
    overrides = OverridesFile(path)
    overrides.remove_left_over()
    try:
        kept = overrides.read()
    except (ConfigError, UnicodeDecodeError, OSError) as error:
        what = f"{overrides.path} cannot be used: {error}"
        return _fail(_WRONG_INPUT, f"{what}. Mend it, or remove it to go on by what {path.name} says")
    _prepare_ryu(settings.apps)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, DESCRIPTORS) if most >= 0 else DESCRIPTORS, most))
    try:
        return _serve(file, text, overrides, kept, directory, settings, received)
    except ConfigError as error:
        print(f"{error}{_way_back(directory, path)}", file=sys.stderr)
        return _WRONG_INPUT


def _begin_log(settings: Settings) -> None:
    """Log to standard error or a file, which may be moved away and is made anew then; OSError.

    Each line of text has its time, unless it goes to systemd's journal, which adds the time itself.
    """
    handler = LogWriter(settings.log_file)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines(has_time=not handler.is_journal))
    logging.basicConfig(level=logging.DEBUG if settings.is_verbose else logging.INFO, handlers=[handler])
    if not settings.is_verbose:
        logging.getLogger("ryu.base.app_manager").setLevel(logging.WARNING)  # which parts it starts is no news


def _prepare_ryu(apps: Sequence[str]) -> None:
    """Patch the standard library but for threads: there is one, and patching them would replace locks made earlier.

    Two imports that nothing here needs would take a third of the start: dnspython, unless other applications may look
    up names, and setuptools, which stands in for the standard library's distutils (of which Ryu compares versions).
    """
    if not apps:
        os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
    if sys.version_info < (3, 12) and (stand_in := sys.modules.get("_distutils_hack")):
        stand_in.remove_shim()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eventlet's advice not to begin with it, and distutils' end
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


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """How connections are encrypted; OSError for a key or certificate that can't be used."""
    from portlb_app.southbound import tls

    if settings.certificate is None or settings.key is None:
        return None
    return tls.context(settings.certificate, settings.key, settings.authorities)


def _renew_tls(listener: OpenFlowListener, settings: Settings, files: Files) -> None:
    """Read certificates and keys again, for connections from now on; those that can't be used change nothing."""
    try:
        listener.tls = files.start(lambda: _tls(settings)).wait()
    except OSError as error:
        what = "--ctl-cert, --ctl-privkey or --ca-certs are not read again, the ones before stay"
        _LOG.error("%s: %s: %s", what, error.filename, error.strerror)


def _serve(
    file: ConfigFile,
    text: str,
    saved: OverridesFile,
    kept: Overrides,
    directory: ChangesDirectory,
    settings: Settings,
    received: set[int],
) -> int:
    from ryu.base.app_manager import AppManager, lookup_service_brick
    from ryu.controller import ofp_event, ofp_handler
    from ryu.lib import hub

    from portlb_app.api.readiness import Readiness
    from portlb_app.controller import changes
    from portlb_app.controller.app import Controller
    from portlb_app.controller.credentials import Credentials, Unusable
    from portlb_app.controller.listeners import Listeners, Taken
    from portlb_app.controller.proposals import log_notices
    from portlb_app.controller.rest import Rest
    from portlb_app.controller.site import Site
    from portlb_app.runtime import supervision
    from portlb_app.runtime.files import Files
    from portlb_app.southbound import tables_process
    from portlb_app.southbound.listener import OpenFlowListener

    host, port = settings.openflow_host, settings.openflow_port
    try:
        tls = _tls(settings)
    except OSError as error:
        return _fail(_WRONG_INPUT, f"--ctl-cert, --ctl-privkey or --ca-certs: {error.filename}: {error.strerror}")
    try:
        listener = OpenFlowListener(host, port, tls, settings.certificate_binds_dpid)
    except OSError as error:
        return _fail(_FAILED, f"cannot listen for switches on {host} port {port}: {error.strerror}")
    try:
        credentials = Credentials(settings)
        clients = Listeners(settings, credentials)
    except Unusable as error:
        return _fail(_WRONG_INPUT, str(error))
    except Taken as error:
        return _fail(_FAILED, str(error))

    ofp_handler.OpenFlowController = lambda: listener
    manager = AppManager.get_instance()
    manager.load_apps(["ryu.controller.ofp_handler"])
    if settings.apps:
        from portlb_app.controller import other_apps

        try:
            other_apps.load(settings.apps, manager)
            other_apps.begin(manager, listener)
        except other_apps.NoApplication as error:
            return _fail(_WRONG_INPUT, str(error))

    tables = tables_process.start()
    try:
        config, compiled = tables.first(text)
    except tables_process.Lost as error:
        return _fail(_FAILED, f"the configuration cannot be compiled: {error}")
    log_notices(config)
    history, ended_changes = changes.load(directory, text, kept, time.time())
    overrides, ended = kept.settle(config, time.time())
    for note in ended:
        _LOG.log(logging.getLevelName(note.level.upper()), "%s", note.text)
    reconciler = Reconciler(Configuration(text, config), compiled, settings.resync_seconds, overrides)
    files = Files()
    written = changes.Changes(history, directory, files, text, ended_changes)
    controller = manager.instantiate(Controller, reconciler, tables, file, saved, files, written, listener)
    if ended:
        supervision.spawn("saving overrides", controller.wishes.save)
    controller.readiness = Readiness(settings.ready_after, time.monotonic())
    rest = Rest(controller)
    site = Site(rest)
    if settings.apps:
        try:
            other_apps.start(manager, site)
        except other_apps.NoApplication as error:
            return _fail(_WRONG_INPUT, str(error))
    else:
        manager.instantiate_apps()
    clients.serve(site)
    supervision.spawn_forever("certificates and tokens of REST", credentials.watch, files)
    handler = lookup_service_brick(ofp_event.NAME)
    threads = [handler.main_thread, *handler.threads, *controller.threads]  # those of other applications may end

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: received.add(caught))
    if not settings.authorities and not is_loopback(host):
        _LOG.warning("any host that reaches %s port %d can claim to be a switch: see --ca-certs", host, listener.port)
    gc.collect()
    gc.freeze()  # what is there now stays, and looking through all of it takes 70 ms, in which no switch is answered
    ready = f"ready: OpenFlow on {host} port {listener.port}, REST on {settings.rest_host} port {clients.port}"
    try:
        print(ready, flush=True)
    except OSError as error:
        _LOG.warning("%s (and standard output cannot be written to: %s)", ready, error)
    while not received & {signal.SIGTERM, signal.SIGINT}:
        hub.sleep(SIGNAL_SECONDS)
        if signal.SIGHUP in received:
            received.discard(signal.SIGHUP)
            if settings.certificate:
                supervision.spawn("reading certificates again", _renew_tls, listener, settings, files)
            supervision.spawn("reading certificates and tokens again", credentials.look, files)
            controller.proposals.reload()
        failed = supervision.failures() or tuple("a thread of Ryu's" for thread in threads if thread.dead)
        if failed:
            supervision.end()
            return _fail(_FAILED, f"{', '.join(failed)} ended; the log says why")
    if controller.end_turns():
        hub.sleep(LAST_WORD_SECONDS)
    controller.proposals.end()
    controller.wishes.end()
    deadline = time.monotonic() + END_SECONDS
    while (rest.is_waited_for or clients.is_answering or not written.is_written) and time.monotonic() < deadline:
        hub.sleep(0.01)
    supervision.end()
    clients.end()
    _LOG.info("ended by a signal; the switches go on as they are")
    return 0


def _way_back(directory: ChangesDirectory, path: Path) -> str:
    """How the last configuration that was live comes back, in place of a file that is none; empty if none is known."""
    try:
        live = History(directory.load()).live
        if live is None:
            return ""
        directory.text(live.config)
    except (OSError, Damaged):
        return ""
    kept = directory.path / f"{live.config}.yaml.gz"
    return f"\nThe last configuration that was live is change {live.id}. To have it again: zcat {kept} > {path}"


def _fail(code: int, text: str) -> int:
    print(f"portlb: {text}", file=sys.stderr)
    return code
