"""LEGACY: a client without REDIRECT on a redirect port: the policy of that port decides (rows E3, E4).

Under ``drop``, packets other than a SYN follow the pool's slots: a plain client never gets that far, and a connection
opened with REDIRECT survives a path that clears the bit later.

Where a port's signal is ``option``, a SYN without the bit may still ask for REDIRECT by its option, which no switch can
match. The controller reads it (`punt`); then the pool's slots or the policy decide. Under ``balance`` and ``pin`` the
slots decide in both cases, so the controller does not read the SYN. On its way up the SYN passes a group that adds its
slot. So the controller sends it to the server that also gets the later packets of its connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.tables.pool import receivers, ways
from portlb_app.compiler.tables.qos import is_option_read, metered_qos_actions
from portlb_app.compiler.tables.redirect import takes_turns, to_way
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Legacy, RedirectPort
from portlb_app.openflow import IP_TCP, Action, Flow, ToController, match
from portlb_app.pipeline import (
    ACK,
    LEGACY,
    PINNED,
    SIGNAL,
    SYN,
    Family,
    Priority,
    Reason,
    ct_lookup,
    family,
    flow,
    make_cookie,
    punt,
    set_reachability,
)

_REASONS = {
    Legacy.OWNER: "a plain client on a redirect port: the server that owns it as a service port (E3)",
    Legacy.DEFAULT: "a plain client on a redirect port: the default server (E4)",
    Legacy.BALANCE: "a plain client on a redirect port: the pool's slots, without memory (E4)",
    Legacy.PIN: "a plain client on a redirect port: the remembered server, or the slot's (E4)",
    Legacy.DROP: "later packets of a connection opened with REDIRECT: the pool's slots",
}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per redirect port and address, and one more for SYNs under ``drop`` or with signal ``option``; one of
    SIGNAL where SYNs are handed up.
    """
    for address in local.vip.addresses:
        ip = family(address)
        for pool in local.pools:
            to_port = {**local.ingress_match, **ip.to(address), "ip_proto": IP_TCP, "tcp_dst": pool.port}
            cookie = make_cookie(Reason.LEGACY, local.number, pool.port)
            if reads_option(local, pool):
                yield flow(
                    LEGACY,
                    Priority.EXCEPTION,
                    match(**to_port, tcp_flags=(SYN, SYN | ACK)),
                    punt(Reason.SIGNAL, local.number),
                    make_cookie(Reason.SIGNAL, local.number, pool.port),
                    "a SYN without the bit, on a port where the option says REDIRECT too: the controller reads it",
                )
            elif pool.legacy is Legacy.DROP:
                yield flow(
                    LEGACY,
                    Priority.EXCEPTION,
                    match(**to_port, tcp_flags=(SYN, SYN | ACK)),
                    (),
                    cookie,
                    "a plain client on a redirect port: drop (E4)",
                )
            if is_read(local, pool):
                yield flow(
                    SIGNAL,
                    Priority.SPECIFIC,
                    match(**to_port),
                    (ToController(),),
                    make_cookie(Reason.SIGNAL, local.number, pool.port),
                    "a SYN that the controller reads, with its slot in a register: to the controller",
                )
            reason = _REASONS[pool.legacy]
            if pool.legacy not in (Legacy.BALANCE, Legacy.DROP):
                actions = to_plain(local, pool, ip)
                yield flow(LEGACY, Priority.SPECIFIC, match(**to_port), actions, cookie, reason)
                continue
            for way in ways(local, pool, ip, IP_TCP):
                actions, these = to_way(local, pool, ip, way), match(**to_port, **way.fields)
                yield flow(LEGACY, Priority.SPECIFIC + way.ahead, these, actions, cookie, reason)


def is_read(local: VipOnSwitch, pool: RedirectPort) -> bool:
    """Whether SYNs to a redirect port may be handed up."""
    return reads_option(local, pool) or takes_turns(local, pool)


def reads_option(local: VipOnSwitch, pool: RedirectPort) -> bool:
    """Whether the controller reads SYNs without the bit: only if a server for them can be reached."""
    return is_option_read(pool) and any(local.slots(each.port) for each in receivers(local, pool))


def to_plain(local: VipOnSwitch, pool: RedirectPort, ip: Family) -> tuple[Action, ...]:
    """The actions for a plain client's packet to a redirect port where its policy, and not a slot, decides."""
    treated = metered_qos_actions(local.rates, "redirect", pool.port, pool.qos)
    if pool.legacy is Legacy.OWNER:
        return (*treated, *deliver(local, local.owners[pool.port], ip))
    if pool.legacy is Legacy.DEFAULT:
        assert local.vip.default_server, "a configuration without one was refused"
        return (*treated, *deliver(local, local.vip.default_server, ip))
    # Written here as well: the register is empty in a packet that the controller sends.
    known = () if local.reachability is None else (set_reachability(local.reachability),)
    return (*treated, *known, ct_lookup(local.number, PINNED))
