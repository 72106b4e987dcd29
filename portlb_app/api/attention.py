"""What needs a person, worst first: told by the status, so that a command, the page and a monitor say the same.

What is wanted is no problem: a server that was taken out, a switch that gets its tables. All comes from what was seen
and read back.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.api import troubled_agents, troubled_switches
from portlb_app.api.trouble import Trouble
from portlb_app.backends.states import Seen
from portlb_app.config import Wanted
from portlb_app.reconcile.pool_status import PoolStatus, ServerStatus
from portlb_app.reconcile.status import Status, SwitchStatus
from portlb_app.topology.conditions import ALL_SERVERS

CORRECT_IT = "correct the configuration, and send it again; `portlb changes` has the one before"
ADD_SERVERS = "make servers of it ready (`portlb ready SERVER`), or add some; `portlb why SERVER` says what each lacks"
REPAIR_THEM = "`portlb why SERVER` says what is seen of each: repair its program, its host or its check"
LOOK_AT_CABLE = "set both of its ports up, and look at the cable; it is used again when it has been up for a while"
READ_AGAIN = "wait for the next read, or have the switches read: `portlb resync SWITCH`"
CONNECT_ONE = "connect a switch (`portlb attach lb.yaml` has the commands); until then nothing shows that it works"


def troubles(status: Status) -> Iterator[Trouble]:
    """Everything that is wrong."""
    if status.problem:
        words = f"switches do not get it: {status.problem}"
        yield Trouble("configuration", "", "not compiled", words, to_do=CORRECT_IT)
    yield from troubled_switches.not_ours(status.switches)
    pools = [pool for pool in status.pools if pool.key[1] != ALL_SERVERS]
    for pool in (pool for pool in pools if not pool.slots):
        yield Trouble("pool", _name(pool), "empty", "empty: no server gets a connection", to_do=ADD_SERVERS)
    yield from troubled_switches.away(status.switches)
    for pool in (pool for pool in pools if pool.fails_open):
        words = "fails open: none of its servers works, so all keep their slots"
        yield Trouble("pool", _name(pool), "fails open", words, to_do=REPAIR_THEM)
    yield from _servers(status)
    for link in status.links:
        if not link.up:
            held = f"not used: it is down, or has just come up{_again(link.hold)}"
            name = "-".join(str(end) for end in link.link)
            yield Trouble("link", name, "down", held, to_do=LOOK_AT_CABLE)
    yield from troubled_switches.misconnected(status.switches)
    yield from _differing(pools, status.switches)
    yield from troubled_agents.differing(status.agents)
    yield from troubled_agents.silent(status.silent)
    yield from troubled_switches.unknown(status.unknown)
    if not status.verified:
        words = "unverified: no switch was seen to hold it"
        yield Trouble("configuration", "", "unverified", words, to_do=CONNECT_ONE, is_bad=False)


def _again(hold: float) -> str:
    return f"; it is used again when it has been up for {hold:.0f} s" if hold else ""


def _servers(status: Status) -> Iterator[Trouble]:
    """Servers that are wanted, and down: each once, with the pools in which it is missing."""
    missing: dict[str, list[PoolStatus]] = {}
    worst: dict[str, ServerStatus] = {}
    for pool in status.pools:
        for name, server in pool.missing.items():
            if server.seen is Seen.DOWN and server.wanted is Wanted.READY:
                missing.setdefault(name, []).append(pool)
                if name not in worst or worst[name].seconds < server.seconds:
                    worst[name] = server
    for name in sorted(missing, key=lambda each: (-worst[each].seconds, each)):
        pools = ", ".join(_name(pool) for pool in missing[name] if pool.key[1] != ALL_SERVERS)
        words = f"down in {pools}" if pools else "down"
        to_do = f"`portlb why {name}` has all that is seen of it; `portlb drain {name}` takes it out on purpose"
        yield Trouble("server", name, "down", f"{words}: {worst[name].reason}", worst[name].seconds, to_do)


def _differing(pools: list[PoolStatus], switches: tuple[SwitchStatus, ...]) -> Iterator[Trouble]:
    """Switches that count as synced, and hold other slots than they shall have."""
    synced = {switch.name for switch in switches if switch.state == "synced"}
    for pool in pools:
        for held in pool.held:
            names = ", ".join(name for name in held.switches if name in synced)
            if held.differ and names:
                words = f"{held.differ} slots are others' on {names}"
                yield Trouble("pool", _name(pool), "differs", words, to_do=READ_AGAIN, is_bad=False)


def _name(pool: PoolStatus) -> str:
    return f"{pool.key[0]}:{pool.key[1]}"
