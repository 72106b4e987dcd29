"""A private Open vSwitch for tests: its own database, its own daemon, no root, about 50 ms to start.

Every path is absolute and below one directory, every command has a time limit, and the daemons write to files: one that
inherited a pipe would keep its reader waiting for ever.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
COMMAND_SECONDS = 10
START_SECONDS = 10
DUMMY = ("--enable-dummy=override",)
"""Options of ovs-vswitchd that put the dummy datapath and dummy ports in place of all others."""


class Switch:
    """One ovsdb-server and one ovs-vswitchd of its own in `directory`. `close()` ends both.

    `within` is put before the daemons' command lines, such as ``ip netns exec NAME``; `options` are ovs-vswitchd's.

    Bridges speak OpenFlow 1.5 only, forward nothing by themselves (fail_mode=secure) and are of the dummy datapath
    unless `add_bridge` is told otherwise.
    """

    def __init__(self, directory: Path, within: tuple[str, ...] = (), options: tuple[str, ...] = DUMMY) -> None:
        self._within, self._options = within, options
        self.directory = directory.resolve()
        self.database = self.directory / "db.sock"
        self.environment = {
            **os.environ,
            **dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), str(self.directory)),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._run("ovsdb-tool", "create", str(self.directory / "conf.db"), str(SCHEMA))
        self._start("ovsdb-server", str(self.directory / "conf.db"), f"--remote=punix:{self.database}")
        self._wait_for(self.database)
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()

    # ---- processes ----

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd; after `stop_vswitchd` it comes back with the same bridges and no flows."""
        arguments = (f"unix:{self.database}", "--disable-system", *self._options)
        pid = self._start("ovs-vswitchd", *arguments, "--pidfile", "--unixctl", str(self.directory / "vswitchd.ctl"))
        self._wait_for(self.directory / "ovs-vswitchd.pid")
        self.vsctl("set", "open", ".", f"external_ids:test-pid={pid}")

    def stop_vswitchd(self) -> None:
        """End ovs-vswitchd without a chance to clean up, as a crash would."""
        self._end("ovs-vswitchd", signal.SIGKILL)
        (self.directory / "ovs-vswitchd.pid").unlink(missing_ok=True)
        (self.directory / "vswitchd.ctl").unlink(missing_ok=True)

    def close(self) -> None:
        """End both daemons."""
        for name in list(self._daemons):
            self._end(name, signal.SIGTERM)

    def _start(self, program: str, *arguments: str) -> int:
        log = self.directory / f"{program}.log"
        with open(self.directory / f"{program}.out", "ab") as output:
            self._daemons[program] = subprocess.Popen(
                [*self._within, program, *arguments, f"--log-file={log}", "-vconsole:off"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.directory,
            )
        return self._daemons[program].pid

    def _end(self, program: str, signum: int) -> None:
        process = self._daemons.pop(program)
        process.send_signal(signum)
        try:
            process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_for(self, path: Path) -> None:
        """Wait until a file is there, and, if it is a socket, until somebody listens on it."""
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(path):
            for program, process in self._daemons.items():
                if process.poll() is not None:
                    output = (self.directory / f"{program}.out").read_text()
                    raise RuntimeError(f"{program} ended with {process.returncode}: {output}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{path} did not appear within {START_SECONDS} s")
            time.sleep(0.005)

    def _run(self, *command: str, text: str = "", accept: Iterable[int] = (0,)) -> str:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.directory,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode not in accept:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    # ---- Open vSwitch's own commands; RuntimeError with their message if they fail ----

    def vsctl(self, *arguments: str) -> str:
        """ovs-vsctl on this switch's database."""
        return self._run("ovs-vsctl", f"--timeout={COMMAND_SECONDS}", f"--db=unix:{self.database}", *arguments)

    def ofctl(self, command: str, bridge: str, *arguments: str, text: str = "", accept: Iterable[int] = (0,)) -> str:
        """ovs-ofctl in OpenFlow 1.5; `text` is what an argument "-" reads, `accept` has the exit codes of success."""
        where = f"unix:{self.management(bridge)}"
        options = (f"--timeout={COMMAND_SECONDS}", "-O", "OpenFlow15")
        return self._run("ovs-ofctl", *options, command, where, *arguments, text=text, accept=accept)

    def appctl(self, *arguments: str) -> str:
        """ovs-appctl on this switch's daemon."""
        control = str(self.directory / "vswitchd.ctl")
        return self._run("ovs-appctl", f"--timeout={COMMAND_SECONDS}", "-t", control, *arguments)

    def management(self, bridge: str) -> Path:
        """The socket on which a bridge answers OpenFlow without a controller."""
        return self.directory / f"{bridge}.mgmt"

    # ---- bridges ----

    def add_bridge(
        self,
        name: str,
        dpid: int,
        ports: Mapping[str, int],
        controller: str | None = None,
        datapath_type: str = "dummy",
        port_type: str = "dummy",
    ) -> None:
        """A bridge with ports (name: OpenFlow number) and, if one is given, a controller (``tcp:127.0.0.1:6653``)."""
        arguments = ["add-br", name, "--", "set", "bridge", name, f"datapath_type={datapath_type}"]
        arguments += ["protocols=OpenFlow15", "fail_mode=secure", f"other_config:datapath-id={dpid:016x}"]
        for port, number in ports.items():
            arguments += ["--", "add-port", name, port]
            arguments += ["--", "set", "interface", port, f"type={port_type}", f"ofport_request={number}"]
        self.vsctl(*arguments)
        if controller:
            self.set_controller(name, controller)
        self._wait_for(self.management(name))

    def set_controller(self, bridge: str, controller: str) -> None:
        """Connect a bridge to a controller, tried again every second while it is away."""
        self.vsctl(*_with_controller(bridge, controller))

    def set_controllers(self, bridges: Iterable[str], controller: str) -> None:
        """The same for many at once: one by one Open vSwitch looks at all of its ports each time."""
        words = [word for bridge in bridges for word in ("--", *_with_controller(bridge, controller))]
        self.vsctl("--no-wait", *words)

    def delete_bridge(self, name: str) -> None:
        """Remove a bridge and its ports."""
        self.vsctl("del-br", name)

    def dump_flows(self, bridge: str, *match: str) -> list[str]:
        """A bridge's flows as ovs-ofctl text without statistics, in packet order."""
        lines = self.ofctl("dump-flows", bridge, *match, "--no-stats", "--no-names").splitlines()
        return [line.strip() for line in lines if "actions=" in line]

    def dump_groups(self, bridge: str) -> list[str]:
        """A bridge's groups as ovs-ofctl text."""
        lines = self.ofctl("dump-groups", bridge, "--no-names").splitlines()
        return [line.strip() for line in lines if "group_id=" in line]

    def diff_flows(self, bridge: str, text: str) -> str:
        """How a bridge's flows differ from ovs-ofctl text, as ovs-ofctl prints it; empty if they don't."""
        wanted = self.directory / "wanted.flows"
        wanted.write_text(text)
        return self.ofctl("diff-flows", bridge, str(wanted), accept=(0, 2))

    def trace(self, bridge: str, flow: str) -> str:
        """What the bridge would do with a packet: ofproto/trace's output for a flow such as ``in_port=1,tcp,…``."""
        return self.appctl("ofproto/trace", bridge, flow)


def _with_controller(bridge: str, controller: str) -> tuple[str, ...]:
    return (
        *("set-controller", bridge, controller, "--"),
        *("set", "controller", bridge, "max_backoff=1000", "connection_mode=out-of-band"),
        *("controller_burst_limit=1000", "controller_rate_limit=1000"),
    )


def _is_ready(path: Path) -> bool:
    if not path.exists():
        return False
    if not path.is_socket():
        return True
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def changes_sent(switch: Switch) -> int:
    """How many messages that change something the switch has logged."""
    log = (switch.directory / "ovs-vswitchd.log").read_text()
    return sum(
        "received: " in line and any(word in line for word in ("OFPT_FLOW_MOD", "OFPT_GROUP_MOD", "OFPT_BUNDLE"))
        for line in log.splitlines()
    )
