"""Sets the kernel's MPTCP as it is wanted, keeps it so, and puts it back.

Every method may block for some tens of milliseconds. What was set before is in the nftables table (`ruleset`), so a
process that starts later knows it, too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from ipaddress import IPv4Address, IPv6Address

from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import sock_diag
from portlb_app.agent.mptcp import announced, endpoints, plan, programs, ruleset, support
from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.mptcp.endpoints import Endpoint
from portlb_app.agent.mptcp.plan import Do, Step

_ADD, _DELETE = ("add",), ("delete",)


class Keeper:
    """The MPTCP of this network namespace. `busy`: why something is not announced yet, "" if all is."""

    def __init__(self) -> None:
        self.busy = ""
        self._wanted: tuple[Announced, ...] = ()
        self._before: tuple[int, bool] | None = None
        """The settings of before, as `ruleset.text` takes them; None: not known yet."""
        self._one_at_a_time = threading.Lock()
        self._is_over = False

    def keep(self, wanted: tuple[Announced, ...]) -> list[str]:
        """Set what is not as wanted; return in words what that was, AgentError if it is impossible."""
        with self._one_at_a_time:
            return [] if self._is_over else self._keep(wanted)

    def _keep(self, wanted: tuple[Announced, ...]) -> list[str]:
        announced.check(wanted)
        support.require()
        listing = _listing()
        remembered = ruleset.memory(listing)
        done = _Done()
        if remembered is not None:
            self._before = remembered.subflows, remembered.join_initial
        elif self._before is None:
            self._before = endpoints.subflows(), support.join_initial()
        if remembered is None or remembered.rules != ruleset.rules_of(wanted):
            programs.run("nft", "-f", "-", text=ruleset.text(wanted, *self._before))
            done.words.append("its nftables table")
        for each in wanted:
            if each.own != each.vip and not _is_local(each.vip):
                endpoints.on_loopback(each.vip, _ADD)
                done.words.append(f"{each.vip} on lo")
        if support.join_initial():
            support.set_join_initial(False)
            done.words.append(support.JOIN_INITIAL)
        present, limit = endpoints.endpoints(), endpoints.subflows()
        if plan.limit(wanted, limit) != limit:
            endpoints.set_subflows(plan.limit(wanted, limit))
            done.words.append("the limit of subflows")
        former = self._wanted if self._wanted or remembered is None else _left_by_others(wanted, present)
        for step in plan.steps(wanted, former, present):
            done.carry_out(step)
        self._wanted, self.busy = wanted, done.busy
        for vip in set(ruleset.rewritten(listing)) - {each.vip for each in wanted}:
            _off_loopback(vip)
        return done.words

    def put_back(self) -> None:
        """Withdraw all announcements, and set what was there before; AgentError if the kernel refuses.

        First the backup marks go, so that data may leave by first subflows again; then the kernel closes the others.
        Nothing is kept from then on.
        """
        with self._one_at_a_time:
            self._is_over = True
            self._put_back()

    def _put_back(self) -> None:
        listing = _listing()
        done, present = _Done(), endpoints.endpoints()
        for step in plan.steps((), self._wanted, present):
            done.carry_out(step)
        if not any(sock_diag.subflows()):
            for each in plan.left_over(self._wanted, endpoints.endpoints()):
                endpoints.delete(each)
        for vip in ruleset.rewritten(listing):
            _off_loopback(vip)
        if self._before is not None:
            subflows, join_initial = self._before
            endpoints.set_subflows(subflows)
            if support.join_initial() != join_initial:
                support.set_join_initial(join_initial)
        if listing:
            programs.run("nft", "delete", "table", *ruleset.TABLE.split())


class _Done:
    """What was done, in words, and what could not be yet."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.busy = ""

    def carry_out(self, step: Step) -> None:
        """Do one step; an address and port that are still in use are for another time."""
        at = Endpoint(step.id, step.address, step.port, frozenset())
        if step.do is Do.ANNOUNCE:
            try:
                _announce(step.address, step.port)
            except programs.ProgramError as error:
                self.busy = _why(step.address, step.port, error)
                return
            self.words.append(f"the announcement of {step.address} port {step.port}")
        elif step.do is Do.ADD_BACKUP:
            endpoints.add_backup(step.address)
            self.words.append(f"{step.address} as backup")
        elif step.do is Do.SET_BACKUP:
            endpoints.set_backup(at, True)
            self.words.append(f"{step.address} as backup")
        elif step.do is Do.SET_NO_BACKUP:
            endpoints.set_backup(at, False)
        else:
            endpoints.delete(at)
            self.words.append(f"the end of {step.address} port {step.port}")


def _announce(address: IPv4Address | IPv6Address, port: int) -> None:
    """Announce; the kernel's listener shares its port with no closed connection, so these go before (TIME-WAIT)."""
    try:
        endpoints.announce(address, port)
    except programs.ProgramError:
        waiting = list(sock_diag.waiting(address, port))
        if not waiting:
            raise
        for each in waiting:
            sock_diag.destroy(each)
        endpoints.announce(address, port)


def _why(address: IPv4Address | IPv6Address, port: int, error: programs.ProgramError) -> str:
    with contextlib.suppress(OSError):
        if sock_diag.listener(address, port) is not None:
            return f"a program listens on port {port}: MPTCP needs a port of its own; clients are told nothing"
    return f"{address} port {port} is not announced: {error}; it will be tried again"


def _left_by_others(wanted: tuple[Announced, ...], present: list[Endpoint]) -> tuple[Announced, ...]:
    """Return what an earlier process has announced for the same VIPs."""
    own = {each.vip: each.own for each in wanted}
    return tuple(
        Announced(each.address, own[each.address], each.port)
        for each in present
        if each.port and "signal" in each.flags and each.address in own
    )


def _listing() -> str:
    """Return the listing of the agent's table, nothing if there is none."""
    try:
        return programs.run("nft", "list", "table", *ruleset.TABLE.split())
    except programs.ProgramError as error:
        if "No such file" in str(error):
            return ""
        raise AgentError(str(error)) from error


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _off_loopback(address: IPv4Address | IPv6Address) -> None:
    with contextlib.suppress(programs.ProgramError):  # it is not there
        endpoints.on_loopback(address, _DELETE)
